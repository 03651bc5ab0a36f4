"""Which profiles there are: those that a user has added, and those that came with the firmware."""

import os

_OURS = __file__.rsplit("/", 1)[0] + "/profiles/" if "/" in __file__ else "firmware/meters/profiles/"
ADDED = "data/meters/"
_FOLDERS = (ADDED, _OURS)


def is_name(name):
    """Whether a profile may be called that: letters (ASCII), digits, - _ . only."""
    raw = name.encode()
    return bool(raw) and all([one in b"-_." or 48 <= one <= 57 or 65 <= one <= 90 or 97 <= one <= 122 for one in raw])


def items():
    """Yields (name, path), those of a user first; one of the same name that came with the firmware is left out."""
    seen = set()
    for folder in _FOLDERS:
        try:
            names = sorted([file[:-5] for file in os.listdir(folder) if file.endswith(".json")])
        except OSError:
            continue
        for name in names:
            if name not in seen:
                seen.add(name)
                yield name, "%s%s.json" % (folder, name)

"""Which profiles a configuration file names, and what is wrong with each; those that came with the firmware are
right."""

import os

from firmware.config import json_file

_ADDED = "data/meters/"
_BUILT_IN = __file__.rsplit("/", 2)[0] + "/meters/profiles/" if "/" in __file__ else "firmware/meters/profiles/"


def errors_of(path):
    """{name: what is wrong, or None}. Raises ValueError where the file is not JSON."""
    found = {}
    with open(path, "rb") as f:
        for key, begin, end in json_file.members(f):
            if key == "meters" and json_file.is_list(f, begin, end):
                for _, first, last in json_file.members(f, begin):
                    item = json_file.value(f, first, last)
                    name = item.get("profile") if isinstance(item, dict) else None
                    if isinstance(name, str) and all([one.isalpha() or one.isdigit() or one in "-_." for one in name]):
                        found[name] = None
    for name in found:
        if _exists(_ADDED, name) or not _exists(_BUILT_IN, name):
            found[name] = _error(name)
    return found


def _error(name):
    from firmware.meters import profile_loader as profile_load

    try:
        profile_load.load(name)
    except profile_load.ProfileError as error:
        return str(error)
    return None


def _exists(folder, name):
    try:
        os.stat("%s%s.json" % (folder, name))
    except OSError:
        return False
    return True

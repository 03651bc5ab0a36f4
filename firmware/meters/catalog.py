"""Finds profiles: files that a user has added, data/meters/NAME.json, and those that came with the firmware. An added
one takes the place of the firmware's of the same name.

Only this module knows where profiles lie and what their names may be; profile_loader.py knows what they contain.
"""

import os

import strict_json
from micropython import const

from firmware import resources

ADDED = "data/meters/"
_BUILT_IN = "meters/profiles"  # of firmware.resources
_ENDING = ".json"
_TITLE = ("name", "confidence")
_POINTS = b'"points"'
_HEAD_BYTES = const(1024)


def is_name(name: str) -> bool:
    """True when a profile may have that name: letters (ASCII), digits, - _ . only, at least one of them."""
    raw = name.encode()
    are_allowed = [byte in b"-_." or 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122 for byte in raw]
    return bool(raw) and all(are_allowed)


def names() -> "list[str]":
    """The names of all profiles: first those that a user has added, then those of the firmware, each sorted."""
    try:
        added = sorted([file[: -len(_ENDING)] for file in os.listdir(ADDED[:-1]) if file.endswith(_ENDING)])
    except OSError:
        added = []
    own = sorted([file[: -len(_ENDING)] for file in resources.names(_BUILT_IN) if file.endswith(_ENDING)])
    return added + [name for name in own if name not in added]


def read(name: str, only: "tuple[str, ...] | None" = None) -> object:
    """Parses the JSON document of that profile and checks nothing of it; with `only`, these of its keys. Raises OSError
    when there is none or it cannot be read, ValueError when it is not JSON."""
    if only is not None:
        document = _read_head(name, only)
        if document is not None:
            return document
    return strict_json.loads(_text(name), only)


def _text(name: str, size: "int | None" = None) -> bytes:
    """Reads the text of that profile, or its first `size` bytes. Raises OSError."""
    try:
        path = ADDED + name + _ENDING
        whole = os.stat(path)[6]
        with open(path, "rb") as f:
            return f.read(whole if size is None else size)
    except OSError:
        return resources.read("%s/%s%s" % (_BUILT_IN, name, _ENDING), size)


def _read_head(name: str, only: "tuple[str, ...]") -> "dict | None":
    """Reads those keys of the profile if all of them stand before its points, as in the firmware's own: the points may
    be ten kilobytes, and no board with its modules as files has so much in one piece. Else None. Raises OSError."""
    text = _text(name, _HEAD_BYTES)
    before = text[: max(text.find(_POINTS), 0)].rstrip()
    if not before.endswith(b","):
        return None
    try:
        document = strict_json.loads(before[:-1] + b"}", only)
    except ValueError:
        return None
    if not isinstance(document, dict) or not all([key in document for key in only]):
        return None
    return document


def title(name: str) -> "tuple[str, int]":
    """Reads (title, confidence 0 to 2) of that profile; (name, 0) where its file does not say, or is damaged: the check
    of a configuration that uses it reports what is wrong."""
    try:
        document = read(name, _TITLE)
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        return name, 0
    text = document.get("name")
    confidence = document.get("confidence")
    return text if isinstance(text, str) else name, confidence if confidence in (0, 1, 2) else 0

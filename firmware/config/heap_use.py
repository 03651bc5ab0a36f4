"""Estimates what a configuration takes of the heap, so that a save can refuse one that this board cannot run.

The numbers are those of a 32-bit MicroPython with the firmware frozen into it, after the first readings
(host_tests/system/test_heap_use.py compares them with what is taken there).
"""

from micropython import const

from firmware.config import schema

_TYPING = const(0)
if _TYPING:
    from firmware.meters.profile import Profile

# What must be left beside the meters: ten Modbus clients, a browser that has logged in, and its next save
RESERVE = const(12288)
_WORD = const(16)  # bytes: the heap gives out multiples of it
_PROFILE = const(408)  # with the entry in dicts
_ENCODING = const(32)
_READ = const(36)
_METER = const(752)  # with its round of polls, its name and the entries in lists
_BLOCK = const(84)
_BUS = const(1872)  # with its task
_LISTENING = const(632)  # more for lines that only listen
_HEARD = const(128)  # more for each of their meters, beside what is collected of its blocks
_ROUTE = const(8)
_SERVED = const(1800)  # modules and the table of units
_SERVED_UNIT = const(324)
_SERVED_KIND = const(256)  # with its fixed registers, beside its profile
_SUNSPEC = const(3840)
_HTTP = const(13400)  # modules and objects
_SERVICE = const(4600)  # the same of each other service


def _rounded(size):
    return -(-size // _WORD) * _WORD


def of_profile(profile: "Profile") -> "tuple[int, int]":
    """(bytes of the profile, bytes of each meter of its kind)."""
    points = len(profile)
    shared = _PROFILE + _rounded(len(profile.names)) + 5 * _rounded(points)
    shared += _ENCODING * len(profile.encodings) + _READ * len(profile.plan)
    meter = _METER
    for _, _, count in profile.plan:
        meter += _BLOCK + _rounded(2 * count)
    return shared, meter


def _served(served, profile_sizes):
    size = _SERVED * bool(served) + _SERVED_UNIT * len(served)
    if any([item.get("sunspec", True) for item in served]):
        size += _SUNSPEC
    for name in {item["as"] for item in served if item.get("as")}:
        size += _SERVED_KIND + profile_sizes[name][0]
    return size


def of_configuration(document: dict, profile_sizes: dict) -> int:
    """Bytes for what differs between configurations. `document` is right, complete or not; `profile_sizes`: {name:
    of_profile()} of all its profiles."""
    size = document.get("history", {}).get("bytes", schema.find("bytes", schema.find("history")[2])[2])
    size += _BUS * len(document.get("buses", ())) + _ROUTE * len(document.get("routes", ()))
    rows: tuple = schema.KEYS
    for row in rows:
        switch = schema.find("enabled", row[2]) if row[1] == "section" else None
        if switch is not None and document.get(row[0], {}).get("enabled", switch[2]):
            size += _HTTP if row[0] == "http" else _SERVICE
    size += _served(document.get("served", ()), profile_sizes)
    listening = [k for k, bus in enumerate(document.get("buses", ())) if bus.get("role") == "listen"]
    size += _LISTENING * bool(listening)
    kinds = set()
    for meter in document.get("meters", ()):
        name = meter["profile"]
        shared, own = profile_sizes[name]
        kind = name, meter.get("inverted", False)
        if kind not in kinds:
            kinds.add(kind)
            size += shared
        size += own
        if meter.get("bus", 0) in listening:
            size += _HEARD + 3 * (own - _METER) // 2  # image, marks and an object for each block
    return size

"""Board files: which UARTs, pins, PHY, LED and button a board that one can buy has, and how its terminals lie.

A board is the user's own, data/boards/NAME.json, or one of firmware/board/boards.json, which has all in one file: each
file takes whole blocks of 4096 bytes of flash. `board` in the configuration names it.
docs/reference/boards.md has its keys.
"""

import os

import strict_json
from micropython import const

from firmware import resources
from firmware.config import rules

_TYPING = const(0)
if _TYPING:
    from typing import Any

ADDED = "data/boards/"
_BUILT_IN = "board/boards.json"  # of firmware.resources
_FILE_MAX = const(4096)
_OWN_MAX = const(16)
_PORTS = ("esp32", "rp2")
_CHIPS = ("any", "esp32", "esp32s2", "esp32s3", "esp32c3", "esp32c6", "rp2040", "rp2350")
_LINE_PINS = ("tx", "rx", "direction")

# Rows as in schema.py.
# fmt: off
KEYS = (
    ("title", "text", None, 1, 48),
    ("port", "choice", "esp32", _PORTS),
    ("chip", "choice", "any", _CHIPS),  # of that port; tools/device compares it with an image
    ("lines", "list", (
        ("name", "text", None, 1, 16),
        ("uart", "int", None, 0, 2),
        ("tx", "pin", None),
        ("rx", "pin", None),
        ("direction", "pin", None),
        ("high", "pins", (), 4),
    ), 2),
    ("ethernet", "section", (
        ("phy", "choice", "none", ("none", "lan8720", "ip101", "w5500")),
        ("address", "int", 0, 0, 31),
        ("mdc", "pin", 23),
        ("mdio", "pin", 18),
        ("power", "pin", None),
        ("clock", "pin", 0),
        ("clock_out", "bool", False),
        ("sck", "pin", None),
        ("mosi", "pin", None),
        ("miso", "pin", None),
        ("cs", "pin", None),
        ("interrupt", "pin", None),
    )),
    ("led", "pin", None),
    ("button", "pin", None),
    ("forbidden", "pins", (), 40),
    ("terminals", "drawing", (), 24, 72),
)
# fmt: on


def names() -> "list[str]":
    """The names of the firmware's boards and of the user's own, _OWN_MAX of these, sorted."""
    found = strict_json.loads(resources.read(_BUILT_IN), ("names",))["names"]
    try:
        own = sorted([file[:-5] for file in os.listdir(ADDED[:-1]) if file.endswith(".json")])
    except OSError:  # no such folder
        own = []
    return sorted(found + [name for name in own[:_OWN_MAX] if name not in found and rules.has_only(name, b"-_")])


def load(name: str) -> dict:
    """The board file of that name, complete with defaults. Raises ValueError with what is wrong, and with the place."""
    if not rules.has_only(name, b"-_"):
        raise ValueError("%s: letters, digits, - and _ only" % rules.shortened(name))
    try:
        document = _read(name)
    except KeyError:
        known = ", ".join(names())
        raise ValueError(
            "there is no %s%s.json and none of the firmware; there are %s" % (ADDED, name, known)
        ) from None
    except ValueError as error:
        raise ValueError("%s: not JSON: %s" % (name, error)) from None
    errors: list = []
    board = parse(document, errors)
    if errors:
        raise ValueError("%s: %s" % (name, errors[0]))
    port = os.uname()[0] if hasattr(os, "uname") else ""  # not on MicroPython's unix port
    if port in _PORTS and board["port"] != port:
        raise ValueError("%s is a board of %s, and this device is %s" % (name, board["port"], port))
    return board


def _read(name):
    """The parsed board. Raises KeyError when there is none, ValueError."""
    try:
        with open(ADDED + name + ".json", "rb") as f:
            text = f.read(_FILE_MAX + 1)
    except OSError:
        return strict_json.loads(resources.read(_BUILT_IN), (name,))[name]
    if len(text) > _FILE_MAX:
        raise ValueError("longer than %d bytes" % _FILE_MAX)
    return strict_json.loads(text)


def parse(document: "Any", errors: list) -> dict:
    """The board file in a parsed document of any type, with defaults; what is wrong in it is added to `errors`."""
    if not isinstance(document, dict):
        errors.append("must be an object")
        return {}
    rules.check_keys(document, KEYS, "", errors)
    board = {row[0]: rules.part(row, document, errors) for row in KEYS}
    if "title" not in document:
        errors.append("title: missing")
    if errors:
        return board
    forbidden = board["forbidden"]
    for k, line in enumerate(board["lines"]):
        where = "lines[%d]." % k
        for key in ("tx", "rx"):
            if line[key] is None:
                errors.append("%s%s: missing" % (where, key))
        for key in _LINE_PINS:
            if line[key] is not None and line[key] in forbidden:
                errors.append("%s%s: pin %d is forbidden" % (where, key, line[key]))
    ethernet = board["ethernet"]
    if ethernet["phy"] == "w5500":
        for key in ("sck", "mosi", "miso", "cs", "interrupt"):
            if ethernet[key] is None:
                errors.append("ethernet.%s: missing" % key)
    return board


def line_errors(board: dict, buses: list) -> "list[str]":
    """What is wrong with the buses of a configuration on that board: a UART named by a name that it does not have, a
    pin that the board itself needs."""
    errors = []
    for k, bus in enumerate(buses):
        line = _line(board, bus["uart"])
        if isinstance(bus["uart"], str) and "/" not in bus["uart"] and line is None:
            known = ", ".join([one["name"] for one in board["lines"]])
            errors.append("buses[%d].uart: the board has no %s, but %s" % (k, rules.shortened(bus["uart"]), known))
        for key in _LINE_PINS:
            if bus[key] is not None and bus[key] in board["forbidden"]:
                errors.append("buses[%d].%s: the board needs pin %d itself" % (k, key, bus[key]))
    if len(buses) == 2:
        numbers = [bus["uart"] if line is None else line["uart"] for bus, line in _with_lines(board, buses)]
        if numbers[0] == numbers[1]:
            errors.append("buses[1].uart: %s is used by the other bus" % numbers[1])
    return errors


def _with_lines(board, buses):
    return [(bus, _line(board, bus["uart"])) for bus in buses]


def _line(board, uart):
    """The line of the board with that name, or that number of a UART."""
    for line in board["lines"]:
        if uart in (line["name"], line["uart"]):
            return line
    return None


def apply(config: dict) -> None:
    """Puts what the board file says where a valid configuration leaves it open: UART and pins of each bus, LED, as
    network.wiring the section "ethernet", and as system.button the pin of the button, unless something has it. Raises
    ValueError."""
    board = load(config["board"])
    for bus, line in _with_lines(board, config["buses"]):
        if line is not None:
            bus["uart"] = line["uart"]
            for key in _LINE_PINS:
                if bus[key] is None:
                    bus[key] = line[key]
            bus["high"] = line["high"]
    if config["finder"]["led"] is None:
        config["finder"]["led"] = board["led"]
    if board["ethernet"]["phy"] != "none":
        config["network"]["wiring"] = board["ethernet"]
    used = [config["finder"]["led"]] + [bus[key] for bus in config["buses"] for key in _LINE_PINS]
    if board["button"] not in used:
        config["system"]["button"] = board["button"]

"""Profile files: JSON in, a firmware.profile.Profile out. Needed at boot only, and given back to the heap after it.

A profile says what one kind of meter offers: a row for each point (number, name, function, address, type, scale,
unit, kind). The number is permanent and the same for the same quantity in every profile (docs/contracts.md).

The plan: points are sorted by function and address and coalesced into as few blocks as possible. Registers between
two points are read over when that is cheaper than another request (`gap`), up to what the meter gives at once.
"""

from micropython import const

from firmware import strict_json
from firmware.profile import REGISTERS, TYPES, UNITS, Profile

COLUMNS = ["number", "name", "function", "address", "type", "scale", "unit", "kind"]
KINDS = ("instantaneous", "accumulating")
_POINTS_MAX = const(96)
_NAME_MAX = const(32)
_REGISTERS_MAX = const(125)  # Application Protocol 6.3
_BUILT_IN = __file__.rsplit("/", 1)[0] + "/meters/" if "/" in __file__ else "firmware/meters/"
_ADDED = "data/meters/"


class ProfileError(ValueError):
    """Says which profile, which row, which column, and what would be right."""


def load(name):
    """The profile called `name`, from data/meters/ (dropped there by a user) or from those that came with the
    firmware. Raises ProfileError."""
    for folder in (_ADDED, _BUILT_IN):
        try:
            raw = strict_json.load(folder + name + ".json")
        except OSError:
            continue
        except ValueError as error:
            raise ProfileError("profile %s: not JSON: %s" % (name, error)) from None
        return parse(name, raw)
    raise ProfileError("profile %s: there is no %s%s.json and none came with the firmware" % (name, _ADDED, name))


def parse(name, raw):
    """A Profile from the parsed JSON `raw`, whose rows it checks one by one. Raises ProfileError."""

    def ensure(condition, where, wanted):
        if not condition:
            raise ProfileError("profile %s: %s: must be %s" % (name, where, wanted))

    def integer(value, low, high):
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    ensure(isinstance(raw, dict), "file", "a JSON object")
    max_registers = raw.get("max_registers", _REGISTERS_MAX)
    gap = raw.get("gap", 0)
    order = raw.get("word_order", "big")
    rows = raw.get("points")
    ensure(integer(max_registers, 4, _REGISTERS_MAX), "max_registers", "4 to 125")
    ensure(integer(gap, 0, 64), "gap", "0 to 64")
    ensure(order in ("big", "little"), "word_order", '"big" or "little"')
    ensure(raw.get("columns") == COLUMNS, "columns", str(COLUMNS))
    ensure(isinstance(rows, list) and 0 < len(rows) <= _POINTS_MAX, "points", "1 to %d rows" % _POINTS_MAX)
    numbers = set()
    for k, row in enumerate(rows):
        where = "points[%d]." % k
        ensure(isinstance(row, list) and len(row) == len(COLUMNS), where + "row", "%d columns" % len(COLUMNS))
        number, label, function, address, kind, scale, unit, use = row
        ensure(integer(number, 1, 255) and number not in numbers, where + "number", "1 to 255, each once")
        numbers.add(number)
        ensure(isinstance(label, str) and 0 < len(label) <= _NAME_MAX, where + "name", "1 to 32 characters")
        ensure(min(label) > " " and max(label) < "\x7f", where + "name", "printable ASCII without spaces")
        ensure(integer(function, 3, 4), where + "function", "3 or 4")
        ensure(kind in TYPES, where + "type", "one of " + ", ".join(TYPES))
        size = REGISTERS[TYPES.index(kind)]
        ensure(integer(address, 0, 0x10000 - size), where + "address", "0 to %d" % (0x10000 - size))
        number_like = isinstance(scale, (int, float)) and not isinstance(scale, bool)
        ensure(number_like and 1e-9 <= scale <= 1e9, where + "scale", "1e-9 to 1e9")
        ensure(unit in UNITS, where + "unit", "one of " + ", ".join(UNITS))
        ensure(use in KINDS, where + "kind", "one of " + ", ".join(KINDS))
        ensure(use != "accumulating" or integer(scale, 1, 1000000), where + "scale", "an integer for energy")
    rows.sort(key=lambda row: (row[2], row[3]))
    plan, blocks, offsets = make_plan(rows, max_registers, gap)
    return Profile(
        raw.get("name", name), [row[1] for row in rows], bytes([row[0] for row in rows]),
        bytes([TYPES.index(row[4]) for row in rows]), bytes([UNITS.index(row[6]) for row in rows]),
        [row[5] for row in rows], bytes([row[7] == "accumulating" for row in rows]),
        order == "little", plan, blocks, offsets,
    )  # fmt: skip


def make_plan(rows, max_registers, gap):
    """(plan, blocks, offsets) for rows sorted by function and address, as Profile holds them."""
    plan = []
    blocks = bytearray()
    offsets = bytearray()
    function = start = end = -1
    for row in rows:
        first = row[3]
        last = first + REGISTERS[TYPES.index(row[4])]
        if row[2] != function or first > end + gap or last - start > max_registers:
            if start >= 0:
                plan.append((function, start, end - start))
            function, start, end = row[2], first, last
        elif last > end:
            end = last
        blocks.append(len(plan))
        offsets.append(first - start)
    plan.append((function, start, end - start))
    return plan, bytes(blocks), bytes(offsets)

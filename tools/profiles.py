"""Meter profiles on the host: the common number table, a loader and a validator.

In:  firmware/meters/profiles/*.json, one file for each kind of meter (read by the firmware on the device, too).
Out: Profile and Point objects for the virtual meters and the tests; ProfileError names file, row and what is
     allowed. `python -m tools.profiles [FILE...]` checks files and ends with 1 when one is wrong.

A profile is one JSON object. Its rows are lists, not objects, because the device parses them in a small heap:

    {"name": "Eastron SDM630", "confidence": 2, "max_registers": 50, "gap": 8, "word_order": "big",
     "signature": [[3, 64514, "uint16", [112, 121, 136]], [4, 70, "float32", 45, 65]],
     "columns": ["number", "name", "function", "address", "type", "scale", "unit", "kind"],
     "points": [[1, "voltage_l1", 4, 0, "float32", 1, "V", "instantaneous"], ...]}

docs/reference/profiles.md says what every key and column means. Columns and points are required; what else is left out
has the default that the device takes.
"""

import functools
import json
import math
import struct
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

METERS_DIR = Path(__file__).resolve().parent.parent / "firmware" / "meters" / "profiles"

COLUMNS = ("number", "name", "function", "address", "type", "scale", "unit", "kind")
TYPES = {
    "uint16": 1,
    "int16": 1,
    "uint32": 2,
    "int32": 2,
    "uint64": 4,
    "int64": 4,
    "float32": 2,
    "float64": 4,
}  # -> registers
KINDS = ("instantaneous", "accumulating", "net")
WORD_ORDERS = ("big", "little")
NO_VALUES = ("none", "maximum", "sunspec")
REQUIRED = {"columns", "points"}
DEFAULTS = {"confidence": 0, "max_registers": 125, "gap": 0, "word_order": "big"}  # and the file's name
OPTIONAL = {
    "name",
    *DEFAULTS,
    "both_functions",
    "constants",
    "unconfirmed",
    "no_value",
    "no_value_floats",
    "signed_current",
    "signature",
    "gap_ms",
    "tenfold_frequency",
}
_TESTS_MAX = 8  # rows of a signature
_CHOICES_MAX = 16  # values of one of them
_CONSTANTS_MAX = 8
_WORDS_MAX = 32  # registers of one
_NO_VALUE_FLOATS_MAX = 4
_FLOAT_LIMIT = 2.0**41  # nothing measures as much as this, before the scale
_INT64_LIMIT = 2**48  # nor as much as this
FIRST_SPECIFIC = 129  # numbers from here to 255 belong to the profile that uses them

_PHASES = ("_l1", "_l2", "_l3")
_LINES = ("_l1_l2", "_l2_l3", "_l3_l1")

# First number, quantity, suffixes in number order, unit. Numbers are permanent: they are in the register
# map of unit 255 and in the BACnet instances, so a row may be added but never moved.
_GROUPS = (
    (1, "voltage", _PHASES, "V"),  # line to neutral
    (4, "voltage_ln_average", ("",), "V"),
    (5, "voltage", _LINES, "V"),
    (8, "voltage_ll_average", ("",), "V"),
    (9, "current", (*_PHASES, "_average", "_neutral", "_sum"), "A"),
    (15, "frequency", ("",), "Hz"),
    (16, "active_power", ("", *_PHASES), "W"),
    (20, "reactive_power", ("", *_PHASES), "var"),
    (24, "apparent_power", ("", *_PHASES), "VA"),
    (28, "power_factor", ("", *_PHASES), ""),
    (32, "energy_import", ("", *_PHASES), "Wh"),
    (36, "energy_export", ("", *_PHASES), "Wh"),
    (40, "energy_total", ("", *_PHASES), "Wh"),
    (44, "reactive_energy_import", ("", *_PHASES), "varh"),
    (48, "reactive_energy_export", ("", *_PHASES), "varh"),
    (52, "reactive_energy_total", ("", *_PHASES), "varh"),
    (56, "apparent_energy", ("",), "VAh"),
    (128, "alarm", ("",), ""),
)
NUMBERS = {first + i: name + suffix for first, name, suffixes, _ in _GROUPS for i, suffix in enumerate(suffixes)}
UNITS = {first + i: unit for first, _, suffixes, unit in _GROUPS for i in range(len(suffixes))}
NAMES = {name: number for number, name in NUMBERS.items()}
ACCUMULATING_UNITS = ("Wh", "varh", "VAh")


class ProfileError(ValueError):
    """A profile is wrong; the text says where, what is there and what is allowed."""


@dataclass(frozen=True)
class Point:
    """One row of a profile; `address` is the zero-based PDU address of the first register."""

    number: int
    name: str
    function: int
    address: int
    type: str
    scale: float
    unit: str
    kind: str

    @property
    def size(self):
        """Registers that the raw value takes (1, 2 or 4)."""
        return TYPES[self.type]

    @property
    def accumulating(self):
        """True for a counter of Wh, varh or VAh, also for one that may fall (net)."""
        return self.kind != "instantaneous"

    def scaled(self, raw):
        """The value in the point's unit: raw x scale; a whole number when accumulating, and then exact."""
        if not self.accumulating:
            return raw * self.scale
        value = Fraction(raw) * Fraction(str(self.scale))
        whole = math.floor(abs(value) + Fraction(1, 2))
        return whole if value >= 0 else -whole


@dataclass(frozen=True)
class Profile:
    """A validated profile; `id` is the file's name without .json, as the configuration names it."""

    id: str
    name: str
    confidence: int
    max_registers: int
    gap: int
    word_order: str
    points: tuple
    unconfirmed: tuple = ()  # numbers of points that one source has, or that are inferred
    no_value: str = "none"
    no_value_floats: tuple = ()
    signed_current: bool = False
    tenfold_frequency: bool = False
    gap_ms: int = 0  # the least silence before a request
    both_functions: bool = False  # 3 and 4 give the same
    constants: tuple = ()  # (function, address, registers) of what never changes
    signature: tuple = ()  # rows: function, address, type, and a list of values or the lowest and the highest

    def point(self, number):
        """The point with this number or this name. Raises KeyError."""
        for point in self.points:
            if number in (point.number, point.name):
                return point
        raise KeyError(number)

    def blocks(self, gap):
        """[(function, first address, count)] when points at most `gap` registers apart are joined, as far as the meter
        gives so many at once."""
        blocks = []
        for point in self.points:
            end = point.address + point.size
            if (
                blocks
                and blocks[-1][0] == point.function
                and point.address - sum(blocks[-1][1:]) <= gap
                and end - blocks[-1][1] <= self.max_registers
            ):
                blocks[-1][2] = end - blocks[-1][1]
            else:
                blocks.append([point.function, point.address, point.size])
        return [tuple(block) for block in blocks]


def available():
    """Ids of the profiles in the tree, sorted."""
    return sorted(path.stem for path in METERS_DIR.glob("*.json"))


def load(profile):
    """The Profile for an id ("eastron-sdm630") or a path of a .json file. Raises ProfileError."""
    path = Path(profile) if str(profile).endswith(".json") else METERS_DIR / f"{profile}.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ProfileError(f"{profile}: no such profile; there are {', '.join(available())}") from None
    return parse(text, path.stem)


@functools.lru_cache(maxsize=64)
def parse(text, profile_id):
    """The Profile in a JSON text. Raises ProfileError. The same one for the same text: tests and virtual meters ask for
    each many times."""

    def ensure(condition, where, message):
        if not condition:
            raise ProfileError(f"{profile_id}: {where}: {message}")

    try:
        data = json.loads(text)
    except ValueError as error:
        raise ProfileError(f"{profile_id}: not JSON: {error}") from None
    ensure(isinstance(data, dict), "profile", "must be a JSON object")
    unknown, missing = sorted(set(data) - REQUIRED - OPTIONAL), sorted(REQUIRED - set(data))
    ensure(not unknown, "keys", f"{unknown} unknown; known are {sorted(REQUIRED | OPTIONAL)}")
    ensure(not missing, "keys", f"{missing} missing")
    data = {"name": profile_id, **DEFAULTS, **data}
    ensure(
        isinstance(data["name"], str) and 0 < len(data["name"]) <= 40,
        "name",
        "must be a text of 1..40 characters",
    )
    for key, low, high in (("confidence", 0, 2), ("max_registers", 4, 125), ("gap", 0, 64)):
        ensure(_is_int(data[key]) and low <= data[key] <= high, key, f"{data[key]!r} is not one of {low}..{high}")
    ensure(data["word_order"] in WORD_ORDERS, "word_order", f"{data['word_order']!r} is not one of {WORD_ORDERS}")
    ensure(data["columns"] == list(COLUMNS), "columns", f"must be {list(COLUMNS)}")
    ensure(isinstance(data["points"], list) and data["points"], "points", "must be a list with at least one row")

    points = []
    for index, row in enumerate(data["points"]):
        where = f"points[{index}]"
        ensure(
            isinstance(row, list) and len(row) == len(COLUMNS),
            where,
            f"must be a list of {len(COLUMNS)} values",
        )
        point = Point(*row)
        _check_point(point, lambda condition, column, message, w=where: ensure(condition, f"{w}.{column}", message))
        for other in points:
            ensure(other.number != point.number, where, f"number {point.number} is used twice")
            ensure(other.name != point.name, where, f"name {point.name} is used twice")
        if points:
            last = points[-1]
            ensure(
                (last.function, last.address + last.size) <= (point.function, point.address),
                where,
                f"address {point.address} overlaps or precedes the row before it",
            )
        points.append(point)
    # The reader of a diff and the device's line-wise tools see one point in each line.
    for line in text.splitlines():
        ensure(sum(line.count(f'"{kind}"') for kind in KINDS) <= 1, "points", "one row a line")
    unconfirmed = data.get("unconfirmed", [])
    ensure(isinstance(unconfirmed, list), "unconfirmed", "must be a list of numbers of points")
    for number in unconfirmed:
        ensure(number in {point.number for point in points}, "unconfirmed", f"{number!r} is no point's number")
    no_value = data.get("no_value", "none")
    ensure(no_value in NO_VALUES, "no_value", f"{no_value!r} is not one of {NO_VALUES}")
    no_value_floats = data.get("no_value_floats", [])
    ensure(
        isinstance(no_value_floats, list)
        and len(no_value_floats) <= _NO_VALUE_FLOATS_MAX
        and all(_is_number(one) for one in no_value_floats),
        "no_value_floats",
        f"must be a list of at most {_NO_VALUE_FLOATS_MAX} numbers",
    )
    signed_current = data.get("signed_current", False)
    ensure(isinstance(signed_current, bool), "signed_current", f"{signed_current!r} is not true or false")
    tenfold = data.get("tenfold_frequency", False)
    ensure(isinstance(tenfold, bool), "tenfold_frequency", f"{tenfold!r} is not true or false")
    both = data.get("both_functions", False)
    ensure(isinstance(both, bool), "both_functions", f"{both!r} is not true or false")
    gap_ms = data.get("gap_ms", 0)
    ensure(_is_int(gap_ms) and 0 <= gap_ms <= 1000, "gap_ms", f"{gap_ms!r} is not one of 0..1000")
    signature = data.get("signature", [])
    ensure(
        isinstance(signature, list) and len(signature) <= _TESTS_MAX,
        "signature",
        f"must be a list of at most {_TESTS_MAX} rows",
    )
    for index, row in enumerate(signature):
        _check_test(row, lambda condition, message, k=index: ensure(condition, f"signature[{k}]", message))
    constants = data.get("constants", [])
    ensure(
        isinstance(constants, list) and len(constants) <= _CONSTANTS_MAX,
        "constants",
        f"must be a list of at most {_CONSTANTS_MAX} rows",
    )
    constants = [
        _constant(row, lambda condition, message, k=index: ensure(condition, f"constants[{k}]", message))
        for index, row in enumerate(constants)
    ]
    return Profile(
        id=profile_id,
        **{key: data[key] for key in ("name", "confidence", "max_registers", "gap", "word_order")},
        points=tuple(points),
        unconfirmed=tuple(unconfirmed),
        no_value=no_value,
        no_value_floats=tuple(no_value_floats),
        signed_current=signed_current,
        tenfold_frequency=tenfold,
        gap_ms=gap_ms,
        both_functions=both,
        constants=tuple(constants),
        signature=tuple(tuple(row) for row in signature),
    )


def _constant(row, ensure):
    """(function, address, registers) of one row of the constants."""
    ensure(isinstance(row, list) and len(row) == 3, "must be [function, address, registers]: 3 values")
    function, address, content = row
    ensure(function in (3, 4), f"function {function!r} is not 3 or 4")
    if isinstance(content, str):
        ensure(content.isascii() and content.isprintable(), f"{content!r} is not printable ASCII")
        padded = content.encode() + b"\0" * (len(content) % 2)
        content = list(struct.unpack(f">{len(padded) // 2}H", padded))
    ensure(
        isinstance(content, list)
        and 1 <= len(content) <= _WORDS_MAX
        and all(_is_int(word) and 0 <= word <= 0xFFFF for word in content),
        f"{content!r} is neither 1..{_WORDS_MAX} registers nor a text for them",
    )
    last = 0x10000 - len(content)
    ensure(_is_int(address) and 0 <= address <= last, f"address {address!r} is not one of 0..{last}")
    return function, address, tuple(content)


def _check_test(row, ensure):
    """One row of a signature."""
    ensure(isinstance(row, list) and len(row) in (4, 5), "must be [function, address, type, ...]: 4 or 5 values")
    function, address, type_name, *test = row
    ensure(function in (3, 4), f"function {function!r} is not 3 or 4")
    ensure(type_name in TYPES, f"type {type_name!r} is not one of {sorted(TYPES)}")
    last = 0x10000 - TYPES[type_name]
    ensure(_is_int(address) and 0 <= address <= last, f"address {address!r} is not one of 0..{last}")
    if len(test) == 2:
        low, high = test
        ensure(_is_number(low) and _is_number(high) and low <= high, f"{test} is not the lowest and the highest value")
        return
    choices = test[0]
    ensure(
        not type_name.startswith("float")
        and isinstance(choices, list)
        and 1 <= len(choices) <= _CHOICES_MAX
        and all(_is_int(one) for one in choices),
        f"{choices!r} is not a list of 1..{_CHOICES_MAX} integers",
    )


def _check_point(point, ensure):
    number, name = point.number, point.name
    ensure(_is_int(number) and 1 <= number <= 255, "number", f"{number!r} is not one of 1..255")
    ensure(isinstance(name, str) and name, "name", "must be a text")
    if number in NUMBERS:
        ensure(
            name == NUMBERS[number],
            "name",
            f"{name!r} is not {NUMBERS[number]!r}, the name of number {number}",
        )
        ensure(
            point.unit == UNITS[number],
            "unit",
            f"{point.unit!r} is not {UNITS[number]!r}, the unit of {name}",
        )
    else:
        ensure(
            number >= FIRST_SPECIFIC,
            "number",
            f"{number} is in no table; own points begin at {FIRST_SPECIFIC}",
        )
        ensure(name not in NAMES, "name", f"{name!r} has the number {NAMES.get(name)}")
        units = sorted(set(UNITS.values()))
        ensure(point.unit in units, "unit", f"{point.unit!r} is not one of {units}")
    ensure(point.function in (3, 4), "function", f"{point.function!r} is not 3 or 4")
    ensure(point.type in TYPES, "type", f"{point.type!r} is not one of {sorted(TYPES)}")
    ensure(_is_int(point.address) and point.address >= 0, "address", f"{point.address!r} is not one of 0..65535")
    ensure(point.address + point.size <= 0x10000, "address", f"{point.address} + {point.size} is beyond 65536")
    ensure(_is_number(point.scale), "scale", "must be a number")
    ensure(point.scale > 0, "scale", f"{point.scale} must be above 0")
    ensure(point.kind in KINDS, "kind", f"{point.kind!r} is not one of {KINDS}")
    ensure(
        point.accumulating == (point.unit in ACCUMULATING_UNITS),
        "kind",
        f"a point in {point.unit!r} must {'' if point.unit in ACCUMULATING_UNITS else 'not '}be accumulating",
    )


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


# Raw values and registers. A float is packed as the meter does it; integers are rounded and must fit.
_FORMATS = {"uint16": ">H", "int16": ">h", "uint32": ">I", "int32": ">i", "uint64": ">Q", "int64": ">q",
            "float32": ">f", "float64": ">d"}  # fmt: skip


def encode(raw, type_name, word_order):
    """Registers (a list of ints, in wire order) of a raw value. Raises struct.error when it does not fit."""
    packed = struct.pack(_FORMATS[type_name], raw if type_name.startswith("float") else round(raw))
    words = [int.from_bytes(packed[i : i + 2], "big") for i in range(0, len(packed), 2)]
    return words if word_order == "big" else words[::-1]


def decode(registers, type_name, word_order):
    """The raw value in registers (wire order), the reverse of encode()."""
    words = list(registers) if word_order == "big" else list(registers)[::-1]
    return struct.unpack(_FORMATS[type_name], b"".join(word.to_bytes(2, "big") for word in words))[0]


def void(type_name, no_value):
    """The raw value that means "no value" in registers of this type; None when there is none."""
    if type_name.startswith("float"):
        return math.nan
    if no_value == "none":
        return None
    bits = 16 * TYPES[type_name]
    if type_name.startswith("u"):
        return 2**bits - 1
    return 2 ** (bits - 1) - 1 if no_value == "maximum" else -(2 ** (bits - 1))


def is_void(raw, type_name, no_value, no_value_floats=()):
    """True when a raw value means that the meter has none, or is beyond what can be measured."""
    if type_name.startswith("float"):
        return not abs(raw) < _FLOAT_LIMIT or raw in map(float32, no_value_floats)
    if TYPES[type_name] == 4 and not -_INT64_LIMIT <= raw < _INT64_LIMIT:
        return True
    return raw == void(type_name, no_value)


def float32(number):
    """The number as registers of that type give it."""
    return struct.unpack(">f", struct.pack(">f", number))[0]


def main(arguments):
    """Check the named files, or all profiles of the tree; 1 when one is wrong."""
    failed = 0
    for name in arguments or available():
        try:
            profile = load(name)
        except ProfileError as error:
            print(error, file=sys.stderr)
            failed = 1
        else:
            requests = len(profile.blocks(profile.gap))
            doubts = f", {len(profile.unconfirmed)} of them unconfirmed" if profile.unconfirmed else ""
            print(
                f"{profile.id}: {profile.name}, confidence {profile.confidence}, {len(profile.points)} points{doubts}, "
                f"in {requests} requests"
            )
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

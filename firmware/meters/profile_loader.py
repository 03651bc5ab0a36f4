"""Makes a Profile (profile.py) of the JSON of a profile file.

A profile file describes one kind of meter: a row for each point (number, name, function, address, type, scale, unit,
kind). The number is permanent and the same for the same quantity in every profile. docs/reference/profiles.md has every
key and column.

The plan: points are sorted by function and address and coalesced into as few blocks as possible. Registers between
two points are read over when that is cheaper than another request (`gap`), up to what the meter gives at once.
"""

import struct

from micropython import const

from firmware.meters import catalog
from firmware.meters.profile import (
    FLOAT32,
    LITTLE,
    PLAIN,
    REGISTERS,
    RISES,
    TENFOLD,
    TURNS,
    TYPES,
    UNITS,
    WHOLE,
    Profile,
    pack_names,
)  # fmt: skip

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.meters.profile import Ratios

COLUMNS = ["number", "name", "function", "address", "type", "scale", "unit", "kind"]
KINDS = ("instantaneous", "accumulating", "net")
KEYS = (
    "both_functions", "columns", "confidence", "constants", "gap", "gap_ms", "max_registers", "name", "no_value",
    "no_value_floats", "points", "signature", "signed_current", "tenfold_frequency", "unconfirmed", "word_order",
)  # fmt: skip
NO_VALUE = {"none": 0, "maximum": 0x7F, "sunspec": 0x80}  # -> first byte of the signed integer that means it
_POINTS_MAX = const(120)
_TESTS_MAX = const(8)
_CHOICES_MAX = const(16)
_CONSTANTS_MAX = const(8)
_WORDS_MAX = const(32)  # registers of one
_NO_VALUE_FLOATS_MAX = const(4)
_NAME_MAX = const(32)
_REGISTERS_MAX = const(125)  # Application Protocol 6.3
_GAP_MAX_MS = const(1000)  # as in a bus's section of the configuration
_TENS_MIN = const(-3)  # of the scale of a float, a power of ten
_TENS_MAX = const(9)


class ProfileError(ValueError):
    """Says which profile, which row, which column, and what would be right."""


def load(name: str) -> Profile:
    """Loads the profile called `name`. Raises ProfileError."""
    try:
        document = catalog.read(name)
    except OSError:
        where = catalog.ADDED + name
        raise ProfileError("profile %s: there is no %s.json and none came with the firmware" % (name, where)) from None
    except ValueError as error:
        raise ProfileError("profile %s: not JSON: %s" % (name, error)) from None
    return parse(name, document)


def parse(name: str, document: "Any") -> Profile:
    """Makes a Profile of the parsed JSON of a profile file, and checks all of it. Raises ProfileError."""

    def ensure(condition, where, wanted):
        if not condition:
            raise ProfileError("profile %s: %s: must be %s" % (name, where, wanted))

    ensure(isinstance(document, dict), "file", "a JSON object")
    for key in document:
        if key not in KEYS:
            raise ProfileError("profile %s: %s: unknown key; known are %s" % (name, key, ", ".join(KEYS)))
    max_registers = document.get("max_registers", _REGISTERS_MAX)
    gap = document.get("gap", 0)
    gap_ms = document.get("gap_ms", 0)
    order = document.get("word_order", "big")
    no_value = document.get("no_value", "none")
    no_value_floats = document.get("no_value_floats", [])
    signed_current = document.get("signed_current", False)
    tenfold = document.get("tenfold_frequency", False)
    rows = document.get("points")
    title = document.get("name", name)
    ensure(isinstance(title, str) and 0 < len(title) <= 40, "name", "1 to 40 characters")
    ensure(_is_integer(document.get("confidence", 0), 0, 2), "confidence", "0 to 2")
    ensure(_is_integer(max_registers, 4, _REGISTERS_MAX), "max_registers", "4 to 125")
    ensure(_is_integer(gap, 0, 64), "gap", "0 to 64")
    ensure(_is_integer(gap_ms, 0, _GAP_MAX_MS), "gap_ms", "0 to %d" % _GAP_MAX_MS)
    ensure(order in ("big", "little"), "word_order", '"big" or "little"')
    ensure(isinstance(no_value, str) and no_value in NO_VALUE, "no_value", "one of " + ", ".join(sorted(NO_VALUE)))
    are_floats = isinstance(no_value_floats, list) and all([_is_number(value) for value in no_value_floats])
    is_right = are_floats and len(no_value_floats) <= _NO_VALUE_FLOATS_MAX
    ensure(is_right, "no_value_floats", "a list of at most %d numbers" % _NO_VALUE_FLOATS_MAX)
    ensure(isinstance(signed_current, bool), "signed_current", "true or false")
    ensure(isinstance(tenfold, bool), "tenfold_frequency", "true or false")
    ensure(isinstance(document.get("both_functions", False), bool), "both_functions", "true or false")
    ensure(document.get("columns") == COLUMNS, "columns", str(COLUMNS))
    ensure(isinstance(rows, list) and 0 < len(rows) <= _POINTS_MAX, "points", "1 to %d rows" % _POINTS_MAX)
    numbers = set()
    for k, row in enumerate(rows):
        where = "points[%d]." % k
        ensure(isinstance(row, list) and len(row) == len(COLUMNS), where + "row", "%d columns" % len(COLUMNS))
        number, label, function, address, kind, scale, unit, use = row
        ensure(_is_integer(number, 1, 255) and number not in numbers, where + "number", "1 to 255, each once")
        numbers.add(number)
        ensure(isinstance(label, str) and 0 < len(label) <= _NAME_MAX, where + "name", "1 to 32 characters")
        raw_label = label.encode()  # bytes, for a letter by itself would become a name for good
        is_plain = min(raw_label) > 32 and max(raw_label) < 127 and b'"' not in raw_label and b"\\" not in raw_label
        ensure(is_plain, where + "name", "printable ASCII without spaces, quotes and backslashes")
        _check_place(ensure, where, function, address, kind)
        ensure(_is_number(scale) and 1e-9 <= scale <= 1e9, where + "scale", "1e-9 to 1e9")
        ensure(unit in UNITS, where + "unit", "one of " + ", ".join(UNITS))
        ensure(use in KINDS, where + "kind", "one of " + ", ".join(KINDS))
    unconfirmed = document.get("unconfirmed", [])
    are_points = isinstance(unconfirmed, list) and all([_is_integer(k, 1, 255) and k in numbers for k in unconfirmed])
    ensure(are_points, "unconfirmed", "a list of numbers of points")
    _check_signature(ensure, document.get("signature", []))
    _check_constants(ensure, document.get("constants", []))
    rows.sort(key=lambda row: (row[2], row[3]))
    plan, blocks, offsets = make_plan(rows, max_registers, gap)
    has_no_value = no_value != "none" or bool(no_value_floats)
    encodings, encoding_of = _encodings(rows, signed_current, order == "little", has_no_value, tenfold)
    return Profile(
        title,
        pack_names([row[1] for row in rows]),
        bytes([row[0] for row in rows]),
        bytes([UNITS.index(row[6]) for row in rows]),
        encoding_of,
        encodings,
        order == "little",
        NO_VALUE[no_value],
        tuple(
            [struct.unpack(">f", struct.pack(">f", value))[0] for value in no_value_floats]
        ),  # as the registers give it
        plan,
        blocks,
        offsets,
        gap_ms,
    )


def of_meter(config: dict, known: "dict[str, Profile]") -> Profile:
    """Returns the Profile for a meter of the configuration. Keeps it in `known`, for the next meter of its kind. Raises
    ProfileError."""
    name = config["profile"]
    if name not in known:
        known[name] = load(name)
    if not config["inverted"]:
        return known[name]
    key = "-" + name
    if key not in known:
        known[key] = inverted(known[name])
    return known[key]


def inverted(profile: Profile) -> Profile:
    """Makes the Profile for a meter whose current transformers are the wrong way round: powers and power factors (and
    currents, where they have a sign) with the other sign, and import in the place of export, where it has both and
    decodes them alike. What does not differ is shared."""
    offsets = bytearray(profile.offsets)
    blocks = bytearray(profile.blocks)
    for i, number in enumerate(profile.numbers):
        place = (number - 32) % 12  # 32 to 35 import, 36 to 39 export; 44 to 51 the same, reactive
        if 32 <= number < 52 and place < 8:
            k = profile.index_of(number + (4 if place < 4 else -4))
            alike = profile.units[k] == profile.units[i] and profile.encoding_of[k] == profile.encoding_of[i]
            if k >= 0 and alike:
                offsets[i] = profile.offsets[k]
                blocks[i] = profile.blocks[k]
    encodings = []
    for kind, numerator, denominator, flags, factor, tens in profile.encodings:
        sign = -1 if flags & TURNS else 1
        encodings.append((kind, sign * numerator, denominator, flags, sign * factor, tens))
    return Profile(
        profile.name, profile.names, profile.numbers, profile.units, profile.encoding_of, encodings,
        profile.is_little, profile.no_value, profile.no_value_floats, profile.plan, bytes(blocks), bytes(offsets),
        profile.gap_ms,
    )  # fmt: skip


def ratios(config: dict) -> "Ratios | None":
    """Transformer ratios of a meter of the configuration, in lowest terms: numerator and denominator for values without
    one (1, 1), for voltages, for currents, and for their products. None if all are 1."""
    ct, ct_secondary = _lowest_terms(config["ct_primary"], config["ct_secondary"])
    pt, pt_secondary = _lowest_terms(config["pt_primary"], config["pt_secondary"])
    if ct == ct_secondary and pt == pt_secondary:
        return None
    return 1, 1, pt, pt_secondary, ct, ct_secondary, ct * pt, ct_secondary * pt_secondary


def _lowest_terms(a, b):
    # Products of small numbers stay small, and those are no objects in the heap.
    x, y = a, b
    while y:
        x, y = y, x % y
    return a // x, b // x


def _is_integer(value, low, high):
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value


def _check_place(ensure, where, function, address, kind):
    """Checks the columns that rows of points and rows of the signature have in common."""
    ensure(_is_integer(function, 3, 4), where + "function", "3 or 4")
    ensure(kind in TYPES, where + "type", "one of " + ", ".join(TYPES))
    last = 0x10000 - REGISTERS[TYPES.index(kind)]
    ensure(_is_integer(address, 0, last), where + "address", "0 to %d" % last)


def _check_signature(ensure, tests):
    """Checks what recognise.py reads of the file: there a wrong signature would be passed over in silence."""
    ensure(isinstance(tests, list) and len(tests) <= _TESTS_MAX, "signature", "at most %d rows" % _TESTS_MAX)
    for k, test in enumerate(tests):
        where = "signature[%d]." % k
        ensure(isinstance(test, list) and len(test) in (4, 5), where + "row", "function, address, type and test")
        _check_place(ensure, where, test[0], test[1], test[2])
        if len(test) == 5:
            is_range = _is_number(test[3]) and _is_number(test[4]) and test[3] <= test[4]
            ensure(is_range, where + "test", "the lowest and the highest number")
            continue
        choices = test[3]
        is_list = isinstance(choices, list) and 0 < len(choices) <= _CHOICES_MAX and not test[2].startswith("float")
        is_right = is_list and all([isinstance(code, int) and not isinstance(code, bool) for code in choices])
        wanted = "a list of 1 to %d integers, or the lowest and the highest number" % _CHOICES_MAX
        ensure(is_right, where + "test", wanted)


def _check_constants(ensure, rows):
    """Checks what register_map.py reads of the file."""
    ensure(isinstance(rows, list) and len(rows) <= _CONSTANTS_MAX, "constants", "at most %d rows" % _CONSTANTS_MAX)
    for k, row in enumerate(rows):
        where = "constants[%d]." % k
        ensure(isinstance(row, list) and len(row) == 3, where + "row", "function, address and content")
        function, address, content = row
        if isinstance(content, str):
            size = len(content) + 1 >> 1
            is_right = all([32 <= byte < 127 for byte in content.encode()])
        else:
            size = len(content) if isinstance(content, list) else 0
            is_right = size > 0 and all([_is_integer(word, 0, 0xFFFF) for word in content])
        ensure(_is_integer(function, 3, 4), where + "function", "3 or 4")
        wanted = "1 to %d registers of 0 to 65535, or ASCII for them" % _WORDS_MAX
        ensure(is_right and 0 < size <= _WORDS_MAX, where + "content", wanted)
        ensure(_is_integer(address, 0, 0x10000 - size), where + "address", "0 to %d" % (0x10000 - size))


def make_plan(rows: "list[list]", max_registers: int, gap: int) -> "tuple[list[tuple[int, int, int]], bytes, bytes]":
    """Makes (plan, blocks, offsets), as Profile has them, of rows sorted by function and address. Reads over at most
    `gap` registers between two points, and at most `max_registers` at once."""
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
        offsets.append(2 * (first - start))
    plan.append((function, start, end - start))
    return plan, bytes(blocks), bytes(offsets)


def _encodings(rows, signed_current, is_little, has_no_value, tenfold_frequency):
    """Makes (encodings, encoding_of), as Profile has them. `has_no_value`: more floats than usual mean "no value"."""
    encodings = []
    encoding_of = bytearray()
    for number, _, _, _, kind, scale, unit, use in rows:
        # Powers, power factors, and currents that carry the sign of the power
        turns = unit in ("W", "var") or 28 <= number <= 31 or (signed_current and unit == "A")
        index = TYPES.index(kind)
        numerator, denominator = fraction(scale)
        if use == "instantaneous":
            flags = TURNS if turns else 0
        else:
            flags = WHOLE | (RISES if use == "accumulating" else 0)
        if is_little:
            flags |= LITTLE
        if tenfold_frequency and unit == "Hz":
            flags |= TENFOLD
        factor = tens = 0
        if not has_no_value:
            if index < FLOAT32 and REGISTERS[index] < 4:
                while tens < _TENS_MAX and not flags & WHOLE and numerator * 10**tens % denominator:
                    tens += 1
                factor, remainder = divmod(numerator * 10**tens, denominator)
                flags |= 0 if remainder else PLAIN
            elif index == FLOAT32 and not is_little:
                factor = 1
                tens = _logarithm(numerator) - _logarithm(denominator)
                is_decimal = numerator * 10 ** max(-tens, 0) == denominator * 10 ** max(tens, 0)
                if is_decimal and _TENS_MIN <= tens <= _TENS_MAX and (tens >= 0 or not flags & WHOLE):
                    flags |= PLAIN
        encoding = (index, numerator, denominator, flags, factor, tens)
        if encoding not in encodings:
            encodings.append(encoding)
        encoding_of.append(encodings.index(encoding))
    return encodings, bytes(encoding_of)


def _logarithm(number):
    """The decimal logarithm of a positive integer, without its fraction."""
    tens = 0
    while 10 ** (tens + 1) <= number:
        tens += 1
    return tens


def fraction(scale: "int | float") -> "tuple[int, int]":
    """Turns a scale into (numerator, denominator): 1000 is 1000 / 1, 0.1 is 1 / 10, 0.3 is 3 / 10. The parser's floats
    have 24 bits on the chips, so the simplest fraction within 1e-5 is taken for the one that was meant."""
    if isinstance(scale, int):
        return scale, 1
    parts = round(1 / scale)
    if abs(parts * scale - 1) < 1e-5:
        return 1, parts
    denominator = 1
    while True:
        numerator = round(scale * denominator)
        if abs(numerator - scale * denominator) < 1e-5 * numerator:
            return numerator, denominator
        denominator *= 10  # ends: a numerator above 50000 is near enough

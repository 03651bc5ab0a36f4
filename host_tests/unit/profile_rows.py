"""What the tests of profiles share: documents as they lie in a profile's file, and values as a meter sends them."""

import functools
import math
import struct
from fractions import Fraction

from firmware.meters import profile
from firmware.meters import profile_loader as profile_load
from host_tests.unit import the_schema

FORMATS = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f",
    "float64": "d",
}  # fmt: skip
SIZES = {kind: struct.calcsize(">" + code) // 2 for kind, code in FORMATS.items()}  # in registers
INTEGERS = [kind for kind in SIZES if not kind.startswith("float")]
FLOATS = [kind for kind in SIZES if kind.startswith("float")]


def document(*rows, **change):
    return {"columns": list(profile_load.COLUMNS), "points": [list(row) for row in rows], **change}


def row(number=1, name="a", function=4, address=0, kind="uint16", scale=1, unit="", use="instantaneous"):
    return [number, name, function, address, kind, scale, unit, use]


@functools.cache
def one_point(kind, order="big", scale=1, use="instantaneous", address=0, number=1, **change):
    rows = [row(number, kind=kind, scale=scale, use=use, address=address)]
    return profile_load.parse("test", document(*rows, word_order=order, **change))


def on_the_wire(kind, order, value):
    """The bytes of a value as a meter sends them."""
    raw = struct.pack(">" + FORMATS[kind], value)
    if order == "little":
        words = [raw[k : k + 2] for k in range(0, len(raw), 2)]
        raw = b"".join(reversed(words))
    return raw


def is_measurable(kind, value):
    """Whether a meter can have measured that: see docs/reference/points.md."""
    if kind.startswith("float"):
        return -(2.0**41) < value < 2.0**41  # False for NaN
    return SIZES[kind] < 4 or -(2**48) <= value < 2**48


def nearest(exact):
    """To the nearest integer, halves away from zero."""
    whole = math.floor(abs(exact) + Fraction(1, 2))
    return whole if exact >= 0 else -whole


def check_decimal(decimal, exact, kind, scale=1):
    """A decimal number (Profile.decimal) has all digits of a scaled integer, and seven of a float, or seven decimals
    before the scale; it is rounded right. `exact`: the value as a fraction; None: there is none."""
    if exact is None:
        assert decimal is None
        return
    number, decimals = decimal >> profile.DECIMALS_BITS, decimal & profile.DECIMALS_MASK
    assert number == nearest(exact * 10**decimals)
    error = abs(Fraction(number, 10**decimals) - exact)
    if kind.startswith("float"):
        assert error <= max(abs(exact) * Fraction(5, 10**7), Fraction(5, 10**8) * max(Fraction(str(scale)), 1))
    else:
        assert error == 0 or (decimals == 7 and error <= Fraction(5, 10**8))


def transformers(**change):
    """What the configuration says of a meter's transformers: none, but for `change`."""
    keys = ("ct_primary", "ct_secondary", "pt_primary", "pt_secondary", "inverted")
    return {key: the_schema.METER[key][1] for key in keys} | change

"""What the tests of profiles share: documents as they lie in a profile's file, and values as a meter sends them."""

import math
import struct
from fractions import Fraction

from firmware.meters import profile_loader as profile_load
from host_tests.unit import the_schema

SIZES = {"uint16": 1, "int16": 1, "uint32": 2, "int32": 2, "uint64": 4, "int64": 4, "float32": 2}
FORMATS = {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f"}


def document(*rows, **change):
    return {"columns": list(profile_load.COLUMNS), "points": [list(row) for row in rows], **change}


def row(number=1, name="a", function=4, address=0, kind="uint16", scale=1, unit="", use="instantaneous"):
    return [number, name, function, address, kind, scale, unit, use]


def one_point(kind, order="big", scale=1, use="instantaneous", address=0):
    return profile_load.parse("test", document(row(kind=kind, scale=scale, use=use, address=address), word_order=order))


def on_the_wire(kind, order, value):
    """The bytes of a value as a meter sends them."""
    raw = struct.pack(">" + FORMATS[kind], value)
    if order == "little":
        words = [raw[k : k + 2] for k in range(0, len(raw), 2)]
        raw = b"".join(reversed(words))
    return raw


def is_measurable(kind, value):
    """Whether a meter can have measured that: see docs/reference/points.md."""
    if kind == "float32":
        return -(2.0**41) < value < 2.0**41  # False for NaN
    return SIZES[kind] < 4 or -(2**48) <= value < 2**48


def nearest(exact):
    """To the nearest integer, halves away from zero."""
    whole = math.floor(abs(exact) + Fraction(1, 2))
    return whole if exact >= 0 else -whole


def transformers(**change):
    """What the configuration says of a meter's transformers: none, but for `change`."""
    keys = ("ct_primary", "ct_secondary", "pt_primary", "pt_secondary", "inverted")
    return {key: the_schema.METER[key][1] for key in keys} | change

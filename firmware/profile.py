"""What all meters of one kind share: their points, how each is decoded, and the plan of register reads.

Made from a profile file by profile_load.py, which is needed at boot only. Compact on purpose: a board holds up to 64
meters in a heap of 128 KiB, so per point there are five bytes, a scale and the letters of its name.

Units are base units (V A W var VA Hz Wh varh VAh). Accumulating points end as integers, and so have integer scales:
floats on the chips have 24 bits, too few for a meter that has been running for some years.
"""

import struct

from micropython import const

TYPES = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "float32")
REGISTERS = b"\x01\x01\x02\x02\x04\x04\x02"  # of each type
UNITS = ("", "V", "A", "W", "var", "VA", "Hz", "Wh", "varh", "VAh")
_FLOAT32 = const(6)
_INFINITY = float("inf")


class Profile:
    """Parallel sequences, one entry for each point in the order of addresses: numbers, types (index into TYPES), units
    (index into UNITS), blocks (index into plan) and offsets (registers from the block's start) are bytes; scales is a
    list, accumulating a bytes of 0 and 1. `plan` is a list of (function, address, count): the reads."""

    def __init__(self, name, names, numbers, types, units, scales, accumulating, little, plan, blocks, offsets):
        self.name = name
        self._names = "\n".join(names)  # one text: a list of texts takes three times the heap
        self.numbers = numbers
        self.types = types
        self.units = units
        self.scales = scales
        self.accumulating = accumulating
        self.little = little
        self.plan = plan
        self.blocks = blocks
        self.offsets = offsets

    def __len__(self):
        return len(self.numbers)

    def names(self):
        """The points' names, as a new list."""
        return self._names.split("\n")

    def unit(self, i):
        """The unit of point `i`, "" where it has none."""
        return UNITS[self.units[i]]

    def decode(self, i, data):
        """The value of point `i` from the bytes of its block: an integer, a float, or None when the meter says that it
        has none (NaN, infinity). In the point's unit; accumulating points are always integers."""
        at = 2 * self.offsets[i]
        kind = self.types[i]
        size = 2 * REGISTERS[kind]
        raw = data[at : at + size]
        if self.little and size > 2:
            raw = b"".join([raw[k : k + 2] for k in range(size - 2, -1, -2)])
        scale = self.scales[i]
        if kind == _FLOAT32:
            if self.accumulating[i]:
                return scaled_integer(raw, scale)
            value = struct.unpack(">f", raw)[0]
            if value != value or value in (_INFINITY, -_INFINITY):
                return None
            return value * scale
        value = struct.unpack(">" + "HhIiQq"[kind], raw)[0]
        if scale == 1:
            return value
        # One part of ten is a division: 2301 * 0.1 is 230.10000000000002, 2301 / 10 is 230.1.
        parts = round(1 / scale)
        return value / parts if abs(parts * scale - 1) < 1e-5 else value * scale


def scaled_integer(raw, scale):
    """round(float32 * scale) from the four bytes of a big-endian IEEE 754 number, in integers only: exact where a
    24-bit float would lose units. None for NaN and infinity."""
    bits = struct.unpack(">I", raw)[0]
    exponent = bits >> 23 & 0xFF
    if exponent == 0xFF:
        return None
    mantissa = bits & 0x7FFFFF
    if exponent:
        mantissa |= 0x800000
    else:
        exponent = 1
    shift = 150 - exponent  # value = mantissa / 2**shift
    number = mantissa * scale
    number = number << -shift if shift <= 0 else (number + (1 << shift - 1)) >> shift
    return -number if bits >> 31 else number

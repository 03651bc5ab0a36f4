"""What all meters of one kind share: their points, how each is decoded, and the plan of register reads.

Made from a profile file by profile_load.py, which is needed at boot only. Compact on purpose: a board holds up to 64
meters in a heap of 128 KiB, so a point is five bytes and the letters of its name; what it shares with others of its
profile (type, scale, how it ends) is said once, as a form.

Units are base units (V A W var VA Hz Wh varh VAh). Accumulating points end as integers and are computed in integers:
floats on the chips have 24 bits, too few for a meter that has been running for some years.
"""

from struct import unpack_from

from micropython import const

TYPES = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "float32")
REGISTERS = b"\x01\x01\x02\x02\x04\x04\x02"  # of each type
_CODES = (">H", ">h", ">I", ">i", ">Q", ">q", ">f")
UNITS = ("", "V", "A", "W", "var", "VA", "Hz", "Wh", "varh", "VAh")
_FLOAT32 = const(6)
_FORM = const(4)  # numbers of a form
_ROW = const(3)  # bytes of a row
_WHOLE = const(1)
# Which pair of a meter's ratios applies to a unit: 0 none, 1 voltage, 2 current, 3 both
_RATIO = b"\x00\x01\x02\x03\x03\x03\x00\x03\x03\x03"


class Profile:
    """Sequences with one entry for each point: `numbers` and `blocks` (index into plan) are bytes, `rows` three bytes
    for each point: index into UNITS, which of the forms, offset in registers from the block's start.

    `forms` are four integers each: index into TYPES, numerator, denominator (value = raw x numerator / denominator) and
    how it ends: 1 as an integer, since it accumulates; 2 with the other sign on a meter that is inverted. `plan` is a
    list of (function, address, count): the reads. `void` is the first byte of the signed integer that means "no value"
    (0x7F: 7FFF..., 0x80: 8000...; unsigned ones are FFFF... then), or 0 when every integer is a value."""

    def __init__(self, name, names, numbers, rows, forms, little, void, plan, blocks):
        self.name = name
        # One piece, a line each: a list takes three times the heap. Bytes, since for each text that it makes
        # MicroPython looks through all names that it knows, which takes an RP2040 0.2 ms.
        self.text = names
        self.numbers = numbers
        self.rows = rows
        self.forms = forms
        self.little = little
        self.void = void
        self.plan = plan
        self.blocks = blocks
        self.begins = []  # of the plan's blocks in the meter's data, which has one after the other
        begin = 0
        for _, _, count in plan:
            self.begins.append(begin)
            begin += 2 * count

    def __len__(self):
        return len(self.numbers)

    def names(self):
        """The points' names, as a new list of bytes: ASCII, nothing that JSON would have to escape."""
        return self.text.split(b"\n")

    def unit(self, i):
        """The unit of point `i`, "" where it has none."""
        return UNITS[self.rows[_ROW * i]]

    def decode(self, i, data, ratios=None):
        """The value of point `i` from the registers of all blocks, as bytes: an integer, a float, or None when the
        meter says that it has none (NaN, infinity, the integers of `void`). In the point's unit; accumulating points
        are always integers. `ratios`: those of the meter (profile_load.ratios), or None."""
        # What most points need, in a frame of 11 words, which MicroPython keeps off the heap; the rest is below.
        form = _FORM * self.rows[_ROW * i + 1]
        if ratios or self.little or self.void or self.forms[form + 3] & _WHOLE:
            return self._decode(i, data, ratios)
        i = self.begins[self.blocks[i]] + 2 * self.rows[_ROW * i + 2]
        return _scaled(unpack_from(_CODES[self.forms[form]], data, i)[0], self.forms[form + 1], self.forms[form + 2])

    def _decode(self, i, data, ratios):
        """The same for words in the other order, accumulating points, ratios, integers that mean "no value"."""
        form = _FORM * self.rows[_ROW * i + 1]
        at = self.begins[self.blocks[i]] + 2 * self.rows[_ROW * i + 2]
        forms = self.forms
        kind = forms[form]
        numerator = forms[form + 1]
        denominator = forms[form + 2]
        size = 2 * REGISTERS[kind]
        if self.little and size > 2:
            data = b"".join([data[k : k + 2] for k in range(at + size - 2, at - 2, -2)])
            at = 0
        if ratios:
            k = 2 * _RATIO[self.rows[_ROW * i]]
            numerator *= ratios[k]
            denominator *= ratios[k + 1]
        whole = forms[form + 3] & _WHOLE
        if kind == _FLOAT32:
            if whole:
                return scaled_integer(data, numerator, denominator, at)
        elif self.void:
            head = self.void if kind & 1 else 0xFF
            rest = b"\x00" if head == 0x80 else b"\xff"
            if data[at] == head and data[at + 1 : at + size] == rest * (size - 1):
                return None
        value = unpack_from(_CODES[kind], data, at)[0]
        if whole:
            return _divided(value * numerator, denominator)
        return _scaled(value, numerator, denominator)


def _scaled(value, numerator, denominator):
    if value - value != 0:  # not a number, or infinite
        return None
    if numerator != 1:
        value = value * numerator + 0  # makes a 0 of -0.0
    # One division: 2301 * 0.1 is 230.10000000000002, 2301 / 10 is 230.1.
    return value / denominator if denominator != 1 else value


def _divided(a, b):
    """a / b to the nearest integer, halves away from zero."""
    return (2 * a + b) // (2 * b) if a >= 0 else -((b - 2 * a) // (2 * b))


def scaled_integer(data, numerator, denominator=1, at=0):
    """round(float32 * numerator / denominator), halves away from zero, from the four bytes of a big-endian IEEE 754
    number at data[at], in integers only: exact where a 24-bit float would lose units. None for NaN and infinity."""
    bits = unpack_from(">I", data, at)[0]
    exponent = bits >> 23 & 0xFF
    if exponent == 0xFF:
        return None
    mantissa = bits & 0x7FFFFF
    if exponent:
        mantissa |= 0x800000
    else:
        exponent = 1
    shift = 150 - exponent  # value = mantissa / 2**shift
    number = mantissa * numerator
    if shift <= 0:
        number = _divided(number << -shift, denominator)
    else:
        number = _divided(number, denominator << shift)
    return -number if bits >> 31 else number

"""What all meters of one kind share: their points, how each is decoded, and the plan of register reads.

Made from a profile file by profile_loader.py. Compact, for a board holds up to 64 meters of many kinds: a point is
five bytes and the letters of its name; what it shares with others of its profile (type, scale, flags) is stored once,
as a format.

Units are base units (V A W var VA Hz Wh varh VAh). Accumulating points end as integers and are computed in integers:
floats on the chips have 24 bits, too few for a meter that has been running for some years.
"""

from struct import unpack_from

from micropython import const

TYPES = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "float32")
REGISTERS = b"\x01\x01\x02\x02\x04\x04\x02"  # of each type
CODES = (">H", ">h", ">I", ">i", ">Q", ">q", ">f")  # of each type, as struct has them
UNITS = ("", "V", "A", "W", "var", "VA", "Hz", "Wh", "varh", "VAh")
FLOAT32 = const(6)  # index into TYPES
# Flags of a format
WHOLE = const(1)  # the value is an integer: energy
TURNS = const(2)  # the value has the other sign on a meter that is inverted
RISES = const(4)  # a counter: falls only when the meter has lost it (Meter.store)
PLAIN = const(8)  # decode() needs no more than the type and the scale
# Nothing measures a float of 2^41 (2.2e12), or an integer of 64 bits beyond 2^48 (2.8e14), before the scale.
_FLOAT_MOST = const(0x53)  # first byte without the sign: upper seven bits of the exponent
_INT64_SIZE = const(8)
_INT64 = const(5)
# Which pair of a meter's ratios applies to a unit: 0 none, 1 voltage, 2 current, 3 both
_RATIO = b"\x00\x01\x02\x03\x03\x03\x00\x03\x03\x03"


class Profile:
    """`name` is the title. Bytes with one entry for each point: `numbers`; `units`, index into UNITS; `format_of`,
    index into formats; `blocks`, index into plan; `offsets`, in bytes from the start of the block.

    `formats` is a list of (index into TYPES, numerator, denominator, flags): value = raw x numerator / denominator;
    flags: WHOLE, TURNS, RISES, PLAIN. `plan` is a list of (function, address, count): the reads. `is_little`: the low
    word comes first. `no_value` is the first byte of the signed integer that means "no value" (0x7F: 7FFF..., 0x80:
    8000...; unsigned ones are FFFF... then), or 0 when every integer is a value; `no_value_floats`: tuple of the floats
    that mean it, beside those that always do. `counters`: bytes, the indices of the points that only rise. `gap_ms`:
    the least silence that these meters need before a request."""

    def __init__(
        self, name, names, numbers, units, format_of, formats, is_little, no_value, no_value_floats, plan, blocks,
        offsets, gap_ms,
    ):  # fmt: skip
        self.name = name
        self.names_text = names  # in one piece, a line each: as a list they would take three times the heap
        self.numbers = numbers
        self.units = units
        self.format_of = format_of
        self.formats = formats
        self.is_little = is_little
        self.no_value = no_value
        self.no_value_floats = no_value_floats
        self.plan = plan
        self.blocks = blocks
        self.offsets = offsets
        self.gap_ms = gap_ms
        self.counters = bytes([i for i in range(len(numbers)) if formats[format_of[i]][3] & RISES])

    def __len__(self):
        return len(self.numbers)

    def names(self):
        """The points' names, as a new list of bytes: ASCII, nothing that JSON would have to escape."""
        return self.names_text.split(b"\n")

    def index_of(self, number):
        """The index of the point with that number, 1 to 255, or -1."""
        return self.numbers.find(bytes((number,)))

    def unit(self, i):
        """The unit of point `i`, "" where it has none."""
        return UNITS[self.units[i]]

    def accumulates(self, i):
        """True when point `i` counts on (energy): an integer."""
        return bool(self.formats[self.format_of[i]][3] & WHOLE)

    def decode(self, i, raw, ratios=None):
        """The value of point `i` from the registers of its block (blocks[i]): an integer, a float, or None when they
        hold no value: NaN, infinity and what nothing can measure (FLT_MAX), or what the profile names. In the point's
        unit; accumulating points are always integers. `ratios`: those of the meter (profile_loader.ratios), or None."""
        # What most points need, in a frame of at most 11 words, which MicroPython keeps off the heap.
        form = self.formats[self.format_of[i]]
        if ratios or not form[3] & PLAIN:
            return self._decode_any(i, raw, form, ratios)
        if form[0] == FLOAT32 and raw[self.offsets[i]] & 0x7F > _FLOAT_MOST:
            return None
        return _scaled(unpack_from(CODES[form[0]], raw, self.offsets[i])[0], form[1], form[2])

    def _decode_any(self, i, raw, form, ratios):
        """decode() for words in the other order, accumulating points, ratios, and values that mean "no value"."""
        kind, numerator, denominator, flags = form
        begin = self.offsets[i]
        size = 2 * REGISTERS[kind]
        if self.is_little and size > 2:
            raw = swapped(raw, begin, size)
            begin = 0
        if ratios:
            k = 2 * _RATIO[self.units[i]]
            numerator *= ratios[k]
            denominator *= ratios[k + 1]
        if kind == FLOAT32:
            if raw[begin] & 0x7F > _FLOAT_MOST:
                return None
            if self.no_value_floats and unpack_from(">f", raw, begin)[0] in self.no_value_floats:
                return None
            if flags & WHOLE:
                return scaled_integer(raw, numerator, denominator, begin)
        elif size == _INT64_SIZE:
            top = unpack_from(">h", raw, begin)[0]
            if top and not (top == -1 and kind == _INT64):
                return None
        elif self.no_value:
            head = self.no_value if kind & 1 else 0xFF
            rest = b"\x00" if head == 0x80 else b"\xff"
            if raw[begin] == head and raw[begin + 1 : begin + size] == rest * (size - 1):
                return None
        value = unpack_from(CODES[kind], raw, begin)[0]
        if flags & WHOLE:
            return _divided(value * numerator, denominator)
        return _scaled(value, numerator, denominator)


def swapped(raw, begin=0, size=None):
    """The words (2 bytes each) of raw[begin:begin+size] in the other order, as new bytes."""
    end = len(raw) if size is None else begin + size
    return b"".join([bytes(raw[k : k + 2]) for k in range(end - 2, begin - 2, -2)])


def _scaled(value, numerator, denominator):
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

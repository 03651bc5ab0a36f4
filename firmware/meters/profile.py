"""What all meters of one kind share: their points, how each is decoded, and the plan of register reads.

Made from a profile file by profile_loader.py. Compact, for a board holds up to 64 meters of many kinds: a point is
five bytes and its name; what it shares with others of its profile (type, scale, flags) is stored once, as an encoding.

Units are base units (V A W var VA Hz Wh varh VAh). Accumulating points are integers and are computed in integers:
floats on the chips have 24 bits, too few for a meter that has been running for some years. Floats in registers are IEEE
754, of single or double precision.
"""

from struct import unpack_from

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import TypeAlias

    # voltage, current, power: numerator and denominator of each, behind those (1, 1) of everything else
    Ratios: TypeAlias = tuple[int, int, int, int, int, int, int, int]
    Registers: TypeAlias = bytes | bytearray | memoryview

TYPES = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
REGISTERS = b"\x01\x01\x02\x02\x04\x04\x02\x04"  # of each type
CODES = (">H", ">h", ">I", ">i", ">Q", ">q", ">f", ">d")  # of each type, as struct has them
UNITS = ("", "V", "A", "W", "var", "VA", "Hz", "Wh", "varh", "VAh")
FLOAT32 = const(6)  # index into TYPES
_UINT32 = const(2)
_INT64 = const(5)
# Flags of an encoding
WHOLE = const(1)  # the value is an integer: energy
TURNS = const(2)  # the value has the other sign on a meter that is inverted
RISES = const(4)  # a counter: falls only when the meter has lost it (Meter.store)
PLAIN = const(8)  # at most 32 bits, only the usual "no value", no float in little word order, and a decimal scale
LITTLE = const(16)  # the low word comes first
TENFOLD = const(32)  # a value above 100 is ten times too large: frequencies of some meters
# Nothing measures a float of 2^41 (2.2e12), or an integer of 64 bits beyond 2^48 (2.8e14), before the scale.
_FLOAT_MOST = const(0x53)  # first byte without the sign: upper seven bits of the exponent
_DOUBLE_MOST = const(0x427F)  # the same of the first two bytes of a double
_INT64_SIZE = const(8)
DECIMALS_BITS = const(4)  # of a decimal number: see Profile.decimal
DECIMALS_MASK = const(15)
_DECIMALS_MAX = const(7)
_DIGITS_MOST = const(0x2000000)  # seven digits and somewhat more
_TENFOLD_ABOVE = const(100)
# Decimals with which a float32 has seven digits, or seven decimals below 1, by its first byte without the sign. Each of
# them is two powers of two: 3F is 0.5 to 2, 40 is 2 to 8, ...
_PLACES = (
    b"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"
    b"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"
    b"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"
    b"\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07"
    b"\x06\x06\x05\x04\x04\x03\x03\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)
_REAL_TENS_MOST = const(3)  # scales of floats, as powers of ten, up to which plain_real() works in 31 bits
_REAL_LEAST = const(64)  # exponent of a float with its bias: 2**-63
_FIVES = (1, 5, 25, 125, 625, 3125, 15625, 78125, 390625, 1953125)
# Which pair of a meter's ratios applies to a unit: 0 none, 1 voltage, 2 current, 3 both
_RATIO = b"\x00\x01\x02\x03\x03\x03\x00\x03\x03\x03"


class Profile:
    """name             the title
    names            for each point a byte, the length of its name, and the name: ASCII that JSON need not escape
    numbers, units, encoding_of, blocks, offsets
                     bytes with one entry for each point: its number; indices into UNITS, encodings and plan; bytes from
                     the start of its block
    encodings        list of (index into TYPES, numerator, denominator, flags, factor, tens); flags: WHOLE, TURNS, ...
                     value = raw x numerator / denominator; where PLAIN is set also, for an integer, raw x factor /
                     10**tens, for a float raw x factor x 10**tens with a factor of 1 or -1
    is_little        True when the low word comes first
    no_value         first byte of the signed integer that means "no value" (0x7F: 7FFF..., 0x80: 8000...; unsigned ones
                     are FFFF... then), or 0 when every integer is a value
    no_value_floats  floats that mean it, beside those that always do
    plan             list of (function, address, count): the reads
    gap_ms           the least silence that these meters need before a request
    counters         bytes, the indices of the points that only rise
    """

    def __init__(
        self,
        name: str,
        names: bytes,
        numbers: bytes,
        units: bytes,
        encoding_of: bytes,
        encodings: "list[tuple]",
        is_little: bool,
        no_value: int,
        no_value_floats: "tuple[float, ...]",
        plan: "list[tuple[int, int, int]]",
        blocks: bytes,
        offsets: bytes,
        gap_ms: int,
    ) -> None:
        self.name = name
        self.names = names  # in one piece: as a list they would take three times the heap
        self.numbers = numbers
        self.units = units
        self.encoding_of = encoding_of
        self.encodings = encodings
        self.is_little = is_little
        self.no_value = no_value
        self.no_value_floats = no_value_floats
        self.plan = plan
        self.blocks = blocks
        self.offsets = offsets
        self.gap_ms = gap_ms
        self.counters = bytes([i for i in range(len(numbers)) if encodings[encoding_of[i]][3] & RISES])

    def __len__(self) -> int:
        """How many points there are."""
        return len(self.numbers)

    def name_of(self, i: int) -> str:
        """The name of point `i`."""
        begin = 0
        for _ in range(i):
            begin += 1 + self.names[begin]
        return self.names[begin + 1 : begin + 1 + self.names[begin]].decode()

    def index_of(self, number: int) -> int:
        """The index of the point with that number, 1 to 255, or -1."""
        return self.numbers.find(bytes((number,)))

    def unit(self, i: int) -> str:
        """The unit of point `i`, "" where it has none."""
        return UNITS[self.units[i]]

    def accumulates(self, i: int) -> bool:
        """True when point `i` counts on (energy): an integer."""
        return bool(self.encodings[self.encoding_of[i]][3] & WHOLE)

    def size(self, i: int) -> int:
        """How many registers point `i` takes: 1, 2 or 4."""
        return REGISTERS[self.encodings[self.encoding_of[i]][0]]

    def decode(self, i: int, raw: "Registers", ratios: "Ratios | None" = None) -> "int | float | None":
        """The value of point `i` in its unit, from the registers of its block (blocks[i]), big-endian; an integer when
        it accumulates. None when they hold no value: NaN, infinity and what nothing can measure (FLT_MAX), or what the
        profile names. `ratios`: those of the meter's transformers (profile_loader.ratios), or None."""
        # What most points need, in a frame of at most 11 words, which MicroPython keeps off the heap.
        encoding = self.encodings[self.encoding_of[i]]
        if encoding[3] & WHOLE:
            decimal = self.decimal(i, raw, ratios)
            return None if decimal is None else decimal >> DECIMALS_BITS
        if ratios or encoding[3] & (PLAIN | LITTLE | TENFOLD) != PLAIN:
            return self._decode_any(i, raw, encoding, ratios)
        if encoding[0] == FLOAT32 and raw[self.offsets[i]] & 0x7F > _FLOAT_MOST:
            return None
        return _scaled(unpack_from(CODES[encoding[0]], raw, self.offsets[i])[0], encoding[1], encoding[2])

    def decimal(self, i: int, raw: "Registers", ratios: "Ratios | None" = None) -> "int | None":
        """The same value as a decimal number in one integer: number << DECIMALS_BITS | decimals; value = number /
        10**decimals. An integer has the decimals of its scale, a float seven digits or somewhat more, and seven
        decimals below 1; a point that accumulates has none. Exact, or rounded half away from zero."""
        encoding = self.encodings[self.encoding_of[i]]
        if ratios or not encoding[3] & PLAIN:
            return self._decimal_any(i, raw, encoding, ratios)
        return plain_decimal(encoding, raw, self.offsets[i])

    def _decode_any(self, i, raw, encoding, ratios):
        """decode() of a point that is not PLAIN, or behind transformers."""
        kind, numerator, denominator, flags, _, _ = encoding
        begin = self.offsets[i]
        if self.is_little and REGISTERS[kind] > 1:
            raw = swapped(raw, begin, 2 * REGISTERS[kind])
            begin = 0
        if self.is_no_value(kind, raw, begin):
            return None
        if ratios:
            pair = 2 * _RATIO[self.units[i]]
            numerator *= ratios[pair]
            denominator *= ratios[pair + 1]
        value = _scaled(unpack_from(CODES[kind], raw, begin)[0], numerator, denominator)
        return value / 10 if flags & TENFOLD and value > _TENFOLD_ABOVE else value

    def _decimal_any(self, i, raw, encoding, ratios):
        """decimal() of a point that is not PLAIN, or behind transformers: as an exact fraction first."""
        kind, numerator, denominator, flags, _, _ = encoding
        begin = self.offsets[i]
        if self.is_little and REGISTERS[kind] > 1:
            raw = swapped(raw, begin, 2 * REGISTERS[kind])
            begin = 0
        if self.is_no_value(kind, raw, begin):
            return None
        if ratios:
            pair = 2 * _RATIO[self.units[i]]
            numerator *= ratios[pair]
            denominator *= ratios[pair + 1]
        if kind < FLOAT32:
            numerator *= unpack_from(CODES[kind], raw, begin)[0]
        else:
            mantissa, exponent = _float_parts(raw, begin, kind == FLOAT32)
            numerator *= mantissa << max(exponent, 0)
            denominator <<= max(-exponent, 0)
        if flags & TENFOLD and numerator > _TENFOLD_ABOVE * denominator:
            denominator *= 10
        decimals = 0
        if flags & WHOLE:
            pass
        elif kind < FLOAT32:
            while decimals < _DECIMALS_MAX and numerator * 10**decimals % denominator:
                decimals += 1
        else:
            decimals = _DECIMALS_MAX
            while decimals and abs(numerator) * 10**decimals >= _DIGITS_MOST * denominator:
                decimals -= 1
        return divided(numerator * 10**decimals, denominator) << DECIMALS_BITS | decimals

    def is_no_value(self, kind: int, raw: "Registers", begin: int) -> bool:
        """True when raw[begin:], of TYPES[kind] and in big word order, means that there is no value, or is beyond what
        can be measured."""
        if kind >= FLOAT32:
            if kind == FLOAT32 and raw[begin] & 0x7F > _FLOAT_MOST:
                return True
            if kind > FLOAT32 and (raw[begin] & 0x7F) << 8 | raw[begin + 1] > _DOUBLE_MOST:
                return True
            return bool(self.no_value_floats) and unpack_from(CODES[kind], raw, begin)[0] in self.no_value_floats
        size = 2 * REGISTERS[kind]
        if size == _INT64_SIZE:
            high = unpack_from(">h", raw, begin)[0]
            return high != 0 and not (high == -1 and kind == _INT64)
        head = self.no_value if kind & 1 else 0xFF  # signed types have odd indices
        if not self.no_value or raw[begin] != head:
            return False
        return raw[begin + 1 : begin + size] == (b"\x00" if head == 0x80 else b"\xff") * (size - 1)


def pack_names(names: "list[str]") -> bytes:
    """Profile.names of points with these names, each at most 255 characters of ASCII."""
    return b"".join([bytes((len(name),)) + name.encode() for name in names])


def swapped(raw: "Registers", begin: int = 0, size: "int | None" = None) -> bytes:
    """The words (2 bytes each) of raw[begin:begin+size] in the other order, as new bytes."""
    end = len(raw) if size is None else begin + size
    if end - begin == 4:  # mostly
        return bytes((raw[begin + 2], raw[begin + 3], raw[begin], raw[begin + 1]))
    return b"".join([bytes(raw[k : k + 2]) for k in range(end - 2, begin - 2, -2)])


def _scaled(value, numerator, denominator):
    if numerator != 1:
        value = value * numerator + 0  # makes a 0 of -0.0
    # One division: 2301 * 0.1 is 230.10000000000002, 2301 / 10 is 230.1.
    return value / denominator if denominator != 1 else value


def divided(a: int, b: int) -> int:
    """a / b to the nearest integer, halves away from zero; b > 0."""
    return (2 * a + b) // (2 * b) if a >= 0 else -((b - 2 * a) // (2 * b))


def plain_decimal(encoding: tuple, data: "Registers", at: int) -> "int | None":
    """Profile.decimal() of a point at data[at] whose encoding is PLAIN. No floats, no tuples, and frames of at most
    11 words, which MicroPython keeps off the heap: what is allocated for each point costs most in the collections that
    follow."""
    tens = encoding[5]
    if encoding[0] != FLOAT32:
        decimal = _integer(data, at, encoding[0], encoding[3] & LITTLE) * encoding[4] << DECIMALS_BITS | tens
    elif data[at] & 0x7F > _FLOAT_MOST:
        return None
    else:
        places = tens if encoding[3] & WHOLE else _PLACES[data[at] & 0x7F]
        if places < tens:
            places = tens
        decimal = times_ten(data, at, places) * encoding[4] << DECIMALS_BITS | places - tens
    if encoding[3] & TENFOLD and decimal >> DECIMALS_BITS > _TENFOLD_ABOVE * 10 ** (decimal & DECIMALS_MASK):
        decimal += 1  # one decimal more
    return decimal


def plain_real(buf: bytearray, at: int, profile: Profile, i: int, data: "Registers") -> bool:
    """Writes the value of point `i` as IEEE 754 single (big-endian) to buf[at:at + 4], from the registers of its block:
    the nearest to its value in its unit, or to a thousandth of that where it accumulates (kWh). False, and nothing is
    written, when that is left to Profile.decode(): the encoding is not PLAIN, or is TENFOLD and scaled; there is no
    value, or it has more than 29 bits or is tiny. In integers, for each float would be an object in the heap."""
    begin = profile.offsets[i]
    kind, _, _, flags, factor, tens = profile.encodings[profile.encoding_of[i]]
    if not flags & PLAIN or flags & TENFOLD and (kind != FLOAT32 or tens):
        return False
    exponent = lost = 0
    denominator = 1000 if flags & WHOLE else 1
    if kind != FLOAT32:
        number = _integer(data, begin, kind, flags & LITTLE)
        if (
            number >> 31 not in (0, -1)
            or number == -0x80000000
            or abs(factor) > 1
            and abs(number) >= 0x20000000 // abs(factor)
        ):
            return False
        if not flags & WHOLE:
            denominator = 10**tens
    else:
        exponent = (data[begin] & 0x7F) << 1 | data[begin + 1] >> 7
        number = (data[begin + 1] & 0x7F | 0x80) << 16 | data[begin + 2] << 8 | data[begin + 3]
        if (
            exponent < _REAL_LEAST
            and (exponent or number & 0x7FFFFF)
            or data[begin] & 0x7F > _FLOAT_MOST
            or not -_REAL_TENS_MOST <= tens <= _REAL_TENS_MOST
        ):
            return False
        if flags & WHOLE:
            number = times_ten(data, begin, tens)
            exponent = 0
        else:
            if not exponent:
                number = 0
            exponent += tens - 150
            if tens == _REAL_TENS_MOST:  # the product would have 31 bits: its last four matter for rounding only
                lost = (number & 15) * _FIVES[tens]
                number = (number >> 4) * _FIVES[tens] + (lost >> 4)
                lost &= 15
                exponent += 4
            elif tens > 0:
                number *= _FIVES[tens]
            else:
                denominator = _FIVES[-tens]
            if data[begin] & 0x80:
                number = -number
            elif flags & TENFOLD and (exponent > -17 or exponent == -17 and number > _TENFOLD_ABOVE << 17):
                denominator = 10
    _write_single(buf, at, number * factor, denominator, exponent, lost)
    return True


def _write_single(buf, at, number, denominator, exponent, lost):
    """Writes number / denominator * 2**exponent to buf[at:at + 4], rounded to the nearest, halves to even. `lost` is
    not 0 where the number is somewhat larger, by less than 1."""
    sign = 0x80 if number < 0 else 0
    number = abs(number)
    mantissa = number // denominator
    rest = number % denominator
    if not number:
        exponent = -151
    else:
        while mantissa >= 0x2000000:
            lost |= mantissa & 1
            mantissa >>= 1
            exponent += 1
        while mantissa < 0x1000000:
            rest <<= 1
            mantissa <<= 1
            if rest >= denominator:
                rest -= denominator
                mantissa |= 1
            exponent -= 1
        if mantissa & 1 and (rest or lost or mantissa & 2):
            mantissa += 1
        mantissa >>= 1
        if mantissa >> 24:
            mantissa >>= 1
            exponent += 1
    exponent += 151
    buf[at] = sign | exponent >> 1
    buf[at + 1] = (exponent & 1) << 7 | mantissa >> 16 & 0x7F
    buf[at + 2] = mantissa >> 8 & 0xFF
    buf[at + 3] = mantissa & 0xFF


def _integer(data, at, kind, is_little):
    """The integer of 16 or 32 bits at data[at], which is TYPES[kind]."""
    if kind < _UINT32:
        number = data[at] << 8 | data[at + 1]
        return number - 0x10000 if kind and number & 0x8000 else number
    if is_little:
        low = data[at] << 8 | data[at + 1]
        high = data[at + 2] << 8 | data[at + 3]
    else:
        high = data[at] << 8 | data[at + 1]
        low = data[at + 2] << 8 | data[at + 3]
    return (high - 0x10000 if kind & 1 and high & 0x8000 else high) << 16 | low


def times_ten(data: "Registers", at: int, places: int) -> int:
    """round(float32 * 10**places), halves away from zero, from the four bytes at data[at]; places: 0 to 9."""
    shift = 150 - places - ((data[at] & 0x7F) << 1 | data[at + 1] >> 7)
    # mantissa * 5**places / 2**shift, in two parts of 12 bits of the mantissa
    factor = _FIVES[places]
    high = ((data[at + 1] | 0x80) << 4 | data[at + 2] >> 4) * factor
    low = ((data[at + 2] & 0x0F) << 8 | data[at + 3]) * factor
    if shift > 12:
        if shift > 46:
            return 0
        number = high + (low >> 12) + (1 << shift - 13) >> shift - 12
    elif shift > 0:
        number = (high << 12 - shift) + (low + (1 << shift - 1) >> shift)
    else:
        number = (high << 12) + low << -shift
    return -number if data[at] & 0x80 else number


def _float_parts(data, at, is_single):
    """(mantissa with its sign, exponent) of the IEEE 754 number of 32 or 64 bits at data[at], which is neither infinite
    nor NaN: its value is mantissa * 2**exponent."""
    bits = unpack_from(">I" if is_single else ">Q", data, at)[0]
    width = 23 if is_single else 52
    exponent = bits >> width & (0xFF if is_single else 0x7FF)
    mantissa = bits & (1 << width) - 1
    if exponent:
        mantissa |= 1 << width
    else:
        exponent = 1
    bias = 127 if is_single else 1023
    return -mantissa if data[at] & 0x80 else mantissa, exponent - bias - width


try:
    from firmware.meters.profile_machine import plain_decimal, plain_real  # type: ignore  # noqa: F401
except ImportError:  # only images for the RP2 have machine code
    pass

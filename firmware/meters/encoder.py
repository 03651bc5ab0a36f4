"""Writes values as the registers of a profile: the way back from Profile.decimal().

In integers throughout: floats on the chips have 24 bits, and an energy of a double has more.
"""

from firmware.meters.profile import (
    DECIMALS_BITS,
    DECIMALS_MASK,
    FLOAT32,
    REGISTERS,
    Profile,
    divided,
    swapped,
)  # fmt: skip


def encode(profile: Profile, i: int, decimal: int, out: bytearray) -> bool:
    """Writes a value of point `i` as its registers, big-endian, to out[0:], which has eight bytes. `decimal`: in the
    point's unit, as Profile.decimal() returns it. Rounds to the nearest that the registers can hold. False when they
    cannot hold it: it is out of their range, or there it means "no value"; what is in `out` is undefined then."""
    kind, numerator, denominator, _, _, _ = profile.encodings[profile.encoding_of[i]]
    size = 2 * REGISTERS[kind]
    # raw = value x denominator / numerator
    numerator *= 10 ** (decimal & DECIMALS_MASK)
    denominator *= decimal >> DECIMALS_BITS
    if kind == FLOAT32:
        _write_float(out, denominator, numerator, 23, 127, 4)
    elif kind > FLOAT32:
        _write_float(out, denominator, numerator, 52, 1023, 8)
    else:
        raw = divided(denominator, numerator)
        bits = 8 * size
        signed = kind & 1  # signed types have odd indices
        if not (-(1 << bits - 1) if signed else 0) <= raw < 1 << bits - signed:
            return False
        for k in range(size - 1, -1, -1):
            out[k] = raw & 0xFF
            raw >>= 8
    if profile.is_no_value(kind, out, 0):
        return False
    if profile.is_little and size > 2:
        out[:size] = swapped(out, 0, size)
    return True


def encode_no_value(profile: Profile, i: int, out: bytearray) -> bool:
    """Writes what means "no value" of point `i` to out[0:]: NaN, or the integer that the profile names. False when the
    profile names none."""
    kind = profile.encodings[profile.encoding_of[i]][0]
    size = 2 * REGISTERS[kind]
    for k in range(2, size):
        out[k] = 0
    if kind >= FLOAT32:
        out[0] = 0x7F
        out[1] = 0xC0 if kind == FLOAT32 else 0xF8
    elif not profile.no_value:
        return False
    else:
        out[0] = profile.no_value if kind & 1 else 0xFF
        for k in range(1, size):
            out[k] = 0 if out[0] == 0x80 else 0xFF
    if profile.is_little and size > 2:
        out[:size] = swapped(out, 0, size)
    return True


def _write_float(out, number, denominator, width, bias, size):
    """Writes number / denominator as IEEE 754 of `size` bytes to out[0:], rounded to the nearest, halves to even.
    `width`: bits of its mantissa without the hidden one."""
    sign = number < 0
    number = abs(number)
    bits = 0
    if number:
        exponent = _bit_length(number) - _bit_length(denominator) - width
        if number << max(-exponent, 0) < denominator << width + max(exponent, 0):
            exponent -= 1
        number <<= max(-exponent, 0)
        denominator <<= max(exponent, 0)
        mantissa = number // denominator
        rest = 2 * (number - mantissa * denominator)
        if rest > denominator or rest == denominator and mantissa & 1:
            mantissa += 1  # may carry into the exponent, as it should
        # The hidden bit adds one to the exponent.
        bits = (exponent + width + bias - 1 << width) + mantissa
    if sign:
        bits |= 1 << 8 * size - 1
    for k in range(size - 1, -1, -1):
        out[k] = bits & 0xFF
        bits >>= 8


def _bit_length(number):
    bits = 0
    while number > 0xFF:
        number >>= 8
        bits += 8
    while number:
        number >>= 1
        bits += 1
    return bits

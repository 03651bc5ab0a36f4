"""What is decoded for each answer, as machine code: firmware.meters.profile has the plain functions. Constants are eight
bits that are shifted, or sixteen (readings_machine.py says why).

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

from firmware.meters.profile import _FIVES, _PLACES, plain_decimal as _plain_decimal

_len = len  # a name of the module is found in a fifth of the time of a builtin one
_number = int  # makes an object of a native number


@micropython.viper
def plain_decimal(encoding, data, at: int):
    """As firmware.meters.profile.plain_decimal(). Raises IndexError beyond the end of `data`."""
    kind = int(encoding[0])
    flags = int(encoding[3])
    factor = int(encoding[4])
    tens = int(encoding[5])
    size = 2 if kind < 2 else 4
    if at < 0 or int(_len(data)) < at + size:
        raise IndexError
    d = ptr8(int(ptr8(data)) + at)
    decimals = tens
    if kind == 6:  # float32
        first = d[0] & 0x7F
        if first > 0x53:
            return None
        places = int(ptr8(_PLACES)[first])
        if flags & 1 or places < tens:  # WHOLE
            places = tens
        decimals = places - tens
        shift = 150 - places - (first << 1 | d[1] >> 7)
        if places > 7 or shift < places:  # more than 31 bits
            return _plain_decimal(encoding, data, at)
        five = int(_FIVES[places])
        high = ((d[1] | 0x80) << 4 | d[2] >> 4) * five
        low = ((d[2] & 0x0F) << 8 | d[3]) * five
        if shift > 46:
            number = 0
        elif shift > 42:
            return _plain_decimal(encoding, data, at)
        elif shift > 12:
            number = high + (low >> 12) + (1 << shift - 13) >> shift - 12
        else:
            number = (high << 12 - shift) + (low + (1 << shift - 1) >> shift)
        if d[0] & 0x80:
            number = 0 - number
        if factor < 0:
            number = 0 - number
    else:
        if kind < 2:
            number = d[0] << 8 | d[1]
            if kind and number & 0x8000:
                number -= 0x10000
        elif flags & 16:  # LITTLE
            number = (d[2] << 8 | d[3]) << 16 | d[0] << 8 | d[1]
        else:
            number = (d[0] << 8 | d[1]) << 16 | d[2] << 8 | d[3]
        if number >= 0x2000000 or number < -0x2000000 or (kind == 2 and number < 0):
            return _plain_decimal(encoding, data, at)
        if factor > 16 or factor < -16:
            return _plain_decimal(encoding, data, at)
        number *= factor
    if number >= 0x2000000 or number < -0x2000000 or flags & 32:  # TENFOLD
        return _plain_decimal(encoding, data, at)
    return _number(number << 4 | decimals)


@micropython.viper
def plain_real(buf, at: int, profile, i: int, data) -> bool:
    """As firmware.meters.profile.plain_real(). Raises IndexError where a buffer or the profile is too short."""
    begin = int(profile.offsets[i])
    encoding = profile.encodings[profile.encoding_of[i]]
    kind = int(encoding[0])
    flags = int(encoding[3])
    tens = int(encoding[5])
    if not flags & 8:  # PLAIN
        return False
    if flags & 32 and (kind != 6 or tens):  # TENFOLD
        return False
    size = 2 if kind < 2 else 4
    if at < 0 or begin < 0 or int(_len(buf)) < at + 4 or int(_len(data)) < begin + size:
        raise IndexError
    d = ptr8(int(ptr8(data)) + begin)
    factor = int(encoding[4])
    denominator = 1
    exponent = 0
    negative = 0
    if kind == 6:  # float32
        exponent = (d[0] & 0x7F) << 1 | d[1] >> 7
        number = (d[1] & 0x7F | 0x80) << 16 | d[2] << 8 | d[3]
        if exponent > 167 or tens > 3 or tens < -3:
            return False
        if exponent < 64:
            if exponent or number << 9:  # more than the leading bit
                return False
            number = 0
        negative = d[0] >> 7
        exponent += tens - 150
        while tens > 0:
            number *= 5
            tens -= 1
        while tens < 0:
            denominator *= 5
            tens += 1
        if flags & 32 and not negative and (exponent > -17 or (exponent == -17 and number > 0xC80000)):  # above 100
            denominator = 10
        if flags & 1:  # WHOLE
            if exponent < -31:
                number = 0
            elif exponent < 0:
                number = (number >> -1 - exponent) + 1 >> 1
                exponent = 0
            denominator = 1000
    else:
        if kind < 2:
            number = d[0] << 8 | d[1]
            if kind and number & 0x8000:
                negative = 1
                number = 0x10000 - number
        else:
            if flags & 16:  # LITTLE
                high = d[2] << 8 | d[3]
                number = d[0] << 8 | d[1]
            else:
                high = d[0] << 8 | d[1]
                number = d[2] << 8 | d[3]
            if high & 0x8000:
                if kind == 2 or (high == 0x8000 and not number):
                    return False
                negative = 1
                number = 0 - (high - 0x10000 << 16 | number)
            else:
                number = high << 16 | number
        if factor != 1 and factor != -1:
            size = factor if factor > 0 else 0 - factor
            if number >= 0x20000000 // size:
                return False
            number *= size
        while tens > 0:
            denominator *= 10
            tens -= 1
        if flags & 1:
            denominator = 1000
    if factor < 0:
        negative ^= 1
    o = ptr8(int(ptr8(buf)) + at)
    mantissa = number // denominator
    rest = number - mantissa * denominator
    if not number:
        exponent = negative = 0
    else:
        lost = 0
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
        exponent += 151
        if mantissa >= 0x1000000:
            mantissa >>= 1
            exponent += 1
    o[0] = negative << 7 | exponent >> 1
    o[1] = (exponent & 1) << 7 | mantissa >> 16 & 0x7F
    o[2] = mantissa >> 8
    o[3] = mantissa
    return True

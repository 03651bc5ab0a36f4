"""The values of the points of a meter as machine code: decoding one in Python takes 8,000 cycles of an
RP2040.

Only images of the rp2 port have it (tools/build.py, frozen_manifest). All constants are eight bits that are shifted, or
sixteen: a larger one is loaded from beside the code, which fails where an image does not place that at a multiple of
four.
"""

import micropython
from micropython import const

from firmware.meters.profile import _PLACES

_NUMBER_MOST = const(0x2000000)
_OTHER = const(0x20000000)  # instead of a value: it has none that is plain
_AGE_MOST = const(0x4000000)  # seconds: eight digits
_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def decode_points(s: ptr8, n: int, values, meter, order, state):
    """Puts the values of points into `values`, four bytes for each: number << 4 | decimals as in plain_decimal(), or
    _OTHER. The first two arguments are its own: they are given as bytes, 0.

    order     indices of the points of the meter that are wanted
    state     array of "i": four of the caller's; for each block the age in seconds, and less than 0 where its points
              are to be _OTHER or else anything; one more of the caller's
    Raises IndexError where one of them is too short."""
    # The first two locals lie in registers.
    profile = meter.profile
    points = int(_len(profile.numbers))
    offsets_at = int(ptr8(profile.offsets))
    encoding_at = int(ptr8(profile.encoding_of))
    encodings = profile.encodings
    all_blocks = meter.blocks
    blocks = int(_len(all_blocks))
    block_of = meter.block_of
    block_at = int(ptr8(block_of))
    wanted = int(_len(order))
    if int(_len(block_of)) < points or int(_len(state)) < 5 + 2 * blocks or int(_len(values)) < 4 * wanted:
        raise IndexError
    at = ptr32(state)
    target = ptr32(values)
    orders = int(ptr8(order))
    places_at = int(ptr8(_PLACES))
    block = encoding_number = -1
    length = data = kind = flags = factor = tens = is_plain = is_read = 0
    k = 0
    while k < wanted:
        n = int(ptr8(orders)[k])
        if n >= points:
            raise IndexError
        number = int(ptr8(encoding_at)[n])
        if number != encoding_number:
            encoding_number = number
            encoding = encodings[encoding_number]
            kind = int(encoding[0])
            flags = int(encoding[3])
            factor = int(encoding[4])
            tens = int(encoding[5])
            is_plain = flags & 8  # PLAIN
            if kind != 6 and (factor > 16 or factor < -16):
                is_plain = 0
        number = int(ptr8(block_at)[n])
        if number != block:
            block = number
            if block >= blocks:
                raise IndexError
            raw = all_blocks[block].raw
            length = int(_len(raw))
            data = int(ptr8(raw))
            is_read = 1
            number = at[4 + 2 * block]
            if at[5 + 2 * block] < 0 or number < 0 or number > _AGE_MOST:
                is_read = 0
        number = _NUMBER_MOST
        decimals = tens
        if is_plain and is_read:
            n = int(ptr8(offsets_at)[n])
            if n + (2 if kind < 2 else 4) > length:
                raise IndexError
            # As plain_decimal() of profile_machine.py.
            s = ptr8(data + n)
            if kind == 6:  # float32
                n = s[0] & 0x7F
                if n <= 0x53:
                    n = int(ptr8(places_at)[n])
                    if flags & 1 or n < tens:  # WHOLE
                        n = tens
                    decimals = n - tens
                    shift = 150 - n - ((s[0] & 0x7F) << 1 | s[1] >> 7)
                    if n >= 0 and n <= 7 and shift >= n and (shift <= 42 or shift >= 47):
                        five = 1
                        while n:
                            five *= 5
                            n -= 1
                        number = ((s[1] | 0x80) << 4 | s[2] >> 4) * five
                        five *= (s[2] & 0x0F) << 8 | s[3]
                        if shift > 46:
                            number = 0
                        elif shift > 12:
                            number = number + (five >> 12) + (1 << shift - 13) >> shift - 12
                        else:
                            number = (number << 12 - shift) + (five + (1 << shift - 1) >> shift)
                        if s[0] & 0x80:
                            number = 0 - number
                        if factor < 0:
                            number = 0 - number
            else:
                if kind < 2:
                    number = s[0] << 8 | s[1]
                    if kind and number & 0x8000:
                        number -= 0x10000
                else:
                    n = s[0] << 8 | s[1]
                    number = s[2] << 8 | s[3]
                    number = number << 16 | n if flags & 16 else n << 16 | number  # LITTLE
                    if kind == 2 and number < 0:
                        number = _NUMBER_MOST
                if number < _NUMBER_MOST and number >= 0 - _NUMBER_MOST:
                    number *= factor
        if number >= _NUMBER_MOST or number < 0 - _NUMBER_MOST or decimals > 9:
            target[k] = _OTHER
        else:
            if flags & 32:  # TENFOLD
                n = 100
                shift = decimals
                while shift and n < _NUMBER_MOST:
                    n *= 10
                    shift -= 1
                if number > n:
                    decimals += 1
            target[k] = number << 4 | decimals
        k += 1

"""The text of points as machine code: print() takes 27,000 cycles of an RP2040 for one.

Only images of the rp2 port have it (tools/build.py, frozen_manifest). Two functions, since machine code of an RP2040
branches over 2 KB at most. All constants are eight bits that are shifted, or sixteen: a larger one is loaded from beside
the code, which fails where an image does not place that at a multiple of four.
"""

import micropython
from micropython import const

from firmware.meters.profile import _PLACES, UNITS
from firmware.meters.readings import QUALITIES

_NUMBER_MOST = const(0x2000000)
_PRINTED = const(0x20000000)  # instead of a value: the point is to be printed
_AGE_MOST = const(0x4000000)  # seconds: eight digits
_POINT_MOST = const(98)  # bytes of a point without its name: a value of 13, an age of 8
_SLOT = const(32)  # bytes; the first one is the length of the text behind it
_NEXT_ID = const(7)  # bytes of ,{"id":
_UNITS_AT = const(128)
_QUALITIES_AT = const(128 + 32 * 10)
_len = len  # a name of the module is found in a fifth of the time of a builtin one
_texts = b"".join(
    [
        bytes([len(text)]) + text.encode() + bytes(_SLOT - 1 - len(text))
        for text in ['","value":', '","value":-', ".", ',"name":"']
        + [',"unit":"%s","age_s":' % unit for unit in UNITS]
        + [',"quality":"%s"},{"id":' % quality for quality in QUALITIES]
    ]
)


@micropython.viper
def decode_points(s: ptr8, n: int, values, meter, order, state):
    """Puts the values of points into `values`, four bytes for each: number << 4 | decimals as in plain_decimal(), or
    _PRINTED. The first two arguments are its own: they are given as bytes, 0.

    order     indices of the points of the meter that are wanted
    state     as in write_points()
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
            target[k] = _PRINTED
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


@micropython.viper
def write_points(o: ptr8, s: ptr8, n: int, values, profile, block_of, order, state) -> int:
    """Writes points as ReadingsDocument prints them to a buffer `o` of `n` bytes; returns how many bytes that are.

    s         Profile.names of `profile`
    values    what decode_points() has put there
    block_of  Meter.block_of at that moment
    order     indices of the points of the meter that are wanted, which rise
    state     array of "i": index in `order` of the point that is next; where the length of the name of point `named`
              stands in `s`; `named`, not beyond the next point; slot << 8 of the meter; for each block the age in
              seconds, and the index of the quality, or -1 where its points are to be printed. The first three are
              moved on. The last one, behind those of all blocks: set to 1 where the buffer has no room for the next
              point, else to 0.
    It ends before a point that it has no room for, or that is to be printed. Raises IndexError where a table is too
    short."""
    # The first two locals lie in registers, so they are used for what loops most.
    numbers = profile.numbers
    points = int(_len(numbers))
    numbers_at = int(ptr8(numbers))
    units_at = int(ptr8(profile.units))
    block_at = int(ptr8(block_of))
    wanted = int(_len(order))
    size = int(_len(state))
    if int(_len(block_of)) < points or int(_len(values)) < 4 * wanted or size < 5:
        raise IndexError
    at = ptr32(state)
    value = ptr32(values)
    orders = int(ptr8(order))
    texts = int(ptr8(_texts))
    names_at = int(s)
    begin = base = int(o)
    end = base + n - _POINT_MOST
    k = at[0]
    name_at = at[1]
    named = at[2]
    is_full = 0
    while k < wanted:
        i = int(ptr8(orders)[k])
        if i >= points:
            raise IndexError
        while named < i:
            s = ptr8(names_at + name_at)
            name_at += 1 + s[0]
            named += 1
        s = ptr8(names_at + name_at)
        if base + s[0] > end:
            is_full = 1
            break
        number = value[k]
        if number == _PRINTED:
            break
        decimals = number & 15
        number >>= 4
        block = 4 + 2 * int(ptr8(block_at)[i])
        if block + 1 >= size:
            raise IndexError
        k += 1
        step = 0
        fraction = 0
        while step < 6:  # texts and the numbers behind them
            n = 1  # digits at least; 0: no number
            if step == 0:
                n = 0
            elif step == 1:
                s = ptr8(texts)
                if number < 0:
                    s = ptr8(texts + _SLOT)
                    number = 0 - number
                if decimals:
                    fraction = number
                    n = decimals
                    rest = 1
                    while n and rest <= number:
                        rest *= 10
                        n -= 1
                    if n or rest > number:  # below 1
                        number = 0
                    else:
                        number //= rest
                        fraction -= number * rest
                    n = 1
            elif step == 2:
                if not fraction:
                    step = 3
                    continue
                s = ptr8(texts + 2 * _SLOT)
                number = fraction
                n = decimals
            elif step == 3:
                s = ptr8(texts + _UNITS_AT + (int(ptr8(units_at)[i]) << 5))
                number = at[block]
            elif step == 4:
                s = ptr8(texts + _QUALITIES_AT + (at[block + 1] << 5))
                if k == wanted:
                    n = 0
                else:
                    i = int(ptr8(orders)[k])
                    if i >= points:
                        raise IndexError
                    number = at[3] | int(ptr8(numbers_at)[i])
            else:
                if k == wanted:
                    break
                s = ptr8(texts + 3 * _SLOT)
                n = 0
            width = n
            n = s[0]
            s = ptr8(int(s) + 1)
            o = ptr8(base)
            if step == 4 and not width:
                n -= _NEXT_ID
            base += n
            while n > 7:
                o[0] = s[0]
                o[1] = s[1]
                o[2] = s[2]
                o[3] = s[3]
                o[4] = s[4]
                o[5] = s[5]
                o[6] = s[6]
                o[7] = s[7]
                o = ptr8(int(o) + 8)
                s = ptr8(int(s) + 8)
                n -= 8
            while n:
                n -= 1
                o[n] = s[n]
            if width:
                n = 1
                rest = 10
                while number >= rest:
                    rest *= 10
                    n += 1
                if n < width:
                    n = width
                o = ptr8(base)
                base += n
                while n:
                    n -= 1
                    # A division is a call of some 200 cycles; this is the same up to 40959.
                    rest = number * 52429 >> 19 if number < 40960 else number // 10
                    o[n] = 48 + number - 10 * rest
                    number = rest
            step += 1
    at[0] = k
    at[1] = name_at
    at[2] = named
    at[size - 1] = is_full
    return base - begin

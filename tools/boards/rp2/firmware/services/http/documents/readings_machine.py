"""The text of points as machine code: print() takes 27,000 cycles of an RP2040 for one.

Only images of the rp2 port have it (tools/build.py, frozen_manifest). All constants are eight bits that are shifted, or
sixteen: a larger one is loaded from beside the code, which fails where an image does not place that at a multiple of
four.
"""

import micropython
from micropython import const

from firmware.meters.profile import UNITS
from firmware.meters.readings import QUALITIES

_PRINTED = const(0x20000000)  # instead of a value: the point is to be printed (decode_points)
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

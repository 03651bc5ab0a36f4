"""The values of a meter as MQTT sends them, as machine code: in Python one takes 25,000 cycles of an RP2040.

Only images of the rp2 port have it (tools/build.py, frozen_manifest). All constants are eight bits that are shifted, or
sixteen: a larger one is loaded from beside the code, which fails where an image does not place that at a multiple of
four.
"""

import micropython
from micropython import const

_OTHER = const(0x20000000)  # instead of a value (decode_points)
_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def write_values(o: ptr8, s: ptr8, n: int, size: int, topic, values, state) -> int:
    """Writes values as Values.fill() does, to the buffer `o` of `size` bytes from index `n` on; returns where they end.

    s         Profile.names
    topic     of the messages, without the point's name; empty for members of an object
    values    what decode_points() has put there, of all points
    state     as in Values
    It ends before a value that it has no room for, then the last of `state` is 1 and else 0, or that is _OTHER. Raises
    IndexError where a table is too short."""
    # The first two locals lie in registers, so they are used for what loops most.
    last = int(_len(state)) - 1
    head = int(_len(topic))
    if last < 4 or n < 0:
        raise IndexError
    at = ptr32(state)
    points = at[3]
    if int(_len(values)) < 4 * points:
        raise IndexError
    value = ptr32(values)
    topic_at = int(ptr8(topic))
    names_at = int(s)
    base = int(o)
    k = at[0]
    name_at = at[1]
    count = at[2]
    is_full = 0
    while k < points:
        number = value[k]
        if number == _OTHER:
            break
        decimals = number & 15
        number >>= 4
        sign = 0
        if number < 0:
            number = 0 - number
            sign = 1
        rest = 10
        width = 1
        while number >= rest:
            rest *= 10
            width += 1
        if decimals:
            if width <= decimals:
                width = decimals + 1
            width += 1
        s = ptr8(names_at + name_at)
        name = int(s[0])
        if head:
            rest = 2 + head + name + sign + width  # behind the length
            length = rest + 2 + (1 if rest > 127 else 0)
        else:
            length = name + sign + width + 4
        if n + length > size:
            is_full = 1
            break
        o = ptr8(base + n)
        n += length
        if head:
            o[0] = 0x30
            o[1] = rest
            if rest > 127:
                o[1] = rest & 127 | 128
                o = ptr8(int(o) + 1)
                o[1] = rest >> 7
            length = head + name
            o[2] = length >> 8
            o[3] = length
            o = ptr8(int(o) + 4)
            s = ptr8(topic_at)
            length = 0
            while length < head:
                o[length] = s[length]
                length += 1
            o = ptr8(int(o) + head)
            s = ptr8(names_at + name_at)
        else:
            o[0] = 0x22
            o = ptr8(int(o) + 1)
        s = ptr8(int(s) + 1)
        length = 0
        while length < name:
            o[length] = s[length]
            length += 1
        o = ptr8(int(o) + name)
        if not head:
            o[0] = 0x22
            o[1] = 0x3A
            o = ptr8(int(o) + 2)
        if sign:
            o[0] = 0x2D
            o = ptr8(int(o) + 1)
        if not head:
            o[width] = 0x2C
        while width:
            width -= 1
            # A division is a call of some 200 cycles; this is the same up to 40959.
            rest = number * 52429 >> 19 if number < 40960 else number // 10
            o[width] = 48 + number - 10 * rest
            number = rest
            if decimals:
                decimals -= 1
                if not decimals:
                    width -= 1
                    o[width] = 0x2E
        name_at += 1 + name
        k += 1
        count += 1
    at[0] = k
    at[1] = name_at
    at[2] = count
    at[last] = is_full
    return n

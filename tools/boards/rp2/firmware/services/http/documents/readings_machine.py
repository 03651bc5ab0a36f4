"""The text of a point as machine code: print() takes 27,000 cycles of an RP2040 for it.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython
from micropython import const

_len = len  # a name of the module is found in a fifth of the time of a builtin one
_ROOM = const(24)  # for the digits of a number


@micropython.viper
def write_point(buf, names, name_at: int, number: int, decimals: int, unit, age_s: int, after, next_id: int) -> int:
    """Writes what ReadingsDocument prints for a point that has a value, and is not the last, to `buf`; returns how many
    bytes that are, 0 when it might not fit.

    names[name_at]: the length of the name, which follows; value = number / 10**decimals; `unit`, `after`: the texts
    between value and age, and between age and `next_id`, at most 64 bytes each."""
    if name_at < 0 or name_at >= int(_len(names)):
        raise IndexError
    source = ptr8(names)
    size = source[name_at]
    units = int(_len(unit))
    afters = int(_len(after))
    if name_at + size >= int(_len(names)):
        raise IndexError
    if size + units + afters + 80 > int(_len(buf)) or age_s < 0 or next_id < 0 or decimals > 9:
        return 0
    out = ptr8(buf)
    at = 0
    k = name_at + 1
    while at < size:
        out[at] = source[k]
        at += 1
        k += 1
    text = ptr8(b'","value":')
    k = 0
    while k < 10:
        out[at] = text[k]
        at += 1
        k += 1
    if number < 0:
        out[at] = 45
        at += 1
        number = 0 - number
    k = 0  # three numbers, each from its last digit on, into free room behind, and from there to their place
    while k < 3:
        rest = number
        if k == 1:
            rest = age_s
            text = ptr8(unit)
            size = units
        elif k == 2:
            rest = next_id
            text = ptr8(after)
            size = afters
        if k:
            i = 0
            while i < size:
                out[at] = text[i]
                at += 1
                i += 1
            decimals = 0
        i = end = at + _ROOM
        fraction = 0
        more = 1
        while more:
            # A division is a call of some 200 cycles; this is the same up to 40959.
            tenth = rest * 52429 >> 19 if rest < 40960 else rest // 10
            digit = rest - 10 * tenth
            rest = tenth
            i -= 1
            out[i] = 48 + digit
            more = rest
            if decimals:
                decimals -= 1
                fraction |= digit
                more = 1
                if not decimals:
                    if fraction:
                        i -= 1
                        out[i] = 46
                    else:
                        i = end
        while i < end:
            out[at] = out[i]
            at += 1
            i += 1
        k += 1
    text = ptr8(b',"name":"')
    k = 0
    while k < 9:
        out[at] = text[k]
        at += 1
        k += 1
    return at

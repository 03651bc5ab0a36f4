"""The digits of a decimal number as machine code: firmware.meters.decimal_text has the plain function.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython
from micropython import const

from firmware.meters.decimal_text import write_decimal as _write_decimal

_len = len  # a name of the module is found in a fifth of the time of a builtin one
_MOST = 0x1FFFFFFF  # a small integer, which a native number holds
_LEAST = -0x1FFFFFFF
_ROOM = const(18)  # a sign, 16 digits, a point


@micropython.viper
def write_decimal(buf, end: int, decimal) -> int:
    """As firmware.meters.decimal_text.write_decimal(), which raises where `buf` is too short."""
    if decimal > _MOST or decimal < _LEAST or end < _ROOM or end > int(_len(buf)):
        return int(_write_decimal(buf, end, decimal))
    out = ptr8(buf)
    number = int(decimal)
    decimals = number & 15
    number >>= 4
    is_negative = 0
    if number < 0:
        number = 0 - number
        is_negative = 1
    while number or decimals >= 0:
        # A division is a call of some 200 cycles; this is the same up to 40959.
        tenth = number * 52429 >> 19 if number < 40960 else number // 10
        end -= 1
        out[end] = 48 + number - 10 * tenth
        number = tenth
        decimals -= 1
        if decimals == 0:
            end -= 1
            out[end] = 46
    if is_negative:
        end -= 1
        out[end] = 45
    return end

"""Looking at the answer to a read of registers as machine code.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

from modbus.crc import _HIGH, _LOW

_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def is_read_answer(buf, n: int, request) -> bool:
    """As modbus.rtu.is_read_answer(). Raises IndexError beyond the end of `buf`, or of a request."""
    if n < 3 or n > int(_len(buf)) or int(_len(request)) < 6:
        raise IndexError
    data = ptr8(buf)
    asked = ptr8(request)
    function = data[1]
    if function != asked[1] or function < 3 or function > 4 or data[0] != asked[0]:
        return False
    if data[2] != n - 5 or n != 5 + 2 * (asked[4] << 8 | asked[5]):
        return False
    low_table = ptr8(_LOW)
    high_table = ptr8(_HIGH)
    low = high = 0xFF
    k = 0
    while k < n:
        index = low ^ data[k]
        low = high ^ low_table[index]
        high = high_table[index]
        k += 1
    return low | high == 0

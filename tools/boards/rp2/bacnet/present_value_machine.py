"""The functions of bacnet.present_value as machine code: each takes some hundred cycles of an RP2040 instead of some
ten thousand. Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def begin_answer(buf, data) -> int:
    """As bacnet.present_value.begin_answer(). Raises IndexError where `buf` is too short."""
    if int(_len(data)) != 17:
        return -1
    d = ptr8(data)
    if d[9] != 12 or d[6] & 0xFD or d[10] != 0x0C or d[11] > 0x3F or d[15] != 0x19 or d[16] != 0x55:
        return -1
    if d[0] != 0x81 or d[1] != 0x0A or d[2] or d[3] != 17 or d[4] != 1 or d[5] & 0xFB:
        return -1
    if int(_len(buf)) < 23:
        raise IndexError
    b = ptr8(buf)
    b[0] = 0x81
    b[1] = 0x0A
    b[2] = 0
    b[3] = 23
    b[4] = 1
    b[5] = 0
    b[6] = 0x30
    k = 8
    while k < 17:
        b[k - 1] = d[k]
        k += 1
    b[16] = 0x3E
    b[17] = 0x44
    b[22] = 0x3F
    return d[11] << 24 | d[12] << 16 | d[13] << 8 | d[14]


@micropython.viper
def begin_result(buf, at: int, data, begin: int) -> int:
    """As bacnet.present_value.begin_result(). Raises IndexError beyond the end of `buf`."""
    if begin < 0 or int(_len(data)) < begin + 9:
        return -1
    d = ptr8(int(ptr8(data)) + begin)
    if d[0] != 0x0C or d[1] > 0x3F or d[5] != 0x1E or d[6] != 9 or d[7] != 0x55 or d[8] != 0x1F:
        return -1
    if at < 0 or int(_len(buf)) < at + 16:
        raise IndexError
    b = ptr8(int(ptr8(buf)) + at)
    k = 0
    while k < 6:
        b[k] = d[k]
        k += 1
    b[6] = 0x29
    b[7] = 0x55
    b[8] = 0x4E
    b[9] = 0x44
    b[14] = 0x4F
    b[15] = 0x1F
    return d[1] << 24 | d[2] << 16 | d[3] << 8 | d[4]

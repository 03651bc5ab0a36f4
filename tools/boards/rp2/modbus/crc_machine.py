"""The CRC-16 of modbus.crc as machine code: an RP2040 takes 65 cycles for a byte instead of 1300.

Only images of the rp2 port have it (tools/build.py, frozen_manifest): .mpy files are for every chip. modbus.crc takes it
where it is there.
"""

import micropython

from modbus.crc import _HIGH, _LOW

_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def crc16(buf, end: int, start: int) -> int:
    """Returns the CRC of buf[start:end] as modbus.crc.crc16() does. Raises IndexError beyond the end of `buf`."""
    if start < 0 or end > int(_len(buf)):
        raise IndexError
    data = ptr8(buf)
    low_table = ptr8(_LOW)
    high_table = ptr8(_HIGH)
    low = high = 0xFF
    while start < end:
        index = low ^ data[start]
        low = high ^ low_table[index]
        high = high_table[index]
        start += 1
    return low | (high << 8)

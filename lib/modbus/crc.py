"""CRC-16 of Modbus RTU: polynomial 0xA001 (reflected 0x8005), start value 0xFFFF.

Source: Modbus over Serial Line V1.02, 6.2.2 and appendix B. The CRC follows its frame low byte first.
"""

# Two tables of 256 bytes, as in appendix B: one table of 16-bit integers would cost four times the heap.
_LOW = bytearray(256)
_HIGH = bytearray(256)


def _fill():
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
        _LOW[value] = crc & 0xFF
        _HIGH[value] = crc >> 8


_fill()


def crc16(buf, end, start=0):
    """CRC of buf[start:end]. A frame with its right CRC appended gives 0. Allocates nothing."""
    low_table = _LOW
    high_table = _HIGH
    low = high = 0xFF
    while start < end:
        index = low ^ buf[start]
        low = high ^ low_table[index]
        high = high_table[index]
        start += 1
    return low | (high << 8)

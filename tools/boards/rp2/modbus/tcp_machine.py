"""The way of a passed-through read between Modbus TCP and the serial line as machine code: slices are objects in the
heap, and each byte that Python looks at takes some hundred cycles.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

from modbus.crc import _HIGH, _LOW

_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def put_pdu(out, frame, at: int, n: int) -> int:
    """As modbus.tcp.put_pdu(). Raises IndexError where one of the two is too short."""
    length = n - 3
    if at < 0 or length < 0 or int(_len(out)) < 7 + length or int(_len(frame)) < at + n:
        raise IndexError
    source = ptr8(int(ptr8(frame)) + at)
    target = ptr8(out)
    k = 0
    while k < length:
        target[7 + k] = source[1 + k]
        k += 1
    return length


@micropython.viper
def put_reply(out, head, frame, at: int, n: int) -> int:
    """As modbus.tcp.put_reply(). Raises IndexError where one of the three is too short."""
    if int(_len(head)) < 7:
        raise IndexError
    size = int(put_pdu(out, frame, at, n)) + 1  # and the unit
    source = ptr8(head)
    target = ptr8(out)
    target[0] = source[0]
    target[1] = source[1]
    target[2] = 0
    target[3] = 0
    target[4] = size >> 8
    target[5] = size & 0xFF
    target[6] = source[6]
    return 6 + size


@micropython.viper
def put_read(frame, head, adu, buses, addresses) -> int:
    """As modbus.tcp.put_read(). Raises IndexError where one of them is too short."""
    if int(_len(adu)) < 12 or int(_len(frame)) < 8 or int(_len(head)) < 8:
        raise IndexError
    size = int(_len(addresses))
    if int(_len(buses)) < 256 or size and size < 256:
        raise IndexError
    source = ptr8(adu)
    unit = source[6]
    bus = ptr8(buses)[unit]
    function = source[7]
    if bus == 255 or source[2] | source[3] | source[4] or source[5] != 6 or function < 3 or function > 4:
        return 255
    quantity = source[10] << 8 | source[11]
    if quantity < 1 or quantity > 125 or (source[8] << 8 | source[9]) + quantity > 0x10000:
        return 255
    target = ptr8(head)
    k = 0
    while k < 8:
        target[k] = source[k]
        k += 1
    target = ptr8(frame)
    low_table = ptr8(_LOW)
    high_table = ptr8(_HIGH)
    low = high = 0xFF
    byte = unit
    if size:
        byte = ptr8(addresses)[unit]
    k = 0
    while k < 6:
        target[k] = byte
        index = low ^ byte
        low = high ^ low_table[index]
        high = high_table[index]
        byte = source[7 + k]
        k += 1
    target[6] = low
    target[7] = high
    return bus

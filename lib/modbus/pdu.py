"""Modbus PDUs: which requests are well formed, which only read, and how exceptions look.

Source: MODBUS Application Protocol Specification V1.1b3 (chapters named below).
In: a buffer that holds a PDU at buf[at:at + n]. Out: integers. Nothing is kept or allocated, except by exception().
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

PDU_MAX = const(253)  # 4.1: 256 bytes of serial ADU less address and CRC

# 7: exception codes that a gateway gives
ILLEGAL_FUNCTION = const(0x01)
ILLEGAL_DATA_ADDRESS = const(0x02)
ILLEGAL_DATA_VALUE = const(0x03)
SERVER_DEVICE_FAILURE = const(0x04)
SERVER_DEVICE_BUSY = const(0x06)
GATEWAY_PATH_UNAVAILABLE = const(0x0A)
GATEWAY_TARGET_FAILED = const(0x0B)

_BITS_READ_MAX = const(2000)  # 6.1, 6.2
_REGISTERS_READ_MAX = const(125)  # 6.3, 6.4, 6.17
_BITS_WRITE_MAX = const(1968)  # 6.11
_REGISTERS_WRITE_MAX = const(123)  # 6.12
_READ_WRITE_WRITE_MAX = const(121)  # 6.17
_MEI_DEVICE_IDENTIFICATION = const(0x0E)  # 6.21

# Functions that change nothing in the device: 1-4, 7, 11, 12, 17, 20, 24 (43 depends on its MEI type)
_READS = b"\x01\x02\x03\x04\x07\x0b\x0c\x11\x14\x18"


def is_read(buf: "Buffer", at: int, n: int) -> bool:
    """Returns whether the request can only read. A function that is not known to read counts as a write: vendors put
    resets behind codes of their own (0x42 erases the energy of a PZEM-004T)."""
    function = buf[at]
    if function == 43:
        return n >= 2 and buf[at + 1] == _MEI_DEVICE_IDENTIFICATION
    return function in _READS


def check_request(buf: "Buffer", at: int, n: int) -> int:
    """Returns 0 when the request is well formed as far as its function is known, else the exception code for it.

    Order of checks as in the state diagrams of chapter 6: function, then quantity and value, then the sum of
    address and quantity. A function that is not listed here passes: the device behind the gateway judges it.
    """
    if n < 1 or n > PDU_MAX or not 0 < buf[at] < 0x80:
        return ILLEGAL_FUNCTION
    function = buf[at]
    if function > 4:
        return _check_other(buf, at, n, function)
    if n != 5:
        return ILLEGAL_DATA_VALUE
    quantity = buf[at + 3] << 8 | buf[at + 4]
    if not 0 < quantity <= (_BITS_READ_MAX if function < 3 else _REGISTERS_READ_MAX):
        return ILLEGAL_DATA_VALUE
    return _range(buf, at + 1, quantity)


def _check_other(buf: "Buffer", at: int, n: int, function: int) -> int:
    """The same of all functions but reads, on whose way a frame has at most 11 words: those stay off the heap."""
    if function == 5:
        if n != 5 or buf[at + 3] not in (0x00, 0xFF) or buf[at + 4]:
            return ILLEGAL_DATA_VALUE
    elif function == 6:
        if n != 5:
            return ILLEGAL_DATA_VALUE
    elif function in (15, 16):
        if n < 6:
            return ILLEGAL_DATA_VALUE
        quantity = buf[at + 3] << 8 | buf[at + 4]
        if function == 15:
            size = (quantity + 7) >> 3
            most = _BITS_WRITE_MAX
        else:
            size = 2 * quantity
            most = _REGISTERS_WRITE_MAX
        if not 0 < quantity <= most or buf[at + 5] != size or n != 6 + size:
            return ILLEGAL_DATA_VALUE
        return _range(buf, at + 1, quantity)
    elif function == 22:
        if n != 7:
            return ILLEGAL_DATA_VALUE
    elif function == 23:
        if n < 10:
            return ILLEGAL_DATA_VALUE
        read = buf[at + 3] << 8 | buf[at + 4]
        write = buf[at + 7] << 8 | buf[at + 8]
        if not 0 < read <= _REGISTERS_READ_MAX or not 0 < write <= _READ_WRITE_WRITE_MAX:
            return ILLEGAL_DATA_VALUE
        if buf[at + 9] != 2 * write or n != 10 + 2 * write:
            return ILLEGAL_DATA_VALUE
        return _range(buf, at + 1, read) or _range(buf, at + 5, write)
    elif function == 24:
        if n != 3:
            return ILLEGAL_DATA_VALUE
    elif function in (7, 11, 12, 17):
        if n != 1:
            return ILLEGAL_DATA_VALUE
    elif function == 43 and n < 2:
        return ILLEGAL_DATA_VALUE
    return 0


def _range(buf: "Buffer", at: int, quantity: int) -> int:
    """Returns 0 when address + quantity stays within 65536, else exception 02."""
    if (buf[at] << 8 | buf[at + 1]) + quantity > 0x10000:
        return ILLEGAL_DATA_ADDRESS
    return 0


def exception(function: int, code: int) -> bytes:
    """Returns the exception response to `function` as a PDU of two bytes (chapter 7)."""
    return bytes((function | 0x80, code))

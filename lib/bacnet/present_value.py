"""The two requests for Present_Value that nearly all traffic consists of, each recognised and answered as a whole
(ASHRAE 135-2012, 15.5, 15.7): by their bytes, without taking tags apart.

    81 0A len(2) 01 04 0s sizes id 0C 0C object(4) 19 55                      datagram: ReadProperty
    81 0A len(2) 01 00 30 id 0C 0C object(4) 19 55 3E 44 REAL(4) 3F           its answer
    0C object(4) 1E 09 55 1F                                                  within ReadPropertyMultiple
    0C object(4) 1E 29 55 4E 44 REAL(4) 4F 1F                                 its result

Objects are type << TYPE_SHIFT | instance. What comes in another form (by a router, with an index, in parts) is -1 here:
`tags` and `apdu` take it apart.
"""

from micropython import const

TYPE_SHIFT = const(22)
_READ_LENGTH = const(17)
ANSWER_LENGTH = const(23)
ANSWER_REAL_AT = const(18)
REFERENCE_LENGTH = const(9)
RESULT_LENGTH = const(16)
RESULT_REAL_AT = const(10)

_READ_HEAD = b"\x81\x0a\x00\x11\x01"  # up to the control byte of the NPDU
_EXPECTING_REPLY = const(4)  # which not every client says
_ANSWER_HEAD = b"\x81\x0a\x00\x17\x01\x00\x30"  # up to the invoke id
_READ_PROPERTY = const(12)
_OBJECT = const(0x0C)  # context tag 0, 4 bytes
_TYPE_MOST = const(0x3F)  # first byte of an object: types up to 255, so that the number has at most 30 bits


def begin_answer(buf: bytearray, data: bytes) -> int:
    """Writes the datagram that answers the one in `data`, ANSWER_LENGTH bytes, up to the REAL and behind it. Returns
    the object that it asks for by ReadProperty of Present_Value; -1, and writes nothing, when it asks for anything
    else."""
    if len(data) != _READ_LENGTH or data[9] != _READ_PROPERTY or data[6] & ~2 or data[15] != 0x19 or data[16] != 0x55:
        return -1
    for k in range(5):
        if data[k] != _READ_HEAD[k]:
            return -1
    number = -1 if data[5] & ~_EXPECTING_REPLY else _object(data, 10)
    if number >= 0:
        for k in range(7):
            buf[k] = _ANSWER_HEAD[k]
        for k in range(8, _READ_LENGTH):
            buf[k - 1] = data[k]
        buf[16] = 0x3E
        buf[17] = 0x44
        buf[22] = 0x3F
    return number


def begin_result(buf: bytearray, at: int, data: bytes, begin: int) -> int:
    """Writes the result for data[begin:], within ReadPropertyMultiple, to buf[at:], RESULT_LENGTH bytes, up to the REAL
    and behind it. Returns the object that it wants Present_Value of and nothing else; -1, and writes nothing, when it
    wants anything else."""
    if len(data) < begin + REFERENCE_LENGTH or data[begin + 5] != 0x1E or data[begin + 6] != 0x09:
        return -1
    number = _object(data, begin) if data[begin + 7] == 0x55 and data[begin + 8] == 0x1F else -1
    if number >= 0:
        for k in range(6):
            buf[at + k] = data[begin + k]
        buf[at + 6] = 0x29
        buf[at + 7] = 0x55
        buf[at + 8] = 0x4E
        buf[at + 9] = 0x44
        buf[at + 14] = 0x4F
        buf[at + 15] = 0x1F
    return number


def _object(data: bytes, at: int) -> int:
    """The object behind its tag at data[at]."""
    if data[at] != _OBJECT or data[at + 1] > _TYPE_MOST:
        return -1
    return data[at + 1] << 24 | data[at + 2] << 16 | data[at + 3] << 8 | data[at + 4]


try:
    from bacnet.present_value_machine import begin_answer, begin_result  # type: ignore  # noqa: F401
except ImportError:  # only images for the RP2 have machine code
    pass

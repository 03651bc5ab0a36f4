"""Serial frames: built, cut by their expected length, and matched against the request that they must answer.

Source: MODBUS over Serial Line V1.02 (2.5.1 RTU framing), Application Protocol V1.1b3 chapter 6 (lengths).
A frame is unit id, PDU, CRC low byte, CRC high byte. Requests and answers are whole frames in buffers of the caller.
An answer is taken only when CRC, unit, function, length and what must be echoed all agree with the request;
mismatch() names the first that does not, so that each kind can be counted.
"""

from micropython import const

from modbus.crc import crc16

_TYPING = const(0)
if _TYPING:
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

ADU_MAX = const(256)  # 2.5.1.1
# What request_length() and answer_length() return beside a length
MORE = const(0)  # not known yet: more bytes are needed
SILENCE = const(-1)  # no rule for this function: the frame ends when the line falls silent

# What mismatch() returns
MATCH = const(0)
BAD_CRC = const(1)
OTHER_UNIT = const(2)
OTHER_FUNCTION = const(3)
OTHER_LENGTH = const(4)
OTHER_CONTENT = const(5)
REASONS = ("match", "crc", "unit", "function", "length", "content")

_COUNTED = b"\x01\x02\x03\x04\x0c\x11\x14\x15\x17"  # the third byte says how many follow


def build(out: bytearray, unit: int, pdu: "Buffer", at: int, n: int) -> int:
    """Writes the frame of unit + pdu[at:at+n] into `out` (at least n + 3 bytes) and returns its length."""
    out[0] = unit
    for i in range(n):
        out[1 + i] = pdu[at + i]
    return append_crc(out, 1 + n)


def append_crc(out: bytearray, n: int) -> int:
    """Appends the CRC of out[0:n] and returns the length of the finished frame."""
    crc = crc16(out, n, 0)
    out[n] = crc & 0xFF
    out[n + 1] = crc >> 8
    return n + 2


def request_length(buf: "Buffer", at: int, end: int) -> int:
    """Returns the length of the request frame that begins at buf[at], as far as buf[at:end] tells: MORE, SILENCE or a
    number, which may be larger than ADU_MAX. Application Protocol, chapter 6."""
    n = end - at
    if n < 2:
        return MORE
    function = buf[at + 1]
    if 0 < function < 7 or function == 8:
        return 8
    if function in (7, 11, 12, 17):
        return 4
    if function in (15, 16):
        return 9 + buf[at + 6] if n > 6 else MORE
    if function in (20, 21):
        return 5 + buf[at + 2] if n > 2 else MORE
    if function == 22:
        return 10
    if function == 23:
        return 13 + buf[at + 10] if n > 10 else MORE
    if function == 24:
        return 6
    return 7 if function == 43 else SILENCE


def answer_length(buf: "Buffer", at: int, end: int, request_length: int) -> int:
    """Returns the length of the answer that begins at buf[at], as far as buf[at:end] tells: MORE, SILENCE or a number.

    The function code is taken from the answer itself; mismatch() compares it with the request's.
    """
    n = end - at
    if n < 2:
        return MORE
    function = buf[at + 1]
    if function & 0x80:
        return 5
    if function in _COUNTED:
        return 5 + buf[at + 2] if n > 2 else MORE
    if function in (5, 6, 11, 15, 16):
        return 8
    if function == 22:
        return 10
    if function == 7:
        return 5
    if function == 8:
        return request_length  # 6.8: diagnostics answer with as many bytes as were asked
    if function == 24:  # 6.18: the count of bytes has 16 bits
        return 6 + (buf[at + 2] << 8 | buf[at + 3]) if n > 3 else MORE
    if function == 43:
        return _identification_length(buf, at, end)
    return SILENCE


def _identification_length(buf: "Buffer", at: int, end: int) -> int:
    """Length of an answer to Read Device Identification (6.21): its objects are counted and measured one by one."""
    if end - at < 3:
        return MORE
    if buf[at + 2] != 0x0E:
        return SILENCE
    if end - at < 8:
        return MORE
    here = at + 8
    for _ in range(buf[at + 7]):
        if here + 2 > end:
            return MORE
        here += 2 + buf[here + 1]
    return here - at + 2


def mismatch(buf: "Buffer", at: int, n: int, request: "Buffer", request_length: int) -> int:
    """Returns MATCH when buf[at:at+n] is a whole frame that answers `request`, else what does not agree first."""
    if n < 4:
        return OTHER_LENGTH
    if crc16(buf, at + n, at):
        return BAD_CRC
    if buf[at] != request[0]:
        return OTHER_UNIT
    function = request[1]
    if buf[at + 1] & 0x7F != function:
        return OTHER_FUNCTION
    if buf[at + 1] & 0x80:
        return MATCH if n == 5 else OTHER_LENGTH
    if function in (3, 4, 23):
        wanted = 5 + 2 * (request[4] << 8 | request[5])
    elif function in (1, 2):
        wanted = 5 + ((request[4] << 8 | request[5]) + 7 >> 3)
    else:
        wanted = answer_length(buf, at, at + n, request_length)
        if wanted == SILENCE:
            return MATCH
    if n != wanted or (function in (1, 2, 3, 4, 23) and buf[at + 2] != n - 5):
        return OTHER_LENGTH
    # 6.5, 6.6, 6.11, 6.12: address and value or quantity come back; 6.16: both masks as well
    echoed = 8 if function == 22 else 6 if function in (5, 6, 15, 16) else 0
    for i in range(2, echoed):
        if buf[at + i] != request[i]:
            return OTHER_CONTENT
    return MATCH


def is_read_answer(buf: "Buffer", n: int, request: "Buffer") -> bool:
    """Returns whether buf[0:n] is the whole answer to a read of registers (functions 3 and 4) without an exception.
    Says the same as mismatch(), which knows all functions, with a frame of at most 11 words."""
    function = buf[1]
    if function != request[1] or not 3 <= function <= 4 or buf[0] != request[0]:
        return False
    if buf[2] != n - 5 or n != 5 + 2 * (request[4] << 8 | request[5]):
        return False
    return crc16(buf, n, 0) == 0


def find_answer(
    buf: "Buffer", end: int, request: "Buffer", request_length: int, is_silent: bool, start: int = 0
) -> int:
    """Looks for the answer to `request` anywhere in buf[start:end]; noise, an echo or a foreign frame may precede it.

    Returns (index of its first byte) << 16 | its length, or 0 when it is not there (yet). `is_silent`: the line has
    been quiet for t3.5, which ends a frame of unknown length.
    """
    for at in range(start, end - 3):
        if buf[at] != request[0] or buf[at + 1] & 0x7F != request[1]:
            continue
        n = answer_length(buf, at, end, request_length)
        if n == SILENCE and is_silent:
            n = end - at
        if n > 0 and at + n <= end and mismatch(buf, at, n, request, request_length) == MATCH:
            return at << 16 | n
    return 0


try:
    from modbus.rtu_machine import is_read_answer  # type: ignore  # noqa: F401
except ImportError:  # only images for the RP2 have machine code
    pass

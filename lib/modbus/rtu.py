"""Serial frames: built, cut by their expected length, and matched against the request that they must answer.

Source: MODBUS over Serial Line V1.02 (2.5.1 RTU framing), Application Protocol V1.1b3 chapter 6 (lengths).
A frame is unit id, PDU, CRC low byte, CRC high byte. Requests and answers are whole frames in buffers of the caller.
An answer is taken only when CRC, unit, function, length and what must be echoed all agree with the request;
`why_not` names the first that does not, so that each kind can be counted.
"""

from micropython import const

from modbus.crc import crc16

ADU_MAX = const(256)  # 2.5.1.1
MORE = const(0)  # answer_length: not known yet, more bytes are needed
SILENCE = const(-1)  # answer_length: no rule for this function, the frame ends when the line falls silent

# why_not
MATCH = const(0)
BAD_CRC = const(1)
OTHER_UNIT = const(2)
OTHER_FUNCTION = const(3)
OTHER_LENGTH = const(4)
OTHER_CONTENT = const(5)
REASONS = ("match", "crc", "unit", "function", "length", "content")

_COUNTED = b"\x01\x02\x03\x04\x0c\x11\x14\x15\x17"  # the third byte says how many follow


def build(out, unit, pdu, at, n):
    """Writes the frame of unit + pdu[at:at+n] into `out` (at least n + 3 bytes) and returns its length."""
    out[0] = unit
    for i in range(n):
        out[1 + i] = pdu[at + i]
    return close(out, 1 + n)


def close(out, n):
    """Appends the CRC of out[0:n] and returns the length of the finished frame."""
    crc = crc16(out, n)
    out[n] = crc & 0xFF
    out[n + 1] = crc >> 8
    return n + 2


def request_length(buf, at, end):
    """Length of the request frame that begins at buf[at], as far as buf[at:end] tells: MORE, SILENCE (no rule for this
    function) or a number, which may be larger than ADU_MAX. Application Protocol, chapter 6."""
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


def answer_length(buf, at, end, request_length):
    """Length of the answer that begins at buf[at], as far as buf[at:end] tells: MORE, SILENCE or a number.

    The function is read from the answer itself: whether it is the one that was asked is for why_not to say.
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


def _identification_length(buf, at, end):
    """Of an answer to Read Device Identification (6.21): its objects are counted and measured one by one."""
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


def why_not(buf, at, n, request, request_length):
    """MATCH when buf[at:at+n] is a whole frame that answers `request`, else the reason why it is not taken."""
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
    if function in (1, 2):
        wanted = 5 + ((request[4] << 8 | request[5]) + 7 >> 3)
    elif function in (3, 4, 23):
        wanted = 5 + 2 * (request[4] << 8 | request[5])
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


def find_answer(buf, end, request, request_length, silent, start=0):
    """Looks for the answer to `request` anywhere in buf[start:end]: noise, an echo or a foreign frame may stand before
    it.

    Returns start << 16 | length of the answer, or 0 when it is not there (yet). `silent` says that the line has been
    quiet for t3.5, which ends a frame of unknown length.
    """
    for at in range(start, end - 3):
        if buf[at] != request[0] or buf[at + 1] & 0x7F != request[1]:
            continue
        n = answer_length(buf, at, end, request_length)
        if n == SILENCE and silent:
            n = end - at
        if n > 0 and at + n <= end and why_not(buf, at, n, request, request_length) == MATCH:
            return at << 16 | n
    return 0

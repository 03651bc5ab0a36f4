"""The MBAP header: cutting a TCP stream into ADUs by its length field alone.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3 (header) and 4.4.2.2 (ADU to PDU).
Header: transaction id (2), protocol id (2, zero), length (2, of what follows), unit id (1); then the PDU.
"""

from micropython import const

from modbus.rtu import append_crc

_TYPING = const(0)
if _TYPING:
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

ADU_MAX = const(260)  # 4.1: MBAP header of 7 bytes and a PDU of 253
HEADER = const(7)
NO_WAY = const(255)  # in a table of buses by unit: there is none
_AROUND = const(3)  # of a serial frame: unit and CRC
_HEAD = const(8)  # header and function
_REGISTERS_READ_MAX = const(125)  # Application Protocol V1.1b3, 6.3 and 6.4
_LENGTH_MIN = const(2)  # unit id and function code
_LENGTH_MAX = const(254)  # unit id and a PDU of 253 bytes


def adu_length(buf: "Buffer", at: int, end: int) -> int:
    """Returns the bytes of the ADU that starts at buf[at]; 0 while buf[at:end] does not hold all of it; -1 when its
    length field is impossible: then the stream has lost its framing and is to be closed."""
    if end - at < 6:
        return 0
    length = buf[at + 4] << 8 | buf[at + 5]
    if length < _LENGTH_MIN or length > _LENGTH_MAX:
        return -1
    return 6 + length if end - at >= 6 + length else 0


def protocol_id(buf: "Buffer", at: int) -> int:
    """Returns the protocol id; anything but 0 is not Modbus, and such an ADU is discarded (guide, 4.4.2.2)."""
    return buf[at + 2] << 8 | buf[at + 3]


def put_header(out: bytearray, source: "Buffer", at: int, pdu_length: int) -> int:
    """Writes the header of the reply to the request at source[at:] into out[0:7]: same transaction id and unit.
    `pdu_length` is that of the reply's PDU, which belongs at out[7:]. Returns the length of the ADU."""
    out[0] = source[at]
    out[1] = source[at + 1]
    out[2] = out[3] = 0
    out[4] = (pdu_length + 1) >> 8
    out[5] = (pdu_length + 1) & 0xFF
    out[6] = source[at + 6]
    return HEADER + pdu_length


def put_pdu(out: bytearray, frame: "Buffer", at: int, n: int) -> int:
    """Copies the PDU of the serial frame in frame[at:at+n], all but unit and CRC, to out[7:]; returns its length."""
    out[HEADER : HEADER + n - _AROUND] = frame[at + 1 : at + n - 2]
    return n - _AROUND


def put_reply(out: bytearray, head: "Buffer", frame: "Buffer", at: int, n: int) -> int:
    """Writes the reply to the request that begins with `head` into `out`, its PDU from the serial frame in
    frame[at:at+n]. Returns its length."""
    return put_header(out, head, 0, put_pdu(out, frame, at, n))


def put_read(frame: bytearray, head: bytearray, adu: "Buffer", buses: "Buffer", addresses: "Buffer") -> int:
    """Turns a read of registers (functions 3 and 4), as most requests are, from the 12 bytes of its ADU into the serial
    frame of 8 that asks the meter, and copies what the reply needs of it, header and function, into head[0:8].
    `buses` and `addresses`: of each of the 256 units the number of its bus, or NO_WAY, and its address there; the
    latter may be empty, where each has its own. Returns the number. NO_WAY: it is another request, or not well formed,
    or there is no bus; then nothing is written."""
    bus = buses[adu[6]]
    # Protocol id 0, and a length of 6
    if bus == NO_WAY or adu[2] or adu[3] or adu[4] or adu[5] != 6 or not 3 <= adu[7] <= 4:
        return NO_WAY
    quantity = adu[10] << 8 | adu[11]
    if not 0 < quantity <= _REGISTERS_READ_MAX or (adu[8] << 8 | adu[9]) + quantity > 0x10000:
        return NO_WAY
    for i in range(_HEAD):
        head[i] = adu[i]
    frame[0] = addresses[adu[6]] if addresses else adu[6]
    for i in range(1, 6):
        frame[i] = adu[6 + i]
    append_crc(frame, 6)
    return bus


try:
    from modbus.tcp_machine import put_pdu, put_read, put_reply  # type: ignore  # noqa: F401
except ImportError:  # only images for the RP2 have machine code
    pass

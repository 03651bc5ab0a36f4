"""The MBAP header: cutting a TCP stream into ADUs by its length field alone.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3 (header) and 4.4.2.2 (ADU to PDU).
Header: transaction id (2), protocol id (2, zero), length (2, of what follows), unit id (1); then the PDU.
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Union

    Buffer = Union[bytes, bytearray, memoryview]

ADU_MAX = const(260)  # 4.1: MBAP header of 7 bytes and a PDU of 253
HEADER = const(7)
_AROUND = const(3)  # of a serial frame: unit and CRC
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


try:
    from modbus.tcp_machine import put_pdu  # type: ignore  # noqa: F401
except ImportError:  # only images for the RP2 have machine code
    pass

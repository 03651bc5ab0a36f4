"""BACnet Virtual Link Layer of BACnet/IP (ASHRAE 135-2012, Annex J.2): what comes first in each datagram.

81 function length(2)                     length: of the whole datagram
81 04 length(2) address(4) port(2) NPDU   Forwarded-NPDU: a BBMD passes on what that address has broadcast
"""

from struct import pack_into, unpack_from

from micropython import const

PORT = const(47808)  # J.1.2
HEADER = const(4)

RESULT = const(0x00)
FORWARDED_NPDU = const(0x04)
REGISTER_FOREIGN_DEVICE = const(0x05)
DISTRIBUTE_BROADCAST = const(0x09)
UNICAST = const(0x0A)
BROADCAST = const(0x0B)

_TYPE = const(0x81)
_FORWARDED_HEADER = const(10)
# J.2.1.1: the result with which a device that is no BBMD refuses each function; 0 for those that are not for a BBMD.
_REFUSALS = b"\x00\x10\x20\x00\x00\x30\x40\x00\x50\x60"


def parse(data: bytes) -> int:
    """The function of the datagram, or -1 when it is no BACnet/IP."""
    n = len(data)
    if n < HEADER or data[0] != _TYPE or data[2] << 8 | data[3] != n:
        return -1
    if data[1] == FORWARDED_NPDU and n < _FORWARDED_HEADER:
        return -1
    return data[1]


def npdu_at(function: int) -> int:
    """Where the NPDU of a datagram of that function begins; 0 where there is none for a device."""
    if function == FORWARDED_NPDU:
        return _FORWARDED_HEADER
    return HEADER if function in (UNICAST, BROADCAST) else 0


def origin(data: bytes) -> "tuple[str, int]":
    """(IPv4 address, UDP port) of who has sent what a BBMD forwards."""
    return "%d.%d.%d.%d" % (data[4], data[5], data[6], data[7]), data[8] << 8 | data[9]


def refusal(function: int) -> int:
    """The result code for a request that only a BBMD serves; 0 for every other function."""
    return _REFUSALS[function] if function < len(_REFUSALS) else 0


def result(data: bytes) -> int:
    """The code in a BVLC-Result, 0 for success; -1 when it is too short."""
    return unpack_from(">H", data, HEADER)[0] if len(data) >= HEADER + 2 else -1


def write_header(buf: bytearray, function: int, length: int) -> None:
    """Begins a datagram of `length` bytes, header and all."""
    pack_into(">BBH", buf, 0, _TYPE, function, length)


def write_number(buf: bytearray, function: int, number: int) -> int:
    """A whole datagram that says a number: RESULT its code, REGISTER_FOREIGN_DEVICE the time to live in seconds.
    Returns its length."""
    write_header(buf, function, HEADER + 2)
    pack_into(">H", buf, HEADER, number)
    return HEADER + 2

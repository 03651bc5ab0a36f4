"""Network layer (ASHRAE 135-2012, 6.2): which network an APDU comes from, and the way back.

    01 control [DNET(2) DLEN DADR] [SNET(2) SLEN SADR] [hop count] APDU

A request from behind a router carries SNET and SADR; the answer carries the same bytes as DNET and DADR, so they are
kept as they came: a `route`, b"" for the local network.
"""

from micropython import const

ROUTE_MAX = const(21)  # SNET, SLEN and an address of 18 bytes, the longest of any data link
HEADER_MAX = const(24)  # version, control, a route, hop count

_VERSION = const(1)
_NETWORK_MESSAGE = const(0x80)
_DESTINATION = const(0x20)
_SOURCE = const(0x08)
_EXPECTING_REPLY = const(0x04)
_GLOBAL = const(0xFFFF)
HOPS = const(255)

BROADCAST = b"\xff\xff\x00"  # as a route: to all networks


class Npdu:
    """The header of the NPDU that was read last.

    apdu_at   where its APDU begins
    hops      hop count, 0 without one
    route     bytes: the way back, b"" when it comes from the local network"""

    def __init__(self) -> None:
        self.apdu_at = self.hops = 0
        self.route = b""

    def parse(self, data: bytes, at: int) -> bool:
        """Reads the header at data[at:]. False when there is no APDU for us: not of version 1, a message between
        routers, for another network, or too short."""
        end = len(data)
        self.route = b""
        self.hops = 0
        if end < at + 2 or data[at] != _VERSION or data[at + 1] & _NETWORK_MESSAGE:
            return False
        control = data[at + 1]
        at += 2
        if control & _DESTINATION:
            if end < at + 3 or data[at] << 8 | data[at + 1] != _GLOBAL:
                return False
            at += 3 + data[at + 2]
        if control & _SOURCE:
            if end < at + 3:
                return False
            size = 3 + data[at + 2]
            # A source is one node of one network (6.2.2).
            if not 3 < size <= ROUTE_MAX or end < at + size or not 0 < data[at] << 8 | data[at + 1] < _GLOBAL:
                return False
            self.route = data[at : at + size]
            at += size
        if control & _DESTINATION:
            self.hops = data[at] if at < end else 0
            at += 1
        self.apdu_at = at
        return at < end


def write_header(buf: bytearray, at: int, route: bytes, expecting_reply: bool = False, hops: int = HOPS) -> int:
    """Writes the header of an NPDU at buf[at:], to the node of that route. Returns where its APDU begins."""
    buf[at] = _VERSION
    buf[at + 1] = (_DESTINATION if route else 0) | (_EXPECTING_REPLY if expecting_reply else 0)
    at += 2
    if route:
        buf[at : at + len(route)] = route
        at += len(route)
        buf[at] = hops
        at += 1
    return at

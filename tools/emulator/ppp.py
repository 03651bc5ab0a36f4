"""The far end of a PPP link, without I/O: bytes from the line in, bytes for the line and IPv4 packets out.

Framing as in RFC 1662 (HDLC-like, FCS-16), negotiation as in RFC 1661 (LCP) and RFC 1332 (IPCP). It is the quiet side:
it answers what the other end begins, which is all that lwIP needs, and gives it the address that it was made with.
Neither authentication nor compression: their options are refused.
"""

import socket
import struct
from collections.abc import Callable, Iterator

FLAG = 0x7E  # RFC 1662, 4.1
ESCAPE = 0x7D
FCS_GOOD = 0xF0B8  # over a frame with its FCS: RFC 1662, appendix C.1
FRAME_MAX = 2048  # lwIP's MRU is 1500

IPV4 = 0x0021
LCP = 0xC021
IPCP = 0x8021

_HEADER = b"\xff\x03"  # address and control: RFC 1662, 3.1
CONFIGURE_REQUEST, CONFIGURE_ACK, CONFIGURE_NAK, CONFIGURE_REJECT = 1, 2, 3, 4  # RFC 1661, 5
TERMINATE_REQUEST, TERMINATE_ACK = 5, 6
PROTOCOL_REJECT, ECHO_REQUEST, ECHO_REPLY = 8, 9, 10
_MRU, _ACCM, _MAGIC = 1, 2, 5  # LCP options: RFC 1661, 6; RFC 1662, 7.1
_IP_ADDRESS = 3  # IPCP option: RFC 1332, 3.3


def _fcs_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x8408 if value & 1 else value >> 1
        table.append(value)
    return table


_FCS_TABLE = _fcs_table()
# Control characters are escaped whatever the other end would take: RFC 1662, 4.2.
_ESCAPED = [bytes((ESCAPE, b ^ 0x20)) if b < 0x20 or b in (FLAG, ESCAPE) else bytes((b,)) for b in range(256)]


def fcs16(data: bytes) -> int:
    """The running FCS; its complement follows the data, low byte first."""
    fcs = 0xFFFF
    for byte in data:
        fcs = (fcs >> 8) ^ _FCS_TABLE[(fcs ^ byte) & 0xFF]
    return fcs


def frame(protocol: int, payload: bytes) -> bytes:
    """One packet as it goes over the line, flags on both sides."""
    body = _HEADER + struct.pack(">H", protocol) + payload
    body += struct.pack("<H", fcs16(body) ^ 0xFFFF)
    return bytes((FLAG,)) + b"".join(_ESCAPED[byte] for byte in body) + bytes((FLAG,))


class Deframer:
    """Finds packets in what comes from the line; `bad` counts frames that were none."""

    def __init__(self) -> None:
        self.bad = 0
        self._open = bytearray()  # the frame that has begun, still escaped

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(protocol, payload) of each packet that is whole and has a good FCS."""
        *ended, rest = data.split(bytes((FLAG,)))
        for piece in ended:
            raw = bytes(self._open + piece)
            self._open.clear()
            if raw:  # nothing between two flags is no frame
                packet = self._packet(raw)
                if packet:
                    yield packet
                else:
                    self.bad += 1
        self._open += rest
        if len(self._open) > 2 * FRAME_MAX:
            self._open.clear()
            self.bad += 1

    @staticmethod
    def _packet(raw: bytes) -> tuple[int, bytes] | None:
        first, *escaped = raw.split(bytes((ESCAPE,)))
        if any(not piece for piece in escaped):
            return None  # an escape before a flag: the sender gave the frame up
        body = first + b"".join(bytes((piece[0] ^ 0x20,)) + piece[1:] for piece in escaped)
        if len(body) < 4 or fcs16(body) != FCS_GOOD:
            return None
        body = body[:-2].removeprefix(_HEADER)
        if body and body[0] & 1:  # protocol field compression: RFC 1661, 6.5
            return body[0], body[1:]
        return (struct.unpack(">H", body[:2])[0], body[2:]) if len(body) >= 2 else None


def options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, value) of each option of a Configure packet; what is cut short ends the list."""
    while len(data) >= 2 and 2 <= data[1] <= len(data):
        yield data[0], data[2 : data[1]]
        data = data[data[1] :]


def _option(kind: int, value: bytes) -> bytes:
    return bytes((kind, 2 + len(value))) + value


class Peer:
    """The negotiation. `up` is True while IPv4 packets may pass; `ups` counts how often it came up."""

    def __init__(self, own: str, other: str, send: Callable[[bytes], object], receive: Callable[[bytes], object]):
        """own, other: IPv4 addresses. send(bytes) takes what goes on the line, receive(packet) what came."""
        self.own, self.other = socket.inet_aton(own), socket.inet_aton(other)
        self.up = False
        self.ups = 0
        self._send, self._receive = send, receive
        self._deframer = Deframer()
        self._acked = {LCP: [False, False], IPCP: [False, False]}  # by us, by the other end

    @property
    def bad(self) -> int:
        """Frames with a bad FCS, or none at all."""
        return self._deframer.bad

    def feed(self, data: bytes) -> None:
        """Takes what came from the line."""
        for protocol, payload in self._deframer.feed(data):
            if protocol == IPV4:
                self._receive(payload)
            elif protocol in (LCP, IPCP):
                self._control(protocol, payload)
            else:
                self._reply(LCP, PROTOCOL_REJECT, 1, struct.pack(">H", protocol) + payload)

    def packet(self, data: bytes) -> bool:
        """Sends an IPv4 packet; False when the link is down."""
        if self.up:
            self._send(frame(IPV4, data))
        return self.up

    def _reply(self, protocol: int, code: int, identifier: int, data: bytes) -> None:
        self._send(frame(protocol, struct.pack(">BBH", code, identifier, 4 + len(data)) + data))

    def _control(self, protocol: int, payload: bytes) -> None:
        if len(payload) < 4:
            return
        code, identifier, length = struct.unpack(">BBH", payload[:4])
        data = payload[4:length]
        if code == CONFIGURE_REQUEST:
            self._configure(protocol, identifier, data)
        elif code == CONFIGURE_ACK:
            self._agree(protocol, 1)
        elif code == TERMINATE_REQUEST:
            self._forget()
            self._reply(protocol, TERMINATE_ACK, identifier, b"")
        elif code == ECHO_REQUEST and protocol == LCP:
            self._reply(LCP, ECHO_REPLY, identifier, bytes(4) + data[4:])  # our magic number is none: 0

    def _configure(self, protocol: int, identifier: int, data: bytes) -> None:
        if protocol == LCP:
            self._forget()  # a link that is negotiated anew is down
        elif not all(self._acked[LCP]):
            return  # RFC 1661, 3.4: not before LCP is open
        rejected = nak = b""
        for kind, value in options(data):
            if protocol == IPCP and kind == _IP_ADDRESS:
                nak += _option(kind, self.other) if value != self.other else b""
            elif protocol == IPCP or kind not in (_MRU, _ACCM, _MAGIC):
                rejected += _option(kind, value)
        if rejected:
            self._reply(protocol, CONFIGURE_REJECT, identifier, rejected)
        elif nak:
            self._reply(protocol, CONFIGURE_NAK, identifier, nak)
        else:
            self._reply(protocol, CONFIGURE_ACK, identifier, data)
            self._agree(protocol, 0)
        if not rejected and not self._acked[protocol][1]:  # our own side of it
            ours = _option(_ACCM, bytes(4)) if protocol == LCP else _option(_IP_ADDRESS, self.own)
            self._reply(protocol, CONFIGURE_REQUEST, 1, ours)

    def _agree(self, protocol: int, side: int) -> None:
        self._acked[protocol][side] = True
        if not self.up and all(all(sides) for sides in self._acked.values()):
            self.up = True
            self.ups += 1

    def _forget(self) -> None:
        self.up = False
        for sides in self._acked.values():
            sides[:] = [False, False]

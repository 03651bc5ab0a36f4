"""One end of TCP without I/O (RFC 9293), mostly a client's: IPv4 packets in and out; its clock is its owner's.

It plays what a client on a clean line does: nothing is lost or overtaken there, so it never sends anything twice, and
takes what comes twice or too early for a reason to repeat its acknowledgement. Data is acknowledged with the next
segment, at once when two have come (RFC 1122, 4.2.3.2), or when acknowledge() is called, which the owner does 40 ms
after `waiting` became true.
"""

import socket
import struct
from collections.abc import Callable

PROTOCOL = 6  # of IPv4
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_WINDOW = 64240
_MSS = 1460
_TTL = 64
_MASK = 0xFFFFFFFF


class TcpError(RuntimeError):
    """The connection was refused, reset, or used when it was not open."""


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071); 0 over data that carries its own."""
    if len(data) & 1:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def pseudo(source: bytes, target: bytes, protocol: int, size: int) -> bytes:
    """The header that TCP and UDP count into their checksums (RFC 9293, 3.1; RFC 768)."""
    return source + target + struct.pack(">BBH", 0, protocol, size)


def ipv4(protocol: int, source: bytes, target: bytes, body: bytes) -> bytes:
    """A whole IPv4 packet (RFC 791) of that body."""
    head = struct.pack(">BBHHHBB", 0x45, 0, 20 + len(body), 0, 0x4000, _TTL, protocol)
    return head + checksum(head + b"\0\0" + source + target).to_bytes(2, "big") + source + target + body


class Segment:
    """A TCP segment of an IPv4 packet. Raises ValueError where there is none, or a checksum is wrong."""

    def __init__(self, packet: bytes) -> None:
        head = (packet[0] & 15) * 4 if packet else 0
        if head < 20 or packet[0] >> 4 != 4 or packet[9] != PROTOCOL or checksum(packet[:head]):
            raise ValueError(f"no TCP over IPv4: {packet[:20].hex()}")
        body = packet[head : int.from_bytes(packet[2:4], "big")]
        if len(body) < 20 or checksum(pseudo(packet[12:16], packet[16:20], PROTOCOL, len(body)) + body):
            raise ValueError(f"a TCP segment with a wrong checksum: {body[:20].hex()}")
        self.source, self.target, self.sequence, self.acknowledged, offset, self.flags = struct.unpack(
            ">HHIIBB", body[:14]
        )
        self.data = body[(offset >> 4) * 4 :]


class Connection:
    """A connection. `received` is what has come, for the owner to take from; `open`, `ended` (by the peer)."""

    def __init__(self, send: Callable[[bytes], object], own: tuple[str, int], other: tuple[str, int]) -> None:
        """send(packet) takes what goes out. Nothing is sent before connect() or accept()."""
        self._send = send
        self._own, self._other = socket.inet_aton(own[0]), socket.inet_aton(other[0])
        self.own_port, self.other_port = own[1], other[1]
        self._next = own[1] << 12  # a first sequence number that is the same in every run
        self._expected = 0
        self._unacknowledged = 0  # segments
        self.received = bytearray()
        self.open = self.ended = False

    @property
    def waiting(self) -> bool:
        """Whether data has come that is not acknowledged yet."""
        return self._unacknowledged > 0

    def connect(self) -> None:
        """The first of the three segments; `open` after the second."""
        self._segment(SYN, options=struct.pack(">BBH", 2, 4, _MSS))

    def accept(self, segment: Segment) -> None:
        """Answers the first segment of a peer that connects, as a server does: the connection is open."""
        self._expected = (segment.sequence + 1) & _MASK
        self._segment(SYN | ACK, options=struct.pack(">BBH", 2, 4, _MSS))
        self.open = True

    def send(self, data: bytes) -> None:
        """One segment, or some. The peer's window is larger than any request."""
        if not self.open:
            raise TcpError("the connection is not open")
        for at in range(0, len(data), _MSS):
            self._segment(ACK | PSH, data[at : at + _MSS])

    def acknowledge(self) -> None:
        """Acknowledges what has come."""
        self._segment(ACK)

    def close(self) -> None:
        """The end of our side."""
        if self.open:
            self._segment(ACK | FIN)
            self.open = False

    def feed(self, segment: Segment) -> None:
        """A segment that came for this connection. Raises TcpError when it resets it."""
        if segment.flags & RST:
            self.open, self.ended = False, True
            raise TcpError(f"port {self.other_port} reset the connection")
        if segment.flags & SYN:
            if not self.open and segment.flags & ACK:
                self._expected = (segment.sequence + 1) & _MASK
                self.open = True
            self.acknowledge()
            return
        size = len(segment.data)
        if segment.sequence != self._expected:
            if size or segment.flags & FIN:
                self.acknowledge()
            return
        self.received += segment.data
        self._expected = (self._expected + size) & _MASK
        self._unacknowledged += size > 0
        if segment.flags & FIN:
            self._expected = (self._expected + 1) & _MASK
            self.ended = True
            self.acknowledge()
        elif self._unacknowledged >= 2:
            self.acknowledge()

    def _segment(self, flags: int, data: bytes = b"", options: bytes = b"") -> None:
        words = (20 + len(options)) // 4
        acknowledged = self._expected if flags & ACK else 0
        ports = struct.pack(">HH", self.own_port, self.other_port)
        head = struct.pack(">IIBBHHH", self._next, acknowledged, words << 4, flags, _WINDOW, 0, 0)
        body = ports + head + options + data
        check = checksum(pseudo(self._own, self._other, PROTOCOL, len(body)) + body)
        body = body[:16] + check.to_bytes(2, "big") + body[18:]
        self._next = (self._next + len(data) + bool(flags & (SYN | FIN))) & _MASK
        if flags & ACK:
            self._unacknowledged = 0
        self._send(ipv4(PROTOCOL, self._own, self._other, body))

"""A UDP socket without I/O (RFC 768): IPv4 packets in, IPv4 packets out. One question, one datagram that answers."""

import socket
import struct
from collections.abc import Callable

from tools.bench import tcp

PROTOCOL = 17  # of IPv4
_HEADER = 8


_NTP_EPOCH_S = 2208988800  # from 1900 to 1970


def time_answer(request: bytes, unix_s: float) -> bytes:
    """What a time server of stratum 1 answers to that request (RFC 5905, 7.3)."""
    stamp = struct.pack(">II", int(unix_s) + _NTP_EPOCH_S, int(unix_s % 1 * 2**32))
    head = struct.pack(">BBBbII4s", 0x24, 1, 6, -20, 0, 0, b"GPS\0")
    return head + stamp + request[40:48] + stamp + stamp


class Datagram:
    """A UDP datagram of an IPv4 packet. Raises ValueError where there is none, or a checksum is wrong."""

    def __init__(self, packet: bytes) -> None:
        head = (packet[0] & 15) * 4 if packet else 0
        if head < 20 or packet[0] >> 4 != 4 or packet[9] != PROTOCOL or tcp.checksum(packet[:head]):
            raise ValueError(f"no UDP over IPv4: {packet[:20].hex()}")
        body = packet[head : int.from_bytes(packet[2:4], "big")]
        if len(body) < _HEADER or tcp.checksum(tcp.pseudo(packet[12:16], packet[16:20], PROTOCOL, len(body)) + body):
            raise ValueError(f"a UDP datagram with a wrong checksum: {body[:20].hex()}")
        self.source, self.target, size, _ = struct.unpack(">4H", body[:_HEADER])
        self.data = body[_HEADER:size]


class Socket:
    """Sends to one address. `received`: what has come, for the owner to take from."""

    def __init__(self, send: Callable[[bytes], object], own: tuple[str, int], other: tuple[str, int]) -> None:
        """send(packet) takes what goes out."""
        self._send = send
        self._own, self._other = socket.inet_aton(own[0]), socket.inet_aton(other[0])
        self.own_port, self.other_port = own[1], other[1]
        self.received = bytearray()

    def send(self, data: bytes) -> None:
        """One datagram."""
        size = _HEADER + len(data)
        body = struct.pack(">4H", self.own_port, self.other_port, size, 0) + data
        check = tcp.checksum(tcp.pseudo(self._own, self._other, PROTOCOL, size) + body) or 0xFFFF
        body = body[:6] + check.to_bytes(2, "big") + body[_HEADER:]
        self._send(tcp.ipv4(PROTOCOL, self._own, self._other, body))

    def feed(self, datagram: Datagram) -> None:
        """A datagram that came for this socket."""
        self.received += datagram.data

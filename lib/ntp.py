"""SNTP client packets: a request into the caller's buffer, a reply out of it. No socket, no clock.

In and out are packets of 48 bytes (RFC 5905 7.3, RFC 4330 4). In place of our time the transmit timestamp
carries a nonce, 8 random bytes of the caller's; the server returns it as the originate timestamp, and that
is all that proves a reply to be one to us (RFC 4330 5). Extension fields and authentication, behind byte
48, are not looked at.

All times are integers: milliseconds since 1970-01-01 UTC. They exceed 31 bits, so they cost a few heap
bytes on the chips, once per reply. Buffers are the caller's; a Reply keeps no reference to them.
"""

import struct

from micropython import const

PACKET_SIZE = const(48)  # RFC 5905 7.3: header without extension fields

_LI_VN_MODE = const(0x23)  # leap 0, version 4, mode 3 (client)
_MODE_SERVER = const(4)
_UNSYNCHRONISED = const(3)  # leap indicator, RFC 5905 figure 9
_STRATUM_MAX = const(15)  # 16 is unsynchronised, above is reserved: RFC 5905 figure 11
_DISTANCE_MAX_MS = const(16000)  # MAXDISP, RFC 5905 7.2 and packet() in its A.5.1.1: worse is no time at all

_ERA_0_UNIX_S = -2208988800  # 1900-01-01, RFC 5905 6
_ERA_1_UNIX_S = 2085978496  # 2036-02-07 06:28:16
_EARLIEST_UNIX_S = const(1704067200)  # 2024-01-01: this firmware is younger, so an earlier time is wrong


class NtpError(ValueError):
    """A packet that tells no time. `reason` says why.

    foreign: True when it is no answer to our request at all (keep waiting for the real one), False when our
    server answered and the answer is unusable. kiss: the 4 bytes of a kiss-o'-death code (b"RATE", b"DENY",
    b"RSTR", ...; RFC 5905 7.4), else None.
    """

    def __init__(self, reason: str, kiss: "bytes | None" = None, foreign: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kiss = kiss
        self.foreign = foreign


class Reply:
    """What a server said.

    leap                int, 0; 1 or 2: the last minute of the day has 61 or 59 s
    stratum             int, 1..15
    receive_ms          int, when our request reached it, ms since 1970 (T2)
    transmit_ms         int, when it sent the reply, ms since 1970 (T3)
    seconds_unix        int, transmit_ms in whole seconds
    fraction_ms         int, 0..999, the rest of transmit_ms
    root_delay_ms       int, its round trip to the reference clock
    root_dispersion_ms  int, its own error bound
    refid               4 bytes: the reference clock at stratum 1, the address of its server above
    """

    def __init__(self) -> None:
        self.leap = self.stratum = self.root_delay_ms = self.root_dispersion_ms = 0
        self.receive_ms = self.transmit_ms = self.seconds_unix = self.fraction_ms = 0
        self.refid = b""


def request(buf: bytearray, nonce: bytes) -> None:
    """Writes a client request into buf[:48]. nonce: 8 random bytes, not all zero; keep them for parse()."""
    if len(buf) < PACKET_SIZE or len(nonce) != 8 or max(nonce) == 0:
        raise ValueError("buffer of 48 bytes and a nonce of 8 that is not zero")
    for i in range(1, 40):
        buf[i] = 0
    buf[0] = _LI_VN_MODE
    buf[40:48] = nonce


def parse(buf: bytes, n: int, nonce: bytes) -> Reply:
    """Reply in buf[:n] to the request that carried `nonce`. Raises NtpError."""
    if n < PACKET_SIZE:
        raise NtpError("short packet", None, True)
    if buf[0] & 7 != _MODE_SERVER:
        raise NtpError("not a server's packet", None, True)
    if not 1 <= buf[0] >> 3 & 7 <= 4:
        raise NtpError("version not 1..4", None, True)
    if bytes(buf[24:32]) != nonce:
        raise NtpError("not the answer to our request", None, True)
    stratum = buf[1]
    refid = bytes(buf[12:16])
    if stratum == 0:
        raise NtpError("kiss-o'-death", refid)
    if stratum > _STRATUM_MAX:
        raise NtpError("stratum above 15")
    if buf[0] >> 6 == _UNSYNCHRONISED:
        raise NtpError("server is not synchronised")

    reply = Reply()
    reply.leap = buf[0] >> 6
    reply.stratum = stratum
    reply.refid = refid
    delay, dispersion = struct.unpack_from(">II", buf, 4)
    reply.root_delay_ms = delay * 1000 >> 16
    reply.root_dispersion_ms = dispersion * 1000 >> 16
    if reply.root_delay_ms // 2 + reply.root_dispersion_ms >= _DISTANCE_MAX_MS:
        raise NtpError("server is too far from its reference clock")
    reply.receive_ms = _unix_ms(buf, 32)
    reply.transmit_ms = _unix_ms(buf, 40)
    if reply.transmit_ms < reply.receive_ms:
        raise NtpError("transmitted before received")
    reply.seconds_unix = reply.transmit_ms // 1000
    reply.fraction_ms = reply.transmit_ms % 1000
    return reply


def offset_ms(t1_ms: int, t2_ms: int, t3_ms: int, t4_ms: int) -> int:
    """What to add to the caller's clock: RFC 5905 8, ((T2 - T1) + (T3 - T4)) / 2, rounded down.

    T1 and T4 are the caller's clock when the request left and the reply came, T2 and T3 receive_ms and
    transmit_ms. A caller without a clock passes 0 and the milliseconds that went by: the offset is then the
    time when it asked.
    """
    return (t2_ms - t1_ms + t3_ms - t4_ms) // 2


def round_trip_ms(t1_ms: int, t2_ms: int, t3_ms: int, t4_ms: int) -> int:
    """Time on the network both ways, without the server's: RFC 5905 8, (T4 - T1) - (T3 - T2).

    The offset is off by at most half of it. Negative when one of the clocks was set in between: ask again.
    """
    return t4_ms - t1_ms - (t3_ms - t2_ms)


def _unix_ms(buf: bytes, at: int) -> int:
    """NTP timestamp at buf[at:at + 8] as ms since 1970.

    The top bit tells the era: set 1968..2036, clear 2036..2104 (RFC 4330 3).
    """
    seconds: int
    fraction: int
    seconds, fraction = struct.unpack_from(">II", buf, at)
    if seconds == 0 and fraction == 0:
        raise NtpError("timestamp missing")
    seconds += _ERA_0_UNIX_S if seconds >= 0x80000000 else _ERA_1_UNIX_S
    if seconds < _EARLIEST_UNIX_S:
        raise NtpError("time before 2024")
    return seconds * 1000 + (fraction * 1000 >> 32)

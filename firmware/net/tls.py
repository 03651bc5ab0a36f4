"""TLS for a TcpClient: which server is trusted, when a session can be had, and what the handshake costs.

One session at a time in the whole gateway. On the chips Mbed TLS takes some 45 KB for it, and computes for a second or
more: nothing is outstanding on the buses during a step of the handshake, which the loop cannot interrupt. Who wants
the session while another has it waits for its turn; who has had it for _TURN_S closes it at the next place where
nothing is lost (docs/decisions/0019-turns-of-tls.md).
What is trusted is the section's choice:
    "ca"    a certificate for this host name, now valid, signed by an authority in data/<ca_file> (PEM or DER)
    "pin"   the one certificate whose SHA-256 (of its DER) is pin_sha256, in hexadecimal; neither name nor date matter
    "none"  any: everybody on the way can read and change everything
"""

import binascii
import gc
import hashlib
import os
import sys

from micropython import const

from firmware.net import seam
from firmware.net.tcp_client import ConnectionFailed

if sys.implementation.name == "micropython":
    from firmware.net import tls_micropython as port
else:
    from firmware.net import tls_cpython as port  # type: ignore[no-redef]

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.bus import Buses
    from firmware.net.clock import Clock
    from firmware.net.tcp_client import TcpClient

_ROOM = const(46080)  # 16.4 + 4.1 KB of record buffers, certificates, keys, and what the handshake takes for a moment
_FILE_MAX = const(8192)
_AUTHORITIES_MAX = const(8)
_ASK_AGAIN_MS = const(100)
_TURN_S = const(30)  # for which a session is not taken from who has it
_WAIT_MS = const(180000)  # for a turn: this, and a post whose server answers slowly
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"


class Tls:
    """`section` has trust, ca_file and pin_sha256. `heap()` gives (free, used) bytes of the heap, (0, 0) where that is
    not known (Board.heap). `turns`: a list that all Tls of the gateway share: the first in it may have a session, the
    others wait in their order."""

    def __init__(
        self, section: dict, clock: "Clock", buses: "Buses", heap: "Callable[[], tuple[int, int]]", turns: "list[Tls]"
    ) -> None:
        self._trust = section["trust"]
        self.path = "data/" + section["ca_file"]
        self._pin = binascii.unhexlify(section["pin_sha256"].replace(":", ""))
        self._clock = clock
        self._buses = buses
        self._heap = heap
        self._turns = turns
        self._since_s = 0  # uptime; since when it is its turn
        self._waker = seam.Waker()
        self._is_accepted = False
        self.longest_stall_ms = 0  # of a step of a handshake, since boot
        self.handshakes = 0  # that have succeeded

    async def take_turn(self) -> None:
        """Waits until no other has a session: it is this one's turn until end_turn(), which has to follow whatever
        happens. Raises ConnectionFailed when none can be begun: the reason is for the page."""
        turns = self._turns
        assert self not in turns
        self._waker.clear()
        turns.append(self)
        if turns[0] is not self:
            await self._waker.wait_ms(_WAIT_MS)
            if turns[0] is not self:
                raise ConnectionFailed("another TLS session is open")
        self._since_s = self._clock.uptime_s()
        self._check_ready()

    def end_turn(self) -> None:
        """The session is closed, or not wanted any more. Safe to call twice."""
        turns = self._turns
        if self in turns:
            turns.remove(self)
            if turns:
                turns[0]._waker.wake()

    def is_wanted(self) -> bool:
        """Whether another waits and it has had its time: it should close the session, and take its next turn."""
        turns = self._turns
        return len(turns) > 1 and turns[0] is self and self._clock.uptime_s() - self._since_s >= _TURN_S

    def _check_ready(self):
        if self._trust == "ca" and not self._clock.is_set:
            raise ConnectionFailed("time unknown: a certificate cannot be checked before the clock is set")
        if 0 < self._heap()[0] < _ROOM:
            gc.collect()
            free = self._heap()[0]
            if free < _ROOM:
                raise ConnectionFailed("no memory for TLS: %d of %d bytes free" % (free, _ROOM))

    def ca_bytes(self) -> "int | None":
        """The size of the file with the authorities; None without one."""
        try:
            return os.stat(self.path)[6]
        except OSError:
            return None

    def check_authorities(self, data: bytes) -> None:
        """Raises ValueError, with the reason, for what is no file of certificates."""
        _authorities_of(data)

    def store_authorities(self, data: bytes) -> None:
        """Writes the file with the authorities, which was checked: they count from the next handshake on. A power cut
        leaves the old file or the new one. Raises OSError."""
        new = self.path + ".new"
        with open(new, "wb") as file:
            file.write(data)
        os.rename(new, self.path)

    async def handshake(self, client: "TcpClient", stream: "Any", host: str, until_ms: int) -> "Any":
        """Begins a session over `stream`, the socket of `client`, before the moment `until_ms`. Returns what data goes
        through, with readinto, write and close as a stream has them. Raises ConnectionFailed."""
        self._is_accepted = False
        session = None
        try:
            authorities = _read_authorities(self.path) if self._trust == "ca" else []
            session = port.Session(stream, host, authorities, self._accept if self._trust == "pin" else None)
            while not await self._step(session, until_ms):
                if not await client.wait_ready(session.interest, until_ms):
                    raise ConnectionFailed("no answer to the TLS handshake")
            if self._trust == "pin" and not self._is_accepted:
                raise ConnectionFailed("the server has shown no certificate")
        except BaseException as error:
            if session is not None:
                session.close()
            if isinstance(error, ConnectionFailed) or not isinstance(error, (OSError, ValueError, MemoryError)):
                raise
            raise ConnectionFailed(port.reason(error)) from None
        self.handshakes += 1
        return session

    async def _step(self, session, until_ms):
        """Goes on with the handshake while the buses rest. True when it is over."""
        self._waker.clear()
        while not self._buses.pause(self._waker.wake):  # a scan, or something is being saved
            if seam.ticks_diff(until_ms, seam.ticks_ms()) <= 0:
                raise ConnectionFailed("the buses are busy")
            await seam.sleep_ms(_ASK_AGAIN_MS)
        try:
            if not await self._waker.wait_ms(seam.ticks_diff(until_ms, seam.ticks_ms())):
                raise ConnectionFailed("the buses are busy")
            begun_ms = seam.ticks_ms()
            try:
                return session.step()
            finally:
                self.longest_stall_ms = max(self.longest_stall_ms, seam.ticks_diff(seam.ticks_ms(), begun_ms))
        finally:
            self._buses.resume()

    def _accept(self, der):
        """True when this is the pinned certificate."""
        self._is_accepted = hashlib.sha256(der).digest() == self._pin
        return self._is_accepted


def _read_authorities(path):
    """The certificates of a file. Raises ConnectionFailed."""
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_MAX + 1)
    except OSError:
        raise ConnectionFailed("no file %s with certificates of authorities" % path) from None
    try:
        return _authorities_of(data)
    except ValueError as error:
        raise ConnectionFailed("%s: %s" % (path, error)) from None


def _authorities_of(data):
    """The certificates of a PEM or DER file, each as DER: not every port's Mbed TLS reads PEM. Raises ValueError with
    the reason when there are none, or they are cut short: more is found out by a handshake."""
    if len(data) > _FILE_MAX:
        raise ValueError("larger than %d bytes" % _FILE_MAX)
    found = []
    at = data.find(_BEGIN)
    if at < 0:
        found.append(data)
    while at >= 0:
        end = data.find(_END, at)
        if end < 0 or len(found) == _AUTHORITIES_MAX:
            raise ValueError("cut short, or more than %d certificates" % _AUTHORITIES_MAX)
        try:
            found.append(binascii.a2b_base64(data[at + len(_BEGIN) : end]))
        except ValueError:
            raise ValueError("a certificate that is no base64") from None
        at = data.find(_BEGIN, end)
    if not all([_is_sequence(der) for der in found]):
        raise ValueError("no certificate in PEM or DER")
    return found


def _is_sequence(der):
    """True for one whole SEQUENCE in DER (X.690, 8.1.3 and 10.1) with a length of two bytes, as certificates have."""
    return len(der) > 4 and der[:2] == b"\x30\x82" and len(der) == 4 + (der[2] << 8 | der[3])

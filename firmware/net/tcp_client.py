"""A TCP connection that a service opens itself (posting, MQTT), without blocking the loop.

One connection at a time, on the slot that its service holds from boot on. The socket is given back at every error, and
each wait has an end. The loop watches the socket only while a task waits for it: a connection that the server has
reset would otherwise be reported again in every turn of the loop, until it is read.
"""

import errno

from micropython import const

from firmware.net import seam
from firmware.net.udp import Exchange

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.net.budget import Slot
    from firmware.net.dns import Resolver
    from firmware.net.tls import Tls

_TIMEOUT_MS = const(10000)
_PIECE = const(1024)  # given to the socket at a time: on rp2 write() waits while lwIP has no memory for all of it
_EPIPE = const(32)  # MicroPython's errno lacks it; Linux, lwIP and newlib agree
_ENETUNREACH = (101, 114)  # of Linux and lwIP, and of newlib


class ConnectionFailed(OSError):
    """The connection could not be made, or has ended before its time. str() is the reason, in texts of our own."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)

    def __str__(self) -> str:
        return self.args[0]


class TcpClient:
    """`slot` is the service's own (budget.service_slot); `resolver` finds addresses of names. One task at a time."""

    def __init__(self, slot: "Slot", resolver: "Resolver") -> None:
        self.slot = slot
        self._resolver = resolver
        self._exchange = Exchange(slot)
        self._waker = seam.Waker()
        self._stream: "Any" = None  # the socket
        self._channel: "Any" = None  # what data goes through: the socket, or TLS on top of it
        self._tls: "Tls | None" = None  # whose turn this connection has, or waits for
        self._watched = False
        self._ready_events = 0

    @property
    def is_open(self) -> bool:
        """True from the end of connect() until close() or an error."""
        return self._channel is not None

    async def connect(self, host: str, port: int, timeout_ms: int, tls: "Tls | None" = None) -> None:
        """Connects to host:port, a name or an IPv4 address, and shakes hands when there is a `tls`. `timeout_ms` is for
        both; the turn for TLS and finding the address come before, within the limits of Tls and the resolver. Raises
        ConnectionFailed."""
        self.close()
        try:
            await self._connect(host, port, timeout_ms, tls)
        except OSError as error:
            self._fail(error)
        except BaseException:
            self.close()
            raise

    async def _connect(self, host, port, timeout_ms, tls):
        if tls is not None:
            self._tls = tls
            await tls.take_turn()
        try:
            ip = await self._resolver.resolve(host, self._exchange)
        except (OSError, ValueError) as error:
            raise ConnectionFailed("no address: %s" % error) from None
        until_ms = seam.ticks_add(seam.ticks_ms(), timeout_ms)
        self._stream, where = seam.connect(ip, port)
        self.slot.open = True
        self.slot.peer = where
        self.slot.used_ms = seam.ticks_ms()
        if not await self.wait_ready(seam.WRITE, until_ms):
            raise ConnectionFailed("no answer")
        try:
            seam.finish_connect(self._stream, self._ready_events)
        except OSError as error:
            if error.errno == errno.ECONNREFUSED or error.errno == errno.ECONNRESET:
                raise ConnectionFailed("refused") from None
            raise
        self._channel = self._stream if tls is None else await tls.handshake(self, self._stream, host, until_ms)

    async def send(self, buf: "bytes | bytearray | memoryview", n: int, timeout_ms: int = _TIMEOUT_MS) -> None:
        """Waits until the socket has taken all of buf[:n], which is the caller's again at return. Raises
        ConnectionFailed, also when the server takes nothing for `timeout_ms`."""
        view = memoryview(buf)
        sent = 0
        try:
            while sent < n:
                taken = self._open_channel().write(view[sent : min(n, sent + _PIECE)])
                if taken:
                    sent += taken
                    self.slot.sent += taken
                else:
                    await self._wait(seam.WRITE, timeout_ms)
        except OSError as error:
            self._fail(error)
        self.slot.used_ms = seam.ticks_ms()

    async def receive(self, buf: "bytearray | memoryview", timeout_ms: int = _TIMEOUT_MS) -> int:
        """Waits for data and reads it into `buf`: the number of bytes, 0 at the end of the stream. Raises
        ConnectionFailed, also when nothing comes for `timeout_ms`."""
        try:
            while True:
                n = self._open_channel().readinto(buf)
                if n is not None:
                    break
                await self._wait(seam.READ, timeout_ms)
        except OSError as error:
            self._fail(error)
        self.slot.received += n
        self.slot.used_ms = seam.ticks_ms()
        return n

    def receive_more(self, buf: "bytearray | memoryview") -> "int | None":
        """Reads what has come, without waiting, after wait_ready(): the number of bytes, 0 at the end of the stream;
        None when nothing is left, of TLS perhaps nothing at all. A service that waits for data besides other things
        calls it until then: TLS may have more than the socket. Raises ConnectionFailed."""
        try:
            n = self._open_channel().readinto(buf)
        except OSError as error:
            self._fail(error)
        if n:
            self.slot.received += n
            self.slot.used_ms = seam.ticks_ms()
        return n

    def _open_channel(self):
        if self._channel is None:
            raise ConnectionFailed("closed")
        return self._channel

    async def _wait(self, events, timeout_ms):
        if not await self.wait_ready(events, seam.ticks_add(seam.ticks_ms(), timeout_ms)):
            raise ConnectionFailed("time-out")

    async def wait_ready(self, events: int, until_ms: int) -> bool:
        """Waits until the socket is ready for one of `events`, or has failed. False at the moment `until_ms`. Raises
        ConnectionFailed when close() was called meanwhile."""
        left_ms = seam.ticks_diff(until_ms, seam.ticks_ms())
        if left_ms <= 0:
            return False
        self._waker.clear()
        self._ready_events = 0
        seam.watch(self._stream, self)
        self._watched = True
        seam.interest(self._stream, events)
        try:
            woken = await self._waker.wait_ms(left_ms)
        finally:
            self._unwatch()
        if self._stream is None:
            raise ConnectionFailed("closed")
        return woken

    def on_ready(self, events: int) -> None:
        """Called by the loop: the socket is ready, or has failed."""
        self._ready_events = events
        self._waker.wake()

    def fail(self, error: Exception) -> None:
        """Called by the loop: on_ready() has raised."""
        self._waker.wake()

    def _fail(self, error):
        """Closes, and raises `error` as a ConnectionFailed."""
        self.close()
        if isinstance(error, ConnectionFailed):
            raise error
        number = error.errno
        if number == errno.ETIMEDOUT or number == errno.ECONNABORTED:  # lwIP's word for a peer that answers no more
            reason = "no answer"
        elif number == errno.ECONNRESET or number == errno.ENOTCONN or number == _EPIPE:
            reason = "closed by the server"
        elif number == errno.ENOMEM or number == errno.ENOBUFS:
            reason = "no memory for a connection"
        elif number == errno.EHOSTUNREACH or number in _ENETUNREACH:
            reason = "unreachable"
        else:
            reason = "error %s" % number
        raise ConnectionFailed(reason) from None

    def _unwatch(self):
        if self._watched:
            self._watched = False
            seam.unwatch(self._stream)

    def close(self) -> None:
        """Closes the connection at once. Safe to call twice, and while a task waits, which gets ConnectionFailed."""
        channel = self._channel
        stream = self._stream
        tls = self._tls
        self._tls = None
        if stream is not None:
            self._unwatch()
            self._stream = self._channel = None
            self.slot.open = False
            if channel is not None and channel is not stream:
                seam.close(channel)  # of TLS: tells the server, and gives its memory back
            seam.close(stream)
            self._waker.wake()
        if tls is not None:
            tls.end_turn()

"""The seam on CPython (see seam.py): for host tests and for debugging with CPython's tools. Never on a device.

Sockets are wrapped so that they offer MicroPython's stream methods; ticks wrap at 2^30 as on the chips, so that what
forgets the wrap fails here too.
"""

import asyncio
import contextlib
import io
import socket
import time
from traceback import print_exception
from typing import Any

READ = 1
WRITE = 4
_PERIOD = 1 << 30

__all__ = (
    "READ", "WRITE", "ticks_ms", "ticks_us", "ticks_diff", "ticks_add", "spin_us", "sleep_ms", "Waker", "repeat",
    "watch", "interest", "unwatch", "install", "run", "print_exception", "tcp_listen", "accept",
    "connect", "finish_connect", "close", "udp", "join", "address", "peer", "is_same_host", "Sink",
)  # fmt: skip


def ticks_ms() -> int:
    return time.monotonic_ns() // 1_000_000 % _PERIOD


def ticks_us() -> int:
    return time.monotonic_ns() // 1000 % _PERIOD


def ticks_add(ticks: int, delta: int) -> int:
    return (ticks + delta) % _PERIOD


def ticks_diff(end: int, start: int) -> int:
    return ((end - start + _PERIOD // 2) % _PERIOD) - _PERIOD // 2


def spin_us(us: int) -> None:
    end = time.monotonic_ns() + 1000 * us
    while time.monotonic_ns() < end:
        pass


async def sleep_ms(ms: int) -> None:
    await asyncio.sleep(max(0, ms) / 1000)


class Sink(io.BytesIO):
    def __init__(self, room: int) -> None:
        super().__init__()

    def write(self, data: "bytes | str", begin: int = 0, count: "int | None" = None) -> int:  # type: ignore[override]
        raw = data.encode() if isinstance(data, str) else data
        return super().write(raw if count is None else raw[begin : begin + count])


class Waker:
    def __init__(self) -> None:
        self._event: Any = None
        self._timeout: Any = None
        self._woken = False

    def wake(self) -> None:
        self._woken = True
        if self._event is not None:
            self._event.set()

    def wake_in(self, ms: int) -> bool:
        if self._event is None or self._timeout is None:
            return False
        self._woken = True
        self._timeout.reschedule(asyncio.get_running_loop().time() + ms / 1000)
        return True

    def clear(self) -> None:
        self._woken = False

    async def wait_ms(self, timeout_ms: int) -> bool:
        if not self._woken:
            self._event = asyncio.Event()
            try:
                with contextlib.suppress(asyncio.TimeoutError):
                    async with asyncio.timeout(max(0, timeout_ms) / 1000) as self._timeout:
                        await self._event.wait()
            finally:
                self._event = self._timeout = None
        woken = self._woken
        self._woken = False
        return woken


async def repeat(waker: Waker, turn: "Any") -> None:
    while True:
        ms = turn()
        if ms < 0:
            return
        await waker.wait_ms(ms)


class HostSocket:
    """A socket with the stream methods of MicroPython's."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.fileno = sock.fileno
        self.recvfrom = sock.recvfrom
        self.sendto = sock.sendto
        self.close = sock.close

    def readinto(self, buf: "bytearray | memoryview") -> "int | None":
        try:
            return self.sock.recv_into(buf)
        except BlockingIOError:
            return None

    def write(
        self, buf: "bytes | bytearray | memoryview", at: "int | None" = None, n: "int | None" = None
    ) -> "int | None":
        """write(buf), write(buf, n) or write(buf, at, n), as MicroPython has it."""
        begin, end = (0, at) if n is None else (at, at + n)
        try:
            return self.sock.send(memoryview(buf)[begin:end])
        except BlockingIOError:
            return None


_owners = {}  # stream -> [owner, listener, events]
_loop = None


def install() -> None:
    _owners.clear()


def run(coroutine: "Any") -> "Any":
    return asyncio.run(coroutine)


def _call(stream, events):
    entry = _owners.get(stream)
    if entry is None:
        return
    try:
        entry[0].on_ready(events)
    except Exception as error:
        entry[0].fail(error)


def _accept_late(stream):
    entry = _owners.get(stream)
    if entry is not None and entry[2] & READ:
        _call(stream, READ)
        if _owners.get(stream) is entry and entry[2] & READ:
            _loop.add_reader(stream.fileno(), _readable, stream)


def _readable(stream):
    if _owners[stream][1]:
        # After the input of this turn; and once: until then nobody looks at the listener again.
        _loop.remove_reader(stream.fileno())
        _loop.call_soon(_accept_late, stream)
    else:
        _call(stream, READ)


def watch(stream: "Any", owner: "Any", listener: bool = False) -> None:
    global _loop
    _loop = asyncio.get_running_loop()
    _owners[stream] = [owner, listener, 0]
    interest(stream, READ)


def interest(stream: "Any", events: int) -> None:
    loop = _loop
    entry = _owners[stream]
    if loop.is_closed():  # the firmware has ended and is cleaning up
        return
    if events & READ and not entry[2] & READ:
        loop.add_reader(stream.fileno(), _readable, stream)
    elif entry[2] & READ and not events & READ:
        loop.remove_reader(stream.fileno())
    if events & WRITE and not entry[2] & WRITE:
        loop.add_writer(stream.fileno(), _call, stream, WRITE)
    elif entry[2] & WRITE and not events & WRITE:
        loop.remove_writer(stream.fileno())
    entry[2] = events


def unwatch(stream: "Any") -> None:
    interest(stream, 0)
    del _owners[stream]


def address(ip: str, port: int) -> "Any":
    return (ip, port)


def peer(where: "Any") -> "tuple[str, int]":
    return where[0], where[1]


def is_same_host(where: "Any", other: "Any") -> bool:
    return where[0] == other[0]


def tcp_listen(bind: str, port: int, backlog: int) -> "Any":
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bind, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    return HostSocket(listener)


def accept(listener: "Any") -> "tuple[Any, Any] | None":
    try:
        sock, where = listener.sock.accept()
    except BlockingIOError:
        return None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return HostSocket(sock), where


def connect(ip: str, port: int) -> "tuple[Any, Any]":
    sock = socket.socket()
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(BlockingIOError):
            sock.connect((ip, port))
    except OSError:
        sock.close()
        raise
    return HostSocket(sock), (ip, port)


def finish_connect(stream: "Any", events: int) -> None:
    error = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, "not connected")


def close(stream: "Any") -> None:
    with contextlib.suppress(OSError):
        stream.close()


def udp(bind: str, port: int) -> "Any":
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind((bind, port))
    except OSError:
        sock.close()
        raise
    return HostSocket(sock)


def join(stream: "Any", group: str) -> None:
    stream.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + bytes(4))

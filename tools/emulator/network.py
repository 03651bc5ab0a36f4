"""The chip's network: PPP on its UART 0 (a TCP port here), joined to a far end; one thread.

In:  the port of the emulated UART.
Out: a way to and from the chip while the link is up. Which way is the subclass's: slirp.SlirpNetwork (forwards from
     127.0.0.1, no privileges needed) or tun.TunNetwork (a network of its own, in which every packet can be seen).
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from tools.emulator import ppp

GATEWAY = "10.0.2.2"  # this machine, seen from the chip
GUEST = "10.0.2.15"  # the chip

_HOST = "127.0.0.1"
_POLL_MS = 100
_CONNECT_S = 5
_READ_BYTES = 65536


class Forward(NamedTuple):
    """A port of 127.0.0.1 that leads to a port of the chip."""

    host_port: int
    guest_port: int
    udp: bool = False


_Result = TypeVar("_Result")


class NetworkError(RuntimeError):
    """The network cannot be had; the text says what is missing."""


class FarEnd(Protocol):
    """What the link is joined to. All calls come from one thread, which made it."""

    def input(self, packet: bytes) -> None:
        """Takes an IPv4 packet from the chip."""

    def poll(self, fd: int, timeout_ms: int) -> bool:
        """Waits for anything on its side or on `fd`, sends what is for the chip; True when fd can be read."""

    def close(self) -> None:
        """Gives back what it holds; may be called twice."""


class Network:
    """Runs from start() to stop(); a context manager. `alive` ends when the UART is gone or the thread failed.

    host    the address at which clients here reach the chip
    """

    host = _HOST

    def __init__(self, uart_port: int) -> None:
        self.uart_port = uart_port
        self.error: BaseException | None = None
        self._peer: ppp.Peer | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wake = (-1, -1)

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def ups(self) -> int:
        """How often the link came up."""
        return self._peer.ups if self._peer else 0

    @property
    def up(self) -> bool:
        return bool(self._peer and self._peer.up)

    def start(self) -> "Network":
        """Raises OSError or NetworkError."""
        started = threading.Event()
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, args=(started,), name="ppp", daemon=True)
        self._thread.start()
        started.wait()
        if self.error:
            error, self.error = self.error, None
            self.stop()
            raise error
        return self

    def stop(self) -> None:
        """May be called twice. Raises what the thread died of."""
        if self._thread:
            os.write(self._wake[1], b"x")
            self._thread.join()
            self._thread = None
            for fd in self._wake:
                os.close(fd)
        if self.error:
            error, self.error = self.error, None
            raise error

    def __enter__(self) -> "Network":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """What function(*arguments) gives where clients of the chip live: sockets that it makes lead there."""
        return function(*arguments)

    def new_socket(self, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A new IPv4 socket there; to be used from any thread, and closed by the caller."""
        return self.call(socket.socket, socket.AF_INET, kind, protocol)

    def connect(self, port: int, timeout_s: float = _CONNECT_S) -> socket.socket:
        """A TCP connection to this port of `host`. Raises OSError."""
        client = self.new_socket()
        try:
            client.settimeout(timeout_s)
            client.connect((self.host, port))
        except OSError:
            client.close()
            raise
        return client

    def wait_up(self, timeout_s: float, ups: int = 1) -> None:
        """Waits until the link came up for the `ups`-th time. Raises TimeoutError, or RuntimeError when it died."""
        with self._changed:
            self._changed.wait_for(lambda: self.ups >= ups or not self.alive, timeout_s)
        if self.ups < ups:
            if self.alive:
                raise TimeoutError(f"PPP: not up within {timeout_s:g} s")
            raise RuntimeError("PPP: the line is gone")

    def _join(self, to_chip: Callable[[bytes], object]) -> FarEnd:
        """The far end; called in the thread of the link. to_chip(packet) may be called within its input() and
        poll()."""
        raise NotImplementedError

    def _run(self, started: threading.Event) -> None:
        far: FarEnd | None = None
        try:
            with socket.create_connection((_HOST, self.uart_port), timeout=_CONNECT_S) as line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # What comes from both sides is collected: libslirp's callbacks come from C, where nothing may fail.
                out = bytearray()
                arrived: list[bytes] = []  # from the chip
                peer = ppp.Peer(GATEWAY, GUEST, out.extend, arrived.append)
                far = self._join(peer.packet)
                self._peer = peer
                started.set()
                with contextlib.suppress(ConnectionError):  # the emulator was killed: an end like any other
                    self._serve(line, peer, far, out, arrived)
        except (OSError, NetworkError) as error:
            self.error = error
        finally:
            if far:
                far.close()
            with self._changed:
                self._changed.notify_all()
            started.set()

    def _serve(self, line: socket.socket, peer: ppp.Peer, far: FarEnd, out: bytearray, arrived: list[bytes]) -> None:
        wake = self._wake[0]
        os.set_blocking(wake, False)
        while True:
            readable = far.poll(line.fileno(), _POLL_MS)
            if readable:
                data = line.recv(_READ_BYTES)
                if not data:
                    return  # the emulator has ended
                before = peer.ups
                peer.feed(data)
                for packet in arrived:
                    far.input(packet)
                arrived.clear()
                if peer.ups != before:
                    with self._changed:
                        self._changed.notify_all()
            if out:
                line.sendall(out)
                out.clear()
            try:
                if os.read(wake, 1):
                    return
            except BlockingIOError:
                pass

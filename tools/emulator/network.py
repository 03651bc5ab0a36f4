"""The chip's network: PPP on its UART 0 (a TCP port here), joined to libslirp; one thread.

In:  the port of the emulated UART, ports to forward.
Out: forwards from 127.0.0.1 to the chip while the link is up, and what the chip opens itself.
"""

import os
import socket
import threading
from collections.abc import Iterable
from typing import NamedTuple

from tools.emulator import ppp, slirp

_HOST = "127.0.0.1"
_POLL_MS = 100
_CONNECT_S = 5
_READ_BYTES = 65536


class Forward(NamedTuple):
    """A port of 127.0.0.1 that leads to a port of the chip."""

    host_port: int
    guest_port: int
    udp: bool = False


class Network:
    """Runs from start() to stop(); a context manager. `alive` ends when the UART is gone or the thread failed."""

    def __init__(self, uart_port: int, forwards: Iterable[Forward] = ()) -> None:
        self.uart_port, self.forwards = uart_port, tuple(forwards)
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
        """Raises OSError or slirp.SlirpError."""
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

    def wait_up(self, timeout_s: float, ups: int = 1) -> None:
        """Waits until the link came up for the `ups`-th time. Raises TimeoutError, or RuntimeError when it died."""
        with self._changed:
            self._changed.wait_for(lambda: self.ups >= ups or not self.alive, timeout_s)
        if self.ups < ups:
            if self.alive:
                raise TimeoutError(f"PPP: not up within {timeout_s:g} s")
            raise RuntimeError("PPP: the line is gone")

    def _run(self, started: threading.Event) -> None:
        network: slirp.Slirp | None = None
        try:
            with socket.create_connection((_HOST, self.uart_port), timeout=_CONNECT_S) as line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # What libslirp calls back with is collected: nothing may fail in a callback from C.
                out = bytearray()
                arrived: list[bytes] = []  # from the chip
                peer = ppp.Peer(slirp.GATEWAY, slirp.GUEST, out.extend, arrived.append)
                network = slirp.Slirp(peer.packet)
                for forward in self.forwards:
                    network.forward(*forward)
                self._peer = peer
                started.set()
                self._serve(line, peer, network, out, arrived)
        except (OSError, slirp.SlirpError) as error:
            self.error = error
        finally:
            if network:
                network.close()
            with self._changed:
                self._changed.notify_all()
            started.set()

    def _serve(
        self, line: socket.socket, peer: ppp.Peer, network: slirp.Slirp, out: bytearray, arrived: list[bytes]
    ) -> None:
        wake = self._wake[0]
        os.set_blocking(wake, False)
        while True:
            readable = network.poll(line.fileno(), _POLL_MS)
            if readable:
                data = line.recv(_READ_BYTES)
                if not data:
                    return  # the emulator has ended
                before = peer.ups
                peer.feed(data)
                for packet in arrived:
                    network.input(packet)
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

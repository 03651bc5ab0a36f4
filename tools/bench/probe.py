"""Asks a server that runs with the probe of tools/bench/programs/place_host.py about its heap.

In:  a Server started with probed=True, which runs. Out: bytes, microseconds. Raises ProbeError.
"""

import contextlib
import json
import socket
import time
from typing import NamedTuple

from tools.bench.processes import HOST, Server

_ANSWER_S = 10


class ProbeError(RuntimeError):
    """It does not answer."""


class Heap(NamedTuple):
    """`took_us`: of the collection that was asked for, else 0."""

    used: int
    free: int
    took_us: int


class Probe(contextlib.AbstractContextManager["Probe"]):
    """A context manager."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, server.ports.peer))
        self._socket.connect((HOST, server.ports.probe))
        self._socket.settimeout(_ANSWER_S)
        self._wait()

    def _wait(self) -> None:
        """A server may listen to its clients earlier than to us."""
        deadline = time.monotonic() + _ANSWER_S
        while True:
            try:
                self._socket.send(b"m")
                self._socket.recv(256)
                return
            except ConnectionRefusedError as error:
                if time.monotonic() > deadline:
                    raise ProbeError(f"{self._server.name}: {error}\n{self._server.process.tail()}") from error
            except OSError as error:
                raise ProbeError(f"{self._server.name}: {error}\n{self._server.process.tail()}") from error
            time.sleep(0.02)

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def _ask(self, question: bytes) -> Heap:
        try:
            self._socket.send(question)
            return Heap(**json.loads(self._socket.recv(256)))
        except OSError as error:
            raise ProbeError(f"{self._server.name}: {error}\n{self._server.process.tail()}") from error

    def look(self) -> Heap:
        """The heap as it is, garbage included."""
        return self._ask(b"m")

    def collect(self) -> Heap:
        """The heap after a collection."""
        return self._ask(b"c")

    def canary(self) -> Heap:
        """Opens the file "canary" in the server's folder, which the next collection will close."""
        return self._ask(b"n")

    def mark(self) -> Heap:
        """Calls getenv()."""
        return self._ask(b"d")

    def collect_late(self) -> Heap:
        """From now on the heap is collected when it is full, until the server decides otherwise."""
        return self._ask(b"t")

    def allocate(self) -> Heap:
        """Allocates 100 objects of several blocks, and forgets them."""
        return self._ask(b"a")

"""What requests do to the heap: bytes that they leave as garbage, and the collections that this takes.

MicroPython collects inside its allocator and does not report it. So collections are counted by a canary: a file
that the server has opened and forgotten, which its finaliser closes with the next collection; it is a FIFO, so we see
its end, and have the next one opened. How long a collection takes is measured by asking for some, with the clients
still connected: what a collection does depends on what lives, not on why it was begun.
"""

import contextlib
import os
import pathlib
import select
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tools.bench.probe import Probe

_PAUSES = 11
_LOOK_MS = 50


class Allocated(NamedTuple):
    """Bytes of heap that a request leaves behind."""

    server: str
    what: str
    bytes: float

    def as_json(self) -> dict[str, Any]:
        """Rounded."""
        return self._asdict() | {"bytes": round(self.bytes, 1)}


class Collections(NamedTuple):
    """Collections of the heap under a load."""

    what: str
    seconds: float
    number: int
    pause_us: float  # median of those that were asked for
    longest_us: float
    free: int  # bytes, right after a collection

    @property
    def share(self) -> float:
        """Of the time."""
        return self.number * self.pause_us / 1e6 / self.seconds

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return self._asdict() | {"seconds": round(self.seconds, 2), "share": round(self.share, 5)}


def allocated(probe: Probe, ask: Callable[[int], object], n: int) -> float:
    """Bytes for each of the requests that ask(number) makes: the difference of 2n and n of them. The heap must be so
    large that they cause no collection; raises ValueError when it is not."""
    ask(2)  # what is allocated once is there then
    return (_grown(probe, ask, 2 * n) - _grown(probe, ask, n)) / n


def _grown(probe: Probe, ask: Callable[[int], object], number: int) -> int:
    used = probe.collect().used
    ask(number)
    found = probe.look().used - used
    if found < 0:
        raise ValueError("there was a collection of the heap: it is too small to count in")
    return found


class Counter(contextlib.AbstractContextManager["Counter"]):
    """Counts collections of a probed server from `with` to its end; `count` so far."""

    def __init__(self, folder: pathlib.Path, probe: Probe) -> None:
        """`folder`: the server's working directory. The probe must not be used meanwhile."""
        self._path, self._probe = folder / "canary", probe
        self.count = 0
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def __enter__(self) -> "Counter":
        if not self._path.exists():
            os.mkfifo(self._path)
        self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        self._probe.collect()  # a canary of before must not be taken for this one's
        self._probe.canary()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._fd)
        if self._error:
            raise self._error

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        try:
            while not self._ended.is_set():
                if poller.poll(_LOOK_MS):  # the writing end has gone
                    self.count += 1
                    self._probe.canary()
        except Exception as error:  # raised where the block ends
            self._error = error


def collections(folder: pathlib.Path, probe: Probe, what: str, load: Callable[[], object]) -> Collections:
    """Counts while load() runs, which keeps its clients connected until it returns."""
    with Counter(folder, probe) as counter:
        begin = time.monotonic()
        load()
        seconds = time.monotonic() - begin
    heaps = [probe.collect() for _ in range(_PAUSES)]
    pauses = [heap.took_us for heap in heaps]
    free = min(heap.free for heap in heaps)
    return Collections(what, seconds, counter.count, statistics.median(pauses), max(pauses), free)

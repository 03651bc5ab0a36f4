"""An asyncio loop with real sockets in a time of its own.

Time stands still while the process computes and while a socket is ready. Where nothing is ready it jumps to the next
timer; while a server owes an answer (`Time.owed`) it passes as the real one does instead, so that a time-out of the
firmware means what it says, however busy the machine is. `pace`: seconds in a real second, at most; 0: no bound.
"""

import asyncio
import contextlib
import selectors
import time
from collections.abc import Iterator
from typing import Any

_LOOK_S = 0.05  # real, while an answer is owed


class Time:
    """`owed`: answers that servers owe; whoever asks and is answered counts it."""

    def __init__(self, pace: float = 0) -> None:
        self.now_s = 1000.0
        self.owed = 0
        self.pace = pace


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: Time) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        clock = self._clock
        rate = 1.0 if clock.owed > 0 or timeout is None else clock.pace
        if not rate:
            clock.now_s += timeout or 0
            return ready
        begin_s = time.monotonic()
        ready = super().select(_LOOK_S if timeout is None else min(timeout / rate, _LOOK_S))
        passed_s = rate * (time.monotonic() - begin_s)
        clock.now_s += passed_s if timeout is None else min(passed_s, timeout)
        return ready


class Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Time) -> None:
        self._clock = clock
        super().__init__(_Selector(clock))

    def time(self) -> float:
        return self._clock.now_s


class _TimeModule:
    """What firmware.net.seam_cpython uses of `time`."""

    def __init__(self, clock: Time) -> None:
        self._clock = clock

    def monotonic_ns(self) -> int:
        return int(self._clock.now_s * 1e9)


@contextlib.contextmanager
def under_the_seam(clock: Time) -> Iterator[None]:
    """The firmware's ticks are those of `clock` meanwhile."""
    from firmware.net import seam, seam_cpython

    saved = seam_cpython.time
    seam_cpython.time = _TimeModule(clock)  # type: ignore[assignment]
    seam.install()
    try:
        yield
    finally:
        seam_cpython.time = saved

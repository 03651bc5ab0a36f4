"""Bounded event log, for the page, the API and the console.

The newest `_KEPT` lines stay in memory; the console gets every one. A line that repeats the one before is counted
instead of added, so that a fault in a loop neither floods the console nor displaces older lines.
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

_KEPT = const(24)
_LINE_MAX = const(120)
_REPEATS_SHOWN = b"\x01\x0a\x64"  # a repeated line is printed again at its 10th and 100th time


class Events:
    """Log of the whole device. `uptime_s()`: seconds since boot; `console` prints a line. `dropped`: lines that are no
    longer kept or were lost for lack of memory."""

    def __init__(self, uptime_s: "Callable[[], int]", console: "Callable[[str], object]" = print) -> None:
        self._uptime_s = uptime_s
        self._console = console
        self._lines: list = []  # [uptime_s, source, text, times], oldest first
        self.dropped = 0

    def add(self, source: str, text: str) -> None:
        """Logs `text`, cut to 120 characters, of the part of the firmware that `source` names. Never raises
        MemoryError, so that error paths can always log."""
        try:
            self._append(source, text)
        except MemoryError:
            self.dropped += 1

    def _append(self, source, text):
        now = self._uptime_s()
        if len(text) > _LINE_MAX:
            text = text[: _LINE_MAX - 3] + "..."
        lines = self._lines
        if lines and lines[-1][2] == text and lines[-1][1] == source:
            lines[-1][0] = now
            lines[-1][3] += 1
            times = lines[-1][3]
            if times < 256 and times in _REPEATS_SHOWN:
                self._console("[%d] %s: %s (%d times)" % (now, source, text, times))
            return
        if len(lines) == _KEPT:
            lines.pop(0)
            self.dropped += 1
        lines.append([now, source, text, 1])
        self._console("[%d] %s: %s" % (now, source, text))

    def lines(self) -> list:
        """The lines that are kept, oldest first: lists [uptime_s, source, text, times]. Not to be changed."""
        return self._lines

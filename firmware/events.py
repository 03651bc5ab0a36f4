"""Bounded event log: one line for each thing that somebody may have to know about.

The newest `_KEPT` lines stay in memory; the console gets every one. A line that repeats the one before is counted
instead of added, so that a fault in a loop neither floods the console nor pushes the history out.
"""

from micropython import const

_KEPT = const(24)
_LINE_MAX = const(120)
_REPEATS_SHOWN = b"\x01\x0a\x64"  # a repeated line is printed again at its 10th and 100th time


class Events:
    """Log of the whole device. `uptime_s` is a function that gives the seconds since boot."""

    def __init__(self, uptime_s, console=print):
        self._uptime_s = uptime_s
        self._console = console
        self._lines = []  # [uptime_s, source, text, times], oldest first
        self.dropped = 0

    def add(self, source, text):
        """Logs `text` (cut to 120 characters) for the part of the firmware that `source` names. Never raises
        MemoryError: who tells of a lack of memory must come to his end."""
        try:
            self._note(source, text)
        except MemoryError:
            self.dropped += 1

    def _note(self, source, text):
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

    def lines(self):
        """The lines that are kept, oldest first, as (uptime_s, source, text, times)."""
        return self._lines

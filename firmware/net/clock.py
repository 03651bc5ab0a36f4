"""Seconds since boot, and the time of day once it has been set.

Ticks have 30 bits and differences hold for 6.2 days, so seconds are counted on: call uptime_s at least once a day
(the housekeeping does, every second). Dates are unix seconds, in UTC, as integers.
"""

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable


class Clock:
    """`set_board(unix_s)` puts the time into the board's own clock; None where there is none to set."""

    def __init__(self, set_board: "Callable[[int], None] | None" = None) -> None:
        self._seconds = 0
        self._last_ms = seam.ticks_ms()
        self._set_board = set_board
        self._offset_ms: "int | None" = None  # unix time in ms at uptime 0

    def uptime_s(self) -> int:
        """Whole seconds since boot."""
        if seam.ticks_diff(seam.ticks_ms(), self._last_ms) >= 1000:
            self._advance()
        return self._seconds

    def uptime_ms(self) -> int:
        """Milliseconds since boot; beyond 12 days an integer that takes heap: not for hot paths."""
        now = self._advance()
        return self._seconds * 1000 + seam.ticks_diff(now, self._last_ms)

    def _advance(self):
        now = seam.ticks_ms()
        whole = seam.ticks_diff(now, self._last_ms) // 1000
        if whole > 0:
            self._seconds += whole
            self._last_ms = seam.ticks_add(self._last_ms, whole * 1000)
        return now

    @property
    def is_set(self) -> bool:
        """True once the time of day is known."""
        return self._offset_ms is not None

    def set_ms(self, unix_ms: int) -> None:
        """Sets the time of day: milliseconds since 1970, UTC."""
        self._offset_ms = unix_ms - self.uptime_ms()
        if self._set_board is not None:
            self._set_board(unix_ms // 1000)

    def unix_ms(self) -> "int | None":
        """Milliseconds since 1970, or None before the first set_ms."""
        return None if self._offset_ms is None else self._offset_ms + self.uptime_ms()

    def unix_s(self) -> int:
        """Seconds since 1970, or 0 before the first set_ms."""
        now = self.unix_ms()
        return 0 if now is None else now // 1000

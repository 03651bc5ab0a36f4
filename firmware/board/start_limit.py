"""Restarts a firmware that does not come to its loop, where the watchdog takes over.

main.py uses it for a firmware that an update has brought, and imports it for that only. The timer's callback runs
between two instructions of the interpreter: what hangs in C code is not seen.
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Any

_LOOP_WITHIN_S = const(60)


class StartLimit:
    """A minute from now on; for ever on a development machine, which has no timer."""

    def __init__(self) -> None:
        self._timer: "Any" = None
        try:
            from machine import Timer
        except ImportError:
            return
        try:
            self._timer = Timer(-1)  # the only one of an RP2
        except ValueError:
            self._timer = Timer(0)  # an ESP32 has no other kind
        self._timer.init(mode=Timer.ONE_SHOT, period=1000 * _LOOP_WITHIN_S, callback=self._restart)

    def _restart(self, timer):
        from machine import reset

        print("meterport: the loop does not run after %d s, restarting" % _LOOP_WITHIN_S)
        reset()

    def end_with_watchdog(self, port: "Any") -> None:
        """Ends when the firmware starts the watchdog of this board, which it does once its loop runs."""
        start = port.watchdog

        def watchdog(timeout_s):
            self.end()
            start(timeout_s)

        port.watchdog = watchdog

    def end(self) -> None:
        """Stops the timer; may be called twice."""
        if self._timer is not None:
            self._timer.deinit()

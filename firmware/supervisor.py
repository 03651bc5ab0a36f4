"""Makes the firmware's tasks, restarts those that have ended, and feeds the watchdog.

Only the supervisor makes tasks. One that ends, for lack of memory too, is logged and restarted after 1 s, 2 s, and so
on up to a minute; the others go on. The watchdog is fed once a second, after the watched tasks were looked at: a loop
that does not turn ends in a reset. A watched task that waits for ever, while the loop turns, has the device restarted
once it has had no turn for _SILENT_S. Which tasks are watched, and which are not: docs/decisions/0020.
"""

import asyncio

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from typing import Any

    from firmware.bus.bus import Bus
    from firmware.events import Events

_TICK_MS = const(1000)
_RESTART_FIRST_S = const(1)
_RESTART_LONGEST_S = const(60)
_SILENT_S = const(120)


class Supervisor:
    """`board` has the watchdog. `restarts` counts the tasks that were restarted, and the ticks that failed. `watched`:
    buses; the device is restarted when the task of one has had no turn (silent_s) for two minutes."""

    def __init__(self, board: "Any", events: "Events") -> None:
        self._board = board
        self._events = events
        self._tasks: list = []
        self._ticks: list = []
        self.watched: "Iterable[Bus]" = ()
        self.restarts = 0

    def keep_running(self, name: str, run: "Callable[[], Awaitable]") -> None:
        """Makes a task of the coroutine function `run`, which should never end. `name` is its source in the log."""
        self._tasks.append(asyncio.create_task(self._keep_running(name, run)))

    def _watch(self):
        """False when a watched task has had no turn for too long: the device restarts."""
        for bus in self.watched:
            bus.silent_s += 1
            if bus.silent_s >= _SILENT_S:
                from firmware import crash

                reason = "bus %d: no turn for %d s" % (bus.number, _SILENT_S)
                crash.keep(reason, self._board.heap(), None)
                self._board.reset()
                return False
        return True

    def run_once(self, coroutine: "Coroutine") -> None:
        """Makes a task that ends by itself. Raises MemoryError."""
        self._tasks.append(asyncio.create_task(coroutine))

    def every_second(self, tick: "Callable[[], object]") -> None:
        """Calls tick() once a second. An exception in it is logged; other ticks and the watchdog go on."""
        self._ticks.append(tick)

    async def _keep_running(self, name, run):
        wait_s = _RESTART_FIRST_S
        while True:
            started_ms = seam.ticks_ms()
            try:
                await run()
                self._events.add(name, "task ended")
            except MemoryError:
                self._events.add(name, "task died: no memory")
            except Exception as error:
                self._report(name, "task died", error)
            self.restarts += 1
            if seam.ticks_diff(seam.ticks_ms(), started_ms) > 1000 * _RESTART_LONGEST_S:
                wait_s = _RESTART_FIRST_S  # it has run well for a while
            await seam.sleep_ms(1000 * wait_s)
            wait_s = min(2 * wait_s, _RESTART_LONGEST_S)

    def _tick(self, tick):
        try:
            tick()
        except Exception as error:
            self.restarts += 1
            self._report("tick", "failed", error)

    def _report(self, source, text, error):
        """Logs an error. Never raises MemoryError: that would end the task which restarts another."""
        try:
            self._events.add(source, "%s: %r" % (text, error))
            seam.print_exception(error)
        except MemoryError:
            self._events.add(source, text)

    def start_ticking(self, watchdog_s: int) -> None:
        """Starts the watchdog (0: none), and the task that feeds it and calls the ticks of every_second()."""

        async def run():
            self._board.watchdog(watchdog_s)
            while True:
                if self._watch():
                    self._board.feed()
                for tick in self._ticks:
                    self._tick(tick)
                await seam.sleep_ms(_TICK_MS)

        self.keep_running("tick", run)

"""The supervisor: makes the firmware's tasks, starts one again that has died, and feeds the watchdog.

Only it makes tasks. A task that ends is logged and started again, later each time: after 1 s, 2 s, and so on up to a
minute. A task that is short of memory is such a task; the others do not notice.
"""

import asyncio

from micropython import const

from firmware.net import seam

_TICK_MS = const(1000)
_RESTART_FIRST_S = const(1)
_RESTART_LAST_S = const(60)


class Supervisor:
    """`board` has the watchdog, `events` is the log. `restarts` counts the tasks that had to be started
    again, and the ticks that failed."""

    def __init__(self, board, events):
        self._board = board
        self._events = events
        self._tasks = []
        self._tickers = []
        self.restarts = 0

    def keep_running(self, name, run):
        """Makes a task of the coroutine function `run`, which should never end; `name` stands in the log."""
        self._tasks.append(asyncio.create_task(self._keep_running(name, run)))

    def start_once(self, coroutine):
        """Makes a task that ends by itself."""
        self._tasks.append(asyncio.create_task(coroutine))

    def every_second(self, tick):
        """Calls tick() once a second. What it raises is logged; the others and the watchdog do not notice."""
        self._tickers.append(tick)

    async def _keep_running(self, name, run):
        wait_s = _RESTART_FIRST_S
        while True:
            begun_ms = seam.ticks_ms()
            try:
                await run()
                self._events.add(name, "task ended")
            except MemoryError:
                self._events.add(name, "task died: no memory")
            except Exception as error:
                self._report(name, "task died", error)
            self.restarts += 1
            if seam.ticks_diff(seam.ticks_ms(), begun_ms) > 1000 * _RESTART_LAST_S:
                wait_s = _RESTART_FIRST_S  # it has run well for a while
            await seam.sleep_ms(1000 * wait_s)
            wait_s = min(2 * wait_s, _RESTART_LAST_S)

    def _tick(self, tick):
        try:
            tick()
        except Exception as error:
            self.restarts += 1
            self._report("tick", "failed", error)

    def _report(self, source, text, error):
        """Logs an error. Never raises MemoryError: it would end the task that keeps another going."""
        try:
            self._events.add(source, "%s: %r" % (text, error))
            seam.print_exception(error)
        except MemoryError:
            self._events.add(source, text)

    def start_ticking(self, watchdog_s):
        """Starts the watchdog (0: none) and the task that feeds it and calls what every_second() was given."""

        async def run():
            self._board.watchdog(watchdog_s)
            while True:
                self._board.feed()
                for tick in self._tickers:
                    self._tick(tick)
                await seam.sleep_ms(_TICK_MS)

        self.keep_running("tick", run)

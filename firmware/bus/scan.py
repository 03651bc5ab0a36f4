"""Finds meters: asks each unit of a range at each baud rate and framing that is wanted, while polling pauses.

A unit is found when it answers one read (function 3, register 0), also with an exception: that is how a device answers
a function that it does not know (Application Protocol 7). The
signatures of the profiles tell its kind. A Scan leases the line of a bus (Bus.lease_line), or runs alone
(firmware.repl_tools).
"""

from micropython import const

from firmware.bus.bus_stats import BusStats
from firmware.bus.late_replies import LateReplies
from firmware.bus.request import Request
from firmware.bus.transaction import ANSWERED, LINE_DOWN, Transaction
from firmware.meters import recognise

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.board import Line
    from firmware.events import Events

BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
FRAMINGS = ("8N1", "8E1", "8O1", "8N2")
TIMEOUT_MS = const(150)
_TIMEOUTS_MS = (20, 2000)
_FOUND_MAX = const(64)
_PROFILES_MAX = const(3)


class Scan:
    """One search. To be read by others: `done` of `total` questions, `found`, `running`, `stopped`, `error`. A row of
    `found` is (unit, baud, framing, [names of profiles that fit])."""

    name = "a scan"

    def __init__(
        self, config: dict, events: "Events", bauds: "list[int] | None" = None, framings: "list[str] | None" = None,
        first: int = 1, last: int = 247, timeout_ms: "int | None" = None,
    ):  # fmt: skip
        """`config` is that of the bus, whose baud rate and framing are the default. Raises ValueError."""
        self.bauds = bauds or [config["baud"]]
        self.framings = framings or [config["framing"]]
        _check_choices("baud", self.bauds, BAUDS)
        _check_choices("framing", self.framings, FRAMINGS)
        if not 1 <= first <= last <= 247:
            raise ValueError("units: %s to %s is no range within 1 to 247" % (first, last))
        if timeout_ms is None:
            timeout_ms = TIMEOUT_MS
        if not _TIMEOUTS_MS[0] <= timeout_ms <= _TIMEOUTS_MS[1]:
            raise ValueError("timeout_ms: %s is not %d to %d" % (timeout_ms, _TIMEOUTS_MS[0], _TIMEOUTS_MS[1]))
        self.first = first
        self.last = last
        self.timeout_ms = timeout_ms
        self.total = len(self.bauds) * len(self.framings) * (last - first + 1)
        self.done = 0
        self.found = []
        self.running = True
        self.stopped = False
        self.error: "str | None" = None
        self.on_progress: "Callable[[Scan], object] | None" = None  # called after each question
        self._config = config
        self._events = events
        self._counters = BusStats()
        self._late = LateReplies()
        self._request = Request(None)

    def stop(self) -> None:
        """Ends after the question that is under way."""
        self.stopped = True

    def abort(self, error: Exception) -> None:
        """Ends before it has begun: the line cannot be opened."""
        self.error = str(error)
        self.running = False

    async def run(self, open_line: "Callable[[dict], Line]") -> None:
        """Asks until the end or stop(). Raises OSError when the line cannot be opened."""
        try:
            for baud in self.bauds:
                for framing in self.framings:
                    await self._scan_with(open_line, baud, framing)
        except (OSError, MemoryError) as error:
            self.error = str(error)
            raise
        finally:
            self.running = False

    async def _scan_with(self, open_line, baud, framing):
        config = dict(self._config)
        config["baud"] = baud
        config["framing"] = framing
        wire = Transaction(open_line(config), config, self._counters, self._late, _NoLog())
        try:
            for unit in range(self.first, self.last + 1):
                if self.stopped:
                    return
                if not self._is_found(unit, baud) and await self._read(wire, unit, 3, 0, 1) is not None:
                    await self._add_found(wire, unit, baud, framing)
                self.done += 1
                if self.on_progress is not None:
                    self.on_progress(self)
        finally:
            wire.close()

    def _is_found(self, unit, baud):
        """Returns whether the unit has answered at this baud rate: 8N1 and 8N2 understand each other, so one that
        answered at one is not asked again at the other."""
        return any([row[0] == unit and row[1] == baud for row in self.found])

    async def _add_found(self, wire, unit, baud, framing):
        profiles = await self._identify(wire, unit)
        if len(self.found) < _FOUND_MAX:
            self.found.append((unit, baud, framing, profiles))
        self._events.add("bus", "found unit %d at %d %s: %s" % (unit, baud, framing, ", ".join(profiles) or "unknown"))

    async def _identify(self, wire, unit):
        """Returns the names of the profiles whose signature fits, those with the most tests first."""
        read = {}
        fits = []
        for name, tests in recognise.candidates():
            if self.stopped:
                break
            for test in tests:
                what = test[:3]
                if what not in read:
                    read[what] = await self._read(wire, unit, *what)
                if not recognise.matches(test, read[what]):
                    break
            else:
                fits.append((-len(tests), name))
        return [name for _, name in sorted(fits)[:_PROFILES_MAX]]

    async def _read(self, wire, unit, function, first, count):
        """Returns the bytes of the registers, b"" for an exception, None without a right answer. Raises OSError."""
        request = self._request
        request.fill_read(unit, function, first, count)
        result = await wire.exchange(request.frame, request.length, self.timeout_ms)
        if result == LINE_DOWN:
            raise wire.line_error or OSError("the line is gone")
        if result != ANSWERED:
            return None
        if wire.rx[wire.at + 1] & 0x80:
            return b""
        return bytes(memoryview(wire.rx)[wire.at + 3 : wire.at + wire.n - 2])


class _NoLog:
    """A log for a line on which most is silent or wrong."""

    def add(self, source, text):
        pass


def _check_choices(name, values, allowed):
    for value in values:
        if value not in allowed:
            raise ValueError("%s: %s is not one of %s" % (name, value, ", ".join([str(one) for one in allowed])))

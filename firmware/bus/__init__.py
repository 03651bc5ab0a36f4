"""The serial side: one transaction at a time on each bus, for clients first and for the poller when they are quiet.

This file is what services see of it: all buses, which can be paused and searched for meters. A service fills in a
Request of its own and submits it to the bus that Buses.router names for a unit; on_answer() tells its `owner` the end.
Everything happens in one thread: between submit() and on_answer() the request belongs to the bus, unless
it is withdrawn.

    router.py       which bus a unit is on
    request.py      what a service submits
    bus.py          queue, cache and meter states: what is asked next, and what an end means
    poller.py       which meter is due
    listening.py    a bus that another master polls
    follower.py     its wire
    heard.py        a meter on it
    slave.py        a line on which another master asks this gateway
    scan.py         finds meters, while polling pauses
    bus_stats.py    counters, answer times, exceptions by code
    late_replies.py answers that may still come
    transaction.py  one request and its answer on the wire
"""

from micropython import const

from firmware.bus.bus import Bus
from firmware.bus.bus_stats import BusStats
from firmware.bus.request import OK, Request
from firmware.bus.router import Router
from firmware.bus.scan import Scan

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterator

    from firmware.events import Events

__all__ = ("OK", "Bus", "BusStats", "Buses", "Request", "Router")


class Buses:
    """`buses`: a list of Bus; `router`: the Router over them, for services.

    `scan` is the search for meters that runs, or the last one that ran with its results, or None. `paused`: between
    pause() and resume()."""

    def __init__(self, buses: "list[Bus]", router: Router, events: "Events"):
        self.router = router
        self.scan: "Scan | None" = None
        self.paused = False
        self._buses = buses
        self._events = events
        self._on_paused: "Callable[[], object] | None" = None
        self._awaited = 0  # buses with a transaction under way

    def __len__(self) -> int:
        return len(self._buses)

    def __iter__(self) -> "Iterator[Bus]":
        return iter(self._buses)

    def __getitem__(self, number: int) -> Bus:
        return self._buses[number]

    def pause(self, on_paused: "Callable[[], object]") -> bool:
        """Pauses all buses: none begins another transaction, requests wait. Calls on_paused() once, when no transaction
        is under way: at once, or later from the task of a bus. Returns False when they are paused already or a scan
        runs. resume() ends the pause; when it comes first, on_paused() is not called."""
        if self.paused or (self.scan is not None and self.scan.running):
            return False
        self.paused = True
        self._on_paused = on_paused
        self._awaited = len(self._buses)
        try:
            for bus in self._buses:
                bus.pause(self._on_idle)
            if not self._buses:
                on_paused()
        except MemoryError:
            self.resume()
            raise
        return True

    def _on_idle(self):
        self._awaited -= 1
        if not self._awaited:
            self._on_paused()

    def resume(self) -> None:
        """Ends the pause."""
        if not self.paused:
            return
        self.paused = False
        self._on_paused = None
        for bus in self._buses:
            bus.resume()

    def start_scan(
        self, number: int, bauds: "list[int]", framings: "list[str]", first: int, last: int, timeout_ms: int
    ) -> None:
        """Begins a search for meters on a bus, whose polling pauses meanwhile. Raises ValueError, or OSError when a
        scan runs or the buses are paused."""
        if not 0 <= number < len(self._buses):
            raise ValueError("bus: %d is not one of the %d in buses" % (number, len(self._buses)))
        bus = self._buses[number]
        if bus.config["role"] != "master":
            raise ValueError("bus: %d is not polled by this gateway" % number)
        scan = Scan(bus.config, self._events, bauds, framings, first, last, timeout_ms)
        if self.paused:
            raise OSError("the buses are paused: something is being saved")
        if not bus.lease_line(scan):
            raise OSError("a scan is running")
        self.scan = scan

    def tick(self) -> None:
        """Is called once a second."""
        for bus in self._buses:
            bus.tick()

    def close(self) -> None:
        """Closes the serial lines."""
        for bus in self._buses:
            bus.close()

"""The serial side: one transaction at a time on each bus, for clients first and for the poller when they are quiet.

This file is what services see of it. A service fills in a Request of its own and submits it to the bus that
Buses.router names for a unit; its `owner` is told the end by on_answer(). Everything happens in one thread: between
submit() and on_answer() the request belongs to the bus, unless it is withdrawn.

    buses.py        all buses: pausing them, searching one for meters
    router.py       which bus a unit is on
    request.py      what a service submits
    bus.py          queue, cache and meter states: what is asked next, and what an end means
    poller.py       which meter is due
    scan.py         finds meters, while polling pauses
    bus_stats.py    counters, answer times, exceptions by code
    late.py         answers that may still come
    transaction.py  one request and its answer on the wire
"""

from firmware.bus.bus import Bus
from firmware.bus.bus_stats import BusStats
from firmware.bus.buses import Buses
from firmware.bus.request import OK, Request
from firmware.bus.router import Router

__all__ = ("OK", "Bus", "BusStats", "Buses", "Request", "Router")

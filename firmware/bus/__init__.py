"""The serial side: one transaction at a time on each bus, for clients first and for the poller when they are quiet.

This file is what services see of it. A service fills in a Request of its own and submits it to the bus that the
Router names for a unit; its `owner` is told the end by on_answer(). Everything happens in one thread: between submit()
and on_answer() the request belongs to the bus, unless it is withdrawn.

    bus.py          queue, cache and meter states: what is asked next, and what an end means
    poller.py       which meter is due
    scan.py         finds meters, while polling pauses
    tally.py        exceptions by code and answer times
    transaction.py  one request and its answer on the wire
"""

from micropython import const

from modbus import pdu, rtu

OK = 0
_UNITS = const(248)  # Serial Line V1.02, 2.2: 0 is the broadcast, 248 to 255 are reserved
_CLOSED = const(255)
_AROUND = const(3)  # unit and CRC


class Request:
    """One Modbus request on its way to a meter, as a serial frame in a buffer of its own.

    `owner.on_answer(code, buf, at, n)` is called once: code 0 and the answer's frame in buf[at:at+n] (unit, PDU, CRC;
    valid only during the call), or an exception code and no frame. No owner: nobody wants to know. `first`: goes before
    requests that are not."""

    def __init__(self, owner):
        self.owner = owner
        self.frame = bytearray()  # as long as the longest that it has had: for most clients a read's eight bytes
        self.length = 0
        self.unit = 0
        self.first = False
        self.reads = False  # whether it only reads: may be repeated, and shared with an equal one

    def fill(self, unit, buf, at, n):
        """Takes the PDU buf[at:at+n] for `unit`; n is at most 253."""
        self.unit = unit
        self.reads = pdu.is_read(buf, at, n)
        if len(self.frame) < n + _AROUND:
            self.frame = bytearray(n + _AROUND)
        self.length = rtu.build(self.frame, unit, buf, at, n)

    def equals(self, other):
        """Whether both ask the very same."""
        n = self.length
        if n != other.length or self.unit != other.unit:
            return False
        frame = other.frame
        # The CRCs differ nearly always when the frames do: looked at first.
        for i in range(n - 1, -1, -1):
            if self.frame[i] != frame[i]:
                return False
        return True


class Searched:
    """What is left of a search for meters (firmware.bus.scan) once it has ended: all of it but its code."""

    loaded = False
    running = False

    def __init__(self, search):
        self.done = search.done
        self.total = search.total
        self.error = search.error
        self.found = search.found

    def stop(self):
        """It has ended."""


class Router:
    """Which bus and which address there a client's unit id stands for.

    `buses` is a list of Bus. Each unit is at its own address: on the bus of the configured meter with that address
    (of the first, where both buses have one), else on the first bus. `routes` of the configuration come last: `count`
    units from `unit` on stand for the addresses from `address` on (0: the same) of `bus`, or for none (`closed`)."""

    def __init__(self, buses, meters, routes=()):
        self.buses = buses
        self._bus = bytearray(_UNITS)
        self._address = bytearray(range(_UNITS)) if routes else None
        for meter in reversed(meters):
            self._bus[meter.unit] = meter.bus
        for route in routes:
            for k in range(route["count"]):
                unit = route["unit"] + k
                self._bus[unit] = _CLOSED if route["closed"] else route["bus"]
                self._address[unit] = (route["address"] or route["unit"]) + k

    def bus_of(self, unit):
        """The bus, or None where no unit can be reached: answer 0A."""
        if not 0 < unit < _UNITS:
            return None
        number = self._bus[unit]
        return self.buses[number] if number < len(self.buses) else None

    def address_of(self, unit):
        """The address on that bus."""
        return unit if self._address is None else self._address[unit]

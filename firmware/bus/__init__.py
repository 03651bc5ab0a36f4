"""The serial side: one transaction at a time on each bus, for clients first and for the poller when they are quiet.

This file is what services see of it. A service fills in a Request of its own and submits it to the bus that the
Router names for a unit; its `owner` is told the end by on_answer(). Everything happens in one thread: between submit()
and on_answer() the request belongs to the bus, unless it is withdrawn.

    bus.py          queue, cache and meter states: what is asked next, and what an end means
    poller.py       which meter is due
    transaction.py  one request and its answer on the wire
"""

from modbus import pdu, rtu

OK = 0


class Request:
    """One Modbus request on its way to a meter, as a serial frame in a buffer of its own.

    `owner.on_answer(code, buf, at, n)` is called once: code 0 and the answer's frame in buf[at:at+n] (unit, PDU, CRC;
    valid only during the call), or an exception code and no frame."""

    def __init__(self, owner):
        self.owner = owner
        self.frame = bytearray(rtu.ADU_MAX)
        self.length = 0
        self.unit = 0
        self.reads = False  # whether it only reads: may be repeated, and shared with an equal one

    def fill(self, unit, buf, at, n):
        """Takes the PDU buf[at:at+n] for `unit`; n is at most 253."""
        self.unit = unit
        self.reads = pdu.is_read(buf, at, n)
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


class Router:
    """Which bus a unit is on. `buses` is a list of Bus; units of configured meters are on their meter's bus, all
    others on the first."""

    def __init__(self, buses, points):
        self.buses = buses
        self._by_unit = {unit: buses[meter.bus] for unit, meter in points.by_unit.items()}

    def bus_of(self, unit):
        """The bus, or None where no unit can be reached: answer 0A."""
        if not 0 < unit < 248 or not self.buses:  # Serial Line V1.02, 2.2: 248 to 255 are reserved
            return None
        return self._by_unit.get(unit) or self.buses[0]

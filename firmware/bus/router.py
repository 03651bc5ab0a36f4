"""Maps the unit ids of clients to buses and to addresses on them."""

from micropython import const

from modbus.tcp import NO_WAY

_TYPING = const(0)
if _TYPING:
    from firmware.bus.bus import Bus
    from firmware.meters.meter import Meter

_UNITS = const(256)
_GATEWAY = const(255)  # the gateway itself, as 0 is where it is no broadcast
_RESERVED = const(248)  # Serial Line V1.02, 2.2: 0 is the broadcast, from 248 on only where a route says so

# Of a board with one bus and no routes, as most are: a constant lies in flash and not in the heap.
_ONE_BUS = (
    b"\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"
)


class Router:
    """`buses` is a list of Bus. Each unit is at its own address: on the bus of the configured meter with that address
    (of the first, where both buses have one), else on the first bus; 248 to 254 are nowhere. `routes` of the
    configuration come last: `count` units from `unit` on stand for the addresses from `address` on (0: the same) of
    `bus`, or for none (`closed`).

    numbers    of each unit the number of its bus, or NO_WAY (modbus.tcp)
    addresses  of each unit its address there; empty where each is at its own"""

    def __init__(self, buses: "list[Bus]", meters: "list[Meter]", routes: "list[dict] | tuple[dict, ...]" = ()):
        self.buses = buses
        self.numbers: "bytes | bytearray" = _ONE_BUS
        self.addresses: "bytes | bytearray" = b""
        if len(buses) != 1 or routes:
            self._fill(meters, routes)

    def _fill(self, meters, routes):
        buses = self.buses
        self.numbers = numbers = bytearray(_UNITS)
        addresses = bytearray(range(_UNITS) if routes else 0)
        self.addresses = addresses
        for unit in range(_RESERVED, _UNITS):
            numbers[unit] = NO_WAY
        for meter in reversed(meters):
            numbers[meter.unit] = meter.bus
        for route in routes:
            for k in range(route["count"]):
                unit = route["unit"] + k
                numbers[unit] = NO_WAY if route["closed"] else route["bus"]
                addresses[unit] = (route["address"] or route["unit"]) + k
        for unit in range(_UNITS):
            if unit in (0, _GATEWAY) or numbers[unit] >= len(buses):
                numbers[unit] = NO_WAY

    def bus_of(self, unit: int) -> "Bus | None":
        """Returns the bus of a unit, or None where it cannot be reached (exception 0A)."""
        number = self.numbers[unit]
        return None if number == NO_WAY else self.buses[number]

    def address_of(self, unit: int) -> int:
        """Returns the address of a unit on its bus."""
        return self.addresses[unit] if self.addresses else unit

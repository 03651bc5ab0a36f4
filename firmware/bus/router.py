"""Maps the unit ids of clients to buses and to addresses on them."""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from firmware.bus.bus import Bus
    from firmware.meters.meter import Meter

_UNITS = const(255)  # 255 is the gateway itself
_RESERVED = const(248)  # Serial Line V1.02, 2.2: 0 is the broadcast, from 248 on only where a route says so
_CLOSED = const(255)


class Router:
    """`buses` is a list of Bus. Each unit is at its own address: on the bus of the configured meter with that address
    (of the first, where both buses have one), else on the first bus; 248 to 254 are nowhere. `routes` of the
    configuration come last: `count` units from `unit` on stand for the addresses from `address` on (0: the same) of
    `bus`, or for none (`closed`)."""

    def __init__(self, buses: "list[Bus]", meters: "list[Meter]", routes: "list[dict] | tuple[dict, ...]" = ()):
        self.buses = buses
        self._bus = bytearray(_UNITS)
        self._address = bytearray(range(_UNITS)) if routes else None
        for unit in range(_RESERVED, _UNITS):
            self._bus[unit] = _CLOSED
        for meter in reversed(meters):
            self._bus[meter.unit] = meter.bus
        for route in routes:
            for k in range(route["count"]):
                unit = route["unit"] + k
                self._bus[unit] = _CLOSED if route["closed"] else route["bus"]
                self._address[unit] = (route["address"] or route["unit"]) + k

    def bus_of(self, unit: int) -> "Bus | None":
        """Returns the bus of a unit, or None where it cannot be reached (exception 0A)."""
        if not 0 < unit < _UNITS:
            return None
        number = self._bus[unit]
        return self.buses[number] if number < len(self.buses) else None

    def address_of(self, unit: int) -> int:
        """Returns the address of a unit on its bus."""
        return unit if self._address is None else self._address[unit]

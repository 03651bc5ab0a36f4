"""What the routes and meters of a configuration cannot know of each other."""

from firmware.config import rules as config_rules

_ON_BUS_MAX = 32  # unit loads of RS-485


class Cross:
    """Told them one by one. `profile_error(name)`: what is wrong with a profile, or None;
    called once for each name."""

    def __init__(self, buses, profile_error):
        self._buses = buses
        self._profile_error = profile_error
        self._profiles = set()
        self._slots = set()
        self._units = set()
        self._on_bus = [0, 0]

    def route(self, k, route, errors):
        where = "routes[%d]." % k
        last = max(route["unit"], route["address"]) + route["count"] - 1
        if last > 247:
            errors.append(where + "count: %d reaches unit %d, and 247 is the last" % (route["count"], last))
        if not route["closed"] and route["bus"] >= self._buses:
            errors.append(where + "bus: %d is not one of the %d in buses" % (route["bus"], self._buses))

    def meter(self, k, meter, errors):
        where = "meters[%d]." % k
        if meter["slot"] in self._slots:
            errors.append(where + "slot: %d is used by another meter" % meter["slot"])
        unit = meter["bus"], meter["unit"]
        if unit in self._units:
            errors.append(where + "unit: %d is used by another meter of bus %d" % (meter["unit"], meter["bus"]))
        self._on_bus[meter["bus"]] += 1
        if self._on_bus[meter["bus"]] > _ON_BUS_MAX:
            errors.append(where + "bus: %d has %d meters already" % (meter["bus"], _ON_BUS_MAX))
        self._slots.add(meter["slot"])
        self._units.add(unit)
        if meter["bus"] >= self._buses:
            errors.append(where + "bus: %d is not one of the %d in buses" % (meter["bus"], self._buses))
        name = meter["profile"]
        if name not in self._profiles:
            self._profiles.add(name)
            if not all([letter.isalpha() or letter.isdigit() or letter in "-_." for letter in name]):
                errors.append(where + "profile: %s: letters, digits, - _ . only" % config_rules.short(name))
                return
            wrong_with_it = self._profile_error(name)
            if wrong_with_it:
                errors.append(where + "profile: %s" % wrong_with_it)

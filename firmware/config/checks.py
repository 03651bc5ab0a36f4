"""Cross-checks between keys, sections, meters and routes of a configuration, each of which is right by itself
(rules.py): addresses, ports, slots, units, limits of a bus."""

from micropython import const

from firmware.config.rules import has_only, is_ip, shortened
from firmware.config.schema import BUSES_MAX

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator
    from typing import Any

_ON_BUS_MAX = const(32)  # unit loads of RS-485
_FIELDS_OF_REQUEST = ("host", "content-length", "transfer-encoding", "connection", "expect")
_UNIT_LAST = const(254)  # that a route may name: 255 is the gateway
_SLOT_MAX = const(63)
_MINUS = const(0x2D)
_HEX = "0123456789abcdefABCDEF"


def part_errors(name: str, part: "Any") -> "Iterator[str]":
    """Yields what is wrong within the part `name` of a configuration (a section, the list of buses or routes)."""
    if name == "network":
        yield from _network(part)
    elif name == "ntp":
        server = part["server"]
        if not server.strip("0123456789.") and not is_ip(server):
            shown = shortened(server)
            yield 'ntp.server: %s is neither a name nor an IPv4 address such as "192.0.2.1"' % shown
    elif name == "bacnet":
        numbers = part["points"].encode().split(b",") if part["points"] else []  # as bytes: no text is kept for good
        if not all([number.isdigit() and 0 < int(number) < 256 for number in numbers]):
            yield 'bacnet.points: %s is not a list of point numbers such as "32,16,1"' % shortened(part["points"])
    elif name == "modbus":
        if part["rtu_over_tcp"] == part["port"]:
            yield "modbus.rtu_over_tcp: %d is taken by modbus.port" % part["port"]
    elif name == "posting":
        yield from _posting(part)
    elif name == "mqtt":
        if part["tls"]:
            yield from _trust(name, part)
    elif name == "system":
        if part["release_key"] and (len(part["release_key"]) != 64 or part["release_key"].strip(_HEX)):
            yield "system.release_key: 64 hexadecimal digits, as meterport release-key prints them, or an empty text"
    elif name == "buses":
        if len(part) == 2 and part[0]["uart"] == part[1]["uart"]:
            yield "buses[1].uart: %s is used by the other bus" % shortened(part[1]["uart"])
    elif name == "served":
        yield from _served(part)
    elif name == "routes":
        for k, route in enumerate(part):
            last = max(route["unit"], route["address"]) + route["count"] - 1
            if last > _UNIT_LAST:
                values = k, route["count"], last, _UNIT_LAST
                yield "routes[%d].count: %d reaches unit %d, and %d is the last" % values


def _network(network):
    """Names, and where DHCP is off the device's addresses."""
    name = network["hostname"]
    if name.startswith("-") or not has_only(name, b"-"):
        yield "network.hostname: %s: letters, digits and - only" % shortened(name)
    country = network["country"]
    if len(country) == 1 or not has_only(country, b""):
        yield 'network.country: %s is not a code such as "DE", or nothing' % shortened(country)
    if network["dhcp"]:
        return
    for key in ("address", "netmask"):
        if not network[key]:
            yield "network.%s: needed when network.dhcp is off" % key
    if not network["address"] or not network["netmask"]:
        return
    address, mask = _as_number(network["address"]), _as_number(network["netmask"])
    host = 0xFFFFFFFF - mask
    if host & (host + 1) or not 3 <= host < 0xFFFFFF + 1:
        yield 'network.netmask: %s is not a netmask such as "255.255.255.0"' % network["netmask"]
    elif not 0 < address & host < host or not 0x01000000 <= address < 0xE0000000:
        yield "network.address: %s is no address of a device" % network["address"]
    elif network["gateway"] and (_as_number(network["gateway"]) ^ address) & mask:
        yield "network.gateway: %s is not in the network of network.address" % network["gateway"]


def _trust(name, section):
    """Of a section that may use TLS."""
    file = section["ca_file"]
    if not (has_only(file, b"-_.") and file.endswith((".pem", ".der", ".crt", ".cer"))):
        yield (
            "%s.ca_file: the name of a file in data/ such as ca.pem, ca.der, ca.crt: letters, digits, - _ . only" % name
        )
    pin = section["pin_sha256"].replace(":", "")
    if section["trust"] == "pin" and (len(pin) != 64 or pin.strip(_HEX)):
        yield '%s.pin_sha256: 64 hexadecimal digits for trust "pin"' % name


def _posting(posting):
    """Nothing is posted without an address."""
    if not posting["url"]:
        return
    # Here and not at the head: they take heap where nothing is posted, too.
    import http_client
    import template

    try:
        http_client.parse_url(posting["url"])
    except ValueError as error:
        yield "posting.url: %s" % error
    yield from _trust("posting", posting)
    if posting["auth"] == "basic" and ":" in posting["user"]:
        yield 'posting.user: no colon with auth "basic"'
    if posting["auth"] == "field" and not http_client.is_field(posting["user"], posting["password"]):
        yield 'posting.user: the name of a field such as "X-Api-Key" for auth "field"'
    for line in posting["headers"].split("\n"):
        name, _, value = line.partition(":")
        if line and not http_client.is_field(name, value.strip()):
            yield 'posting.headers: a line is not a field such as "X-Site: north"'
        elif name.lower() in _FIELDS_OF_REQUEST:
            yield "posting.headers: %s is not yours to set" % name
    try:
        template.check(posting["template"].encode())
    except ValueError as error:
        yield "posting.template: %s" % error


def _served(served):
    """Each unit once, each from meters, each with a map; the profiles are checked with those of the meters."""
    units = set()
    for k, item in enumerate(served):
        if item["unit"] in units:
            yield "served[%d].unit: %d is served already" % (k, item["unit"])
        units.add(item["unit"])
        try:
            parse_terms(item["meters"])
        except ValueError:
            shown = shortened(item["meters"])
            yield 'served[%d].meters: %s is not a slot such as "0", or a sum of slots such as "0+3-5"' % (k, shown)
        if not item["as"] and not item["sunspec"]:
            yield "served[%d].as: a profile, or sunspec on" % k


def parse_terms(text: str) -> "list[tuple[int, int]]":
    """[(sign, slot)] of a sum of slots such as "0+3-5". Raises ValueError."""
    terms: list[tuple[int, int]] = []
    raw = text.encode()  # bytes, for a letter by itself would become a name for good
    at = 0
    while at < len(raw) or not terms:
        sign = 1
        if terms or raw[at] == _MINUS:
            if raw[at] not in b"+-":
                raise ValueError
            sign = -1 if raw[at] == _MINUS else 1
            at += 1
        begin = at
        while at < len(raw) and 0x30 <= raw[at] <= 0x39:
            at += 1
        slot = int(raw[begin:at])
        if slot > _SLOT_MAX:
            raise ValueError
        terms.append((sign, slot))
    return terms


def served_clashes(served: list, units: set) -> "Iterator[str]":
    """Yields an error for each unit that is served and is also a meter's."""
    for k, item in enumerate(served):
        if item["unit"] in units:
            yield "served[%d].unit: %d is the unit of a meter" % (k, item["unit"])


def _as_number(ip):
    """A dotted quad as an integer."""
    number = 0
    for part in ip.split("."):
        number = number << 8 | int(part)
    return number


def is_port_shared(one: dict, other: dict) -> bool:
    """True when two services, http and modbus in either order, would listen at the same port."""
    return one["enabled"] and other["enabled"] and any([port in _ports(other) for port in _ports(one)])


def _ports(section):
    return [section["port"]] + ([section["rtu_over_tcp"]] if section.get("rtu_over_tcp") else [])


def stray_routes(routes: list, bus_count: int) -> "Iterator[str]":
    """Yields an error for each route to a bus that is not configured."""
    for k, route in enumerate(routes):
        if not route["closed"] and route["bus"] >= bus_count:
            yield "routes[%d].bus: %d is not one of the %d in buses" % (k, route["bus"], bus_count)


class Places:
    """Slots and units that meters have taken, and the number of meters on each bus. `buses`: the list of the
    configuration; None when it is wrong, and then no meter is named for its bus."""

    def __init__(self, buses: "list | None") -> None:
        self._bus_count = BUSES_MAX if buses is None else len(buses)
        self._slaves = [number for number, bus in enumerate(buses or ()) if bus["role"] == "slave"]
        self._slots: set = set()
        self._units: set = set()
        self._on_bus = [0] * BUSES_MAX

    def conflicts(self, meter: dict) -> "list[str]":
        """The errors of that meter beside those that have a place: texts that begin with its key."""
        found = []
        slot, unit, bus = meter["slot"], meter["unit"], meter["bus"]
        if slot in self._slots:
            found.append("slot: %d is used by another meter" % slot)
        if (bus, unit) in self._units:
            found.append("unit: %d is used by another meter of bus %d" % (unit, bus))
        if self._on_bus[bus] >= _ON_BUS_MAX:
            found.append("bus: %d has %d meters already" % (bus, _ON_BUS_MAX))
        if bus >= self._bus_count:
            found.append("bus: %d is not one of the %d in buses" % (bus, self._bus_count))
        if bus in self._slaves:
            found.append("bus: %d is a slave line, on which no meter can be asked" % bus)
        return found

    def take(self, meter: dict) -> None:
        """Gives the meter its place, also one that is taken."""
        self._slots.add(meter["slot"])
        self._units.add((meter["bus"], meter["unit"]))
        self._on_bus[meter["bus"]] += 1

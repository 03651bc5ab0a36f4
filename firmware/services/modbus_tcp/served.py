"""Served meters: units that answer with the register map of one kind of meter and the values of others.

In: a read request (FC 03, 04). Out: registers as a meter of that kind would give them, made at the time of the read
from the points of the source (firmware.meters.source), so a value is never older here than anywhere else. Writes are
refused. docs/reference/served.md says what masters see.
"""

from micropython import const

from firmware.config.checks import parse_terms
from firmware.meters import register_map
from firmware.meters.register_map import RegisterMap
from firmware.meters.source import Source
from modbus import pdu

_TYPING = const(0)
if _TYPING:
    from firmware.events import Events
    from firmware.meters.meters import Meters
    from firmware.meters.profile import Profile
    from firmware.meters.readings import Readings
    from modbus.pdu import Buffer


class ServedUnit:
    """One unit; answer() as unit255.Unit255 has it. `section`: its item of the configuration."""

    def __init__(self, section: dict, maps: "list[RegisterMap]", values: Source) -> None:
        self._section = section
        self._maps = maps
        self._values = values
        self._is_stale_no_value = section["stale"] == "nan"
        self.requests = 0
        self.exceptions = 0

    def status(self) -> dict:
        """An item of GET /api/served."""
        status = dict(self._section)
        status["requests"] = self.requests
        status["exceptions"] = self.exceptions
        return status

    def answer(self, buf: "Buffer", at: int, n: int, out: bytearray, start: int) -> int:
        """Writes the answer to the PDU buf[at:at+n] into out[start:]; returns its length."""
        self.requests += 1
        function = buf[at]
        code = pdu.ILLEGAL_FUNCTION
        count = 0
        if function == 3 or function == 4:
            code = pdu.check_request(buf, at, n)
            if not code:
                count = buf[at + 3] << 8 | buf[at + 4]
                code = self._read(function, buf[at + 1] << 8 | buf[at + 2], count, out, start + 2)
        if code:
            self.exceptions += 1
            out[start] = function | 0x80
            out[start + 1] = code
            return 2
        out[start] = function
        out[start + 1] = 2 * count
        return 2 + 2 * count

    def _read(self, function, first, count, out, at):
        for k in range(at, at + 2 * count):
            out[k] = 0  # registers between two points
        is_known = False
        for registers in self._maps:
            found = registers.put(function, first, count, out, at, self._values, self._is_stale_no_value)
            if found == register_map.EXACT:
                return 0
            if found == register_map.STALE_VALUE:
                return pdu.GATEWAY_TARGET_FAILED
            is_known = is_known or found == register_map.SOME
        return 0 if is_known else pdu.ILLEGAL_DATA_ADDRESS


def make_units(
    sections: "list[dict]", profiles: "dict[str, Profile]", identity: "tuple[str, str]", meters: "Meters",
    readings: "Readings", events: "Events",
) -> "dict[int, ServedUnit]":  # fmt: skip
    """{unit: ServedUnit} of the configuration's list `served`. `profiles`: {name: Profile}, all that it names.
    `identity`: name and serial number of the gateway. A unit that a meter has, or whose meters are not there, is left
    out, and that is logged: meters may be the last good copy's. Raises MemoryError."""
    maps: dict[str, RegisterMap] = {}
    sunspec: list[RegisterMap] = []
    units: dict[int, ServedUnit] = {}
    taken = [meter.unit for meter in meters.meters]
    for section in sections:
        unit = section["unit"]
        terms = [(sign, meters.in_slot(slot)) for sign, slot in parse_terms(section["meters"])]
        if unit in taken or None in [meter for _, meter in terms]:
            why = "a meter has this unit" if unit in taken else "a meter of %s is missing" % section["meters"]
            events.add("served", "unit %d is not served: %s" % (unit, why))
            continue
        kind = section["as"]
        if kind and kind not in maps:
            maps[kind] = register_map.load(kind, profiles[kind])
        if section["sunspec"] and not sunspec:
            sunspec = _sunspec_maps(identity)
        last_s = section["last_s"] if section["stale"] == "last" else 0
        units[unit] = ServedUnit(
            section, ([maps[kind]] if kind else []) + (sunspec if section["sunspec"] else []),
            Source(terms, readings, last_s, kind),
        )  # fmt: skip
    return units


def _sunspec_maps(identity):
    from firmware.services.modbus_tcp import sunspec  # here and not at the head: heap only where it is served

    return [
        RegisterMap(sunspec.floats(), sunspec.fixed(*identity), is_sunspec=True),
        RegisterMap(sunspec.integers(), [], is_sunspec=True),
    ]

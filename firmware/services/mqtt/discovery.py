"""Discovery documents for Home Assistant: one sensor for each point, in one device for each meter (its MQTT
integration, "MQTT Discovery", with the short names of its keys)."""

import json

from micropython import const

from firmware import VERSION
from firmware.meters.profile import UNITS

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

    from firmware.meters.meter import Meter

_ROW = const(33)  # of entities(): the slot of a meter, and a bit for each point number

# Unit: its device class; what has none is a power factor or the like. Home Assistant knows kWh and kvarh of energies.
_CLASSES = {
    "V": "voltage", "A": "current", "W": "power", "var": "reactive_power", "VA": "apparent_power", "Hz": "frequency",
    "Wh": "energy", "varh": "reactive_energy",
}  # fmt: skip
_ENERGIES = ("Wh", "varh", "VAh")


def entity(meter: "Meter", i: int) -> bytes:
    """The part of a topic that names point `i` of a meter: its slot and its number, which stay whatever their names."""
    return b"%d-%d" % (meter.slot, meter.profile.numbers[i])


def entities(meters: "list[Meter]") -> bytes:
    """Which entities these meters have, as it is kept on flash: _ROW bytes for each meter."""
    found = bytearray(_ROW * len(meters))
    for k, meter in enumerate(meters):
        found[_ROW * k] = meter.slot
        for number in meter.profile.numbers:
            found[_ROW * k + 1 + (number >> 3)] |= 1 << (number & 7)
    return bytes(found)


def gone(before: bytes, now: bytes) -> "Iterator[bytes]":
    """Yields the parts of topics, as entity() makes them, of what is in `before` and not in `now`: both of
    entities()."""
    for at in range(0, len(before) - _ROW + 1, _ROW):
        other = 0
        while other < len(now) and now[other] != before[at]:
            other += _ROW
        for number in range(256):
            place = 1 + (number >> 3)
            left = now[other + place] if other < len(now) else 0
            if (before[at + place] & ~left) >> (number & 7) & 1:
                yield b"%d-%d" % (before[at], number)


def _state_class(profile, i, unit):
    """Home Assistant takes a fall of a `total_increasing` for a new count from 0, and adds the whole value again."""
    if i in profile.counters:
        return "total_increasing"
    return "total" if profile.accumulates(i) or unit in _ENERGIES else "measurement"


def document(
    serial: str, root: bytes, topic: bytes, meter: "Meter", i: int, expire_s: int, url: str, is_json: bool = False
) -> bytes:  # fmt: skip
    """The JSON of point `i`. `root`: topic of the gateway; `topic`: of the meter below it; `expire_s`: after so long
    without a value Home Assistant shows none; `url`: of the gateway's page, "" without one; `is_json`: the values of a
    meter come as one object."""
    profile = meter.profile
    name = profile.name_of(i)
    unit = UNITS[profile.units[i]]
    device_id = "meterport_%s_%d" % (serial, meter.slot)
    origin = {"name": "meterport", "sw": "%d.%d.%d" % VERSION}
    if url:
        origin["url"] = url
    found = {
        "name": name.replace("_", " "),
        "uniq_id": "meterport_%s_%d_%d" % (serial, meter.slot, profile.numbers[i]),
        "stat_t": (topic + b"/" + (b"values" if is_json else name.encode())).decode(),
        "stat_cla": _state_class(profile, i, unit),
        "exp_aft": expire_s,
        "avty_mode": "all",
        "avty": [{"t": (root + b"/status").decode()}, {"t": (topic + b"/status").decode()}],
        "dev": {
            "ids": [device_id], "name": meter.name, "mdl": meter.profile_name, "via_device": "meterport_" + serial,
        },
        "o": origin,
    }  # fmt: skip
    if is_json:
        found["val_tpl"] = "{{ value_json.%s }}" % name
    if unit:
        found["unit_of_meas"] = unit
    if unit in _CLASSES:
        found["dev_cla"] = _CLASSES[unit]
    elif name.startswith("power_factor"):
        found["dev_cla"] = "power_factor"
    return json.dumps(found).encode()


def gateway_document(gateway: str, serial: str, root: bytes, url: str) -> bytes:
    """The JSON of the gateway itself, behind which the meters are: whether it is connected."""
    device = {"ids": ["meterport_" + serial], "name": gateway, "mdl": "meterport", "sw": "%d.%d.%d" % VERSION}
    if url:
        device["cu"] = url
    return json.dumps({
        "name": "connection", "uniq_id": "meterport_%s_status" % serial, "stat_t": (root + b"/status").decode(),
        "pl_on": "online", "pl_off": "offline", "dev_cla": "connectivity", "ent_cat": "diagnostic", "dev": device,
        "o": {"name": "meterport", "sw": "%d.%d.%d" % VERSION},
    }).encode()  # fmt: skip

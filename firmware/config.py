"""Configuration: one JSON file; every key has a type, a default and bounds; and how the device starts without it.

data/config.json is what the user wrote. When it is right the device runs by it and keeps a copy as the last good one
(firmware.store). When it is wrong in any place the device runs by the last good one, or by the defaults, and says what
was wrong: `meters[2].unit: 300 is not 1 to 247`. The file itself is never changed behind the user's back.
"""

import gc
import json
import os

from firmware import profile_load, store, strict_json
from firmware.schema import SCHEMA, SPARSE

PATH = "data/config.json"
LAST_GOOD = "data/config.good"
_ERRORS_MAX = 12
_ON_BUS_MAX = 32  # unit loads of RS-485
_FILE_MAX = 12288
_ENOENT = 2
_NO_FILE = object()


class Loaded:
    """What load() found: `config` is complete and valid, `source` one of "file", "last good", "default", and `errors`
    says what is wrong with the file."""

    def __init__(self, config, source, errors):
        self.config = config
        self.source = source
        self.errors = errors


def load():
    """Reads the configuration, as far as it can be: never raises for what lies in the files."""
    raw, errors = _read()
    if raw is _NO_FILE:
        return Loaded(default(), "default", errors)  # a new device
    if not errors:
        config, errors = validate(raw)
        if not errors:
            _remember(errors)
            return Loaded(config, "file", errors)
    kept = store.load(LAST_GOOD)
    if kept is not None:
        config, kept_errors = validate(json.loads(kept))
        if not kept_errors:
            return Loaded(config, "last good", errors)
    return Loaded(default(), "default", errors)


def _read():
    """(parsed JSON, errors) of the user's file; (_NO_FILE, []) when there is none."""
    try:
        size = os.stat(PATH)[6]
        if size > _FILE_MAX:
            return None, ["%s: %d bytes are more than %d" % (PATH, size, _FILE_MAX)]
        return strict_json.load(PATH), []
    except OSError as error:
        if error.errno == _ENOENT:
            return _NO_FILE, []
        return None, ["%s: cannot be read: %r" % (PATH, error)]
    except (ValueError, RuntimeError, MemoryError) as error:  # the latter two: nested too deep, too much
        return None, ["%s: not JSON: %s" % (PATH, error)]


def _remember(errors):
    """Keeps the file as the user wrote it: the whole configuration would be several times as long."""
    try:
        store.save(LAST_GOOD, store.read(PATH))
    except (OSError, ValueError) as error:
        # The device runs all the same; it only could not fall back to this one later.
        errors.append("%s: not kept as last good: %s" % (PATH, error))


def default():
    """The configuration of a new device: all six services, no meters."""
    config, errors = validate({})
    assert not errors
    return config


def validate(raw):
    """(complete configuration, errors): defaults filled in, every wrong or unknown key named."""
    errors = []
    config = _section(raw, SCHEMA, "", errors)
    if not errors:
        _cross_check(config, errors)
    return config, errors[:_ERRORS_MAX]


def _section(raw, schema, path, errors):
    config = {}
    if not isinstance(raw, dict):
        errors.append("%s: must be an object" % (path or "configuration"))
        raw = {}
    for key in raw:
        if key not in schema:
            errors.append("%s: unknown key; known are %s" % (_join(path, key), ", ".join(sorted(schema))))
    for key, spec in schema.items():
        where = _join(path, key)
        if isinstance(spec, dict):
            config[key] = _section(raw.get(key, {}), spec, where, errors)
        elif isinstance(spec, list):
            config[key] = _list(raw.get(key, []), spec[0], spec[1], where, errors)
        elif key in raw:
            wanted = _wrong(raw[key], spec)
            if wanted:
                errors.append("%s: %s is not %s" % (where, _short(raw[key]), wanted))
            config[key] = raw[key]
        elif key not in SPARSE:
            if spec[1] is None and spec[0] != "pin":
                errors.append("%s: missing" % where)
            config[key] = spec[1]
    return config


def _list(raw, schema, most, where, errors):
    if not isinstance(raw, list) or len(raw) > most:
        errors.append("%s: must be a list of at most %d" % (where, most))
        return []
    items = []
    for k, item in enumerate(raw):
        items.append(_section(item, schema, "%s[%d]" % (where, k), errors))
        gc.collect()  # or each stands alone amid a kilobyte of garbage, and no large piece of heap is left
    return items


def _join(path, key):
    return "%s.%s" % (path, key) if path else str(key)


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _wrong(value, spec):
    """What would be right, when `value` is not; else None."""
    kind = spec[0]
    number = isinstance(value, int) and not isinstance(value, bool)
    if kind == "bool":
        return None if isinstance(value, bool) else "true or false"
    if kind == "int":
        return None if number and spec[2] <= value <= spec[3] else "%d to %d" % (spec[2], spec[3])
    if kind == "text":
        if isinstance(value, str) and spec[2] <= len(value) <= spec[3] and _printable(value):
            return None
        return "a text of %d to %d printable characters" % (spec[2], spec[3])
    if kind == "choice":
        good = isinstance(value, type(spec[2][0])) and value in spec[2]
        return None if good else "one of %s" % ", ".join([str(choice) for choice in spec[2]])
    if kind == "pin":
        return None if value is None or (number and 0 <= value <= 48) else "a GPIO number (0 to 48) or null"
    if kind == "ip":
        good = _is_ip(value) or (value == spec[1] and isinstance(value, str))
        return None if good else 'an IPv4 address such as "192.0.2.1"'
    if kind == "ips":
        good = isinstance(value, list) and len(value) <= spec[2] and all([_is_ip(one) for one in value])
        return None if good else 'a list of at most %d IPv4 addresses such as "192.0.2.1"' % spec[2]
    good = (number and 0 <= value <= 2) or (isinstance(value, str) and 0 < len(value) <= 80)
    return None if good else "a UART number (0 to 2) or the path of a serial device"


def _printable(text):
    return all([" " <= letter != "\x7f" for letter in text])


def _is_ip(text):
    if not isinstance(text, str):
        return False
    parts = text.split(".")
    digits = all([letter in "0123456789" for letter in "".join(parts)])
    return digits and len(parts) == 4 and all([0 < len(part) < 4 and int(part) < 256 for part in parts])


def _cross_check(config, errors):
    """What one key cannot know of another."""
    http = config["http"]
    modbus = config["modbus"]
    if http["enabled"] and modbus["enabled"] and http["port"] == modbus["port"]:
        errors.append("modbus.port: %d is taken by http.port" % modbus["port"])
    _check_network(config["network"], errors)
    buses = config["buses"]
    if len(buses) == 2 and buses[0]["uart"] == buses[1]["uart"]:
        errors.append("buses[1].uart: %s is used by the other bus" % _short(buses[1]["uart"]))
    for k, route in enumerate(config["routes"]):
        where = "routes[%d]." % k
        last = max(route["unit"], route["address"]) + route["count"] - 1
        if last > 247:
            errors.append(where + "count: %d reaches unit %d, and 247 is the last" % (route["count"], last))
        if not route["closed"] and route["bus"] >= len(buses):
            errors.append(where + "bus: %d is not one of the %d in buses" % (route["bus"], len(buses)))
    server = config["ntp"]["server"]
    if not server.strip("0123456789.") and not _is_ip(server):
        errors.append('ntp.server: %s is neither a name nor an IPv4 address such as "192.0.2.1"' % _short(server))
    profiles = set()
    slots = set()
    units = set()
    on_bus = [0, 0]
    for k, meter in enumerate(config["meters"]):
        where = "meters[%d]." % k
        if meter["slot"] in slots:
            errors.append(where + "slot: %d is used by another meter" % meter["slot"])
        unit = meter["bus"], meter["unit"]
        if unit in units:
            errors.append(where + "unit: %d is used by another meter of bus %d" % (meter["unit"], meter["bus"]))
        on_bus[meter["bus"]] += 1
        if on_bus[meter["bus"]] > _ON_BUS_MAX:
            errors.append(where + "bus: %d has %d meters already" % (meter["bus"], _ON_BUS_MAX))
        slots.add(meter["slot"])
        units.add(unit)
        if meter["bus"] >= len(config["buses"]):
            errors.append(where + "bus: %d is not one of the %d in buses" % (meter["bus"], len(config["buses"])))
        name = meter["profile"]
        if name not in profiles:
            profiles.add(name)
            if not all([letter.isalpha() or letter.isdigit() or letter in "-_." for letter in name]):
                errors.append(where + "profile: %s: letters, digits, - _ . only" % _short(name))
                continue
            try:
                profile_load.load(name)
            except profile_load.ProfileError as error:
                errors.append(where + "profile: %s" % error)


def _check_network(network, errors):
    """Addresses of the device's own, where it does not ask for them."""
    name = network["hostname"]
    if name.startswith("-") or not all([one in "-0123456789" or "a" <= one.lower() <= "z" for one in name]):
        errors.append("network.hostname: %s: letters, digits and - only" % _short(name))
    if network["dhcp"]:
        return
    for key in ("address", "netmask"):
        if not network[key]:
            errors.append("network.%s: needed when network.dhcp is off" % key)
    if not network["address"] or not network["netmask"]:
        return
    address, mask = _number(network["address"]), _number(network["netmask"])
    host = 0xFFFFFFFF - mask
    if host & (host + 1) or not 3 <= host < 0xFFFFFF + 1:
        errors.append('network.netmask: %s is not a netmask such as "255.255.255.0"' % network["netmask"])
    elif not 0 < address & host < host or not 0x01000000 <= address < 0xE0000000:
        errors.append("network.address: %s is no address of a device" % network["address"])
    elif network["gateway"] and (_number(network["gateway"]) ^ address) & mask:
        errors.append("network.gateway: %s is not in the network of network.address" % network["gateway"])


def _number(ip):
    number = 0
    for part in ip.split("."):
        number = number << 8 | int(part)
    return number

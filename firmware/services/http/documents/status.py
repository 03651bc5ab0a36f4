"""GET /api/status: state and counters of the whole device."""

from micropython import const

from firmware import VERSION
from firmware.bus import BusStats
from firmware.meters.meter import STATES
from firmware.services.http.response import write_items, write_json

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

    from firmware.bus import Bus
    from firmware.services.http.service import HttpService
    from http1 import Request


def write_status(service: "HttpService", request: "Request") -> "Iterator[None]":
    """Writes the device, its services, buses, meters and log."""
    out = service.out
    store = service.config_store
    device = service.device
    out.write(b'{"name":')
    write_json(out, store.name)
    out.write(b',"version":"%d.%d.%d"' % VERSION)
    out.write(b',"board":"%s"' % device.board.name.encode())
    out.write(b',"uptime_s":%d,"time_unix_s":' % service.clock.uptime_s())
    write_json(out, service.clock.unix_s() or None)
    yield
    out.write(b',"config":{"source":"%s","errors":' % store.source.encode())
    yield from write_items(out, store.errors)  # one by one: all of them may be some kilobytes
    out.write(b'},"reboot_due":')
    write_json(out, store.reboot_due())
    free, used = device.board.heap()
    out.write(b',"heap":{"free":%d,"used":%d},"task_restarts":%d' % (free, used, device.restarts))
    yield
    out.write(b',"services":')
    yield from write_items(out, (
        {"name": entry.name, "state": entry.state, "slots": 1, "port": entry.port} for entry in device.services
    ))  # fmt: skip
    out.write(b',"network":')
    address, netmask, gateway, dns, mac, rssi = service.link.details()
    write_json(out, {
        "link": store.config["network"]["link"],
        "address": address, "netmask": netmask, "gateway": gateway, "dns": dns, "mac": mac,
        "hostname": store.hostname,
        "ssid": service.link.ssid,
        "rssi": rssi,
    })  # fmt: skip
    yield
    out.write(b',"buses":')
    yield from write_items(out, (_bus(bus) for bus in service.buses))
    out.write(b',"meters":')
    yield from write_items(out, ({
        "slot": meter.slot, "name": meter.name, "unit": meter.unit, "bus": meter.bus,
        "profile": meter.profile_name,
        "state": STATES[meter.state],
        "requests": meter.requests, "timeouts": meter.timeouts, "errors": meter.errors,
        "exceptions": meter.exceptions,
    } for meter in service.meters.meters))  # fmt: skip
    for entry in device.services:
        out.write(b',"%s":' % entry.name.encode())
        write_json(out, None if entry.service is None else entry.service.status())
        yield
    out.write(b',"events":')
    # A copy: an event may come between two pieces.
    yield from write_items(out, (
        {"uptime_s": line[0], "source": line[1], "text": line[2], "times": line[3]}
        for line in list(service.events.lines())
    ))  # fmt: skip
    out.write(b"}")
    yield


def write_crash(service: "HttpService", request: "Request") -> "Iterator[None]":
    """GET /api/crash: the record of the last crash, null without one."""
    from firmware import crash

    service.out.write(crash.last() or b"null")
    yield


def write_served(service: "HttpService", request: "Request") -> "Iterator[None]":
    """GET /api/served: a row for each served meter."""
    modbus = service.device.running("modbus")
    served = modbus.served if modbus is not None and modbus.served else {}
    yield from write_items(service.out, [unit.status() for unit in served.values()])


def write_posting(service: "HttpService", request: "Request") -> "Iterator[None]":
    """GET /api/posting: what the service says of itself, null when it does not run."""
    posting = service.device.running("posting")
    write_json(service.out, None if posting is None else posting.details())
    yield


def _bus(bus: "Bus") -> dict:
    error = bus.line_error
    config = bus.config
    item = {
        "number": bus.number,
        "uart": config["uart"], "baud": config["baud"], "framing": config["framing"],
        "role": config["role"],
        "open": bus.wire is not None,
        "error": None if error is None else repr(error),
        "waiting": bus.waiting(),
    }  # fmt: skip
    for name in BusStats.NAMES:
        item[name] = getattr(bus.counters, name)
    return item

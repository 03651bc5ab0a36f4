"""An application without tasks or sockets for test_reference.py: every number in it is different."""

import struct
from types import SimpleNamespace

from firmware import VERSION
from firmware.bus import Bus
from firmware.config import load as config
from firmware.events import Events
from firmware.history.recent import Recent
from firmware.meters import meter as points
from firmware.meters import profile_loader as profile_load
from firmware.meters.block import REFUSED
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net.budget import REASONS, Budget
from firmware.services.http.service import HttpService
from firmware.services.modbus_tcp.unit255 import Unit255
from host_tests.unit import the_schema as schema
from host_tests.unit.fake_gateway import FakeBuses, FakeClock, FakeConfigStore, FakeDevice, FakeLink
from host_tests.unit.fakes import SIX, defaults, store

_UPTIME_S = 100_000
_UNIX_S = 1_800_000_123
_BUS = defaults(schema.BUS, uart="bus0")


class _Wire:
    """An open line."""


def _recorder(meter):
    """A recorder as GET /api/history shows it."""
    segments = SimpleNamespace(removed=1, damaged=2, bytes=3, limit_bytes=4)
    return SimpleNamespace(
        series=[(meter, 0)], interval_s=300, kept_s=5, window_s=6, bytes_a_day=11, taken=7, pending=8, lost=9,
        stall_ms=10, error="OSError(28,)", segments=segments,
    )  # fmt: skip


def _distinct(thing, names, start):
    """Gives each attribute a number of its own, above 16 bits so that the high word counts too."""
    for k, name in enumerate(names):
        setattr(thing, name, 0x10000 * (k + 1) + start + k)
    return {name: getattr(thing, name) for name in names}


def _meter():
    given = defaults(schema.METER, slot=5, name="main", unit=17, profile="eastron-sdm630")
    meter = points.Meter(given, profile_load.load("eastron-sdm630"))
    meter.state = points.ONLINE
    for k, block in enumerate(meter.blocks):
        values = [100 * k + 4 * i + 0.5 for i in range(block.count // 2)]
        store(block, struct.pack(f">{len(values)}f", *values), _UPTIME_S - 3)
    meter.blocks[-1].fresh_until_ms = REFUSED
    return meter


def make():
    """Call inside a running loop."""
    meter = _meter()
    table = Meters([meter])
    events = Events(lambda: _UPTIME_S, console=lambda line: None)
    events.add("test", "one line")
    budget = Budget(16, 16, 16, SIX, {"http": 4}, lambda: _UPTIME_S, events)
    budget.service_slot("http").open = True
    budget.release(budget.open("modbus", ("192.168.7.8", 40122)))
    slot = budget.open("modbus", ("192.168.7.9", 40123))
    slot.busy = True
    slot.opened_s = _UPTIME_S - 70_000
    numbers = {"requests": 70_001, "received": 80_002, "sent": 90_003}
    for name, value in numbers.items():
        setattr(slot, name, value)

    bus = Bus(0, _BUS, None, [meter], events, lambda: _UPTIME_S)
    bus.wire = _Wire()
    bus._queue = [None] * 3
    clock = FakeClock(lambda: _UPTIME_S)
    clock.unix = _UNIX_S
    config_store = FakeConfigStore("contract", ["a: 1 is not 2", "b: missing"], ["bacnet"])
    device = FakeDevice()
    for entry in device.services:
        entry.state, entry.port = "running", 80
    readings = Readings(lambda: _UPTIME_S)
    gateway = Unit255(device, config_store, clock, budget, table, readings, [bus])
    counters = gateway.counters
    requests = _distinct(counters, counters.NAMES, 200)
    on_bus = _distinct(bus.counters, bus.counters.NAMES, 300)
    sockets = _distinct(budget, ("accepted", "postponed", "failed_accepts"), 400)
    budget.evictions = [0x10000 * (k + 1) + 500 + k for k in range(len(REASONS))]
    budget.high_water = 9
    budget.refused_services = ["posting", "ntp"]

    device.board.larger = "another build"
    device.run("modbus", **counters.status())
    device.run(
        "bacnet", requests=1, errors=2, rejects=3, aborts=4, malformed=5, limited=6, instance=7, objects=8,
        conflict=None, subscriptions=9, notifications=10, unacknowledged=11, bbmd=None,
    )  # fmt: skip
    device.run("ntp", age_s=9, server="ntp", stratum=2, offset_ms=-5, round_trip_ms=8, failures=1, error="no answer")
    device.run("finder", answered=11, refused=12, conflict=None, host=None)
    posting = {
        "state": "waiting", "error": "refused", "next_s": 10, "waiting": 11, "delivered": 12, "set_aside": 13,
        "lost": 14, "undated": 15, "posts": 16, "failures": 17,
    }  # fmt: skip
    device.run("posting", **posting)
    device.run("shelly", answered=21, refused=22, not_fresh=23)
    history = {"refused": True, "waiting": 27, "delivered": 28, "lost": 29, "undated": 30, "tls_stall_ms": 31}
    device.run("mqtt", state="connected", error=None, connections=24, published=25, **history)
    last = {"unix_s": 20, "status": 400, "answer": "no"}
    details = posting | {
        "host": "h", "format": "json", "interval_s": 300, "offset_s": 18, "is_kept": True, "batch_max": 19,
        "tls_stall_ms": 21, "ca_bytes": 22, "last": last, "refused": [last],
    }  # fmt: skip
    device.running("posting").details = lambda: details
    device.services[2].state = device.services[4].state = "no_memory"
    link = FakeLink()
    buses = FakeBuses(bus)
    buses.scan = SimpleNamespace(running=True, done=3, total=9, error=None, found=[(3, 9600, "8N1", ["pzem-004t-v3"])])
    meter.answer_times.add(9)
    bus.counters.answer_times.add(9)
    app = SimpleNamespace(readings=readings, meter=meter, gateway=gateway)
    app.http = HttpService(
        config.default()["http"], budget, events, clock, link, device, config_store, table, readings, buses,
        SimpleNamespace(recent=Recent(8, [meter], readings), records=_recorder(meter), daily=None),
    )  # fmt: skip
    device.entry("http").service = app.http
    app.expected = {
        "Holding registers (FC 03), identity and health": {
            "magic": 0x4D50,
            "map_version": 1,
            "version": VERSION[0] << 8 | VERSION[1],
            "patch": VERSION[2],
            "uptime_s": _UPTIME_S,
            "time_unix_s": _UNIX_S,
            "reboot_due": 1,
            "config_errors": 2,
            "meters": 1,
            "points": len(meter.profile),
            "meters_online": 1,
            "without_memory": 0b10100,
        },
        "Holding registers (FC 03), sockets and requests": {
            "limit": 16,
            "services": 6,
            "general": 10,
            "connections": 1,
            "high_water": 9,
            "refused_services": 2,
            **sockets,
            **{f"evictions_{name}": budget.evictions[k] for k, name in enumerate(REASONS)},
            **requests,
        },
        "Holding registers (FC 03), the ledger": {
            "kind": 1,
            "flags": 1,
            "peer_ip": 0,
            "peer_port": 0,
            "idle_s": 0xFFFF,
            "age_s": _UPTIME_S,
            "requests": 0,
            "received": 0,
            "sent": 0,
        },  # fmt: skip
        "Holding registers (FC 03), the buses": {"open": 1, "waiting": 3, **on_bus},
    }
    app.connection_row = {
        "kind": 0x102, "flags": 3, "peer_ip": 192 << 24 | 168 << 16 | 7 << 8 | 9, "peer_port": 40123, "idle_s": 0,
        "age_s": 70_000, **numbers,
    }  # fmt: skip
    return app

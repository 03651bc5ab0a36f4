"""GET /metrics: readings and the state of the device for Prometheus (text format 0.0.4), in base units.

All samples of a metric stand together, so the meters are gone through once for each metric. A reading that is not fresh
is left out: Prometheus marks a series that ends as stale, and would take an old value for a new one. A counter that is
held has the value from before.
"""

from micropython import const

from firmware import VERSION
from firmware.bus import BusStats
from firmware.meters.decimal_text import decimal_text
from firmware.meters.meter import ONLINE
from firmware.meters.profile import UNITS
from firmware.meters.readings import QUALITIES
from firmware.net.budget import REASONS
from firmware.services.http.response import Response

_TYPING = const(0)
if _TYPING:
    from firmware.services.http.service import HttpService
    from http1 import Request

_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HOUR_S = const(3600)
_SHOWN = (QUALITIES.index("good"), QUALITIES.index("held"))
# Unit, and whether points only rise: the metric, what it is, and the factor to its base unit.
_READINGS = (
    ("V", False, "voltage_volts", "Voltage.", 1),
    ("A", False, "current_amperes", "Current.", 1),
    ("W", False, "power_watts", "Active power.", 1),
    ("var", False, "reactive_power_var", "Reactive power.", 1),
    ("VA", False, "apparent_power_voltamperes", "Apparent power.", 1),
    ("Hz", False, "frequency_hertz", "Frequency.", 1),
    ("", False, "reading", "Power factors and other readings without a unit.", 1),
    ("Wh", True, "energy_joules_total", "Active energy.", _HOUR_S),
    ("Wh", False, "energy_net_joules", "Active energy that may fall.", _HOUR_S),
    ("varh", True, "reactive_energy_var_seconds_total", "Reactive energy.", _HOUR_S),
    ("varh", False, "reactive_energy_net_var_seconds", "Reactive energy that may fall.", _HOUR_S),
    ("VAh", True, "apparent_energy_voltampere_seconds_total", "Apparent energy.", _HOUR_S),
    ("VAh", False, "apparent_energy_net_voltampere_seconds", "Apparent energy that may fall.", _HOUR_S),
)


def get_metrics(service: "HttpService", request: "Request") -> Response:
    """Streams the metrics."""
    return Response(_write(service), 200, _TYPE)


def _write(service):
    out = service.out
    device = service.device
    free, used = device.board.heap()
    out.write(_head("info", "gauge", "The device."))
    labels = _quoted(service.config_store.name), b"%d.%d.%d" % VERSION, _quoted(device.board.name)
    out.write(b'meterport_info{name="%s",version="%s",board="%s"} 1\n' % labels)
    yield
    for name, kind, text, value in (
        ("uptime_seconds", "gauge", "Since the device has started.", service.clock.uptime_s()),
        ("heap_used_bytes", "gauge", "Heap of MicroPython in use.", used),
        ("heap_free_bytes", "gauge", "Heap of MicroPython that is free.", free),
        ("task_restarts_total", "counter", "Tasks that ended and were started again.", device.restarts),
    ):
        yield from _write_one(out, name, kind, text, value)
    yield from _write_sockets(out, service.budget)
    yield from _write_buses(out, service.buses)
    yield from _write_meters(out, service.meters.meters)
    for unit, rises, name, text, factor in _READINGS:
        yield from _write_readings(service, UNITS.index(unit), rises, name, text, factor)
    records = service.history.records
    if records is not None:
        yield from _write_one(out, "history_pending", "gauge", "Records that wait for flash.", records.pending)
        yield from _write_one(out, "history_lost_total", "counter", "Records that were not written.", records.lost)
    posting = device.running("posting")
    if posting is not None:
        status = posting.status()
        yield from _write_delivery(out, "posting", status, posting.records)
        yield from _write_one(out, "posting_failures_total", "counter", "Posts that failed.", status["failures"])
    broker = device.running("mqtt")
    if broker is not None and broker.history is not None:
        yield from _write_delivery(out, "mqtt_history", broker.status(), broker.history.records)


def _write_delivery(out, name, status, records):
    """Writes what posting and MQTT have in common: how far they are with the records. Those that were lost since boot:
    what is kept of all time falls at a power cut, and Prometheus would take the rest for a new count."""
    waiting = status["waiting"]
    for what, kind, text, value in (
        ("waiting", "gauge", "Records to be delivered.", waiting),
        ("lag_seconds", "gauge", "Time that the records to be delivered cover.", waiting * records.interval_s),
        ("delivered_total", "counter", "Records delivered.", status["delivered"]),
        ("lost_total", "counter", "Records removed before they were delivered.", records.lost - records.lost_before),
    ):
        yield from _write_one(out, name + "_" + what, kind, text, value)


def _write_sockets(out, budget):
    for name, text, value in (
        ("limit", "Sockets in all.", budget.limit), ("in_use", "Sockets in use.", budget.in_use()),
        ("high_water", "Most sockets in use so far.", budget.high_water),
    ):  # fmt: skip
        yield from _write_one(out, "sockets_" + name, "gauge", text, value)
    yield from _write_one(out, "connections_accepted_total", "counter", "Connections accepted.", budget.accepted)
    out.write(_head("connections_closed_total", "counter", "Connections closed before their time."))
    for k, reason in enumerate(REASONS):
        out.write(b'meterport_connections_closed_total{reason="%s"} %d\n' % (reason.encode(), budget.evictions[k]))
        yield


def _write_buses(out, buses):
    for name in BusStats.NAMES:
        is_time = name == "busy_ms"
        metric = "bus_busy_seconds_total" if is_time else "bus_%s_total" % name
        out.write(
            _head(metric, "counter", "Of the serial line: %s." % ("in use" if is_time else name.replace("_", " ")))
        )
        for bus in buses:
            value = getattr(bus.counters, name)
            text = b"%d.%03d" % (value // 1000, value % 1000) if is_time else b"%d" % value
            out.write(b'meterport_%s{bus="%d"} %s\n' % (metric.encode(), bus.number, text))
        yield


def _write_meters(out, meters):
    if not meters:
        return
    out.write(_head("meter_up", "gauge", "Whether the meter answers."))
    yield
    for meter in meters:
        labels = _labels(meter) + b',unit="%d",profile="%s"' % (meter.unit, _quoted(meter.profile_name))
        out.write(b"meterport_meter_up{%s} %d\n" % (labels, meter.state == ONLINE))
        yield
    for name in ("requests", "timeouts", "errors"):
        out.write(_head("meter_%s_total" % name, "counter", "Of polls of the meter: %s." % name))
        for meter in meters:
            out.write(b"meterport_meter_%s_total{%s} %d\n" % (name.encode(), _labels(meter), getattr(meter, name)))
            yield


def _write_readings(service, unit, rises, name, text, factor):
    """Writes the metric of all points of one unit: of those that only rise, or of the others."""
    out = service.out
    head = _head(name, "counter" if rises else "gauge", text)
    for meter in service.meters.meters:
        profile = meter.profile
        labels = b""
        for i in range(len(profile)):
            if profile.units[i] != unit or (i in profile.counters) != rises:
                continue
            value, _, quality = service.readings.read(meter, i)
            if quality not in _SHOWN:
                continue
            labels = labels or _labels(meter)
            out.write(head)
            head = b""
            point = profile.name_of(i).encode()
            out.write(b'meterport_%s{%s,point="%s"} ' % (name.encode(), labels, point))
            if isinstance(value, int):
                out.write(b"%d\n" % (value * factor))
            else:
                decimal = profile.decimal(i, meter.blocks[meter.block_of[i]].raw, meter.ratios)
                out.write(b"%s\n" % decimal_text(decimal))
            yield


def _write_one(out, name, kind, text, value):
    out.write(_head(name, kind, text))
    out.write(b"meterport_%s %d\n" % (name.encode(), value))
    yield


def _head(name: str, kind: str, text: str) -> bytes:
    """HELP and TYPE of a metric."""
    key = name.encode()
    return b"# HELP meterport_%s %s\n# TYPE meterport_%s %s\n" % (key, text.encode(), key, kind.encode())


def _labels(meter):
    return b'meter="%s",slot="%d"' % (_quoted(meter.name), meter.slot)


def _quoted(text: str) -> bytes:
    """A label's value: backslash, quotation mark and line feed are escaped."""
    return text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")

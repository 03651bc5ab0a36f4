"""GET /api/status. Every field is in docs/contracts.md."""

import gc
import json

from firmware import VERSION
from firmware.meters.meter import STATES
from firmware.net.budget import SERVICES


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    return _status(app), ()


def _status(app):
    """Health of the whole device."""
    unix_s = app.unix_s()
    yield '{"name":%s,"version":"%d.%d.%d","board":"%s","uptime_s":%d,"time_unix_s":%s,' % (
        (json.dumps(app.name()),) + VERSION + (app.board.name, app.uptime_s(), _number(unix_s or None))
    )
    yield '"config":{"source":"%s","errors":%s},"reboot_due":%s,' % (
        app.config_source, json.dumps(app.config_errors()), json.dumps(list(app.reboot_due())),
    )  # fmt: skip
    yield '"heap":{"free":%d,"used":%d},"task_restarts":%d,"services":[' % (
        gc.mem_free() if hasattr(gc, "mem_free") else 0,
        gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0,
        app.restarts,
    )
    for k, name in enumerate(SERVICES):
        yield '%s{"name":"%s","state":"%s","slots":1,"port":%s}' % (
            "," if k else "", name, app.service_state(name), _number(app.config[name].get("port")),
        )  # fmt: skip
    yield from _rest(app)


def _rest(app):
    yield '],%s,"buses":[' % _network(app)
    for k, bus in enumerate(app.buses):
        yield ("," if k else "") + _bus(bus)
    yield '],"meters":['
    for k, meter in enumerate(app.points.meters):
        yield (
            '%s{"slot":%d,"name":%s,"unit":%d,"bus":%d,"profile":%s,"state":"%s","requests":%d,"timeouts":%d,'
            '"errors":%d,"exceptions":%d}'
        ) % (
            "," if k else "", meter.slot, json.dumps(meter.name), meter.unit, meter.bus, json.dumps(meter.profile_name),
            STATES[meter.state], meter.requests, meter.timeouts, meter.errors, meter.exceptions,
        )  # fmt: skip
    yield '],"modbus":%s,"ntp":%s,"events":[' % (_modbus(app), _ntp(app))
    # A copy: an event may come between two pieces.
    for k, line in enumerate(list(app.events.lines())):
        yield '%s{"uptime_s":%d,"source":%s,"text":%s,"times":%d}' % (
            "," if k else "", line[0], json.dumps(line[1]), json.dumps(line[2]), line[3],
        )  # fmt: skip
    yield "]}"


def _bus(bus):
    line = bus.line_error
    counters = bus.counters
    return (
        '{"number":%d,"uart":%s,"baud":%d,"framing":"%s","open":%s,"error":%s,"waiting":%d,'
        '"sent":%d,"answered":%d,"timeouts":%d,"retries":%d,"exceptions":%d,"crc":%d,'
        '"foreign":%d,"noise_bytes":%d,"stale_bytes":%d,"busy_ms":%d}'
    ) % (
        bus.number, json.dumps(bus.config["uart"]), bus.config["baud"], bus.config["framing"],
        _bool(bus.wire is not None), "null" if line is None else json.dumps(repr(line)), bus.waiting(),
        counters.sent, counters.answered, counters.timeouts, counters.retries, counters.exceptions, counters.crc,
        counters.foreign, counters.noise_bytes, counters.stale_bytes, counters.busy_ms,
    )  # fmt: skip


def _network(app):
    address, netmask, gateway, dns, mac, rssi = app.link.details()
    named = (("address", address), ("netmask", netmask), ("gateway", gateway), ("dns", dns), ("mac", mac))
    return '"network":{"link":"%s",%s,"hostname":"%s","rssi":%s}' % (
        app.config["network"]["link"], ",".join(['"%s":%s' % (name, json.dumps(text)) for name, text in named]),
        app.hostname(), _number(rssi),
    )  # fmt: skip


def _modbus(app):
    server = app.modbus
    if server is None:
        return "null"
    counters = server.counters
    return '{"requests":%d,"cached":%d,"passed":%d,"exceptions":%d,"discarded":%d,"malformed":%d}' % (
        counters.requests, counters.cached, counters.passed, counters.exceptions, counters.discarded,
        counters.malformed,
    )  # fmt: skip


def _ntp(app):
    client = app.ntp
    if client is None:
        return "null"
    since = client.synchronised_s
    age = None if since is None else app.uptime_s() - since
    error = "null" if client.error is None else json.dumps(client.error)
    return '{"age_s":%s,"stratum":%d,"offset_ms":%d,"round_trip_ms":%d,"failures":%d,"error":%s}' % (
        _number(age), client.stratum, client.offset_ms, client.round_trip_ms, client.failures, error,
    )  # fmt: skip


def _bool(value):
    return "true" if value else "false"


def _number(value):
    return "null" if value is None else str(value)

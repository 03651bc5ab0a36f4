"""What is polled of the JSON API: readings, sockets and health. Every field is in docs/contracts.md.

Each document is a generator of short texts, so that it can be sent piece by piece: a document of all readings is many
times larger than what the heap could spare. Between two pieces others may run; each object is yielded in one piece
and so is consistent in itself.
"""

import gc
import json

from firmware import VERSION
from firmware.net import seam
from firmware.net.budget import REASONS, SERVICES
from firmware.points import STATES
from firmware.readings import QUALITIES


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    return {"/api/status": status, "/api/readings": readings, "/api/sockets": sockets}[request.path](app), ()


def readings(app):
    """Every point of every meter: value, unit, age, quality."""
    yield '{"uptime_s":%d,"meters":[' % app.uptime_s()
    for k, meter in enumerate(app.points.meters):
        yield '%s{"slot":%d,"name":%s,"unit":%d,"profile":%s,"state":"%s","reason":"%s","points":[' % (
            "," if k else "", meter.slot, _text(meter.name), meter.unit, _text(meter.profile_name),
            STATES[meter.state], app.buses[meter.bus].why(meter),
        )  # fmt: skip
        profile = meter.profile
        for i, name in enumerate(profile.names()):
            value = app.readings.value(meter, i)
            yield '%s{"id":%d,"name":%s,"value":%s,"unit":"%s","age_s":%s,"quality":"%s"}' % (
                "," if i else "", meter.point_id(i), _text(name), _number(value), profile.unit(i),
                _number(app.readings.age_s(meter, i)), QUALITIES[app.readings.quality(meter, i, value)],
            )  # fmt: skip
        yield "]}"
    yield "]}"


def sockets(app):
    """The ledger of the 16 slots, and what has become of those who wanted one."""
    budget = app.budget
    yield '{"limit":%d,"services":%d,"general":%d,"in_use":%d,"high_water":%d,"accepted":%d,' % (
        budget.limit, len(budget.services), budget.general, budget.in_use(), budget.high_water, budget.accepted,
    )  # fmt: skip
    evictions = ",".join(['"%s":%d' % (REASONS[i], n) for i, n in enumerate(budget.evictions)])
    yield '"postponed":%d,"failed_accepts":%d,"evictions":{%s},"advice":%s,"slots":[' % (
        budget.postponed, budget.failed_accepts, evictions, json.dumps(app.advice()),
    )  # fmt: skip
    now = app.uptime_s()
    for k, slot in enumerate(list(budget.ledger())):
        peer = "null" if slot.peer is None else '"%s:%d"' % seam.peer(slot.peer)
        idle_s = slot.idle_ms() // 1000 if slot.role == "connection" else None
        yield (
            '%s{"kind":"%s","role":"%s","open":%s,"busy":%s,"peer":%s,"age_s":%d,"idle_s":%s,'
            '"requests":%d,"received":%d,"sent":%d}'
        ) % (
            "," if k else "", slot.kind, slot.role, _bool(slot.open), _bool(slot.busy), peer,
            now - slot.opened_s, _number(idle_s), slot.requests, slot.received, slot.sent,
        )  # fmt: skip
    yield "]}"


def status(app):
    """Health of the whole device."""
    unix_s = app.unix_s()
    yield '{"name":%s,"version":"%d.%d.%d","board":"%s","uptime_s":%d,"time_unix_s":%s,' % (
        (_text(app.name()),) + VERSION + (app.board.name, app.uptime_s(), _number(unix_s or None))
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
    yield '],%s,"buses":[' % _network(app)
    for k, bus in enumerate(app.buses):
        yield ("," if k else "") + _bus(bus)
    yield '],"meters":['
    for k, meter in enumerate(app.points.meters):
        yield (
            '%s{"slot":%d,"name":%s,"unit":%d,"bus":%d,"profile":%s,"state":"%s","requests":%d,"timeouts":%d,'
            '"errors":%d,"exceptions":%d}'
        ) % (
            "," if k else "", meter.slot, _text(meter.name), meter.unit, meter.bus, _text(meter.profile_name),
            STATES[meter.state], meter.requests, meter.timeouts, meter.errors, meter.exceptions,
        )  # fmt: skip
    yield '],"modbus":%s,"ntp":%s,"events":[' % (_modbus(app), _ntp(app))
    # A copy: an event may come between two pieces.
    for k, line in enumerate(list(app.events.lines())):
        yield '%s{"uptime_s":%d,"source":%s,"text":%s,"times":%d}' % (
            "," if k else "", line[0], _text(line[1]), _text(line[2]), line[3],
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
        _bool(bus.wire is not None), "null" if line is None else _text(repr(line)), bus.waiting(),
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
    error = "null" if client.error is None else _text(client.error)
    return '{"age_s":%s,"stratum":%d,"offset_ms":%d,"round_trip_ms":%d,"failures":%d,"error":%s}' % (
        _number(age), client.stratum, client.offset_ms, client.round_trip_ms, client.failures, error,
    )  # fmt: skip


def _text(text):
    return json.dumps(text)


def _bool(value):
    return "true" if value else "false"


def _number(value):
    """JSON for an int, a float (7 digits, as float32 has) or None; what JSON cannot say becomes null."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    return "%.7g" % value

"""The serial side in the JSON API: GET /api/bus, and the search for meters. Every field is in docs/contracts.md.

The plan of reads, answer times and what went wrong by kind are what somebody
wants who puts a bus into service, and nobody else.
"""

import json

import http1
from firmware.points import STATES

_CODES = 12  # of firmware.bus.tally
_KINDS = ("crc", "unit", "function", "length", "content")  # modbus.rtu.REASONS but the first


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    if request.path == "/api/bus":
        return document(app), ()
    if request.method == "POST":
        start_scan(app, request.query)
    elif request.method == "DELETE" and app.scan is not None:
        app.scan.stop()
    return scan(app), ()


def document(app):
    """Buses with all their counters; meters with state, reason, intervals and plan."""
    yield '{"buses":['
    for k, bus in enumerate(app.buses):
        counters = bus.counters
        kinds = ",".join(['"%s":%d' % (name, counters.kinds[1 + i]) for i, name in enumerate(_KINDS)])
        yield (
            '%s{"number":%d,"load_percent":%d,"waiting":%d,"paused":%s,"sent":%d,"answered":%d,"timeouts":%d,"retries":%d,'
            '"wrong":{%s},"echoes":%d,"noise_bytes":%d,"stale_bytes":%d,%s}'
        ) % (
            "," if k else "", bus.number, bus.load_percent, bus.waiting(), "false" if bus.guest is None else "true",
            counters.sent, counters.answered, counters.timeouts, counters.retries, kinds, counters.echoes,
            counters.noise_bytes, counters.stale_bytes, _tally(counters.tally),
        )  # fmt: skip
    yield '],"meters":['
    first = True
    for bus in app.buses:
        for one in bus.poller.rounds:
            meter = one.meter
            plan = ",".join(["[%d,%d,%d]" % block for block in meter.profile.plan])
            yield (
                '%s{"slot":%d,"name":%s,"unit":%d,"bus":%d,"state":"%s","reason":%s,"interval_ms":%d,"kept_ms":%s,'
                '"missed":%d,"timeout_ms":%d,%s,"plan":[%s]}'
            ) % (
                "" if first else ",", meter.slot, json.dumps(meter.name), meter.unit, meter.bus, STATES[meter.state],
                json.dumps(bus.why(meter)), meter.interval_ms, one.period_ms or "null", one.missed,
                bus.timeout_ms(meter), _tally(meter.tally), plan,
            )  # fmt: skip
            first = False
    yield "]}"


def _tally(tally):
    """Answer times and exceptions by code, as two members of an object."""
    count = tally[_CODES + 3]
    times = "null"
    if count:
        times = '{"min":%d,"mean":%d,"max":%d}' % (tally[_CODES], tally[_CODES + 2] // count, tally[_CODES + 1])
    codes = ",".join(['"%d":%d' % (code, tally[code]) for code in range(_CODES) if tally[code]])
    return '"answer_ms":%s,"exceptions":{%s}' % (times, codes)


def scan(app):
    """The search for meters that runs, or the last one."""
    search = app.scan
    if search is None:
        yield '{"running":false,"done":0,"total":0,"error":null,"found":[]}'
        return
    # Until the line is given back.
    running = search.running or any([bus.guest is search for bus in app.buses])
    yield '{"running":%s,"done":%d,"total":%d,"error":%s,"found":[' % (
        "true" if running else "false", search.done, search.total, json.dumps(search.error)
    )  # fmt: skip
    for k, (unit, baud, framing, profiles) in enumerate(search.found[:]):
        yield '%s{"unit":%d,"baud":%d,"framing":"%s","profiles":%s}' % (
            "," if k else "", unit, baud, framing, json.dumps(profiles)
        )  # fmt: skip
    yield "]}"


def start_scan(app, query):
    """Begins a search: bus=0&baud=9600,19200&framing=8N1,8E1&first=1&last=247&timeout_ms=150, each of them optional.
    Raises ValueError, or OSError when the line is taken."""
    given = {"bus": "0", "baud": "", "framing": "", "first": "1", "last": "247", "timeout_ms": "150"}
    for part in query.split("&"):
        if not part:
            continue
        key, _, value = part.partition("=")
        if key not in given:
            raise ValueError("%s: unknown; known are %s" % (key, ", ".join(sorted(given))))
        given[key] = http1.unquote(value, True)
    numbers = {}
    for key in ("bus", "first", "last", "timeout_ms"):
        if not given[key].isdigit() or len(given[key]) > 5:
            raise ValueError("%s: %s is no number" % (key, given[key]))
        numbers[key] = int(given[key])
    bauds = [int(one) if one.isdigit() and len(one) < 7 else one for one in given["baud"].split(",") if one]
    framings = [one for one in given["framing"].split(",") if one]
    app.start_scan(numbers["bus"], bauds, framings, numbers["first"], numbers["last"], numbers["timeout_ms"])

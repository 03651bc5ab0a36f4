"""The serial side in the JSON API: GET /api/bus. Every field is in docs/contracts.md.

The plan of reads, answer times and what went wrong by kind are what somebody wants who puts a bus into service, and
nobody else.
"""

import json

from firmware.meters.meter import STATES

_KINDS = ("crc", "unit", "function", "length", "content")  # modbus.rtu.REASONS but the first


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    return document(app), ()


def document(app):
    """Buses with all their counters; meters with state, reason, intervals and plan."""
    yield '{"buses":['
    for k, bus in enumerate(app.buses):
        counters = bus.counters
        kinds = ",".join(['"%s":%d' % (name, counters.wrong[1 + i]) for i, name in enumerate(_KINDS)])
        yield (
            '%s{"number":%d,"load_percent":%d,"waiting":%d,"paused":%s,"sent":%d,"answered":%d,"timeouts":%d,"retries":%d,'
            '"wrong":{%s},"echoes":%d,"noise_bytes":%d,"stale_bytes":%d,%s}'
        ) % (
            "," if k else "", bus.number, bus.load_percent, bus.waiting(), "false" if bus.guest is None else "true",
            counters.sent, counters.answered, counters.timeouts, counters.retries, kinds, counters.echoes,
            counters.noise_bytes, counters.stale_bytes, _tally(bus.answer_times_ms(), bus.exceptions()),
        )  # fmt: skip
    yield '],"meters":['
    first = True
    for bus in app.buses:
        for meter in bus.meters:
            plan = ",".join(["[%d,%d,%d]" % block for block in meter.profile.plan])
            yield (
                '%s{"slot":%d,"name":%s,"unit":%d,"bus":%d,"state":"%s","reason":%s,"interval_ms":%d,"kept_ms":%s,'
                '"missed":%d,"timeout_ms":%d,%s,"plan":[%s]}'
            ) % (
                "" if first else ",", meter.slot, json.dumps(meter.name), meter.unit, meter.bus, STATES[meter.state],
                json.dumps(bus.fault_text(meter)), meter.interval_ms, bus.poller.actual_interval_ms(meter) or "null",
                bus.poller.missed(meter),
                bus.timeout_ms(meter), _tally(bus.answer_times_ms(meter), bus.exceptions(meter)), plan,
            )  # fmt: skip
            first = False
    yield "]}"


def _tally(answers, exceptions):
    """Answer times and exceptions by code, as two members of an object."""
    shown = '{"min":%d,"mean":%d,"max":%d}' % answers if answers else "null"
    return '"answer_ms":%s,"exceptions":{%s}' % (shown, ",".join(['"%d":%d' % one for one in exceptions]))

"""GET /api/readings. Every field is in docs/contracts.md.

As all documents a generator of short texts, so that it can be sent piece by piece: all readings are many times larger
than what the heap could spare. Between two pieces others may run; each object is yielded in one piece and so is
consistent in itself.
"""

import json

from firmware.points import STATES
from firmware.readings import QUALITIES


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    return _readings(app), ()


def _readings(app):
    """Every point of every meter: value, unit, age, quality."""
    yield '{"uptime_s":%d,"meters":[' % app.uptime_s()
    for k, meter in enumerate(app.points.meters):
        yield '%s{"slot":%d,"name":%s,"unit":%d,"profile":%s,"state":"%s","reason":"%s","points":[' % (
            "," if k else "", meter.slot, json.dumps(meter.name), meter.unit, json.dumps(meter.profile_name),
            STATES[meter.state], app.buses[meter.bus].why(meter),
        )  # fmt: skip
        profile = meter.profile
        for i, name in enumerate(profile.names()):
            value = app.readings.value(meter, i)
            yield '%s{"id":%d,"name":%s,"value":%s,"unit":"%s","age_s":%s,"quality":"%s"}' % (
                "," if i else "", meter.point_id(i), json.dumps(name), _number(value), profile.unit(i),
                _number(app.readings.age_s(meter, i)), QUALITIES[app.readings.quality(meter, i, value)],
            )  # fmt: skip
        yield "]}"
    yield "]}"


def _number(value):
    """JSON for an int, a float (7 digits, as float32 has) or None; what JSON cannot say becomes null."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return "null"
    return "%.7g" % value

"""GET /api/readings. Every field is in docs/contracts.md.

As all documents a generator, so that it can be sent piece by piece: all readings are many times larger than what the
heap could spare. Between two pieces others may run; each object is one piece and so is consistent in itself. This one
is long and asked for often: it writes to the sink itself, which leaves almost nothing for the collector.
"""

import json

from firmware.points import STATES
from firmware.readings import QUALITIES


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    return _readings(app, connection.desk.sink), ()


def _readings(app, sink):
    """Every point of every meter: value, unit, age, quality."""
    yield '{"uptime_s":%d,"meters":[' % app.uptime_s()
    for k, meter in enumerate(app.points.meters):
        yield '%s{"slot":%d,"name":%s,"unit":%d,"profile":%s,"state":"%s","reason":"%s","points":[' % (
            "," if k else "", meter.slot, json.dumps(meter.name), meter.unit, json.dumps(meter.profile_name),
            STATES[meter.state], app.buses[meter.bus].why(meter),
        )  # fmt: skip
        for i, name in enumerate(meter.profile.names()):
            value, age_s, quality = app.readings.read(meter, i)
            print(',{"id":' if i else '{"id":', meter.point_id(i), ',"name":"', sep="", end="", file=sink)
            sink.write(name)
            sink.write(b'","value":')
            sink.write(_number(value))
            print(
                ',"unit":"', meter.profile.unit(i), '","age_s":', "null" if age_s is None else age_s, ',"quality":"',
                QUALITIES[quality], '"}', sep="", end="", file=sink,
            )  # fmt: skip
            yield
        yield "]}"
    yield "]}"


def _number(value):
    """JSON for an int, a float (7 digits, as float32 has) or None, as bytes; what JSON cannot say becomes null."""
    if isinstance(value, int):
        return b"%d" % value
    if value is None or value - value != 0:  # infinite, after scaling
        return b"null"
    return b"%.7g" % value

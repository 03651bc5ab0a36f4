"""GET /api/readings. Every field is in docs/contracts.md.

As all documents a generator, so that it can be sent piece by piece: all readings are many times larger than what the
heap could spare. Between two pieces others may run; each object is one piece and so is consistent in itself. This one
is long and asked for often: it writes to the sink itself, which leaves almost nothing for the collector.
"""

import json

from firmware.meters.meter import STATES
from firmware.meters.readings import QUALITIES


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    return _readings(app, connection.desk.sink), ()


def _readings(app, sink):
    """Every point of every meter: value, unit, age, quality."""
    yield '{"uptime_s":%d,"meters":[' % app.uptime_s()
    for k, meter in enumerate(app.points.meters):
        yield '%s{"slot":%d,"name":%s,"unit":%d,"profile":%s,"state":"%s","reason":"%s","points":[' % (
            "," if k else "", meter.slot, json.dumps(meter.name), meter.unit, json.dumps(meter.profile_name),
            STATES[meter.state], app.buses[meter.bus].fault_text(meter),
        )  # fmt: skip
        for i, name in enumerate(meter.profile.names()):
            value, age_s, quality = app.readings.read(meter, i)
            # Texts as bytes, which are no names, and of names there must not be many.
            sink.write(b',{"id":' if i else b'{"id":')
            print(meter.point_id(i), end="", file=sink)
            sink.write(b',"name":"')
            sink.write(name)
            sink.write(b'","value":')
            sink.write(_number(value))
            sink.write(b',"unit":"')
            sink.write(meter.profile.unit(i))
            sink.write(b'","age_s":')
            print("null" if age_s is None else age_s, end="", file=sink)
            sink.write(b',"quality":"')
            sink.write(QUALITIES[quality])
            sink.write(b'"}')
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

"""GET /api/readings: value, unit, age and quality of every point of every meter.

Long, and asked for often. So nothing is allocated here but a number's text; texts are bytes, which are no names
(MicroPython looks through all names for each text that it makes); and functions are small, since a frame of more than
11 words is taken from the heap at each call.
"""

from firmware.meters.meter import STATES
from firmware.meters.readings import QUALITIES
from firmware.services.http.json_out import write_json
from firmware.services.http.response import Response

_QUALITY = tuple([b',"quality":"%s"}' % name.encode() for name in QUALITIES])


class ReadingsDocument:
    def __init__(self, out, clock, meters, readings, buses):
        self._out = out
        self._clock = clock
        self._meters = meters
        self._read = readings.read
        self._buses = buses

    def get(self, request):
        return Response(self._write())

    def _write(self):
        out = self._out
        out.write(b'{"uptime_s":%d,"meters":[' % self._clock.uptime_s())
        before = b'{"slot":%d,"name":'
        for meter in self._meters.meters:
            out.write(before % meter.slot)
            before = b',{"slot":%d,"name":'
            self._write_meter(meter)
            i = 0
            for name in meter.profile.names():
                _write_name(out, meter.point_id(i), name, i)
                self._write_reading(out, meter, i)
                i += 1
                yield
            out.write(b"]}")
            yield
        out.write(b"]}")
        yield

    def _write_meter(self, meter):
        out = self._out
        write_json(out, meter.name)
        out.write(b',"unit":%d,"profile":' % meter.unit)
        write_json(out, meter.profile_name)
        out.write(b',"state":"%s","reason":' % STATES[meter.state].encode())
        write_json(out, self._buses[meter.bus].fault_text(meter))
        out.write(b',"points":[')

    def _write_reading(self, out, meter, i):
        value, age_s, quality = self._read(meter, i)
        out.write(_number(value))
        out.write(b',"unit":"')
        out.write(meter.profile.unit(i))
        out.write(b'","age_s":null' if age_s is None else b'","age_s":%d' % age_s)
        out.write(_QUALITY[quality])


def _write_name(out, point_id, name, i):
    out.write(b',{"id":%d,"name":"' % point_id if i else b'{"id":%d,"name":"' % point_id)
    out.write(name)
    out.write(b'","value":')


def _number(value):
    """JSON for an int, a float (7 digits, as float32 has) or None, as bytes; what JSON cannot say becomes null."""
    if isinstance(value, int):
        return b"%d" % value
    if value is None or value - value != 0:  # infinite, after scaling
        return b"null"
    return b"%.7g" % value

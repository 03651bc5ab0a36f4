"""GET /api/readings: value, unit, age and quality of every point of every meter.

Pages ask for it every few seconds, and it is long. So one generator's frame, made once, does all work for a point;
texts are bytes, since MicroPython searches all interned names for each str it makes; and little is allocated.
"""

from micropython import const

from firmware.meters.meter import STATES
from firmware.meters.readings import QUALITIES
from firmware.services.http.response import Response, write_json

_TYPING = const(0)
if _TYPING:
    from firmware.bus import Buses
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock
    from firmware.net.seam import Sink
    from http1 import Request


class ReadingsDocument:
    """All readings as JSON."""

    def __init__(self, out: "Sink", clock: "Clock", meters: "Meters", readings: "Readings", buses: "Buses") -> None:
        self._out = out
        self._clock = clock
        self._meters = meters
        self._readings = readings
        self._buses = buses

    def get(self, request: "Request") -> Response:
        """The document, decoded from the blocks while it is sent."""
        return Response(self._write())

    def _write(self):
        out = self._out
        write = out.write
        read = self._readings.read
        last_age_s = last_quality = -1
        ending = b""
        write(b'{"uptime_s":%d,"meters":[' % self._clock.uptime_s())
        meter_head = b'{"slot":%d,"name":'
        for meter in self._meters.meters:
            write(meter_head % meter.slot)
            meter_head = b',{"slot":%d,"name":'
            self._write_meter(meter)
            point_id = meter.point_id
            unit = meter.profile.unit
            head = '{"id":'
            i = 0
            for name in meter.profile.names():
                value, age_s, quality = read(meter, i)
                if age_s != last_age_s or quality != last_quality:  # most points share them with the one before
                    last_age_s = age_s
                    last_quality = quality
                    ending = _ending(age_s, quality)
                print(head, point_id(i), ',"name":"', sep="", end="", file=out)
                head = ',{"id":'
                write(name)
                write(b'","value":')
                if isinstance(value, float):
                    write(b"%.7g" % value)  # as many digits as float32 has
                else:
                    write(b"null" if value is None else b"%d" % value)
                write(b',"unit":"')
                write(unit(i))
                write(ending)
                i += 1
                if not i & 1:  # two points make a piece
                    yield
            write(b"]}")
            yield
        write(b"]}")
        yield

    def _write_meter(self, meter):
        out = self._out
        write_json(out, meter.name)
        out.write(b',"unit":%d,"profile":' % meter.unit)
        write_json(out, meter.profile_name)
        out.write(b',"state":"%s","reason":' % STATES[meter.state].encode())
        write_json(out, self._buses[meter.bus].fault_text(meter))
        out.write(b',"points":[')


def _ending(age_s, quality):
    if age_s is None:
        return b'","age_s":null,"quality":"%s"}' % QUALITIES[quality].encode()
    return b'","age_s":%d,"quality":"%s"}' % (age_s, QUALITIES[quality].encode())

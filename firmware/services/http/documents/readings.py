"""GET /api/readings: value, unit, age and quality of every point of every meter, or of those that the query names.

Long, and asked for often. So a point is decoded and written without allocating: a byte that is allocated costs some 130
cycles of the collections to come. Values with a fraction are made of integers: formatting a float takes 20,000 to
30,000 cycles on a chip that computes floats in software.
"""

from array import array
from json import dump

from micropython import const

from firmware.meters.meter import STATES
from firmware.meters.profile import DECIMALS_BITS, DECIMALS_MASK, PLAIN, UNITS, plain_decimal
from firmware.meters.readings import QUALITIES, WITHOUT_VALUE
from firmware.services.http.response import FULL, Refused, Response
from firmware.services.http.response_writer import PIECE, ROOM

_TENS = (1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000)
_POINTS = (".", ".0", ".00", ".000", ".0000", ".00000", ".000000", ".0000000", ".00000000", ".000000000")
_NEXT = (  # for each of QUALITIES: what stands between the age of a point and the id of the next one
    ',"quality":"good"},{"id":',
    ',"quality":"stale"},{"id":',
    ',"quality":"failed"},{"id":',
    ',"quality":"never"},{"id":',
    ',"quality":"no_value"},{"id":',
    ',"quality":"held"},{"id":',
)
_MOST_NUMBERS = const(32)
_POINTS_A_PIECE = const(2)  # of at most 128 bytes each: see PIECE of response_writer

try:
    from firmware.meters.points_machine import decode_points  # type: ignore
    from firmware.services.http.documents.readings_machine import write_points  # type: ignore
except ImportError:  # only images for the RP2 have machine code
    decode_points = write_points = None

_TYPING = const(0)
if _TYPING:
    import http1
    from firmware.bus import Buses
    from firmware.meters.meters import Meters
    from firmware.meters.profile import Profile
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock
    from firmware.net.seam import Sink


class ReadingsDocument:
    """Writes to `out`, which all documents share."""

    def __init__(self, out: "Sink", clock: "Clock", meters: "Meters", readings: "Readings", buses: "Buses") -> None:
        self._out = out
        self._clock = clock
        self._meters = meters
        self._readings = readings
        self._buses = buses
        self._text = bytearray(ROOM if write_points else 0)

    def get(self, request: "http1.Request") -> Response:
        """Streams the document (docs/reference/http.md): of one meter, or of some points, where the query names them.
        Raises Refused, ValueError."""
        meters = self._meters.meters
        numbers = None
        for parameter in request.query.split(b"&") if request.query else ():
            key, _, value = parameter.partition(b"=")
            if key == b"meter":
                meters = _of_slot(meters, value)
            elif key == b"points":
                numbers = _numbers(value)
            elif parameter:
                raise ValueError("unknown parameter; known are meter, points")
        return Response(self._write(meters, numbers))

    def _write(self, meters, numbers):
        out = self._out
        text = self._text
        values = bytearray()  # both for write_points(), and as long as the longest of the meters needs
        state = array("i")
        print('{"uptime_s":', self._clock.uptime_s(), ',"meters":[', sep="", end="", file=out)
        before = '{"slot":'
        for meter in meters:
            if out.tell() > ROOM - PIECE:
                yield FULL
            print(before, meter.slot, ',"name":', sep="", end="", file=out)
            before = ',{"slot":'
            dump(meter.name, out)
            print(',"unit":', meter.unit, ',"profile":', sep="", end="", file=out)
            dump(meter.profile_name, out)
            if out.tell() > ROOM - PIECE:
                yield FULL
            print(',"state":"', STATES[meter.state], '","reason":', sep="", end="", file=out)
            dump(self._buses[meter.bus].fault_text(meter), out)
            out.write(b',"points":[')
            profile = meter.profile
            order = bytes(range(len(profile))) if numbers is None else _indices(profile, numbers)
            if order:
                # What stands before a name is written with the point before: a print() takes as long as eight items.
                print('{"id":', meter.slot << 8 | profile.numbers[order[0]], ',"name":"', sep="", end="", file=out)
            if write_points is None or meter.ratios is not None or meter.held:
                yield from self._print_points(meter, order, 0, len(order))
            else:
                if len(values) < 4 * len(order):
                    values = bytearray(4 * len(order))
                if len(state) < 5 + 2 * len(meter.blocks):
                    state = array("i", bytes(4 * (5 + 2 * len(meter.blocks))))
                self._decode(meter, order, values, state)
                block_of = meter.block_of  # of this moment: it changes when the meter refuses a read
                names = profile.names
                while state[0] < len(order):
                    room = ROOM - out.tell()
                    out.write(text, write_points(text, names, room, values, profile, block_of, order, state))
                    if state[-1]:
                        yield FULL
                    elif state[0] < len(order):
                        yield from self._print_points(meter, order, state[0], state[0] + 1)
                        state[0] += 1
            out.write(b"]}")
        out.write(b"]}")
        yield

    def _decode(self, meter, order, values, state):
        """Fills `values` and `state` for write_points()."""
        state[0] = state[1] = state[2] = 0
        state[3] = meter.slot << 8
        at = 4
        now_s = self._clock.uptime_s()
        of_block = self._readings.of_block
        for block in meter.blocks:
            age_s, quality = of_block(meter, block, now_s)
            if quality in WITHOUT_VALUE:
                quality = -1
            else:
                state[at] = age_s
            state[at + 1] = quality
            at += 2
        decode_points(b"", 0, values, meter, order, state)

    def _print_points(self, meter, order, k, end):
        """Writes the points with the indices order[k:end], which rise."""
        out = self._out
        profile = meter.profile
        names = profile.names
        numbers = profile.numbers
        units = profile.units
        offsets = profile.offsets
        encodings = profile.encodings
        encoding_of = profile.encoding_of
        block_of = meter.block_of  # both of the same moment: they change when the meter refuses a read
        blocks = tuple(meter.blocks)
        has_ratios = meter.ratios is not None
        first_id = meter.slot << 8
        last = len(order) - 1
        name_at = 0  # where the length of the name of point `named` stands in `names`
        named = 0
        number = -1  # of the block in which point `i` lies
        while k < end:
            i = order[k]
            if block_of[i] != number:
                number = block_of[i]
                block = blocks[number]
                block_age_s, block_quality = self._readings.of_block(meter, block)
                raw = None if block_quality in WITHOUT_VALUE else block.raw
            age_s = block_age_s
            quality = block_quality
            while named < i:
                name_at += 1 + names[name_at]
                named += 1
            if raw is None:
                decimal = None
            elif has_ratios or not encodings[encoding_of[i]][3] & PLAIN:
                decimal = profile.decimal(i, raw, meter.ratios)
            else:
                decimal = plain_decimal(encodings[encoding_of[i]], raw, offsets[i])
            before = '","value":'
            point = rest = ""
            if decimal is None or (meter.held and i in meter.held):
                value, age_s, quality = self._readings.read(meter, i)
                whole = "null" if value is None else value  # counters are held, and they are integers
            else:
                whole = decimal >> DECIMALS_BITS
                if whole < 0:
                    before = '","value":-'
                    whole = -whole
                decimals = decimal & DECIMALS_MASK
                if decimals:
                    rest = whole % _TENS[decimals]
                    whole //= _TENS[decimals]
                    if rest:
                        decimals -= 1
                        zeros = 0
                        while rest < _TENS[decimals - zeros]:
                            zeros += 1
                        point = _POINTS[zeros]
                    else:
                        rest = ""
            age = "null" if age_s is None else age_s
            out.write(names, name_at + 1, names[name_at])
            if k < last:
                print(
                    before, whole, point, rest, ',"unit":"', UNITS[units[i]], '","age_s":', age, _NEXT[quality],
                    first_id | numbers[order[k + 1]], ',"name":"', sep="", end="", file=out,
                )  # fmt: skip
            else:
                print(
                    before, whole, point, rest, ',"unit":"', UNITS[units[i]], '","age_s":', age, ',"quality":"',
                    QUALITIES[quality], '"}', sep="", end="", file=out,
                )  # fmt: skip
            k += 1
            if k % _POINTS_A_PIECE:
                yield


def _of_slot(meters, slot):
    """Those of the meters with this slot, which is text. Raises Refused."""
    found = [meter for meter in meters if slot == b"%d" % meter.slot]
    if not found:
        raise Refused(404, "no meter has this slot")
    return found


def _numbers(value: bytes) -> bytes:
    """Numbers of points, from text such as 1,16,32. Raises ValueError."""
    words = value.split(b",")
    if len(words) > _MOST_NUMBERS or not all(word.isdigit() and len(word) < 4 and int(word) < 256 for word in words):
        raise ValueError("points: must be %d numbers of points at most, such as 1,16,32" % _MOST_NUMBERS)
    return bytes([int(word) for word in words])


def _indices(profile: "Profile", numbers: bytes) -> bytes:
    """Of a profile's points those with one of `numbers`: indices, which rise."""
    return bytes([i for i in range(len(profile)) if profile.numbers[i] in numbers])

"""GET /api/records: records on flash as JSON or CSV, of a span of time, of all meters or one, each or one for a longer
step (docs/reference/http.md).

Each record is written as it is read; only one frame of a segment is held.
"""

import iso8601
import segment
from micropython import const

import http1
from firmware.services.http.response import JSON, Refused, Response, write_items, write_open

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator, Sequence

    from firmware.history.history import History
    from firmware.history.recorder import Recorder
    from firmware.history.segments import Range
    from firmware.net.clock import Clock
    from firmware.net.seam import Sink

_DAY_S = const(86400)
_DECIMALS = const(0x0F)  # of the option of a series: lib/segment.py
_CSV = "text/csv; charset=utf-8"
_KNOWN = "known are from, to, meter, every, format"


class RecordsDocument:
    """Records as a document. Without a span in the request `clock` gives the last day."""

    def __init__(self, out: "Sink", history: "History", clock: "Clock") -> None:
        self._out = out
        self._history = history
        self._clock = clock

    def get(self, request: http1.Request) -> Response:
        """The records that the query names: from, to (unix seconds or ISO 8601), meter (slot), every (interval, day or
        seconds), format (json or csv). Raises Refused, ValueError, http1.HttpError."""
        begin_s = end_s = slot = None
        is_daily = is_csv = False
        step_s = 0
        for parameter in request.query.split(b"&"):
            key, _, value = parameter.partition(b"=")
            value = http1.unquote(value, True)
            if key == b"from":
                begin_s = _time(value)
            elif key == b"to":
                end_s = _time(value)
            elif key == b"meter":
                slot = int(value) if value.isdigit() and len(value) < 3 else -1
            elif key == b"every" and value in (b"interval", b"day"):
                is_daily = value == b"day"
            elif key == b"every" and value.isdigit() and len(value) < 6 and 0 < int(value) <= _DAY_S:
                step_s = int(value)
            elif key == b"format" and value in (b"json", b"csv"):
                is_csv = value == b"csv"
            elif parameter:
                raise ValueError("unknown parameter or value; " + _KNOWN)
        recorder = self._history.daily if is_daily else self._history.records
        if recorder is None:
            raise Refused(404, "no records are kept on flash: see history.flash")
        columns = [k for k, row in enumerate(recorder.series) if slot is None or row[0].slot == slot]
        if not columns:
            raise Refused(404, "no records are kept of this meter")
        if begin_s is None and end_s is None and not is_daily and self._clock.is_set:
            begin_s = self._clock.unix_s() - _DAY_S
        if is_csv:
            name = "daily" if is_daily else "records"
            headers = (("Content-Disposition", 'attachment; filename="%s.csv"' % name),)
            return Response(self._write_csv(recorder, columns, begin_s, end_s, step_s), 200, _CSV, headers)
        return Response(self._write_json(recorder, columns, begin_s, end_s, step_s), 200, JSON)

    def _write_csv(
        self, recorder: "Recorder", columns: "list[int]", begin_s: "int | None", end_s: "int | None", step_s: int
    ) -> "Iterator[None]":  # fmt: skip
        out = self._out
        out.write(b"time,uptime_s,quality")
        for k in columns:
            meter, i = recorder.series[k]
            title = "%s %s" % (meter.name, meter.profile.name_of(i))
            out.write(b',"%s %s"' % (title.replace('"', '""').encode(), meter.profile.unit(i).encode()))
        out.write(b"\r\n")
        yield
        for row in _rows(recorder, columns, begin_s, end_s, step_s):
            if row is not None:
                unix_s, uptime_s, has_gaps, values, options = row
                out.write(b"" if unix_s is None else iso8601.format(unix_s))
                out.write(b"," if uptime_s is None else b",%d" % uptime_s)
                out.write(b",gaps" if has_gaps else b",good")
                _write_values(out, values, options, "")
                out.write(b"\r\n")
            yield

    def _write_json(
        self, recorder: "Recorder", columns: "list[int]", begin_s: "int | None", end_s: "int | None", step_s: int
    ) -> "Iterator[None]":  # fmt: skip
        out = self._out
        write_open(out, {"interval_s": step_s or recorder.interval_s})
        out.write(b',"series":')
        yield from write_items(out, _series(recorder, columns))
        out.write(b',"records":[')
        before = b"["
        for row in _rows(recorder, columns, begin_s, end_s, step_s):
            if row is not None:
                unix_s, uptime_s, _, values, options = row
                out.write(before)
                before = b",["
                out.write(b"null" if unix_s is None else b"%d" % unix_s)
                out.write(b",null" if uptime_s is None else b",%d" % uptime_s)
                _write_values(out, values, options, "null")
                out.write(b"]")
            yield
        out.write(b"]}")
        yield


def _write_values(out: "Sink", values: "list[int | None]", options: bytes, unknown: str) -> None:
    """Writes "," and the value of each column: whole numbers without allocating."""
    for k in range(len(values)):
        value = values[k]
        if value is None:
            print(",", unknown, sep="", end="", file=out)
        elif options[k] & _DECIMALS:
            out.write(b",")
            out.write(segment.number(value, options[k] & _DECIMALS))
        else:
            print(",", value, sep="", end="", file=out)


def _rows(
    recorder: "Recorder", columns: "list[int]", begin_s: "int | None", end_s: "int | None", step_s: int
) -> "Iterator[tuple | None]":  # fmt: skip
    """The rows that are asked for: of each record, or of each step of `step_s`. A row is (unix_s, uptime_s, has_gaps,
    values, options), the last two for each column: an int, or None where it is unknown, and the option of its series
    (lib/segment.py). None in its place: a record was read that is part of a later row."""
    ids = [recorder.series[k][0].point_id(recorder.series[k][1]) for k in columns]
    records = _records(recorder.read(begin_s, end_s), ids)
    return _steps(records, step_s) if step_s else records


def _records(reader: "Range", ids: "list[int]") -> "Iterator[tuple]":
    """A row of each record, all with the same list of values. Segments of other series, from before a change of
    meters, are read by the ids of their points."""
    walk = None
    places: list = []
    options = bytes(len(ids))
    known = bytearray()
    found: list = []
    values: list = [None] * len(ids)
    while reader.next():
        if reader.walk is not walk:
            walk = reader.walk
            assert walk is not None
            places = [_index(walk.header.ids, point_id) for point_id in ids]
            options = bytes([0 if place < 0 else walk.header.options[place] for place in places])
            walk.decoder.wanted = sorted([place for place in places if place >= 0])
            decoder = walk.decoder
            known = decoder.known
            found = decoder.values
        has_gaps = False
        for k in range(len(places)):
            place = places[k]
            if place >= 0 and known[place]:
                values[k] = found[place]
            else:
                values[k] = None
                has_gaps = True
        yield walk.unix_s, walk.uptime_s, has_gaps, values, options


def _steps(records: "Iterator[tuple]", step_s: int) -> "Iterator[tuple | None]":
    """A row of each step that has records with a time: the last known value of a series that rises, the mean of
    another."""
    end_s = None
    has_gaps = False
    options = b""
    sums: list = []
    counts: list = []
    for unix_s, _, is_short, values, changed_options in records:
        if unix_s is not None:
            end = -(-unix_s // step_s) * step_s
            if end != end_s or options != changed_options:
                if end_s is not None:
                    yield end_s, None, has_gaps, _means(sums, counts), options
                end_s = end
                has_gaps = False
                options = changed_options
                sums = [0] * len(values)
                counts = [0] * len(values)
            has_gaps = has_gaps or is_short
            for k, value in enumerate(values):
                if value is not None:
                    is_last = options[k] & segment.RISES
                    sums[k] = value if is_last else sums[k] + value
                    counts[k] = 1 if is_last else counts[k] + 1
        yield None
    if end_s is not None:
        yield end_s, None, has_gaps, _means(sums, counts), options


def _means(sums: "list[int]", counts: "list[int]") -> "list[int | None]":
    """sum / count of each, rounded; None where the count is 0."""
    return [(2 * total + count) // (2 * count) if count else None for total, count in zip(sums, counts)]


def _series(recorder: "Recorder", columns: "list[int]") -> "Iterator[dict]":
    for k in columns:
        meter, i = recorder.series[k]
        yield {
            "id": meter.point_id(i), "meter": meter.name,
            "point": meter.profile.name_of(i), "unit": meter.profile.unit(i),
        }  # fmt: skip


def _index(ids: "Sequence[int]", point_id: int) -> int:
    for k in range(len(ids)):
        if ids[k] == point_id:
            return k
    return -1


def _time(value: bytes) -> int:
    if value.isdigit() and len(value) <= 10:
        return int(value)
    return iso8601.parse(value)

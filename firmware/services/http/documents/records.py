"""GET /api/records: records on flash as JSON or CSV, of a span of time, of all meters or one
(docs/reference/http.md).

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
    from firmware.net.clock import Clock
    from firmware.net.seam import Sink

_DAY_S = const(86400)
_CSV = "text/csv; charset=utf-8"
_KNOWN = "known are from, to, meter, every, format"


class RecordsDocument:
    """Records as a document. Without a span in the request `clock` gives the last day."""

    def __init__(self, out: "Sink", history: "History", clock: "Clock") -> None:
        self._out = out
        self._history = history
        self._clock = clock

    def get(self, request: http1.Request) -> Response:
        """The records that the query names: from, to (unix seconds or ISO 8601), meter (slot), every (interval or day),
        format (json or csv). Raises Refused, ValueError, http1.HttpError."""
        begin_s = end_s = slot = None
        is_daily = is_csv = False
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
            return Response(self._write_csv(recorder, columns, begin_s, end_s), 200, _CSV, headers)
        return Response(self._write_json(recorder, columns, begin_s, end_s), 200, JSON)

    def _write_csv(
        self, recorder: "Recorder", columns: "list[int]", begin_s: "int | None", end_s: "int | None"
    ) -> "Iterator[None]":  # fmt: skip
        out = self._out
        out.write(b"time,uptime_s,quality")
        for k in columns:
            meter, i = recorder.series[k]
            title = "%s %s" % (meter.name, meter.profile.name_of(i))
            out.write(b',"%s %s"' % (title.replace('"', '""').encode(), meter.profile.unit(i).encode()))
        out.write(b"\r\n")
        yield
        for row in self._rows(recorder, columns, begin_s, end_s):
            unix_s, uptime_s, values, has_gaps = row
            out.write(b"" if unix_s is None else iso8601.format(unix_s))
            out.write(b"," if uptime_s is None else b",%d" % uptime_s)
            out.write(b",gaps" if has_gaps else b",good")
            for value in values:
                out.write(b",")
                out.write(value)
            out.write(b"\r\n")
            yield

    def _write_json(
        self, recorder: "Recorder", columns: "list[int]", begin_s: "int | None", end_s: "int | None"
    ) -> "Iterator[None]":  # fmt: skip
        out = self._out
        write_open(out, {"interval_s": recorder.interval_s})
        out.write(b',"series":')
        yield from write_items(out, _series(recorder, columns))
        out.write(b',"records":[')
        before = b"["
        for unix_s, uptime_s, values, _ in self._rows(recorder, columns, begin_s, end_s):
            out.write(before)
            before = b",["
            out.write(b"null" if unix_s is None else b"%d" % unix_s)
            out.write(b",null" if uptime_s is None else b",%d" % uptime_s)
            for value in values:
                out.write(b",")
                out.write(value or b"null")
            out.write(b"]")
            yield
        out.write(b"]}")
        yield

    def _rows(
        self, recorder: "Recorder", columns: "list[int]", begin_s: "int | None", end_s: "int | None"
    ) -> "Iterator[tuple]":  # fmt: skip
        """(unix_s, uptime_s, values as numbers in text or b"", whether one of them is unknown) of each record. Segments
        of other series, from before a change of meters, are read by the ids of their points."""
        ids = [recorder.series[k][0].point_id(recorder.series[k][1]) for k in columns]
        reader = recorder.read(begin_s, end_s)
        walk = None
        places: list = []
        while reader.next():
            if reader.walk is not walk:
                walk = reader.walk
                assert walk is not None
                places = [_index(walk.header.ids, point_id) for point_id in ids]
            decoder = walk.decoder
            values = []
            for place in places:
                if place < 0 or not decoder.known[place]:
                    values.append(b"")
                else:
                    values.append(number(decoder.values[place], segment.decimals(decoder.options[place])))
            yield walk.unix_s, walk.uptime_s, values, b"" in values


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


def number(value: int, decimals: int) -> bytes:
    """value / 10**decimals as text, exactly: a float has only 24 bits."""
    if not decimals:
        return b"%d" % value
    scale = 10**decimals
    whole = abs(value)
    return b"%s%d.%0*d" % (b"-" if value < 0 else b"", whole // scale, decimals, whole % scale)


def _time(value: bytes) -> int:
    if value.isdigit() and len(value) <= 10:
        return int(value)
    return iso8601.parse(value)

"""GET /api/history: the points with a history and the state of the records; ?point=ID: a point's values of the last
day."""

from micropython import const

from firmware.services.http.response import Refused, Response, write_json, write_open

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

    from firmware.history.history import History
    from firmware.history.recent import Recent
    from firmware.history.recorder import Recorder
    from firmware.net.clock import Clock
    from firmware.net.seam import Sink
    from http1 import Request


class HistoryDocument:
    """The history as JSON."""

    def __init__(self, out: "Sink", history: "History", clock: "Clock") -> None:
        self._out = out
        self._history = history
        self._clock = clock

    def get(self, request: "Request") -> Response:
        """The list, or with ?point=ID the values of that point. Raises Refused."""
        history = self._history.recent
        if not request.query:
            return Response(self._write_list())
        name, _, value = request.query.partition(b"=")
        wanted = int(value) if name == b"point" and value.isdigit() and len(value) < 6 else -1
        if history is None or wanted not in points(history):
            raise Refused(404, "no history is kept of this point")
        return Response(self._write_values(wanted))

    def _write_list(self):
        out = self._out
        recent = self._history.recent
        ids = [] if recent is None else points(recent)
        write_open(out, {
            "step_s": recent.step_s if ids else 0, "steps": recent.steps if ids else 0,
            "now_s": self._clock.uptime_s(), "points": ids,
        })  # fmt: skip
        out.write(b',"records":')
        write_json(out, _kept(self._history.records))
        yield
        out.write(b',"daily":')
        write_json(out, _kept(self._history.daily))
        out.write(b"}")
        yield

    def _write_values(self, point_id):
        out = self._out
        history = self._history.recent
        age_s = self._clock.uptime_s() - history.closed_s
        out.write(b'{"id":%d,"step_s":%d,"newest_age_s":%d,"values":[' % (point_id, history.step_s, age_s))
        before = b""
        for value in values(history, point_id):
            out.write(before)
            out.write(b"null" if value is None else b"%.6g" % value)
            before = b","
            yield
        out.write(b"]}")
        yield


def _kept(recorder: "Recorder | None") -> "dict | None":
    """Counters and limits of the records on flash; None without a recorder."""
    if recorder is None:
        return None
    segments = recorder.segments
    return {
        "points": [meter.point_id(i) for meter, i in recorder.series],
        "interval_s": recorder.interval_s, "kept_s": recorder.kept_s, "window_s": recorder.window_s,
        "bytes_a_day": recorder.bytes_a_day,
        "taken": recorder.taken, "pending": recorder.pending, "lost": recorder.lost,
        "removed": segments.removed, "damaged": segments.damaged,
        "bytes": segments.bytes, "limit_bytes": segments.limit_bytes,
        "commit_ms": recorder.stall_ms, "error": recorder.error or None,
    }  # fmt: skip


def points(history: "Recent") -> "list[int]":
    """Ids of the points with a history."""
    ids = []
    for k in range(len(history)):
        meter, i = history.row(k)
        ids.append(meter.point_id(i))
    return ids


def values(history: "Recent", point_id: int) -> "Iterator[float | None]":
    """Yields the values of a point, the oldest first; None where there is none."""
    k = points(history).index(point_id)
    for step in range(1, history.steps + 1):
        at = 2 * ((history.newest + step) % history.steps * len(history) + k)
        yield unpack(history.ring[at] << 8 | history.ring[at + 1])


def unpack(packed: int) -> "float | None":
    """Undoes firmware.history.recent.pack()."""
    whole = (packed & 0x1FFF) - 4096
    exponent = (packed >> 13) - 3
    if not packed:
        return None
    return whole * 10**exponent if exponent >= 0 else whole / 10**-exponent

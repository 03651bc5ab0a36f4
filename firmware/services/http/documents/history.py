"""GET /api/history: what is kept of the past, and ?point=ID: the values of a point during the last day."""

from firmware.services.http.response import Refused, Response, write_json, write_open


class HistoryDocument:
    """`history`: firmware.history.history.History."""

    def __init__(self, out, history, clock):
        self._out = out
        self._history = history
        self._clock = clock

    def get(self, request):
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


def _kept(recorder):
    """What is said of records on flash, or None without any."""
    if recorder is None:
        return None
    segments = recorder.segments
    return {
        "interval_s": recorder.interval_s, "kept_s": recorder.kept_s, "window_s": recorder.window_s,
        "taken": recorder.taken, "pending": recorder.pending, "lost": recorder.lost,
        "removed": segments.removed, "damaged": segments.damaged,
        "bytes": segments.bytes, "limit_bytes": segments.limit_bytes,
        "commit_ms": recorder.stall_ms, "error": recorder.error or None,
    }  # fmt: skip


def points(history):
    """Ids of the points that are kept."""
    ids = []
    for k in range(len(history)):
        meter, i = history.row(k)
        ids.append(meter.point_id(i))
    return ids


def values(history, point_id):
    """Yields the values of a point, the oldest first: numbers, and None where there is none."""
    k = points(history).index(point_id)
    for step in range(1, history.steps + 1):
        at = 2 * ((history.newest + step) % history.steps * len(history) + k)
        yield unpack(history.ring[at] << 8 | history.ring[at + 1])


def unpack(packed):
    """The number that firmware.history.recent.pack() has packed."""
    whole = (packed & 0x1FFF) - 4096
    exponent = (packed >> 13) - 3
    if not packed:
        return None
    return whole * 10**exponent if exponent >= 0 else whole / 10**-exponent

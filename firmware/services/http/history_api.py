"""GET /api/history. Every field is in docs/contracts.md."""

import json

from firmware.services.http.guard import Refused


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    history = app.history
    if request.query:
        name, _, value = request.query.partition("=")
        wanted = int(value) if name == "point" and value.isdigit() and len(value) < 6 else -1
        if history is None or wanted not in points(history):
            raise Refused(404, "no history is kept of this point")
        return _values(app, history, wanted), ()
    kept = [] if history is None else points(history)
    text = '{"step_s":%d,"steps":%d,"now_s":%d,"points":%s}' % (
        history.step_s if kept else 0, history.steps if kept else 0, app.uptime_s(), json.dumps(kept)
    )  # fmt: skip
    return iter((text,)), ()


def _values(app, history, point_id):
    age_s = app.uptime_s() - history.closed_s
    yield '{"id":%d,"step_s":%d,"newest_age_s":%d,"values":[' % (point_id, history.step_s, age_s)
    before = ""
    for value in values(history, point_id):
        yield "%s%s" % (before, "null" if value is None else "%.6g" % value)
        before = ","
    yield "]}"


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
    """The number that firmware.history.pack() has packed."""
    whole = (packed & 0x1FFF) - 4096
    exponent = (packed >> 13) - 3
    if not packed:
        return None
    return whole * 10**exponent if exponent >= 0 else whole / 10**-exponent

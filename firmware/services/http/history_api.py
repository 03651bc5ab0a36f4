"""GET /api/history. Every field is in docs/contracts.md."""

import json

from firmware.services.http.guard import Refused


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    history = app.history
    if request.query:
        name, _, value = request.query.partition("=")
        wanted = int(value) if name == "point" and value.isdigit() and len(value) < 6 else -1
        if history is None or wanted not in history.points():
            raise Refused(404, "no history is kept of this point")
        return _values(app, history, wanted), ()
    points = [] if history is None else history.points()
    text = '{"step_s":%d,"steps":%d,"now_s":%d,"points":%s}' % (
        history.step_s if points else 0, history.steps if points else 0, app.uptime_s(), json.dumps(points)
    )  # fmt: skip
    return iter((text,)), ()


def _values(app, history, point_id):
    age_s = app.uptime_s() - history.closed_s
    yield '{"id":%d,"step_s":%d,"newest_age_s":%d,"values":[' % (point_id, history.step_s, age_s)
    before = ""
    for value in history.values(point_id):
        yield "%s%s" % (before, "null" if value is None else "%.6g" % value)
        before = ","
    yield "]}"

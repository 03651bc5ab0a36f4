"""The search for meters in the JSON API: GET, POST and DELETE /api/scan. Every field is in docs/contracts.md.

By itself, and small: while a search runs, its own code and that of signatures are in the heap as well.
"""

import json

import http1


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    if request.method == "POST":
        start_scan(app, request.query)
    elif request.method == "DELETE" and app.scan is not None:
        app.scan.stop()
    return scan(app), ()


def scan(app):
    """The search for meters that runs, or the last one."""
    search = app.scan
    if search is None:
        yield '{"running":false,"done":0,"total":0,"error":null,"found":[]}'
        return
    # Until the line is given back.
    running = search.running or any([bus.guest is search for bus in app.buses])
    yield '{"running":%s,"done":%d,"total":%d,"error":%s,"found":[' % (
        "true" if running else "false", search.done, search.total, json.dumps(search.error)
    )  # fmt: skip
    for k, (unit, baud, framing, profiles) in enumerate(search.found[:]):
        yield '%s{"unit":%d,"baud":%d,"framing":"%s","profiles":%s}' % (
            "," if k else "", unit, baud, framing, json.dumps(profiles)
        )  # fmt: skip
    yield "]}"


def start_scan(app, query):
    """Begins a search: bus=0&baud=9600,19200&framing=8N1,8E1&first=1&last=247&timeout_ms=150, each of them optional.
    Raises ValueError, or OSError when the line is taken."""
    given = {"bus": "0", "baud": "", "framing": "", "first": "1", "last": "247", "timeout_ms": "150"}
    for part in query.split("&"):
        if not part:
            continue
        key, _, value = part.partition("=")
        if key not in given:
            raise ValueError("%s: unknown; known are %s" % (key, ", ".join(sorted(given))))
        given[key] = http1.unquote(value, True)
    numbers = {}
    for key in ("bus", "first", "last", "timeout_ms"):
        if not given[key].isdigit() or len(given[key]) > 5:
            raise ValueError("%s: %s is no number" % (key, given[key]))
        numbers[key] = int(given[key])
    bauds = [int(one) if one.isdigit() and len(one) < 7 else one for one in given["baud"].split(",") if one]
    framings = [one for one in given["framing"].split(",") if one]
    app.start_scan(numbers["bus"], bauds, framings, numbers["first"], numbers["last"], numbers["timeout_ms"])

"""What commands are refused for, and how an error names its fields. Loaded for one request."""

import json

from firmware.services.http.guard import Refused


def check_command(request):
    """403 unless our own page or a program sent this. A page of another site cannot send X-Meterport without asking
    first (Fetch, CORS preflight), and nobody here would allow it; browsers tell the truth in Origin."""
    if "x-meterport" not in request.headers:
        raise Refused(403, "the header X-Meterport is missing")
    origin = request.headers.get("origin")
    if origin is not None and origin.lower().partition("://")[2] != request.host:
        raise Refused(403, "this came from a page of another site")


def with_fields(text, fields):
    """The document of an error that begins with `text`: what is wrong, and where."""
    yield text + ',"errors":['
    for k, line in enumerate(fields):
        field, _, what = line.partition(": ")
        if field == "configuration":  # all of it
            field = ""
        yield '%s{"field":%s,"text":%s}' % ("," if k else "", json.dumps(field), json.dumps(what))
    yield "]}"

"""The one place that makes a response of an exception. An error is {"error": text, "status": number}; where fields are
wrong, "errors" lists them: {"field": "meters[2].unit", "text": "300 is not 1 to 247"}."""

from micropython import const

import http1
from firmware.services.http.json_out import to_json
from firmware.services.http.response import Response

_SHOWN_MAX = const(80)  # characters of what somebody else may have written
_UNSAFE = b'"\\<>'
SHORT = "the device is short of memory for this: try again, or close other pages"


class Refused(http1.HttpError):
    """An HttpError with more to say: `fields` are texts as "http.port: ...", `headers` pairs (name, value). The
    connection stays open."""

    def __init__(self, status, reason, fields=(), headers=()):
        super().__init__(status, reason, False)
        self.fields = fields
        self.headers = headers


def call(handler, request, events):
    """What handler(request) returns, or the response that says why there is nothing better."""
    try:
        return handler(request)
    except http1.HttpError as error:
        return response_to(error)
    except ValueError as error:
        return response_to(Refused(400, str(error)))
    except MemoryError:
        return SHORT_RESPONSE
    except OSError as error:
        if request.method != b"GET" and request.method != b"HEAD":
            return response_to(Refused(409, str(error)))
        events.add("http", "%s: %r" % (plain(request.path), error))
        return response_to(Refused(500, "a file cannot be read"))


def response_to(error):
    """The Response to an HttpError."""
    document = {"error": plain(error.reason), "status": error.status}
    fields = getattr(error, "fields", ())
    if fields:
        document["errors"] = [_field(line) for line in fields]
    return Response(to_json(document), error.status, headers=getattr(error, "headers", ()))


def _field(line):
    field, _, text = line.partition(": ")
    return {"field": "" if field == "configuration" else field, "text": text}


def plain(text):
    """The text, or bytes, as a text that may stand in JSON, in a log and in a page as it is: everything else becomes a
    question mark."""
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes([_plain(byte) for byte in raw[:_SHOWN_MAX]]).decode()


def _plain(byte):
    return byte if 32 <= byte <= 126 and byte not in _UNSAFE else 63


SHORT_RESPONSE = response_to(Refused(503, SHORT))  # made while there is memory

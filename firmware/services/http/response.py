"""What handlers answer with: a Response, or a Later when the answer has to wait for something; errors, of which this
file makes responses; and JSON, into the service's sink without an object for the text, or as bytes.

An error is {"error": text, "status": number}; where fields are wrong, "errors" lists them:
{"field": "meters[2].unit", "text": "300 is not 1 to 247"}.
"""

import json

from micropython import const

import http1

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from firmware.events import Events
    from firmware.net.seam import Sink

JSON = "application/json"
SHORT = "the device is short of memory for this: try again, or close other pages"
_COMPACT = (",", ":")
_SHOWN_MAX = const(80)  # characters of what a client may have written
_UNSAFE = b'"\\<>'


class Response:
    """`body` is bytes; or a file (readinto, seek, close), which is sent from its beginning; or a generator, which
    writes a part of the document to the service's sink and yields nothing, again and again: some hundred bytes a time,
    so that nothing is ever held as a whole. File and generator are closed in any case.

    `headers`: pairs (name, value). `heads`: where the head is the same each time, a dict in which the writer keeps it;
    its owner must use it for nothing else."""

    def __init__(
        self,
        body: "Any",
        status: int = 200,
        type: "str | None" = JSON,
        headers: "tuple[tuple[str, str], ...]" = (),
        heads: "dict | None" = None,
    ) -> None:
        self.body = body
        self.status = status
        self.type = type
        self.headers = headers
        self.heads = heads


class Later:
    """The answer to one request that has to wait. Nothing else is read from its connection meanwhile."""

    response: "Response | None" = None  # once there is one
    _on_response: "Callable[[], None] | None" = None

    def call_on_response(self, on_response: "Callable[[], None] | None") -> None:
        """Has on_response() called when there is a response; with None nothing is called any more."""
        self._on_response = on_response

    def answer(self, response: Response) -> None:
        """Gives the response, once; it may be before the handler returns. Does nothing when the client has gone."""
        self.response = response
        on_response = self._on_response
        if on_response is not None:
            self._on_response = None
            on_response()

    def cancel(self) -> None:
        """The client has gone: answer() need not be called."""


class Refused(http1.HttpError):
    """An HttpError with more to say: `fields` are texts as "http.port: ...", `headers` pairs (name, value). The
    connection stays open."""

    def __init__(
        self,
        status: int,
        reason: "str | bytes",
        fields: "Iterable[str]" = (),
        headers: "tuple[tuple[str, str], ...]" = (),
    ) -> None:
        super().__init__(status, reason, False)
        self.fields = fields
        self.headers = headers


def call(handler: "Callable", service: "Any", request: http1.Request, events: "Events") -> "Response | Later":
    """The Response or Later of a handler; a handler that is a generator writes a document. When the handler raises, the
    response that says why."""
    try:
        found = handler(service, request)
        return found if isinstance(found, (Response, Later)) else Response(found)
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


def response_to(error: http1.HttpError) -> Response:
    """The Response to an HttpError."""
    document: dict = {"error": plain(error.reason), "status": error.status}
    fields = getattr(error, "fields", ())
    if fields:
        document["errors"] = errors = []
        for line in fields:
            field, _, text = line.partition(": ")
            errors.append({"field": "" if field == "configuration" else field, "text": text})
    return Response(to_json(document), error.status, headers=getattr(error, "headers", ()))


def plain(text: "str | bytes") -> str:
    """`text` cut to 80 characters, with a question mark for each byte that is not ASCII or may not stand in JSON, a log
    or a page as it is."""
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes([byte if 32 <= byte <= 126 and byte not in _UNSAFE else 63 for byte in raw[:_SHOWN_MAX]]).decode()


def write_json(out: "Sink", value: "Any") -> None:
    """Writes `value` (dict, list, text, number, bool or None). Keep it small: what is written stays in the sink until
    it fits into a block."""
    json.dump(value, out, separators=_COMPACT)  # type: ignore[call-overload]  # the stubs have it by its place only


def to_json(value: "Any") -> bytes:
    """`value` as bytes."""
    return json.dumps(value, separators=_COMPACT).encode()


def write_open(out: "Sink", value: dict) -> None:
    """Writes a dict whose object goes on: without the closing brace."""
    write_json(out, value)
    out.seek(-1, 1)


def write_items(out: "Sink", items: "Iterable") -> "Iterator[None]":
    """A generator: writes the list of `items`, with a piece for each."""
    before = "["
    for item in items:
        out.write(before)
        write_json(out, item)
        before = ","
        yield
    out.write("[]" if before == "[" else "]")


SHORT_RESPONSE = response_to(Refused(503, SHORT))  # made while there is memory

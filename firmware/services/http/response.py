"""Results of handlers: a Response, or a Later for an answer that must wait; errors and the responses made of them; and
JSON, written into the service's sink without a str for the text, or as bytes.

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
FULL = const(1)  # what a document yields when its next piece would not fit into the block
_COMPACT = (",", ":")
_SHOWN_MAX = const(80)  # characters of what a client may have written
_UNSAFE = b'"\\<>'


class Response:
    """`body`: bytes; or a file (readinto, seek, close), sent from its beginning; or a generator, which writes some
    hundred bytes of the document to the service's sink before each yield of None, so that the document is never held as
    a whole; it may yield FULL to have the sink emptied first. File and generator are closed in any case.

    `headers`: pairs (name, value). `heads`: for a head that is always the same, a dict in which the writer keeps it."""

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
    """An answer that must wait. Nothing is read from its connection meanwhile."""

    response: "Response | None" = None  # once there is one
    _on_response: "Callable[[], None] | None" = None

    def call_on_response(self, on_response: "Callable[[], None] | None") -> None:
        """Calls on_response() once there is a response; None cancels the call."""
        self._on_response = on_response

    def answer(self, response: Response) -> None:
        """Gives the response, once, perhaps before the handler returns. Does nothing when the client has gone."""
        self.response = response
        on_response = self._on_response
        if on_response is not None:
            self._on_response = None
            on_response()

    def cancel(self) -> None:
        """Called when the client has gone: answer() need not be called."""


class Refused(http1.HttpError):
    """An HttpError after which the connection stays open. `fields`: texts such as "http.port: ..."; `headers`: pairs
    (name, value)."""

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
    """Calls a handler; returns its Response or Later, a Response of its document if it is a generator, or the Response
    for the exception that it raised."""
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
    """Makes the Response to an HttpError."""
    document: dict = {"error": plain(error.reason), "status": error.status}
    fields = getattr(error, "fields", ())
    if fields:
        document["errors"] = errors = []
        for line in fields:
            field, _, text = line.partition(": ")
            errors.append({"field": "" if field == "configuration" else field, "text": text})
    return Response(to_json(document), error.status, headers=getattr(error, "headers", ()))


def plain(text: "str | bytes") -> str:
    """The first 80 bytes of `text`, with "?" for each byte that is not printable ASCII or needs an escape in JSON or
    HTML."""
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes([byte if 32 <= byte <= 126 and byte not in _UNSAFE else 63 for byte in raw[:_SHOWN_MAX]]).decode()


def write_json(out: "Sink", value: "Any") -> None:
    """Writes `value` (dict, list, str, number, bool or None). Keep it small: the sink holds it until a block has
    room."""
    json.dump(value, out, separators=_COMPACT)  # type: ignore[call-overload]  # the stubs have it by its place only


def to_json(value: "Any") -> bytes:
    """`value` as bytes of JSON."""
    return json.dumps(value, separators=_COMPACT).encode()


def write_open(out: "Sink", value: dict) -> None:
    """Writes a dict without the closing brace, so that members can be added."""
    write_json(out, value)
    out.seek(-1, 1)


def write_items(out: "Sink", items: "Iterable") -> "Iterator[None]":
    """Writes the list of `items`, a piece for each."""
    before = "["
    for item in items:
        out.write(before)
        write_json(out, item)
        before = ","
        yield
    out.write("[]" if before == "[" else "]")


SHORT_RESPONSE = response_to(Refused(503, SHORT))  # made while there is memory

"""The page: one document, compressed when the image was built, and sent from its file.

Its head is always the same, and made once: it takes half of what all of the page takes.
"""

import gc

from micropython import const

import http1
from firmware.services.http.guard import Refused

_PAGE = __file__.rsplit("/", 1)[0] + "/page." if "/" in __file__ else "firmware/services/http/page."
# Nothing but what is in the page itself, and in nobody's frame: a click in it is a click of whoever sees it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_BLOCK = const(3072)  # of the file in one write: each takes a call of the port, and a turn of the network
_PLENTY = const(12288)  # of heap: with less the file goes in smaller pieces
block = None  # what the file is sent by, once somebody has asked,
_found: dict = {}  # and the heads, by whether the connection stays open


class _Page:
    """The file, and the block that all who are sent it share."""

    def __init__(self, file, block):
        self.readinto = file.readinto
        self.seek = file.seek
        self.close = file.close
        self.block = block


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call. A browser that has the page already gets 304."""
    if "gzip" not in request.headers.get("accept-encoding", ""):
        raise Refused(406, "the page is compressed: curl wants --compressed")
    known = request.headers.get("if-none-match")
    if known is not None:
        fields = _fields()
        if fields[0][1] in known:
            return 304, None, 0, iter(()), fields
    global block
    if block is None:
        block = _large() or connection.desk.block
    head = _found.get(request.keep_alive)
    file = open(_PAGE + "html.gz", "rb")
    if head is None:
        size = file.seek(0, 2)
        file.seek(0)
        fields = _fields() + (("Content-Encoding", "gzip"),)
        head = http1.response_head(200, "text/html; charset=utf-8", size, request.keep_alive, fields)
        _found[request.keep_alive] = head
    return 200, None, 0, _Page(file, block), head


def _large():
    """A block of its own, if there is room for it."""
    if hasattr(gc, "mem_free") and gc.mem_free() < _PLENTY:
        return None
    try:
        return bytearray(_BLOCK)
    except MemoryError:
        return None


def _fields():
    with open(_PAGE + "etag") as f:
        tag = f.read(64).strip()
    return (
        ("ETag", '"%s"' % tag), ("Vary", "Accept-Encoding"), ("Cache-Control", "no-cache"),
        ("Content-Security-Policy", _POLICY), ("Referrer-Policy", "no-referrer"),
    )  # fmt: skip

"""A small HTTP/1.1 server (RFC 9110, RFC 9112): one page, and a JSON API.

In: bytes of a connection, in any pieces, pipelined or not. Out: one response for each request, in their order. GET and
HEAD; where http.commissioning allows it also POST and DELETE without a body, which start and stop what
`api.commands` names. Those need a header of ours, X-Meterport, which no page of another site can send without asking
first (Fetch, CORS preflight), and nobody here would allow it. Connections stay open (keep-alive), so that a browser
needs only one.

Buffers: all connections share one of 1 KiB for input (a longer head: 431) and one of 1 KiB for output; a connection
keeps of its own only what is not a whole request yet, and what its socket does not take. Documents are generators:
head and first piece leave in one write, the rest as the client takes it.
"""

import os

from micropython import const

import http1
from firmware.net.listener import Connection, Listener

_HEAD_MAX = const(1024)
_BLOCK = const(1024)
_CHUNK_HEAD = const(6)  # four hexadecimal digits, CR LF
_UNSERVED_MS = const(10000)  # to send the first request in
_DRAIN_MAX = const(16384)  # of a request that was refused: read, or closing would reset it before our reason arrives
_PAGE = __file__.rsplit("/", 1)[0] + "/page.html" if "/" in __file__ else "firmware/services/http/page.html"
_JSON = "application/json"
_KEPT = ("x-meterport",)


class Counters:
    """Of the whole server, since boot."""

    def __init__(self):
        self.requests = 0
        self.refused = 0  # with a status of 400 or above


class Server:
    """`api.documents` maps a path to a function that returns a generator of texts; `api.commands` maps (method, path)
    to one that takes the query, and does something before it returns the same. ValueError is 400, OSError 409."""

    def __init__(self, config, budget, events, api):
        self.budget = budget
        self.events = events
        self.api = api
        self.public_status = config["public_status"]
        self.commissioning = config["commissioning"]
        self.counters = Counters()
        self.rx = bytearray(_HEAD_MAX)
        self.block = bytearray(_BLOCK)  # of the response that is being made: sent, or copied, before the next is
        self.listener = Listener(
            budget, events, "http", config["bind"], config["port"], self._connection,
            _UNSERVED_MS, 1000 * config["idle_timeout_s"],
        )  # fmt: skip

    def _connection(self, stream, slot):
        return HttpConnection(self, stream, slot)

    def route(self, request):
        """(content type, length, file) or (content type, None, generator of bytes or texts) for a request. Raises
        http1.HttpError and OSError."""
        path = request.path
        if (request.method, path) in self.api.commands:
            return self._command(request)
        known = path == "/" or path in self.api.documents
        if known and request.method not in ("GET", "HEAD"):
            raise http1.HttpError(405, "no such method for this path", request.content_length > 0)
        if known and request.content_length:
            raise http1.HttpError(413, "no request body is expected here")
        if path == "/":
            found = "text/html; charset=utf-8", os.stat(_PAGE)[6], open(_PAGE, "rb")
        elif path in self.api.documents:
            if not self.public_status:
                raise http1.HttpError(403, "http.public_status is off", False)
            found = _JSON, None, self.api.documents[path]()
        else:
            raise http1.HttpError(404, "no such page: %s" % path, False)
        return found

    def _command(self, request):
        if not self.commissioning:
            raise http1.HttpError(403, "http.commissioning is off", request.content_length > 0)
        if "x-meterport" not in request.headers:
            raise http1.HttpError(403, "the header X-Meterport is missing", request.content_length > 0)
        if request.content_length:
            raise http1.HttpError(413, "no request body is expected here")
        try:
            return _JSON, None, self.api.commands[request.method, request.path](request.query)
        except ValueError as error:
            raise http1.HttpError(400, str(error), False) from None
        except OSError as error:
            raise http1.HttpError(409, str(error), False) from None

    def sweep(self):
        self.listener.sweep()

    def close(self):
        self.listener.close()


class HttpConnection(Connection):
    """One browser, or one of its several connections."""

    def __init__(self, server, stream, slot):
        super().__init__(stream, slot, server.budget, server.events)
        self.server = server
        self.left = b""  # input that is no whole request yet, or whose turn has not come
        self.pieces = None  # the response under way: a generator, or a file, which is read into the block
        self.rest = b""  # of a piece that did not fit into the block
        self.chunked = False
        self.keep_alive = False
        self.draining = 0

    def on_input(self):
        rx = self.server.rx
        have = 0 if self.draining else self._fetch()
        got = self.stream.readinto(memoryview(rx)[have:] if have else rx)
        if got is None:
            return
        if not got:
            self.close()
            return
        self.slot.received += got
        if self.draining:
            self.draining -= got
            if self.draining <= 0:
                self.close()
            return
        self._serve(have + got)

    def _fetch(self):
        """What is left of the input into the buffer that all share; how much it is."""
        have = len(self.left)
        self.server.rx[:have] = self.left
        return have

    def _serve(self, have):
        """Answers the requests in the first `have` bytes of the shared buffer, one after the other."""
        rx = self.server.rx
        while have and not self.draining:
            self.left = b""
            try:
                end = http1.head_end(rx, have)
                if end < 0:
                    self.left = bytes(memoryview(rx)[:have])
                    return
                request = http1.parse(rx, end, _KEPT, _DRAIN_MAX)
                self.left = bytes(memoryview(rx)[end:have])
                self._begin(request)
            except http1.HttpError as error:
                self._refuse(error)
            if self.closed or not self._continue():
                return
            have = self._fetch()

    def _begin(self, request):
        """Prepares the response: its head, and where its body comes from."""
        server = self.server
        server.counters.requests += 1
        self.keep_alive = request.keep_alive
        head_only = request.method == "HEAD"
        try:
            kind, length, pieces = server.route(request)
        except http1.HttpError as error:
            self._refuse(error, head_only)
            return
        except OSError as error:
            self.events.add("http", "%s: %r" % (request.path, error))
            self._refuse(http1.HttpError(500, "the page cannot be read", False), head_only)
            return
        self.chunked = length is None and request.version == 11
        if length is None and not self.chunked:
            self.keep_alive = False  # HTTP/1.0: the end of the document is the end of the connection
        if self.chunked:
            length = http1.CHUNKED
        self._respond(http1.response_head(200, kind, length, self.keep_alive), pieces)
        if head_only:
            self._end_pieces()
            self.pieces = iter(())
            self.chunked = False

    def _refuse(self, error, head_only=False):
        """The response that an error calls for, as JSON."""
        self.server.counters.refused += 1
        if error.close:
            self.keep_alive = False
            self.draining = _DRAIN_MAX
            self.events.add("http", "request refused: %d %s" % (error.status, error.reason))
        body = b'{"error":"%s","status":%d}' % (_plain(error.reason).encode(), error.status)
        extra = (("Allow", "GET, HEAD"),) if error.status == 405 else ()
        self.chunked = False
        head = http1.response_head(error.status, _JSON, len(body), self.keep_alive, extra)
        self._respond(head, iter(()) if head_only else iter((body,)))

    def _respond(self, head, pieces):
        self.slot.busy = True
        self.rest = head
        self.pieces = pieces
        self.head_left = len(head)

    def on_sent(self):
        if self._continue():
            self._serve(self._fetch())

    def _continue(self):
        """Sends the response as far as the client takes it. True when all of it has left and the next may come."""
        block = self.server.block
        while self.pieces is not None:
            n = self._fill(block)
            if n and not self.send(block, n):
                return False
        self.slot.busy = False
        self.budget.served(self.slot)
        if not self.keep_alive:
            if not self.draining:
                self.finish()
            return False
        return True

    def _fill(self, block):
        """The next block of the response; its length. At the end of the response `pieces` becomes None."""
        n = 0
        if self.head_left:
            n = self.head_left  # the head fits: our own are shorter than 300 bytes
            block[:n] = self.rest
            self.rest = b""
            self.head_left = 0
        start = n
        limit = _BLOCK
        if self.chunked:
            n += _CHUNK_HEAD
            limit -= 7  # CR LF, and the last chunk: 0 CR LF CR LF
        begin = n
        ended = False
        file = self.pieces if hasattr(self.pieces, "readinto") else None
        if file is not None:
            got = file.readinto(memoryview(block)[n:limit])
            n += got
            ended = not got
        while file is None and n < limit:
            piece = self.rest
            if not piece:
                piece = next(self.pieces, None)
                if piece is None:
                    ended = True
                    break
                if not isinstance(piece, bytes):
                    piece = piece.encode()
            take = min(len(piece), limit - n)
            block[n : n + take] = piece[:take]
            self.rest = piece[take:]
            n += take
        if self.chunked:
            if n > begin:
                block[start:begin] = b"%04x\r\n" % (n - begin)
                block[n : n + 2] = http1.CHUNK_END
                n += 2
            else:
                n = start
            if ended:
                block[n : n + 5] = http1.LAST_CHUNK
                n += 5
        if ended:
            self._end_pieces()
        return n

    def _end_pieces(self):
        if hasattr(self.pieces, "close"):
            self.pieces.close()
        self.pieces = None

    def close(self):
        self._end_pieces()
        super().close()


def _plain(text):
    """Text that may stand in JSON and in a log as it is: everything else becomes a question mark."""
    return "".join([letter if " " <= letter <= "~" and letter not in '"\\<>' else "?" for letter in text[:80]])

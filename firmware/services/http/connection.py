"""One connection of the web server: HTTP/1.1 (RFC 9110, RFC 9112).

In: bytes, in any pieces, pipelined or not. Out: one response for each request, in their order. Connections stay open
(keep-alive), so that a browser needs only one. What is answered to whom is settled before the first byte of a body is
taken: guard.py says who it is, `api` what there is.

Buffers: all connections share one of 1 KiB, for input (a longer head: 431) and for output; a connection keeps of its
own only what is not a whole request yet, a body of 512 bytes at most (larger ones go to a file as they come, see
upload.py), and what its socket does not take. Documents are generators: head and first piece leave in one write, the
rest as the client takes it. A file comes with a block of its own, and what of it a socket does not take is read again.
"""

from micropython import const

import http1
from firmware.net import seam
from firmware.net.budget import REASONS
from firmware.net.listener import Connection
from firmware.services.http.guard import Guard, Refused

BLOCK = const(1024)
_SINK = const(128)  # bytes of a document that are made at once, and a piece more
_CHUNK_HEAD = const(6)  # bytes
_REQUEST_MS = const(10000)  # from the first byte of a request to its last
_DRAIN_MAX = const(16384)  # of a request that was refused: read, or closing would reset it before our reason arrives
_JSON = "application/json"
_KEPT = (b"x-meterport", b"cookie", b"origin", b"accept-encoding", b"if-none-match")


class Desk:
    """What all connections of `server` share while there are any: buffers, and the decision what a request gets."""

    def __init__(self, server):
        self.api = server.api
        self.guard = Guard(server)
        self.public_status = server.public_status
        self.commissioning = server.commissioning
        # For input, and for the response that is being made: what came with a request is put aside before it is
        # answered, and what was made is sent, or copied, before anything is read.
        self.block = bytearray(BLOCK)
        self.sink = seam.Sink(2 * _SINK)  # takes what a document says, one piece after the other
        self.head = None  # of a document, since most are alike

    def admit(self, request):
        """Says who `request` is from and whether that may be: the longest body that it may have. Raises HttpError."""
        path = request.path
        method = request.method
        reads = method == "GET" or method == "HEAD"
        request.session = None
        access, methods, longest = self.api.find(path)
        if access is None:
            raise _closing(request, _no_page(path))
        # The connection ends with what is refused when a body is on its way.
        if method not in methods.split(", "):
            raise _closing(request, Refused(405, "no such method for this path", (), (("Allow", methods),)))
        try:
            if path != "/":
                if reads:
                    self.guard.check_host(request)
                else:
                    self._check_command(request)
                request.session = self.guard.session(request)
            self._check_access(request, access, reads)
        except Refused as error:
            raise _closing(request, error) from None
        if reads:
            longest = 0
        if request.content_length > longest:
            raise http1.HttpError(
                413, "body longer than %d bytes" % longest if longest else "no request body is expected here"
            )
        return longest

    def _check_command(self, request):
        from firmware.services.http.refusal import check_command

        self.guard.check_host(request)
        check_command(request)
        self.api.forget("firmware.services.http.refusal")

    def _check_access(self, request, access, reads):
        if access == "open" or request.session is not None:
            return
        why = ""
        if access == "read":
            if self.public_status if reads else self.commissioning:
                return
            why = ", and http.%s is off" % ("public_status" if reads else "commissioning")
        raise Refused(403, "not logged in" + why)

    def answer(self, request, body, connection):
        """What connection.respond() takes, for a request that was admitted; None when the connection is told later.
        Raises http1.HttpError and OSError."""
        try:
            found = self.api.call(request, body, connection)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        except OSError as error:
            if request.method == "GET" or request.method == "HEAD":
                raise
            raise Refused(409, str(error)) from None
        except MemoryError:
            raise Refused(503, "the device is short of memory for this: close other pages and try again") from None
        return (200, _JSON, None) + found if found is not None and len(found) == 2 else found


class HttpConnection(Connection):
    """One browser, or one of its several connections."""

    # In the class, since each attribute of an object makes its table larger, and most requests leave these alone.
    begun_ms = None  # when the request whose end has not come began
    request = None  # whose body is on its way
    body = None  # what has come of it: a bytearray, or an upload, which is alike as far as it goes
    paused = False  # the body has to wait
    head_only = False
    waits = None  # what will call tell(), and can be told by its cancel() that nobody wants to know any more
    version = 11
    draining = 0

    def __init__(self, server, stream, slot):
        super().__init__(stream, slot, server.budget, server.events)
        self.server = server
        self.desk = server.desk
        self.left = b""  # input that is no whole request yet, or whose turn has not come
        self.pieces = None  # the response under way, as respond() takes it
        self.rest = b""  # of a piece that did not fit into the block
        self.head_left = 0  # of it, since it is the head of a response
        self.chunked = False
        self.keep_alive = False

    def on_ready(self, events):
        # Whoever sends a body that is wanted is busy, and all the same read from.
        if self.request is not None and self._kept is None:
            self.on_input()
        else:
            Connection.on_ready(self, events)

    def on_input(self):
        rx = self.desk.block
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
        if have:
            self.desk.block[:have] = self.left
        return have

    def _serve(self, have):
        """Answers the requests in the first `have` bytes of the shared buffer, one after the other."""
        rx = self.desk.block
        while have and not self.draining:
            self.left = b""
            try:
                if self.request is None:
                    end = http1.head_end(rx, have)
                    if end < 0:
                        self._keep(0, have)
                        self._note_begin()
                        return
                    request = http1.parse(rx, end, _KEPT, _DRAIN_MAX)
                    self._keep(end, have)
                    self._begin(request)
                else:
                    self._take(have)
                if self.request is not None:
                    if self.paused:
                        return
                    have = self._fetch()
                    continue
            except http1.HttpError as error:
                self._refuse(error)
            if self.closed or self.waits is not None or not self._continue():
                return
            have = self._fetch()

    def _keep(self, begin, end):
        self.left = bytes(memoryview(self.desk.block)[begin:end]) if begin < end else b""

    def _note_begin(self):
        if self.begun_ms is None:
            self.begun_ms = seam.ticks_ms()

    def _begin(self, request):
        """Answers a request, or begins to take its body. Raises HttpError."""
        server = self.server
        server.counters.requests += 1
        self.keep_alive = request.keep_alive
        if request.version != self.version:
            self.version = request.version
        if request.method == "HEAD":
            self.head_only = True
        longest = self.desk.admit(request)
        if not request.content_length:
            self._answer(request, b"")
            return
        self.body = self._upload() if longest > BLOCK else bytearray()
        self.paused = longest > BLOCK
        self.request = request
        self._note_begin()
        self.slot.used_ms = seam.ticks_ms()  # or it may have been idle for so long that the sweep takes it
        self.slot.busy = request.session is not None
        if self.paused:
            seam.interest(self.stream, 0)
            self.go_on()
        if request.expect_continue:
            self.send(http1.CONTINUE, len(http1.CONTINUE))

    def _upload(self):
        try:
            return self.desk.api.once("upload", "Upload")
        except (OSError, MemoryError) as error:
            raise http1.HttpError(503, "nothing can be uploaded now: %s" % error) from None

    def _take(self, have):
        """Of the shared buffer's first `have` bytes what belongs to the body. Answers its request with its last
        byte."""
        request = self.request
        missing = request.content_length - len(self.body)
        n = min(have, missing)
        self.body.extend(memoryview(self.desk.block)[:n])
        self._keep(n, have)
        if n == missing:
            body = self.body
            self.request = self.body = None
            if isinstance(body, bytearray):
                self._answer(request, body)
            else:
                body.hand_over(self)

    def _answer(self, request, body):
        if self.begun_ms is not None:
            self.begun_ms = None
        try:
            found = self.desk.answer(request, body, self)
        except OSError as error:
            self.events.add("http", "%s: %r" % (request.path, error))
            raise http1.HttpError(500, "a file cannot be read or written", False) from None
        if found is not None:
            self.respond(*found)
        elif not self.closed:
            self.slot.busy = True
            seam.interest(self.stream, 0)

    def tell(self, status, pieces):
        """The answer to a request whose api.call() had given None, which has `waits` set."""
        self.waits = None
        seam.interest(self.stream, seam.READ)
        self.respond(status, _JSON, None, pieces, ())
        self.on_sent()

    def tell_error(self, error):
        """The same for one that has failed."""
        self.waits = None
        seam.interest(self.stream, seam.READ)
        self._refuse(error)
        self.on_sent()

    def _refuse(self, error):
        """The response that an error calls for, as JSON."""
        self.server.counters.refused += 1
        self.begun_ms = self.request = None
        self.paused = False
        self._drop_body()
        if error.close:
            self.keep_alive = False
            self.left = b""
            self.draining = _DRAIN_MAX
            self.events.add("http", "request refused: %d %s" % (error.status, error.reason))
        text = '{"error":"%s","status":%d' % (_plain(error.reason), error.status)
        fields = getattr(error, "fields", ())
        extra = getattr(error, "extra", ())
        if fields:
            from firmware.services.http.refusal import with_fields

            self.respond(error.status, _JSON, None, with_fields(text, fields), extra)
            self.desk.api.forget("firmware.services.http.refusal")
        else:
            body = text.encode() + b"}"
            self.respond(error.status, _JSON, len(body), iter((body,)), extra)

    def respond(self, status, kind, length, pieces, extra):
        """Prepares a response. `length` of the body, None when it ends with its pieces; `pieces`: a
        generator of bytes, of texts, or of None when it has written to the desk's sink itself; or a file, which
        may bring a `block` to be read into. `extra`: header fields (name, value), or all of the head as bytes."""
        self.chunked = length is None and self.version == 11
        if length is None and not self.chunked:
            self.keep_alive = False  # HTTP/1.0: the end of the document is the end of the connection
        if self.chunked:
            length = http1.CHUNKED
        self.slot.busy = True
        if isinstance(extra, bytes):
            self.rest = extra
        elif status == 200 and kind is _JSON and self.chunked and self.keep_alive and not extra:
            self.rest = self.desk.head = self.desk.head or http1.response_head(status, kind, length, True)
        else:
            self.rest = http1.response_head(status, kind, length, self.keep_alive, extra)
        self.head_left = len(self.rest)
        self.pieces = pieces
        if self.head_only:
            self._end_pieces()
            self.pieces = iter(())
            self.chunked = self.head_only = False

    def on_sent(self):
        if self.paused:
            seam.interest(self.stream, 0)
        elif self.request is not None:  # all that was sent was that its body may come
            self._serve(self._fetch())
        elif self._continue():
            self._serve(self._fetch())

    def _continue(self):
        """Sends the response as far as the client takes it. True when all of it has left and the next may come."""
        block = self.desk.block
        while self.pieces is not None:
            if hasattr(self.pieces, "readinto"):
                if not self._send_file(self.pieces, getattr(self.pieces, "block", block)):
                    return False
                self._end_pieces()
                break
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

    def _send_file(self, file, block):
        """Sends a file as far as the client takes it. True when all of it has left."""
        if self.head_left:
            n = self._head(block)
            n += file.readinto(memoryview(block)[n:BLOCK])
            if not self.send(block, n):
                return False
        n = file.readinto(block)
        while n:
            sent = self._write(block, n)
            if sent < n:
                if sent >= 0:
                    file.seek(sent - n, 1)
                    self._wait(b"")
                return False
            n = file.readinto(block)
        return True

    def _head(self, block):
        """The head of the response into the block, in which it has room: our own are shorter than 600 bytes."""
        n = self.head_left
        block[:n] = self.rest
        self.rest = b""
        self.head_left = 0
        return n

    def _fill(self, block):
        """The next block of the response; its length. At the end of the response `pieces` becomes None."""
        start = self._head(block) if self.head_left else 0
        begin = start
        limit = BLOCK
        if self.chunked:
            begin += _CHUNK_HEAD
            limit -= 7  # CR LF, and the last chunk: 0 CR LF CR LF
        n = self._make(memoryview(block), begin, limit)
        ended = n < limit and not self.rest
        if self.chunked:
            if n > begin:
                block[start:begin] = http1.chunk_head(n - begin)
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

    def _make(self, view, n, limit):
        """The next pieces of the document into view[n:limit]; where they end: before `limit` with the document."""
        sink = self.desk.sink
        more = True
        while more and n < limit:
            sink.seek(0)
            if self.rest:
                sink.write(self.rest)
                self.rest = b""
            while more and sink.tell() < _SINK:
                piece = next(self.pieces, sink)
                if piece is sink:
                    more = False
                elif piece:
                    sink.write(piece)
            made = sink.tell()
            take = min(made, limit - n)
            sink.seek(0)
            sink.readinto(view[n : n + take])
            n += take
            if made > take:
                self.rest = sink.read(made - take)
        return n

    def _end_pieces(self):
        if hasattr(self.pieces, "close"):
            self.pieces.close()
        self.pieces = None

    def go_on(self):
        """An upload may have to wait until it can be taken."""
        if not isinstance(self.body, bytearray) and self.body.ready():
            self.paused = False
            seam.interest(self.stream, seam.READ)

    def hurry(self):
        """Called by the sweep: a request that has been coming for too long is given up."""
        if self.paused and self._kept is None:
            self.go_on()
            if not self.paused:
                self._serve(self._fetch())
                return
        if self.begun_ms is None or seam.ticks_diff(seam.ticks_ms(), self.begun_ms) < _REQUEST_MS or self._kept:
            return
        self.left = b""
        self.budget.evictions[REASONS.index("timeout")] += 1
        self._refuse(http1.HttpError(408, "the request has not come whole within %d s" % (_REQUEST_MS // 1000)))
        self.draining = 0
        self._continue()

    def _drop_body(self):
        # An attribute that is the class's is not set: that would take memory, and this is called for want of it, too.
        body = self.body
        if body is not None:
            self.body = None
            if hasattr(body, "drop"):
                body.drop()

    def close(self):
        self._end_pieces()
        self._drop_body()
        if self.request is not None:
            self.request = None
        if self.waits is not None:
            self.waits.cancel()
            self.waits = None
        Connection.close(self)


def _closing(request, error):
    """The same error; the connection ends with it when a body is on its way, which nobody will read."""
    if request.content_length:
        error.close = True
    return error


def _no_page(path):
    # Browsers ask for icons by themselves: once a day will do.
    extra = (("Cache-Control", "max-age=86400"),) if path == "/favicon.ico" else ()
    return Refused(404, "no such page: %s" % path, (), extra)


def _plain(text):
    """Text that may stand in JSON and in a log as it is: everything else becomes a question mark."""
    return "".join([letter if " " <= letter <= "~" and letter not in '"\\<>' else "?" for letter in text[:80]])

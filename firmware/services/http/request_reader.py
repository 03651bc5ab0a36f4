"""Requests out of what one client sends. No I/O, no clock.

In:  a buffer that all connections share, with what has come. Out: one http1.Request after the other, each with
     `body` (bytes or bytearray) and what admit() has added; or http1.HttpError.
A reader keeps of its own only what is no whole request yet, or whose turn has not come; a body lies in a bytearray that
is taken as long as it will be, once the head has come whole and was admitted: so that the want of memory is met, and
told, before the body.

    n = reader.restore(buf)            how much of buf is taken: input goes behind it, as far as there is room
    request = reader.take(buf, n)      None while more must come; what is behind the request is kept
    ... and again, until restore() gives 0 or take() gives None.
"""

from micropython import const

import http1
from firmware.services.http.errors import SHORT, Refused

BODY_MAX = const(16384)  # whatever the path: longer ones are refused by their head
_KEPT = (b"x-meterport", b"cookie", b"origin", b"accept-encoding", b"if-none-match")


class RequestReader:
    """`admit(request)` gives the longest body that this request may have, in bytes, or raises http1.HttpError.

    `request` is the one whose head has come and which take() has not given yet: its body is on the way, or it was
    refused by the HttpError that take() has raised. None without such a one. `left`: input that is no whole head yet,
    or whose turn has not come."""

    def __init__(self, admit):
        self.request = None
        self._admit = admit
        self.left = b""
        self._searched = 0  # bytes of it in which no head ends
        self._filled = 0  # bytes of the body that have come

    @property
    def owes_continue(self):
        """Whether the client waits for http1.CONTINUE before it sends the body."""
        return self.request is not None and self.request.expect_continue and not self._filled

    def restore(self, buf):
        """Puts what was kept into buf; how much it is."""
        n = len(self.left)
        if n:
            buf[:n] = self.left
        return n

    def take(self, buf, n):
        """The next request in buf[:n], which begins with what restore() has put there. Raises HttpError; when that
        closes, what follows is nobody's."""
        at = 0
        if self.request is None:
            at = http1.head_end(buf, n, self._searched)
            if at < 0:
                self._keep(buf, 0, n)
                self._searched = n
                return None
            self._searched = 0
            self.left = b""
            self.request = request = http1.parse(buf, at, _KEPT, BODY_MAX)
            if not request.content_length:
                self._keep(buf, at, n)
            self._begin_body(request)
        return self._take_body(buf, at, n)

    def drop(self):
        """What has come is given up."""
        self.request = None
        self.left = b""
        self._searched = self._filled = 0

    def _keep(self, buf, begin, end):
        self.left = bytes(memoryview(buf)[begin:end]) if begin < end else b""

    def _begin_body(self, request):
        """Raises HttpError, closing when a body is on its way, which nobody will read."""
        request.body = b""
        self._filled = 0
        length = request.content_length
        try:
            longest = self._admit(request)
            if length > longest:
                raise http1.HttpError(
                    413, "body longer than %d bytes" % longest if longest else "no request body is expected here"
                )
            if length:
                request.body = bytearray(length)
        except MemoryError:
            raise _closing(Refused(503, SHORT), length) from None
        except http1.HttpError as error:
            raise _closing(error, length) from None

    def _take_body(self, buf, at, n):
        request = self.request
        filled = self._filled
        missing = request.content_length - filled
        if missing:
            taken = min(missing, n - at)
            request.body[filled : filled + taken] = memoryview(buf)[at : at + taken]
            self._filled = filled + taken
            self._keep(buf, at + taken, n)
            if taken < missing:
                return None
        self.request = None
        return request


def _closing(error, length):
    if length:
        error.close = True
    return error

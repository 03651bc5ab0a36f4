"""Makes requests of the bytes that one client sends. No I/O, no clock.

In:  a buffer that all connections share, with the input. Out: one http1.Request after the other, each with `body`
     (bytes or bytearray) and what admit() has added; or http1.HttpError.
A reader keeps copies of incomplete requests and of input behind the current request only. If a head does not fit into
the buffer, fields without a use are dropped as they come, so that a head may have up to 8 KiB. A body's bytearray is
allocated at its full length once its head is admitted: a lack of memory is answered before the body comes.

    n = reader.restore(buf)            buf[:n] is kept input; new input goes behind it, as far as there is room
    request = reader.take(buf, n)      None while more must come; input behind the request is kept
    ... and again, until restore() gives 0 or take() gives None.
"""

from micropython import const

import http1
from firmware.services.http.response import SHORT, Refused

_TYPING = const(0)
if _TYPING:
    from firmware.services.http.connection import HttpConnection

BODY_MAX = const(16384)  # of any path: a longer body is refused by its head
_HEAD_MAX = const(8192)  # bytes; a browser sends up to 2 KB, a proxy adds as much
# At least a quarter of a full buffer must become free, or a head sent in crumbs would cost much time.
_NEEDED_MAX = const(768)
_KEPT = (b"x-meterport", b"cookie", b"origin", b"accept-encoding", b"if-none-match")


class RequestReader:
    """`owner.admit(request)` gives the longest body of a request, in bytes, or raises http1.HttpError.

    `request`: its head is complete and take() has not returned it: its body is coming, or take() has raised. None
    otherwise. `left`: input of an incomplete head, or behind the current request."""

    def __init__(self, owner: "HttpConnection") -> None:
        self.request: "http1.Request | None" = None
        self._owner = owner
        self.left = b""
        self._searched = 0  # bytes of `left` in which no head ends
        self._dropped = 0  # bytes of the head that were left out
        self._cut_at = -1  # index in `left` where the rest of a dropped field comes
        self._filled = 0  # bytes of the body that have come

    def owes_continue(self) -> bool:
        """True when the client waits for http1.CONTINUE before it sends the body."""
        return self.request is not None and self.request.expect_continue and not self._filled

    def restore(self, buf: bytearray) -> int:
        """Copies kept input to the beginning of buf; returns its length in bytes."""
        n = len(self.left)
        if n:
            buf[:n] = self.left
        return n

    def take(self, buf: bytearray, n: int) -> "http1.Request | None":
        """The next request in buf[:n], which begins with what restore() has copied; None while it is incomplete. Raises
        HttpError; if its `close` is set, further input must not be read as a request."""
        at = 0
        if self.request is None:
            if self._cut_at >= 0:
                n = self._pass_over(buf, n)
            at = http1.head_end(buf, n, self._searched, _HEAD_MAX)  # no limit: longer than the buffer
            if self._dropped + max(at, 0) > _HEAD_MAX:
                raise http1.HttpError(431, "request head too long")
            if at < 0:
                self._keep(buf, 0, n)
                self._searched = n
                if n == len(buf):
                    self._make_room(buf, n)
                return None
            self._searched = self._dropped = 0
            self.left = b""
            self.request = request = http1.parse(buf, at, _KEPT, BODY_MAX)
            if not request.content_length:
                self._keep(buf, at, n)
            self._begin_body(request)
            if not request.content_length:
                self.request = None
                return request
        return self._take_body(buf, at, n)

    def drop(self) -> None:
        """Drops all input."""
        self.request = None
        self.left = b""
        self._searched = self._dropped = self._filled = 0
        self._cut_at = -1

    def _keep(self, buf, begin, end):
        self.left = bytes(memoryview(buf)[begin:end]) if begin < end else b""

    def _make_room(self, buf, n):
        """Keeps of the head in buf[:n] only fields with a use. Raises HttpError when they are too long."""
        self.left, self._cut_at = http1.without_fields(buf, n, _KEPT)
        left = len(self.left)
        self._searched = 0
        self._dropped += n - left
        if left > _NEEDED_MAX:
            http1.head_end(buf, n)  # raises the error of a buffer that is full
            raise http1.HttpError(431, "request head too long")

    def _pass_over(self, buf, n):
        """Removes the rest of a dropped field from buf[:n]; returns the new n. Raises HttpError."""
        begin = self._cut_at
        end, has_ended = http1.field_rest(buf, begin, n)
        rest = bytes(memoryview(buf)[end:n])
        n = begin + len(rest)
        buf[begin:n] = rest
        self._dropped += end - begin
        if has_ended:
            self._cut_at = -1
        return n

    def _begin_body(self, request):
        """Allocates the body. Raises HttpError, with `close` if a body is coming, which will not be read."""
        self._filled = 0
        length = request.content_length
        try:
            longest = self._owner.admit(request)
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
        taken = min(request.content_length - filled, n - at)
        request.body[filled : filled + taken] = memoryview(buf)[at : at + taken]
        self._filled = filled + taken
        self._keep(buf, at + taken, n)
        if self._filled < request.content_length:
            return None
        self.request = None
        return request


def _closing(error, length):
    if length:
        error.close = True
    return error

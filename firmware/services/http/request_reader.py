"""Requests out of what one client sends. No I/O, no clock.

In:  a buffer that all connections share, with what has come. Out: one http1.Request after the other, each with
     `body` (bytes or bytearray) and what admit() has added; or http1.HttpError.
A reader keeps of its own only what is no whole request yet, or whose turn has not come. Of a head that does not fit
into the buffer, the fields nobody needs are left out as they come, so that one of up to 8 KiB is taken. The bytearray
of a body is allocated at its full length when its head was admitted: a lack of memory is met, and answered, before the
body comes.

    n = reader.restore(buf)            how much of buf is taken: input goes behind it, as far as there is room
    request = reader.take(buf, n)      None while more must come; what is behind the request is kept
    ... and again, until restore() gives 0 or take() gives None.
"""

from micropython import const

import http1
from firmware.services.http.response import SHORT, Refused

_TYPING = const(0)
if _TYPING:
    from firmware.services.http.connection import HttpConnection

BODY_MAX = const(16384)  # whatever the path: longer ones are refused by their head
_HEAD_MAX = const(8192)  # bytes; a browser sends up to 2 KB, a proxy adds as much
# Of a buffer that is full, a quarter at least must become free, or a head sent in crumbs would cost much time.
_NEEDED_MAX = const(768)
_KEPT = (b"x-meterport", b"cookie", b"origin", b"accept-encoding", b"if-none-match")


class RequestReader:
    """`owner.admit(request)` gives the longest body that this request may have, in bytes, or raises http1.HttpError.

    `request` is the one whose head has come and which take() has not given yet: its body is on the way, or it was
    refused by the HttpError that take() has raised. None without such a one. `left`: input that is no whole head yet,
    or whose turn has not come."""

    def __init__(self, owner: "HttpConnection") -> None:
        self.request: "http1.Request | None" = None
        self._owner = owner
        self.left = b""
        self._searched = 0  # bytes of it in which no head ends
        self._dropped = 0  # bytes of the head that were left out
        self._cut_at = -1  # index in `left` where the rest of a field comes that is left out
        self._filled = 0  # bytes of the body that have come

    @property
    def owes_continue(self) -> bool:
        """Whether the client waits for http1.CONTINUE before it sends the body."""
        return self.request is not None and self.request.expect_continue and not self._filled

    def restore(self, buf: bytearray) -> int:
        """Puts what was kept into buf; how much it is."""
        n = len(self.left)
        if n:
            buf[:n] = self.left
        return n

    def take(self, buf: bytearray, n: int) -> "http1.Request | None":
        """The next request in buf[:n], which begins with what restore() has put there. Raises HttpError; when that
        closes, what follows is not read as a request."""
        at = 0
        if self.request is None:
            if self._cut_at >= 0:
                n = self._pass_over(buf, n)
            at = http1.head_end(buf, n, self._searched, len(buf) + 1)
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
        return self._take_body(buf, at, n)

    def drop(self) -> None:
        """Gives up what has come."""
        self.request = None
        self.left = b""
        self._searched = self._dropped = self._filled = 0
        self._cut_at = -1

    def _keep(self, buf, begin, end):
        self.left = bytes(memoryview(buf)[begin:end]) if begin < end else b""

    def _make_room(self, buf, n):
        """Leaves out of the head in buf[:n] what nobody needs. Raises HttpError when it is too long."""
        self.left, self._cut_at = http1.without_fields(buf, n, _KEPT)
        left = len(self.left)
        self._searched = 0
        self._dropped += n - left
        if left > _NEEDED_MAX:
            http1.head_end(buf, n)  # raises the error of a buffer that is full
            raise http1.HttpError(431, "request head too long")

    def _pass_over(self, buf, n):
        """Takes what has come of a field that is left out from buf[:n]; the new n. Raises HttpError."""
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
        """Raises HttpError, closing when a body is on its way, which nobody will read."""
        request.body = b""
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

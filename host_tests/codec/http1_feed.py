"""Feeds request heads to http1 in every way they can arrive, and insists that the way makes no difference."""

from expect import feed_bytewise, raises

import http1

LIMIT = 1024
# What may stand behind a head: a body, the next request, line ends, and bytes that would be an error in a head.
TAILS = (b"{}", b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n", b"\n\n\0\xff")


def fields(request):
    """Everything a Request holds, for comparison."""
    return (
        request.method,
        request.path,
        request.query,
        request.version,
        request.host,
        sorted(request.headers.items()),
        request.content_length,
        request.expect_continue,
        request.keep_alive,
    )


class _Resumed:
    """head_end() as a server calls it: each call goes on where the last one stopped."""

    def __init__(self):
        self.start = 0

    def ready(self, buf, n):
        end = http1.head_end(buf, n, self.start, LIMIT)
        self.start = n
        return end


def request(data, keep=(), body_max=0):
    """The Request in `data`, which is one head: whole, byte by byte, and with every tail behind it."""
    assert http1.head_end(data, len(data), 0, LIMIT) == len(data), data
    parsed = http1.parse(data, len(data), keep, body_max)
    assert feed_bytewise(_Resumed().ready, data, LIMIT) == (len(data), len(data)), data
    for tail in TAILS:
        buf = bytearray(data + tail)
        end = http1.head_end(buf, len(buf), 0, LIMIT)
        assert end == len(data), data
        assert fields(http1.parse(buf, end, keep, body_max)) == fields(parsed), data
        assert buf == data + tail  # the buffer is the caller's
    return parsed


def refusal(data, keep=(), body_max=0):
    """The HttpError that `data` is answered with: whole, byte by byte, and with every tail behind it."""

    def whole(buf, n):
        end = http1.head_end(buf, n, 0, LIMIT)
        assert end >= 0, data
        http1.parse(buf, end, keep, body_max)

    def bytewise():
        end, n = feed_bytewise(_Resumed().ready, data, LIMIT)
        assert end >= 0, data
        http1.parse(data[:n], end, keep, body_max)

    error = raises(http1.HttpError, whole, data, len(data))
    assert raises(http1.HttpError, bytewise).status == error.status, data
    for tail in TAILS:
        assert raises(http1.HttpError, whole, data + tail, len(data + tail)).status == error.status, data
    assert error.close
    assert error.reason == str(error)
    return error

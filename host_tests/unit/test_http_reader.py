"""Requests out of bytes: each vector whole, byte by byte, cut in two anywhere, and with other requests around it."""

import pytest

import http1
from firmware.services.http import request_reader
from firmware.services.http.request_reader import RequestReader
from firmware.services.http.response import Refused

BUFFER = 1024
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def head(method, path, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def put(body, *lines):
    return head("PUT", "/body", f"Content-Length: {len(body)}", *lines) + body


GOOD = [
    (head("GET", "/"), (b"GET", b"/", b"")),
    (head("GET", "/a?b=c", "Cookie: d=e", "Accept: " + "x" * 800), (b"GET", b"/a", b"")),
    (head("GET", "/a", "X: " + "x" * 1100, "Cookie: d=e"), (b"GET", b"/a", b"")),
    (head("GET", "/a", *[f"X-{k}: " + "x" * k for k in range(100)]), (b"GET", b"/a", b"")),
    (head("GET", "/a", "X: " + "x" * 7900), (b"GET", b"/a", b"")),
    (b"GET /a HTTP/1.1\r\nX: " + b"x" * 2000 + b"\r\nHost: x\r\n\r\n", (b"GET", b"/a", b"")),
    (b"\r\n\r\n" + head("HEAD", "/%41"), (b"HEAD", b"/A", b"")),
    (b"GET /old HTTP/1.0\r\n\r\n", (b"GET", b"/old", b"")),
    (head("POST", "/none", "Content-Length: 0"), (b"POST", b"/none", b"")),
    (put(b"x"), (b"PUT", b"/body", b"x")),
    (put(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), (b"PUT", b"/body", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n")),
    (put(bytes(range(256)) * 16), (b"PUT", b"/body", bytes(range(256)) * 16)),
    (put(b"z" * 3000, *[f"X-{k}: " + "x" * 90 for k in range(50)]), (b"PUT", b"/body", b"z" * 3000)),
    (put(b"y" * 12288, "Expect: 100-continue"), (b"PUT", b"/body", b"y" * 12288)),
]
BAD = [
    (b"\x16\x03\x01\x02\x00", 400),
    (b"GET / HTTP/1.1\n\n", 400),
    (b"GET /" + b"x" * 2000, 414),
    (head("GET", "/", "X: " + "x" * 8300), 431),
    (head("GET", "/", *["X: " + "x" * 100] * 90), 431),
    (head("GET", "/", "Cookie: " + "x" * 1100), 431),
    (head("GET", "/", "X: " + "x" * 500, "Cookie: " + "x" * 1000), 431),
    (head("GET", "/", "X: " + "x" * 1100 + "\0" + "x" * 500), 400),
    (head("GET", "/", "X: " + "x" * 500 + "\0", "Y: " + "y" * 1100), 400),
    (head("GET", "/", "X: " + "x" * 1500 + "\ry"), 400),
    (head("GET", "/", "X: " + "x" * 500, " folded: " + "y" * 400, "Z: " + "z" * 300), 400),
    (head("GET", "/", "X: " + "x" * 500, "no colon", "Z: " + "z" * 900), 400),
    (head("GET", "/", "X : " + "x" * 500, "Z: " + "z" * 900), 400),
    (head("GET", "/", "X: " + "x" * 2000, "Host: y"), 400),
    (head("POST", "/body", "X: " + "x" * 2000, "Content-Length: 1", "Y: " + "x" * 900, "Content-Length: 1"), 400),
    (head("GET", "/", "Transfer-Encoding: chunked"), 411),
    (head("GET", "/", "Content-Length: 16385"), 413),
    (head("GET", "/", "Content-Length: 1") + b"x", 413),
    (head("PUT", "/body", "Content-Length: 12289") + b"x" * 12289, 413),
    (head("GET", "/refused", "Content-Length: 3") + b"abc", 403),
]


class Owner:
    """What a reader asks of its connection."""

    def __init__(self, admit):
        self.admit = admit


def admit(request):
    request.session = None
    if request.path == b"/refused":
        raise Refused(403, "no")
    return 12288 if request.path == b"/body" else 0


class Client:
    """Feeds a reader as a connection does; `got` are requests, and the status and close of refusals."""

    def __init__(self):
        self.reader = RequestReader(Owner(admit))
        self.buffer = bytearray(BUFFER)
        self.got = []
        self.closed = False

    def feed(self, data):
        while data and not self.closed:
            have = self.reader.restore(self.buffer)
            n = min(len(data), BUFFER - have)
            self.buffer[have : have + n] = data[:n]
            data = data[n:]
            self.serve(have + n)

    def serve(self, n):
        while n and not self.closed:
            try:
                request = self.reader.take(self.buffer, n)
            except http1.HttpError as error:
                self.got.append((error.status, error.close))
                self.reader.request = None
                self.closed = error.close
            else:
                if request is None:
                    return
                self.got.append((request.method, request.path, bytes(request.body)))
            for k in range(BUFFER):
                self.buffer[k] = 0xAA  # the response is made in the same buffer
            n = self.reader.restore(self.buffer)


def read(*pieces):
    client = Client()
    for piece in pieces:
        client.feed(piece)
    return client.got


@pytest.mark.parametrize(("data", "expected"), GOOD)
def test_a_request_comes_out_the_same_in_whatever_pieces_it_comes_in(data, expected):
    assert read(data) == [expected]
    assert read(*[data[k : k + 1] for k in range(len(data))]) == [expected]
    for step in (2, 3, 7, 100, 1023, 1025):
        assert read(*[data[k : k + step] for k in range(0, len(data), step)]) == [expected], step
    for cut in range(0, len(data), 1 + len(data) // 300):
        assert read(data[:cut], data[cut:]) == [expected], cut


@pytest.mark.parametrize(("data", "expected"), GOOD)
def test_what_stands_around_a_request_does_not_change_it(data, expected):
    after = (b"GET", b"/next", b"")
    assert read(data + NEXT) == [expected, after]
    assert read(NEXT + data + NEXT[:-1], NEXT[-1:]) == [after, expected, after]
    whole = NEXT + data + NEXT + data
    for step in (1, 5, 64, 999):
        pieces = [whole[k : k + step] for k in range(0, len(whole), step)]
        assert read(*pieces) == [after, expected, after, expected], step


@pytest.mark.parametrize(("data", "status"), BAD)
def test_what_cannot_be_a_request_is_refused_for_good_in_whatever_pieces_it_comes(data, status):
    for step in (len(data), 1, 7, 1000):
        pieces = [data[k : k + step] for k in range(0, len(data), step)]
        assert read(*pieces, NEXT) == [(status, True)], step
        assert read(NEXT, *pieces) == [(b"GET", b"/next", b""), (status, True)], step


FORWARDED = (
    "Forwarded: for=192.0.2.60;proto=https;by=203.0.113.43", "X-Forwarded-For: 192.0.2.60", "Via: 1.1 proxy",
    "Authorization: Bearer " + "a" * 1500, "User-Agent: " + "u" * 300, "X-Request-Id: " + "f" * 64,
)  # fmt: skip


def test_fields_that_are_needed_come_out_of_a_head_of_eight_kilobytes():
    """Wherever they stand in it and however it is cut."""
    needed = ["Cookie: a=b", "X-Meterport: 1", "Cookie: session=c", "Origin: https://meters.example.org"]
    for k in range(len(needed) + 1):
        lines = [*needed[:k], *FORWARDED, *needed[k:], "X: " + "x" * 5000, "Content-Length: 2"]
        data = head("PUT", "/body", *lines) + b"{}"
        assert 7000 < len(data) < 8192
        for step in (1, 3, 500, 1024):
            seen = []
            client = Client()
            client.reader = RequestReader(Owner(lambda request, seen=seen: seen.append(request) or 10))
            for at in range(0, len(data), step):
                client.feed(data[at : at + step])
                assert len(client.reader.left) <= BUFFER
            assert client.got == [(b"PUT", b"/body", b"{}")]
            assert seen[0].headers == {
                b"cookie": b"a=b; session=c", b"x-meterport": b"1", b"origin": b"https://meters.example.org",
            }  # fmt: skip
            assert (seen[0].host, seen[0].content_length) == (b"x", 2)


def test_two_long_heads_in_a_row_are_two_requests():
    data = head("GET", "/", *FORWARDED) + head("GET", "/a", *FORWARDED) + NEXT
    for step in (1, 7, 1000):
        pieces = [data[k : k + step] for k in range(0, len(data), step)]
        assert read(*pieces) == [(b"GET", b"/", b""), (b"GET", b"/a", b""), (b"GET", b"/next", b"")], step


def test_a_head_sent_in_crumbs_is_not_gone_through_for_each_of_them(monkeypatch):
    """What has to be kept leaves a quarter of the buffer free, or is too much."""
    calls = []
    monkeypatch.setattr(http1, "without_fields", lambda *args, f=http1.without_fields: calls.append(1) or f(*args))
    data = head("GET", "/", "Cookie: " + "c" * 700, *["a:b"] * 1000)
    assert read(*[data[k : k + 4] for k in range(0, len(data), 4)]) == [(b"GET", b"/", b"")]
    assert len(calls) < 32


def test_a_request_without_a_body_is_refused_and_the_next_one_is_read(monkeypatch):
    assert read(head("GET", "/refused") + NEXT) == [(403, False), (b"GET", b"/next", b"")]


def test_nothing_is_asked_of_anybody_before_the_head_is_whole():
    asked = []
    reader = RequestReader(Owner(lambda request: asked.append(request.path) or 10))
    buffer = bytearray(BUFFER)
    data = head("PUT", "/x", "Content-Length: 10")
    buffer[: len(data)] = data
    assert reader.take(buffer, len(data) - 1) is None
    assert (asked, reader.request) == ([], None)
    reader.restore(buffer)
    buffer[len(data) - 1 : len(data)] = data[-1:]
    assert reader.take(buffer, len(data)) is None
    assert asked == [b"/x"]
    assert reader.request.path == b"/x"


def test_room_for_a_body_is_taken_at_once_and_only_when_it_was_admitted(monkeypatch):
    taken = []
    monkeypatch.setattr(request_reader, "bytearray", lambda n: taken.append(n) or bytearray(n), raising=False)
    read(head("PUT", "/refused", "Content-Length: 9000"))
    assert taken == []
    read(put(b"z" * 9000)[:-8000])
    assert taken == [9000]


def test_without_memory_for_a_body_its_request_is_503(monkeypatch):
    def none_left(n):
        raise MemoryError

    monkeypatch.setattr(request_reader, "bytearray", none_left, raising=False)
    assert read(NEXT + put(b"x" * 100)) == [(b"GET", b"/next", b""), (503, True)]


def test_continue_is_owed_until_the_body_begins():
    reader = RequestReader(Owner(admit))
    buffer = bytearray(BUFFER)
    data = head("PUT", "/body", "Expect: 100-continue", "Content-Length: 2")
    assert not reader.owes_continue()
    buffer[: len(data)] = data
    assert reader.take(buffer, len(data)) is None
    assert reader.owes_continue()
    buffer[:1] = b"x"
    assert reader.take(buffer, 1) is None
    assert not reader.owes_continue()
    assert bytes(reader.take(buffer, 1).body) == b"xx"
    assert not reader.owes_continue()


def test_what_is_given_up_leaves_nothing_behind():
    client = Client()
    client.feed(put(b"x" * 100)[:-50])
    client.reader.drop()
    client.feed(NEXT[:10])
    client.reader.drop()
    client.feed(NEXT)
    assert client.got == [(b"GET", b"/next", b"")]

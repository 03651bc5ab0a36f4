"""Requests out of bytes: each vector whole, byte by byte, cut in two anywhere, and with other requests around it."""

import pytest

import http1
from firmware.services.http import request_reader
from firmware.services.http.errors import Refused
from firmware.services.http.request_reader import RequestReader

BUFFER = 1024
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


def head(method, path, *lines):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def put(body, *lines):
    return head("PUT", "/body", f"Content-Length: {len(body)}", *lines) + body


GOOD = [
    (head("GET", "/"), ("GET", "/", b"")),
    (head("GET", "/a?b=c", "Cookie: d=e", "Accept: " + "x" * 800), ("GET", "/a", b"")),
    (b"\r\n\r\n" + head("HEAD", "/%41"), ("HEAD", "/A", b"")),
    (b"GET /old HTTP/1.0\r\n\r\n", ("GET", "/old", b"")),
    (head("POST", "/none", "Content-Length: 0"), ("POST", "/none", b"")),
    (put(b"x"), ("PUT", "/body", b"x")),
    (put(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), ("PUT", "/body", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n")),
    (put(bytes(range(256)) * 16), ("PUT", "/body", bytes(range(256)) * 16)),
    (put(b"y" * 12288, "Expect: 100-continue"), ("PUT", "/body", b"y" * 12288)),
]
BAD = [
    (b"\x16\x03\x01\x02\x00", 400),
    (b"GET / HTTP/1.1\n\n", 400),
    (b"GET /" + b"x" * 2000, 414),
    (head("GET", "/", "X: " + "x" * 1100), 431),
    (head("GET", "/", "Transfer-Encoding: chunked"), 411),
    (head("GET", "/", "Content-Length: 16385"), 413),
    (head("GET", "/", "Content-Length: 1") + b"x", 413),
    (head("PUT", "/body", "Content-Length: 12289") + b"x" * 12289, 413),
    (head("GET", "/refused", "Content-Length: 3") + b"abc", 403),
]


def admit(request):
    request.session = None
    if request.path == "/refused":
        raise Refused(403, "no")
    return 12288 if request.path == "/body" else 0


class Client:
    """Feeds a reader as a connection does; `got` are requests, and the status and close of refusals."""

    def __init__(self):
        self.reader = RequestReader(admit)
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
    after = ("GET", "/next", b"")
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
        assert read(NEXT, *pieces) == [("GET", "/next", b""), (status, True)], step


def test_a_request_without_a_body_is_refused_and_the_next_one_is_read(monkeypatch):
    assert read(head("GET", "/refused") + NEXT) == [(403, False), ("GET", "/next", b"")]


def test_nothing_is_asked_of_anybody_before_the_head_is_whole():
    asked = []
    reader = RequestReader(lambda request: asked.append(request.path) or 10)
    buffer = bytearray(BUFFER)
    data = head("PUT", "/x", "Content-Length: 10")
    buffer[: len(data)] = data
    assert reader.take(buffer, len(data) - 1) is None
    assert (asked, reader.request) == ([], None)
    reader.restore(buffer)
    buffer[len(data) - 1 : len(data)] = data[-1:]
    assert reader.take(buffer, len(data)) is None
    assert asked == ["/x"]
    assert reader.request.path == "/x"


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
    assert read(NEXT + put(b"x" * 100)) == [("GET", "/next", b""), (503, True)]


def test_continue_is_owed_until_the_body_begins():
    reader = RequestReader(admit)
    buffer = bytearray(BUFFER)
    data = head("PUT", "/body", "Expect: 100-continue", "Content-Length: 2")
    assert not reader.owes_continue
    buffer[: len(data)] = data
    assert reader.take(buffer, len(data)) is None
    assert reader.owes_continue
    buffer[:1] = b"x"
    assert reader.take(buffer, 1) is None
    assert not reader.owes_continue
    assert bytes(reader.take(buffer, 1).body) == b"xx"
    assert not reader.owes_continue


def test_what_is_given_up_leaves_nothing_behind():
    client = Client()
    client.feed(put(b"x" * 100)[:-50])
    client.reader.drop()
    client.feed(NEXT[:10])
    client.reader.drop()
    client.feed(NEXT)
    assert client.got == [("GET", "/next", b"")]

"""HTTP connections: requests in any pieces, responses that a client of another make can read, and every refusal."""

import contextlib
import gzip
import http.client
import os
import re
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware import VERSION, resources
from firmware.meters import profile_loader
from firmware.meters.meter import Meter
from firmware.net.budget import REASONS, SERVICES
from firmware.services.http.response import Response
from firmware.services.modbus_tcp.counters import Counters
from host_tests.unit import the_schema
from host_tests.unit.fake_gateway import FakeBus
from host_tests.unit.fakes import defaults, store
from host_tests.unit.http_rig import OURS, Rig, get, get_page, responses
from tools import page

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make(monkeypatch, events, clock, tmp_path):
    return lambda **options: Rig(monkeypatch, events, clock, tmp_path, **options)


@pytest.fixture
def bench(make):
    """A server with documents of many lengths: /api/doc/N has N bytes in pieces of changing length."""
    made = make()
    for n in [*range(0, 40), *range(500, 530), *range(980, 1060), 2000, 2040, 2048, 3000, 65536]:
        made.document(f"/api/doc/{n}", lambda n=n: pieces_of(n))
    return made


def text_of(n):
    return "".join(chr(48 + k % 75) for k in range(n))


def pieces_of(n):
    text = text_of(n)
    at = 0
    size = 1
    while at < n:
        yield text[at : at + size]
        at += size
        size = size % 37 + 5 if size < 1500 else 1
        if at > 1000:
            size = 1600


# -- the page


def test_the_page_is_what_lies_in_the_file(bench):
    response = bench.feed(get_page())
    assert response.status == 200
    assert response.body == page.packed()
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["content-length"] == str(len(response.body))
    assert response.headers["connection"] == "keep-alive"


PACKED = ("gzip", "GZIP", "gzip, deflate, br", "deflate;q=1, gzip;q=0.5", "*", "*;q=0.1", "br, *;q=0.001", "x-gzip",
          "gzip;q=1.000", "identity;q=0.5, gzip", "gzip;q=0.5, identity;q=0.5", "identity;q=0, *")  # fmt: skip
PLAIN = (None, "", "identity", "deflate, br", "gzip;q=0", "gzip;q=0, *", "*;q=0, identity", "identity, gzip;q=0.9",
         "gzip;q=0.000", "gzipped", "gzip;q=2", "gzip;q=x", "*;q=0.5, gzip;q=0.4", "br;q=1.0")  # fmt: skip
NEITHER = ("identity;q=0", "*;q=0", "gzip;q=0, identity;q=0", "identity;q=0, deflate", "*;q=0.0, gzip;q=0")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_comes_packed_or_plain_as_the_client_takes_it(bench, method):
    """RFC 9110 12.5.3."""
    plain = page.document().encode()
    for accepted, packed in [*[(one, True) for one in PACKED], *[(one, False) for one in PLAIN]]:
        lines = () if accepted is None else (f"Accept-Encoding: {accepted}",)
        response = bench.feed(get("/", *lines, method=method), method)
        assert response.status == 200, accepted
        assert response.headers.get("content-encoding") == ("gzip" if packed else None), accepted
        assert response.headers["vary"] == "Accept-Encoding"
        whole = page.packed() if packed else plain
        assert response.headers["content-length"] == str(len(whole))
        assert response.body == (b"" if method == "HEAD" else whole), accepted
    assert gzip.decompress(page.packed()) == plain


def test_a_client_that_takes_the_page_neither_packed_nor_plain_is_406(bench):
    for accepted in NEITHER:
        response = bench.feed(get("/", f"Accept-Encoding: {accepted}"))
        assert "gzip" in error_of(response, 406), accepted
        assert response.headers["vary"] == "Accept-Encoding"


def test_a_page_that_the_client_has_already_is_304_by_the_tag_of_its_coding(bench):
    tags = {}
    for accepted in ("gzip", "identity"):
        line = f"Accept-Encoding: {accepted}"
        tags[accepted] = tag = bench.feed(get("/", line)).headers["etag"]
        for known in (tag, f'"x", {tag}'):
            response = bench.feed(get("/", line, f"If-None-Match: {known}"))
            assert (response.status, response.body, response.headers["etag"]) == (304, b"", tag)
    assert tags["gzip"] != tags["identity"]
    response = bench.feed(get("/", "Accept-Encoding: identity", f"If-None-Match: {tags['gzip']}"))
    assert response.status == 200, "what it has is packed"


def test_head_gives_the_head_of_get_without_body(bench):
    for path in ("/", "/api/doc/3000", "/nowhere"):
        peer = bench.connect()
        peer.feed(get(path, method="HEAD") + get("/api/doc/5"))
        head, after = responses(peer.take(), "HEAD", "GET")
        full = bench.feed(get(path))
        assert head.body == b""
        assert (head.status, head.headers) == (full.status, full.headers)
        assert after.body == text_of(5).encode(), "the next response begins where it should"


# -- documents


@pytest.mark.parametrize("n", [*range(0, 40), *range(500, 530), *range(980, 1060), 2000, 2040, 2048, 3000, 65536])
def test_a_document_of_any_length_arrives_whole(bench, n):
    response = bench.feed(get(f"/api/doc/{n}"))
    assert (response.status, response.body) == (200, text_of(n).encode())
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in response.headers
    assert response.headers["content-type"] == "application/json"


def test_a_document_arrives_whole_however_little_the_client_takes_at_a_time(bench):
    whole = bench.feed(get("/api/doc/3000"))
    for step in (1, 2, 3, 7, 64, 1000, 1023, 1024, 1025):
        peer = bench.connect(room=0)
        peer.inbox += get("/api/doc/3000")
        for _ in range(5000):
            peer.settle()
            if not peer.slot.busy:
                break
            peer.room += step
        assert responses(peer.take(), "GET") == [whole], step
        peer.room = None
        peer.feed(get("/api/doc/5"))
        assert responses(peer.take(), "GET")[0].body == text_of(5).encode()
        peer.connection.close()


def test_two_slow_clients_do_not_mix_their_documents(bench):
    bench.document("/api/a", lambda: (f"a{k}," for k in range(2000)))
    bench.document("/api/b", lambda: (f"b{k}," for k in range(2000)))
    one, other = bench.connect(room=0), bench.connect(room=0)
    one.inbox += get("/api/a")
    other.inbox += get("/api/b")
    for k in range(10_000):
        for peer, step in ((one, 13), (other, 17)):
            peer.room += step
            peer.turn()
        if not (one.slot.busy or other.slot.busy) and k > 10:
            break
    assert responses(one.take(), "GET")[0].body.decode() == "".join(f"a{k}," for k in range(2000))
    assert responses(other.take(), "GET")[0].body.decode() == "".join(f"b{k}," for k in range(2000))


@pytest.mark.parametrize("steps", [(1000, 1000), (37, 5000), (600, 701), (3072, 3071)])
def test_two_slow_clients_get_the_whole_page(bench, steps):
    """They share the block that it is read into, and what a socket does not take is read again."""
    whole = bench.feed(get_page())
    assert len(whole.body) > 10_000
    peers = [bench.connect(room=0), bench.connect(room=0)]
    for peer in peers:
        peer.inbox += get_page()
    while any(peer.slot.busy or not peer.slot.requests for peer in peers):
        for peer, step in zip(peers, steps, strict=True):
            peer.room += step
            peer.turn()
            assert len(peer.connection._unsent or b"") <= 1024
    for peer in peers:
        assert responses(peer.take(), "GET") == [whole]
        peer.room = None
        peer.feed(get("/api/doc/9"))
        assert len(responses(peer.take(), "GET")[0].body) == 9


def test_what_a_socket_has_not_taken_stays_in_the_shared_block_until_another_connection_uses_that(bench):
    bench.document("/api/a", lambda: (f"a{k}," for k in range(500)))
    slow = bench.connect(room=700)
    slow.feed(get("/api/a"))
    assert bench.service.holder is slow.connection
    assert slow.connection._unsent == b"", "nothing was copied"
    slow.room = 100
    slow.turn()
    assert bench.service.holder is slow.connection
    assert bench.feed(get("/api/doc/9")).status == 200
    assert bench.service.holder is None
    assert len(slow.connection._unsent) > 200
    slow.room = None
    slow.turn()
    assert responses(slow.take(), "GET")[0].body.decode() == "".join(f"a{k}," for k in range(500))
    slow.feed(get("/api/doc/9"))
    assert len(responses(slow.take(), "GET")[0].body) == 9


def test_without_memory_for_the_copy_it_is_the_slow_connection_that_ends(bench):
    class Short:
        def __getitem__(self, at):
            raise MemoryError

    slow = bench.connect(room=700)
    slow.feed(get("/api/doc/3000"))
    view = bench.service.view
    bench.service.view = Short()
    other = bench.connect()
    other.feed(get("/api/doc/9"))
    bench.service.view = view
    assert slow.closed
    assert bench.service.holder is None
    assert len(responses(other.take(), "GET")[0].body) == 9


def test_a_connection_that_ends_holds_the_block_no_longer(bench):
    slow = bench.connect(room=700)
    slow.feed(get("/api/doc/3000"))
    slow.connection.close()
    assert bench.service.holder is None
    assert len(bench.feed(get("/api/doc/9")).body) == 9


def test_head_and_first_piece_leave_in_one_write(bench):
    peer = bench.connect()
    peer.feed(get("/api/doc/500"))
    assert peer.writes == 1


def test_a_document_is_not_made_faster_than_the_client_takes_it(bench):
    made = []

    def endless():
        for k in range(10_000):
            made.append(k)
            yield "x" * 100

    bench.document("/api/long", endless)
    peer = bench.connect(room=3000)
    peer.feed(get("/api/long"))
    assert len(made) < 60
    assert len(peer.connection._unsent) <= 1024


def test_a_document_that_fails_midway_is_cut_off_not_ended(bench, events):
    def broken():
        yield "x" * 5000
        raise ValueError("no such meter")

    bench.document("/api/broken", broken)
    peer = bench.connect()
    peer.feed(get("/api/broken"))
    assert peer.closed
    with pytest.raises(http.client.IncompleteRead):
        responses(peer.take(), "GET")
    assert any("no such meter" in text for text in events.texts())


def test_a_page_that_cannot_be_read_is_500_and_logged(bench, events, monkeypatch):
    monkeypatch.setattr(resources, "_HERE", "/nonexistent/")
    assert bench.feed(get_page()).status == 500
    assert len(events.texts()) == 1


# -- requests in pieces and in a row


@pytest.mark.parametrize("request_", [get_page(), get("/api/doc/20", "User-Agent: x", "Accept: */*")])
def test_a_request_byte_by_byte_is_answered_once(bench, request_):
    whole = bench.feed(request_)
    peer = bench.connect()
    for k in range(len(request_)):
        assert peer.take() == b""
        peer.feed(request_[k : k + 1])
    assert responses(peer.take(), "GET") == [whole]


@pytest.mark.parametrize("cut", range(1, len(get("/api/doc/9"))))
def test_pipelined_requests_cut_anywhere_are_answered_in_order(bench, cut):
    peer = bench.connect()
    stream = get("/api/doc/7") + get("/nowhere") + get("/api/doc/9") + get("/api/doc/1")
    for piece in (stream[:cut], stream[cut:-cut], stream[-cut:]):
        peer.feed(piece)
    found = responses(peer.take(), *["GET"] * 4)
    assert [response.status for response in found] == [200, 404, 200, 200]
    assert [len(found[k].body) for k in (0, 2, 3)] == [7, 9, 1]


def test_many_pipelined_requests_are_all_answered(bench):
    peer = bench.connect()
    peer.feed(b"".join(get(f"/api/doc/{k}") for k in range(40)) * 3)
    found = responses(peer.take(), *["GET"] * 120)
    assert [len(response.body) for response in found] == list(range(40)) * 3
    assert peer.slot.requests == 120


def test_pipelined_requests_behind_a_slow_response_wait_their_turn(bench):
    peer = bench.connect(room=10)
    peer.feed(get("/api/doc/3000") + get("/api/doc/5"))
    assert len(peer.take()) == 10
    peer.room = None
    peer.feed(b"")
    peer.settle()


def test_empty_lines_between_requests_are_passed_over(bench):
    peer = bench.connect()
    peer.feed(get("/api/doc/5") + b"\r\n" + get("/api/doc/6"))
    assert [len(response.body) for response in responses(peer.take(), "GET", "GET")] == [5, 6]


# -- keep-alive


def test_a_connection_stays_open_for_the_next_request(bench):
    peer = bench.connect()
    for _ in range(5):
        peer.feed(get("/api/doc/5"))
        assert responses(peer.take(), "GET")[0].status == 200
    assert not peer.closed
    assert (peer.slot.requests, peer.slot.busy) == (5, False)


def test_connection_close_is_honoured_after_the_whole_response(bench):
    for room in (None, 10):
        peer = bench.connect(room=room)
        peer.inbox += get("/api/doc/3000", "Connection: close")
        peer.settle()
        while not peer.closed:
            peer.room += 10
            peer.settle()
        (response,) = responses(peer.take(), "GET")
        assert response.headers["connection"] == "close"
        assert len(response.body) == 3000


def test_http_1_0_gets_the_document_unchunked_and_the_end_of_the_connection(bench):
    peer = bench.connect()
    peer.feed(get("/api/doc/3000", version="HTTP/1.0"))
    assert peer.closed
    (response,) = responses(peer.take(), "GET")
    assert response.body == text_of(3000).encode()
    assert "transfer-encoding" not in response.headers
    assert response.headers["connection"] == "close"


def test_http_1_0_with_keep_alive_keeps_the_connection_where_the_length_is_known(bench):
    peer = bench.connect()
    peer.feed(get("/", "Connection: keep-alive", version="HTTP/1.0"))
    (response,) = responses(peer.take(), "GET")
    assert response.headers["connection"] == "keep-alive"
    assert not peer.closed
    peer.feed(get("/api/doc/5", "Connection: keep-alive", version="HTTP/1.0"))
    assert responses(peer.take(), "GET")[0].body == text_of(5).encode()
    assert peer.closed, "the end of the connection is the end of the document"


# -- refusals


def error_of(response, status):
    assert response.status == status
    body = response.json()
    assert set(body) == {"error", "status"}
    assert body["status"] == status
    assert body["error"]
    assert response.headers["content-type"] == "application/json"
    return body["error"]


def test_a_part_of_the_page_is_packed_has_the_tag_of_the_page_and_is_not_sent_twice(bench):
    part = bench.feed(get("/page/bus.js", "Accept-Encoding: gzip, br"))
    assert part.status == 200
    assert b"PAGES.bus" in gzip.decompress(part.body)
    assert part.headers["content-encoding"] == "gzip"
    assert part.headers["content-type"].startswith("text/javascript")
    tag = part.headers["etag"]
    assert bench.feed(get_page()).headers["etag"] == tag
    assert bench.feed(get("/page/bus.js", "Accept-Encoding: gzip", f"If-None-Match: {tag}")).status == 304
    for name in ("", "nothing.js", "page.etag", "bus.js.gz"):
        error_of(bench.feed(get("/page/" + name, "Accept-Encoding: gzip")), 404)


@pytest.mark.parametrize("accepted", [None, "", "identity", "deflate, br", "*", "gzip;q=0.1", "br;q=1, *;q=0.2"])
def test_a_part_goes_packed_to_a_client_that_does_not_ask_for_gzip(bench, accepted):
    """A proxy may have taken the header from a browser."""
    part = bench.feed(get("/page/de.json", *([] if accepted is None else [f"Accept-Encoding: {accepted}"])))
    assert (part.status, part.headers["content-encoding"]) == (200, "gzip")
    assert "Zähler" in gzip.decompress(part.body).decode()


@pytest.mark.parametrize("accepted", ["gzip;q=0", "*;q=0", "identity, gzip;q=0.000", "br, *;q=0"])
def test_who_excludes_gzip_is_told_how_a_part_is_to_be_had(bench, accepted):
    assert "curl --compressed" in error_of(bench.feed(get("/page/de.json", f"Accept-Encoding: {accepted}")), 406)


@pytest.mark.parametrize(
    "path", ["/nowhere", "/api", "/api/", "/api/statu", "/api/status/", "/page.html", "//", "/API/doc/5", "/%41"]
)
def test_an_unknown_path_is_404_and_the_connection_lives_on(bench, path):
    peer = bench.connect()
    peer.feed(get(path) + get("/api/doc/5"))
    refused, after = responses(peer.take(), "GET", "GET")
    error_of(refused, 404)
    assert after.status == 200


def test_what_a_client_wrote_into_the_path_cannot_break_the_error_document(bench):
    for path in ("/%22%7D", "/%3Cscript%3E", "/a%0Ab", "/%5C", "/" + "x" * 200, "/%C3%A4"):
        response = bench.feed(get(path))
        assert response.status in (400, 404)
        assert b"<script>" not in response.body
        assert response.json()["error"]


def test_a_query_does_not_hide_a_document(bench):
    assert bench.feed(get("/api/doc/5?x=1")).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get"])
@pytest.mark.parametrize("path", ["/", "/api/doc/5"])
def test_another_method_is_405_with_what_is_allowed(bench, method, path):
    if method == "get":
        assert bench.feed(get(path, method=method)).status == 400, "methods are written in capitals"
        return
    response = bench.feed(get(path, method=method))
    error_of(response, 405)
    assert response.headers["allow"] == "GET, HEAD"


# -- commands


@pytest.fixture
def commands(make):
    """A server with a command that keeps the queries that it was given."""
    bench = make(commissioning=True)
    bench.queries = []

    def command(service, request):
        if request.query == b"wrong":
            raise ValueError("query: wrong")
        if request.query == b"busy":
            raise OSError(16, "taken")
        if request.query == b"large":
            raise MemoryError
        bench.queries.append(request.query)
        return Response(b'{"done":true}')

    bench.document("/api/do", lambda: ["{}"], post=command)
    return bench


def test_a_command_gets_its_query_and_answers_with_a_document(commands):
    response = commands.feed(get("/api/do?a=1&b=2", OURS, method="POST"))
    assert (response.status, response.body) == (200, b'{"done":true}')
    assert commands.queries == [b"a=1&b=2"]


def test_the_same_path_is_read_without_doing_anything(commands):
    assert commands.feed(get("/api/do?a=1", OURS)).body == b"{}"
    assert commands.queries == []


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/api/do", method="POST"), 403),  # a form on another site's page could send this
        (get("/api/do?wrong", OURS, method="POST"), 400),
        (get("/api/do?busy", OURS, method="POST"), 409),
        (get("/api/do?large", OURS, method="POST"), 503),
        (get("/api/do", OURS, "Content-Length: 2", method="POST") + b"{}", 413),
        (get("/api/do", OURS, method="DELETE"), 405),
    ],
)
def test_a_command_that_cannot_be_is_refused_with_the_reason(commands, data, status):
    error_of(commands.feed(data), status)
    assert commands.queries == []


def test_without_commissioning_there_are_no_commands(make):
    bench = make()
    bench.document("/api/do", lambda: ["{}"], post=lambda service, request: pytest.fail("it was done"))
    assert "commissioning" in error_of(bench.feed(get("/api/do", OURS, method="POST")), 403)


def test_without_public_status_the_documents_are_403(make):
    bench = make(public=False)
    bench.document("/api/status", lambda: pytest.fail("the document was made"))
    assert "public_status" in error_of(bench.feed(get("/api/status")), 403)
    assert bench.feed(get_page()).status == 200
    error_of(bench.feed(get("/api/other")), 404)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/", "X: " + "x" * 8300), 431),
        (get("/", *[f"X{k}: y" for k in range(1000)]), 431),
        (get("/", "Cookie: " + "x" * 1100), 431),
        (get("/" + "x" * 300), 414),
        (get("/" + "x" * 3000), 414),
        (get("/", version="HTTP/2.0"), 505),
        (get("/", version="HTTP/1.2"), 505),
        (get("/", version="HTTP/9"), 400),
        (get("/", version=""), 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (get("/../etc/passwd"), 400),
        (get("/%2e%2e/etc/passwd"), 400),
        (get("/%zz"), 400),
        (get("/", "Content-Length: 5") + b"hello", 413),
        (get("/", "Content-Length: 5", method="POST") + b"hello", 405),
        (get("/", "Content-Length: 99999999999999999999"), 413),
        (get("/", "Content-Length: -1"), 400),
        (get("/", "Content-Length: 0", "Content-Length: 0"), 400),
        (get("/", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 411),
        (get("/", "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n", 400),
        (get("/", "Transfer-Encoding: gzip"), 501),
    ],
)
def test_a_request_that_cannot_be_served_is_refused_and_the_connection_ends(bench, events, data, status):
    peer = bench.connect()
    peer.feed(data)
    (response,) = responses(peer.take(), "GET")
    error_of(response, status)
    assert response.headers["connection"] == "close"
    # What else comes is thrown away, so that the reason arrives; nothing of it is answered.
    if not peer.closed:
        peer.feed(get("/"))
        assert peer.take() == b""
        peer.ended = True
        peer.settle()
    assert peer.closed
    assert bench.budget.in_use() == 6
    assert len(events.texts()) == 1, "one line in the log"
    assert bench.service.refused == 1


def test_after_a_refusal_a_bounded_amount_is_drained(bench):
    peer = bench.connect()
    peer.feed(get("/", "Content-Length: 9999999"))
    peer.take()
    peer.feed(bytes(1_000_000))
    assert peer.closed
    assert len(peer.inbox) > 900_000


def test_a_refused_client_that_does_nothing_more_is_closed_by_the_sweep(bench, clock):
    peer = bench.connect()
    peer.feed(get("/", version="HTTP/2.0"))
    clock.advance_ms(15_000)
    bench.service.tick()
    assert peer.closed


@pytest.mark.parametrize("part", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_client_that_never_finishes_its_first_request_is_closed(bench, clock, part):
    peer = bench.connect()
    peer.feed(part)
    clock.advance_ms(9_999)
    bench.service.tick()
    assert not peer.closed
    peer.feed(b"X" if part.endswith(b"\n") else b"")
    clock.advance_ms(1)
    bench.service.tick()
    assert peer.closed, "a byte now and then does not keep it"


def test_an_idle_browser_is_closed_after_its_time(bench, clock):
    peer = bench.connect()
    peer.feed(get("/api/doc/5"))
    clock.advance_ms(14_999)
    bench.service.tick()
    assert not peer.closed
    clock.advance_ms(1)
    bench.service.tick()
    assert peer.closed


# -- slow clients and clients that go away


def test_a_client_that_takes_nothing_for_ten_seconds_is_closed(bench, clock):
    peer = bench.connect(room=100)
    peer.feed(get("/api/doc/65536"))
    clock.advance_ms(9_999)
    bench.service.tick()
    assert not peer.closed
    clock.advance_ms(1)
    bench.service.tick()
    assert peer.closed


@pytest.mark.parametrize("step", [100, 1024, 1030, 5000])
def test_a_client_that_takes_some_bytes_every_nine_seconds_gets_all_of_it(bench, clock, step):
    peer = bench.connect(room=0)
    peer.feed(get("/api/doc/65536"))
    while peer.slot.busy:
        clock.advance_ms(9_000)
        bench.service.tick()
        assert not peer.closed
        peer.room += step
        peer.settle()
    assert responses(peer.take(), "GET")[0].body == text_of(65536).encode()


def test_a_browser_that_comes_back_just_before_its_time_is_up_gets_its_document(bench, clock):
    peer = bench.connect()
    peer.feed(get("/api/doc/5"))
    peer.take()
    clock.advance_ms(14_900)
    peer.room = 100
    peer.feed(get("/api/doc/65536"))
    bench.service.tick()
    assert not peer.closed, "it has had no time to read"


@pytest.mark.parametrize("way", ["ended", "reset"])
@pytest.mark.parametrize("sent", [b"", b"GET / HT", get("/api/doc/5")])
def test_a_client_that_goes_away_between_requests_frees_its_slot(bench, events, way, sent):
    peer = bench.connect()
    peer.feed(sent)
    setattr(peer, way, True)
    peer.settle()
    assert peer.closed
    assert bench.budget.in_use() == 6
    assert events.texts() == []


@pytest.mark.parametrize("way", ["ended", "reset"])
def test_a_client_that_goes_away_midway_frees_its_slot_and_the_document(bench, way):
    closed = []

    def document():
        try:
            for _ in range(1000):
                yield "x" * 100
        finally:
            closed.append(1)

    bench.document("/api/long", document)
    peer = bench.connect(room=2000)
    peer.feed(get("/api/long"))
    setattr(peer, way, True)
    peer.connection.on_ready(16)
    peer.room = 0 if way == "ended" else None
    if way == "ended":
        peer.connection.close()
    else:
        peer.settle()
    assert peer.closed
    assert closed == [1]
    assert bench.budget.in_use() == 6


# -- the real documents, against docs/reference/http.md


@pytest.fixture
def gateway(make):
    """A server with two meters on a bus, and something to tell of everything."""
    rows = [
        [1, "voltage_l1", 4, 0, "uint16", 0.1, "V", "instantaneous"],
        [16, "active_power", 4, 1, "float32", 1, "W", "instantaneous"],
        [40, "energy_total", 4, 3, "float32", 1000, "Wh", "accumulating"],
    ]
    given = defaults(the_schema.METER, slot=5, name='Haupt"z\u00e4hler\\', unit=7, profile="test")
    profile = profile_loader.parse("test", {"columns": profile_loader.COLUMNS, "points": rows})
    made = make(meters=[Meter(given, profile), Meter({**given, "slot": 6, "name": "feeder", "unit": 8}, profile)])
    bus = FakeBus(queued=2)
    bus.config["uart"] = "/dev/tty'\"x"
    bus.line_error = OSError(5, 'no "line"')
    bus.faults[7] = "silent"
    made.buses.append(bus)
    made.link.known = ("192.0.2.7", None, None, None, None, -60)
    made.name = "gate \U0001f50c"
    made.restart()
    made.config_store.source = "last good"
    made.config_store.errors = ['http.port: "x" is not 1 to 65535']
    made.config_store.reboot_due = lambda: ["bacnet"]
    made.device.run("http", requests=1, refused=2)
    made.device.run("finder", answered=1, refused=2, conflict=None, host=None)
    made.device.run("modbus", **Counters().status() | {"rtu_frames": 7})
    made.device.run(
        "bacnet", requests=1, errors=2, rejects=3, aborts=4, malformed=5, limited=6, instance=7, objects=8,
        conflict=None, subscriptions=9, notifications=10, unacknowledged=11, bbmd=None,
    )  # fmt: skip
    made.device.run("ntp", age_s=None, server=None, stratum=0, offset_ms=0, round_trip_ms=0, failures=1, error='x"y')
    made.device.run(
        "posting", state="waiting", error=None, next_s=1, waiting=0, delivered=0, set_aside=0, lost=0, undated=0,
        posts=0, failures=0,
    )  # fmt: skip
    made.device.run("shelly", answered=0, refused=0, not_fresh=0)
    history = {"refused": None, "waiting": None, "delivered": None, "lost": None, "undated": None, "tls_stall_ms": None}
    made.device.run("mqtt", state="retrying", error="refused", connections=0, published=0, **history)
    return made


def documented(path):
    """The fields of a document as docs/reference/http.md lists them."""
    text = (ROOT / "docs" / "reference" / "http.md").read_text()
    section = text.split(f"## GET {path}\n", 1)[1].split("\n#", 1)[0]
    fields = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert fields
    return set(fields)


def fields_of(value, path=""):
    """Every field of a parsed document, in the notation of docs/reference/http.md."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields_of(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        if not value or not isinstance(value[0], dict):
            yield path + "[]"
        for inner in value:
            if isinstance(inner, dict):
                yield from fields_of(inner, path + "[]")
    else:
        yield path


@pytest.mark.parametrize("path", ["/api/status", "/api/readings", "/api/sockets"])
def test_a_document_is_json_with_exactly_the_documented_fields(gateway, path):
    bench = gateway
    gateway.events.add("x", "line")
    gateway.budget.release(gateway.budget.open("modbus", ("10.0.0.8", 4710)))
    gateway.budget.open("modbus", ("10.0.0.9", 4711))
    store(gateway.meters.meters[0].blocks[0], bytes(10))
    response = bench.feed(get(path))
    assert set(fields_of(response.json())) == documented(path)


def test_sockets_keeps_who_was_connected_and_advises_a_client_that_leaves_its_connections_open(gateway):
    budget = gateway.budget
    opened = []
    for k in range(6):
        slot = budget.open("modbus", ("10.0.0.9", 4711 + k))
        slot.connection = SimpleNamespace(close=lambda slot=slot: budget.release(slot))
        budget.served(slot)
        opened.append(slot)
    gateway.uptime.now += 30
    for slot in opened[:5]:
        budget.evict(slot, "idle")
    gateway.uptime.now += 5
    document = gateway.feed(get("/api/sockets")).json()
    (client,) = [one for one in document["clients"] if one["address"] == "10.0.0.9"]
    assert client == {
        "kind": "modbus", "address": "10.0.0.9", "age_s": 35, "gone_s": 5, "requests": 5, "connections": 5, "closed": 5,
        "most": 6, "reason": "idle",
    }  # fmt: skip
    assert document["clients_lost"] == 0
    text = "a connection for each poll, left open, from 10.0.0.9: let such a client keep one, or close them"
    assert text in document["advice"]


def test_readings_have_value_unit_age_and_quality_of_every_point(gateway):
    block = gateway.meters.meters[0].blocks[0]
    store(block, struct.pack(">Hff", 2301, float("nan"), 12345.678), 93)
    document = gateway.feed(get("/api/readings")).json()
    assert document["uptime_s"] == 100
    first, second = document["meters"]
    assert (first["slot"], first["name"], first["unit"], first["profile"], first["state"]) == (
        5, 'Haupt"zähler\\', 7, "test", "unknown",
    )  # fmt: skip
    assert [(p["id"], p["name"], p["value"], p["unit"], p["age_s"], p["quality"]) for p in first["points"]] == [
        (5 * 256 + 1, "voltage_l1", 230.1, "V", 7, "good"),
        (5 * 256 + 16, "active_power", None, "W", 7, "no_value"),
        (5 * 256 + 40, "energy_total", pytest.approx(12345678, abs=1), "Wh", 7, "good"),
    ]
    assert all((p["value"], p["age_s"], p["quality"]) == (None, None, "never") for p in second["points"])


@pytest.mark.parametrize(
    "raw", [b"\x7f\x7f\xff\xff", b"\xff\x7f\xff\xff", b"\x00\x00\x00\x01", b"\x80\x00\x00\x00", b"\x7f\x80\x00\x00"]
)
def test_no_number_that_a_meter_can_say_breaks_the_document(gateway, raw):
    block = gateway.meters.meters[0].blocks[0]
    store(block, b"\xff\xff" + raw + raw)
    document = gateway.feed(get("/api/readings")).json()
    assert len(document["meters"][0]["points"]) == 3


def test_sockets_has_the_ledger_and_the_counters_of_connections(gateway, clock):
    slot = gateway.budget.open("modbus", ("10.0.0.9", 4711))
    slot.requests, slot.busy, slot.received, slot.sent = 3, True, 36, 60
    gateway.budget.evictions[1] = 2
    clock.advance_ms(4_200)
    gateway.uptime.now += 10
    document = gateway.feed(get("/api/sockets")).json()
    assert (document["limit"], document["services"], document["general"], document["in_use"]) == (16, 6, 10, 8)
    assert list(document["evictions"]) == list(REASONS)
    assert document["evictions"]["idle"] == 2
    assert document["advice"] == [
        "switching off what is not needed frees a connection each: bacnet, finder, ntp, posting",
        "7 connections sent RTU frames to the port of Modbus TCP: set those clients to Modbus TCP, or give them "
        "a port by modbus.rtu_over_tcp",
        "a reboot is due: until then every service keeps its socket",
    ]
    assert [row["kind"] for row in document["slots"]] == [*SERVICES[:6], "modbus", "http"]
    assert document["slots"][-2] == {
        "kind": "modbus", "role": "connection", "open": True, "busy": True, "peer": "10.0.0.9:4711", "age_s": 10,
        "idle_s": 4, "requests": 3, "received": 36, "sent": 60,
    }  # fmt: skip
    assert all(row["peer"] is None for row in document["slots"][:6])


def test_status_tells_what_is_wrong(gateway):
    gateway.events.add("bus", 'a "quoted" \\ line')
    document = gateway.feed(get("/api/status")).json()
    assert document["name"] == "gate \U0001f50c"
    assert document["version"] == ".".join(map(str, VERSION))
    assert document["config"] == {"source": "last good", "errors": ['http.port: "x" is not 1 to 65535']}
    assert document["reboot_due"] == ["bacnet"]
    assert document["time_unix_s"] is None
    assert [s["name"] for s in document["services"]] == list(SERVICES)
    assert document["buses"][0]["open"] is False
    assert 'no "line"' in document["buses"][0]["error"]
    assert document["events"][-1]["text"] == 'a "quoted" \\ line'
    assert document["ntp"]["error"] == 'x"y'
    gateway.clock.unix = 1_800_000_000
    gateway.device.entry("modbus").service = gateway.device.entry("ntp").service = None
    document = gateway.feed(get("/api/status")).json()
    assert document["time_unix_s"] == 1_800_000_000
    assert (document["modbus"], document["ntp"]) == (None, None)


def test_a_connection_that_closes_between_two_pieces_does_not_break_the_ledger(gateway):
    """The client takes the document slowly; meanwhile connections come and go."""
    bench = gateway
    held = [gateway.budget.open("modbus", ("10.0.0.9", k)) for k in range(9)]
    peer = bench.connect(room=50)
    peer.feed(get("/api/sockets"))
    for slot in held:
        gateway.budget.release(slot)
        peer.room += 150
        peer.settle()
    peer.room = None
    peer.settle()
    assert responses(peer.take(), "GET")[0].json()["slots"]


def test_the_events_may_change_while_they_are_read(gateway):
    bench = gateway
    for k in range(24):
        gateway.events.add("x", f"line {k}")
    peer = bench.connect(room=50)
    peer.feed(get("/api/status"))
    for k in range(200):
        gateway.events.add("x", f"more {k}")
        peer.room += 20
        peer.settle()
    peer.room = None
    peer.settle()
    assert len(responses(peer.take(), "GET")[0].json()["events"]) == 24


def test_no_file_is_left_open_by_a_page_that_was_not_read_to_its_end(bench):
    before = len(os.listdir("/proc/self/fd"))
    peers = [bench.connect(room=600) for _ in range(5)]
    for peer in peers:
        peer.feed(get_page())
        assert len(os.listdir("/proc/self/fd")) > before
        with contextlib.suppress(OSError):
            peer.connection.close()
    assert len(os.listdir("/proc/self/fd")) == before

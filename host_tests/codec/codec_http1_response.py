"""http1: response heads and chunks; nothing in them can be injected or break the framing."""

from expect import raises

import http1


def lines(*args):
    head = http1.response_head(*args)
    assert isinstance(head, bytes)
    assert head.find(b"\r\n\r\n") == len(head) - 4, head
    assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n"), head
    return head[:-4].decode().split("\r\n")


def chunk_head(n):
    buf = bytearray(b"?" * 8)
    http1.put_chunk_head(buf, 1, n)
    assert buf[:1] == buf[7:] == b"?"
    return bytes(buf[1:7])


def test_a_page_with_a_length():
    assert lines(200, "text/html", 12, True) == [
        "HTTP/1.1 200 OK",
        "X-Content-Type-Options: nosniff",
        "Connection: keep-alive",
        "Content-Type: text/html",
        "Content-Length: 12",
        "Cache-Control: no-store",
    ]


def test_every_status_in_use_has_its_phrase():
    for status, phrase in (
        (200, "OK"),
        (204, "No Content"),
        (304, "Not Modified"),
        (400, "Bad Request"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "Not Found"),
        (405, "Method Not Allowed"),
        (408, "Request Timeout"),
        (411, "Length Required"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (431, "Request Header Fields Too Large"),
        (500, "Internal Server Error"),
        (501, "Not Implemented"),
        (503, "Service Unavailable"),
        (505, "HTTP Version Not Supported"),
    ):
        assert lines(status, None, 0, True)[0] == f"HTTP/1.1 {status} {phrase}"


def test_another_status_has_an_empty_phrase_and_its_space():
    for status in (201, 418, 599):
        assert lines(status, None, 0, True)[0] == f"HTTP/1.1 {status} "


def test_a_body_is_framed_in_one_way():
    assert "Content-Length: 0" in lines(200, None, 0, True)
    chunked = lines(200, "text/csv", http1.CHUNKED, True)
    assert "Transfer-Encoding: chunked" in chunked
    assert not [x for x in chunked if "Length" in x]
    until_close = lines(200, "text/csv", None, False)
    assert "Connection: close" in until_close
    assert not [x for x in until_close if "Length" in x or "Transfer" in x]


def test_statuses_without_body_have_no_framing_and_no_type():
    for status in (204, 304):
        for length in (0, None):
            head = lines(status, "text/html", length, True, (("ETag", '"v1"'),))
            assert not [x for x in head if x.startswith(("Content-Length", "Transfer", "Content-Type"))]
            assert "Connection: keep-alive" in head
            assert 'ETag: "v1"' in head


def test_a_framing_that_cannot_be_is_refused():
    for args in (
        (200, "text/html", None, True),
        (200, "text/html", -2, True),
        (204, None, 1, True),
        (304, None, http1.CHUNKED, True),
        (100, None, 0, True),
        (199, None, 0, True),
        (600, None, 0, True),
    ):
        raises(ValueError, http1.response_head, *args)


def test_extra_fields_are_sent():
    extra = (("WWW-Authenticate", 'Basic realm="meterport"'), ("X-A", ""), ("!~", " ~"))
    head = lines(401, "text/plain", 3, True, extra)
    assert 'WWW-Authenticate: Basic realm="meterport"' in head
    assert "X-A: " in head
    assert "!~:  ~" in head


def test_another_cache_control_replaces_no_store():
    for name in ("Cache-Control", "cache-control"):
        head = lines(200, "text/css", 1, True, ((name, "no-cache"),))
        assert [x for x in head if x.lower().startswith("cache-control")] == [name + ": no-cache"]


def test_nothing_can_be_injected_by_a_value():
    for text in ("a\r\nSet-Cookie: x", "a\nb", "a\rb", "\0", "a\tb", "\x7f", "ä", "\u010a", "\u560a"):
        raises(ValueError, http1.response_head, 200, "text/html", 0, True, (("X", text),))
        raises(ValueError, http1.response_head, 200, text, 0, True)


def test_nothing_can_be_injected_by_a_name():
    for name in ("", "A B", "A:", "A\r\nB", "A\n", "Ä", "A: b\r\nC"):
        raises(ValueError, http1.response_head, 200, None, 0, True, ((name, "x"),))


def test_the_framing_fields_cannot_be_given_as_extra():
    for name in ("Content-Length", "TRANSFER-ENCODING", "connection"):
        raises(ValueError, http1.response_head, 200, None, 0, True, ((name, "1"),))


def test_a_chunked_body_is_put_together():
    body = b""
    for piece in (b"a", b"b" * 255, b"c" * 4096):
        body += chunk_head(len(piece)) + piece + http1.CHUNK_END
    body += http1.LAST_CHUNK
    assert body.startswith(b"0001\r\na\r\n00ff\r\nb")
    assert body.endswith(b"c\r\n0\r\n\r\n")
    assert b"\r\n1000\r\nc" in body


def test_an_empty_chunk_is_refused_because_it_would_end_the_body():
    for n in (0, -1, 65536):
        raises(ValueError, http1.put_chunk_head, bytearray(6), 0, n)


def test_the_interim_response_is_one_line():
    assert http1.CONTINUE == b"HTTP/1.1 100 Continue\r\n\r\n"

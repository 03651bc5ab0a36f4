"""http_client: addresses, request heads, and responses in pieces of any size."""

import http_client
from expect import prefixes, raises

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: x\r\n\r\n"
    b"4\r\nFAIL\r\n9;name=value\r\n\nSUCCESS\n\r\n0\r\nTrailer: y\r\n\r\n"
)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\n" + OK
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 120\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
OLD = b"HTTP/1.0 200 OK\r\n\r\n<pre>\nSUCCESS\n</pre>"
WHOLE = (OK, CHUNKED, NO_CONTENT, CONTINUED, BUSY)


def fed(data, size=0, line=b""):
    """A Response that was fed `data`, in pieces of `size` bytes, or in one."""
    response = http_client.Response(line)
    size = size or max(len(data), 1)
    for i in range(0, len(data), size):
        piece = data[i : i + size]
        response.feed(piece, len(piece))
    return response


def seen(response):
    return (
        response.status, response.retry_after_s, bytes(response.body), response.has_line, response.is_complete,
        response.can_persist,
    )  # fmt: skip


def test_addresses_are_taken_apart():
    for url, wanted in (
        ("http://192.0.2.1", (False, "192.0.2.1", 80, "/")),
        ("http://db.example.org:8086/write?db=a&b=s", (False, "db.example.org", 8086, "/write?db=a&b=s")),
        ("https://a-b.example/x#part", (True, "a-b.example", 443, "/x")),
        ("https://example.org?x=1", (True, "example.org", 443, "/?x=1")),
        ("http://h:65535/a@b", (False, "h", 65535, "/a@b")),
    ):
        assert http_client.parse_url(url) == wanted, url


def test_what_is_no_address_is_refused():
    for url in (
        "", "example.org", "ftp://example.org/", "http://", "http:///path", "http://host:0/", "http://host:65536/",
        "http://host:/", "http://host:8o/", "http://user:secret@host/", "http://[::1]/", "http://host/a b",
        "http://host/\r\nX: y", "http://h\u00f6st/", "HTTP://host/",
    ):  # fmt: skip
        raises(ValueError, http_client.parse_url, url)


def test_a_request_head_has_its_length_and_nothing_twice():
    head = http_client.request_head("POST", "/a?b", "h", 8086, 12, [("Authorization", "Token x")])
    assert head == b"POST /a?b HTTP/1.1\r\nHost: h:8086\r\nContent-Length: 12\r\nAuthorization: Token x\r\n\r\n"
    head = http_client.request_head("PUT", "/", "h", None, 0, [])
    assert head == b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"


def test_fields_that_would_end_a_line_are_refused():
    assert http_client.is_field("X-Api-Key", "a b:c")
    for name, value in (("", "x"), ("a b", "x"), ("a:", "x"), ("a", "x\r\nb: c"), ("a", "x\x00"), ("\u00e4", "x")):
        assert not http_client.is_field(name, value), (name, value)


def test_basic_is_that_of_rfc_7617():
    assert http_client.basic("Aladdin", "open sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert http_client.basic("test", "123\u00a3") == "Basic dGVzdDoxMjPCow=="  # charset UTF-8
    assert "\n" not in http_client.basic("u" * 60, "p" * 60)


def test_responses_say_the_same_in_pieces_of_any_size():
    for data in WHOLE:
        wanted = seen(fed(data, line=b"SUCCESS"))
        assert wanted[4], data
        for size in (1, 2, 3, 7):
            assert seen(fed(data, size, b"SUCCESS")) == wanted, (data, size)


def test_a_response_is_complete_with_its_last_byte_and_not_before():
    for data in WHOLE:
        for part in prefixes(data):
            response = fed(part)
            assert not response.is_complete, part
            raises(http_client.ResponseError, response.end)


def test_what_a_response_says():
    assert seen(fed(OK)) == (200, None, b"ok", False, True, True)
    assert seen(fed(CONTINUED)) == (200, None, b"ok", False, True, True)
    assert seen(fed(NO_CONTENT)) == (204, None, b"", False, True, True)
    assert seen(fed(BUSY)) == (503, 120, b"", False, True, False)
    assert seen(fed(CHUNKED, line=b"SUCCESS")) == (200, None, b"FAIL\nSUCCESS\n", True, True, True)
    moved = fed(b"HTTP/1.1 301 Moved\r\nLocation: https://h/\r\nContent-Length: 0\r\n\r\n")
    assert moved.location == b"https://h/"


def test_without_a_length_the_end_of_the_connection_is_that_of_the_body():
    response = fed(OLD, line=b"SUCCESS")
    assert not response.is_complete
    response.end()
    assert seen(response) == (200, None, b"<pre>\nSUCCESS\n</pre>", True, True, False)


def test_only_a_line_of_its_own_is_the_one_that_was_searched():
    for body, has_line in (
        (b"SUCCESS", True), (b"x\r\nSUCCESS\r\ny", True), (b"\n" * 300 + b"SUCCESS\n", True), (b"a\nSUCCESS", True),
        (b"no SUCCESS", False), (b"SUCCESS!", False), (b" SUCCESS\n", False), (b"SUCCES\nS\n", False), (b"", False),
        (b"FAILURE: no\nSUCCESSFUL\n", False), (b"SSUCCESS\n", False),
    ):  # fmt: skip
        for size in (1, 2, 300):
            data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            assert fed(data, size, b"SUCCESS").has_line == has_line, body


def test_what_follows_a_response_ends_the_use_of_its_connection():
    assert not fed(OK + b"x").can_persist
    assert bytes(fed(OK + b"x").body) == b"ok"


def test_what_is_no_response_is_an_error():
    for data in (
        b"SSH-2.0-OpenSSH\n", b"HTTP/2 200\r\n", b"HTTP/1.1 2x0 OK\r\n", b"HTTP/1.1 099 x\r\n", b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12345678\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ):  # fmt: skip
        raises(http_client.ResponseError, fed, data)


def test_heads_and_bodies_have_bounds():
    raises(http_client.ResponseError, fed, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000)
    raises(http_client.ResponseError, fed, b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)
    response = fed(b"HTTP/1.1 200 OK\r\nSet-Cookie: " + b"y" * 3000 + b"\r\nContent-Length: 70000\r\n\r\n")
    piece = b"z" * 1000
    fed_bytes = 0
    while not response.feed(piece, len(piece)):
        fed_bytes += len(piece)
    assert 64000 < fed_bytes < 67000
    assert (len(response.body), response.can_persist) == (http_client.KEPT_MAX, False)


def test_seconds_to_wait_are_bounded_and_dates_are_none():
    for value, seconds in ((b"0", 0), (b"30", 30), (b"999999999999", 86400), (b"Fri, 31 Dec 1999 23:59:59 GMT", None)):
        data = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % value
        assert fed(data).retry_after_s == seconds

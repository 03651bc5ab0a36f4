"""http1: requests that must be refused, each with its status, whole, byte by byte and with bytes behind them."""

from expect import feed_bytewise, passes_or_raises, raises
from http1_feed import LIMIT, refusal

import http1

HOST = b"Host: x\r\n"


def status(data, body_max=0):
    return refusal(data, (), body_max).status


def line(*lines):
    """Status of a GET with these header lines beside Host."""
    return status(b"GET / HTTP/1.1\r\n" + HOST + b"".join([x + b"\r\n" for x in lines]) + b"\r\n", 10)


def target(text):
    return status(b"GET " + text + b" HTTP/1.1\r\n" + HOST + b"\r\n")


def first_line(text):
    return status(text + b"\r\n" + HOST + b"\r\n")


def test_bad_request_lines_give_400():
    for text in (
        b"GET",
        b"GET /",
        b"GET  HTTP/1.1",
        b"GET / ",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/ HTTP/1.1",
        b"GET / HTTP/1.1 x",
        b"GE(T / HTTP/1.1",
        b"GET: / HTTP/1.1",
        b"G\xc4T / HTTP/1.1",
        b"GET / http/1.1",
        b"GET / HTTP/11",
        b"GET / HTTP/1.x",
        b"GET / HTTP/x.1",
        b"GET / HTTP/01.1",
        b"GET / HTTP/1.10",
        b"GET / HTTP/+1.1",
        b"GET / FTP/1.1",
    ):
        assert first_line(text) == 400, text


def test_other_versions_give_505():
    for version in (b"2.0", b"0.9", b"1.2", b"3.0"):
        assert first_line(b"GET / HTTP/" + version) == 505, version
    assert status(b"PRI * HTTP/2.0\r\n\r\n") == 505


def test_what_cannot_become_a_request_is_refused_at_its_first_bytes():
    for data, needed in (
        (b"\x16\x03\x01\x02\x00\x01", 1),  # TLS
        (b"get / HTTP/1.1\r\n", 1),
        (b" GET / HTTP/1.1\r\n", 1),
        (b"\nGET / HTTP/1.1\r\n", 1),
        (b"\0", 1),
        (b"@", 1),
        (b"[", 1),
        (b"\rGET / HTTP/1.1\r\n", 2),
        (b"\r\n\r\n\x80", 5),
    ):
        for n in range(needed):
            assert http1.head_end(data, n, 0, LIMIT) == -1, data
        assert raises(http1.HttpError, http1.head_end, data, needed, 0, LIMIT).status == 400, data


def test_five_empty_lines_before_a_request_give_400():
    assert status(b"\r\n" * 5 + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == 400


def test_bare_line_feeds_give_400_and_a_head_of_them_at_once():
    assert first_line(b"GET / HTTP/1.1\nX: y") == 400
    assert line(b"A: b\nContent-Length: 5") == 400
    assert line(b"A: b\n") == 400
    data = b"GET / HTTP/1.1\nHost: x\n\n"
    assert raises(http1.HttpError, feed_bytewise, http1.head_end, data, LIMIT).status == 400
    assert raises(http1.HttpError, http1.head_end, data + b"body", len(data) + 4, 0, LIMIT).status == 400


def test_bare_carriage_returns_give_400():
    assert first_line(b"GET / HTTP/1.1\rX: y") == 400
    assert first_line(b"GET /\r HTTP/1.1") == 400
    for text in (b"A: b\rContent-Length: 5", b"A: b\r", b"A\r: b", b"\rA: b", b"A:\rb"):
        assert line(text) == 400, text


def test_control_characters_give_400():
    for c in list(range(9)) + [11, 12] + list(range(14, 32)):
        char = bytes((c,))
        assert line(b"A: b" + char) == 400, c
        assert line(b"A" + char + b": b") == 400, c
        assert target(b"/" + char) == 400, c
    assert target(b"/\x7f") == 400
    assert target(b"/?\x7f") == 400
    assert target(b"/\xc3\xa4") == 400
    assert target(b"/\t") == 400


def test_header_lines_that_are_no_fields_give_400():
    for text in (
        b"A",
        b": b",
        b"A : b",
        b"A\t: b",
        b" A: b",
        b"A b: c",
        b"A(b): c",
        b"A\x80: b",
        b"@: b",
    ):
        assert line(text) == 400, text


def test_a_field_name_is_made_of_these_77_characters():
    allowed = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"  # RFC 9110 5.6.2
    for c in range(256):
        if c != 58:  # the colon ends it
            data = b"GET / HTTP/1.1\r\n" + HOST + b"1" + bytes((c,)) + b": x\r\n\r\n"
            accepted = passes_or_raises(http1.HttpError, http1.parse, data, len(data))
            assert accepted is (allowed.find(bytes((c,))) >= 0), c


def test_folded_lines_give_400_and_say_so():
    for text in (b" c", b"\tc", b" ", b"\t", b" c: d", b"\tc: d"):
        error = refusal(b"GET / HTTP/1.1\r\n" + HOST + text + b"\r\n\r\n")
        assert (error.status, "folded" in error.reason) == (400, True), text
    assert status(b"GET / HTTP/1.1\r\n " + HOST + b"\r\n") == 400


def test_host_missing_or_doubled_or_malformed_gives_400():
    for version, lines in (
        (b"1.1", b""),
        (b"1.1", b"Host: x\r\nHost: x\r\n"),
        (b"1.1", b"Host: x\r\nhost: y\r\n"),
        (b"1.0", b"Host: x\r\nHost: y\r\n"),
        (b"1.1", b"Host: a b\r\n"),
        (b"1.1", b"Host: a,b\r\n"),
        (b"1.1", b"Host: a/b\r\n"),
        (b"1.1", b"Host: a@b\r\n"),
        (b"1.1", b"Host: a\tb\r\n"),
        (b"1.1", b"Host: \xe4\r\n"),
        (b"1.1", b"Host: a\x7f\r\n"),
    ):
        assert status(b"GET / HTTP/" + version + b"\r\n" + lines + b"\r\n") == 400, (version, lines)
    assert status(b"GET http://x/ HTTP/1.1\r\n\r\n") == 400


def test_content_length_that_is_not_one_number_gives_400():
    for value in (b"", b"-1", b"+1", b"1 2", b"1,1", b"1, 1", b"0x1", b"1.0", b"1e1", b"a", b"1_0", b"\xb2"):
        assert line(b"Content-Length: " + value) == 400, value


def test_content_length_twice_gives_400_even_when_equal():
    assert line(b"Content-Length: 5", b"Content-Length: 6") == 400
    assert line(b"Content-Length: 5", b"content-length: 5") == 400


def test_a_body_over_the_limit_gives_413():
    for value in (b"11", b"1000000000", b"0000000001", b"99999999999999999999999999"):
        assert line(b"Content-Length: " + value) == 413, value
    data = b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\n"
    assert raises(http1.HttpError, http1.parse, data, len(data)).status == 413


def test_a_bad_line_behind_a_too_long_body_is_still_400():
    assert line(b"Content-Length: 11", b"bad") == 400


def test_chunked_bodies_give_411_and_other_codings_501():
    assert line(b"Transfer-Encoding: chunked") == 411
    assert line(b"transfer-encoding: CHUNKED ") == 411
    for value in (b"gzip", b"gzip, chunked", b"identity", b"", b"xchunked", b"chunked, chunked"):
        assert line(b"Transfer-Encoding: " + value) == 501, value
    assert line(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked") == 501


def test_transfer_encoding_that_contradicts_the_framing_gives_400():
    assert line(b"Transfer-Encoding: chunked", b"Content-Length: 5") == 400
    assert line(b"Content-Length: 5", b"Transfer-Encoding: x") == 400
    assert status(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n") == 400


def test_a_target_too_long_gives_414():
    assert target(b"/" + b"a" * 255) == 414
    assert target(b"/?" + b"a" * 300) == 414


def test_a_request_line_beyond_the_limit_gives_414_without_waiting_for_its_end():
    data = b"GET /" + b"a" * LIMIT
    assert raises(http1.HttpError, feed_bytewise, http1_head_end, data, len(data)).status == 414
    assert raises(http1.HttpError, http1.head_end, data, len(data), 0, LIMIT).status == 414
    assert http1.head_end(data, LIMIT - 1, 0, LIMIT) == -1


def test_header_line_too_long_gives_431():
    data = b"GET / HTTP/1.1\r\nX: " + b"a" * LIMIT
    assert raises(http1.HttpError, feed_bytewise, http1_head_end, data, len(data)).status == 431
    whole = data + b"\r\n\r\n"
    assert raises(http1.HttpError, http1.head_end, whole, len(whole), 0, LIMIT).status == 431
    assert http1.head_end(whole, LIMIT - 1, 0, LIMIT) == -1


def test_a_head_one_byte_over_the_limit_gives_431():
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX: "
    data = head + b"a" * (LIMIT + 1 - len(head) - 4) + b"\r\n\r\n"
    assert len(data) == LIMIT + 1
    assert raises(http1.HttpError, http1.head_end, data, len(data), 0, LIMIT).status == 431


def test_too_many_header_lines_give_431():
    data = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * LIMIT
    assert raises(http1.HttpError, http1.head_end, data, len(data), 0, LIMIT).status == 431


def test_targets_of_other_forms_give_400():
    for text in (
        b"x",
        b"meter.local:80",
        b"https://x/",
        b"ftp://x/",
        b"*",
        b"?a",
        b"http:///a",
        b"http://",
        b"http://user@x/",
        b"http://a,b/",
        b"/#a",
        b"/?a#b",
    ):
        assert target(text) == 400, text
    assert first_line(b"CONNECT x:80 HTTP/1.1") == 400


def test_broken_percent_encoding_gives_400():
    for text in (b"/%", b"/%4", b"/%4%31", b"/%zz", b"/%1g", b"/%+1", b"/%1_", b"/%%", b"/a%2", b"/%-1", b"/%u0041"):
        assert target(text) == 400, text


def test_a_path_that_decodes_to_control_characters_or_no_utf8_gives_400():
    for text in (b"/%00", b"/a%0d%0ab", b"/%1f", b"/%7F", b"/%ff", b"/%c3", b"/%e4x"):
        assert target(text) == 400, text


def test_parent_segments_give_400_however_they_are_written():
    for text in (b"/..", b"/../", b"/a/../b", b"/a/..", b"/%2e%2E/x", b"/a%2f..%2fb", b"/.%2e", b"http://x/../y"):
        assert target(text) == 400, text


def test_unquote_refuses_with_400():
    for text in (b"%", b"%1", b"%g0", b"%0g", b"a%2", b"%ff", b"%C3%28"):
        assert raises(http1.HttpError, http1.unquote, text).status == 400, text


def test_the_servers_own_errors_may_keep_the_connection():
    error = http1.HttpError(404, "no such page", False)
    assert (error.status, error.reason, error.close, str(error)) == (404, "no such page", False, "no such page")


def http1_head_end(buf, n):
    return http1.head_end(buf, n, 0, LIMIT)

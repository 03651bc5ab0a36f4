"""http1: requests that must be understood (RFC 9112), whole, byte by byte and with bytes behind them."""

from expect import prefixes, raises
from http1_feed import LIMIT, request

import http1

GET = b"GET / HTTP/1.1\r\nHost: meter.local\r\n\r\n"
HOST = b"Host: x\r\n"


def get(target, version=b"1.1", lines=HOST, method=b"GET"):
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + lines + b"\r\n"


def test_a_plain_get():
    r = request(GET)
    assert (r.method, r.path, r.query, r.version, r.host) == (b"GET", b"/", b"", 11, b"meter.local")
    assert (r.headers, r.content_length, r.expect_continue, r.keep_alive) == ({}, 0, False, True)


def test_what_a_browser_sends():
    r = request(
        b"GET /api/points?meter=2&since=100 HTTP/1.1\r\nHost: 192.168.1.40:8080\r\n"
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
        b"Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\nAccept-Language: de,en;q=0.5\r\n"
        b'Accept-Encoding: gzip, deflate\r\nCookie: session=abc\r\nIf-None-Match: "v1"\r\n'
        b"Connection: keep-alive\r\nDNT: 1\r\n\r\n",
        (b"cookie", b"if-none-match", b"authorization"),
    )
    assert (r.path, r.query, r.host) == (b"/api/points", b"meter=2&since=100", b"192.168.1.40:8080")
    assert r.headers == {b"cookie": b"session=abc", b"if-none-match": b'"v1"'}


def test_no_strict_prefix_of_a_head_is_ready():
    for part in prefixes(GET):
        assert http1.head_end(part, len(part), 0, LIMIT) == -1, part


def test_pipelined_requests_come_out_one_after_the_other():
    post = get(b"/2", lines=HOST + b"Content-Length: 3\r\n", method=b"POST")
    buf = bytearray(get(b"/1") + post + b"abc" + get(b"/3"))
    seen = []
    while buf:
        end = http1.head_end(buf, len(buf))
        r = http1.parse(buf, end, (), 3)
        seen.append((r.path, bytes(buf[end : end + r.content_length])))
        buf = buf[end + r.content_length :]
    assert seen == [(b"/1", b""), (b"/2", b"abc"), (b"/3", b"")]


def test_up_to_four_empty_lines_before_the_request_are_skipped():
    for count in range(5):
        assert request(b"\r\n" * count + GET).path == b"/"


def test_a_head_as_long_as_the_limit_is_taken():
    lines = HOST + b"X: "
    fill = LIMIT - len(get(b"/", lines=lines + b"\r\n"))
    data = get(b"/", lines=lines + b"a" * fill + b"\r\n")
    assert len(data) == LIMIT
    assert request(data).path == b"/"


def test_the_buffer_is_the_limit_by_default():
    buf = bytearray(GET)
    assert http1.head_end(buf, len(GET)) == len(GET)
    assert http1.head_end(buf, len(GET) - 1) == -1
    assert raises(http1.HttpError, http1.head_end, buf[:-1], len(GET) - 1).status == 431


def test_the_longest_target_is_taken():
    assert len(request(get(b"/" + b"a" * 254)).path) == 255


def test_path_and_query_are_split_at_the_first_question_mark():
    for target, path, query in (
        (b"/a?b=c", b"/a", b"b=c"),
        (b"/a?", b"/a", b""),
        (b"/a?b?c", b"/a", b"b?c"),
        (b"/?a=/../b", b"/", b"a=/../b"),
        (b"/a%3Fb", b"/a?b", b""),
        (b"/!~?~!", b"/!~", b"~!"),
    ):
        r = request(get(target))
        assert (r.path, r.query) == (path, query), target


def test_the_path_is_decoded_once_and_the_query_is_not():
    for target, path, query in (
        (b"/%61%20b", b"/a b", b""),
        (b"/%2561", b"/%61", b""),
        (b"/%c3%A4", b"/\xc3\xa4", b""),
        (b"/a+b", b"/a+b", b""),
        (b"/a%2Fb", b"/a/b", b""),
        (b"/a?x=%41+", b"/a", b"x=%41+"),
    ):
        r = request(get(target))
        assert (r.path, r.query) == (path, query), target


def test_dots_that_are_no_parent_segment_stay():
    for target in (b"/.", b"/...", b"/a..", b"/..a", b"/a../b", b"/a/./b"):
        assert request(get(target)).path == target, target


def test_an_absolute_target_is_stripped_and_names_the_host():
    for target, path, query, host in (
        (b"http://meter.local/a?b", b"/a", b"b", b"meter.local"),
        (b"HTTP://Meter.Local:8080/", b"/", b"", b"meter.local:8080"),
        (b"http://meter.local", b"/", b"", b"meter.local"),
        (b"http://meter.local?a=/b", b"/", b"a=/b", b"meter.local"),
        (b"http://[fe80::1]:80/x", b"/x", b"", b"[fe80::1]:80"),
    ):
        r = request(get(target))  # Host says x: RFC 9112 3.2.2 has it ignored
        assert (r.path, r.query, r.host) == (path, query, host), target


def test_options_may_ask_about_the_whole_server():
    assert request(get(b"*", method=b"OPTIONS")).path == b"*"


def test_any_token_is_a_method():
    for method in (b"ACL", b"HEAD", b"DELETE", b"M-SEARCH", b"Z", b"X_!#$%&'*+.^`|~1"):
        assert request(get(b"/", method=method)).method == method


def test_field_names_and_options_know_no_case():
    lines = b"hOST: Meter\r\nCONTENT-length: 2\r\nCoNNection: CLOSE\r\nCOOKIE: a=B\r\n"
    r = request(get(b"/", lines=lines), (b"cookie",), 2)
    assert (r.host, r.content_length, r.keep_alive, r.headers) == (b"meter", 2, False, {b"cookie": b"a=B"})


def test_whitespace_around_a_value_is_not_part_of_it():
    r = request(get(b"/", lines=b"Host:x\r\nCookie: \t a b \t\r\nOrigin:\r\n"), (b"cookie", b"origin"))
    assert (r.host, r.headers) == (b"x", {b"cookie": b"a b", b"origin": b""})


def test_a_field_name_is_any_token():
    lines = HOST + b"1: a\r\n~!x_: b\r\n-: c\r\n"
    assert request(get(b"/", lines=lines), (b"1", b"~!x_", b"-")).headers == {b"1": b"a", b"~!x_": b"b", b"-": b"c"}


def test_only_the_fields_asked_for_are_kept():
    lines = HOST + b"Cookie: a\r\nOrigin: b\r\nContent-Type: text/plain\r\nExpect: c\r\n"
    assert request(get(b"/", lines=lines)).headers == {}
    assert request(get(b"/", lines=lines), (b"content-type", b"expect", b"x")).headers == {
        b"content-type": b"text/plain",
        b"expect": b"c",
    }
    assert request(get(b"/", lines=lines), (b"host",)).headers == {b"host": b"x"}


def test_a_field_sent_twice_is_joined_so_that_no_copy_is_lost():
    lines = HOST + b'If-None-Match: "a"\r\nX: 1\r\nIf-None-Match: "b"\r\n'
    assert request(get(b"/", lines=lines), (b"if-none-match",)).headers == {b"if-none-match": b'"a", "b"'}


def test_a_cookie_in_two_lines_is_one_list_of_cookies():
    lines = HOST + b"Cookie: a=1; b=2\r\nCookie: session=3\r\n"
    assert request(get(b"/", lines=lines), (b"cookie",)).headers == {b"cookie": b"a=1; b=2; session=3"}


def test_bytes_that_are_not_ascii_become_question_marks_in_values():
    for sent, kept in ((b"a=\xc3\xa4\x7f; b=1", b"a=???; b=1"), (b"a~\x7f", b"a~?"), (b"\xff", b"?"), (b"!~", b"!~")):
        lines = HOST + b"User-Agent: \xff\xfe\r\nCookie: " + sent + b"\r\n"
        assert request(get(b"/", lines=lines), (b"cookie",)).headers == {b"cookie": kept}, sent


def test_a_tab_inside_a_value_is_allowed():
    assert request(get(b"/", lines=HOST + b"Cookie: a\tb\r\n"), (b"cookie",)).headers == {b"cookie": b"a\tb"}


def test_the_connection_stays_open_as_version_and_options_say():
    for version, lines, expected in (
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: keep-alive, Close\r\n", False),
        (b"1.1", b"Connection: upgrade\r\nConnection:close\r\n", False),
        (b"1.1", b"Connection: closed\r\n", True),
        (b"1.1", b"Connection: , ,\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
        (b"1.0", b"Connection: foo,\tkeep-alive\r\n", True),
        (b"1.0", b"Connection: keep-alive, close\r\n", False),
    ):
        r = request(get(b"/", version, HOST + lines))
        assert (r.keep_alive, r.version) == (expected, 11 if version == b"1.1" else 10), (version, lines)


def test_http_1_0_needs_no_host():
    assert request(get(b"/", b"1.0", b"")).host == b""
    assert request(b"GET / HTTP/1.0\r\n\r\n").path == b"/"


def test_host_may_be_empty_or_any_name_or_address():
    for value in (b"", b"x", b"a!b", b"~", b"meter-1.local:8080", b"[fe80::1]:80"):
        assert request(get(b"/", lines=b"Host:" + value + b"\r\n")).host == value


def test_content_length_up_to_the_limit_is_taken():
    for value, length in ((b"0", 0), (b"7", 7), (b"007", 7), (b"100", 100), (b"000000100", 100)):
        lines = HOST + b"Content-Length: " + value + b"\r\n"
        assert request(get(b"/", lines=lines, method=b"POST"), (), 100).content_length == length, value


def test_a_body_is_waited_for_with_100_continue_only_where_one_comes():
    for version, lines, expected in (
        (b"1.1", b"Expect: 100-Continue\r\nContent-Length: 5\r\n", True),
        (b"1.1", b"Expect: 100-continue\r\nContent-Length: 1\r\n", True),
        (b"1.1", b"Expect: 100-continue\r\nContent-Length: 0\r\n", False),
        (b"1.1", b"Expect: 100-continue\r\n", False),
        (b"1.0", b"Expect: 100-continue\r\nContent-Length: 5\r\n", False),
        (b"1.1", b"Expect: tea\r\nContent-Length: 5\r\n", False),
        (b"1.1", b"Content-Length: 5\r\n", False),
    ):
        assert request(get(b"/", version, HOST + lines), (), 5).expect_continue is expected, (version, lines)


def test_unquote_decodes_form_values():
    assert http1.unquote(b"a+b%2B%26", True) == b"a b+&"
    assert http1.unquote(b"a+b", False) == b"a+b"
    assert http1.unquote(b"Z%C3%A4hler%0D%0A2") == b"Z\xc3\xa4hler\r\n2"
    assert http1.unquote(b"") == b""

"""What is posted, read again by others: http.client, gzip, email, and a reader of the line protocol that is written
from its description. CPython only: hypothesis."""

import email
import email.policy
import gzip
import http.client
import io
import zlib

import acquisuite
import http_client
import line_protocol
import pytest
import template
from hypothesis import given, settings
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from host_tests.line_protocol_reader import read_line

# The same examples every time: what fails here fails everywhere.
_settings = settings(derandomize=True, max_examples=200, deadline=None, database=None)
# As rules.py allows them in the configuration.
names = st.text(st.characters(blacklist_categories=("Cc", "Cs", "Cf", "Zl", "Zp")), min_size=1, max_size=32)


class _Socket:
    def __init__(self, data):
        self._data = data

    def makefile(self, mode):
        return io.BytesIO(self._data)


@_settings
@given(names, names, st.integers(-(1 << 53), 1 << 53), st.integers(0, 1 << 32))
def test_a_line_is_read_as_it_was_meant(meter, point, value, unix_s):
    line = line_protocol.head(b"meterport", [(b"gw", b"abc"), (b"meter", meter.encode())])
    line += b" " + line_protocol.field(point.encode(), b"%d" % value, True) + line_protocol.end(unix_s)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    meter, point = meter.replace("\\", "/").encode(), point.replace("\\", "/").encode()
    assert read_line(line[:-1]) == (b"meterport", {b"gw": b"abc", b"meter": meter}, {point: b"%di" % value}, unix_s)
    theirs = parse_line(line.decode())
    assert theirs == {
        "measurement": "meterport", "tags": {"gw": "abc", "meter": meter.decode()}, "fields": {point.decode(): value},
        "time": unix_s,
    }  # fmt: skip
    assert isinstance(theirs["fields"][point.decode()], int)


@_settings
@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=6))
def test_stored_blocks_are_gzip(blocks):
    out = bytearray(acquisuite.GZIP_HEAD)
    crc = 0
    for block in blocks:
        out += acquisuite.stored_block(block) + block
        crc = acquisuite.update_crc(block, crc)
    out += acquisuite.gzip_tail(crc, sum(map(len, blocks)))
    assert gzip.decompress(bytes(out)) == b"".join(blocks)
    assert crc == zlib.crc32(b"".join(blocks))


@_settings
@given(names, st.binary(max_size=400))
def test_the_form_is_read_as_it_was_meant(name, file):
    form = acquisuite.form_head([(b"LOOPNAME", name.encode())], b"mb-001.log.gz") + file + acquisuite.form_tail()
    head = b"Content-Type: multipart/form-data; boundary=%s\r\n\r\n" % acquisuite.BOUNDARY
    text, attached = email.message_from_bytes(head + form, policy=email.policy.HTTP).iter_parts()
    assert text.get_param("name", header="content-disposition") == "LOOPNAME"
    assert text.get_payload(decode=True).decode() == name
    assert attached.get_filename() == "mb-001.log.gz"
    # email takes every kind of line end for one; what lies between the marks is the file.
    begin = form.index(b"x-gzip\r\n\r\n") + len(b"x-gzip\r\n\r\n")
    assert form[begin : -len(acquisuite.form_tail())] == file


def _response(status, body, chunks, headers):
    head = b"HTTP/1.1 %d X\r\n" % status + b"".join(b"%s: %s\r\n" % header for header in headers)
    if not chunks:
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    out = head + b"Transfer-Encoding: chunked\r\n\r\n"
    at = 0
    for size in chunks:
        piece = body[at : at + size]
        at += len(piece)
        if piece:
            out += b"%x\r\n%s\r\n" % (len(piece), piece)
    if body[at:]:
        out += b"%X\r\n%s\r\n" % (len(body) - at, body[at:])
    return out + b"0\r\n\r\n"


@_settings
@given(
    st.integers(200, 599).filter(lambda status: status not in (204, 304)),
    st.binary(max_size=600),
    st.lists(st.integers(1, 100), max_size=5),
    st.integers(1, 64),
)
def test_responses_are_read_as_the_standard_library_reads_them(status, body, chunks, size):
    data = _response(status, body, chunks, [(b"Server", b"x"), (b"Retry-After", b"7")])
    theirs = http.client.HTTPResponse(_Socket(data), method="POST")
    theirs.begin()
    ours = http_client.Response()
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        assert ours.feed(piece, len(piece)) == (at + size >= len(data))
    assert (ours.status, ours.retry_after_s) == (theirs.status, 7)
    assert bytes(ours.body) == theirs.read()[: http_client.KEPT_MAX]
    assert ours.can_persist


@_settings
@given(st.binary(max_size=300), st.integers(1, 50))
def test_whatever_comes_is_a_response_or_an_error(data, size):
    response = http_client.Response(b"SUCCESS")
    try:
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            response.feed(piece, len(piece))
        response.end()
    except http_client.ResponseError:
        return
    assert 100 <= response.status <= 999


@_settings
@given(st.text(max_size=200))
def test_whatever_is_an_address_has_a_host_and_a_port(url):
    try:
        _, host, port, target = http_client.parse_url(url)
    except ValueError:
        return
    assert host
    assert 0 < port < 65536
    assert target.startswith("/")


@_settings
@given(st.lists(st.sampled_from([b"$", b"$[", b"$]", b"$,", b"$$", b"$a", b"${b}", b"x" * 300, b"}"]), max_size=12))
def test_templates_that_are_right_are_rendered_for_any_number_of_meters(parts):
    text = b"".join(parts)
    try:
        template.check(text)
    except ValueError:
        return
    for count in (0, 1, 3):
        out = []
        for _ in template.render(text, count, lambda name, number: b"%s%d" % (name, number), out.append):
            pass
        assert max(map(len, out), default=0) <= 256


@pytest.mark.parametrize("line", [b"", b"SUCCESS"])
def test_a_body_larger_than_wanted_is_cut_short(line):
    response = http_client.Response(line)
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    assert not response.feed(head, len(head))
    piece = b"x" * 1024
    count = 0
    while not response.feed(piece, len(piece)):
        count += 1
        assert count < 70
    assert not response.has_line

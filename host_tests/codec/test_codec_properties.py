"""Whatever comes from the network, a codec answers with a value or with its own error class. CPython only: hypothesis.

Also here: the standard library as second opinion: http.client on our response heads, its header parser on the
requests that we understand, urllib on percent-encoding, ipaddress on dotted quads.
"""

import email.parser
import http
import http.client
import io
import ipaddress
import struct
import urllib.parse

import pytest
from codec_ed25519 import verified
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dns
import http1
import ntp

# The same examples every time: what fails here fails everywhere.
_settings = settings(derandomize=True, max_examples=300, deadline=None, database=None)

NONCE = b"\x01\x02\x03\x04\x05\x06\x07\x08"
NAME = "time.example.org"
LIMIT = 512

HTTP = (
    b"GET /a%20b?c=d HTTP/1.1\r\nHost: meter.local\r\nCookie: a=b\r\nConnection: keep-alive\r\n\r\n",
    b"POST /api HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"GET http://meter.local:80/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"\r\nOPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
)
NTP = (
    b"\x24\x01\x00\xe9\x00\x00\x00\x00\x00\x00\x00\x0aPTB\x00\xea\x14\x09\xcd\x00\x00\x00\x00"
    + NONCE
    + b"\xea\x14\x09\xcd\xf4\x00\x00\x00\xea\x14\x09\xcd\xf4\x10\x00\x00",
)
DNS = (
    b"\x12\x34\x81\x80\0\1\0\2\0\0\0\0\4time\7example\3org\0\0\1\0\1"
    b"\xc0\x0c\0\5\0\1\0\0\0\x3c\0\4\1b\xc0\x11\xc0\x2e\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1",
)


_TELLING = [b"\r\n", b"\n", b" ", b":", b"%", b"/..", b"\xc0\x0c"]  # bytes with a meaning of their own


@st.composite
def mutated(draw, messages):
    """A valid message with a few bytes replaced, inserted, removed or repeated, perhaps cut short."""
    data = bytearray(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        some = draw(st.one_of(st.binary(max_size=3), st.sampled_from(_TELLING)))
        data[at : at + draw(st.integers(0, 3))] = some
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def arbitrary(messages):
    return st.one_of(st.binary(max_size=600), mutated(messages))


def http_outcome(data, step):
    """What a server makes of `data` arriving in pieces of `step` bytes: fields, a status, or None for 'more'."""
    buf = bytearray(LIMIT)
    n = 0
    try:
        for at in range(0, len(data), step):
            start = n
            piece = data[at : at + step][: LIMIT - n]
            buf[n : n + len(piece)] = piece
            n += len(piece)
            end = http1.head_end(buf, n, start)
            if end >= 0:
                r = http1.parse(buf, end, (b"cookie", b"expect"), 100)
                assert 0 <= r.content_length <= 100
                assert r.path[:1] in (b"/", b"*")
                assert b"\0" not in r.path
                return end, r.method, r.path, r.query, r.version, r.host, r.headers, r.content_length, r.keep_alive
    except http1.HttpError as e:
        assert e.status in (400, 411, 413, 414, 431, 501, 505)
        return e.status
    return None


@_settings
@given(arbitrary(HTTP), st.integers(2, 40))
@example(HTTP[0], 7)
def test_http1_says_the_same_however_the_bytes_arrive(data, step):
    data = data[:LIMIT]  # the caller never receives beyond its buffer
    byte_by_byte = http_outcome(data, 1)
    in_pieces = http_outcome(data, step)
    whole = http_outcome(data, len(data) or 1)
    # A refusal may name another of several faults when more of the head was there; it stays a refusal.
    if isinstance(whole, int):
        assert isinstance(byte_by_byte, int)
        assert isinstance(in_pieces, int)
    else:
        assert byte_by_byte == in_pieces == whole


@_settings
@given(mutated(HTTP))
def test_what_http1_understands_the_standard_library_frames_alike(data):
    outcome = http_outcome(data[:LIMIT], len(data) or 1)
    if not isinstance(outcome, tuple):
        return
    end, method, _, _, version, host, headers, length, _ = outcome
    head = data[:end].lstrip(b"\r\n")
    request_line, _, rest = head.partition(b"\r\n")
    fields = email.parser.Parser(_class=http.client.HTTPMessage).parsestr(rest.decode("iso-8859-1"))
    assert request_line.split(b" ")[0] == method
    assert request_line.endswith(b"HTTP/1.%d" % (version - 10))
    assert int(fields.get("Content-Length", "0")) == length
    assert "Transfer-Encoding" not in fields
    if not request_line.split(b" ")[1].lower().startswith(b"http://"):
        assert fields.get("Host", "").strip(" \t").lower() == host.decode()
    assert (b"cookie" in headers) == ("Cookie" in fields)


@_settings
@given(st.one_of(st.text(max_size=30), st.text("%aF09+&=zé", max_size=12)), st.booleans())
def test_unquote_agrees_with_urllib_or_refuses(text, plus):
    theirs = urllib.parse.unquote_plus if plus else urllib.parse.unquote
    try:
        ours = http1.unquote(text.encode(), plus).decode()  # lone surrogates never come out of a received line
    except (http1.HttpError, UnicodeEncodeError):
        return
    assert ours == theirs(text, errors="strict")


@_settings
@given(st.text(max_size=40), st.booleans())
def test_unquote_reads_back_what_urllib_quotes(text, plus):
    try:
        quoted = (urllib.parse.quote_plus if plus else urllib.parse.quote)(text)
    except UnicodeEncodeError:
        return
    assert http1.unquote(quoted.encode(), plus) == text.encode()


class _Socket:
    """As much of a socket as http.client reads a response from."""

    def __init__(self, data):
        self._data = data

    def makefile(self, _mode):
        return io.BytesIO(self._data)


def read_response(data, method="GET"):
    response = http.client.HTTPResponse(_Socket(data), method=method)
    response.begin()
    return response, response.read()


@pytest.mark.parametrize("keep_alive", [True, False])
@pytest.mark.parametrize("framing", ["length", "chunked", "until close"])
def test_http_client_reads_our_responses(framing, keep_alive):
    if framing == "until close" and keep_alive:
        with pytest.raises(ValueError, match="length"):
            http1.response_head(200, "text/plain", None, True)
        return
    body = bytes(range(256)) * 3
    extra = (("ETag", '"v1"'), ("Set-Cookie", "a=b; HttpOnly"))
    if framing == "length":
        sent = http1.response_head(200, "text/csv", len(body), keep_alive, extra) + body
    elif framing == "chunked":
        sent = http1.response_head(200, "text/csv", http1.CHUNKED, keep_alive, extra)
        for piece in (body[:1], body[1:17], body[17:]):
            head = bytearray(6)
            http1.put_chunk_head(head, 0, len(piece))
            sent += head + piece + http1.CHUNK_END
        sent += http1.LAST_CHUNK
    else:
        sent = http1.response_head(200, "text/csv", None, keep_alive, extra) + body
    response, received = read_response(sent)
    assert (response.status, response.reason, response.version) == (200, "OK", 11)
    assert received == body
    assert response.will_close is not keep_alive
    for name, value in (*extra, ("Content-Type", "text/csv"), ("Cache-Control", "no-store")):
        assert response.headers.get_all(name) == [value]


@pytest.mark.parametrize("status", [204, 304])
def test_http_client_reads_our_responses_without_body(status):
    response, received = read_response(http1.response_head(status, None, None, True) + b"HTTP/1.1 200 OK\r\n")
    assert (response.status, received, response.will_close) == (status, b"", False)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405, 408, 411, 413, 414, 431, 500, 501, 503, 505])
def test_our_phrases_are_those_of_the_standard_library(status):
    response, _ = read_response(http1.response_head(status, None, 0, True))
    renamed_by_rfc_9110 = {413: "Content Too Large", 414: "URI Too Long"}
    assert response.reason == renamed_by_rfc_9110.get(status, http.HTTPStatus(status).phrase)


@_settings
@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_header_value_adds_a_line(name, value, content_type):
    plain = http1.response_head(200, "text/plain", 0, True, (("X", "y"),))
    try:
        head = http1.response_head(200, content_type, 0, True, ((name, value),))
    except ValueError:
        return
    assert head.count(b"\r\n") == plain.count(b"\r\n") - (name.lower() == "cache-control")
    assert read_response(head)[0].headers.get_all(name) is not None


@_settings
@given(arbitrary(NTP))
def test_ntp_gives_a_reply_or_its_own_error(data):
    try:
        reply = ntp.parse(data, len(data), NONCE)
    except ntp.NtpError as e:
        assert e.reason
        assert e.kiss is None or len(e.kiss) == 4
        return
    assert 1704067200000 <= reply.receive_ms <= reply.transmit_ms
    assert reply.transmit_ms == reply.seconds_unix * 1000 + reply.fraction_ms
    assert 1 <= reply.stratum <= 15
    assert 0 <= reply.leap <= 2


@_settings
@given(st.integers(1704067200000, 4233462143999), st.integers(0, 60000))
def test_ntp_times_survive_the_packet_to_the_millisecond(receive_ms, in_server_ms):
    packet = bytearray(NTP[0])
    transmit_ms = min(receive_ms + in_server_ms, 4233462143999)
    for at, ms in ((32, receive_ms), (40, transmit_ms)):
        seconds, rest = divmod(ms, 1000)
        fraction = -(-(rest << 32) // 1000)  # rounded up: the codec rounds down
        struct.pack_into(">II", packet, at, (seconds + 2208988800) & 0xFFFFFFFF, fraction)
    reply = ntp.parse(packet, 48, NONCE)
    assert (reply.receive_ms, reply.transmit_ms) == (receive_ms, transmit_ms)


@_settings
@given(st.integers(-(10**12), 10**12), *[st.integers(0, 10**5)] * 3)
def test_ntp_offset_is_off_by_half_of_the_round_trip_at_most(true_offset_ms, out_ms, in_server_ms, back_ms):
    t1 = 10**12
    t2 = t1 + out_ms + true_offset_ms
    t3 = t2 + in_server_ms
    t4 = t1 + out_ms + in_server_ms + back_ms
    assert ntp.round_trip_ms(t1, t2, t3, t4) == out_ms + back_ms
    assert abs(ntp.offset_ms(t1, t2, t3, t4) - true_offset_ms) <= (out_ms + back_ms + 1) // 2


@_settings
@given(arbitrary(DNS))
@example(DNS[0])
def test_dns_gives_an_address_or_its_own_error(data):
    try:
        address, ttl_s = dns.parse(data, len(data), 0x1234, NAME)
    except dns.DnsError as e:
        assert e.reason
        return
    assert dns.is_ipv4(address)
    assert 0 <= ttl_s <= 0x7FFFFFFF


@_settings
@given(st.one_of(st.text(max_size=20), st.text("aZ0-_.", max_size=80)))
def test_dns_writes_a_query_or_refuses_the_name(name):
    buf = bytearray(271)
    try:
        n = dns.query(buf, 7, name)
    except ValueError:
        return
    labels = []
    at = 12
    while buf[at]:
        labels.append(bytes(buf[at + 1 : at + 1 + buf[at]]).decode())
        at += 1 + buf[at]
    assert ".".join(labels) == name.removesuffix(".")
    assert n == at + 5


@_settings
@given(st.one_of(st.text("0123456789. -+x", max_size=16), st.ip_addresses(v=4).map(str), st.text(max_size=12)))
def test_is_ipv4_agrees_with_ipaddress(text):
    try:
        ipaddress.IPv4Address(text)
        expected = True
    except ValueError:
        expected = False
    assert dns.is_ipv4(text) is expected


# -- ed25519


@settings(max_examples=20)
@given(
    seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=400), bit=st.integers(0, 8 * (32 + 64) - 1),
    other=st.binary(max_size=400),
)  # fmt: skip
def test_ed25519_takes_what_another_library_has_signed_and_no_bit_of_it_changed(seed, message, bit, other):
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert verified(key, signature, message)[0] is True
    changed = bytearray(key + signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert verified(bytes(changed[:32]), bytes(changed[32:]), message)[0] is False
    assert verified(key, signature, other)[0] is (other == message)

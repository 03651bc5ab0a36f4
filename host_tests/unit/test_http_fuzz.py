"""Whatever a client sends: no exception escapes, nothing spins, memory is bounded, and what comes back is HTTP."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tests.unit.http_rig import Rig

_LINES = st.sampled_from([
    "GET / HTTP/1.1", "GET /api/status HTTP/1.1", "HEAD /api/session HTTP/1.1", "POST /api/login HTTP/1.1",
    "PUT /api/config HTTP/1.1", "POST /api/read HTTP/1.1", "DELETE /api/scan HTTP/1.1", "OPTIONS * HTTP/1.1",
    "GET /%00 HTTP/1.1", "GET /../x HTTP/1.1", "POST /api/password HTTP/1.0", "GET http://gate/ HTTP/1.1",
    "PRI * HTTP/2.0",
]) | st.text(max_size=60)  # fmt: skip
_HEADERS = st.sampled_from([
    "Host: gate", "Host: ", "Host: evil.example", "X-Meterport: 1", "Origin: null", "Origin: http://gate",
    "Content-Length: 0", "Content-Length: 5", "Content-Length: 400", "Content-Length: 12288", "Content-Length: 9999999",
    "Content-Length: -1", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Expect: 100-continue",
    "Connection: close", "Connection: keep-alive", "Cookie: session=", "COOKIE", "Accept-Encoding: gzip",
    "If-None-Match: *",
]) | st.text(max_size=80)  # fmt: skip
_REQUESTS = st.builds(
    lambda line, headers, body: "\r\n".join([line, *headers, "", ""]).encode("utf-8", "replace") + body,
    _LINES, st.lists(_HEADERS, max_size=8), st.binary(max_size=700) | st.just(b'{"unit":1,"first":0}'),
)  # fmt: skip
_MUTATIONS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6)


@pytest.fixture
def gateway(monkeypatch, events, clock, tmp_path):
    return Rig(monkeypatch, events, clock, tmp_path).log_in()


def mutated(data, mutations):
    data = bytearray(data)
    for at, byte in mutations:
        if data:
            data[at % len(data)] = byte
    return bytes(data)


def held(connection):
    """Bytes that a connection keeps of what it was sent and of what it sends, but for a body that was admitted."""
    return len(connection.reader.left) + len(connection._unsent or b"")


def escaped(gateway):
    """Exceptions that reached the loop."""
    return [line[2] for line in gateway.events.lines() if line[1] == "http" and "connection closed" in line[2]]


def check(gateway, peer, pieces):
    faults = len(escaped(gateway))
    for piece in pieces:
        if peer.closed:
            break
        peer.feed(piece)
        assert held(peer.connection) <= 1024 + 1024
    for _ in range(3):
        gateway.service.tick()
        peer.settle()
    gateway.ticks.advance_ms(11_000)
    for _ in range(3):
        gateway.service.tick()
        peer.settle()
    gateway.ticks.advance_ms(21_000)
    gateway.service.tick()
    peer.settle()
    assert peer.closed, "it is closed in the end, whatever it did"
    assert len(escaped(gateway)) == faults, escaped(gateway)
    text = bytes(peer.out)
    assert not text or text.startswith(b"HTTP/1.1 "), text[:100]
    assert gateway.budget.in_use() == 6
    assert not gateway.buses.paused, "the buses go on"


_SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)


@given(requests=st.lists(_REQUESTS, min_size=1, max_size=3), step=st.integers(1, 1500), mutations=_MUTATIONS)
@_SETTINGS
def test_any_requests_in_any_pieces(gateway, requests, step, mutations):
    data = mutated(b"".join(requests), mutations)
    check(gateway, gateway.connect(), [data[k : k + step] for k in range(0, len(data), step)])


_TAKE_BODIES = ("/api/login", "/api/password", "/api/read", "/api/time", "/api/factory_reset", "/api/config")
_GIVE = ("/api/config", "/api/history", "/api/status", "/api/scan", "/api/profiles", "/")


@given(path=st.sampled_from(_TAKE_BODIES),
       body=st.binary(max_size=500) | st.recursive(
           st.none() | st.booleans() | st.integers() | st.text(max_size=10),
           lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
               st.sampled_from(["unit", "first", "nonce", "proof", "client_nonce", "salt", "unix_s", "meters", "buses"])
               | st.text(max_size=5), inner, max_size=4), max_leaves=8).map(lambda one: json.dumps(one).encode()),
       step=st.integers(1, 700))  # fmt: skip
@_SETTINGS
def test_any_body_within_a_session(gateway, path, body, step):
    method = "PUT" if path == "/api/config" else "POST"
    head = f"{method} {path} HTTP/1.1\r\nHost: gate\r\nX-Meterport: 1\r\nCookie: {gateway.cookie}\r\n"
    data = (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    check(gateway, gateway.connect(), [data[k : k + step] for k in range(0, len(data), step)])


@given(junk=st.binary(max_size=3000), step=st.integers(1, 3000))
@_SETTINGS
def test_any_bytes_at_all(gateway, junk, step):
    check(gateway, gateway.connect(), [junk[k : k + step] for k in range(0, len(junk), step)])


@given(query=st.text(max_size=60), path=st.sampled_from(_GIVE))
@_SETTINGS
def test_any_query(gateway, query, path):
    data = f"GET {path}?{query} HTTP/1.1\r\nHost: gate\r\nCookie: {gateway.cookie}\r\n\r\n".encode("utf-8", "replace")
    check(gateway, gateway.connect(), [data])

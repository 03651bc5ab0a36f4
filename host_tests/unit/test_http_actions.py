"""Commands of the API beside the configuration: reads, the clock, restarts, the factory reset, and refusals."""

import json
import struct

import pytest

from firmware.bus import Request
from firmware.meters import profile_loader
from firmware.meters.meter import Meter
from firmware.meters.meters import Meters
from host_tests.unit import the_schema
from host_tests.unit.fake_gateway import FakeBus
from host_tests.unit.fakes import defaults, frame
from host_tests.unit.http_rig import Rig


@pytest.fixture
def gateway(monkeypatch, events, clock, tmp_path):
    made = Rig(monkeypatch, events, clock, tmp_path).log_in()
    made.bus = FakeBus()
    made.buses.append(made.bus)
    return made


def begin(gateway, path, document):
    """A connection on which the request is on its way."""
    return gateway.begin("POST", path, document)


def body_of(peer):
    head, _, body = peer.take().partition(b"\r\n\r\n")
    text = body if b"chunked" not in head else b"".join(body.split(b"\r\n")[1::2])
    return int(head.split(b" ")[1]), json.loads(text)


def test_a_read_waits_for_the_bus_and_gives_the_registers(gateway, clock):
    peer = begin(gateway, "/api/read", {"unit": 7, "function": 4, "first": 300, "count": 2})
    assert peer.take() == b""
    (request,) = gateway.bus.requests
    assert isinstance(request, Request)
    assert bytes(request.frame[: request.length]) == frame(7, 4, struct.pack(">HH", 300, 2))
    clock.advance_ms(42)
    gateway.bus.answer(frame(7, 4, 4, struct.pack(">HH", 1, 65535)))
    assert body_of(peer) == (200, {"registers": [1, 65535], "ms": 42})
    peer.feed(b"GET /api/session HTTP/1.1\r\nHost: gate\r\n\r\n")
    assert body_of(peer)[0] == 200


def test_coils_are_bits(gateway):
    peer = begin(gateway, "/api/read", {"unit": 7, "function": 1, "first": 0, "count": 10})
    gateway.bus.answer(frame(7, 1, 2, b"\x05\x02"))
    assert body_of(peer)[1]["bits"] == [1, 0, 1, 0, 0, 0, 0, 0, 0, 1]


def test_the_exception_of_a_meter_is_an_answer(gateway):
    peer = begin(gateway, "/api/read", {"unit": 7, "first": 0})
    gateway.bus.answer(frame(7, 0x83, 2))
    assert body_of(peer) == (200, {"exception": 2, "ms": 0})


@pytest.mark.parametrize(("code", "status"), [(11, 504), (10, 503), (6, 503), (4, 503)])
def test_a_read_that_comes_to_nothing_says_why_sooner_or_later(gateway, code, status):
    peer = begin(gateway, "/api/read", {"unit": 7, "first": 0})
    gateway.bus.requests[0].owner.on_answer(code, b"", 0, 0)
    assert body_of(peer)[0] == status
    gateway.bus.code = code
    assert gateway.post("/api/read", {"unit": 7, "first": 0}, cookie=gateway.cookie).status == status


def test_a_browser_that_goes_away_takes_its_read_with_it(gateway):
    peer = begin(gateway, "/api/read", {"unit": 7, "first": 0})
    peer.connection.close()
    assert gateway.bus.withdrawn == gateway.bus.requests


def test_pipelined_requests_wait_for_the_read_before_them(gateway):
    peer = begin(gateway, "/api/read", {"unit": 7, "first": 0})
    peer.feed(b"GET /api/session HTTP/1.1\r\nHost: gate\r\n\r\n")
    assert peer.take() == b""
    gateway.bus.answer(frame(7, 3, 2, b"\x00\x09"))
    peer.settle()
    text = peer.take()
    assert text.index(b'"registers":[9]') < text.index(b'"logged_in"')


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({}, ["unit", "first"]),
        ({"unit": 0, "first": 0}, ["unit"]),
        ({"unit": 248, "first": 0}, ["unit"]),
        ({"unit": 1, "first": -1}, ["first"]),
        ({"unit": 1, "first": 65536}, ["first"]),
        ({"unit": 1, "first": 0, "count": 17}, ["count"]),
        ({"unit": 1, "first": 0, "count": 0}, ["count"]),
        ({"unit": 1, "first": 0, "function": 6}, ["function"]),
        ({"unit": 1, "first": 0, "bus": 1}, ["bus"]),
        ({"unit": True, "first": "0"}, ["unit", "first"]),
        ({"unit": [], "first": {}}, ["unit", "first"]),
    ],
)
def test_a_read_of_what_there_is_not_is_refused_beside_the_field(gateway, document, fields):
    response = gateway.post("/api/read", document, cookie=gateway.cookie)
    assert response.status == 422
    assert [error["field"] for error in response.json()["errors"]] == fields
    assert gateway.bus.requests == []


def test_the_clock_is_set_until_a_time_server_does(gateway):
    post = lambda unix_s: gateway.post("/api/time", {"unix_s": unix_s}, cookie=gateway.cookie).status  # noqa: E731
    gateway.device.run("ntp", age_s=None)
    assert post(1_800_000_000) == 200
    assert gateway.clock.set_to == [1_800_000_000_000]
    assert [post(value) for value in (0, -1, 10**12, "now", True, None)] == [422] * 6
    gateway.device.run("ntp", age_s=5)
    assert post(1_800_000_000) == 409
    gateway.device.entry("ntp").service = None
    assert post(1_800_000_001) == 200


def test_a_reboot_is_asked_for_once(gateway):
    response = gateway.post("/api/reboot", cookie=gateway.cookie)
    assert (response.status, response.json()) == (200, {})
    assert gateway.device.reboots == 1


def test_a_factory_reset_wants_the_name_and_leaves_nothing(gateway):
    (gateway.data / "config.json").write_text("{}")
    (gateway.data / "config.good.a").write_text("x")
    assert gateway.post("/api/factory_reset", {"confirm": "gatE"}, cookie=gateway.cookie).status == 422
    assert (gateway.data / "config.json").exists()
    assert gateway.post("/api/factory_reset", {"confirm": "gate"}, cookie=gateway.cookie).status == 200
    assert list(gateway.data.iterdir()) == []
    assert gateway.device.reboots == 1
    assert gateway.get("/api/session").json()["setup"] is True


@pytest.mark.parametrize("path", ["/api/read", "/api/time", "/api/reboot", "/api/factory_reset"])
@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b"1", b"null", b"[" * 500])
def test_a_body_that_is_no_object_does_nothing(gateway, path, body):
    assert gateway.post(path, body, cookie=gateway.cookie).status == 400
    assert gateway.device.reboots == 0


def test_a_body_that_is_too_long_is_refused_before_it_comes(gateway):
    response = gateway.post("/api/read", b" " * 513, cookie=gateway.cookie)
    assert response.status == 413
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/api/read", "/api/reboot", "/api/factory_reset", "/api/time"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_commands_are_posted_and_nothing_else(gateway, path, method):
    response = gateway.send(method, path, cookie=gateway.cookie)
    assert (response.status, response.headers["allow"]) == (405, "POST")
    assert gateway.device.reboots == 0


def test_a_name_with_markup_is_data_in_every_document(gateway):
    hostile = '</script><img src=x onerror=alert(1)>"\\\u2028'
    given = defaults(the_schema.METER, slot=5, name=hostile, unit=7, profile="pzem-004t-v3")
    gateway.meters = Meters([Meter(given, profile_loader.load("pzem-004t-v3"))])
    gateway.name = hostile
    gateway.restart()
    gateway.cookie = gateway.login()
    for path in ("/api/session", "/api/readings"):
        response = gateway.get(path, cookie=gateway.cookie)
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"
        document = response.json()
        assert hostile in (document.get("name"), document.get("meters", [{"name": ""}])[0]["name"])
    disposition = gateway.get("/api/config?download=1", cookie=gateway.cookie).headers["content-disposition"]
    assert "<" not in disposition
    assert disposition.count('"') == 2


def test_a_read_without_memory_for_its_response_is_503(gateway):
    peer = begin(gateway, "/api/read", {"unit": 7, "first": 0})
    gateway.bus.requests[0].owner.fail(MemoryError())
    assert body_of(peer)[0] == 503
    assert not peer.closed

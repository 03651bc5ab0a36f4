"""The configuration over HTTP: what is saved, what is refused and beside which field, and what is never told."""

import json
from types import SimpleNamespace

import pytest

from firmware.config import load as config
from firmware.config import store
from firmware.net.tls import Tls
from firmware.services.http import request_reader
from host_tests.certificates import Certificate
from host_tests.unit import the_schema
from host_tests.unit.http_rig import Rig

METER = {"slot": 0, "name": "main", "unit": 1, "profile": "pzem-004t-v3"}
GOOD = {"name": "gate", "network": {"ssid": "plant", "password": "geheim"}, "buses": [{"uart": 1}], "meters": [METER]}


@pytest.fixture
def gateway(monkeypatch, events, clock, tmp_path):
    return Rig(monkeypatch, events, clock, tmp_path).log_in()


def put(gateway, document, **options):
    return gateway.send("PUT", "/api/config", document, cookie=gateway.cookie, **options)


def get(gateway, path="/api/config"):
    return gateway.get(path, cookie=gateway.cookie)


def test_a_new_device_has_no_configuration(gateway):
    assert get(gateway).json() == {}


def test_what_is_saved_is_read_back_without_its_secrets(gateway):
    response = put(gateway, GOOD)
    assert (response.status, response.json()) == (200, {"reboot_due": ["configuration"]})
    assert json.loads(gateway.path.read_text()) == GOOD
    assert get(gateway).json() == {**GOOD, "network": {"ssid": "plant"}}
    assert b"geheim" not in get(gateway).body
    assert config.load().source == "file"


def test_no_secret_of_any_section_is_told_and_each_stays(gateway):
    secrets = {
        section: {key: "hush" for key in keys if key.startswith("password")}
        for section, keys in the_schema.SCHEMA.items() if isinstance(keys, dict)
    }  # fmt: skip
    secrets = {section: keys for section, keys in secrets.items() if keys}
    assert {"network", "bacnet", "posting"} <= secrets.keys()
    assert put(gateway, secrets).status == 200
    for path in ("/api/config", "/api/config?download=1"):
        response = get(gateway, path)
        assert response.json() == dict.fromkeys(secrets, {})
    assert put(gateway, get(gateway).body).status == 200
    assert json.loads(gateway.path.read_text()) == secrets


def test_a_backup_is_a_file_and_restores_to_the_same_with_the_secret_that_is_there(gateway):
    put(gateway, GOOD)
    backup = get(gateway, "/api/config?download=1")
    assert backup.headers["content-disposition"] == 'attachment; filename="gate.json"'
    put(gateway, {"name": "other", "network": {"password": "new"}})
    assert put(gateway, backup.body).status == 200
    assert json.loads(gateway.path.read_text()) == {**GOOD, "network": {"ssid": "plant", "password": "new"}}


def test_a_secret_stays_until_it_is_emptied(gateway):
    put(gateway, GOOD)
    assert put(gateway, {"name": "x"}).status == 200
    assert json.loads(gateway.path.read_text()) == {"name": "x", "network": {"password": "geheim"}}
    assert put(gateway, {"network": {"password": ""}}).status == 200
    assert json.loads(gateway.path.read_text())["network"]["password"] == ""
    assert put(gateway, {}).status == 200
    assert json.loads(gateway.path.read_text()) == {}


def test_the_secret_of_a_file_that_is_damaged_is_the_one_in_use(gateway):
    gateway.path.write_text('{"network": ')
    gateway.config_store.config["network"]["password"] = "running"
    assert put(gateway, {"name": "x"}).status == 200
    assert json.loads(gateway.path.read_text())["network"] == {"password": "running"}


def test_a_damaged_file_shows_the_last_good_one(gateway):
    store.save("data/config.good", json.dumps(GOOD).encode())
    gateway.path.write_text('{"network": ')
    assert get(gateway).json() == {**GOOD, "network": {"ssid": "plant"}}


# Every kind of mistake: test_config_store.py. Here, how errors become fields of the response.
@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({**GOOD, "meters": [{**METER, "unit": 300}]}, ["meters[0].unit"]),
        ({"http": {"port": "80"}, "modbus": {"port": 0}}, ["http.port", "modbus.port"]),
        ({"httpd": {}}, ["httpd"]),
        (b"[]", [""]),
        (b'{"name": "a', [""]),
    ],
)
def test_each_error_names_its_field_and_nothing_is_saved(gateway, document, fields):
    put(gateway, GOOD)
    before = gateway.path.read_bytes()
    response = put(gateway, document)
    assert response.status == 422
    assert [error["field"] for error in response.json()["errors"]] == fields
    assert all(error["text"] for error in response.json()["errors"])
    assert gateway.path.read_bytes() == before
    assert sorted(path.name for path in gateway.path.parent.iterdir()) == ["config.json", "password.a"]


def long_configuration(size):
    """A configuration of so many bytes, without a space in it: 64 meters whose names are as long as that takes."""
    keys = {
        "interval_s": 5, "max_age_s": 10, "timeout_ms": 500, "auto_timeout": False, "retries": 1, "ct_primary": 1,
        "inverted": False,
    }  # fmt: skip
    meters = [{**METER, **keys, "name": "x", "slot": k, "unit": 1 + k // 2, "bus": k % 2} for k in range(64)]
    document = {"buses": [{"uart": 1}, {"uart": 2}], "meters": meters}
    missing = size - len(json.dumps(document, separators=(",", ":")))
    for meter in meters:
        more = min(max(missing, 0), 31)
        meter["name"] += "x" * more
        missing -= more
    body = json.dumps(document, separators=(",", ":")).encode()
    assert len(body) == size
    return body


def test_a_configuration_that_is_too_long_is_refused_whole_or_with_its_secret(gateway):
    put(gateway, GOOD)
    before = gateway.path.read_bytes()
    assert put(gateway, long_configuration(12288) + b" ").status == 413
    response = put(gateway, long_configuration(12288))
    assert response.status == 422
    assert "more than 12288" in response.json()["errors"][0]["text"]
    assert gateway.path.read_bytes() == before
    assert put(gateway, long_configuration(12100)).status == 200
    assert config.load().source == "file"


def test_a_body_may_come_in_any_pieces(gateway):
    body = json.dumps(GOOD).encode()
    head = gateway.head("PUT", "/api/config", f"Content-Length: {len(body)}")
    after = b"GET /api/session HTTP/1.1\r\nHost: gate\r\n\r\n"
    for step in (1, 7, 100, 5000):
        gateway.path.unlink(missing_ok=True)
        peer = gateway.connect()
        data = head + body + after
        for k in range(0, len(data), step):
            peer.feed(data[k : k + step])
        text = bytes(peer.out)
        assert text.startswith(b"HTTP/1.1 200 OK\r\n"), step
        assert text.count(b"HTTP/1.1 200 OK") == 2, "what was sent behind it is answered too"
        assert json.loads(gateway.path.read_text()) == GOOD
        peer.connection.close()


def test_a_client_that_expects_100_continue_gets_it(gateway):
    peer = gateway.connect()
    peer.feed(gateway.head("PUT", "/api/config", "Expect: 100-continue", "Content-Length: 2"))
    assert peer.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.feed(b"{}")
    assert peer.take().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_sends_its_body_at_once_gets_no_100_continue(gateway):
    peer = gateway.connect()
    peer.feed(gateway.head("PUT", "/api/config", "Expect: 100-continue", "Content-Length: 2") + b"{}")
    assert peer.take().startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_body_that_breaks_off_changes_nothing_and_blocks_no_other(gateway, clock):
    for way in ("ended", "reset", "late"):
        peer = gateway.connect()
        peer.feed(gateway.head("PUT", "/api/config", "Content-Length: 100") + b'{"name":')
        assert put(gateway, {"name": "x"}).status == 200, "somebody else saves meanwhile"
        if way == "late":
            clock.advance_ms(10_000)
            gateway.service.tick()
            assert peer.take().startswith(b"HTTP/1.1 408 ")
        else:
            setattr(peer, way, True)
            peer.settle()
        assert peer.closed
        assert json.loads(gateway.path.read_text()) == {"name": "x"}
    assert put(gateway, GOOD).status == 200


def test_no_memory_for_a_body_is_503_before_it_comes(gateway, monkeypatch):
    other = gateway.connect()

    def without_memory(length):
        raise MemoryError

    monkeypatch.setattr(request_reader, "bytearray", without_memory, raising=False)
    peer = gateway.connect()
    peer.feed(gateway.head("PUT", "/api/config", "Content-Length: 12288"))
    assert peer.take().startswith(b"HTTP/1.1 503 ")
    monkeypatch.undo()
    other.feed(b"GET /api/session HTTP/1.1\r\nHost: gate\r\n\r\n")
    assert other.take().startswith(b"HTTP/1.1 200 ")


# -- a save


def test_a_save_waits_until_the_buses_rest_and_they_go_on_behind_it(gateway):
    gateway.buses.rests_at_once = False
    peer = gateway.begin("PUT", "/api/config", GOOD)
    gateway.service.tick()
    assert peer.take() == b""
    assert not gateway.path.exists()
    assert gateway.buses.paused
    gateway.buses.rest()
    peer.settle()
    assert peer.take().startswith(b"HTTP/1.1 200 OK")
    assert json.loads(gateway.path.read_text()) == GOOD
    assert (gateway.buses.paused, gateway.buses.pauses) == (False, 1)


def test_a_save_closes_no_other_connection_and_others_are_answered_while_it_waits(gateway):
    others = [gateway.connect(), gateway.connect()]
    gateway.buses.rests_at_once = False
    peer = gateway.begin("PUT", "/api/config", GOOD)
    for other in others:
        other.feed(b"GET /api/session HTTP/1.1\r\nHost: gate\r\n\r\n")
        assert other.take().startswith(b"HTTP/1.1 200 OK")
    gateway.buses.rest()
    assert peer.take().startswith(b"HTTP/1.1 200 OK")
    assert not any(one.closed for one in [*others, peer])


def test_a_browser_that_goes_away_before_the_buses_rest_has_saved_nothing(gateway):
    gateway.buses.rests_at_once = False
    peer = gateway.begin("PUT", "/api/config", GOOD)
    peer.connection.close()
    assert not gateway.buses.paused, "they go on"
    gateway.buses.rest()
    assert not gateway.path.exists()
    gateway.buses.rests_at_once = True
    assert put(gateway, GOOD).status == 200


def test_buses_that_never_rest_hold_a_save_for_a_bounded_time(gateway, clock):
    gateway.buses.rests_at_once = False
    peer = gateway.begin("PUT", "/api/config", GOOD)
    clock.advance_ms(19_000)
    gateway.service.tick()
    assert peer.take() == b""
    clock.advance_ms(1_000)
    gateway.service.tick()
    assert peer.take().startswith(b"HTTP/1.1 503 ")
    assert not gateway.buses.paused
    assert not gateway.path.exists()
    assert not peer.closed


def test_a_second_save_while_one_waits_is_409(gateway):
    gateway.buses.rests_at_once = False
    peer = gateway.begin("PUT", "/api/config", GOOD)
    response = put(gateway, {"name": "x"})
    assert (response.status, "another save" in response.json()["error"]) == (409, True)
    gateway.buses.rest()
    assert peer.take().startswith(b"HTTP/1.1 200 OK")
    assert json.loads(gateway.path.read_text()) == GOOD


def test_a_save_waits_for_another_write_for_which_the_buses_rest(gateway):
    assert gateway.buses.pause(lambda: None)
    peer = gateway.begin("PUT", "/api/config", GOOD)
    gateway.service.tick()
    assert peer.take() == b""
    assert gateway.buses.paused
    gateway.buses.resume()
    gateway.service.tick()
    assert peer.take().startswith(b"HTTP/1.1 200 OK")
    assert json.loads(gateway.path.read_text()) == GOOD
    assert not gateway.buses.paused


def test_a_browser_that_goes_away_meanwhile_does_not_end_the_rest_of_the_other_write(gateway):
    assert gateway.buses.pause(lambda: None)
    peer = gateway.begin("PUT", "/api/config", GOOD)
    peer.connection.close()
    assert gateway.buses.paused
    gateway.service.tick()
    gateway.buses.resume()
    gateway.service.tick()
    assert not gateway.path.exists()


def test_while_a_scan_has_the_line_nothing_is_saved(gateway):
    gateway.buses.scan = SimpleNamespace(running=True)
    response = put(gateway, GOOD)
    assert (response.status, "scan" in response.json()["error"]) == (409, True)
    assert not gateway.path.exists()
    gateway.buses.scan.running = False
    assert put(gateway, GOOD).status == 200


def test_what_cannot_be_written_leaves_the_old_file_and_the_buses_go_on(gateway, monkeypatch):
    put(gateway, GOOD)

    def full(checked, due):
        raise OSError(28, "no space")

    monkeypatch.setattr(gateway.config_store, "write", full)
    response = put(gateway, {"name": "x"})
    assert response.status == 422
    assert response.json()["errors"][0]["field"] == ""
    assert not gateway.buses.paused
    assert json.loads(gateway.path.read_text()) == GOOD


def test_no_memory_while_it_is_written_is_503_and_the_buses_go_on(gateway, monkeypatch):
    put(gateway, GOOD)

    def short(checked, due):
        raise MemoryError

    monkeypatch.setattr(gateway.config_store, "write", short)
    due = gateway.config_store.reboot_due()
    assert put(gateway, {"name": "x", "ntp": {"enabled": False}}).status == 503
    assert not gateway.buses.paused
    assert json.loads(gateway.path.read_text()) == GOOD
    assert gateway.config_store.reboot_due() == due, "nothing new waits for a reboot"


def test_no_memory_for_the_check_is_503_and_nothing_has_changed(gateway, monkeypatch):
    def short(body):
        raise MemoryError

    monkeypatch.setattr(gateway.config_store, "check", short)
    assert put(gateway, GOOD).status == 503
    assert not gateway.path.exists()
    assert not gateway.buses.paused


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/api/config", GOOD), ("GET", "/api/config", None), ("GET", "/api/schema", None),
        ("POST", "/api/reboot", {}), ("POST", "/api/factory_reset", {"confirm": "gate"}),
        ("POST", "/api/time", {"unix_s": 1800000000}), ("POST", "/api/read", {"unit": 1, "first": 0}),
    ],
)  # fmt: skip
def test_without_a_session_there_is_none_of_it(gateway, method, path, body):
    for cookie in (None, "session=" + "0" * 32):
        assert gateway.send(method, path, body, cookie=cookie).status == 403
    assert not gateway.path.exists()
    assert gateway.device.reboots == 0
    assert gateway.clock.set_to == []


def test_the_schema_is_what_the_device_checks_by(gateway):
    schema = get(gateway, "/api/schema").json()
    assert schema["http"]["port"] == ["int", 80, 1, 65535]
    assert schema == json.loads(json.dumps(the_schema.SCHEMA))
    assert (
        config.validate(
            {
                name: {key: spec[1] for key, spec in part.items()}
                for name, part in schema.items()
                if isinstance(part, dict)
            }
        )[1]
        == []
    )


def test_profiles_of_the_user_come_with_their_titles_and_hide_those_of_the_firmware(gateway):
    folder = gateway.path.parent / "meters"
    folder.mkdir()
    (folder / "mine.json").write_text('{"name": "My <b>meter</b>, mine", "confidence": 1}')
    (folder / "pzem-004t-v3.json").write_text('{"points": [], "name": 5')
    found = {one["name"]: one for one in get(gateway, "/api/profiles").json()["profiles"]}
    assert found["mine"] == {"name": "mine", "title": "My <b>meter</b>, mine", "confidence": 1}
    assert found["pzem-004t-v3"]["title"] == "pzem-004t-v3"
    assert found["eastron-sdm120"] == {"name": "eastron-sdm120", "title": "Eastron SDM120", "confidence": 2}


# -- certificates of authorities, for posting

AUTHORITIES = "/api/posting/authorities"


@pytest.fixture
def over_https(gateway):
    """A gateway that posts over https; `file` is that of the authorities."""
    gateway.device.run("posting")
    gateway.device.running("posting").tls = Tls(
        {"trust": "ca", "ca_file": "ca.pem", "pin_sha256": ""}, None, gateway.buses, None, []
    )
    gateway.file = gateway.data / "ca.pem"
    return gateway


@pytest.mark.parametrize("form", ["pem", "der"])
def test_certificates_of_authorities_are_written_while_the_buses_rest(over_https, form):
    certificate = getattr(Certificate("authority"), form)
    over_https.buses.rests_at_once = False
    peer = over_https.begin("PUT", AUTHORITIES, certificate)
    assert peer.take() == b""
    assert not over_https.file.exists()
    over_https.buses.rest()
    peer.settle()
    assert peer.take().startswith(b"HTTP/1.1 200 OK")
    assert over_https.file.read_bytes() == certificate
    assert not over_https.buses.paused
    assert over_https.device.running("posting").tls.ca_bytes() == len(certificate)


@pytest.mark.parametrize(("body", "status"), [
    (b"", 422), (b"not a certificate", 422), (b"-----BEGIN CERTIFICATE-----\nMIIB", 422), (bytes(8192), 422),
    (bytes(8193), 413),
])  # fmt: skip
def test_what_is_no_certificate_leaves_the_old_ones(over_https, body, status):
    old = Certificate("authority").pem
    over_https.file.write_bytes(old)
    response = over_https.send("PUT", AUTHORITIES, body, cookie=over_https.cookie)
    assert response.status == status
    assert over_https.file.read_bytes() == old
    assert [path.name for path in over_https.data.glob("ca*")] == ["ca.pem"]


def test_authorities_are_for_a_session_and_for_posting_over_https(over_https):
    pem = Certificate("authority").pem
    assert over_https.send("PUT", AUTHORITIES, pem).status == 403
    over_https.device.running("posting").tls = None
    assert over_https.send("PUT", AUTHORITIES, pem, cookie=over_https.cookie).status == 409
    over_https.device.entry("posting").service = None
    assert over_https.send("PUT", AUTHORITIES, pem, cookie=over_https.cookie).status == 409
    assert not over_https.file.exists()


def test_authorities_of_the_broker_have_an_address_of_their_own(over_https):
    pem = Certificate("authority").pem
    address = "/api/mqtt/authorities"
    assert over_https.send("PUT", address, pem, cookie=over_https.cookie).status == 409  # MQTT does not run
    over_https.device.run("mqtt")
    broker = over_https.device.running("mqtt")
    broker.tls = None
    assert over_https.send("PUT", address, pem, cookie=over_https.cookie).status == 409
    broker.tls = Tls({"trust": "ca", "ca_file": "broker.pem", "pin_sha256": ""}, None, over_https.buses, None, [])
    assert over_https.send("PUT", address, pem).status == 403
    assert over_https.send("PUT", address, pem, cookie=over_https.cookie).status == 200
    assert (over_https.data / "broker.pem").read_bytes() == pem
    assert not over_https.file.exists()

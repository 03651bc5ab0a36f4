"""The configuration over HTTP: what is saved, what is refused and beside which field, and what is never told."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.config import check as config_check
from firmware.config import lists as config_lists
from firmware.config import load as config
from firmware.config import profile_check, store
from firmware.config import rules as config_rules
from firmware.config import sections as config_sections
from firmware.services.http import save
from host_tests.unit.http_app import Gateway

PASSWORD = "correct horse"
METER = {"slot": 0, "name": "main", "unit": 1, "profile": "pzem-004t-v3"}
GOOD = {"name": "gate", "network": {"ssid": "plant", "password": "geheim"}, "buses": [{"uart": 1}], "meters": [METER]}


@pytest.fixture
def gateway(monkeypatch, events, clock, tmp_path):
    made = Gateway(monkeypatch, events, clock, tmp_path)
    (tmp_path / "data").mkdir()
    made.set_password(PASSWORD)
    made.cookie = made.login(PASSWORD)
    made.path = tmp_path / "data" / "config.json"
    return made


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
    gateway.app.config["network"]["password"] = "running"
    assert put(gateway, {"name": "x"}).status == 200
    assert json.loads(gateway.path.read_text())["network"] == {"password": "running"}


def test_a_damaged_file_shows_the_last_good_one(gateway):
    store.save("data/config.good", json.dumps(GOOD).encode())
    gateway.path.write_text('{"network": ')
    assert get(gateway).json() == {**GOOD, "network": {"ssid": "plant"}}


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({**GOOD, "meters": [{**METER, "unit": 300}]}, ["meters[0].unit"]),
        ({**GOOD, "meters": [METER, METER]}, ["meters[1].slot", "meters[1].unit"]),
        ({**GOOD, "meters": [{**METER, "profile": "none-such"}]}, ["meters[0].profile"]),
        ({**GOOD, "meters": [{**METER, "profile": "../config"}]}, ["meters[0].profile"]),
        ({**GOOD, "meters": [{**METER, "profile": "\u0000"}]}, ["meters[0].profile"]),
        ({**GOOD, "meters": [{**METER, "bus": 1}]}, ["meters[0].bus"]),
        ({**GOOD, "meters": [5]}, ["meters[0]", *[f"meters[0].{key}" for key in ("slot", "name", "unit", "profile")]]),
        ({**GOOD, "meters": {}}, ["meters"]),
        ({**GOOD, "meters": 5}, ["meters"]),
        ({"http": {"port": "80"}, "modbus": {"port": 0}}, ["http.port", "modbus.port"]),
        ({"http": {"port": 502}}, ["modbus.port"]),
        ({"http": 5}, ["http"]),
        ({"httpd": {}}, ["httpd"]),
        ({"routes": [{"unit": 240, "count": 20}], "buses": [{"uart": 1}]}, ["routes[0].count"]),
        ({"network": {"dhcp": False}}, ["network.address", "network.netmask"]),
        ({"network": {"hostname": "a b"}}, ["network.hostname"]),
        ({"network": {"dhcp": False, "address": "192.0.2.9", "netmask": "255.255.255.0", "gateway": "192.0.3.1"}},
         ["network.gateway"]),
        ({"network": {"dhcp": False, "address": "192.0.2.9", "netmask": "255.0.255.0"}}, ["network.netmask"]),
        ({"network": {"dhcp": False, "address": "192.0.2.0", "netmask": "255.255.255.0"}}, ["network.address"]),
        ({"network": {"dhcp": False, "address": "192.0.2.255", "netmask": "255.255.255.0"}}, ["network.address"]),
        (b"[]", [""]),
        (b"[{}]", [""]),
        (b'{"name": "a', [""]),
        (b'{"name": "a"} x', [""]),
        (b'{"name": "a",}', [""]),
        (b'{"name": \xff}', [""]),
        (b'{"name": "a", "name": "b"}', ["name"]),
        (b'{"name": ' + b"[" * 40 + b"]" * 40 + b"}", [""]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_changed(gateway, document, fields):
    put(gateway, GOOD)
    before = gateway.path.read_bytes()
    response = put(gateway, document)
    assert response.status == 422
    assert [error["field"] for error in response.json()["errors"]] == fields
    assert all(error["text"] for error in response.json()["errors"])
    assert gateway.path.read_bytes() == before
    assert sorted(path.name for path in gateway.path.parent.iterdir()) == ["config.json", "password.a"]


def test_a_fixed_address_that_is_right_is_taken(gateway):
    network = {"dhcp": False, "address": "192.0.2.9", "netmask": "255.255.255.0", "gateway": "192.0.2.1", "dns": ""}
    assert put(gateway, {"network": network}).status == 200


def long_configuration(size):
    """A configuration of so many bytes, in which nothing is long by itself."""
    meters = [json.dumps({**METER, "slot": k, "unit": 1 + k}) for k in range(16)]
    rest = size - len('{"buses":[{"uart":1}],"meters":[]}') - sum(map(len, meters)) - len(meters) + 1
    meters = [text + " " * (rest // 16 + (k < rest % 16)) for k, text in enumerate(meters)]
    return ('{"buses":[{"uart":1}],"meters":[' + ",".join(meters) + "]}").encode()


def test_a_configuration_that_is_too_long_is_refused_whole_or_with_its_secret(gateway):
    put(gateway, GOOD)
    before = gateway.path.read_bytes()
    assert [len(long_configuration(size)) for size in (9000, 12288)] == [9000, 12288]
    assert put(gateway, long_configuration(12289)).status == 413
    response = put(gateway, long_configuration(12288))
    assert response.status == 422
    assert "more than 12288" in response.json()["errors"][0]["text"]
    assert gateway.path.read_bytes() == before
    assert put(gateway, long_configuration(12200)).status == 200
    assert config.load().source == "file"
    assert put(gateway, {"network": {"password": ""}}).status == 200
    assert put(gateway, long_configuration(12280)).status == 200


def test_an_upload_may_come_in_any_pieces(gateway):
    body = json.dumps(GOOD).encode()
    head = f"PUT /api/config HTTP/1.1\r\nHost: gate\r\nX-Meterport: 1\r\nCookie: {gateway.cookie}\r\n"
    head = (head + f"Content-Length: {len(body)}\r\n\r\n").encode()
    after = b"GET /api/session HTTP/1.1\r\nHost: gate\r\n\r\n"
    for step in (1, 7, 100, 5000):
        gateway.path.unlink(missing_ok=True)
        peer = gateway.connect()
        data = head + body + after
        for k in range(0, len(data), step):
            peer.feed(data[k : k + step])
        gateway.server.sweep()
        peer.settle()
        text = bytes(peer.out)
        assert text.startswith(b"HTTP/1.1 200 OK\r\n"), step
        assert text.count(b"HTTP/1.1 200 OK") == 2, "what was sent behind it is answered too"
        assert json.loads(gateway.path.read_text()) == GOOD
        peer.slot.connection.close()


def test_who_expects_to_be_asked_for_the_body_is(gateway):
    peer = gateway.connect()
    head = f"PUT /api/config HTTP/1.1\r\nHost: gate\r\nX-Meterport: 1\r\nCookie: {gateway.cookie}\r\n"
    peer.feed((head + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n").encode())
    assert peer.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.feed(b"{}")
    gateway.server.sweep()
    peer.settle()
    assert peer.take().startswith(b"HTTP/1.1 200 OK\r\n")


def test_an_upload_that_breaks_off_changes_nothing_and_the_next_one_is_taken(gateway, clock):
    for way in ("ended", "reset", "late"):
        peer = gateway.connect()
        head = f"PUT /api/config HTTP/1.1\r\nHost: gate\r\nX-Meterport: 1\r\nCookie: {gateway.cookie}\r\n"
        peer.feed((head + 'Content-Length: 100\r\n\r\n{"name":').encode())
        assert (gateway.path.parent / "config.upload").exists()
        second = put(gateway, {})
        assert second.status == 503, "one at a time"
        if way == "late":
            clock.advance_ms(10_000)
            gateway.server.sweep()
            assert peer.take().startswith(b"HTTP/1.1 408 ")
        else:
            setattr(peer, way, True)
            peer.settle()
        assert peer.closed
        assert not (gateway.path.parent / "config.upload").exists()
        assert not gateway.path.exists()
    assert put(gateway, GOOD).status == 200


def test_an_upload_waits_until_the_buses_rest(gateway):
    bus = type("Bus", (), {"resting": False, "guest": None})()
    gateway.app.buses = [bus]
    held = gateway.app.held
    response = None
    peer = gateway.connect()
    body = json.dumps(GOOD).encode()
    head = f"PUT /api/config HTTP/1.1\r\nHost: gate\r\nX-Meterport: 1\r\nCookie: {gateway.cookie}\r\n"
    peer.feed((head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
    gateway.server.sweep()
    assert (gateway.path.parent / "config.upload").stat().st_size == 0
    assert held == [True]
    bus.resting = True
    for _ in range(2):
        gateway.server.sweep()
        peer.settle()
    response = bytes(peer.out)
    assert response.startswith(b"HTTP/1.1 200 OK")
    assert held == [True, False]


def test_while_a_scan_has_the_line_nothing_is_uploaded(gateway):
    gateway.app.buses = [type("Bus", (), {"resting": False, "guest": object()})()]
    response = put(gateway, GOOD)
    assert response.status == 503
    assert "scan" in response.json()["error"]


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
    assert gateway.app.reboots == 0
    assert gateway.app.times == []


def test_the_schema_is_what_the_device_checks_by(gateway):
    schema = get(gateway, "/api/schema").json()
    assert schema["http"]["port"] == ["int", 80, 1, 65535]
    assert schema["meters"][1] == 64
    assert schema["meters"][0]["slot"] == ["int", None, 0, 63]
    assert config.validate(
        {name: {key: spec[1] for key, spec in part.items()} for name, part in schema.items() if isinstance(part, dict)}
    )[1] == []


def test_profiles_of_the_user_come_with_their_titles_and_hide_those_of_the_firmware(gateway):
    folder = gateway.path.parent / "meters"
    folder.mkdir()
    (folder / "mine.json").write_text('{"name": "My <b>meter</b>, mine", "confidence": 1}')
    (folder / "pzem-004t-v3.json").write_text('{"points": [], "name": 5')
    found = {one["name"]: one for one in get(gateway, "/api/profiles").json()["profiles"]}
    assert found["mine"] == {"name": "mine", "title": "My <b>meter</b>, mine", "confidence": 1}
    assert found["pzem-004t-v3"]["title"] == "pzem-004t-v3"
    assert found["eastron-sdm120"] == {"name": "eastron-sdm120", "title": "Eastron SDM120", "confidence": 2}


# -- the same rules as at boot

_NAMES = st.sampled_from(["a", "b", "", "x" * 33])
_INTS = st.integers(-1, 250) | st.sampled_from([None, "1", 1.5, True])
_METERS = st.fixed_dictionaries(
    {"slot": st.integers(0, 3), "name": _NAMES, "unit": st.integers(0, 3),
     "profile": st.sampled_from(["pzem-004t-v3", "none", "a/b"])},
    optional={"bus": st.integers(0, 2), "interval_s": _INTS, "what": _INTS},
)  # fmt: skip
_DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": _NAMES,
        "http": st.fixed_dictionaries({}, optional={"port": _INTS, "enabled": st.booleans(), "x": _INTS}),
        "network": st.fixed_dictionaries(
            {}, optional={"dhcp": st.booleans(), "address": st.sampled_from(["", "1.2.3.4"])}
        ),
        "buses": st.lists(st.fixed_dictionaries({"uart": st.integers(0, 2)}), max_size=3),
        "meters": st.lists(_METERS, max_size=3),
        "routes": st.lists(st.fixed_dictionaries({"unit": st.integers(1, 247), "bus": st.integers(0, 1)}), max_size=2),
        "more": _INTS,
    },
)


class _App:
    def forget(self, *names):
        """The tests hold what they have loaded."""


@given(document=_DOCUMENTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_what_is_right_for_the_save_is_right_for_the_boot_and_the_other_way_round(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "data" / "config.upload"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document))
    errors = []
    assert {config_check, config_lists, config_sections, profile_check}  # what it loads
    buses = save._check_sections(_App(), errors)
    save._check_lists(_App(), buses, save._profile_errors(_App()), errors)
    boot = config.validate(document)[1]
    assert bool(errors) == bool(boot)
    if len(errors) < config_rules.ERRORS_MAX:  # where there are more, each leaves out others
        assert set(boot) <= set(errors), "the save may know more at once"

"""From a new device to a configured one, over HTTP, on real MicroPython."""

import json

import pytest

from host_tests.system.rig import HOST, READY_S, Rig, wait_for
from tools.device_api import ApiError, Device
from tools.gateway import FORGOTTEN, place_of

PASSWORD = "correct horse"


@pytest.fixture
def rig(tmp_path):
    # A time server that does not answer keeps its code in the heap for two seconds, in which a login may get 503.
    with Rig(tmp_path, config={"ntp": {"enabled": False}}) as rig:
        rig.wait_polled()
        yield rig


@pytest.fixture
def device(rig):
    with Device(HOST, rig.http_port) as device:
        yield device


def stored(rig):
    return json.loads((rig.folder / "data" / "config.json").read_text())


def refused_logins(device, password):
    """The refusals of a wrong password, to the first attempt that comes too early. The delay after the first failure
    ends with the second in which it happened, so the second attempt may be in time; later delays are longer."""
    refusals = []
    while not refusals or (refusals[-1].status == 403 and len(refusals) < 5):
        with pytest.raises(ApiError) as refused:
            device.login(password)
        refusals.append(refused.value)
    return refusals


def test_a_password_is_set_once_and_opens_the_settings(rig, device):
    assert device.session()["setup"] is True
    with pytest.raises(ApiError, match="403"):
        device.config()
    device.set_password(PASSWORD)
    with pytest.raises(ApiError, match="403"):
        device.set_password("mine")
    refusals = refused_logins(device, "mine")
    assert (refusals[0].status, refusals[0].body["error"]) == (403, "wrong password")
    assert refusals[-1].status == 429
    wait_for(lambda: device.session()["wait_s"] == 0, what="no wait")
    device.login(PASSWORD)
    assert device.config()["name"] == "test"
    device.set_password("another", old=PASSWORD)
    assert device.session()["logged_in"] is True
    device.logout()
    assert device.session()["logged_in"] is False
    device.login("another")


def test_a_configuration_is_saved_checked_and_used_after_the_reboot(rig, device):
    device.set_password(PASSWORD)
    device.login(PASSWORD)
    config = device.config()
    config["name"] = "switch room"
    config["network"] = {"ssid": "plant", "password": "geheim"}
    config["bacnet"] = {"enabled": True}
    with rig.client() as client:
        assert device.save(config) == ["bacnet"]
        assert client.read(255, 3, 0, 1) == b"MP", "pollers are not disturbed"
    assert stored(rig) == config
    config["meters"][1]["unit"] = 300
    with pytest.raises(ApiError) as refused:
        device.save(config)
    assert [(error["field"], error["text"]) for error in refused.value.errors] == [
        ("meters[1].unit", "300 is not 1 to 247")
    ]
    assert stored(rig)["meters"][1]["unit"] == 2
    backup = device.request("GET", "/api/config?download=1")[2]
    assert b"geheim" not in backup
    device.save(backup)
    assert stored(rig)["network"]["password"] == "geheim"
    assert rig.status()["reboot_due"] == ["bacnet"]
    device.reboot()
    status = rig.status()
    assert (status["name"], status["reboot_due"], status["config"]) == (
        "switch room", [], {"source": "file", "errors": []},
    )  # fmt: skip
    device.login(PASSWORD)


def test_polling_goes_on_after_a_save(rig, device):
    device.set_password(PASSWORD)
    device.login(PASSWORD)
    for _ in range(3):
        device.save(device.config())
    before = rig.status()["buses"][0]["answered"]
    wait_for(lambda: rig.status()["buses"][0]["answered"] > before + 3, what="polls")
    assert rig.status()["task_restarts"] == 0


def test_registers_are_read_by_hand_beside_the_poller(rig, device):
    device.set_password(PASSWORD)
    device.login(PASSWORD)
    meter = rig.meter(3)
    document = device.post("/api/read", {"unit": 3, "function": 4, "first": 0, "count": 10})
    assert document["registers"] == meter.registers(4, 0, 10)
    assert 0 <= document["ms"] < 5000
    assert device.post("/api/read", {"unit": 3, "function": 4, "first": 900, "count": 1})["exception"] == 2
    with pytest.raises(ApiError, match="504"):
        device.post("/api/read", {"unit": 99, "first": 0})


def test_a_factory_reset_leaves_a_new_device(rig, device):
    device.set_password(PASSWORD)
    device.login(PASSWORD)
    data = rig.folder / "data"
    device.post("/api/factory_reset", {"confirm": "test"})
    wait_for(lambda: not any(data.iterdir()) or rig.gateway.reboots, what="an empty folder")
    rig.gateway.wait_line(FORGOTTEN)
    rig.gateway.wait_reboots(1)
    rig.gateway.wait_ready(READY_S)
    assert not [path.name for path in data.iterdir() if path.name.startswith("password")]
    with Device(HOST, rig.http_port) as again:
        again.cookie = device.cookie
        session = again.session()
        assert (session["name"], session["setup"], session["logged_in"]) == ("meterport", True, False)
        with pytest.raises(ApiError, match="403"):
            again.config()
        again.set_password("another")
        again.login("another")
        assert again.config() == place_of(rig.config)
    with rig.client() as client:
        assert client.read(255, 3, 10, 1) == b"\0\0"  # meters


def busy_browsers(rig):
    """How many connections of browsers have a request in flight, the one that asks left out."""
    slots = rig.get("/api/sockets")["slots"]
    return len([slot for slot in slots if slot["kind"] == "http" and slot["busy"]]) - 1


def test_a_save_that_is_cut_off_changes_nothing(rig, device):
    device.set_password(PASSWORD)
    device.login(PASSWORD)
    before = stored(rig)
    with rig.client() as _, Device(HOST, rig.http_port) as other:
        other.cookie = device.cookie
        other.session()
        sock = other._connection.sock
        head = f"PUT /api/config HTTP/1.1\r\nHost: x\r\nX-Meterport: 1\r\nCookie: session={device.cookie}\r\n"
        sock.sendall((head + 'Content-Length: 500\r\n\r\n{"name": "cut').encode())
        wait_for(lambda: busy_browsers(rig) == 1, what="the save")
    wait_for(lambda: busy_browsers(rig) == 0, what="the end of it")
    assert stored(rig) == before
    assert device.save({**before, "name": "next"}) == ["configuration"]


def test_the_history_is_kept_of_power_and_voltage(rig, device):
    document = rig.get("/api/history")
    assert document["points"][0] == 16
    assert document["step_s"] * document["steps"] >= 86400
    one = rig.get(f"/api/history?point={document['points'][0]}")
    assert len(one["values"]) == document["steps"]
    assert one["newest_age_s"] <= document["step_s"]

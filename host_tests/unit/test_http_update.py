"""/api/update: who may, in what order, and that nothing is left behind by what is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware import trees, update
from host_tests.unit.http_rig import Rig
from tools.update import Package

FILES = {"firmware/__init__.mpy": b"VERSION", "firmware/app.mpy": bytes(9000), "lib/ntp.mpy": b"ntp"}
PACKAGE = Package("0.2.0", FILES)


@pytest.fixture
def gateway(monkeypatch, events, clock, tmp_path):
    rig = Rig(monkeypatch, events, clock, tmp_path).log_in()
    yield rig
    rig.service.close()


def key(gateway):
    return update.key(gateway.service.password.server_key)


def post(gateway, step, **fields):
    return gateway.post("/api/update", {"step": step, **fields}, cookie=gateway.cookie)


def begin(gateway, package=PACKAGE, **changes):
    return post(gateway, "begin", **{**package.fields(key(gateway), False), **changes})


def put(gateway, at, data):
    return gateway.send("PUT", f"/api/update?at={at}", data, cookie=gateway.cookie)


def send(gateway, package=PACKAGE):
    assert begin(gateway, package).json() == {"ready": True}
    for at in range(0, len(package.data), update.PIECE):
        response = put(gateway, at, package.data[at : at + update.PIECE])
        assert response.status == 200, response.body
    return response


def test_sent_verified_and_switched_it_restarts(gateway):
    assert send(gateway).json() == {"received": len(PACKAGE.data)}
    assert post(gateway, "switch").status == 409
    assert gateway.get("/api/update", cookie=gateway.cookie).json() == {
        "version": "0.1.0", "tree": "-", "on_trial": False, "takes": "files", "receiving": "0.2.0",
        "received": len(PACKAGE.data), "failed": None,
    }  # fmt: skip
    assert post(gateway, "verify").json() == {"verified": 3, "done": True}
    assert trees.read() == ("-", "-")
    assert post(gateway, "switch").status == 200
    assert trees.read() == ("-", "a")
    assert gateway.device.reboots == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_without_a_session_nothing_is_taken(gateway, method):
    assert gateway.send(method, "/api/update", b"{}" if method != "GET" else None).status == 403
    assert not (gateway.folder / "tree").exists()


def test_a_piece_longer_than_its_bound_is_refused_before_it_comes(gateway):
    begin(gateway)
    response = put(gateway, 0, bytes(update.PIECE + 1))
    assert (response.status, response.headers["connection"]) == (413, "close")


def test_only_the_next_piece_is_taken(gateway):
    assert put(gateway, 0, b"x").status == 409
    begin(gateway)
    assert put(gateway, 1, b"x").status == 409
    assert put(gateway, 0, b"").status == 422
    assert put(gateway, 0, PACKAGE.data[:10]).json() == {"received": 10}
    assert put(gateway, 0, PACKAGE.data[:10]).status == 409
    assert put(gateway, 10, PACKAGE.data[10:20]).json() == {"received": 20}


def test_a_wrong_piece_ends_the_update(gateway):
    begin(gateway)
    response = put(gateway, 0, b"x" * len(PACKAGE.manifest))
    assert response.status == 422
    assert put(gateway, len(PACKAGE.manifest), b"x").status == 409
    assert gateway.get("/api/update", cookie=gateway.cookie).json()["receiving"] is None
    send(gateway)


@pytest.mark.parametrize(
    "changes",
    [{"version": 1}, {"version": None}, {"digest": "xx"}, {"digest": "00"}, {"mac": ""}, {"mac": []}, {"manifest": 0},
     {"manifest": True}, {"total": "1"}, {"total": 1 << 30}, {"older": 1}, {"older": None}, {"mac": "00" * 32}],
)  # fmt: skip
def test_a_head_that_is_wrong_is_refused_and_writes_nothing(gateway, changes):
    assert begin(gateway, **changes).status == 422
    assert not (gateway.folder / "tree").exists()
    assert post(gateway, "verify").status == 409


def test_a_step_that_is_none_is_refused(gateway):
    begin(gateway)
    assert post(gateway, "leap").status == 422


def test_an_update_can_be_given_up(gateway):
    send(gateway)
    assert gateway.send("DELETE", "/api/update", cookie=gateway.cookie).status == 200
    assert post(gateway, "verify").status == 409


def test_the_buses_rest_for_each_piece_and_go_on_after_it(gateway):
    begin(gateway)
    before = gateway.buses.pauses
    put(gateway, 0, PACKAGE.data[:100])
    assert gateway.buses.pauses == before + 1
    assert not gateway.buses.paused


def test_a_board_without_slots_takes_no_image(gateway):
    response = begin(gateway, Package("0.2.0", {"image": b"\xe9"}, "image"))
    assert (response.status, "by cable" in response.json()["error"]) == (409, True)
    assert not (gateway.folder / "tree").exists()


def test_an_esp32_without_a_second_slot_says_why(gateway, monkeypatch):
    def image_slot():
        raise OSError(19, "no second slot")

    gateway.device.board.image_slot = image_slot
    response = begin(gateway, Package("0.2.0", {"image": b"\xe9"}, "image"))
    assert (response.status, response.json()["error"]) == (409, "no second slot")


def test_what_cannot_be_written_is_said_and_ends_the_update(gateway, monkeypatch):
    send(gateway)
    while not post(gateway, "verify").json()["done"]:
        pass

    def switch(self):
        raise OSError(-0x1503, "ESP-IDF refuses the image")

    monkeypatch.setattr(update.Update, "switch", switch)
    response = post(gateway, "switch")
    assert response.status == 422
    wrong = {"field": "package", "text": "not taken: OSError(-5379, 'ESP-IDF refuses the image')"}
    assert response.json()["errors"] == [wrong]
    assert post(gateway, "switch").status == 409
    assert gateway.device.reboots == 0


def test_with_a_release_key_only_what_is_signed_is_taken_in_steps(gateway):
    private = Ed25519PrivateKey.generate()
    gateway.service.config_store.config["system"]["release_key"] = private.public_key().public_bytes_raw().hex()
    signed = Package("0.2.0", FILES)
    signed.sign(private)

    def prepared(package, **changes):
        rounds = 0
        while True:
            response = begin(gateway, package, **changes)
            rounds += 1
            if response.status != 200 or response.json()["ready"]:
                return response, rounds

    response, _ = prepared(signed, signature="00" * 64)
    assert response.status == 422
    assert "not of the key that system.release_key has" in str(response.json())
    response, _ = prepared(PACKAGE)
    assert response.status == 422
    assert begin(gateway, signed, signature="not hexadecimal").status == 422
    response, rounds = prepared(signed)
    assert response.status == 200
    assert rounds > 30
    assert not (gateway.folder / "tree").exists()


def test_one_that_goes_back_is_on_trial_until_it_has_restarted(gateway):
    trees.write("-", "a")
    assert trees.end_trial("finder failed", gateway.device.board)
    gateway.device.reboot()
    assert gateway.get("/api/update", cookie=gateway.cookie).json()["on_trial"] is True


def test_it_says_why_the_last_one_was_taken_back(gateway):
    trees.write("-", "a")
    trees.end_trial('finder "failed"', gateway.device.board)
    assert gateway.get("/api/update", cookie=gateway.cookie).json()["failed"] == 'finder "failed"'

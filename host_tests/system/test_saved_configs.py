"""Whatever configuration a save takes, the device comes back with its page: frozen 32-bit MicroPython, small heaps.

A save refuses what this board has no room for; a file that gets there otherwise (by mpremote, from a larger board) and
leaves the device without a page gives way to the one before it by itself.
"""

import json
import random

import pytest

from host_tests.system.rig import HOST, Rig, wait_for
from tools import profiles
from tools.device_api import Device

PASSWORD = "correct horse"
KINDS = profiles.available()
BACK_S = 60


def meters(kinds, count):
    return [
        {"slot": k, "name": f"meter {k + 1}", "unit": 1 + k % 32, "bus": k // 32, "profile": kinds[k % len(kinds)]}
        for k in range(count)
    ]


def some_configuration(base, rng):
    """Any number of meters of any kinds, and whatever else takes heap."""
    config = json.loads(json.dumps(base))
    kinds = rng.sample(KINDS, rng.choice((1, 3, len(KINDS))))
    config["meters"] = meters(kinds, rng.choice((0, 2, 4, 8, 12, 20, 32, 64)))
    for meter in config["meters"]:
        meter["inverted"] = rng.random() < 0.3
        meter["name"] = "n" * rng.randint(1, 32)
    config["history"] = {"bytes": rng.choice((0, 1024, 4096))}
    config["buses"] = [config["buses"][0], {"uart": "nothing"}]
    config["routes"] = [{"unit": 200 + k} for k in range(rng.choice((0, 0, 32)))]
    config["http"]["max_connections"] = rng.choice((1, 4, 8))
    return config


class Owner(Device):
    """Logs in on each new start."""

    def __init__(self, rig):
        super().__init__(HOST, rig.http_port)
        if self.get("/api/session")["setup"]:
            self.set_password(PASSWORD)
        self.login(PASSWORD)

    def saves(self, config):
        """False when the device refuses it for lack of room, by name or because the request itself finds none."""
        status, _, body = self.request("PUT", "/api/config", config)
        if status == 200:
            return True
        assert status == 503 or (status == 422 and b"KB of heap more than this board has" in body), body
        return False


@pytest.mark.parametrize(("heap", "seed"), [("110K", 1), ("128K", 2)])
def test_whatever_a_save_takes_comes_back_with_a_page_that_can_log_in_and_save(tmp_path, heap, seed):
    rng = random.Random(seed)
    taken = refused = 0
    with Rig(tmp_path, virtual=(), frozen=True, heap=heap) as rig:
        with Owner(rig) as owner:
            base = owner.config()
        for _ in range(16):
            config = some_configuration(base, rng)
            with Owner(rig) as owner:
                if not owner.saves(config):
                    refused += 1
                    continue
                taken += 1
                owner.reboot()
                status = owner.get("/api/status")
            assert status["config"] == {"source": "file", "errors": []}
            assert len(status["meters"]) == len(config["meters"])
            with Owner(rig) as owner:
                config["name"] = f"name {taken}"
                owner.save(config)
                assert owner.config() == config
    print(f"{taken} taken, {refused} refused")
    assert taken > 2
    assert refused > 2


def test_a_configuration_without_a_page_is_replaced_by_the_one_before(tmp_path):
    with Rig(tmp_path, frozen=True) as rig:
        rig.wait_last_good()
        path = rig.folder / "data" / "config.json"
        config = json.loads(path.read_text())
        with Owner(rig) as owner:
            config["http"]["bind"] = "203.0.113.1"  # an address that the device has not
            owner.save(config)
            owner.reboot(0)
        rig.gateway.wait_reboots(2, BACK_S)
        rig.gateway.wait_ready(BACK_S, rig.http_port, rig.modbus_port)
        status = rig.status()
        assert status["config"]["source"] == "last good"
        assert status["config"]["errors"] == ["configuration: the device could not bring up its page with it"]
        assert "config: running by the last good configuration" in rig.events()
        with Owner(rig) as owner:
            assert owner.config()["http"]["bind"] == "203.0.113.1", "what was saved is there to be mended"
            config["http"]["bind"] = HOST
            owner.save(config)
            owner.reboot()
        assert rig.status()["config"] == {"source": "file", "errors": []}


@pytest.mark.parametrize("has_last_good", [True, False])
def test_a_file_that_takes_more_heap_than_there_is_does_not_keep_the_page_away(tmp_path, has_last_good):
    with Rig(tmp_path, virtual=(), frozen=True, heap="110K") as rig:
        path = rig.folder / "data" / "config.json"
        if has_last_good:
            rig.wait_last_good()
        rig.gateway.stop()
        config = json.loads(path.read_text())
        config["meters"] = meters(KINDS, 64)
        config["buses"].append({"uart": "nothing"})
        path.write_text(json.dumps(config))

        def answers():
            if not rig.gateway.alive:
                rig.gateway.start()  # the board of a chip restarts by itself
            try:
                return rig.status()
            except (OSError, AssertionError):
                return None

        def is_back():
            status = answers()
            return status and status["config"]["errors"] and status

        status = wait_for(is_back, BACK_S, "a page by another configuration")
        assert status["config"]["source"] == ("last good" if has_last_good else "partly")
        assert "the device could not bring up its page with" in status["config"]["errors"][-1]
        assert len(status["meters"]) == (3 if has_last_good else 0)
        with Owner(rig) as owner:
            owner.save({**config, "meters": meters(KINDS, 2)})
        rig.gateway.lines.clear()

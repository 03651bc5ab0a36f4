"""The page's own way into the chip: its status, a password, one save, and a factory reset, through real lwIP and onto
real flash."""

import pytest

from host_tests.emulated.chip import Chip
from host_tests.system.rig import HOST
from tools.device_api import ApiError, Device
from tools.emulator import build

pytestmark = pytest.mark.timeout(400)

PASSWORD = "correct horse"
ANSWER_S = 60
ERASED_S = 240


def test_a_configuration_is_saved_on_the_chip_and_a_wrong_one_is_not(chip):
    with Device(HOST, timeout=ANSWER_S, connect=lambda: chip.connect("http", ANSWER_S)) as device:
        assert device.session()["setup"] is True
        device.set_password(PASSWORD)
        with pytest.raises(ApiError, match="403"):
            device.config()
        device.login(PASSWORD)
        config = device.config()
        config["name"] = "saved on the chip"
        assert device.save(config) == ["configuration"]
        assert device.config()["name"] == "saved on the chip"
        config["meters"][0]["unit"] = 300
        with pytest.raises(ApiError) as refused:
            device.save(config)
        assert [error["field"] for error in refused.value.errors] == ["meters[0].unit"]
        status = device.get("/api/status")
        assert status["reboot_due"] == ["configuration"]
        assert status["network"]["address"] == "10.0.2.15"
        assert status["task_restarts"] == 0


def test_a_factory_reset_leaves_no_secret_in_the_flash(tmp_path):
    with Chip(tmp_path, build.OUR_PCBS) as chip:
        with chip.device() as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            for number in range(3):
                config = device.config()
                config["network"] = {"ssid": "home", "password": f"Geheimnis {number}"}
                device.save(config)
            assert b"Geheimnis 0" in chip.emulator.flash.read_bytes()
            chip.emulator.lines.clear()
            device.post("/api/factory_reset", {"confirm": device.session()["name"]})
        chip.emulator.wait_line("app: what was removed is erased", ERASED_S)
        chip.emulator.wait_ready()
        assert b"Geheimnis" not in chip.emulator.flash.read_bytes()
        with chip.device() as device:
            assert device.session()["setup"] is True

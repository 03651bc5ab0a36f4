"""The page's own way into the chip: its status, a password, and one save, through real lwIP and onto real flash."""

import pytest

from host_tests.system.rig import HOST
from tools.device_api import ApiError, Device

pytestmark = pytest.mark.timeout(400)

PASSWORD = "correct horse"
ANSWER_S = 60


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

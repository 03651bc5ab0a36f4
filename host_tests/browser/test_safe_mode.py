"""The page in safe mode: every tab opens, the reason stands at its head, and what is saved there keeps the rest."""

import json

from playwright.sync_api import expect

from host_tests.browser.visit import PASSWORD, PHONE, TABS, assert_accessible, assert_fits
from host_tests.system.rig import HOST
from tools.device_api import Device


def test_the_page_of_safe_mode_says_why_and_changes_the_configuration(make_rig, visit):
    rig = make_rig()
    config = json.loads((rig.folder / "data" / "config.json").read_text())
    with Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)
    rig.gateway.stop()
    (rig.folder / "data" / "starts").write_text("3")
    rig.gateway.start()
    rig.gateway.wait_ready(modbus_port=0)

    phone = visit(rig, PHONE).open("system")
    phone.log_in()
    for name in TABS:
        phone.tab(name)
        expect(phone.page.locator("#problems")).to_contain_text("safe mode: 3 starts have failed")
        assert_accessible(phone, f"safe-mode-{name}")
        assert_fits(phone, f"safe-mode-{name}")
    phone.page.get_by_label("Name of this device").fill("mended")
    phone.save()
    phone.expect_notice("Saved.")
    saved = json.loads((rig.folder / "data" / "config.json").read_text())
    assert saved == {**config, "name": "mended"}
    phone.restart()
    rig.gateway.wait_ready()
    assert rig.status()["config"]["errors"] == []
    assert len(rig.status()["meters"]) == len(config["meters"])

"""A service that is switched off in the configuration keeps its slot until the reboot, and everybody is told."""

import json

from host_tests.system.rig import ALL_SIX, wait_for

LOOKS_S = 15  # the firmware looks at its file every 5 s


def rewrite(rig, change):
    path = rig.folder / "data" / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config, indent=1))  # another length than before: the clock of files is coarse


def test_a_service_switched_off_keeps_its_slot_until_the_reboot_and_says_so(make_rig):
    rig = make_rig(**ALL_SIX)
    assert rig.status()["reboot_due"] == []
    assert rig.sockets()["general"] == 10
    with rig.client() as client:
        assert client.read(255, 3, 8, 1) == b"\0\0"
        rewrite(rig, lambda config: config.update(bacnet={"enabled": False}, posting={"enabled": False}))
        wait_for(lambda: rig.status()["reboot_due"] == ["bacnet", "posting"], LOOKS_S, "reboot due")
        assert client.read(255, 3, 8, 1) == b"\0\1"
    sockets = rig.sockets()
    assert (sockets["services"], sockets["general"]) == (6, 10)
    assert "bacnet" in [slot["kind"] for slot in sockets["slots"]]
    assert any("a reboot is due for: bacnet, posting" in line for line in rig.events())

    rig.stop()
    rig.start()
    assert rig.status()["reboot_due"] == []
    assert rig.sockets()["general"] == 12


def test_any_other_change_waits_for_a_reboot_too_and_a_change_taken_back_does_not(make_rig):
    rig = make_rig()
    path = rig.folder / "data" / "config.json"
    before = path.read_bytes()
    rewrite(rig, lambda config: config.update(name="another"))
    wait_for(lambda: rig.status()["reboot_due"] == ["configuration"], LOOKS_S, "reboot due")
    path.write_bytes(before)
    wait_for(lambda: rig.status()["reboot_due"] == [], LOOKS_S, "nothing due")


def test_a_file_that_will_not_do_is_told_before_the_reboot(make_rig):
    rig = make_rig()
    path = rig.folder / "data" / "config.json"
    path.write_text(path.read_text()[:-20])
    wait_for(lambda: rig.status()["reboot_due"] == ["configuration"], LOOKS_S, "reboot due")
    assert any("the new file is wrong: not JSON: cut off after" in line for line in rig.events())
    assert rig.sockets()["general"] == 11

"""The meter bus on machine.UART of the chip, its bits paced: ten meters, one of which dies, and a technician at the
prompt whose blocking umodbus takes over the line."""

import json
import time

import pytest

from host_tests.emulated.chip import interrupt, wait_served
from host_tests.system.rig import wait_for
from tools import build as device_build
from tools import umodbus
from tools.emulator import image

pytestmark = pytest.mark.timeout(1200)
DEAD = 5
PROFILE = "eastron-sdm120"
FOUND = [PROFILE, "eastron-sdm230"]  # whose signature fits it, too: the surest first
CONFIG = {
    "meters": [
        {"slot": k, "name": f"meter {k}", "unit": 1 + k, "profile": PROFILE, "interval_s": 5, "timeout_ms": 500}
        for k in range(10)
    ]
}
ROUNDS_S = 45  # of the chip
STATE_S = 300
PAUSE_S = 3
KEPT = 0.9  # a round more or less is one of a dozen


def files(folder):
    """umodbus, as `make build ARGS=--with-umodbus` would add it."""
    umodbus.ensure()
    device_build.build(folder / "tree", with_umodbus=True)
    return {name: content for name, content in image.tree_files(folder / "tree").items() if "umodbus/" in name}


def bus(chip):
    return chip.get("/api/bus")


def rates(chip):
    """{unit: requests in a second of the chip}, over ROUNDS_S of its own, in which it is hardly asked anything."""
    before = chip.get("/api/status")
    passed_s = 0
    while passed_s < ROUNDS_S:
        time.sleep(max(ROUNDS_S - passed_s, PAUSE_S))
        after = chip.get("/api/status")
        passed_s = after["uptime_s"] - before["uptime_s"]
    first = {row["unit"]: row["requests"] for row in before["meters"]}
    return {row["unit"]: (row["requests"] - first[row["unit"]]) / passed_s for row in after["meters"]}


def test_a_dead_meter_of_ten_costs_the_others_nothing(chip):
    alone = rates(chip)
    chip.meters[DEAD].silent = True
    try:
        wait_state(chip, "quarantined")
        with_it = rates(chip)
    finally:
        chip.meters[DEAD].silent = False
    others = [unit for unit in alone if unit != DEAD]
    print(json.dumps({"requests/s": sum(alone.values()), "with a dead one": sum(with_it.values())}))
    assert all(with_it[unit] >= KEPT * alone[unit] for unit in others), (alone, with_it)
    document = bus(chip)
    assert sum(document["buses"][0]["wrong"].values()) == 0
    assert document["buses"][0]["noise_bytes"] == document["buses"][0]["stale_bytes"] == 0
    wait_state(chip, "online")


def wait_state(chip, state):
    """Waits until the dead meter is in that state; asks now and then, since each answer takes the chip a while."""

    def reached():
        time.sleep(PAUSE_S)
        return [row["state"] for row in bus(chip)["meters"] if row["unit"] == DEAD] == [state]

    wait_for(reached, STATE_S, state)


def test_a_technician_scans_and_uses_umodbus_and_the_gateway_goes_on(chip):
    interrupt(chip)
    chip.emulator.exec("from firmware import repl_tools")
    found = chip.emulator.exec("print('found', repl_tools.scan(first=1, last=12))", 60)
    assert "12 of 12 asked, 10 found" in found
    assert f"(3, {chip.emulator.baud}, '8N1', {FOUND})" in found
    talk = (
        "with repl_tools.UmodbusMaster() as line:\n"
        "    print('said', [line.read_input_registers(unit, 70, 2) for unit in (1, 2)])"
    )
    said = chip.emulator.exec(talk, 30)
    wanted = [tuple((word ^ 0x8000) - 0x8000 for word in chip.meters[unit].registers(4, 70, 2)) for unit in (1, 2)]
    assert f"said {wanted}" in said
    chip.emulator.type("\x02run()\r")
    wait_served(chip)

"""The chip's clock, set by a time server that others wrote: chrony, over UDP through real lwIP."""

import time

from host_tests.chrony import STRATUM, Chrony
from tools.emulator.network import GATEWAY

SET_S = 240  # it asks again 15 s, 45 s, ... after its start, by its own clock
RIGHT_S = 1
NOBODY = "10.0.2.77"  # of the emulated network


def behind_s(chip):
    """How far the chip's clock is behind ours, but for a constant: it stands while the emulator has to catch up."""
    return time.time() - chip.emulator.statistics()["chip_s"]


def test_chrony_sets_the_clock_to_the_second_when_the_first_server_is_silent(make_chip, tmp_path):
    server = Chrony(tmp_path)
    chip = make_chip(config={"ntp": {"server": NOBODY, "more_servers": [GATEWAY], "port": server.port}, "meters": []})
    before_s = behind_s(chip)
    with server:
        chip.emulator.wait_line(rf"ntp: clock set by {GATEWAY} \(stratum {STRATUM}\)", SET_S)
    status = chip.get("/api/status")
    now_s = time.time()
    lag_s = behind_s(chip) - before_s
    assert status["ntp"]["server"] == GATEWAY
    assert status["ntp"]["stratum"] == STRATUM
    assert status["ntp"]["error"] is None
    assert now_s - lag_s - 1 - RIGHT_S <= status["time_unix_s"] <= now_s + RIGHT_S  # whole seconds, rounded down
    board_s = int(chip.emulator.exec("import time; print(time.time())"))
    assert time.time() - (behind_s(chip) - before_s) - 2 - RIGHT_S <= board_s <= time.time() + RIGHT_S

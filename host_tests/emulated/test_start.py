"""The number of failed starts on the chip: it outlives a reset in a scratch register of the watchdog, leads to safe
mode and to no start at all, and a power cut ends it."""

import pytest

from host_tests.emulated.chip import Chip
from host_tests.emulated.test_power import SafeChip

STARTS = "from firmware import board; print(board.detect().starts({}))"
ANSWER_S = 120


@pytest.fixture(scope="module")
def safe_chip(tmp_path_factory):
    with SafeChip(tmp_path_factory.mktemp("start")) as chip:
        yield chip


def reset(chip):
    chip.type("import machine; machine.reset()\r")
    chip.wait_reset()


def test_the_number_outlives_a_reset_and_no_power_cut(safe_chip):
    assert safe_chip.exec(STARTS.format("")).strip() == "0"
    safe_chip.exec(STARTS.format("5"))
    reset(safe_chip)
    assert safe_chip.exec(STARTS.format("")).strip() == "5"
    safe_chip.power_cut()
    safe_chip.start()
    assert safe_chip.exec(STARTS.format("")).strip() == "0"


def test_after_three_failed_starts_only_the_page_runs_and_after_six_nothing(tmp_path):
    with Chip(tmp_path, 24) as chip:
        for failed in (3, 6):
            chip.emulator.lines.clear()
            chip.emulator.type("\x03")
            chip.emulator.wait_line(r"stopped; run\(\) starts it again", ANSWER_S)
            chip.emulator.lines.clear()
            chip.emulator.exec(STARTS.format(failed))
            reset(chip.emulator)
            if failed == 6:
                chip.emulator.wait_line("6 starts have failed, the firmware is not started", ANSWER_S)
                break
            chip.emulator.wait_line("safe mode: 3 starts have failed: reason unknown", ANSWER_S)
            chip.emulator.network.wait_up(ANSWER_S)
            status = chip.get("/api/status")
            assert status["config"]["errors"][0].startswith("safe mode: 3 starts have failed")
            assert [entry["name"] for entry in status["services"] if entry["state"] == "running"] == ["http"]
            assert status["buses"] == []

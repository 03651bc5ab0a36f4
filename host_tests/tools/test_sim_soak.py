"""tools/soak.py: what it says, and that it fails when the firmware does."""

import pytest

from tools import soak


def test_a_soak_names_its_seed_and_ends_well(capfd):
    assert soak.main(["--days", "0.08", "--seed", "3"]) == 0
    told = capfd.readouterr().out
    assert "make soak DAYS=0.08 SEED=3 ARGS='--profile esp32-16'" in told
    assert "day 1: " in told
    assert "every invariant held" in told


def test_a_soak_without_a_seed_takes_a_fresh_one(capfd):
    assert soak.main(["--days", "0.001"]) == 0
    assert soak.main(["--days", "0.001"]) == 0
    first, second = (line for line in capfd.readouterr().out.splitlines() if line.startswith("seed "))
    assert first != second


def test_a_soak_of_a_broken_firmware_fails_and_says_how_to_run_it_again(capfd, monkeypatch):
    from firmware.net.budget import Budget

    monkeypatch.setattr(Budget, "admit", lambda self, kind: True)
    assert soak.main(["--days", "0.08", "--seed", "5", "--profile", "esp32"]) == 1
    told = capfd.readouterr().err
    assert "general slots" in told
    assert "make soak DAYS=0.08 SEED=5" in told


@pytest.mark.parametrize("arguments", [["--days", "0"], ["--days", "-1"], ["--profile", "c64"], ["--seed", "x"]])
def test_wrong_arguments_are_named(arguments, capfd):
    with pytest.raises(SystemExit) as caught:
        soak.main(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capfd.readouterr().err

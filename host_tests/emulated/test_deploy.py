"""A developer's way with a board, on the emulated chip with an RP2350's RAM: `make deploy` to a MicroPython without
any files, a configuration by mpremote, `make repl`. Beside PPP an RP2040 has no room for the modules as files."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

import firmware
from host_tests.emulated.serial_port import SerialPort, Terminal
from host_tests.system.rig import HOST, wait_for
from tools import gateway
from tools.device_api import Device
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated
from tools.emulator.variant import Variant

VERSION = ".".join(map(str, firmware.VERSION))
IMAGE = Variant(ram_kib=520)
CALL_S = 400
READY_S = 240
LEAVES_S = 10
AGAIN_S = 120  # a deploy with nothing to copy


class Board(emulated.Emulator):
    """An emulated Pico with MicroPython and an empty file system."""

    @property
    def port(self):
        """For mpremote and tools.device."""
        return f"socket://{HOST}:{self.repl_port}"

    def device(self, action, *options):
        """tools.device; its output."""
        return call(sys.executable, "-m", "tools.device", action, "--port", self.port, *options)

    def mpremote(self, *words):
        return call(sys.executable, "-m", "mpremote", "connect", self.port, *words)

    def wait_started(self, ups):
        """Waits until the firmware has brought the link up `ups` times; the services that this start found no memory
        for, as its console says."""
        self.network.wait_up(READY_S, ups)
        lines = list(self.lines)
        begins = [k for k, line in enumerate(lines) if line.startswith("emulator: reset")]
        text = "\n".join(lines[begins[-1] :])
        assert "app: meterport runs on emulated_pico" in text
        return re.findall(r"(\w+): not started: no memory for it on this board", text)


def call(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CALL_S)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    ports = {"http": 0, "modbus": 0}
    with Board(tmp_path_factory.mktemp("board"), firmware=build.ensure_firmware(IMAGE), ports=ports) as one:
        yield one


def test_deploy_makes_a_gateway_of_a_bare_board(board):
    said = board.device("deploy")
    assert f"firmware: unknown on the board -> {VERSION}\n" in said
    assert "the board holds the build, compared by SHA-256" in said
    assert board.wait_reset() == "software"
    assert board.wait_started(ups=1) == []
    wait_for(lambda: gateway.http_answers(board.ports["http"]), READY_S, "the page")


def test_make_repl_gives_the_prompt_of_the_running_gateway(board):
    with SerialPort(board.repl_port) as serial:
        repl = (sys.executable, "-m", "tools.device", "repl", "--port", serial.path)
        with Terminal(repl) as terminal:
            terminal.wait_for("to exit this shell")
            terminal.type("\x03")
            terminal.wait_for("stopped; run() starts it again")
            terminal.wait_for(">>> ")
            terminal.type("print(6 * 7)\r")
            terminal.wait_for("42")
            terminal.type("\x1d")  # Ctrl-]
            assert terminal.process.wait(LEAVES_S) == 0


def test_an_uploaded_configuration_is_used_after_a_quick_second_deploy(board, tmp_path):
    config = tmp_path / "config.json"
    over = {"name": "uploaded", "meters": []}
    config.write_text(json.dumps(emulate.configuration(over)))
    board.mpremote("cp", config, ":data/config.json")
    begin = time.monotonic()
    said = board.device("deploy")
    assert f"firmware: {VERSION} on the board -> {VERSION}\n" in said
    assert re.search(r"^0 of \d+ files to copy", said, re.MULTILINE)
    assert time.monotonic() - begin < AGAIN_S
    assert board.wait_started(ups=2) == []
    wait_for(lambda: gateway.http_answers(board.ports["http"]), READY_S, "the page")
    with Device(HOST, board.ports["http"], READY_S) as device:
        assert device.session()["name"] == "uploaded"


def test_make_logs_shows_what_the_gateway_says_and_does_not_stop_it(board):
    logs = (sys.executable, "-m", "tools.device", "logs", "--port")
    with SerialPort(board.repl_port) as serial, Terminal((*logs, serial.path)) as terminal:
        terminal.wait_for("Ctrl-C ends this and not the firmware")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.process.wait(LEAVES_S) == 130
    assert "stopped; run() starts it again" not in "\n".join(board.lines)[-2000:]


def test_make_backup_copies_the_data_and_the_gateway_runs_again(board, tmp_path):
    folder = tmp_path / "backup"
    board.device("backup", "--out", str(folder))
    kept = json.loads(next(folder.rglob("config.json")).read_text())
    assert kept["name"] == "uploaded"
    board.wait_started(ups=3)

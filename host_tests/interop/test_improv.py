"""Improv and mpremote on one serial line: the client of ESP Web Tools sets Wi-Fi while the firmware runs, and mpremote
interrupts it. The firmware is the real one, frozen, on the unix port, with Wi-Fi of its own making; the REPL behind it
is a stand-in, since the unix port has no raw one."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from host_tests.interop.pty_pair import PtyPair
from host_tests.system.rig import PICO_W_HEAP, Rig, wait_for
from tools import build, gateway
from tools.emulator import node

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parent / "on_micropython" / "run_with_radio.py"
CALL_S = 60
ENDS_S = 10


class Device:
    """The firmware with one end of a serial line as its console; `port` is the other end."""

    def __init__(self, folder, pair):
        rig = Rig(folder)  # for its configuration: it is not started
        [dns_port] = gateway.free_ports(1)
        self.port = pair.b
        self.config = rig.folder / "data" / "config.json"
        argv = [gateway.find_frozen(print), "-X", f"heapsize={PICO_W_HEAP}", SCRIPT, str(dns_port)]
        with open(pair.a, "r+b", buffering=0) as line:
            self.process = subprocess.Popen(
                argv, cwd=folder, env=dict(os.environ, MICROPYPATH=f".frozen:{SCRIPT.parent}"),
                stdin=line, stdout=line, stderr=line,
            )  # fmt: skip

    def mpremote(self, code):
        return call(sys.executable, "-m", "mpremote", "connect", self.port, "resume", "exec", code)


def call(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=CALL_S)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def device(tmp_path):
    with PtyPair() as pair, contextlib.ExitStack() as stack:
        made = Device(tmp_path, pair)
        stack.callback(made.process.wait, ENDS_S)
        stack.callback(made.process.kill)
        yield made


def set_wifi(device):
    modules = node.ensure_packages(cache=build.ROOT / "build" / "improv_client", source=HERE / "improv_client")
    program, _ = node.find()
    output = call(program, HERE / "improv_client.mjs", modules, device.port, "plant", "geheim12", "geheim13")
    return json.loads(output.splitlines()[-1])


def test_the_client_of_esp_web_tools_sets_wifi_and_mpremote_interrupts_on_the_same_line(device):
    found = set_wifi(device)
    assert found["info"]["firmware"] == "meterport"
    assert found["info"]["name"] == "test"
    assert found["networks"] == [
        {"name": "plant", "rssi": -55, "secured": True}, {"name": "yard", "rssi": -80, "secured": False},
    ]  # fmt: skip
    assert found["refusal"] == "UNABLE_TO_CONNECT"
    assert found["url"] == found["urlAgain"] == "http://127.0.0.1/"
    assert found["states"] == [2, 3, 2, 3, 4, 4]
    saved = json.loads(device.config.read_text())
    assert saved["network"] == {"link": "wifi", "ssid": "plant", "password": "geheim12"}
    assert device.mpremote("print(6 * 7)").strip().endswith("42")
    assert device.process.poll() is None


def test_mpremote_interrupts_a_device_in_set_up_mode(device):
    assert device.mpremote("print(6 * 7)").strip().endswith("42")


def test_ctrl_c_ends_the_firmware_at_once(device):
    with open(device.port, "r+b", buffering=0) as line:
        heard = bytearray()
        wait_for(lambda: heard.extend(line.read(1)) or b"set-up: Wi-Fi" in heard, what="set-up mode")
        line.write(b"\x03")
        wait_for(lambda: heard.extend(line.read(1)) or b"stopped by Ctrl-C" in heard, what="the end")

"""A meter as Shelly Pro 3EM on real MicroPython: what a home battery reads is what the meter has, and no more once the
meter is silent."""

import json
import socket

import pytest

from host_tests.system.rig import ANSWER_S, HOST, quick_to_fail, wait_for
from tools.gateway import free_ports

PHASES = {"a": (1, 9, 17), "b": (2, 10, 18), "c": (3, 11, 19)}  # numbers of voltage, current and power
SILENT_S = 30


class Battery:
    """Asks by JSON-RPC over UDP, as Shelly's description has it."""

    def __init__(self, port):
        self.port = port
        self.number = 0

    def ask(self, method, timeout_s=ANSWER_S):
        """The result; None without an answer. AssertionError when it is not the answer."""
        self.number += 1
        request = {"id": self.number, "src": "battery", "method": method, "params": {"id": 0}}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(timeout_s)
            sock.connect((HOST, self.port))
            sock.send(json.dumps(request).encode())
            try:
                answer = json.loads(sock.recv(2048))
            except TimeoutError:
                return None
        assert (answer["id"], answer["dst"]) == (self.number, "battery")
        return answer["result"]


@pytest.mark.parametrize("slot", [0, 2])
def test_a_battery_reads_the_meter_and_nothing_once_it_is_silent(make_rig, slot):
    (port,) = free_ports(1)
    config = {"shelly": {"enabled": True, "bind": HOST, "port": port, "slot": slot}}
    rig = make_rig(config=config, meters=quick_to_fail(slot + 1))
    rig.wait_polled()
    meter = rig.meter(slot + 1)
    battery = Battery(port)
    found = battery.ask("EM.GetStatus")
    numbers = PHASES if slot == 0 else {"a": (None, None, 16)}  # main has three phases, socket has one
    for phase, (voltage, current, power) in numbers.items():
        assert found[f"{phase}_act_power"] == pytest.approx(meter.expected(power), abs=0.06, rel=1e-5)
        if voltage:
            assert found[f"{phase}_voltage"] == pytest.approx(meter.expected(voltage), abs=0.06)
            assert found[f"{phase}_current"] == pytest.approx(meter.expected(current), abs=0.0006)
    assert found["total_act_power"] == pytest.approx(meter.expected(16), abs=0.06, rel=1e-5)
    assert battery.ask("EM1.GetStatus")["act_power"] == found["total_act_power"]
    assert battery.ask("Shelly.GetDeviceInfo")["app"] == "Pro3EM"
    assert [slot["kind"] for slot in rig.sockets()["slots"]].count("shelly") == 1

    meter.silent = True

    def is_silent():
        # Half a second without an answer may also be the machine's.
        return battery.ask("EM.GetStatus", 0.5) is None and rig.status()["shelly"]["not_fresh"] > 0

    wait_for(is_silent, SILENT_S, "silence")
    meter.silent = False
    wait_for(lambda: battery.ask("EM.GetStatus", 0.5) is not None, SILENT_S, "the meter again")

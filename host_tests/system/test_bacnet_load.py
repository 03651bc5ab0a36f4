"""A BACnet client that reads all 257 objects each second, beside ten Modbus pollers and two browsers, on real
MicroPython with the firmware frozen: no poll is lost, and BACnet has one socket."""

import contextlib
import os
import time

import pytest

from host_tests.system.bacnet_client import ANALOG_INPUT, ANY_DEVICE, DEVICE, BacnetClient
from host_tests.system.page_reader import PageReader
from host_tests.system.rig import HOST, Poller, Rig, configured, words
from tools.device_api import Device

METERS, POLLERS, BROWSERS = 32, 10, 2
SECONDS = 12
A_REQUEST = 32  # objects of one ReadPropertyMultiple
# Ten pollers and two browsers need twelve general slots: ntp keeps its own, the other two are given back.
CONFIG = {"bacnet": {"enabled": True}, "finder": {"enabled": False}, "posting": {"enabled": False}}
PASSWORD = "correct horse"


@pytest.fixture
def rig(tmp_path):
    # One line reads all blocks of 32 meters in some seconds.
    meters = [meter | {"interval_s": 20} for meter in configured("eastron-sdm630", METERS)]
    with Rig(tmp_path, config=CONFIG, meters=meters) as rig:
        rig.wait_polled(120)
        yield rig


def udp_ports(pid):
    """The local ports of the UDP sockets that a process holds, as the kernel counts them."""
    held = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            held.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    with open("/proc/net/udp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return [int(row[1].rpartition(":")[2], 16) for row in rows if f"socket:[{row[9]}]" in held]


def read_all(client, inputs):
    """Present_Value of each input, and the device's name: one object more."""
    found = {}
    for k in range(0, len(inputs), A_REQUEST):
        found |= client.read_present_values(inputs[k : k + A_REQUEST])
    return client.read(DEVICE, ANY_DEVICE, 77), found


def test_all_objects_each_second_beside_ten_pollers_and_two_browsers_cost_no_poll(rig):
    with Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)
        device.login(PASSWORD)
        cookie = device.cookie
    points = {point["id"]: point for meter in rig.get("/api/readings")["meters"] for point in meter["points"]}
    reads = [
        (meter.unit, *block, words(meter.registers(*block)))
        for meter in rig.line.meters
        for block in meter.profile.blocks(meter.profile.gap)
    ]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(BacnetClient(rig.bacnet_port))
        inputs = [instance for kind, instance in client.read(DEVICE, ANY_DEVICE, 76) if kind == ANALOG_INPUT]
        assert len(inputs) == 256
        expected = {
            instance: points[instance]["value"] / (1000 if points[instance]["unit"].endswith("h") else 1)
            for instance in inputs
        }
        pollers = [stack.enter_context(Poller(rig.modbus_port, reads[k::POLLERS], 0.1)) for k in range(POLLERS)]
        browsers = [stack.enter_context(PageReader(rig, cookie)) for _ in range(BROWSERS)]
        begin = time.monotonic()
        for rounds in range(SECONDS):
            time.sleep(max(0.0, begin + rounds - time.monotonic()))
            name, found = read_all(client, inputs)
            assert name == ["test"]
            assert {instance: value for instance, (value, _) in found.items()} == pytest.approx(expected, rel=1e-5)
            assert udp_ports(rig.gateway.pid).count(rig.bacnet_port) == 1
        for each in (*pollers, *browsers):
            each.check(1)
    status = rig.status()
    assert status["task_restarts"] == 0
    assert status["bacnet"]["requests"] >= SECONDS * (METERS * 8 // A_REQUEST + 1)
    assert rig.event_count("connection closed") == 0

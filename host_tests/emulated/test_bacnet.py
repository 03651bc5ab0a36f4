"""BACnet/IP on the emulated chip: found by broadcast through real lwIP, read, and subscribed to, beside pollers."""

import contextlib
import socket
import struct

import pytest

from host_tests.emulated.peers import Pollers
from host_tests.system.bacnet_client import ANALOG_INPUT, ANY_DEVICE, DEVICE, BacnetClient
from host_tests.system.rig import wait_for
from host_tests.unit.bacnet_bench import context, decoded, object_id
from tools.emulator import tun
from tools.emulator.network import GUEST

TUN = True
CONFIG = {"bacnet": {"enabled": True, "instance": 4711}}
PORT = 47808
EVERYBODY = "255.255.255.255"
ANSWER_S = 60
WHO_IS = bytes.fromhex("810b 0008 0100 1008")
OBJECT_LIST, OBJECT_NAME, PRESENT_VALUE = 76, 77, 85
FLOOD = 1000
I_AMS_PER_SECOND = 20  # docs/reference/bacnet.md
POWER = 16  # the number of the point active_power


@pytest.fixture
def client(chip):
    sock = chip.emulator.network.new_socket(socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, tun.DEVICE.encode())
    with BacnetClient(PORT, GUEST, ANSWER_S, sock) as client:
        yield client


def waiting(sock):
    """The datagrams that come until a second passes without one."""
    sock.settimeout(1)
    with contextlib.suppress(TimeoutError):
        while True:
            yield sock.recv(2000)


def test_who_is_by_broadcast_finds_the_chip(chip, client):
    client.socket.sendto(WHO_IS, (EVERYBODY, PORT))
    data, sender = client.socket.recvfrom(2000)
    assert sender == (GUEST, PORT)
    assert data[6:8] == b"\x10\x00"  # I-Am
    assert struct.unpack(">I", data[9:13])[0] == DEVICE << 22 | 4711


def test_present_values_are_those_of_the_meters(chip, client):
    objects = client.read(DEVICE, ANY_DEVICE, OBJECT_LIST)
    assert objects[0] == (DEVICE, 4711)
    points = {point["id"]: point for meter in chip.get("/api/readings")["meters"] for point in meter["points"]}
    shown = [instance for kind, instance in objects if kind == ANALOG_INPUT]
    assert len(shown) == chip.get("/api/status")["bacnet"]["objects"] - 1 > 10

    def expected(instance):
        point = points[instance]
        return pytest.approx(point["value"] / 1000 if point["unit"].endswith("h") else point["value"], rel=1e-5)

    for instance in shown[:3]:
        assert client.read(ANALOG_INPUT, instance, PRESENT_VALUE) == [expected(instance)]
    values = client.read_present_values(shown[:20])
    assert {instance: flags for instance, (_, flags) in values.items()} == dict.fromkeys(shown[:20], "0000")
    assert {instance: value for instance, (value, _) in values.items()} == {
        instance: expected(instance) for instance in shown[:20]
    }


def test_a_subscription_tells_the_value_at_once_and_each_change_of_it(chip, client):
    wanted = object_id(ANALOG_INPUT, POWER)
    assert client.confirmed(5, b"\x09\x07" + context(1, wanted) + b"\x29\x00\x39\x3c") == b""

    def told():
        return decoded(client.receive()[2:])

    meter = chip.meters[chip.config["meters"][0]["unit"]]
    first = told()
    value = meter.expected(POWER)
    assert pytest.approx(value) in [item for item in first if isinstance(item, float)]
    meter.set("active_power", value + 100)
    second = told()
    assert pytest.approx(value + 100) in [item for item in second if isinstance(item, float)]
    assert client.confirmed(5, b"\x09\x07" + context(1, wanted)) == b""
    meter.set("active_power", value)
    chip.wait_polled()


def test_a_flood_of_who_is_stops_no_poller(chip, client):
    before = chip.get("/api/status")
    with Pollers(chip) as pollers:
        for _ in range(FLOOD):
            client.socket.sendto(WHO_IS, (EVERYBODY, PORT))
        pollers.check()
    after = chip.get("/api/status")
    assert after["task_restarts"] == 0
    came = len(list(waiting(client.socket)))
    assert 1 <= came <= I_AMS_PER_SECOND * (after["uptime_s"] - before["uptime_s"] + 3)

    def read():
        # lwIP's socket keeps one datagram, and what comes meanwhile is lost.
        client.socket.settimeout(5)
        try:
            return client.read(DEVICE, ANY_DEVICE, OBJECT_NAME)
        except TimeoutError:
            return None

    wait_for(read, ANSWER_S, "an answer after the flood")

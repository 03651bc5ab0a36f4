"""The finder on the emulated chip: a broadcast comes in through real lwIP, and a flood of them stops no poller."""

import json
import socket

import pytest

from host_tests.emulated.peers import Pollers
from host_tests.system.rig import wait_for
from tools.emulator import tun
from tools.emulator.network import GUEST

TUN = True
PORT = 10502
FIND = b"meterport find"
EVERYBODY = "255.255.255.255"
ANSWER_S = 60
FLOOD = 2000


@pytest.fixture
def looker(chip):
    """A UDP socket on the chip's network that may broadcast there."""
    with chip.emulator.network.new_socket(socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, tun.DEVICE.encode())
        sock.settimeout(ANSWER_S)
        yield sock


def test_a_broadcast_finds_the_chip(chip, looker):
    looker.sendto(FIND, (EVERYBODY, PORT))
    data, sender = looker.recvfrom(2000)
    assert sender == (GUEST, PORT)
    document = json.loads(data)
    assert (document["board"], document["address"]) == ("emulated_pico", GUEST)
    assert document["ports"] == {"http": 80, "modbus": 502}
    assert "RP2040" in document["model"]
    assert int(document["serial"], 16) >= 0
    assert len(document["serial"]) == 16


def test_only_the_chip_of_that_serial_identifies_itself(chip, looker):
    looker.sendto(FIND, (GUEST, PORT))
    serial = json.loads(looker.recv(2000))["serial"]
    refused = chip.get("/api/status")["finder"]["refused"]
    looker.sendto(b"meterport identify 0123", (EVERYBODY, PORT))
    # lwIP's socket keeps one datagram: the next is sent when this one was looked at.
    wait_for(lambda: chip.get("/api/status")["finder"]["refused"] > refused, ANSWER_S, "the refusal")
    looker.sendto(b"meterport identify " + serial.encode(), (EVERYBODY, PORT))
    assert json.loads(looker.recv(2000))["serial"] == serial
    events = chip.get("/api/status")["events"]
    assert [event["source"] for event in events if "identify" in event["text"]] == ["finder"]


def test_a_flood_of_broadcasts_stops_no_poller(chip, looker):
    with Pollers(chip) as pollers:
        for k in range(FLOOD):
            looker.sendto(FIND if k % 2 else b"", (EVERYBODY, PORT))
        pollers.check()
    looker.settimeout(0.5)
    try:
        while True:
            looker.recv(2000)
    except TimeoutError:
        pass
    looker.settimeout(ANSWER_S)
    looker.sendto(FIND, (GUEST, PORT))
    assert looker.recvfrom(2000)[1] == (GUEST, PORT)
    assert chip.get("/api/status")["task_restarts"] == 0

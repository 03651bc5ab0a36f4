"""The finder on the emulated chip: a broadcast comes in through real lwIP, and a flood of them stops no poller."""

import json
import socket
import sys
from pathlib import Path

import pytest

from host_tests.emulated.peers import Pollers
from host_tests.interop.bacnet_network import run
from host_tests.system.rig import wait_for
from tools.emulator import tun
from tools.emulator.network import GATEWAY, GUEST

TUN = True
ZEROCONF_CLIENT = Path(__file__).resolve().parent.parent / "interop" / "zeroconf_client.py"
PORT = 10502
FIND = b"meterport find"
EVERYBODY = "255.255.255.255"
ANSWER_S = 60
FLOOD = 2000
PER_SECOND = 16  # docs/reference/finder.md, Bounds


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


def test_a_flood_of_broadcasts_stops_no_poller_and_costs_sixteen_datagrams_a_second(chip, looker):
    looker.sendto(FIND, (GUEST, PORT))
    serial = json.loads(looker.recv(2000))["serial"].encode()
    before = chip.get("/api/status")
    with Pollers(chip) as pollers:
        for k in range(FLOOD):
            looker.sendto(FIND if k % 2 else b"", (EVERYBODY, PORT))
        pollers.check()
    after = chip.get("/api/status")
    looked_at = sum(after["finder"][count] - before["finder"][count] for count in ("answered", "refused"))
    # The chip counts seconds of its own. Its uptime is cut to whole ones, which hides up to one; and sixteen more may
    # come before its first tick, since the bound is one of each second between two ticks.
    assert 1 <= looked_at <= PER_SECOND * (after["uptime_s"] - before["uptime_s"] + 2)
    assert after["task_restarts"] == 0

    def identified():
        # Again and again, since lwIP's socket keeps one datagram and drops what comes meanwhile.
        looker.sendto(b"meterport identify " + serial, (GUEST, PORT))
        return chip.get("/api/status")["finder"]["answered"] > after["finder"]["answered"]

    wait_for(identified, ANSWER_S, "an answer after the flood")


def test_zeroconf_finds_the_servers_of_our_image_without_being_told(chip):
    """By multicast DNS: the image has no responder but the firmware's."""
    status = chip.get("/api/status")
    assert status["finder"]["conflict"] is None
    ports = {"_http._tcp.local.": 80, "_modbus._tcp.local.": 502}
    output = chip.emulator.network.call(run, sys.executable, ZEROCONF_CLIENT, GATEWAY, str(ANSWER_S), *ports)
    found = json.loads(output)
    for kind, port in ports.items():
        name, host, found_port, addresses, told = found[kind]
        assert (name, host, found_port, addresses) == (
            f"{status['name']}.{kind}", status["finder"]["host"] + ".", port, [GUEST],
        )  # fmt: skip
        assert "RP2040" in told["model"]

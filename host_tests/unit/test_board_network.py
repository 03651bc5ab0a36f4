"""The network settings of the boards, on modules that stand for MicroPython's machine and network."""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import pytest

from firmware import board as board_package
from host_tests.unit.fakes import defaults
from host_tests.unit.the_schema import SCHEMA

FIXED = {"dhcp": False, "address": "192.0.2.9", "netmask": "255.255.255.0"}


class Interface:
    """A WLAN or LAN that keeps what it is told."""

    def __init__(self, calls):
        self.calls = calls
        self.up = False

    def active(self, on):
        self.calls.append(("active", on))

    def connect(self, *given):
        self.calls.append(("connect", *given))

    def isconnected(self):
        return self.up

    def ifconfig(self, given=None):
        if given is not None:
            self.calls.append(("ifconfig", given))
        return ("192.0.2.9", "255.255.255.0", "192.0.2.1", "192.0.2.2")

    def config(self, name=None, **given):
        return b"\x02\x00\x00\x00\x00\xab" if name == "mac" else None

    def status(self, name):
        assert name == "rssi"
        return -61


@pytest.fixture
def calls(monkeypatch):
    """The boards' modules, imported on fakes; what they do to the network."""
    calls = []
    network = ModuleType("network")
    network.STA_IF, network.PHY_LAN8720 = 0, 1
    wlan = Interface(calls)
    network.WLAN = lambda which: wlan
    network.WLAN.PM_NONE = 0
    network.LAN = lambda **given: wlan
    network.WIZNET5K = lambda: wlan
    network.hostname = lambda name: calls.append(("hostname", name))
    network.country = lambda code: calls.append(("country", code))
    machine = ModuleType("machine")
    machine.UART = SimpleNamespace
    machine.Pin = type("Pin", (), {"IN": 0, "__init__": lambda self, number: None})
    esp32 = ModuleType("esp32")
    monkeypatch.setitem(sys.modules, "esp32", esp32)
    monkeypatch.setitem(sys.modules, "network", network)
    monkeypatch.setitem(sys.modules, "machine", machine)
    for name in ("chip", "esp32", "rp2"):
        monkeypatch.delitem(sys.modules, f"firmware.board.{name}", raising=False)
        monkeypatch.delattr(board_package, name, raising=False)
    return SimpleNamespace(made=calls, wlan=wlan)


def settings(**values):
    return defaults(SCHEMA["network"], ssid="plant", password="geheim") | values


def link(board, config):
    module = importlib.import_module(f"firmware.board.{board}")
    return module.Board.open_link(None, config)  # it needs nothing of the board


@pytest.mark.parametrize("board", ["esp32", "rp2"])
def test_with_dhcp_the_interface_finds_its_own_address(calls, board):
    link(board, settings(hostname="gate7")).connect()
    assert calls.made == [("hostname", "gate7"), ("active", True), ("connect", "plant", "geheim")]


@pytest.mark.parametrize("board", ["esp32", "rp2"])
def test_a_fixed_address_is_given_before_it_connects(calls, board):
    link(board, settings(**FIXED, gateway="192.0.2.1", dns="192.0.2.2")).connect()
    assert calls.made[1:] == [
        ("active", True),
        ("ifconfig", ("192.0.2.9", "255.255.255.0", "192.0.2.1", "192.0.2.2")),
        ("connect", "plant", "geheim"),
    ]


def test_without_gateway_and_name_server_the_interface_gets_what_it_takes(calls):
    link("rp2", settings(**FIXED)).connect()
    assert calls.made[2] == ("ifconfig", ("192.0.2.9", "255.255.255.0", "192.0.2.9", "0.0.0.0"))


@pytest.mark.parametrize("board", ["esp32", "rp2"])
def test_ethernet_takes_the_same_settings(calls, board):
    link(board, settings(link="ethernet", hostname="gate8", **FIXED)).connect()
    assert calls.made == [
        ("hostname", "gate8"),
        ("active", True),
        ("ifconfig", ("192.0.2.9", "255.255.255.0", "192.0.2.9", "0.0.0.0")),
    ]


def test_details_are_the_addresses_and_the_signal_while_connected(calls):
    wifi = link("esp32", settings())
    assert wifi.details() == (None, None, None, None, "02:00:00:00:00:ab", None)
    calls.wlan.up = True
    assert wifi.details() == ("192.0.2.9", "255.255.255.0", "192.0.2.1", "192.0.2.2", "02:00:00:00:00:ab", -61)

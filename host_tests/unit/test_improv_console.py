"""Improv on the console: commands, and Ctrl-C among them."""

import improv
import pytest

from firmware.setup import setup
from firmware.setup.console import ImprovConsole
from firmware.setup.portal import FAILED, JOINED, TRYING
from host_tests.unit.fakes import Clock, FakeStream, fake_seam


class FakeConsole:
    """firmware.board.Console on bytes of the test."""

    def __init__(self):
        self.stream = FakeStream()
        self.typed = []
        self.sent = b""
        self.closed = 0

    def read(self):
        return self.typed.pop(0)

    def write(self, data):
        self.sent += data

    def close(self):
        self.closed += 1


class Bench:
    def __init__(self, monkeypatch):
        self.clock = Clock()
        fake_seam(monkeypatch, self.clock)
        self.set_up = setup.SetUp({}, *[None] * 6)
        self.set_up.networks = [(b"plant", -55, False), (b"yard", -80, True)]
        self.console = FakeConsole()
        self.improv = ImprovConsole(self.set_up, self.console, "rp2", "north")

    def types(self, data):
        """Each byte by itself, as the ports give them; what is sent then."""
        self.console.sent = b""
        for byte in data:
            self.console.typed.append(bytes([byte]))
            self.improv.on_ready(1)
        return self.packets()

    def packets(self):
        """[(kind, data)] that were sent."""
        receiver = improv.Receiver()
        return [
            (receiver.kind, receiver.data) for byte in self.console.sent if receiver.feed(byte) == improv.PACKET
        ]  # fmt: skip

    def command(self, number, data=b""):
        return self.types(improv.packet(improv.RPC, bytes((number, len(data))) + data))

    def outcome(self, state):
        self.set_up.state = state
        self.set_up.address = "192.0.2.9"
        self.console.sent = b""
        self.improv.tell()
        return self.packets()


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


WIFI = b"\x05plant\x08geheim12"
STATE, ERROR, RESULT = improv.STATE, improv.ERROR, improv.RESULT


def test_a_network_is_tried_and_its_outcome_told(bench):
    assert bench.command(2) == [(STATE, b"\x02")]
    assert bench.command(1, WIFI) == [(ERROR, b"\0"), (STATE, b"\x03")]
    assert (bench.set_up.state, bench.set_up.ssid) == (TRYING, "plant")
    assert bench.outcome(FAILED) == [(ERROR, b"\x03"), (STATE, b"\x02")]
    bench.command(1, WIFI)
    url = b"\x11http://192.0.2.9/"
    assert bench.outcome(JOINED) == [(STATE, b"\x04"), (RESULT, b"\x01\x12" + url)]
    assert bench.command(2) == [(STATE, b"\x04"), (RESULT, b"\x02\x12" + url)]


def test_the_outcome_of_another_way_is_not_told(bench):
    bench.set_up.begin("plant", "")
    assert bench.outcome(JOINED) == []


def test_networks_and_information_are_given(bench):
    assert bench.command(4) == [
        (RESULT, b"\x04\x0e\x05plant\x03-55\x03YES"), (RESULT, b"\x04\x0c\x04yard\x03-80\x02NO"), (RESULT, b"\x04\x00"),
    ]  # fmt: skip
    [(kind, data)] = bench.command(3)
    assert kind == RESULT
    assert data.startswith(b"\x03")
    assert data.endswith(b"\x03rp2\x05north")


@pytest.mark.parametrize(
    ("number", "data", "error"), [(9, b"", 2), (1, b"", 1), (1, b"\x05pl", 1), (1, b"\x02\xff\xfe\x00", 1)]
)
def test_a_command_that_cannot_be_right_is_an_error(bench, number, data, error):
    assert bench.command(number, data)[-1] == (ERROR, bytes([error]))
    assert bench.set_up.state != TRYING


@pytest.mark.parametrize("wifi", [b"\x00\x00", b"\x05plant\x05short", b"\x21" + 33 * b"x" + b"\x00"])
def test_credentials_that_no_network_has_are_not_tried(bench, wifi):
    assert bench.command(1, wifi) == [(ERROR, b"\0"), (ERROR, b"\x03")]
    assert bench.set_up.state != TRYING


def test_a_broken_packet_is_told(bench):
    packet = bytearray(improv.packet(improv.RPC, b"\x02\x00"))
    packet[-2] ^= 1
    assert bench.types(packet) == [(ERROR, b"\x01")]


def test_ctrl_c_interrupts_and_gives_the_console_back(bench):
    bench.types(b"\r\nhelp()\r")
    with pytest.raises(KeyboardInterrupt):
        bench.types(b"\x03")
    assert bench.console.closed == 1
    bench.improv.close()
    assert bench.console.closed == 1


def test_ctrl_c_is_heard_half_a_second_after_a_packet_that_was_cut(bench):
    bench.types(b"IMPROV\x01\x03\x50")
    bench.clock.advance_ms(400)
    bench.types(b"\x03")
    bench.clock.advance_ms(501)
    with pytest.raises(KeyboardInterrupt):
        bench.types(b"\r\x03")


def test_the_end_of_the_line_closes_the_console(bench):
    bench.console.typed.append(b"")
    bench.improv.on_ready(1)
    assert bench.console.closed == 1

"""The time of day from a server that others wrote, chrony, beside one that lies: the firmware on real MicroPython, over
UDP on loopback. chronyd serves this machine's time and does not touch its clock."""

import contextlib
import os
import socket
import struct
import time

import pytest

from host_tests.chrony import STRATUM, Chrony
from host_tests.system.rig import HOST, Background, wait_for

LIAR = "127.0.0.2"  # its port is chrony's: a device has one for all servers
# Far less than a second: the fractions of the server's timestamps count. Where the machine was busy while the question
# was on its way, half of that more: so much does SNTP not know (RFC 4330, 5).
RIGHT_S = 0.25
_NTP_TO_UNIX = 2_208_988_800
_DAY_S = 86400


class Liar(Background):
    """A time server that answers each question with answer(request, time of now)."""

    def __init__(self, port, answer):
        super().__init__("liar")
        self.asked = 0
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LIAR, port))
        self._socket.settimeout(0.1)

    def work(self):
        with self._socket:
            while not self.stopping.is_set():
                try:
                    request, peer = self._socket.recvfrom(100)
                except TimeoutError:
                    continue
                self.asked += 1
                for reply in self._answer(request):
                    self._socket.sendto(reply, peer)


def reply(request, unix_s, leap=0, stratum=2, refid=b"\x7f\x00\x00\x01", origin=None, delay=0):
    """RFC 5905, 7.3."""
    stamp = struct.pack(">II", int(unix_s + _NTP_TO_UNIX) & 0xFFFFFFFF, 0)
    head = struct.pack(">BBbbII4s", leap << 6 | 4 << 3 | 4, stratum, 6, -20, delay, 0, refid)
    return head + stamp + (request[40:48] if origin is None else origin) + stamp + stamp


LIES = {
    "kiss-o'-death": lambda request: [reply(request, time.time(), stratum=0, refid=b"DENY")],
    "not synchronised": lambda request: [reply(request, time.time() + _DAY_S, leap=3)],
    "stratum 16": lambda request: [reply(request, time.time() + _DAY_S, stratum=16)],
    "long ago": lambda request: [reply(request, 946_684_800)],
    "another's question": lambda request: [
        reply(request, time.time() + _DAY_S, origin=os.urandom(8)) for _ in range(9)
    ],
    "far from its reference": lambda request: [reply(request, time.time() + _DAY_S, delay=40 << 16)],
    "half a packet": lambda request: [reply(request, time.time() + _DAY_S)[:40]],
    "silence": lambda request: [],
}


def fraction_s(rig):
    """When the device's seconds change, in our time: 0 at a whole second of ours, between -0.5 and 0.5."""
    before = rig.status()["time_unix_s"]
    now = wait_for(lambda: rig.status()["time_unix_s"] != before and time.time(), 10, "the device's next second")
    return (now + 0.5) % 1 - 0.5


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
def test_chrony_sets_the_clock_after_servers_that_lie(make_rig, tmp_path, lie):
    with contextlib.ExitStack() as stack:
        chrony = stack.enter_context(Chrony(tmp_path))
        liar = stack.enter_context(Liar(chrony.port, LIES[lie]))
        rig = make_rig(config={"ntp": {"server": LIAR, "more_servers": [HOST], "port": chrony.port}}, meters=())
        wait_for(lambda: rig.status()["ntp"]["server"] == HOST, 20, "the time from chrony")
        assert liar.asked == 1
        status = rig.status()
        assert (status["ntp"]["stratum"], status["ntp"]["error"], status["ntp"]["failures"]) == (STRATUM, None, 1)
        assert abs(status["time_unix_s"] - time.time()) < 30  # that of the server, and no liar's
        right_s = RIGHT_S + status["ntp"]["round_trip_ms"] / 2000
        # Measured again where this machine was busy with other things.
        wait_for(lambda: abs(fraction_s(rig)) < right_s, 20, "a clock that is right to a fraction of a second")
        assert rig.event_count(f"ntp: no time from {LIAR}") == 1
        assert rig.event_count(f"ntp: clock set by {HOST} (stratum {STRATUM})") == 1

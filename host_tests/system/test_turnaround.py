"""The time between an answer and the next request, on real MicroPython: t3.5, and hardly more (Serial Line V1.02,
2.5.1.1); and what the gateway takes while nobody wants anything."""

import os
import pty
import select
import statistics
import struct
import threading
import time
import tty

import pytest

from host_tests.unit.fakes import frame
from tools import sim
from tools.gateway import Gateway, free_ports, write_config
from tools.virtual_line import VirtualLine
from tools.virtual_meters import default_meters

pytestmark = pytest.mark.timed

TRANSACTIONS = 150
REQUEST = 8
PROFILE = "carlo-gavazzi-em340"  # needs no more silence than t3.5
ROUND_S = 0.1  # a longer pause is that between two rounds of polls
MORE_S = 0.001
METER_S = 0.003


def gaps(folder, baud, transactions=TRANSACTIONS):
    """Seconds from the last byte of an answer to the next request, where the bus had one to send: meters that answer at
    once, and all registers 0, polled one after the other every second."""
    ours, theirs = pty.openpty()
    found = []
    try:
        tty.setraw(theirs)
        os.symlink(os.ttyname(theirs), folder / "bus0")
        meters = [
            {"slot": k, "name": f"meter {k}", "unit": 1 + k, "profile": PROFILE, "interval_s": 1} for k in range(8)
        ]
        write_config(folder, config(folder, baud=baud, meters=meters))

        def serve():
            answered = None
            while len(found) < transactions:
                if not select.select([ours], [], [], 20)[0]:
                    return
                now = time.perf_counter()
                request = os.read(ours, 256)
                while len(request) < REQUEST:
                    request += os.read(ours, 256)
                if answered is not None and now - answered < ROUND_S:
                    found.append(now - answered)
                unit, function, _, count = struct.unpack(">BBHH", request[:6])
                answer = frame(unit, function, 2 * count, bytes(2 * count))
                time.sleep(REQUEST * 11 / baud + METER_S)  # until the last bit of the request would be out
                # Before it is written: who waits for it may be at work before the writer is.
                answered = time.perf_counter()
                os.write(ours, answer)

        thread = threading.Thread(target=serve)
        with Gateway(folder):
            thread.start()
            thread.join(90)
    finally:
        os.close(ours)
        os.close(theirs)
    assert len(found) == transactions
    return found[20:]


def config(folder, baud=9600, **other):
    http, modbus = free_ports(2)
    ports = {"http": {"port": http}, "modbus": {"port": modbus}, "buses": [{"uart": "bus0", "baud": baud}]}
    return sim.merge(sim.DEFAULT_CONFIG, ports | other)


@pytest.mark.parametrize(("baud", "gap_s"), [(9600, 3.5 * 11 / 9600), (19200, 3.5 * 11 / 19200), (115200, 0.00175)])
def test_the_next_request_follows_within_t35_and_a_millisecond(tmp_path, baud, gap_s):
    found = gaps(tmp_path, baud)
    print(f"{baud} baud: t3.5 {1e3 * gap_s:.2f} ms, found {1e3 * min(found):.2f} to {1e3 * max(found):.2f}, "
          f"half of them within {1e3 * statistics.median(found):.2f}")  # fmt: skip
    assert min(found) >= gap_s
    # Not the longest: this machine has other things to do as well, and the slowest of a hundred tells of those.
    assert statistics.median(found) <= gap_s + MORE_S


def test_nothing_to_do_takes_less_than_a_hundredth_of_a_core(tmp_path):
    still = [{**meter, "interval_s": 3600} for meter in sim.DEFAULT_CONFIG["meters"]]
    write_config(tmp_path, config(tmp_path, meters=still))

    def cpu_s(pid):
        with open(f"/proc/{pid}/schedstat") as f:
            return int(f.read().split()[0]) / 1e9

    with VirtualLine(default_meters(), 9600, link=str(tmp_path / "bus0")), Gateway(tmp_path) as gateway:
        gateway.wait_ready()
        time.sleep(3)
        begin, busy_s = time.monotonic(), cpu_s(gateway.pid)
        time.sleep(5)
        share = (cpu_s(gateway.pid) - busy_s) / (time.monotonic() - begin)
    print(f"{100 * share:.2f} % of a core")
    assert share < 0.01

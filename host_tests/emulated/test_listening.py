"""Listening only on the emulated chip: what another master reads on its line becomes readings, byte by byte."""

import contextlib
import socket
import struct
import threading

import pytest

from host_tests.emulated.chip import Chip
from host_tests.system.rig import HOST, METERS, words
from tools.emulator import build
from tools.virtual_line import adu

pytestmark = pytest.mark.timeout(1200)

LINE = {"uart": 1, "baud": 19200, "framing": "8N1", "role": "listen"}
SLOW = [meter | {"max_age_s": 60, "interval_s": 30} for meter in METERS]


class Traffic:
    """A master and its meters as one end of the line at `port`: the requests of `plan`, (unit, function, first, count),
    and the answers of `meters`, {unit: VirtualMeter}, each 20 ms behind its request, again and again. `heard`: what the
    chip has sent."""

    def __init__(self, port, meters, plan):
        self.heard = b""
        self.exchanges = 0
        self._meters, self._plan = meters, plan
        self._socket = socket.create_connection((HOST, port), timeout=0.001)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self):
        while not self._stop.is_set():
            for unit, function, first, count in self._plan:
                registers = self._meters[unit].registers(function, first, count)
                data = struct.pack(f">{count}H", *registers)
                self._socket.sendall(adu(unit, struct.pack(">BHH", function, first, count)))
                self._stop.wait(0.02)
                self._socket.sendall(adu(unit, bytes((function, 2 * count)) + data))
                self.exchanges += 1
                self._stop.wait(0.15)
                with contextlib.suppress(TimeoutError):
                    self.heard += self._socket.recv(256)


def test_what_another_master_reads_becomes_readings_and_nothing_is_sent(tmp_path):
    chip = Chip(tmp_path, build.OUR_PCBS, {"buses": [LINE], "meters": SLOW})
    meters = chip.meters
    chip.emulator.meters = None  # the wire of its UART is the test's
    with chip:
        plan = [(meter["unit"], *block) for meter in chip.get("/api/bus")["meters"] for block in meter["plan"]]
        with Traffic(chip.emulator.uart1_port, meters, plan) as traffic:
            chip.wait_polled()
            with chip.client() as client:
                for unit, function, first, count in plan:
                    assert client.read(unit, function, first, count) == words(
                        meters[unit].registers(function, first, count)
                    )
        document = chip.get("/api/bus")
        bus = document["buses"][0]
        print(bus, chip.get("/api/status")["heap"], traffic.exchanges)
        assert not traffic.heard
        assert bus["answered"] >= len(plan)
        assert (bus["noise_bytes"], bus["timeouts"]) == (0, 0)
        assert {meter["reason"] for meter in document["meters"]} == {""}
        assert chip.get("/api/status")["task_restarts"] == 0

"""A gateway that only listens, on real MicroPython: pymodbus's serial client polls virtual meters on a line of
pseudo-terminals, and the gateway hears both."""

import contextlib
import os
import random
import select
import struct
import threading
import time
import tty

import pytest
from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ModbusException

from host_tests.system.rig import BAUD, METERS, wait_for, words
from tools.virtual_line import VirtualLine
from tools.virtual_meters import VirtualMeter

POLLED = [meter | {"max_age_s": 2, "timeout_ms": 150} for meter in METERS]


class Hub:
    """A line with three ends: `master`, `meters` and `gateway` are paths of devices. What the master and the meters
    send reaches the others; what the gateway sends is kept in `sent`. `spoil`: the chance that a piece of what the
    gateway hears is damaged."""

    def __init__(self):
        self.sent = bytearray()
        self.spoil = 0.0
        self._random = random.Random(19)

    def __enter__(self):
        self._open = [os.openpty() for _ in range(3)]
        self._end = os.pipe()
        for ours, theirs in self._open:
            tty.setraw(ours)
            tty.setraw(theirs)
            os.set_blocking(ours, False)  # an end that nobody reads would hold up the others
        self.master, self.meters, self.gateway = [os.ttyname(theirs) for _, theirs in self._open]
        self._thread = threading.Thread(target=self._carry, name="hub", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        os.write(self._end[1], b"x")
        self._thread.join()
        for fd in [fd for pair in self._open for fd in pair] + list(self._end):
            os.close(fd)

    def _carry(self):
        master, meters, gateway = [ours for ours, _ in self._open]
        while True:
            ready = select.select([master, meters, gateway, self._end[0]], [], [])[0]
            if self._end[0] in ready:
                return
            for fd in ready:
                data = os.read(fd, 1024)
                if fd == gateway:
                    self.sent += data
                    continue
                for end, heard in ((meters if fd == master else master, data), (gateway, self._spoiled(data))):
                    with contextlib.suppress(BlockingIOError):
                        os.write(end, heard)

    def _spoiled(self, data):
        if self._random.random() >= self.spoil:
            return data
        at = self._random.randrange(len(data))
        kind = self._random.randrange(3)
        if kind == 0:
            return data[:at] + self._random.randbytes(self._random.randrange(1, 10)) + data[at:]
        return data[:at] if kind == 1 else data[:at] + bytes((data[at] ^ 0x40,)) + data[at + 1 :]


class Master:
    """Polls `reads`, (unit, function, first, count), one after the other in a thread, with a pause after each round."""

    def __init__(self, port, reads, timeout_s=3):
        self.reads = list(reads)
        self.rounds = 0
        self.failed = 0
        self._client = ModbusSerialClient(port, baudrate=BAUD, timeout=timeout_s, retries=0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="master", daemon=True)

    def __enter__(self):
        assert self._client.connect()
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()
        self._client.close()

    def _run(self):
        while not self._stop.is_set():
            for unit, function, first, count in list(self.reads):
                read = self._client.read_holding_registers if function == 3 else self._client.read_input_registers
                try:
                    read(first, count=count, device_id=unit)
                except ModbusException:
                    self.failed += 1
            self.rounds += 1
            self._stop.wait(0.25)


@pytest.fixture
def line(make_rig):
    """(Hub, VirtualLine, Rig) of a gateway that listens to the hub."""
    with contextlib.ExitStack() as stack:
        hub = stack.enter_context(Hub())
        meters = [VirtualMeter(meter["unit"], meter["profile"]) for meter in METERS]
        for meter in meters:
            meter.delay_ms = 1
            meter.freeze()
        virtual = stack.enter_context(VirtualLine(meters, BAUD, serial=hub.meters))
        config = {"buses": [{"uart": hub.gateway, "baud": BAUD, "framing": "8N1", "role": "listen"}]}
        yield hub, virtual, make_rig(config=config, meters=POLLED, virtual=())
        assert not hub.sent, "the gateway has sent something"


def plan(rig):
    """What the gateway would read: (unit, function, first, count)."""
    return [(meter["unit"], *block) for meter in rig.get("/api/bus")["meters"] for block in meter["plan"]]


def values(rig):
    """{id: value} of all points that have one."""
    meters = rig.get("/api/readings")["meters"]
    return {point["id"]: point["value"] for meter in meters for point in meter["points"] if point["value"] is not None}


def test_what_another_master_reads_is_served_and_nothing_is_sent(line):
    hub, virtual, rig = line
    assert rig.status()["buses"][0]["role"] == "listen"
    assert {meter["reason"] for meter in rig.get("/api/bus")["meters"]} == {"not seen: nobody asks this unit"}
    with Master(hub.master, plan(rig)) as master:
        rig.wait_polled()
        assert {meter["reason"] for meter in rig.get("/api/bus")["meters"]} == {""}
        with rig.client() as client:
            for unit, function, first, count in plan(rig):
                assert client.read(unit, function, first, count) == words(
                    virtual.meter(unit).registers(function, first, count)
                )
            # Never passed on: not in memory, a write, a unit that is not configured.
            assert client.exception(1, struct.pack(">BHH", 3, 9000, 1)) == 0x0B
            assert client.exception(77, struct.pack(">BHH", 3, 0, 1)) == 0x0A
        wait_for(lambda: master.rounds > 3, 20, "some rounds")
    assert not master.failed
    bus = rig.status()["buses"][0]
    assert bus["noise_bytes"] == 0
    assert bus["answered"] >= 3 * len(plan(rig))


def test_what_the_master_does_not_read_is_named_and_the_rest_has_values(line):
    hub, virtual, rig = line
    with Master(hub.master, [(1, 4, 0, 12), (3, 4, 0, 1), (3, 4, 1, 2)]):
        wait_for(lambda: [p["quality"] for p in rig.points(1).values()].count("good") == 6, 30, "six values of unit 1")
        wait_for(lambda: [p["quality"] for p in rig.points(3).values()].count("good") == 2, 30, "two values of unit 3")
        reasons = {meter["unit"]: meter["reason"] for meter in rig.get("/api/bus")["meters"]}
        assert reasons[2] == "not seen: nobody asks this unit"
        assert reasons[1].startswith("not seen: registers 12 to ")
        assert reasons[3].startswith("not seen: registers 3 to ")
        with rig.client() as client:
            assert client.read(1, 4, 0, 12) == words(virtual.meter(1).registers(4, 0, 12))
            assert client.exception(1, struct.pack(">BHH", 4, 0, 14)) == 0x0B


def test_noise_and_late_answers_make_no_wrong_value(line):
    hub, virtual, rig = line
    short = [(1, 4, 0, 12), (1, 4, 12, 12), (1, 4, 24, 12), (2, 3, 0x51D, 1)]
    seen = {}
    with Master(hub.master, short + plan(rig), timeout_s=0.06) as master:
        rig.wait_polled(60)
        right = values(rig)
        hub.spoil = 0.15
        ends = time.monotonic() + 20
        while time.monotonic() < ends:
            late = not virtual.meter(1).delay_ms > 50
            virtual.meter(1).delay_ms = 90 if late else 1
            for point, value in values(rig).items():
                seen.setdefault(point, set()).add(value)
        hub.spoil = 0
        virtual.meter(1).delay_ms = 1
        rig.wait_polled(60)
    assert master.failed > 5, "no answer was late"
    assert rig.status()["buses"][0]["noise_bytes"] > 20
    assert {point: {right[point]} for point in seen} == seen
    assert right == values(rig)

"""The Modbus TCP server with a fake bus behind it and fake streams before it, and the ADUs of both."""

import struct
from types import SimpleNamespace

from firmware.bus import OK, Router
from firmware.config import load as config
from firmware.meters.block import Block
from firmware.net import seam
from firmware.net.budget import Budget
from firmware.services.modbus_tcp.counters import Counters
from firmware.services.modbus_tcp.server import ModbusConnection, ModbusServer
from host_tests.unit.fakes import SIX, FakeStream, Uptime, store

CONFIG = config.default()["modbus"] | {"port": 0}


def adu(tid, unit, *parts, protocol=0):
    body = bytes([unit]) + b"".join(bytes([p]) if isinstance(p, int) else bytes(p) for p in parts)
    return struct.pack(">HHH", tid, protocol, len(body)) + body


def read(tid, unit, function, first, count):
    return adu(tid, unit, function, struct.pack(">HH", first, count))


def split(data):
    """The ADUs in what a client got."""
    found = []
    while data:
        assert len(data) >= 8, data
        tid, protocol, length = struct.unpack(">HHH", data[:6])
        assert protocol == 0
        assert len(data) >= 6 + length, "half a reply"
        found.append(data[: 6 + length])
        data = data[6 + length :]
    return found


def block(function=4, first=100, count=10):
    made = Block((function, first, count))
    store(made, bytes((17 * k + 3) & 0xFF for k in range(2 * count)))
    return made


class FakeBus:
    """Takes requests and keeps them until the test ends them."""

    def __init__(self):
        self.requests = []
        self.withdrawn = []
        self.blocks = []
        self.code = OK
        self.config = {"broadcast": False}
        self.broadcasts = []

    @property
    def by_unit(self):
        """The meters, for which their units will do."""
        return [unit for unit, _ in self.blocks]

    def cached(self, unit, function, first, count):
        for block_unit, block in self.blocks:
            if block_unit == unit and block.may_answer(function, first, count):
                return block
        return None

    def submit(self, request):
        if self.code == OK:
            self.requests.append(request)
        return self.code

    def broadcast(self, buf, at, n):
        if self.code == OK:
            self.broadcasts.append(bytes(buf[at : at + n]))
        return self.code

    def withdraw(self, request):
        self.withdrawn.append(request)
        self.requests.remove(request)

    def sent(self, k=0):
        request = self.requests[k]
        return bytes(request.frame[: request.length])

    def end(self, answer=None, code=0):
        """Ends the oldest request: with a frame, somewhere in a buffer, or with an exception code."""
        request = self.requests.pop(0)
        buf = bytearray(b"\xa5" * 3) + bytearray(answer or b"") + bytearray(b"\x5a" * 3)
        request.finish(code, buf if not code else b"", 3 if not code else 0, len(answer or b""))


class FakeUnit255:
    """Unit 255 as a number of the requests that it got."""

    def __init__(self):
        self.asked = []
        self.counters = Counters()

    def answer(self, buf, at, n, out, start):
        pdu = bytes(buf[at : at + n])
        self.asked.append(pdu)
        if pdu[0] == 0x2B:
            out[start : start + 2] = bytes((0xAB, 1))
            return 2
        out[start : start + 3] = bytes((pdu[0], 1, len(self.asked)))
        return 3


class Bench:
    def __init__(self, events, allow_writes=False, config=None, routes=(), broadcast=False):
        self.budget = Budget(16, 16, 16, list(SIX), {"http": 4}, Uptime(), events)
        self.bus = FakeBus()
        self.gateway = FakeUnit255()
        self.events = events
        self.other_bus = FakeBus()
        meter = type("M", (), {"unit": 2, "bus": 1, "slot": 0})()
        given = CONFIG | {"allow_writes": allow_writes} | (config or {})
        self.bus.config["broadcast"] = broadcast
        self.router = Router([self.bus, self.other_bus], [meter], routes)
        self.server = ModbusServer(given, self.budget, events, SimpleNamespace(router=self.router), self.gateway)
        self.counters = self.server.counters

    def connect(self, room=None, kind=ModbusConnection):
        """A client of that kind of connection; `room`: bytes that its socket takes at once."""
        stream = FakeStream(room)
        slot = self.budget.open("modbus", ("192.0.2.1", 50000))
        slot.connection = stream.connection = kind(self.server, stream, slot)
        seam.watch(stream, slot.connection)
        stream.slot = slot
        return stream

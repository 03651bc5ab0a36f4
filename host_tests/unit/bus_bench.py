"""A bus with simulated meters, in virtual time, for tests of the bus."""

import asyncio
import struct

from firmware.bus import OK, Bus, Request
from firmware.meters import meter as points
from firmware.meters import profile_loader as profile_load
from host_tests.unit import fakes
from host_tests.unit import the_schema as schema
from host_tests.unit.fakes import FakeLine, frame, registers

CONFIG = fakes.defaults(schema.BUS, uart=1)
BUSY, NO_PATH, NO_ANSWER = 0x06, 0x0A, 0x0B


def make_meter(slot, unit, blocks=((3, 0, 4),), **change):
    """A meter with one uint16 point per register of its blocks."""
    rows = [
        [n + 1, f"p{n}", function, address, "uint16", 1, "", "instantaneous"]
        for n, (function, address) in enumerate((f, first + k) for f, first, count in blocks for k in range(count))
    ]
    profile = profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows})
    assert profile.plan == list(blocks)
    given = {"slot": slot, "name": f"m{unit}", "unit": unit, "profile": "test", "timeout_ms": 100, "retries": 0}
    return points.Meter(fakes.defaults(schema.METER, **given | change), profile)


class Client:
    """The owner of a request."""

    def __init__(self, bench, unit=1, pdu=b"\x03\x00\x64\x00\x01"):
        self.bench = bench
        self.ends = []  # (milliseconds, code, answer)
        self.failed = []
        self.request = Request(self)
        self.request.fill(unit, pdu, 0, len(pdu))
        self.event = asyncio.Event()

    def submit(self):
        return self.bench.bus.submit(self.request)

    def on_answer(self, code, buf, at, n):
        self.ends.append((self.bench.clock.ms, code, bytes(buf[at : at + n])))
        self.event.set()

    def fail(self, error):
        self.failed.append(error)

    async def end(self):
        """(code, answer)."""
        await asyncio.wait_for(self.event.wait(), 60)
        assert len(self.ends) == 1
        return self.ends[0][1:]

    async def ask(self):
        code = self.submit()
        return (code, b"") if code != OK else await self.end()


class Field:
    """The meters on the line. `silent`: units that say nothing; `garble`: whose answers arrive damaged; `refuse`: unit
    -> exception code; `missing`: unit -> registers that it does not have; `most`: unit -> registers at once."""

    def __init__(self):
        self.silent = set()
        self.garble = set()
        self.refuse = {}
        self.missing = {}
        self.most = {}
        self.latency_ms = 5
        self.value = 0

    def answer(self, request):
        unit, function = request[0], request[1]
        if unit in self.silent:
            return None
        if unit in self.refuse:
            return frame(unit, function | 0x80, self.refuse[unit])
        if function in (3, 4):
            first, count = struct.unpack(">HH", request[2:6])
            if self.missing.get(unit, set()) & set(range(first, first + count)):
                return frame(unit, function | 0x80, 2)
            if count > self.most.get(unit, 125):
                return frame(unit, function | 0x80, 3)
            answer = registers(unit, function, *[(first + k + self.value) & 0xFFFF for k in range(count)])
            return answer[:-1] + bytes((answer[-1] ^ 1,)) if unit in self.garble else answer
        if function in (5, 6):
            return bytes(request)
        if function in (15, 16):
            return frame(bytes(request[:6]))
        return frame(unit, function | 0x80, 1)


class Bench:
    def __init__(self, monkeypatch, events, uptime, *meters, **config):
        self.clock = fakes.Clock()
        self.uptime = uptime
        fakes.fake_seam(monkeypatch, self.clock)
        self.field = Field()
        self.lines = []
        self.open_error = None
        self.opens = 0
        self.meters = meters
        self.events = events
        self.bus = Bus(0, CONFIG | config, self._open, list(meters), events, lambda: self.clock.us // 1_000_000)

    def _open(self, config):
        self.opened_with = config
        self.opens += 1
        if self.open_error:
            raise self.open_error
        line = FakeLine(self.clock)
        line.on_send = lambda request: self._on_send(line, request)
        self.lines.append(line)
        return line

    def _on_send(self, line, request):
        answer = self.field.answer(request)
        if answer:
            line.deliver(answer, len(request) * 11 / 9.6 + self.field.latency_ms)

    @property
    def line(self):
        return self.lines[-1]

    def sent(self):
        return [data for line in self.lines for data in line.frames()]

    def sent_at(self, unit):
        """Milliseconds at which requests to a unit began."""
        return [at / 1000 for line in self.lines for at, data in line.sent if data[0] == unit]

    def hold_polls(self, ms=10_000_000):
        """No poll for a while."""
        for meter in self.bus.meters:
            self.bus.poller.reschedule(meter, ms)

    def run(self, test, limit_s=7200):
        async def both():
            task = asyncio.ensure_future(self.bus.run())
            main = asyncio.ensure_future(test())
            done, _ = await asyncio.wait({task, main}, return_when=asyncio.FIRST_COMPLETED)
            if task in done:
                main.cancel()
                task.result()
                raise AssertionError("the bus has ended")
            task.cancel()
            return main.result()

        return fakes.run_virtual(self.clock, both(), limit_s)

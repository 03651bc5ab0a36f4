"""The slave line in virtual time: framing by silence, what is answered and when, and what is left to others."""

import asyncio
import contextlib
import random
import struct

import pytest

from firmware.bus.slave import SlaveBus
from host_tests.unit import fakes
from host_tests.unit import the_schema as schema
from host_tests.unit.fakes import FakeLine, frame

BAUD = 9600
GAP_MS = 5  # t3.5 at 9600 baud is 4.01 ms
READ = frame(100, 4, 0, 0, 0, 2)


class Unit:
    """Answers a read with its registers' addresses."""

    def __init__(self):
        self.asked = []

    def answer(self, buf, at, n, out, start):
        self.asked.append(bytes(buf[at : at + n]))
        if buf[at] not in (3, 4):
            out[start : start + 2] = bytes((buf[at] | 0x80, 1))
            return 2
        first, count = struct.unpack(">HH", buf[at + 1 : at + 5])
        data = b"".join(struct.pack(">H", first + k & 0xFFFF) for k in range(count))
        out[start : start + 2 + len(data)] = bytes((buf[at], len(data))) + data
        return 2 + len(data)


def answer_to(request):
    unit, function = request[0], request[1]
    if function not in (3, 4):
        return frame(unit, function | 0x80, 1)
    first, count = struct.unpack(">HH", request[2:6])
    return frame(unit, function, 2 * count, *struct.pack(f">{count}H", *(first + k & 0xFFFF for k in range(count))))


class Bench:
    def __init__(self, monkeypatch, **config):
        self.clock = fakes.Clock()
        fakes.fake_seam(monkeypatch, self.clock)
        self.line = FakeLine(self.clock)
        self.events = fakes.Log(lambda: 0)
        config = fakes.defaults(schema.BUS, uart=1, role="slave", baud=BAUD) | config
        self.bus = SlaveBus(0, config, self._open, [], self.events, lambda: self.clock.us // 1_000_000)
        self.unit = Unit()
        self.bus.units = {100: self.unit}

    def _open(self, config):
        if self.line.closed:
            self.line = FakeLine(self.clock)
        return self.line

    def run(self, scenario):
        async def live():
            task = asyncio.ensure_future(self.bus.run())
            await asyncio.sleep(0.001)
            await scenario()
            if task.done():
                task.result()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        fakes.run_virtual(self.clock, live(), limit_s=600)

    def hear(self, *frames, pause_ms=20):
        """Answers to these frames, which come one after the other."""

        async def scenario():
            for data in frames:
                self.line.deliver(data)
                await asyncio.sleep(pause_ms / 1000)
            await asyncio.sleep(1)

        self.run(scenario)
        return self.line.frames()


@pytest.fixture
def make(monkeypatch):
    return lambda **config: Bench(monkeypatch, **config)


def test_a_request_is_answered_after_the_silence_that_ends_it(make):
    bench = make()
    begun_us = None

    async def scenario():
        nonlocal begun_us
        begun_us = bench.clock.us
        bench.line.deliver(READ)
        await asyncio.sleep(0.1)

    bench.run(scenario)
    ((sent_us, answer),) = bench.line.sent
    assert answer == answer_to(READ)
    assert 4010 <= sent_us - begun_us <= 1000 * (GAP_MS + 2)
    assert len(bench.line.finished_us) == 1
    assert bench.line.finished_us[0] - sent_us >= 1_000_000 * 10 * len(answer) // BAUD
    counters = bench.bus.counters
    assert (counters.sent, counters.answered, counters.exceptions) == (1, 1, 0)


def test_a_request_may_come_byte_by_byte(make):
    bench = make()

    async def scenario():
        for _ in range(3):
            bench.line.deliver(READ, byte_ms=1.1)
            await asyncio.sleep(0.2)

    bench.run(scenario)
    assert bench.line.frames() == [answer_to(READ)] * 3


@pytest.mark.parametrize("seen_late", ["by poll", "by timer"])
@pytest.mark.parametrize("cut", range(1, len(READ)))
def test_a_loop_that_is_late_between_two_parts_loses_no_request(make, cut, seen_late):
    """The heap was collected, say: what waits in the UART's buffer was no silence."""
    bench = make()

    async def scenario():
        bench.line.deliver(READ[:cut])
        await asyncio.sleep(0.001)
        if seen_late == "by poll":
            bench.clock.us += 50_000
            bench.line._arrive(READ[cut:])
        else:
            bench.line.inbox += READ[cut:]
        await asyncio.sleep(0.1)

    bench.run(scenario)
    assert bench.line.frames() == [answer_to(READ)]
    assert bench.bus.counters.noise_bytes == 0


def test_what_is_for_others_is_passed_over_and_what_follows_it_is_found(make):
    bench = make()
    other = frame(7, 3, 0, 0, 0, 10)
    assert bench.hear(other, frame(7, 3, 20, *range(20)), READ) == [answer_to(READ)]
    assert bench.bus.counters.foreign == 2


def test_a_request_directly_behind_another_frame_is_found(make):
    """A port that hands bytes over in chunks shows no silence between them."""
    bench = make()
    assert bench.hear(frame(7, 3, 4, 1, 2, 3, 4) + READ) == [answer_to(READ)]


def test_broadcasts_and_damaged_frames_have_no_answer(make):
    bench = make()
    damaged = READ[:-1] + bytes((READ[-1] ^ 1,))
    assert bench.hear(frame(0, 6, 0, 1, 0, 2), damaged, READ[:5], b"\x00", READ) == [answer_to(READ)]
    assert bench.bus.counters.crc >= 1
    assert bench.unit.asked == [READ[1:-2]]


def test_a_frame_that_something_follows_at_once_was_no_request(make):
    bench = make()

    async def scenario():
        bench.line.deliver(READ)
        bench.line.deliver(b"\x55\x55", 2)
        await asyncio.sleep(1)

    bench.run(scenario)
    assert bench.line.frames() == []


def test_an_unknown_function_is_an_exception(make):
    bench = make()
    assert bench.hear(frame(100, 6, 0, 1, 0, 2), frame(100, 0x41, 1, 2, 3)) == [
        frame(100, 0x86, 1), frame(100, 0xC1, 1),
    ]  # fmt: skip
    assert bench.bus.exceptions() == [(1, 2)]


def test_its_own_echo_is_no_request(make):
    bench = make(echo=True)
    bench.line.on_send = lambda data: bench.line.deliver(data, 1)
    assert bench.hear(READ, READ, pause_ms=200) == [answer_to(READ)] * 2


def test_a_pause_lets_the_answer_end_and_keeps_still_until_its_end(make):
    bench = make()
    told = []

    async def scenario():
        bench.line.deliver(READ)
        await asyncio.sleep(0.007)
        assert len(bench.line.sent) == 1
        bench.bus.pause(lambda: told.append(bench.clock.ms))
        assert not told
        await asyncio.sleep(0.1)
        assert len(told) == 1
        assert bench.line.finished_us
        bench.line.deliver(READ)
        await asyncio.sleep(2)
        bench.bus.resume()
        await asyncio.sleep(1)
        assert len(bench.line.sent) == 1  # that request was too old
        bench.line.deliver(READ)
        await asyncio.sleep(0.1)

    bench.run(scenario)
    assert len(bench.line.sent) == 2


def test_a_line_that_goes_is_opened_again(make):
    bench = make()

    async def scenario():
        bench.line.unplug()
        await asyncio.sleep(3)
        bench.line.deliver(READ)
        await asyncio.sleep(0.1)

    bench.run(scenario)
    assert bench.line.frames() == [answer_to(READ)]
    assert any("line lost" in text for text in bench.events.texts())


@pytest.mark.parametrize("seed", range(20))
def test_noise_costs_no_request_behind_a_silence_and_brings_no_answer(make, seed):
    bench = make()
    draw = random.Random(seed)
    sent = 0

    async def scenario():
        nonlocal sent
        for _ in range(100):
            kind = draw.randrange(3)
            if kind == 0:
                bench.line.deliver(draw.randbytes(draw.randrange(1, 300)), byte_ms=draw.choice((None, 1)))
                await asyncio.sleep(0.4)
            elif kind == 1:
                bench.line.deliver(frame(draw.randrange(1, 99), 3, 0, 0, 0, 2))
            else:
                sent += 1
                bench.line.deliver(READ)
            await asyncio.sleep(0.05)

    bench.run(scenario)
    assert bench.line.frames() == [answer_to(READ)] * sent


def test_nothing_can_be_asked_on_a_slave_line(make):
    bench = make()
    assert bench.bus.submit(None) == 0x0A
    assert not bench.bus.lease_line(object())
    assert bench.bus.cached(100, 4, 0, 1) is None

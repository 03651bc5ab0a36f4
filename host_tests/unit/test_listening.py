"""A bus that another master polls: its traffic becomes readings, never a wrong one, and nothing is ever sent."""

import asyncio
import errno
import random
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.bus import OK, Buses, Request, Router
from firmware.bus.listening import ListeningBus
from firmware.meters.meter import FAILING, ONLINE, UNKNOWN
from host_tests.unit import bus_bench, fakes
from host_tests.unit.bus_bench import make_meter
from host_tests.unit.fakes import FakeLine, frame, read_frame, registers

CONFIG = bus_bench.CONFIG | {"role": "listen"}
TIMEOUT_MS = 100  # of the meters of make_meter
OWED_MS = 1000
BLOCKS = ((3, 0, 8), (3, 100, 8), (4, 50, 4))


class Bench:
    def __init__(self, monkeypatch, *meters, **config):
        self.clock = fakes.Clock()
        fakes.fake_seam(monkeypatch, self.clock)
        self.events = fakes.Log()
        self.lines = []
        self.open_error = None
        self.bus = ListeningBus(0, CONFIG | config, self._open, list(meters), self.events, self.uptime_s)

    def uptime_s(self):
        return self.clock.us // 1_000_000

    def _open(self, config):
        if self.open_error:
            raise self.open_error
        self.lines.append(FakeLine(self.clock))
        return self.lines[-1]

    @property
    def counters(self):
        return self.bus.counters

    async def hear(self, data, after_ms=5, byte_ms=None):
        """`data` is on the line after a pause, at once or one byte each `byte_ms`."""
        await asyncio.sleep(after_ms / 1000)
        for part in [data] if byte_ms is None else [bytes((byte,)) for byte in data]:
            self.lines[-1]._arrive(part)
            await asyncio.sleep((byte_ms or 0) / 1000)

    async def exchange(self, request, answer, pause_ms=5):
        await self.hear(request, pause_ms)
        await self.hear(answer)

    async def settle(self):
        """Waits until nothing is owed that was said before the start."""
        await asyncio.sleep(2 * OWED_MS / 1000)

    def run(self, test, limit_s=7200):
        async def both():
            async def tick():
                while True:
                    await asyncio.sleep(1)
                    self.bus.tick()

            tasks = [asyncio.ensure_future(one) for one in (self.bus.run(), tick(), test())]
            await asyncio.sleep(0)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            assert tasks[2] in done, [task.exception() for task in done]
            return tasks[2].result()

        result = fakes.run_virtual(self.clock, both(), limit_s)
        assert not any(line.sent for line in self.lines), "something was sent"
        return result


@pytest.fixture
def make(monkeypatch):
    return lambda *meters, **config: Bench(monkeypatch, *meters, **config)


def value(meter, address, function=3):
    """(word, quality is good) of a register; None when its block was never read."""
    for block in meter.blocks:
        if block.function == function and block.first <= address < block.first + block.count and block.seen:
            at = block.offset(address)
            return block.raw[at] << 8 | block.raw[at + 1]
    return None


def test_a_read_of_another_master_is_stored_as_a_poll(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 11, 22, 33, 44))
        assert [meter.value(i) for i in range(4)] == [11, 22, 33, 44]
        assert bench.bus.cached(1, 3, 1, 2) is meter.blocks[0]
        assert (meter.state, bench.bus.fault_text(meter)) == (ONLINE, "")
        assert meter.blocks[0].read_at_s == bench.uptime_s()
        await asyncio.sleep(meter.max_age_ms / 1000 + 1)
        assert bench.bus.cached(1, 3, 1, 2) is None, "too old"

    bench.run(test)
    assert (bench.counters.sent, bench.counters.answered, bench.counters.noise_bytes) == (1, 1, 0)
    assert bench.bus.answer_times_ms() == bench.bus.answer_times_ms(meter) == (5, 5, 5)


@pytest.mark.parametrize("cut", [1, 3, 7, 12])
def test_a_loop_that_is_late_between_two_parts_loses_no_answer(make, cut):
    """The heap was collected, say: what waits in the UART's buffer was no silence."""
    meter = make_meter(0, 1)
    bench = make(meter)
    answer = registers(1, 3, 11, 22, 33, 44)

    async def test():
        await bench.settle()
        await bench.hear(read_frame(1, 3, 0, 4))
        await bench.hear(answer[:cut])
        bench.lines[-1].inbox += answer[cut:]
        await asyncio.sleep(0.1)
        assert [meter.value(i) for i in range(4)] == [11, 22, 33, 44]

    bench.run(test)
    assert bench.counters.noise_bytes == 0


@pytest.mark.parametrize("byte_ms", [1.1, 3.0])
def test_bytes_may_come_one_by_one(make, byte_ms):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.hear(read_frame(1, 3, 0, 4), byte_ms=byte_ms)
        await bench.hear(registers(1, 3, 11, 22, 33, 44), byte_ms=byte_ms)
        assert meter.value(3) == 44

    bench.run(test)
    assert bench.counters.noise_bytes == 0


def test_everything_may_come_at_once(make):
    meters = make_meter(0, 1), make_meter(1, 2)
    bench = make(*meters)

    async def test():
        await bench.settle()
        data = b"".join(
            read_frame(unit, 3, 0, 4) + registers(unit, 3, *[100 * unit + k for k in range(4)]) for unit in (1, 2, 9)
        )
        await bench.hear(data)
        assert [meter.value(1) for meter in meters] == [101, 201]

    bench.run(test)
    assert (bench.counters.answered, bench.counters.noise_bytes) == (3, 0)


def test_an_answer_must_come_directly_behind_its_request(make):
    meter = make_meter(0, 1)
    bench = make(meter)
    answer = registers(1, 3, 11, 22, 33, 44)
    request = read_frame(1, 3, 0, 4)

    async def test():
        await bench.settle()
        for data in (
            answer,
            request + b"\x00" + answer,
            request + registers(2, 3, 1, 2, 3, 4) + answer,
            request + read_frame(2, 3, 0, 4) + answer,
            request + registers(1, 4, 1, 2, 3, 4),
            request + registers(1, 3, 1, 2, 3),
            request + registers(1, 3, 1, 2, 3, 4, 5),
            request + answer[:-1] + bytes((answer[-1] ^ 1,)),
            request + answer[:-3],
        ):
            await bench.hear(data)
            await bench.settle()
            assert value(meter, 0) is None, data.hex()
        await bench.exchange(request, answer)
        assert value(meter, 0) == 11

    bench.run(test)


def test_nothing_is_taken_right_after_the_start_for_it_may_answer_an_older_request(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 1, 2, 3, 4))
        assert value(meter, 0) is None
        assert bench.bus.fault_text(meter).startswith("answers that may be late ones")
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 5, 6, 7, 8))
        assert value(meter, 0) == 5, "an answer to the same read, whichever it is"

    bench.run(test)


def late_bench(make):
    meter = make_meter(0, 1, ((3, 0, 2), (3, 100, 2), (3, 200, 3)))
    return make(meter), meter


def test_a_late_answer_to_another_read_of_that_length_is_not_taken(make):
    bench, meter = late_bench(make)

    async def test():
        await bench.settle()
        await bench.hear(read_frame(1, 3, 0, 2))
        await bench.exchange(read_frame(1, 3, 100, 2), registers(1, 3, 1, 2), pause_ms=300)
        assert value(meter, 100) is None
        assert bench.counters.foreign == 1
        # Its own answer is owed now, and so on while the master leaves no pause.
        for first in (0, 100, 0):
            await bench.exchange(read_frame(1, 3, first, 2), registers(1, 3, 1, 2), pause_ms=TIMEOUT_MS - 20)
            assert value(meter, 0) is None
            assert value(meter, 100) is None
        await bench.exchange(read_frame(1, 3, 0, 2), registers(1, 3, 7, 8), pause_ms=1.1 * OWED_MS)
        assert value(meter, 0) == 7

    bench.run(test)


def test_an_answer_of_another_length_ends_the_doubt(make):
    bench, meter = late_bench(make)

    async def test():
        await bench.settle()
        await bench.hear(read_frame(1, 3, 0, 2))
        await bench.exchange(read_frame(1, 3, 200, 3), registers(1, 3, 1, 2, 3))
        await bench.exchange(read_frame(1, 3, 100, 2), registers(1, 3, 4, 5))
        assert (value(meter, 200), value(meter, 100)) == (1, 4)

    bench.run(test)


def test_an_answer_to_a_repeated_read_is_taken_and_the_second_one_is_not_for_the_next(make):
    bench, meter = late_bench(make)

    async def test():
        await bench.settle()
        await bench.hear(read_frame(1, 3, 0, 2))
        await bench.exchange(read_frame(1, 3, 0, 2), registers(1, 3, 1, 2))
        assert value(meter, 0) == 1
        await bench.exchange(read_frame(1, 3, 100, 2), registers(1, 3, 3, 4))
        assert value(meter, 100) is None

    bench.run(test)


def test_an_exception_may_be_late_as_well(make):
    bench, meter = late_bench(make)

    async def test():
        await bench.settle()
        await bench.hear(read_frame(1, 3, 0, 2))
        await bench.exchange(read_frame(1, 3, 200, 3), frame(1, 0x83, 2))
        await bench.exchange(read_frame(1, 3, 200, 3), registers(1, 3, 1, 2, 3))
        assert value(meter, 200) == 1, "whichever of both it answers"
        await bench.exchange(read_frame(1, 3, 100, 2), registers(1, 3, 4, 5))
        assert value(meter, 100) == 4

    bench.run(test)
    assert bench.bus.exceptions() == [(2, 1)]
    assert bench.bus.exceptions(meter) == []


def test_a_zero_behind_a_repeated_request_makes_no_answer_of_it(make):
    # The CRC of a whole frame is 0 and stays so; the high byte of the address passes for the count of bytes.
    meter = make_meter(0, 1, ((3, 0x0400, 2),))
    bench = make(meter)
    request = read_frame(1, 3, 0x0400, 2)

    async def test():
        await bench.settle()
        await bench.hear(request)
        await bench.hear(request + b"\x00", 200)
        await bench.settle()
        assert value(meter, 0x0400) is None
        await bench.exchange(request, registers(1, 3, 1, 2))
        assert value(meter, 0x0400) == 1

    bench.run(test)


def test_noise_that_may_have_been_a_request_puts_answers_in_doubt(make):
    bench, meter = late_bench(make)

    async def test():
        await bench.settle()
        request = bytearray(read_frame(1, 3, 0, 2))
        request[3] ^= 0x10
        await bench.hear(bytes(request))
        await bench.exchange(read_frame(1, 3, 100, 2), registers(1, 3, 1, 2), pause_ms=60)
        assert value(meter, 100) is None
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 100, 2), registers(1, 3, 3, 4))
        assert value(meter, 100) == 3
        await bench.hear(b"\xff\x00" + read_frame(1, 3, 0, 2))
        await bench.hear(registers(1, 3, 5, 6))
        assert value(meter, 0) == 5, "two bytes are no request"

    bench.run(test)
    assert bench.counters.noise_bytes == 10


@pytest.mark.parametrize(
    "noise", [b"\x01\x64", b"\x01\x2b\x0e\x01\x01\x00\x00\xff", b"\x01\x03\xff", b"\x01\x10\x00\x00\x00\x01\xff"]
)
def test_noise_that_tells_no_length_holds_the_rest_up_for_one_frame_at_most(make, noise):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.settle()
        data = read_frame(1, 3, 0, 4) + registers(1, 3, 1, 2, 3, 4)
        for byte in noise + 60 * data:  # never silent
            await bench.hear(bytes((byte,)), 1)
        assert bench.counters.answered > 60 - 2 - 256 // len(data)
        assert value(meter, 0) == 1

    bench.run(test)
    assert bench.counters.noise_bytes <= 256


def test_a_block_is_stored_when_all_of_it_was_read(make):
    meter = make_meter(0, 1, ((3, 0, 8),))
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 0, 3), registers(1, 3, 1, 2, 3))
        began_s = bench.uptime_s()
        await asyncio.sleep(3)
        await bench.exchange(read_frame(1, 3, 5, 3), registers(1, 3, 6, 7, 8))
        assert value(meter, 0) is None
        assert bench.bus.fault_text(meter) == "not seen: registers 0 to 7 of function 3"
        await bench.exchange(read_frame(1, 4, 3, 2), registers(1, 4, 94, 95))
        await bench.exchange(read_frame(1, 3, 2, 4), registers(1, 3, 33, 44, 55, 66))
        assert [meter.value(i) for i in range(8)] == [1, 2, 33, 44, 55, 66, 7, 8]
        assert abs(meter.blocks[0].read_at_s - began_s) <= 1, "its age is that of the oldest register"
        await asyncio.sleep(meter.max_age_ms / 1000 - 3)
        assert bench.bus.cached(1, 3, 0, 8) is None

    bench.run(test)


def test_a_read_that_is_part_of_a_larger_one_is_stored(make):
    meter = make_meter(0, 1, ((3, 10, 4),))
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 8, 10), registers(1, 3, *range(8, 18)))
        assert [meter.value(i) for i in range(4)] == [10, 11, 12, 13]

    bench.run(test)


def test_registers_that_are_read_too_far_apart_make_no_block(make):
    meter = make_meter(0, 1, ((3, 0, 4),), max_age_s=10)
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 0, 2), registers(1, 3, 1, 2))
        await asyncio.sleep(12)
        await bench.exchange(read_frame(1, 3, 2, 2), registers(1, 3, 3, 4))
        assert value(meter, 0) is None
        await bench.exchange(read_frame(1, 3, 0, 2), registers(1, 3, 5, 6))
        assert [meter.value(i) for i in range(4)] == [5, 6, 3, 4]

    bench.run(test)


def test_what_the_master_never_reads_is_cut_off_and_named(make):
    meter = make_meter(0, 1, ((3, 0, 12), (4, 0, 4)))
    bench = make(meter)

    async def round_(values):
        await bench.exchange(read_frame(1, 3, 2, 3), registers(1, 3, *values[:3]))
        await bench.exchange(read_frame(1, 3, 8, 2), registers(1, 3, *values[3:]))
        await asyncio.sleep(1)

    async def test():
        await bench.settle()
        for k in range(40):
            await round_([k, k + 1, k + 2, k + 3, k + 4])
        assert [(block.function, block.first, block.count) for block in meter.blocks] == [
            (3, 0, 2), (3, 2, 3), (3, 5, 3), (3, 8, 2), (3, 10, 2), (4, 0, 4),
        ]  # fmt: skip
        assert [value(meter, address) for address in (1, 2, 4, 5, 8, 9, 10)] == [None, 39, 41, None, 42, 43, None]
        assert meter.value(2) == 39
        assert meter.value(9) == 43
        assert bench.bus.cached(1, 3, 2, 3) is not None
        assert bench.bus.cached(1, 3, 2, 4) is None
        assert bench.bus.fault_text(meter) == (
            "not seen: registers 0 to 1 of function 3, 5 to 7 of function 3, 10 to 11 of function 3 and 1 more ranges"
        )
        assert meter.state == ONLINE
        # The master has changed its mind.
        await bench.exchange(read_frame(1, 3, 0, 12), registers(1, 3, *range(60, 72)))
        assert [meter.value(i) for i in range(12)] == list(range(60, 72))

    bench.run(test)


def test_a_value_of_two_registers_comes_from_one_read(make):
    from firmware.meters import profile_loader
    from firmware.meters.meter import Meter
    from host_tests.unit import the_schema as schema

    rows = [[n + 1, f"p{n}", 3, 2 * n, "uint32", 1, "", "instantaneous"] for n in range(3)]
    profile = profile_loader.parse("test", {"columns": profile_loader.COLUMNS, "points": rows})
    meter = Meter(fakes.defaults(schema.METER, slot=0, name="m", unit=1, profile="test"), profile)
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 0, 3), registers(1, 3, 0, 1, 0))
        await bench.exchange(read_frame(1, 3, 3, 3), registers(1, 3, 2, 0, 3))
        assert not meter.blocks[0].seen, "the halves of the second value are of two moments"
        await bench.exchange(read_frame(1, 3, 2, 2), registers(1, 3, 5, 6))
        assert [meter.value(i) for i in range(3)] == [1, 5 << 16 | 6, 3]

    bench.run(test)


@pytest.mark.parametrize(
    "write", [
        frame(1, 6, struct.pack(">HH", 2, 9)), frame(0, 6, struct.pack(">HH", 2, 9)),
        frame(1, 16, struct.pack(">HHBH", 2, 1, 2, 9)), frame(1, 0x42),
    ],
)  # fmt: skip
def test_a_write_drops_what_was_read_of_its_registers(make, write):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 1, 2, 3, 4))
        await bench.exchange(read_frame(1, 3, 0, 2), registers(1, 3, 5, 6))
        assert bench.bus.cached(1, 3, 0, 4) is not None
        await bench.hear(write)
        await asyncio.sleep(0.1)
        assert bench.bus.cached(1, 3, 0, 4) is None
        if write[1] == 6 and write[0]:
            await bench.hear(write)  # its echo
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 2, 2), registers(1, 3, 7, 8))
        assert bench.bus.cached(1, 3, 0, 4) is None, "half of it is from before the write"
        await bench.exchange(read_frame(1, 3, 0, 2), registers(1, 3, 5, 6))
        assert [meter.value(i) for i in range(4)] == [5, 6, 7, 8]

    bench.run(test)
    assert bench.counters.noise_bytes == 0


def test_other_functions_are_followed_without_noise(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.settle()
        for request, answer in (
            (frame(1, 1, struct.pack(">HH", 0, 9)), frame(1, 1, 2, 0xFF, 1)),
            (frame(1, 5, struct.pack(">HH", 0, 0xFF00)), frame(1, 5, struct.pack(">HH", 0, 0xFF00))),
            (frame(1, 16, struct.pack(">HHBHH", 5, 2, 4, 1, 2)), frame(1, 16, struct.pack(">HH", 5, 2))),
            (frame(1, 17), frame(1, 17, 3, b"abc")),
            (frame(1, 8, struct.pack(">HH", 0, 7)), frame(1, 8, struct.pack(">HH", 0, 7))),
            (frame(1, 23, struct.pack(">HHHHBH", 0, 2, 5, 1, 2, 9)), frame(1, 23, 4, 1, 2, 3, 4)),
            (frame(1, 22, struct.pack(">HHH", 0, 2, 5)), frame(1, 22, struct.pack(">HHH", 0, 2, 5))),
            (frame(1, 43, b"\x0e\x01\x00"), frame(1, 43, b"\x0e\x01\x01\x00\x00\x01\x00\x01a")),
            (read_frame(1, 3, 0, 4), frame(1, 0x83, 4)),
        ):
            await bench.exchange(request, answer, 50)
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 1, 2, 3, 4))
        assert value(meter, 0) == 1

    bench.run(test)
    counters = bench.counters
    assert (counters.sent, counters.answered, counters.noise_bytes, counters.foreign) == (10, 10, 0, 0)
    assert bench.bus.exceptions(meter) == [(4, 1)]


def test_a_meter_that_is_silent_fails_and_comes_back(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.settle()
        assert (meter.state, bench.bus.fault_text(meter)) == (UNKNOWN, "not seen: nobody asks this unit")
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 1, 2, 3, 4))
        for _ in range(4):
            await bench.hear(read_frame(1, 3, 0, 4), 500)
        assert (meter.state, bench.bus.fault_text(meter)) == (FAILING, "silent")
        assert meter.blocks[0].failed
        assert bench.bus.cached(1, 3, 0, 4) is None
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 5, 6, 7, 8))
        assert (meter.state, bench.bus.fault_text(meter), value(meter, 0)) == (ONLINE, "", 5)
        await asyncio.sleep(70)
        assert meter.state == FAILING
        assert bench.bus.fault_text(meter).startswith("not seen for ")

    bench.run(test)
    assert "meter m1 (unit 1): silent" in bench.events.texts()


def test_requests_are_refused_and_nothing_is_sent(make):
    meter = make_meter(0, 1)
    bench = make(meter, broadcast=True)
    buses = Buses([bench.bus], Router([bench.bus], [meter]), bench.events)

    async def test():
        await bench.settle()
        request = Request(None)
        request.fill_read(1, 3, 0, 4)
        assert bench.bus.submit(request) == 0x0B
        request.fill_read(2, 3, 0, 4)
        assert bench.bus.submit(request) == 0x0A
        assert bench.bus.broadcast(b"\x06\x00\x00\x00\x01", 0, 5) != OK
        assert not bench.bus.config["broadcast"]
        with pytest.raises(ValueError, match="not polled by this gateway"):
            buses.start_scan(0, None, None, 1, 247, None)
        paused = []
        assert buses.pause(lambda: paused.append(True))
        assert paused == [True]
        buses.resume()
        await asyncio.sleep(120)

    bench.run(test)


def test_a_line_that_is_gone_is_opened_again(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await bench.settle()
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 1, 2, 3, 4))
        await bench.hear(read_frame(1, 3, 0, 4)[:5])
        bench.open_error = OSError(errno.ENODEV, "gone")
        bench.lines[-1].unplug()
        await asyncio.sleep(3)
        assert bench.bus.wire is None
        assert bench.bus.fault_text(meter) == "serial line gone"
        request = Request(None)
        request.fill_read(1, 3, 0, 4)
        assert bench.bus.submit(request) == 0x0A
        bench.open_error = None
        await asyncio.sleep(3)
        await bench.exchange(read_frame(1, 3, 0, 4), registers(1, 3, 5, 6, 7, 8))
        assert (value(meter, 0), bench.bus.fault_text(meter)) == (5, "")

    bench.run(test)
    assert len(bench.lines) == 2
    assert bench.lines[0].closed


class Line:
    """A master, meters that answer late, and what reaches the gateway of it. A register's word is its function and
    address, and the second in which it was read."""

    def __init__(self, bench, seed, spoil):
        self.bench = bench
        self.random = random.Random(seed)
        self.spoil = spoil
        self.free_at = {}  # by unit: until when a meter is busy
        self.waiting = {}  # by unit: how many requests it has
        self.answered = 0

    def word(self, function, address):
        return function << 14 & 0x4000 | address << 6 | self.bench.uptime_s() & 0x3F

    async def put(self, data):
        data = bytearray(data)
        if self.random.random() < self.spoil:
            kind = self.random.randrange(4)
            at = self.random.randrange(len(data))
            if kind == 0:
                data[at] ^= 1 << self.random.randrange(8)
            elif kind == 1:
                del data[at:]
            elif kind == 2:
                data[at:at] = self.random.randbytes(self.random.randrange(1, 12))
            else:
                data = bytearray(self.random.randbytes(self.random.randrange(1, 30)))
        await self.bench.hear(bytes(data), 0, self.random.choice((None, 0.2)))

    async def meter(self, unit, function, first, count, latency_ms):
        """Answers in the order of the requests; one that comes when three wait is lost."""
        if self.waiting.get(unit, 0) == 3:
            return
        now = self.bench.clock.ms
        self.waiting[unit] = self.waiting.get(unit, 0) + 1
        until = max(now, self.free_at.get(unit, 0)) + latency_ms
        self.free_at[unit] = until
        await asyncio.sleep((until - now) / 1000)
        self.waiting[unit] -= 1
        if self.random.random() < 0.03:
            await self.put(frame(unit, function | 0x80, 2))
        else:
            await self.put(registers(unit, function, *[self.word(function, first + k) for k in range(count)]))
        self.answered += 1

    async def master(self, rounds, timeout_ms, latencies_ms, reads, pauses_ms):
        tasks = []
        for _ in range(rounds):
            unit = self.random.choice((1, 1, 2))
            function, first, count = self.random.choice(reads)
            before = self.answered
            await self.put(read_frame(unit, function, first, count))
            tasks.append(
                asyncio.ensure_future(self.meter(unit, function, first, count, self.random.choice(latencies_ms)))
            )
            deadline = self.bench.clock.ms + timeout_ms
            while self.answered == before and self.bench.clock.ms < deadline:
                await asyncio.sleep(0.002)
            await asyncio.sleep(self.random.choice(pauses_ms) / 1000)
        await asyncio.gather(*tasks)


READS = (
    (3, 0, 8), (3, 0, 4), (3, 4, 4), (3, 2, 4), (3, 100, 8), (3, 100, 4), (3, 104, 4), (4, 50, 4), (4, 40, 20),
    (4, 100, 4),
)  # fmt: skip
LATENCIES_MS = ((5,), (5, 5, 5, 90), (60,), (30, 95))
PAUSES_MS = ((0,), (3, 40), (5, 150))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32), spoil=st.sampled_from((0, 0.02, 0.1, 0.3)), timeout_ms=st.sampled_from((20, 50, 200)),
    latencies_ms=st.sampled_from(LATENCIES_MS), pauses_ms=st.sampled_from(PAUSES_MS),
    reads=st.sampled_from((READS, READS[:1], READS[1:3], READS[:7])),
)  # fmt: skip
def test_no_value_is_ever_that_of_another_register(
    monkeypatch, seed, spoil, timeout_ms, latencies_ms, pauses_ms, reads
):
    with monkeypatch.context() as patches:
        meters = [make_meter(k, k + 1, BLOCKS, max_age_s=5) for k in range(2)]
        bench = Bench(patches, *meters)
        line = Line(bench, seed, spoil)
        for meter in meters:
            check_stores(bench, line, meter)
        bench.run(lambda: line.master(200, timeout_ms, latencies_ms, reads, pauses_ms))
        if not spoil and timeout_ms > 2 * max(latencies_ms) and len(reads) > 2:
            assert all(meter.blocks[0].seen for meter in meters), "it takes what is right for certain"


def check_stores(bench, line, meter):
    store = meter.store

    def checked(block, image, at, until_ms, now_s):
        for k in range(block.count):
            word = image[at + 2 * k] << 8 | image[at + 2 * k + 1]
            address = block.first + k
            assert word & ~0x3F == line.word(block.function, address) & ~0x3F, "the value of another register"
            age_s = bench.uptime_s() - word & 0x3F
            assert age_s <= bench.uptime_s() - now_s + 3, "older than it says"
        return store(block, image, at, until_ms, now_s)

    meter.store = checked

"""The bus: whose request comes next, what is shared, what the cache may answer, and what becomes of silent meters."""

import asyncio
import struct

import pytest

from firmware.bus import OK, Buses, Router
from firmware.meters import meter as points
from firmware.meters import profile_loader as profile_load
from firmware.meters.readings import QUALITIES, Readings
from host_tests.unit import fakes
from host_tests.unit import the_schema as schema
from host_tests.unit.bus_bench import BUSY, CONFIG, NO_ANSWER, NO_PATH, Bench, Client, make_meter
from host_tests.unit.fakes import frame, registers
from tools.virtual_meters import VirtualMeter

NEVER = QUALITIES.index("never")


@pytest.fixture
def make(monkeypatch, events, uptime):
    return lambda *meters, **config: Bench(monkeypatch, events, uptime, *meters, **config)


# -- requests and their ends


def test_a_request_is_answered_with_the_meters_frame(make):
    bench = make()

    async def test():
        assert await Client(bench).ask() == (OK, registers(1, 3, 100))

    bench.run(test)
    assert bench.sent() == [fakes.read_frame(1, 3, 100, 1)]


def test_an_exception_of_the_meter_is_passed_on(make):
    bench = make()
    bench.field.refuse[1] = 2

    async def test():
        assert await Client(bench).ask() == (OK, frame(1, 0x83, 2))

    bench.run(test)


def test_no_answer_is_0b(make):
    bench = make()
    bench.field.silent.add(1)

    async def test():
        assert await Client(bench).ask() == (NO_ANSWER, b"")

    bench.run(test)


def test_requests_are_served_in_the_order_of_their_coming(make):
    bench = make()

    async def test():
        clients = [Client(bench, unit) for unit in (5, 3, 9, 1)]
        assert [client.submit() for client in clients] == [OK] * 4
        for client in clients:
            await client.end()

    bench.run(test)
    assert [data[0] for data in bench.sent()] == [5, 3, 9, 1]


def test_a_full_queue_is_06_for_the_newcomer_only(make):
    bench = make()

    async def test():
        first = Client(bench, 1)
        assert first.submit() == OK
        await asyncio.sleep(0.01)  # on the wire
        waiting = [Client(bench, 2 + k) for k in range(16)]
        assert [client.submit() for client in waiting] == [OK] * 16
        assert Client(bench, 100).submit() == BUSY
        for client in [first, *waiting]:
            assert (await client.end())[0] == OK
        assert await Client(bench, 100).ask() == (OK, registers(100, 3, 100))

    bench.run(test)


def test_equal_reads_share_one_transaction(make):
    bench = make()

    async def test():
        clients = [Client(bench) for _ in range(5)] + [Client(bench, pdu=b"\x03\x00\x65\x00\x01")]
        for client in clients:
            client.submit()
        ends = [await client.end() for client in clients]
        assert ends == [(OK, registers(1, 3, 100))] * 5 + [(OK, registers(1, 3, 101))]

    bench.run(test)
    assert len(bench.sent()) == 2


@pytest.mark.parametrize("pdu", [b"\x03\x00\x64\x00\x02", b"\x03\x00\x65\x00\x01", b"\x04\x00\x64\x00\x01"])
def test_reads_that_differ_in_anything_do_not_share(make, pdu):
    bench = make()

    async def test():
        one, other = Client(bench), Client(bench, pdu=pdu)
        one.submit()
        other.submit()
        await one.end()
        await other.end()

    bench.run(test)
    assert len(bench.sent()) == 2


def test_equal_writes_are_each_carried_out(make):
    bench = make()

    async def test():
        clients = [Client(bench, pdu=b"\x06\x00\x01\x00\x05") for _ in range(3)]
        for client in clients:
            client.submit()
        for client in clients:
            assert (await client.end())[0] == OK

    bench.run(test)
    assert len(bench.sent()) == 3


def test_equal_reads_share_a_failure_too(make):
    bench = make()
    bench.field.silent.add(1)

    async def test():
        clients = [Client(bench) for _ in range(3)]
        for client in clients:
            client.submit()
        assert [await client.end() for client in clients] == [(NO_ANSWER, b"")] * 3

    bench.run(test)
    assert len(bench.sent()) == 1


def test_only_reads_are_repeated(make):
    meter = make_meter(0, 1, retries=2)
    bench = make(meter)
    bench.hold_polls()
    bench.field.silent.add(1)

    async def test():
        await Client(bench).ask()
        assert len(bench.sent()) == 3
        await Client(bench, pdu=b"\x06\x00\x01\x00\x05").ask()
        assert len(bench.sent()) == 4

    bench.run(test)
    assert bench.bus.counters.retries == 2


def test_a_retry_that_is_answered_is_the_answer(make):
    meter = make_meter(0, 1, retries=1)
    bench = make(meter)
    bench.hold_polls()
    bench.field.silent.add(1)

    async def test():
        client = Client(bench)
        client.submit()
        while len(bench.sent()) < 2:
            await asyncio.sleep(0.001)
            if len(bench.sent()) == 1:
                bench.field.silent.discard(1)
        return await client.end()

    assert bench.run(test) == (OK, registers(1, 3, 100))
    assert meter.state == points.ONLINE


def test_an_owner_that_cannot_take_its_answer_harms_nobody_else(make):
    bench = make()

    async def test():
        broken, other, third = Client(bench), Client(bench), Client(bench, 2)

        def on_answer(*_):
            raise MemoryError("no heap")

        broken.on_answer = on_answer
        for client in (broken, other, third):
            client.submit()
        assert (await other.end())[0] == OK
        assert (await third.end())[0] == OK
        assert len(broken.failed) == 1

    bench.run(test)


# -- withdrawn requests


def test_a_withdrawn_request_that_waits_never_goes_out(make):
    bench = make()

    async def test():
        one, gone, last = Client(bench, 1), Client(bench, 2), Client(bench, 3)
        for client in (one, gone, last):
            client.submit()
        bench.bus.withdraw(gone.request)
        await last.end()
        assert gone.ends == []

    bench.run(test)
    assert [data[0] for data in bench.sent()] == [1, 3]


def test_a_request_withdrawn_on_the_wire_ends_without_telling_anybody(make):
    bench = make()

    async def test():
        gone, sharing, last = Client(bench, 1), Client(bench, 1), Client(bench, 3)
        for client in (gone, sharing, last):
            client.submit()
        await asyncio.sleep(0.008)
        assert len(bench.sent()) == 1
        bench.bus.withdraw(gone.request)
        assert await sharing.end() == (OK, registers(1, 3, 100)), "who asked the same still gets it"
        await last.end()
        assert gone.ends == []

    bench.run(test)


def test_withdrawing_what_is_not_there_is_harmless(make):
    bench = make()

    async def test():
        client = Client(bench)
        bench.bus.withdraw(client.request)
        await client.ask()
        bench.bus.withdraw(client.request)
        assert await Client(bench).ask() == (OK, registers(1, 3, 100))

    bench.run(test)


# -- the line


def test_a_line_that_cannot_be_opened_is_0a_and_is_tried_again(make, events):
    bench = make()
    bench.open_error = OSError(2, "no such device")

    early = Client(bench)
    assert early.submit() == OK, "nobody has tried yet"

    async def test():
        assert await early.end() == (NO_PATH, b"")
        assert Client(bench).submit() == NO_PATH
        await asyncio.sleep(10.5)
        assert 10 <= bench.opens <= 12
        assert len(events.texts()) == 1, "one line for one fault"
        bench.open_error = None
        await asyncio.sleep(1.1)
        assert await Client(bench).ask() == (OK, registers(1, 3, 100))

    bench.run(test)


def test_a_line_that_dies_in_a_transaction_is_0a_and_is_opened_again(make):
    bench = make()

    async def test():
        one, waiting = Client(bench, 1), Client(bench, 2)
        one.submit()
        waiting.submit()
        await asyncio.sleep(0.010)
        bench.line.unplug()
        assert await one.end() == (NO_PATH, b"")
        assert (await waiting.end())[0] in (OK, NO_PATH)
        await asyncio.sleep(1.1)
        assert await Client(bench).ask() == (OK, registers(1, 3, 100))

    bench.run(test)
    assert bench.opens == 2
    assert bench.lines[0].closed
    assert not bench.lines[1].closed


def test_while_the_line_is_gone_waiting_and_new_requests_get_0a(make):
    bench = make()

    async def test():
        one, waiting = Client(bench, 1), Client(bench, 2)
        one.submit()
        waiting.submit()
        await asyncio.sleep(0.010)
        bench.open_error = OSError(19, "unplugged")
        bench.line.unplug()
        assert await one.end() == (NO_PATH, b"")
        assert await waiting.end() == (NO_PATH, b"")
        assert Client(bench).submit() == NO_PATH

    bench.run(test)


def test_a_line_that_is_gone_empties_the_cache_and_quarantines_no_meter(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await asyncio.sleep(0.2)
        assert bench.bus.cached(1, 3, 0, 4) is not None
        for _ in range(5):
            client = Client(bench)
            client.submit()
            await asyncio.sleep(0.008)
            bench.line.unplug()
            assert (await client.end())[0] == NO_PATH
            assert bench.bus.cached(1, 3, 0, 4) is None
            await asyncio.sleep(1.1)
        assert meter.state != points.QUARANTINED

    bench.run(test)


def test_a_closed_bus_has_closed_its_line(make):
    bench = make()

    async def test():
        await Client(bench).ask()
        bench.bus.close()
        bench.bus.close()
        assert bench.line.closed

    bench.run(test)


# -- the cache


def test_a_polled_block_answers_what_lies_wholly_inside_it(make):
    meter = make_meter(0, 1, ((3, 10, 4), (4, 10, 2)))
    bench = make(meter)

    async def test():
        await asyncio.sleep(0.3)
        cached = bench.bus.cached
        block = meter.blocks[0]
        assert bytes(block.raw) == struct.pack(">4H", 10, 11, 12, 13)
        for first in range(8, 16):
            for count in range(1, 6):
                inside = first >= 10 and first + count <= 14
                assert cached(1, 3, first, count) is (meter.blocks[0] if inside else None)
        assert cached(1, 4, 10, 2) is meter.blocks[1]
        assert cached(1, 4, 10, 3) is None, "another function has other registers"
        assert cached(2, 3, 10, 4) is None
        assert cached(1, 1, 10, 1) is None

    bench.run(test)


@pytest.mark.parametrize("max_age_s", [1, 10, 3600])
@pytest.mark.parametrize("start_us", [5_000_000, (fakes.TICKS_PERIOD - 500) * 1000])
def test_the_cache_answers_up_to_its_age_across_a_wrap_of_ticks(make, max_age_s, start_us):
    meter = make_meter(0, 1, max_age_s=max_age_s)
    bench = make(meter)
    bench.clock.us = start_us
    bench.hold_polls(0)

    async def test():
        await asyncio.sleep(0.2)
        bench.hold_polls()
        left = (meter.blocks[0].fresh_until_ms - bench.clock.ticks_ms()) % fakes.TICKS_PERIOD
        assert 0 < left <= 1000 * max_age_s
        bench.clock.advance_ms(left)
        bench.bus.tick()
        assert bench.bus.cached(1, 3, 0, 4) is meter.blocks[0]
        bench.clock.advance_ms(1)
        assert bench.bus.cached(1, 3, 0, 4) is None
        bench.bus.tick()
        assert bench.bus.cached(1, 3, 0, 4) is None

    bench.run(test)


def test_what_has_expired_does_not_come_back_when_the_ticks_come_round(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await asyncio.sleep(0.2)
        bench.hold_polls()
        bench.clock.advance_ms(60_000)
        bench.bus.tick()
        bench.clock.us += (fakes.TICKS_PERIOD - 60_000) * 1000  # 12.4 days later the ticks are the same
        assert bench.bus.cached(1, 3, 0, 4) is None

    bench.run(test, limit_s=10**7)


def test_a_time_out_drops_the_cached_blocks_of_that_meter_only(make):
    one, other = make_meter(0, 1, ((3, 0, 4), (4, 0, 4))), make_meter(1, 2)
    bench = make(one, other)

    async def test():
        await asyncio.sleep(0.4)
        assert all(bench.bus.cached(*key) is not None for key in ((1, 3, 0, 4), (1, 4, 0, 4), (2, 3, 0, 4)))
        bench.field.silent.add(1)
        assert await Client(bench, 1).ask() == (NO_ANSWER, b"")
        assert bench.bus.cached(1, 3, 0, 4) is None
        assert bench.bus.cached(1, 4, 0, 4) is None
        assert bench.bus.cached(2, 3, 0, 4) is not None

    bench.run(test)


@pytest.mark.parametrize(
    ("pdu", "left"),
    [
        (b"\x06\x00\x02\x00\x05", [False, True, True]),
        (b"\x06\x00\x03\x00\x05", [False, True, True]),
        (b"\x06\x00\x04\x00\x05", [True, True, True]),
        (b"\x06\x00\x09\x00\x05", [True, True, True]),
        (b"\x06\x00\x0a\x00\x05", [True, False, False]),
        (b"\x06\x00\x0d\x00\x05", [True, False, True]),
        (b"\x10\x00\x03\x00\x02\x04\x00\x05\x00\x05", [False, True, True]),
        (b"\x10\x00\x04\x00\x06\x0c" + bytes(12), [True, True, True]),
        (b"\x10\x00\x04\x00\x07\x0e" + bytes(14), [True, False, False]),
        (b"\x16\x00\x0b\x00\xff\x00\x01", [True, False, False]),
        (b"\x17\x00\x00\x00\x04\x00\x0b\x00\x01\x02\x00\x05", [True, False, False]),
        (b"\x42", [False, False, False]),
        (b"\x65\x01", [False, False, False]),
    ],
)
def test_a_write_takes_what_it_overlaps_out_of_the_cache_and_nothing_else(make, pdu, left):
    """The last block has another function: input and holding registers are often the same cells."""
    blocks = ((3, 0, 4), (3, 10, 4), (4, 10, 2))
    meter, other = make_meter(0, 1, blocks), make_meter(1, 2, blocks)
    bench = make(meter, other)

    async def test():
        await asyncio.sleep(0.5)
        assert all(fakes.is_good(block) for block in [*meter.blocks, *other.blocks])
        client = Client(bench, 1, pdu)
        client.submit()
        while len(bench.sent()) < 7:
            await asyncio.sleep(0.001)
        assert [fakes.is_good(block) for block in meter.blocks] == left, "from the moment on at which it goes out"
        assert [fakes.is_good(block) for block in other.blocks] == [True] * 3
        await client.end()
        await asyncio.sleep(10)
        assert all(fakes.is_good(block) for block in meter.blocks), "the next poll brings it back"

    bench.run(test)


def test_a_meter_that_refused_everything_is_read_again_and_logged_once(make, events):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await asyncio.sleep(0.2)
        assert fakes.is_good(meter.blocks[0])
        bench.field.refuse[1] = 2
        await asyncio.sleep(16)
        assert bench.bus.cached(1, 3, 0, 4) is None
        assert meter.blocks[0].exception == 2
        assert meter.state == points.ONLINE, "it answers"
        assert sum("refuses" in text for text in events.texts()) == 1
        del bench.field.refuse[1]
        await asyncio.sleep(5)
        assert bench.bus.cached(1, 3, 0, 4) is not None
        assert meter.blocks[0].exception == 0

    bench.run(test)


# -- silent meters


def test_after_three_failures_a_meter_is_quarantined_and_costs_no_bus_time(make, events):
    meter = make_meter(0, 1)
    bench = make(meter)
    bench.hold_polls()
    bench.field.silent.add(1)

    async def test():
        states = []
        for _ in range(3):
            assert await Client(bench).ask() == (NO_ANSWER, b"")
            states.append(meter.state)
        assert states == [points.FAILING, points.FAILING, points.QUARANTINED]
        sent, now = len(bench.sent()), bench.clock.ms
        for _ in range(50):
            assert Client(bench).submit() == NO_ANSWER
        assert (len(bench.sent()), bench.clock.ms) == (sent, now)
        assert sum("quarantined" in text for text in events.texts()) == 1

    bench.run(test)


def test_requests_that_wait_for_a_quarantined_meter_cost_no_bus_time(make):
    meter, other = make_meter(0, 1), make_meter(1, 2)
    bench = make(meter, other)
    bench.hold_polls()
    bench.field.silent.add(1)

    async def test():
        clients = [Client(bench, 1, struct.pack(">BHH", 3, 100 + k, 1)) for k in range(10)]
        good = Client(bench, 2)
        for client in [*clients, good]:
            client.submit()
        assert (await good.end())[0] == OK
        assert [(await client.end())[0] for client in clients] == [NO_ANSWER] * 10
        assert len(bench.sent_at(1)) == 3

    bench.run(test)


def test_an_answer_in_between_starts_the_count_of_failures_again(make):
    meter = make_meter(0, 1)
    bench = make(meter)
    bench.hold_polls()

    async def test():
        for _ in range(5):
            bench.field.silent.add(1)
            await Client(bench).ask()
            await Client(bench).ask()
            bench.field.silent.clear()
            assert (await Client(bench).ask())[0] == OK
        assert meter.state == points.ONLINE

    bench.run(test)


def test_an_exception_answer_is_a_sign_of_life(make):
    meter = make_meter(0, 1)
    bench = make(meter)
    bench.hold_polls()
    bench.field.refuse[1] = 4

    async def test():
        for _ in range(5):
            await Client(bench).ask()
        assert (meter.state, meter.exceptions) == (points.ONLINE, 5)

    bench.run(test)


def test_a_quarantined_meter_is_probed_at_growing_intervals_without_end(make):
    meter = make_meter(0, 1, interval_s=1, retries=3)
    bench = make(meter)
    bench.field.silent.add(1)

    async def test():
        await asyncio.sleep(600)

    bench.run(test)
    at = bench.sent_at(1)
    gaps = [(after - before) / 1000 for before, after in zip(at, at[1:], strict=False)]
    first = next(k for k, gap in enumerate(gaps) if gap > 1.5)
    probes = gaps[first:]
    assert len(probes) > 8
    assert all(after >= before * 0.98 for before, after in zip(probes, probes[1:], strict=False)), "never shorter"
    assert probes[0] == pytest.approx(2, abs=0.5)
    assert max(probes) == pytest.approx(60, abs=1)
    assert probes[-1] == pytest.approx(60, abs=1)


def test_a_quarantined_meter_is_back_with_its_first_answer(make, events):
    meter = make_meter(0, 1, ((3, 0, 4), (4, 0, 4)), interval_s=2)
    bench = make(meter)
    bench.field.silent.add(1)

    async def test():
        await asyncio.sleep(30)
        assert meter.state == points.QUARANTINED
        bench.field.silent.clear()
        while meter.state == points.QUARANTINED:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert bench.bus.cached(1, 3, 0, 4) is not None, "and is read whole at once"
        assert bench.bus.cached(1, 4, 0, 4) is not None
        begin = len(bench.sent())
        await asyncio.sleep(20)
        assert len(bench.sent()) - begin == pytest.approx(20, abs=2), "at its own interval again"
        assert any("answers" in text for text in events.texts())

    bench.run(test)


def test_one_silent_meter_hardly_slows_the_others(make):
    silent = make_meter(0, 1, interval_s=1, timeout_ms=1000, retries=2)
    other = make_meter(1, 2, interval_s=1)
    bench = make(silent, other)
    bench.field.silent.add(1)

    async def test():
        await asyncio.sleep(60)
        before = len(bench.sent_at(2))
        await asyncio.sleep(300)
        return len(bench.sent_at(2)) - before

    assert bench.run(test) >= 285


# -- failed polls


def lose(bench, is_lost):
    """Loses the answers for whose request `is_lost(request)` is true."""
    answer = bench.field.answer
    bench.field.answer = lambda request: None if is_lost(request) else answer(request)


@pytest.mark.parametrize("fault", ["silent", "garble"])
@pytest.mark.parametrize("retries", [0, 1])
def test_a_meter_whose_only_poll_of_the_hour_is_lost_is_asked_again_in_two_seconds(make, fault, retries):
    meter = make_meter(0, 1, ((3, 0, 4), (4, 0, 4)), interval_s=3600, max_age_s=60, retries=retries)
    bench = make(meter)

    async def test():
        getattr(bench.field, fault).add(1)
        while meter.state != points.FAILING:
            await asyncio.sleep(0.01)
        failed_ms = bench.clock.ms
        getattr(bench.field, fault).clear()
        await asyncio.sleep(2.5)
        assert [fakes.is_good(block) for block in meter.blocks] == [True, True]
        assert min(at for at in bench.sent_at(1) if at > failed_ms) - failed_ms == pytest.approx(2000, abs=30)
        sent = len(bench.sent())
        await asyncio.sleep(3590)
        assert len(bench.sent()) == sent, "and then at its interval"
        await asyncio.sleep(10)
        assert len(bench.sent()) == sent + 2

    bench.run(test)


def test_a_round_that_fails_half_way_is_read_whole_again(make):
    meter = make_meter(0, 1, ((3, 0, 4), (4, 0, 4)), interval_s=3600)
    bench = make(meter)
    lose(bench, lambda request: len(bench.sent()) == 2)

    async def test():
        await asyncio.sleep(1)
        assert [fakes.is_good(block) for block in meter.blocks] == [False, False]
        await asyncio.sleep(2)
        assert [fakes.is_good(block) for block in meter.blocks] == [True, True]

    bench.run(test)


def test_what_a_client_s_lost_request_takes_out_of_the_cache_is_read_again_soon(make):
    meter = make_meter(0, 1, interval_s=3600, max_age_s=7200)
    bench = make(meter)

    async def test():
        await asyncio.sleep(1000)
        bench.field.silent.add(1)
        assert await Client(bench).ask() == (NO_ANSWER, b"")
        bench.field.silent.clear()
        assert bench.bus.cached(1, 3, 0, 4) is None
        await asyncio.sleep(2.5)
        assert bench.bus.cached(1, 3, 0, 4) is not None

    bench.run(test)


def test_requests_of_clients_that_fail_put_no_poll_off(make):
    """A meter that never answers for one of its registers, and a client that asks for that each second."""
    meter = make_meter(0, 1, interval_s=5)
    bench = make(meter)
    lose(bench, lambda request: request[3] == 100)

    async def test():
        for _ in range(100):
            assert await Client(bench).ask() == (NO_ANSWER, b"")
            await asyncio.sleep(1)

    bench.run(test)
    polls = [at for line in bench.lines for at, data in line.sent if data[3] != 100]
    assert max(after - before for before, after in zip(polls, polls[1:], strict=False)) < 5_100_000
    assert meter.state != points.QUARANTINED


def gaps_s(bench, unit):
    at = bench.sent_at(unit)
    return [(after - before) / 1000 for before, after in zip(at, at[1:], strict=False)]


def test_a_dead_meter_is_asked_once_a_minute_whatever_its_interval(make):
    meter = make_meter(0, 1, interval_s=3600)
    bench = make(meter)
    bench.field.silent.add(1)

    async def test():
        await asyncio.sleep(3000)

    bench.run(test)
    assert meter.state == points.QUARANTINED
    assert [round(gap) for gap in gaps_s(bench, 1)[:8]] == [2, 4, 2, 4, 8, 16, 32, 60]
    assert min(gaps_s(bench, 1)[7:]) > 59


def test_a_meter_that_never_answers_one_of_its_reads_is_asked_more_and_more_seldom(make):
    """Its other answers keep it out of quarantine."""
    meter = make_meter(0, 1, ((3, 0, 4), (4, 0, 4)), interval_s=3600)
    bench = make(meter)
    lose(bench, lambda request: request[1] == 4)

    async def test():
        await asyncio.sleep(600)

    bench.run(test)
    assert meter.state != points.QUARANTINED
    rounds = [gap for gap in gaps_s(bench, 1) if gap > 1]
    assert [round(gap) for gap in rounds[:7]] == [2, 4, 8, 16, 32, 60, 60]
    assert min(rounds[6:]) > 59


def test_a_round_without_a_failure_ends_the_growth(make):
    meter = make_meter(0, 1, interval_s=100)
    bench = make(meter)

    async def test():
        for _ in range(4):
            while meter.state != points.FAILING:
                bench.field.silent.add(1)
                await asyncio.sleep(0.01)
            bench.field.silent.clear()
            await asyncio.sleep(3)
            assert meter.state == points.ONLINE

    bench.run(test)


def test_a_failed_poll_of_a_short_interval_waits_for_no_more_than_that(make):
    meter = make_meter(0, 1, interval_s=1)
    bench = make(meter)
    lose(bench, lambda request: len(bench.sent()) % 2 == 0)

    async def test():
        await asyncio.sleep(60)

    bench.run(test)
    assert max(gaps_s(bench, 1)) == pytest.approx(1.1, abs=0.05)


def test_the_measured_interval_is_that_of_whole_rounds(make):
    meter = make_meter(0, 1, interval_s=60)
    bench = make(meter)
    lose(bench, lambda request: len(bench.sent()) % 5 == 0)

    async def test():
        await asyncio.sleep(3000)

    bench.run(test)
    assert 59_000 < bench.bus.poller.actual_interval_ms(meter) < 63_000


def test_all_meters_are_read_as_soon_as_a_lost_line_is_back(make):
    meters = [make_meter(k, k + 1, interval_s=3600) for k in range(3)]
    bench = make(*meters)

    async def test():
        await asyncio.sleep(100)
        bench.bus.wire.fail(OSError(5, "input/output error"))
        assert await Client(bench).ask() == (NO_PATH, b"")
        assert not any(fakes.is_good(block) for meter in meters for block in meter.blocks)
        await asyncio.sleep(5)
        assert [meter.state for meter in meters] == [points.ONLINE] * 3
        assert all(fakes.is_good(block) for meter in meters for block in meter.blocks)

    bench.run(test)


# -- order of clients and poller


def test_clients_go_before_the_poller(make):
    meter = make_meter(0, 9, ((3, 0, 4), (3, 50, 4), (4, 0, 4)))
    bench = make(meter)

    async def test():
        await asyncio.sleep(0.008)  # the first poll is on the wire
        assert [data[0] for data in bench.sent()] == [9]
        clients = [Client(bench, unit) for unit in (1, 2)]
        for client in clients:
            client.submit()
        for client in clients:
            await client.end()

    bench.run(test)
    assert [data[0] for data in bench.sent()][:3] == [9, 1, 2]


def test_a_poll_that_is_due_follows_eight_clients_at_the_latest(make):
    meter = make_meter(0, 2, interval_s=1)
    bench = make(meter)

    async def traffic():
        while True:
            await asyncio.gather(*[Client(bench, 1, struct.pack(">BHH", 3, k, 1)).ask() for k in range(12)])

    async def test():
        clients = asyncio.ensure_future(traffic())
        await asyncio.sleep(20)
        clients.cancel()

    bench.run(test)
    units = [data[0] for data in bench.sent()]
    assert units.count(2) >= 18, "once a second"
    longest = max(len(run) for run in bytes(units).split(b"\x02"))
    assert longest < 100, "a second of clients"
    at = [k for k, unit in enumerate(units) if unit == 2]
    assert len(units) - at[-1] < 100


def test_requests_with_priority_go_first_and_keep_their_order(make):
    bench = make()

    async def test():
        clients = [Client(bench, 1, struct.pack(">BHH", 3, k, 1)) for k in range(6)]
        for k in (3, 5):
            clients[k].request.has_priority = True
        await asyncio.gather(*[client.ask() for client in clients])

    bench.run(test)
    # The first goes out at once, the others wait for it.
    assert [data[3] for data in bench.sent()] == [0, 3, 5, 1, 2, 4]


# -- broadcasts


def test_a_broadcast_goes_out_once_and_the_meters_get_their_time(make):
    bench = make(make_meter(0, 1), turnaround_ms=200)

    async def test():
        await asyncio.sleep(1)
        bench.hold_polls()
        write = b"\x10\x00\x01\x00\x01\x02\x00\x07"
        assert bench.bus.cached(1, 3, 0, 4) is not None
        assert bench.bus.broadcast(write, 0, len(write)) == OK
        await asyncio.sleep(0)
        await Client(bench, 1).ask()
        assert bench.bus.cached(1, 3, 0, 4) is None
        assert bench.bus.counters.timeouts == 0

    bench.run(test)
    assert bench.sent()[-2] == frame(0, b"\x10\x00\x01\x00\x01\x02\x00\x07")
    broadcast_us, next_us = [at for at, _ in bench.line.sent[-2:]]
    assert next_us - broadcast_us >= 200_000 + 11 * 10_000_000 // 9600 - 1000  # the loop counts in ms


def test_broadcasts_are_bounded_by_the_queue(make):
    bench = make()
    codes = [bench.bus.broadcast(b"\x06\x00\x00\x00\x00", 0, 5) for _ in range(17)]
    assert codes == [OK] * 16 + [BUSY]


# -- a guest on the line


class Guest:
    name = "a guest"

    def __init__(self, error=None):
        self.error = error
        self.opened = None
        self.leave = asyncio.Event()

    async def run(self, open_line):
        if self.error:
            raise self.error
        self.opened = open_line(CONFIG | {"baud": 1200})
        await self.leave.wait()
        self.opened.close()


def test_a_guest_has_the_line_to_himself_and_polling_goes_on_after_him(make, events):
    meter = make_meter(0, 1, interval_s=1)
    bench = make(meter)

    async def test():
        await asyncio.sleep(2.5)
        lessee = Guest()
        assert bench.bus.lease_line(lessee)
        assert not bench.bus.lease_line(Guest())
        await asyncio.sleep(0.1)
        assert bench.opened_with["baud"] == 1200
        assert Client(bench).submit() == BUSY
        sent = len(bench.sent())
        await asyncio.sleep(5)
        assert len(bench.sent()) == sent
        lessee.leave.set()
        await asyncio.sleep(0.9)  # what he asked may still be answered
        assert Client(bench).submit() == BUSY
        await asyncio.sleep(0.2)
        assert bench.opened_with["baud"] == 9600
        assert await Client(bench).ask() == (OK, registers(1, 3, 100))
        assert bench.bus.lease_line(Guest(OSError(19)))
        await asyncio.sleep(1.1)
        assert await Client(bench).ask() == (OK, registers(1, 3, 100))

    bench.run(test)
    assert [text for text in events.texts() if "polling" in text] == [
        "bus 0: polling pauses for a guest", "bus 0: polling goes on",
    ] * 2  # fmt: skip


# -- what is measured


def test_answer_times_and_exceptions_by_code_are_counted_for_meter_and_bus(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await asyncio.sleep(0.5)
        bench.hold_polls()
        bench.field.latency_ms = 45
        await Client(bench, 1).ask()
        bench.field.refuse[1] = 2
        await Client(bench, 1).ask()
        await Client(bench, 1).ask()

    bench.run(test)
    for which in (meter, None):
        shortest, mean, longest = bench.bus.answer_times_ms(which)
        assert 5 <= shortest <= 20 < mean < longest
        assert 45 <= longest <= 60
        assert bench.bus.exceptions(which) == [(2, 2)]


def test_the_load_of_the_last_minute_is_what_the_transactions_took(make):
    bench = make(make_meter(0, 1, interval_s=1))
    bench.field.latency_ms = 500 - 8 * 11 / 9.6 - 13 * 11 / 9.6

    async def seconds(n):
        for _ in range(n):
            await asyncio.sleep(1)
            bench.bus.tick()

    async def test():
        bench.meters[0].timeout_ms = 1000
        await seconds(120)
        assert 46 <= bench.bus.load_percent <= 54
        bench.hold_polls()
        await seconds(120)
        assert bench.bus.load_percent == 0

    bench.run(test)


def test_the_load_of_the_last_twelve_hours_is_kept_in_steps_of_ten_minutes(make):
    bus = make(make_meter(0, 1)).bus

    def minutes(count, busy_ms):
        for _ in range(count):
            bus.counters.busy_ms += busy_ms
            for _ in range(60):
                bus.tick()

    assert bus.past_loads() == []
    minutes(9, 30_000)
    assert (bus.past_loads(), bus.step_age_s()) == ([], 540)
    minutes(1, 0)
    assert (bus.past_loads(), bus.step_age_s()) == ([45], 0)
    for step in range(75):
        minutes(10, 600 * step)
    bus.tick()
    assert (bus.past_loads(), bus.step_age_s()) == (list(range(3, 75)), 1)


@pytest.mark.parametrize(("configured_ms", "gaps_ms", "kept_ms"), [(0, (0, 60, 100), 100), (200, (60, 100, 0), 200)])
def test_the_bus_keeps_the_largest_gap_that_one_of_its_meters_needs(make, configured_ms, gaps_ms, kept_ms):
    meters = [make_meter(k, k + 1, interval_s=1) for k in range(3)]
    for meter, gap_ms in zip(meters, gaps_ms, strict=True):
        meter.profile.gap_ms = gap_ms
    bench = make(*meters, gap_ms=configured_ms)

    async def test():
        await asyncio.sleep(10)

    bench.run(test)
    answer_ms = 8 * 11 / 9.6 + bench.field.latency_ms
    begins = sorted(at for unit in (1, 2, 3) for at in bench.sent_at(unit))
    silences_ms = [after - before - answer_ms for before, after in zip(begins, begins[1:], strict=False)]
    assert kept_ms - 2 <= min(silences_ms) < kept_ms + 10
    assert bench.bus.config["gap_ms"] == kept_ms, "a scan keeps it, too"


def test_the_interval_that_is_kept_is_measured(make):
    meters = [make_meter(k, k + 1, interval_s=1) for k in range(3)]
    bench = make(*meters)
    bench.field.latency_ms = 480

    async def test():
        for meter in meters:
            meter.timeout_ms = 1000
        await asyncio.sleep(100)

    bench.run(test)
    poller = bench.bus.poller
    periods = [poller.actual_interval_ms(meter) for meter in meters]
    assert max(periods) - min(periods) < 300, "all suffer alike"
    assert 1400 < min(periods) <= max(periods) < 2300
    assert all(poller.missed(meter) > 20 for meter in meters)


def test_auto_timeout_is_three_times_the_longest_answer_until_a_failure(make):
    meter = make_meter(0, 1, timeout_ms=2000, auto_timeout=True)
    bench = make(meter)
    bench.field.latency_ms = 60

    async def silent_ms():
        bench.field.silent.add(1)
        begin = bench.clock.ms
        assert await Client(bench, 1).ask() == (NO_ANSWER, b"")
        bench.field.silent.clear()
        return bench.clock.ms - begin

    async def test():
        await asyncio.sleep(0.5)
        bench.hold_polls()
        assert await silent_ms() > 2000
        for _ in range(25):
            await Client(bench, 1).ask()
        assert 180 < await silent_ms() < 300
        assert await silent_ms() > 2000

    bench.run(test)


def test_what_is_wrong_with_a_meter_has_a_reason(make, events):
    meters = [make_meter(k, k + 1) for k in range(2)]
    bench = make(*meters)
    bench.field.silent.add(1)
    bench.field.garble.add(2)

    async def test():
        await asyncio.sleep(60)

    bench.run(test)
    assert [bench.bus.fault_text(meter) for meter in meters] == ["silent", "wrong answers (crc)"]
    assert "meter m1 (unit 1): silent, quarantined" in events.texts()
    assert "meter m2 (unit 2): wrong answers (crc), quarantined" in events.texts()


def test_a_request_that_comes_while_the_bus_is_idle_goes_out_at_once(make):
    bench = make()

    async def test():
        await asyncio.sleep(1000.5)
        begin = bench.clock.ms
        await Client(bench).ask()
        assert bench.sent_at(1)[0] - begin < 6

    bench.run(test)


def test_waiting_for_a_late_answer_delays_no_other_meters_poll(make):
    """A client's read of unit 1 has timed out; its late answer could pass for the poll of the same unit."""
    late, other = make_meter(0, 1, interval_s=1, timeout_ms=2000), make_meter(1, 2, interval_s=1)
    bench = make(late, other)

    async def test():
        await asyncio.sleep(0.5)
        bench.field.silent.add(1)
        assert await Client(bench).ask() == (NO_ANSWER, b"")
        bench.field.silent.clear()
        before = len(bench.sent_at(1)), len(bench.sent_at(2))
        at = bench.clock.ms
        await asyncio.sleep(10)
        others = [one - at for one in bench.sent_at(2)[before[1] :]]
        assert len(others) >= 9
        assert max(after - one for one, after in zip(others, others[1:], strict=False)) < 1200
        assert len(bench.sent_at(1)) > before[0], "and it is polled again"
        assert late.state == points.ONLINE

    bench.run(test)


def test_polls_do_not_drift(make):
    meters = [make_meter(k, k + 1, interval_s=1) for k in range(3)]
    bench = make(*meters)

    async def test():
        await asyncio.sleep(1000.5)

    bench.run(test)
    for meter in meters:
        at = bench.sent_at(meter.unit)
        assert len(at) == 1001
        assert at[-1] - at[0] == pytest.approx(1_000_000, abs=100)


def test_missed_rounds_are_skipped_and_counted(make):
    """A meter whose two blocks take longer than its interval is read as often as the bus can, and says so."""
    meter = make_meter(0, 1, ((3, 0, 4), (4, 0, 4)), interval_s=1, timeout_ms=5000)
    bench = make(meter)
    bench.field.latency_ms = 1500

    async def test():
        await asyncio.sleep(100)

    bench.run(test)
    missed = bench.bus.poller.missed(bench.meters[0])
    rounds = len(bench.sent()) / 2
    assert rounds + missed == pytest.approx(100, abs=4)
    assert rounds == pytest.approx(33, abs=2)


def test_polls_go_on_across_the_wrap_of_the_ticks(make):
    meter = make_meter(0, 1, interval_s=1)
    bench = make(meter)
    bench.clock.us = (fakes.TICKS_PERIOD - 10_300) * 1000
    bench.hold_polls(0)

    async def test():
        await asyncio.sleep(30.5)

    bench.run(test)
    at = bench.sent_at(1)
    assert len(at) == 31
    assert max(after - before for before, after in zip(at, at[1:], strict=False)) < 1100


def test_every_meter_gets_its_turn(make):
    meters = [make_meter(k, k + 1, interval_s=1 + k % 5) for k in range(20)]
    bench = make(*meters)

    async def test():
        await asyncio.sleep(60)

    bench.run(test)
    for meter in meters:
        expected = 60_000 / meter.interval_ms
        assert len(bench.sent_at(meter.unit)) == pytest.approx(expected, abs=2)
    assert all(meter.state == points.ONLINE for meter in meters)


def test_a_failed_poll_marks_its_block_and_the_reading_keeps_its_time(make):
    meter = make_meter(0, 1)
    bench = make(meter)

    async def test():
        await asyncio.sleep(0.5)
        read_s = meter.blocks[0].read_at_s
        bench.field.silent.add(1)
        await asyncio.sleep(6)
        block = meter.blocks[0]
        assert (block.seen, block.failed, fakes.is_good(block), block.read_at_s) == (True, True, False, read_s)

    bench.run(test)


def test_a_total_never_falls_while_a_meter_restarts_and_a_reset_is_logged(make, events):
    """A virtual meter says 0 for a while, as one that restarts does, and then its true value again, or 0 for good."""
    profile = profile_load.load("pzem-004t-v3")
    given = {"slot": 0, "name": "main", "unit": 1, "profile": "pzem-004t-v3", "interval_s": 5}
    meter = points.Meter(fakes.defaults(schema.METER, **given), profile)
    bench = make(meter)
    there = VirtualMeter(1, "pzem-004t-v3", clock=lambda: bench.clock.ms / 1000)
    bench.field.answer = lambda request: frame(request[0], there.answer(bytes(request[1:-2])))
    all_of = Readings(lambda: bench.clock.us // 1_000_000)
    energy = profile.index_of(40)
    shown = []

    async def watch(seconds):
        for _ in range(4 * seconds):
            await asyncio.sleep(0.25)
            value, _, quality = all_of.read(meter, energy)
            if quality != NEVER:
                shown.append((value, QUALITIES[quality]))

    async def test():
        there.set("energy_total", 123456)
        await watch(8)
        there.set("energy_total", 0)
        await watch(14)
        assert shown[-1] == (123456, "held")
        there.set("energy_total", 123457)
        await watch(10)
        assert shown[-1] == (123457, "good")
        assert shown == sorted(shown, key=lambda one: one[0]), "never falls"
        assert not any("reset" in text for text in events.texts())
        there.set("energy_total", 3)
        await watch(25)
        assert shown[-1] == (3, "good")
        assert "meter main: energy_total: counter reset: 3 after 123457" in events.texts()

    bench.run(test)


def test_meters_count_what_happened_to_them(make):
    meter = make_meter(0, 1)
    bench = make(meter)
    bench.hold_polls()

    async def test():
        await Client(bench).ask()
        assert (meter.requests, meter.timeouts, meter.errors, meter.exceptions) == (1, 0, 0, 0)
        bench.field.silent.add(1)
        await Client(bench).ask()
        assert (meter.requests, meter.timeouts, meter.errors, meter.exceptions) == (2, 1, 0, 0)
        bench.field.silent.clear()
        bench.field.garble.add(1)
        await Client(bench).ask()
        assert (meter.requests, meter.timeouts, meter.errors, meter.exceptions) == (3, 1, 1, 0)
        bench.field.garble.clear()
        bench.field.refuse[1] = 2
        await Client(bench).ask()
        assert (meter.requests, meter.timeouts, meter.errors, meter.exceptions) == (4, 1, 1, 1)

    bench.run(test)


# -- the router


def test_units_go_to_the_bus_of_their_meter_all_others_to_the_first(make):
    one, other = make_meter(0, 1), make_meter(1, 2, bus=1)
    router = Router(["first", "second"], [one, other])
    assert [router.bus_of(unit) for unit in (1, 2, 3, 247)] == ["first", "second", "first", "first"]


def test_where_both_buses_have_an_address_it_is_the_first_ones(make):
    router = Router(["first", "second"], [make_meter(0, 5, bus=1), make_meter(1, 5)])
    assert router.bus_of(5) == "second"
    assert Router(["first", "second"], [make_meter(0, 5), make_meter(1, 5, bus=1)]).bus_of(5) == "first"


def test_routes_are_aliases_ranges_and_closed_doors():
    def route(**values):
        return fakes.defaults(schema.ROUTE, **values)

    routes = [
        route(unit=100, bus=1, address=7), route(unit=200, count=3, address=10), route(unit=1, count=9, closed=True),
        route(unit=4, bus=1), route(unit=247, count=1, address=1),
    ]  # fmt: skip
    router = Router(["first", "second"], [make_meter(0, 2)], routes)

    def to(unit):
        return router.bus_of(unit), router.address_of(unit)

    assert to(100) == ("second", 7)
    assert [to(unit) for unit in (200, 201, 202, 203)] == [("first", 10), ("first", 11), ("first", 12), ("first", 203)]
    assert [router.bus_of(unit) for unit in (1, 2, 3, 5, 9)] == [None] * 5
    assert to(4) == ("second", 4)
    assert to(10) == ("first", 10)
    assert to(247) == ("first", 1)


def test_a_route_reaches_a_unit_that_the_specification_reserves():
    """PZEM meters answer at 248 whatever their own address is."""
    routes = [
        fakes.defaults(schema.ROUTE, unit=248, bus=1),
        fakes.defaults(schema.ROUTE, unit=250, count=2, address=253),
        fakes.defaults(schema.ROUTE, unit=9, address=254),
    ]
    router = Router(["first", "second"], [], routes)
    to = {unit: (router.bus_of(unit), router.address_of(unit)) for unit in (248, 250, 251, 9)}
    assert to == {248: ("second", 248), 250: ("first", 253), 251: ("first", 254), 9: ("first", 254)}
    assert [router.bus_of(unit) for unit in (0, 249, 252, 254, 255)] == [None] * 5


@pytest.mark.parametrize("unit", [0, 248, 249, 254, 255])
def test_a_reserved_unit_has_no_route(unit):
    assert Router(["first"], []).bus_of(unit) is None


def test_without_a_bus_nothing_has_a_route():
    assert Router([], []).bus_of(5) is None


# -- all buses


def buses_of(bench):
    return Buses([bench.bus], Router([bench.bus], bench.meters), bench.events)


def test_paused_at_once_when_no_transaction_is_under_way(make):
    bench = make(make_meter(0, 1))
    buses = buses_of(bench)
    paused = []

    async def test():
        await asyncio.sleep(1)
        assert buses.pause(lambda: paused.append(bench.clock.ms))
        assert paused == [bench.clock.ms]
        assert buses.paused
        assert bench.bus.is_idle()
        assert not buses.pause(lambda: paused.append("again")), "it is paused already"
        with pytest.raises(OSError, match="paused"):
            buses.start_scan(0, [], [], 1, 247, 150)
        sent = len(bench.sent())
        client = Client(bench)
        assert client.submit() == OK
        await asyncio.sleep(30)
        assert len(bench.sent()) == sent, "neither polls nor requests"
        buses.resume()
        assert not buses.paused
        assert (await client.end())[0] == OK
        await asyncio.sleep(6)
        assert len(bench.sent()) > sent + 1, "and polling goes on"

    bench.run(test)
    assert len(paused) == 1


def test_a_pause_waits_for_the_transaction_under_way_and_its_end_is_told(make):
    bench = make()
    bench.field.latency_ms = 300
    buses = buses_of(bench)
    order = []

    async def test():
        await asyncio.sleep(0.1)
        client, waiting = Client(bench), Client(bench, 2)
        client.on_answer = lambda *end: order.append("answered")
        client.submit()
        waiting.submit()
        await asyncio.sleep(0.05)
        assert buses.pause(lambda: order.append("paused"))
        assert not bench.bus.is_idle()
        await asyncio.sleep(2)
        assert order == ["answered", "paused"]
        assert bench.bus.is_idle()
        assert waiting.ends == []
        buses.resume()
        assert (await waiting.end())[0] == OK

    bench.run(test)


def test_a_pause_that_is_ended_before_it_was_reached_is_never_told(make):
    bench = make()
    bench.field.latency_ms = 300
    buses = buses_of(bench)
    paused = []

    async def test():
        await asyncio.sleep(0.1)
        client = Client(bench)
        client.submit()
        await asyncio.sleep(0.05)
        assert buses.pause(lambda: paused.append(1))
        buses.resume()
        assert (await client.end())[0] == OK
        await asyncio.sleep(2)
        assert paused == []
        assert buses.pause(lambda: paused.append(2))
        assert paused == [2]

    bench.run(test)


def test_what_is_done_while_paused_may_end_the_pause_itself(make):
    bench = make()
    bench.field.latency_ms = 300
    buses = buses_of(bench)

    async def test():
        await asyncio.sleep(0.1)
        client = Client(bench)
        client.submit()
        await asyncio.sleep(0.05)
        assert buses.pause(buses.resume)
        assert (await client.end())[0] == OK
        assert (await Client(bench).ask())[0] == OK
        assert buses.pause(buses.resume)
        assert not buses.paused

    bench.run(test)


def test_a_pause_is_reached_when_the_last_bus_with_a_line_is_idle(make, events):
    bench, other = make(), make()
    other.clock = bench.clock
    bench.open_error = OSError(19)
    other.bus._is_lent = True
    buses = Buses([bench.bus, other.bus], None, events)
    paused = []

    async def test():
        await asyncio.sleep(0.1)
        assert buses.pause(lambda: paused.append(1))
        assert (bench.bus.is_idle(), other.bus.is_idle(), paused) == (True, False, [])
        other.bus._is_lent = False
        other.bus._tell_idle()
        assert paused == [1]

    bench.run(test)


def test_without_buses_the_pause_is_reached_at_once(events):
    paused = []
    buses = Buses([], None, events)
    assert buses.pause(lambda: paused.append(1))
    assert (paused, len(buses), list(buses)) == ([1], 0, [])

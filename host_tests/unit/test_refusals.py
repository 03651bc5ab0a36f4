"""What a meter refuses to be read: the plan of reads learns it, and everything else is read."""

import asyncio

import pytest

from firmware.bus import OK
from firmware.meters import meter as points
from firmware.meters import profile_loader, refusals
from firmware.meters.readings import QUALITIES, Readings
from host_tests.unit import fakes
from host_tests.unit import the_schema as schema
from host_tests.unit.bus_bench import Bench, Client, make_meter
from host_tests.unit.fakes import registers

_DAY_S = 86400


@pytest.fixture
def make(monkeypatch, events, uptime):
    return lambda *meters, **config: Bench(monkeypatch, events, uptime, *meters, **config)


def qualities(bench, meter):
    readings = Readings(lambda: bench.clock.us // 1_000_000)
    return [QUALITIES[readings.read(meter, i)[2]] for i in range(len(meter.profile))]


def plan(meter):
    return [(block.first, block.count) for block in meter.blocks]


def run_s(bench, seconds):
    async def test():
        await asyncio.sleep(seconds)

    bench.run(test)


def make_points(*addresses, kind="float32", gap=0):
    """A meter with a point at each of these addresses, and up to `gap` registers between two of them read over."""
    rows = [[k + 1, f"p{k}", 3, address, kind, 1, "", "instantaneous"] for k, address in enumerate(addresses)]
    document = {"columns": profile_loader.COLUMNS, "points": rows, "gap": gap}
    section = {"slot": 0, "name": "m1", "unit": 1, "profile": "test", "timeout_ms": 100, "retries": 0}
    return points.Meter(fakes.defaults(schema.METER, **section), profile_loader.parse("test", document))


@pytest.mark.parametrize("missing", [{0}, {7}, {17}, {39}, {3, 4}, {0, 39}, {5, 19, 30}, set(range(10, 20))])
def test_all_points_but_those_of_missing_registers_have_values(make, missing):
    meter = make_meter(0, 1, ((3, 0, 40),))
    bench = make(meter)
    bench.field.missing[1] = missing
    run_s(bench, 12)
    assert qualities(bench, meter) == ["no_value" if k in missing else "good" for k in range(40)]
    assert meter.state == points.ONLINE


@pytest.mark.parametrize("most", [1, 2, 7, 12, 25, 39])
def test_a_meter_that_gives_few_registers_at_once_is_read_in_small_pieces(make, most):
    meter = make_meter(0, 1, ((3, 0, 40),))
    bench = make(meter)
    bench.field.most[1] = most
    run_s(bench, 12)
    read = [(block.first, block.count) for block in meter.blocks if block.exception == 0]
    assert qualities(bench, meter).count("good") == sum(count for _, count in read)
    assert all(count <= most for _, count in read)
    if most > 1:
        assert qualities(bench, meter) == ["good"] * 40
        assert meter.refused_text == ""


def test_the_number_of_blocks_is_bounded_and_what_is_given_up_is_named(make):
    meter = make_meter(0, 1, ((3, 0, 96),))
    bench = make(meter)
    bench.field.missing[1] = set(range(1, 96, 2))
    run_s(bench, 12)
    assert len(meter.blocks) <= 1 + 24
    wanted = qualities(bench, meter)
    assert set(wanted[1::2]) == {"no_value"}
    refused = {first + k for _, first, count, _ in refusals.refused_ranges(meter) for k in range(count)}
    assert {k for k, quality in enumerate(wanted) if quality == "no_value"} == refused


def test_registers_between_two_points_belong_to_no_half(make):
    """What is read over because it is cheap may be what is missing."""
    meter = make_points(0, 6, gap=8)
    bench = make(meter)
    bench.field.missing[1] = {3}
    run_s(bench, 12)
    assert plan(meter) == [(0, 2), (6, 2)]
    assert qualities(bench, meter) == ["good", "good"]
    assert meter.refused_text == ""


def test_a_point_of_two_registers_is_not_cut(make):
    meter = make_points(0, 2, 4)
    bench = make(meter)
    bench.field.missing[1] = {3}
    run_s(bench, 12)
    assert qualities(bench, meter) == ["good", "no_value", "good"]
    assert plan(meter) == [(0, 2), (2, 2), (4, 2)]
    assert refusals.refused_ranges(meter) == [(3, 2, 2, 2)]


def test_points_that_overlap_are_read_together(make):
    meter = make_points(0, 1, 3)
    bench = make(meter)
    bench.field.missing[1] = {4}
    run_s(bench, 12)
    assert plan(meter) == [(0, 3), (3, 2)]
    assert qualities(bench, meter) == ["good", "good", "no_value"]


def test_what_is_read_in_parts_has_the_values_of_the_whole(make):
    meter = make_meter(0, 1, ((3, 100, 40),))
    bench = make(meter)
    bench.field.missing[1] = {117}
    run_s(bench, 12)
    readings = Readings(lambda: bench.clock.us // 1_000_000)
    values = [readings.read(meter, k)[0] for k in range(40)]
    assert values[:17] + values[18:] == [*range(100, 117), *range(118, 140)]


def test_a_part_answers_clients_and_other_reads_go_through(make):
    meter = make_meter(0, 1, ((3, 0, 40),))
    bench = make(meter)
    bench.field.missing[1] = {17}

    async def test():
        await asyncio.sleep(12)
        part = bench.bus.cached(1, 3, 20, 20)
        out = bytearray(44)
        part.copy_to(out, 2, 30, 10)
        assert out[2:22] == registers(1, 3, *range(30, 40))[3:-2]
        assert bench.bus.cached(1, 3, 17, 1) is bench.bus.cached(1, 3, 16, 3) is None
        assert await Client(bench, 1, b"\x03\x00\x12\x00\x02").ask() == (OK, registers(1, 3, 18, 19))

    bench.run(test)


def test_the_reason_names_the_registers_and_the_log_has_it_once(make, events):
    meter = make_meter(0, 1, ((3, 0, 40), (4, 0, 8)))
    bench = make(meter)
    bench.field.missing[1] = {4, 5}
    run_s(bench, 60)
    text = "refuses registers 4 to 5 of function 3, 4 to 5 of function 4"
    assert bench.bus.fault_text(meter) == text
    assert [one for one in events.texts() if "refuses" in one] == ["meter m1 " + text]


def test_many_ranges_are_counted(make):
    meter = make_meter(0, 1, ((3, 0, 40),))
    bench = make(meter)
    bench.field.missing[1] = {1, 5, 9, 20, 30}
    run_s(bench, 12)
    assert meter.refused_text == (
        "refuses registers 1 to 1 of function 3, 5 to 5 of function 3, 9 to 9 of function 3 and 2 more ranges"
    )
    assert refusals.refused_ranges(meter) == [(3, k, 1, 2) for k in (1, 5, 9, 20, 30)]


def test_a_read_that_is_refused_once_is_not_halved(make):
    """A meter that is just starting may refuse what it will give."""
    meter = make_meter(0, 1, ((3, 0, 40),))
    bench = make(meter)
    bench.field.missing[1] = {17}

    async def test():
        await asyncio.sleep(4)
        assert meter.blocks[0].exception == 2
        bench.field.missing.clear()
        await asyncio.sleep(5)
        assert plan(meter) == [(0, 40)]
        assert qualities(bench, meter) == ["good"] * 40

    bench.run(test)


@pytest.mark.parametrize("code", [1, 4, 6])
def test_other_exceptions_teach_nothing(make, events, code):
    meter = make_meter(0, 1, ((3, 0, 40),))
    bench = make(meter)
    bench.field.refuse[1] = code
    run_s(bench, 60)
    assert plan(meter) == [(0, 40)]
    assert bench.bus.fault_text(meter) == ""
    assert sum(f"function 3: exception {code}" in one for one in events.texts()) == 1


def test_what_is_refused_is_asked_again_once_a_day(make):
    meter = make_meter(0, 1, ((3, 0, 40),), interval_s=3600, max_age_s=3600)
    bench = make(meter)
    bench.field.missing[1] = {17}

    async def test():
        await asyncio.sleep(2 * 3600)
        asked = len([one for one in bench.sent() if one[2:6] == b"\x00\x11\x00\x01"])
        assert (asked, qualities(bench, meter).count("good")) == (1, 39)
        bench.field.missing.clear()
        for _ in range(_DAY_S):
            bench.bus.tick()
        await asyncio.sleep(3600)
        assert qualities(bench, meter) == ["good"] * 40
        assert bench.bus.fault_text(meter) == ""

    bench.run(test, 5 * _DAY_S)


def test_a_register_that_is_still_missing_costs_one_request_a_day(make):
    meter = make_meter(0, 1, ((3, 0, 40),), interval_s=3600, max_age_s=3600)
    bench = make(meter)
    bench.field.missing[1] = {17}

    async def test():
        await asyncio.sleep(2 * 3600)
        good = qualities(bench, meter)
        for _ in range(_DAY_S):
            bench.bus.tick()
        await asyncio.sleep(3600)
        assert len([one for one in bench.sent() if one[2:6] == b"\x00\x11\x00\x01"]) == 2
        assert qualities(bench, meter) == good, "nothing else is read anew"
        assert bench.bus.fault_text(meter) == "refuses registers 17 to 17 of function 3"

    bench.run(test, 5 * _DAY_S)


def test_a_meter_that_comes_back_from_quarantine_is_asked_again(make):
    meter = make_meter(0, 1, ((3, 0, 40),))
    bench = make(meter)
    bench.field.missing[1] = {17}

    async def test():
        await asyncio.sleep(12)
        bench.field.silent.add(1)
        await asyncio.sleep(60)
        assert meter.state == points.QUARANTINED
        bench.field.silent.clear()
        bench.field.missing.clear()
        await asyncio.sleep(120)
        assert qualities(bench, meter) == ["good"] * 40

    bench.run(test)


def test_a_meter_that_refuses_everything_costs_one_request_a_round(make):
    meter = make_meter(0, 1, ((3, 0, 40), (4, 0, 40)))
    bench = make(meter)
    bench.field.refuse[1] = 2

    async def test():
        await asyncio.sleep(20)
        assert plan(meter) == [(0, 40), (0, 40)]
        sent = len(bench.sent())
        await asyncio.sleep(50)
        assert len(bench.sent()) - sent == 10
        assert meter.state == points.ONLINE
        assert "refuses registers 0 to 39 of function 3, 0 to 39 of function 4" in bench.bus.fault_text(meter)
        bench.field.refuse.clear()
        await asyncio.sleep(10)
        assert qualities(bench, meter) == ["good"] * 80
        assert plan(meter) == [(0, 40), (0, 40)]

    bench.run(test)


def test_a_write_to_what_is_refused_changes_nothing_of_it(make):
    meter = make_meter(0, 1, ((3, 0, 8),))
    bench = make(meter)
    bench.field.missing[1] = {3}

    async def test():
        await asyncio.sleep(12)
        await Client(bench, 1, b"\x06\x00\x03\x00\x01").ask()
        await asyncio.sleep(12)
        assert bench.bus.fault_text(meter) == "refuses registers 3 to 3 of function 3"
        assert qualities(bench, meter).count("good") == 7

    bench.run(test)


# -- the line


def test_no_meter_is_online_while_the_line_is_gone(make):
    meters = [make_meter(k, k + 1) for k in range(3)]
    bench = make(*meters)
    bench.field.silent.add(3)

    async def test():
        await asyncio.sleep(60)
        assert [meter.state for meter in meters] == [points.ONLINE, points.ONLINE, points.QUARANTINED]
        bench.open_error = OSError(2, "no such device")
        bench.bus.wire.fail(OSError(5, "input/output error"))
        await asyncio.sleep(10)
        assert [meter.state for meter in meters] == [points.FAILING] * 3
        assert [bench.bus.fault_text(meter) for meter in meters] == ["serial line gone"] * 3
        bench.open_error = None
        bench.field.silent.clear()
        await asyncio.sleep(6)
        assert [meter.state for meter in meters] == [points.ONLINE] * 3
        assert [bench.bus.fault_text(meter) for meter in meters] == [""] * 3

    bench.run(test)


def test_a_line_that_cannot_be_opened_at_boot_is_the_reason_of_its_meters(make):
    meter = make_meter(0, 1)
    bench = make(meter)
    bench.open_error = OSError(2, "no such device")
    run_s(bench, 3)
    assert (meter.state, bench.bus.fault_text(meter)) == (points.FAILING, "serial line gone")

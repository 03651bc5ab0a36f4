"""The history of points: what is kept, how exactly, for how long, and in how much memory."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.history import recent as history
from firmware.meters import profile_loader as profile_load
from firmware.meters import readings
from firmware.meters.meter import Meter
from firmware.services.http.documents import history as history_document
from host_tests.unit.fakes import Uptime, defaults, store
from host_tests.unit.the_schema import METER

ROWS = [
    [1, "voltage_l1", 4, 0, "float32", 1, "V", "instantaneous"],
    [16, "active_power", 4, 2, "float32", 1, "W", "instantaneous"],
    [40, "energy_total", 4, 4, "float32", 1, "Wh", "accumulating"],
]


@pytest.fixture
def uptime():
    return Uptime(0)


def meters_of(count, rows=ROWS):
    profile = profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows})
    return [Meter(defaults(METER, slot=k, name=f"m{k}", unit=1 + k, profile="test"), profile) for k in range(count)]


def write(meter, uptime, *values):
    block = meter.blocks[0]
    store(block, struct.pack(f">{len(values)}f", *values), uptime.now)


def run(kept, uptime, seconds, before=lambda: None):
    for _ in range(seconds):
        uptime.now += 1
        before()
        kept.tick(uptime.now)


@given(st.floats(-4.0e7, 4.0e7))
def test_a_value_comes_back_within_its_precision(value):
    back = history_document.unpack(history.pack(value))
    assert back == pytest.approx(value, rel=0.0013, abs=0.0005)


@pytest.mark.parametrize("value", [0, 230.1, -230.1, 40.02, 4095, 4.095, -0.001, 40_950_000])
def test_what_has_up_to_four_digits_below_4096_comes_back_as_it_was(value):
    assert history_document.unpack(history.pack(value)) == pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("value", [1e9, -1e9, math.inf, 41_000_000])
def test_what_is_too_large_is_none(value):
    if math.isinf(value):
        value = 1e30
    assert history_document.unpack(history.pack(value)) is None


def test_power_of_all_meters_comes_before_voltage_of_any_and_there_are_32_at_most(uptime):
    kept = history.Recent(4096, meters_of(3), readings.Readings(uptime))
    assert history_document.points(kept) == [16, 256 + 16, 512 + 16, 1, 257, 513]
    assert len(history_document.points(history.Recent(4096, meters_of(40), readings.Readings(uptime)))) == 32


@pytest.mark.parametrize("count", [0, 1, 3, 32, 64])
@pytest.mark.parametrize("size", [64, 2048, 4096])
def test_the_memory_is_what_was_asked_for_at_most_and_lasts_a_day(uptime, count, size):
    kept = history.Recent(size, meters_of(count), readings.Readings(uptime))
    assert len(kept.ring) <= size
    assert kept.step_s % 60 == 0
    assert kept.steps * kept.step_s >= 86400 or not kept.steps


def test_a_step_is_the_mean_of_its_good_values(uptime):
    (meter,) = meters_of(1)
    kept = history.Recent(2048, [meter], readings.Readings(uptime))
    assert kept.step_s == 180
    run(kept, uptime, 180, lambda: write(meter, uptime, 230.0 + (uptime.now > 90), 1000.0, 5.0))
    run(kept, uptime, 180)
    assert list(history_document.values(kept, 16))[-2:] == [1000, 1000]
    assert list(history_document.values(kept, 1))[-2] == pytest.approx(230.5, abs=0.05)
    run(kept, uptime, 180)
    assert list(history_document.values(kept, 16))[-1] is None, "too old to count"
    assert len(list(history_document.values(kept, 16))) == kept.steps
    assert uptime.now - kept.closed_s == 0


def test_the_oldest_go_when_the_memory_is_full(uptime):
    (meter,) = meters_of(1, ROWS[1:2])
    kept = history.Recent(20, [meter], readings.Readings(uptime))
    for k in range(25):
        run(kept, uptime, kept.step_s, lambda k=k: write(meter, uptime, float(k)))
    assert list(history_document.values(kept, 16)) == list(range(15, 25))


def test_no_room_for_a_step_keeps_nothing_and_does_no_harm(uptime):
    kept = history.Recent(64, meters_of(64), readings.Readings(uptime))
    run(kept, uptime, 200)
    lengths = [len(list(history_document.values(kept, point))) for point in history_document.points(kept)]
    assert lengths == [kept.steps] * 32

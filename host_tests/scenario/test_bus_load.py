"""A bus that has more to do than it can: how much of its time is transactions, and what a dead meter costs."""

import pytest

from host_tests.scenario.crowd import SIXTEEN
from tools.simulator.world import run

DEAD = 5
SETTLE_S = 20
MEASURE_S = 300
EFFICIENCY = 1.10  # time over the least that physics allows
KEPT = 0.95


def ten(profile, interval_s):
    return tuple(
        {"slot": k, "name": f"meter {k}", "unit": 1 + k, "profile": profile, "interval_s": interval_s, "max_age_s": 60}
        for k in range(10)
    )


def least_us(wire, meter, pdu):
    """What a transaction takes at least: the request, t3.5, the meter's own delay, the answer, and t3.5 after it."""
    bytes_ = len(pdu) + 3 + len(meter.answer(pdu)) + 3
    return bytes_ * wire.character_us + 2 * wire.gap_us + 1000 * meter.delay_ms


@pytest.mark.parametrize("baud", [1200, 9600, 19200, 115200])
@pytest.mark.parametrize("profile", SIXTEEN, ids=lambda profile: profile.name)
def test_transactions_take_little_more_than_their_bits_and_the_meters_own_delay(profile, baud):
    """At 115200 baud ten meters, polled every second, leave the bus time; below it is never idle, and then all of
    the time counts. The meters are of a kind that needs no more silence than t3.5."""

    async def scenario(world):
        counters = world.app.buses[0].counters
        await world.until(world.polled, 240)
        for meter in world.meters:
            meter.seen = []  # all, where it keeps the last ones only
        begin_s, busy_ms = world.now_s, counters.busy_ms
        await world.sleep(MEASURE_S)
        each_s = [least_us(world.wire, meter, pdu) / 1e6 for meter in world.meters for pdu in meter.seen]
        least_s = sum(each_s)
        under_way = max(each_s) / least_s  # the last one is counted from its request on
        return (world.now_s - begin_s) / least_s, (counters.busy_ms - busy_ms) / 1000 / least_s, under_way

    elapsed, busy, under_way = run(scenario, profile=profile, meters=ten("carlo-gavazzi-em340", 1), baud=baud).result
    print(f"{profile.name} at {baud}: {elapsed:.3f}, transactions alone {busy:.3f}")
    # The silence after the last bit may be before the next transaction, so it may be missing from all of them.
    assert 0.99 - under_way <= busy <= EFFICIENCY
    if baud < 115200:
        assert 1 - under_way <= elapsed <= EFFICIENCY


def rates(interval_s, units=range(1, 11), dead=False):
    """{unit: requests answered in MEASURE_S}, from the moment on that one of them falls silent."""

    async def scenario(world):
        await world.until(world.polled, 120)
        await world.sleep(SETTLE_S)
        before = {meter.unit: meter.answered for meter in world.meters}
        if dead:
            world.meter(DEAD).silent = True
        await world.sleep(MEASURE_S)
        return {meter.unit: meter.answered - before[meter.unit] for meter in world.meters}

    meters = [meter for meter in ten("eastron-sdm120", interval_s) if meter["unit"] in units]
    return run(scenario, meters=meters, baud=9600).result


@pytest.mark.parametrize("interval_s", [1, 5], ids=["a full bus", "an easy bus"])
def test_one_dead_meter_of_ten_leaves_the_others_their_rate(interval_s):
    """Counted from the moment it dies, the time-outs until it is given up and all probes included."""
    others = [unit for unit in range(1, 11) if unit != DEAD]
    without = rates(interval_s, units=others)
    with_it = rates(interval_s, dead=True)
    assert with_it[DEAD] == 0
    for unit in others:
        assert with_it[unit] >= KEPT * without[unit], f"unit {unit}: {with_it[unit]} of {without[unit]}"


def test_a_full_bus_gives_every_meter_the_same():
    counts = rates(1)
    assert max(counts.values()) - min(counts.values()) <= 3, counts

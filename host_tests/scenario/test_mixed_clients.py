"""Elkor's note on ETport sockets, "Modbus TCP Client Behavior": some keep a connection open, some open one for each
poll, some connect again at once. All of them together, beside a technician, on a bus with faults."""

import pytest

from host_tests.scenario.crowd import assert_all_live, crowd, evictions
from tools.simulator import http, modbus, profiles, seeds
from tools.simulator.line import Faults
from tools.simulator.world import run

_HOURS = {1: 24}  # of a fixed seed; `make soak` takes days
_FRESH_HOURS = 2


@pytest.mark.parametrize("seed", seeds.chosen((1,), 1))
def test_permanent_and_reconnecting_clients_are_all_served(seed):
    async def scenario(world):
        stay = await crowd(world, 4)
        reads = modbus.CACHED + modbus.PASSED + modbus.OWN
        each = await crowd(world, 4, style="each", period_s=7.0, reads=reads)
        back = await crowd(world, 2, style="at once", period_s=3.0, reads=reads)
        for _ in range(_HOURS.get(seed, _FRESH_HOURS)):
            await world.sleep(1800)
            browser = http.Browser(world)
            await browser.visit(minutes=2)
            await world.sleep(1800)
            assert_all_live(stay + each + back, world, 60)
        for poller in stay + back + each:
            assert poller.lost <= 0.002 * poller.polls, (poller.style, poller.first_error)
        assert evictions(world)["busy"] == 0
        return sum(poller.answers for poller in stay + each + back)

    faults = Faults(silent=0.002, crc_error=0.002, noise=0.01)
    world = run(scenario, seed=seed, profile=profiles.ESP32_16, faults=faults)
    assert world.result > 10000


@pytest.mark.parametrize("seed", seeds.chosen((1,), 1))
def test_a_network_that_loses_delays_and_stalls_mixes_no_answers(seed):
    async def scenario(world):
        world.network.loss = 0.03
        world.network.latency_us = (5_000, 120_000)
        pollers = await crowd(world, 8, period_s=4.0, reads=modbus.CACHED + modbus.PASSED)
        pollers += await crowd(world, 6, style="each", period_s=6.0, reads=modbus.CACHED + modbus.PASSED)
        for _ in range(20):
            await world.sleep(60)
            host = world.rng.choice(pollers).client.host
            world.network.stalled[host.ip] = world.timeline.now_us + int(20e6 * world.rng.random())
        world.network.loss = 0
        await world.sleep(60)
        assert_all_live(pollers, world, 30)

    run(scenario, seed=seed, profile=profiles.ESP32_16, faults=Faults(silent=0.01, crc_error=0.02, late=0.02))

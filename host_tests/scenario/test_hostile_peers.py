"""Peers that nobody wishes for, beside eight pollers that keep being served."""

import pytest

from host_tests.scenario.crowd import SIXTEEN, assert_all_live, assert_nothing_lost, boards, crowd
from tools.simulator import hostile, http, profiles, seeds
from tools.simulator.board import SimReset
from tools.simulator.world import HTTP, MODBUS, run

PORTS = pytest.mark.parametrize("port", [HTTP, MODBUS], ids=("http", "modbus"))


def assert_undisturbed(world, pollers):
    """Every poll was answered, on the connection that was made first."""
    assert_nothing_lost(pollers)
    assert_all_live(pollers, world, pollers[0].period_s + 1)


@boards()
@PORTS
def test_slowloris_takes_nothing_from_the_pollers(profile, port, seed):
    async def scenario(world):
        pollers = await crowd(world, 8, period_s=2.0)
        await world.sleep(10)
        await hostile.slowloris(world, port, count=6)
        await world.sleep(300)
        assert_undisturbed(world, pollers)

    run(scenario, seed=seed, profile=profile)


@boards()
@PORTS
def test_connections_that_say_nothing_take_nothing_from_the_pollers(profile, port, seed):
    async def scenario(world):
        pollers = await crowd(world, 8, period_s=2.0)
        await world.sleep(10)
        await hostile.idle(world, port, count=8)
        await world.sleep(300)
        assert_undisturbed(world, pollers)

    run(scenario, seed=seed, profile=profile)


@boards()
@pytest.mark.parametrize("manner", ["close", "reset", "stay", "half", "syn"])
def test_a_flood_of_a_hundred_connections_a_second_does_not_stop_the_pollers(profile, manner, seed):
    async def scenario(world):
        pollers = await crowd(world, 8, period_s=1.0)
        await world.sleep(5)
        await hostile.flood(world, 100, 20, manner=manner)
        assert_undisturbed(world, pollers)
        assert min(poller.answers for poller in pollers) >= 24
        await world.sleep(40)
        assert_undisturbed(world, pollers)

    run(scenario, seed=seed, profile=profile)


@boards()
@PORTS
def test_half_open_peers_give_their_slots_back(profile, port, seed):
    async def scenario(world):
        pollers = await crowd(world, 7, period_s=2.0)
        await world.sleep(10)
        await hostile.half_open(world, port, 40, every_s=20)
        assert_undisturbed(world, pollers)
        # Twenty seconds after the last one an HTTP slot is free again; a Modbus slot waits for whoever needs it.
        if port == HTTP:
            await world.sleep(20)
            assert not [slot for slot in world.budget.connections if slot.kind == "http"]

    run(scenario, seed=seed, profile=profile)


@boards((*SIXTEEN, profiles.ESP32))
def test_a_browser_that_never_reads_is_closed_and_costs_no_poll(profile, seed):
    async def scenario(world):
        pollers = await crowd(world, world.budget.general - 2, period_s=1.0)
        await world.sleep(5)
        greedy = await hostile.never_reads(world)
        await world.sleep(30)
        assert not greedy.is_open
        browser = http.Browser(world)
        await browser.load()
        await browser.refresh()
        assert browser.broken == 0, browser.first_error
        assert_undisturbed(world, pollers)

    run(scenario, seed=seed, profile=profile)


@pytest.mark.parametrize("seed", seeds.chosen((1,)))
def test_a_browser_that_never_reads_resets_a_stock_pico_with_the_next_page(seed):
    """What the emulated chip does, and no firmware can mend: the output of all sockets comes from one pool of 8000
    bytes, of which one socket may hold 6400, and when the pool is used up lwIP's write waits in C for ten seconds, also
    on a socket that does not block. The watchdog bites after eight. A build of ours has room for four such browsers."""

    async def scenario(world):
        await crowd(world, world.budget.general - 2, period_s=1.0)
        await world.sleep(5)
        await hostile.never_reads(world)
        await world.sleep(1)
        await http.Browser(world).load()

    with pytest.raises(SimReset, match="watchdog"):
        run(scenario, seed=seed, profile=profiles.PICOW)

"""Browsers beside pollers: the page is always to be had, and no poller pays for it (Elkor's note on ETport
sockets, "Web Browser Usage": one browser may take more than one socket)."""

import pytest

from host_tests.scenario.crowd import assert_all_live, assert_nothing_lost, boards, crowd, evictions
from tools.simulator import http, modbus, seeds
from tools.simulator.world import run


@boards()
def test_a_browser_with_six_parallel_connections_evicts_none_of_nine_pollers(profile, seed):
    async def scenario(world):
        pollers = await crowd(world, 9, period_s=2.0)
        await world.sleep(20)
        browser = http.Browser(world)
        await browser.load()
        for _ in range(60):
            await browser.storm()
            await world.sleep(4 * world.rng.random())
        assert_nothing_lost(pollers)
        assert browser.pages == 1
        assert browser.broken == 0, browser.first_error
        assert browser.documents == 1 + 1 + 60 * len(browser.connections)
        assert evictions(world)["busy"] == 0  # no response is cut
        assert all(poller.client.is_open for poller in pollers)

    run(scenario, seed=seed, profile=profile)


@boards()
def test_a_browser_evicts_the_least_recently_used_of_ten_pollers_once(profile, seed):
    async def scenario(world):
        await world.until(world.polled)
        checker = modbus.Checker(world)
        clients = [modbus.Client(world.host(), checker) for _ in range(10)]
        order = list(clients)
        world.rng.shuffle(order)
        for client in clients:
            await client.connect()
        for client in order:
            await client.ask(*modbus.CACHED[0])
        browser = http.Browser(world)
        await browser.load()
        for _ in range(20):
            await browser.storm()
            await world.sleep(1)
            assert [client.is_open for client in order] == [False] + [True] * 9
            for client in order[1:]:
                await client.ask(*modbus.CACHED[1])
        assert browser.open == 1
        assert browser.broken == 0, browser.first_error

    run(scenario, seed=seed, profile=profile)


@pytest.mark.parametrize("seed", seeds.chosen((1,)))
def test_two_browsers_cost_five_pollers_no_poll_in_a_day(seed):
    async def scenario(world):
        pollers = await crowd(world, 5)
        browsers = []

        async def technician():
            for _ in range(4):
                await world.sleep(3600 + 14000 * world.rng.random())
                browser = http.Browser(world)
                browsers.append(browser)
                await browser.visit(minutes=5)

        visits = [world.start(technician()) for _ in range(2)]
        await world.sleep(86400)
        assert all(visit.done() for visit in visits)
        assert_nothing_lost(pollers)
        assert sum(poller.answers for poller in pollers) >= 5 * 8639
        assert world.budget.evicted() == sum(evictions(world)[reason] for reason in ("quota", "timeout"))
        for browser in browsers:
            assert browser.pages == 1
            assert browser.broken == 0, browser.first_error
        assert world.app.service("ntp").failures == 0
        assert_all_live(pollers, world, 11)

    run(scenario, seed=seed, step_s=60.0)

"""Elkor's note on ETport sockets, "Recommended Practical Limits": eight Modbus connections are comfortable, ten
workable, and beyond that the least recently used is closed and everybody who connects again makes progress."""

import asyncio

from host_tests.scenario.crowd import assert_all_live, assert_nothing_lost, boards, crowd, evictions
from tools.simulator import modbus, profiles
from tools.simulator.world import run


@boards()
def test_eight_modbus_clients_are_comfortable_no_eviction_and_no_error(profile, seed):
    async def scenario(world):
        pollers = await crowd(world, 8, period_s=1.0, reads=modbus.CACHED + modbus.OWN)
        await world.sleep(600)
        assert evictions(world) == dict.fromkeys(evictions(world), 0)
        assert world.budget.high_water == 6 + 8
        assert_nothing_lost(pollers)
        assert sum(poller.answers for poller in pollers) > 4700

    run(scenario, seed=seed, profile=profile)


@boards()
def test_ten_clients_at_once_are_all_served_and_none_is_closed(profile, seed):
    async def connect(client):
        for resets in range(10):
            try:
                await client.connect()
                await client.ask(*modbus.CACHED[0])
            except modbus.Lost:
                await asyncio.sleep(0.1)
            else:
                return resets
        raise AssertionError("reset ten times")

    async def scenario(world):
        await world.until(world.polled)
        checker = modbus.Checker(world)
        clients = [modbus.Client(world.host(split=0.2), checker) for _ in range(10)]
        tasks = [world.start(connect(client)) for client in clients]
        resets = sum([await task for task in tasks])
        # A Pico W resets whom its accept queue has no room for; the others let SYNs wait (modlwip.c, _lwip_tcp_accept).
        assert resets == 0 or profile.backlog_full == profiles.RESET
        for _ in range(50):
            tasks = [
                world.start(client.ask(*modbus.CACHED[k % len(modbus.CACHED)])) for k, client in enumerate(clients)
            ]
            for task in tasks:
                await task
        assert all(client.is_open for client in clients)
        assert evictions(world) == dict.fromkeys(evictions(world), 0)
        assert world.budget.high_water == 16
        assert world.sockets.most in (14, 15)  # ten, two listeners, BACnet, finder, and NTP while it asks

    run(scenario, seed=seed, profile=profile)


@boards()
def test_the_eleventh_to_the_twentieth_client_each_close_the_least_recently_used(profile, seed):
    async def scenario(world):
        await world.until(world.polled)
        checker = modbus.Checker(world)
        clients = [modbus.Client(world.host(), checker) for _ in range(20)]
        order = []
        for client in clients[:10]:
            await client.connect()
            await client.ask(*modbus.CACHED[0])
            order.append(client)
        for client in clients[10:]:
            asking = world.rng.sample(order, 4)  # some are used again, in another order than they came
            for other in asking:
                await other.ask(*modbus.CACHED[1])
                order.remove(other)
                order.append(other)
            await client.connect()
            await client.ask(*modbus.CACHED[0])
            victim = order.pop(0)
            order.append(client)
            await world.sleep(0.1)
            assert [other.is_open for other in clients if other in order] == [True] * 10
            assert not victim.is_open
        assert evictions(world) == {"unserved": 0, "idle": 10, "busy": 0, "quota": 0, "timeout": 0}

    run(scenario, seed=seed, profile=profile)


@boards()
def test_twenty_clients_that_all_begin_at_once_are_each_served_without_a_second_try(profile, seed):
    async def first(world, client):
        for resets in range(20):
            try:
                await client.connect()
                await client.ask(*modbus.CACHED[0])
            except modbus.Lost:
                await world.sleep(0.1 * world.rng.random())
            else:
                return resets
        raise AssertionError("reset twenty times")

    async def scenario(world):
        await world.until(world.polled)
        checker = modbus.Checker(world)
        clients = [modbus.Client(world.host(split=0.2), checker) for _ in range(20)]
        tasks = [world.start(first(world, client)) for client in clients]
        resets = sum([await task for task in tasks])
        assert resets == 0 or profile.backlog_full == profiles.RESET
        assert evictions(world) == {"unserved": 0, "idle": 10, "busy": 0, "quota": 0, "timeout": 0}

    run(scenario, seed=seed, profile=profile)


@boards()
def test_twenty_clients_that_connect_again_all_make_progress(profile, seed):
    async def scenario(world):
        pollers = await crowd(world, 20, period_s=5.0, reads=modbus.CACHED + modbus.PASSED[:2])
        await world.sleep(900)
        assert_all_live(pollers, world, 60)
        for poller in pollers:
            # Good software meets a closed connection before it asks, and connects: it loses a poll now and then, when
            # its connection is closed while its request is under way.
            assert poller.answers >= 0.98 * poller.polls - 1, (poller.answers, poller.polls, poller.first_error)
        assert evictions(world)["idle"] > 100

    run(scenario, seed=seed, profile=profile)

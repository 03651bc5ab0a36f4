"""The crowds of Elkor's note on the ETport's sockets ("Recommended Practical Limits", "Example Scenario") against the
firmware on real MicroPython: who is served, who is closed, and what the ledger says of it. The same scenarios as in
host_tests/scenario, with real sockets, counted in /proc during the whole test."""

import asyncio
import contextlib
import os
import random
import resource
import socket

import pytest

from host_tests.system.crowd import (
    CACHED,
    OWN,
    PASSED,
    Browser,
    Poller,
    assert_nothing_lost,
    play,
    run_for,
    run_until,
)
from host_tests.system.rig import ALL_SIX, HOST, wait_for, within_budget, words

LIMIT = 16
REASONS = ("unserved", "idle", "busy", "quota", "timeout")
READ = (3, 4, 0, 10)  # of the PZEM: polled, so it is answered from memory
COUNTERS = (255, 3, 100, 34)  # docs/reference/modbus.md: sockets and requests
NONE = dict.fromkeys(REASONS, 0)


@pytest.fixture
def rig(make_rig):
    """All six services are enabled: 10 slots are general. Nobody is connected."""
    rig = make_rig(**ALL_SIX)
    rig.wait_polled()
    wait_for(lambda: rig.general_in_use() == 1, what="an empty ledger")
    return rig


@pytest.fixture(autouse=True)
def sampler(rig):
    """Counts the sockets of the process during the whole test."""
    with within_budget(rig, LIMIT) as sampler:
        yield sampler


class Counters:
    """The first 34 holding registers of unit 255 from 100 on, as numbers by the names of docs/reference/modbus.md."""

    def __init__(self, data):
        numbers = [int.from_bytes(data[k : k + 2], "big") for k in range(0, len(data), 2)]
        self.limit, self.services, self.general, self.connections, self.high_water, _ = numbers[:6]
        longs = [numbers[k] << 16 | numbers[k + 1] for k in range(6, 34, 2)]
        self.accepted, self.postponed, self.failed_accepts = longs[:3]
        self.evictions = dict(zip(REASONS, longs[3:8], strict=True))
        self.requests, self.cached, self.passed, self.exceptions, self.discarded, self.malformed = longs[8:]


async def counters(link):
    return Counters(await link.read(COUNTERS))


def ledger_changes(rig, before):
    """({reason: evictions}, accepted) since `before`, a document of /api/sockets; the connections that asked for the
    two documents are not counted."""
    after = rig.sockets()
    return {reason: after["evictions"][reason] - before["evictions"][reason] for reason in REASONS}, (
        after["accepted"] - before["accepted"] - 1
    )


def test_five_polling_devices_and_two_technicians_with_browsers_lose_not_one_poll(rig):
    before = rig.sockets()

    async def scenario(crowd):
        reads = CACHED + PASSED + OWN
        # Some stay connected, some connect for each poll.
        pollers = [Poller(crowd, reads[k:] + reads[:k], phase=k / 5, each=k >= 3) for k in range(5)]
        browsers = [Browser(crowd) for _ in range(2)]

        def enough():
            return all(one.polls >= 40 for one in pollers) and all(one.documents >= 4 * 6 for one in browsers)

        await run_for(10, *pollers, *browsers, enough=enough)
        assert_nothing_lost(pollers)
        assert enough()
        assert sum(browser.open for browser in browsers) == 4  # http.max_connections
        crowd.close()
        return crowd

    crowd = play(scenario, rig)
    evictions, accepted = ledger_changes(rig, before)
    assert accepted == crowd.made
    assert evictions == {**NONE, "quota": crowd.closed}
    assert crowd.closed > 0
    assert rig.sockets()["high_water"] <= 6 + 5 + 4
    assert rig.event_count("modbus connection closed") == 0


def test_eight_modbus_clients_are_comfortable(rig, sampler):
    async def scenario(crowd):
        reads = CACHED + PASSED + OWN
        pollers = [Poller(crowd, reads[k:] + reads[:k], period_s=0.1, phase=k / 8) for k in range(8)]
        await run_for(4, *pollers, enough=lambda: all(poller.polls >= 30 for poller in pollers))
        assert_nothing_lost(pollers)
        assert all(poller.polls >= 30 for poller in pollers)
        now = await counters(pollers[0].link)
        assert (now.connections, now.high_water, now.evictions) == (8, 6 + 8, NONE)
        assert (now.postponed, now.exceptions, now.malformed) == (0, 0, 0)
        assert now.passed > 0
        assert now.cached > 0

    play(scenario, rig)
    status = rig.status()
    assert [(bus["timeouts"], bus["retries"]) for bus in status["buses"]] == [(0, 0)]
    assert sampler.most >= 8 + 2


def test_ten_clients_at_once_are_all_served_and_none_is_closed(rig, sampler):
    async def scenario(crowd):
        pollers = [Poller(crowd, CACHED[k % 5 :] + PASSED[k % 3 :] + CACHED[: k % 5]) for k in range(10)]
        for _ in range(50):  # all connect, and then ask, at the same time
            await asyncio.gather(*[poller.poll() for poller in pollers])
        assert_nothing_lost(pollers)
        assert all(poller.link.is_open for poller in pollers)
        now = await counters(pollers[9].link)
        assert (now.limit, now.services, now.general) == (16, 6, 10)
        assert (now.connections, now.high_water, now.evictions) == (10, 16, NONE)
        assert (now.postponed, now.exceptions) == (0, 0)

    play(scenario, rig)
    assert sampler.most >= 10 + 2


@pytest.mark.parametrize("seed", [1, 2])
def test_the_eleventh_to_the_twentieth_client_each_close_the_least_recently_used(rig, seed):
    rng = random.Random(seed)
    before = rig.sockets()
    value = words(rig.meter(3).registers(4, 0, 10))

    def use(client):
        assert client.read(*READ) == value
        if client in order:
            order.remove(client)
        order.append(client)

    with contextlib.ExitStack() as stack:
        order = []  # who is connected, least recently used first
        newcomers = 0
        for _ in range(2):  # all twenty come, and then those who were closed come again: nobody knows the difference
            for _ in range(20):
                newcomers += 1
                use(stack.enter_context(rig.client()))
                assert rig.gateway.socket_count() <= LIMIT
                if len(order) > 10:
                    assert not order[0].is_open(), f"newcomer {newcomers} did not close the least recently used"
                    order.pop(0)
                assert all(client.is_open() for client in order)
                for client in rng.sample(order, len(order) // 3):
                    use(client)
        rows = [order[-1].read(255, 3, 200 + first, 96) for first in (0, 96)]
        rows.append(order[-1].read(255, 3, 200 + 192, 64))
        ledger = b"".join(rows)
        connections = [ledger[at : at + 32] for at in range(0, 512, 32) if ledger[at : at + 2] == b"\x01\x02"]
        peers = {f"{'.'.join(map(str, row[4:8]))}:{int.from_bytes(row[8:10], 'big')}" for row in connections}
        assert peers == {client.peer for client in order}
        assert len(connections) == 10
        now = Counters(order[-1].read(*COUNTERS))
        assert now.evictions == {**NONE, "idle": newcomers - 10}
        assert now.high_water == 16
        assert now.accepted == before["accepted"] + newcomers


@pytest.mark.parametrize("together", [False, True], ids=["one after the other", "at the same moment"])
def test_twenty_clients_that_connect_again_all_make_progress(rig, together):
    async def scenario(crowd):
        reads = CACHED + PASSED[:1]
        pollers = [
            Poller(crowd, reads[k % 6 :] + reads[: k % 6], 0.3 + 0.01 * k, phase=k / 1000 if together else k / 20)
            for k in range(20)
        ]
        for wanted in (5, 10, 15):
            async with asyncio.timeout(60):
                await run_until(lambda n=wanted: min(len(p.answered) for p in pollers) >= n, *pollers)
            # Nobody is served at the cost of another.
            counts = [len(poller.answered) for poller in pollers]
            assert max(counts) <= 4 * min(counts), counts
        survivor = next(poller for poller in pollers if poller.link is not None and poller.link.is_open)
        now = await counters(survivor.link)
        crowd.close()
        assert sum(now.evictions.values()) == crowd.closed > 20
        assert (now.evictions["quota"], now.evictions["timeout"]) == (0, 0)
        assert now.high_water == 16
        assert now.exceptions == 0

    play(scenario, rig)


def test_a_browser_with_six_parallel_connections_evicts_none_of_nine_pollers(rig):
    before = rig.sockets()

    async def scenario(crowd):
        pollers = [Poller(crowd, CACHED + PASSED[:1], phase=k / 9) for k in range(9)]
        await asyncio.gather(*[poller.poll() for poller in pollers])
        browser = Browser(crowd)
        await run_for(5, *pollers, browser, enough=lambda: browser.documents >= 2 * 6)
        assert_nothing_lost(pollers)
        assert all(poller.link.is_open for poller in pollers)
        assert browser.documents >= 2 * 6
        assert browser.open == 1  # the tenth slot
        now = await counters(pollers[0].link)
        assert (now.connections, now.high_water) == (10, 16)
        crowd.close()
        return crowd

    crowd = play(scenario, rig)
    evictions, accepted = ledger_changes(rig, before)
    assert accepted == crowd.made
    assert sum(evictions.values()) == crowd.closed > 0
    assert (evictions["quota"], evictions["timeout"]) == (0, 0)
    assert rig.event_count("modbus connection closed") == 0


def test_a_browser_evicts_the_least_recently_used_of_ten_pollers_once(rig):
    before = rig.sockets()

    async def scenario(crowd):
        pollers = [Poller(crowd, CACHED + PASSED[:1], phase=k / 9) for k in range(10)]
        idle = pollers.pop(6)  # neither the first to come nor the last
        await asyncio.gather(idle.poll(), *[poller.poll() for poller in pollers])
        # Each asks once more, but the idle one.
        await run_for(0.5, *pollers, enough=lambda: all(len(poller.answered) > 1 for poller in pollers))
        assert idle.link.is_open
        closed = idle.link
        browser = Browser(crowd)
        await run_for(5, *pollers, browser, enough=lambda: browser.documents >= 2 * 6)
        assert_nothing_lost(pollers)
        assert all(poller.link.is_open for poller in pollers)
        assert not closed.is_open
        assert browser.documents >= 2 * 6
        assert browser.open == 1
        # The browser goes, and who was closed connects again.
        browser.close()
        while (await counters(pollers[0].link)).connections > 9:
            await asyncio.sleep(0.01)
        await idle.poll()
        assert (idle.lost, idle.connects) == (0, 2)
        assert all(poller.link.is_open for poller in pollers)
        now = await counters(pollers[0].link)
        assert (now.connections, now.high_water) == (10, 16)
        crowd.close()
        return crowd

    crowd = play(scenario, rig)
    evictions, accepted = ledger_changes(rig, before)
    assert accepted == crowd.made
    assert sum(evictions.values()) == crowd.closed > 1
    assert (evictions["quota"], evictions["timeout"]) == (0, 0)
    assert rig.event_count("modbus connection closed: idle") == rig.event_count("modbus connection closed") == 1


class TestAllSixteen:
    """Only what is built is enabled: HTTP, Modbus and NTP, so that thirteen connections make sixteen real sockets."""

    @pytest.fixture
    def rig(self, make_rig):
        off = ("bacnet", "finder", "posting")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:  # a time server that never answers
            silent.bind((HOST, 0))
            ntp = {"server": HOST, "port": silent.getsockname()[1]}
            yield make_rig(config={name: {"enabled": False} for name in off} | {"ntp": ntp}, meters=())

    def test_twenty_clients_while_ntp_waits_never_make_it_seventeen_sockets(self, rig):
        with contextlib.ExitStack() as stack:
            clients = []

            def come():
                clients.append(stack.enter_context(rig.client()))
                assert clients[-1].read(255, 3, 0, 1) == b"MP"
                assert rig.gateway.socket_count() <= LIMIT

            # From here on the kernel lets the process have its files and sixteen sockets: a seventeenth, be it for a
            # moment that no sample sees, is EMFILE.
            pid = rig.gateway.pid
            files = len(os.listdir(f"/proc/{pid}/fd")) - rig.gateway.socket_count()
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (files + LIMIT, files + LIMIT))
            for _ in range(13):
                come()
            # NTP asks at boot and again 15 s later, and holds its socket for the 2 s that it waits.
            wait_for(lambda: rig.gateway.socket_count() == LIMIT, 30, "NTP's socket in a full house")
            while len(clients) < 20:
                come()
            assert [client.is_open() for client in clients] == [False] * 7 + [True] * 13
            now = Counters(clients[-1].read(*COUNTERS))
            assert (now.services, now.general, now.connections, now.high_water) == (3, 13, 13, 16)
            assert now.evictions == {**NONE, "idle": 7}
            assert now.failed_accepts == 0

"""Pages in plenty, and visitors who never end their request, while eight Modbus clients poll ten times a second each:
no poll is lost, and whoever wants the page gets it. The firmware on real MicroPython, all services on; its sockets are
counted in /proc during the whole test.

With eight Modbus clients two of the ten general slots are left to browsers, so most of these are newcomers that wait in
the backlog, or take the place of another browser.
"""

import asyncio
import contextlib
import time

import pytest

from host_tests.system.crowd import CACHED, OWN, PASSED, Poller, assert_nothing_lost, play, run_until
from host_tests.system.rig import ALL_SIX, Rig, wait_for, within_budget
from tools import page
from tools.bench.slowloris import Slowloris
from tools.bench.visitor import Visitor

POLLERS, PERIOD_S = 8, 0.1
LOAD_S = 1.5
SLOW = 32
SIEGE_S = 6
# A newcomer's turn: ten connections before it, two of which go in a second. One whose first packet found the backlog
# full knocks again after 1 s, 3 s and 7 s, and is served when there is room then.
PAGE_S = 15


@pytest.fixture(scope="module")
def one_rig(tmp_path_factory):
    with Rig(tmp_path_factory.mktemp("web"), **ALL_SIX) as rig:
        rig.wait_polled()
        yield rig


@pytest.fixture
def rig(one_rig):
    """Nobody is connected, and nobody who polled may be closed."""
    wait_for(lambda: one_rig.general_in_use() == 1, what="an empty ledger")
    with within_budget(one_rig):
        yield one_rig
    assert one_rig.event_count("modbus connection closed") == 0
    assert one_rig.status()["task_restarts"] == 0


@contextlib.asynccontextmanager
async def polled(crowd):
    """Eight pollers, connected before the block, poll until its end and lose nothing. Most of their reads are answered
    from memory, some go to the bus."""
    reads = CACHED + PASSED + OWN
    pollers = [Poller(crowd, reads[k:] + reads[:k], PERIOD_S, phase=k / POLLERS) for k in range(POLLERS)]
    await asyncio.gather(*[poller.poll() for poller in pollers])
    over, begun = [], time.monotonic()
    polling = asyncio.create_task(run_until(lambda: over, *pollers))
    try:
        yield
    finally:
        over.append(True)
        await polling
    assert_nothing_lost(pollers)
    # Less often than wanted, if the machine is slow, but all the time.
    assert min(poller.polls for poller in pollers) > (time.monotonic() - begun) / PERIOD_S / 4


@contextlib.asynccontextmanager
async def running(*clients):
    """Their run() as tasks, which end with the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        yield
        for task in tasks:
            task.cancel()


async def served(visitor, pages, limit_s):
    """Waits for that many more pages."""
    wanted = visitor.answered + pages
    async with asyncio.timeout(limit_s):
        while visitor.answered < wanted:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("keep_alive", [True, False], ids=["kept alive", "one page each"])
@pytest.mark.parametrize("connections", [1, 4, 16])
def test_no_poll_is_lost_while_the_page_is_loaded_again_and_again(rig, connections, keep_alive):
    async def scenario(crowd):
        visitors = [Visitor(rig.http_port, page.packed(), 0, keep_alive) for _ in range(connections)]
        async with polled(crowd):
            async with running(*visitors):
                await asyncio.sleep(LOAD_S)
                await served(visitors[0], 1, PAGE_S)
            assert sum(visitor.answered for visitor in visitors) > connections
            late = Visitor(rig.http_port, page.packed())
            async with running(late):
                await served(late, 1, PAGE_S)

    play(scenario, rig)


def test_slow_visitors_cost_no_poll_and_a_waiting_browser_gets_the_page(rig):
    async def scenario(crowd):
        slow = Slowloris(rig.http_port, SLOW, 0.3)
        newcomer = Visitor(rig.http_port, page.packed())
        async with polled(crowd), running(newcomer):
            async with running(slow):
                await asyncio.sleep(SIEGE_S)
                assert slow.most > 10  # more than there is room for
                assert slow.ended >= SIEGE_S // 2  # and still one after the other is let in, and shown out
            await served(newcomer, 2, PAGE_S)

    play(scenario, rig)


def test_a_browser_behind_ten_slow_visitors_gets_the_page_in_its_turn(rig):
    async def scenario(crowd):
        slow = Slowloris(rig.http_port, 10, 0.3)
        newcomer = Visitor(rig.http_port, page.packed())
        async with polled(crowd), running(slow):
            async with asyncio.timeout(PAGE_S):
                while slow.opened < 10:
                    await asyncio.sleep(0.01)
            async with running(newcomer):
                await served(newcomer, 1, PAGE_S)

    play(scenario, rig)


def test_an_open_page_stays_connected_among_slow_visitors(rig):
    async def scenario(crowd):
        slow = Slowloris(rig.http_port, SLOW, 0.3)
        reader = Visitor(rig.http_port, page.packed(), 0.2)
        async with polled(crowd), running(reader):
            await served(reader, 1, PAGE_S)
            async with running(slow):
                await served(reader, SIEGE_S / 2 / 0.2, 2 * SIEGE_S)
            assert reader.repeated == 0

    play(scenario, rig)


def test_pollers_take_and_keep_the_places_of_busy_browsers(make_rig):
    rig = make_rig()
    rig.wait_polled()

    async def scenario(crowd):
        visitors = [Visitor(rig.http_port, page.packed(), 0) for _ in range(4)]  # http.max_connections
        pollers = [Poller(crowd, CACHED, PERIOD_S, phase=k / POLLERS) for k in range(POLLERS)]
        over = []
        async with running(*visitors):
            for visitor in visitors:
                await served(visitor, 1, PAGE_S)
            polling = asyncio.create_task(run_until(lambda: over, *pollers))
            # One may be closed while all browsers have a request in flight; then it comes again.
            await asyncio.sleep(LOAD_S)
            before = [(poller.connects, poller.lost) for poller in pollers]
            pages = sum(visitor.answered for visitor in visitors)
            await asyncio.sleep(LOAD_S)
            over.append(True)
            await polling
        assert [(poller.connects, poller.lost) for poller in pollers] == before
        assert sum(visitor.answered for visitor in visitors) > pages

    with within_budget(rig):
        play(scenario, rig)

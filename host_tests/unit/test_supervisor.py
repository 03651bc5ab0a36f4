"""The supervisor: a task that died is started again whatever became of it, and the watchdog is fed once a second."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from firmware import crash
from firmware.net import seam
from firmware.supervisor import Supervisor


class Board:
    def __init__(self):
        self.timeout_s = None
        self.fed = 0
        self.resets = 0

    def heap(self):
        return 1000, 2000

    def reset(self):
        self.resets += 1
        raise SystemExit

    def watchdog(self, timeout_s):
        self.timeout_s = timeout_s

    def feed(self):
        self.fed += 1


@pytest.fixture
def waits(monkeypatch):
    """What was slept, in ms; nobody really waits."""
    slept = []

    async def at_once(ms):
        slept.append(ms)
        await asyncio.sleep(0)

    monkeypatch.setattr(seam, "sleep_ms", at_once)
    monkeypatch.setattr(seam, "print_exception", lambda error: None)
    return slept


def run_for(turns, start):
    """Runs the loop for so many turns after start(), inside it."""

    async def test():
        start()
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    asyncio.run(test())


def dying(times, error):
    """(coroutine function that dies so many times and then stays, the list of its runs)."""
    runs = []

    async def run():
        runs.append(1)
        if len(runs) <= times:
            raise error
        await asyncio.Event().wait()

    return run, runs


@pytest.mark.parametrize(
    ("error", "said"), [(MemoryError(), "task died: no memory"), (ValueError("x"), "task died: ValueError('x')")]
)
def test_a_task_that_died_is_started_again_later_each_time(events, waits, error, said):
    supervisor = Supervisor(Board(), events)
    run, runs = dying(8, error)
    run_for(40, lambda: supervisor.keep_running("bus 0", run))
    assert (len(runs), supervisor.restarts) == (9, 8)
    assert waits == [1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
    assert all(source == "bus 0" and text == said for _, source, text, _ in events.lines())


class Unprintable(Exception):
    """There is no memory for the text of this error."""

    def __repr__(self):
        raise MemoryError


def test_a_task_is_started_again_when_there_is_no_memory_to_say_why_it_died(events, waits):
    supervisor = Supervisor(Board(), events)
    run, runs = dying(2, Unprintable())
    run_for(20, lambda: supervisor.keep_running("bus 0", run))
    assert len(runs) == 3
    assert "task died" in events.texts()


def test_a_ticker_whose_error_finds_no_memory_for_its_text_stops_nothing(events, waits):
    board = Board()
    supervisor = Supervisor(board, events)

    def fails():
        raise Unprintable

    supervisor.every_second(fails)
    run_for(6, lambda: supervisor.start_ticking(8))
    assert board.fed > 3
    assert set(waits) == {1000}


def test_a_task_that_ends_is_started_again(events, waits):
    supervisor = Supervisor(Board(), events)

    async def ends():
        pass

    run_for(6, lambda: supervisor.keep_running("link", ends))
    assert supervisor.restarts > 1
    assert "task ended" in events.texts()


def test_every_second_the_watchdog_is_fed_and_the_tickers_are_called(events, waits):
    board = Board()
    supervisor = Supervisor(board, events)
    ticks = []
    supervisor.every_second(lambda: ticks.append(1))
    run_for(5, lambda: supervisor.start_ticking(8))
    assert board.timeout_s == 8
    assert board.fed == len(ticks) >= 3
    assert set(waits) == {1000}


def test_a_ticker_that_fails_costs_neither_the_others_nor_the_watchdog_their_turn(events, waits):
    board = Board()
    supervisor = Supervisor(board, events)
    ticks = []

    def fails():
        raise MemoryError

    supervisor.every_second(fails)
    supervisor.every_second(lambda: ticks.append(1))
    run_for(6, lambda: supervisor.start_ticking(8))
    assert board.fed == len(ticks) > 3
    assert set(waits) == {1000}, "it is not started again, later each time"
    assert supervisor.restarts == board.fed
    assert set(events.texts()) == {"failed: MemoryError()"}


def test_a_task_without_a_turn_for_two_minutes_is_recorded_and_restarts_the_device(
    events, waits, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    board = Board()
    supervisor = Supervisor(board, events)
    supervisor.watched = [SimpleNamespace(number=0, silent_s=-5)]
    with pytest.raises(SystemExit):
        run_for(200, lambda: supervisor.start_ticking(8))
    assert (board.fed, board.resets) == (5 + 119, 1)
    record = json.loads(crash.last())
    assert (record["reason"], record["heap_free"], record["heap_used"]) == ("bus 0: no turn for 120 s", 1000, 2000)


class Broken:
    """Watched tasks that cannot be looked at."""

    def __iter__(self):
        raise MemoryError


@pytest.mark.parametrize("watched", [Broken(), [SimpleNamespace(number=0, silent_s=120)]], ids=["unseen", "silent"])
def test_the_watchdog_is_not_fed_before_every_watched_task_was_seen_alive(
    events, waits, tmp_path, monkeypatch, watched
):
    monkeypatch.chdir(tmp_path)
    board = Board()
    board.reset = lambda: None  # does nothing: the watchdog has to
    supervisor = Supervisor(board, events)
    supervisor.watched = watched
    run_for(20, lambda: supervisor.start_ticking(8))
    assert (board.timeout_s, board.fed) == (8, 0)


def test_a_task_that_has_a_turn_now_and_then_restarts_nothing(events, waits):
    board = Board()
    supervisor = Supervisor(board, events)
    bus = SimpleNamespace(number=0, silent_s=0)
    supervisor.watched = [bus]

    def turn():
        if board.fed % 119 == 0:
            bus.silent_s = 0

    supervisor.every_second(turn)
    run_for(400, lambda: supervisor.start_ticking(8))
    assert board.fed > 380
    assert board.resets == 0


def test_a_task_that_has_run_well_for_a_while_is_started_again_at_once(events, waits, clock):
    supervisor = Supervisor(Board(), events)

    async def run():
        clock.advance_ms(61_000)
        raise ValueError

    run_for(12, lambda: supervisor.keep_running("bus 0", run))
    assert set(waits) == {1000}

"""Pages and polls at the same time: what the stage `web` of `make bench` measures.

In:  servers of processes.Bench, held. Out: Rows and Sieges. Eight Modbus clients poll our gateway at a fixed rate while
     wrk loads the page over 1, 4 and 16 connections, or while slow visitors hold every connection that they can get.
     microdot serves pages only, so nobody polls beside it; nor has it a limit of sockets, as a board would.

Raises load.LoadError when a poll was lost, or answered wrong, and questions.WrongAnswer for a wrong page.
"""

import asyncio
import concurrent.futures
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tools.bench import exchanges, load, questions, wrk
from tools.bench.processes import MICRODOT, Bench, Server
from tools.bench.slowloris import CONNECTIONS as SLOW
from tools.bench.slowloris import Slowloris
from tools.bench.visitor import Visitor

BROWSERS = (1, 4, 16)  # connections
POLLERS, POLL_RATE = 8, 50  # clients, requests per second of each
ALONE = "no pages"
_SIEGE_TIMES = 20  # as long as a load in a round: slow visitors are given up after ten seconds
_CONNECT_S = 5
_AHEAD = 0.05  # of a siege, before the slow visitors come
BEFORE, LATER = "before them", "after them"


class Case(NamedTuple):
    """A load of pages (0 connections: none) for a server, with eight clients beside it that poll, or without."""

    server: Server
    connections: int
    keep_alive: bool
    polled: bool

    @property
    def what(self) -> str:
        if not self.connections:
            return ALONE
        return f"{self.connections} connection{'s' * (self.connections > 1)}, {_MANNER[self.keep_alive]}"


_MANNER = {True: "kept alive", False: "one page each"}


class Sample(NamedTuple):
    """One case in one round."""

    pages: wrk.Pages | None
    polls: load.Load | None


class Row(NamedTuple):
    """A case in all rounds."""

    case: Case
    samples: list[Sample]

    @property
    def pages(self) -> list[wrk.Pages]:
        return [sample.pages for sample in self.samples if sample.pages]

    @property
    def polls(self) -> list[load.Load]:
        return [sample.polls for sample in self.samples if sample.polls]

    def as_json(self) -> dict[str, Any]:
        """Everything, rounded."""
        case = self.case
        found: dict[str, Any] = {"server": case.server.name, "what": case.what, "connections": case.connections}
        found |= {"keep_alive": case.keep_alive, "polled": case.polled, "pages": None, "polls": None}
        if self.pages:
            found["pages"] = {name: sum(getattr(one, name) for one in self.pages) for name in COUNTS}
            found["pages"]["rate"] = round(median(self.pages, lambda one: one.rate), 1)
            found["pages"] |= _times(self.pages)
        if self.polls:
            found["polls"] = polls_as_json(self.polls)
        return found


COUNTS = ("answered", "refused", "broken", "unconnected")


class Siege(NamedTuple):
    """What slow visitors have done to a server."""

    server: str
    came: str  # the honest visitor: BEFORE or LATER
    seconds: float
    polls: load.Load | None
    opened: int  # connections of theirs
    most: int  # of them at once
    ended: int  # by the server
    asked: int  # pages, by the honest visitor
    answered: int
    first_s: float | None  # until the first page; None: never
    worst_s: float

    def as_json(self) -> dict[str, Any]:
        """Everything, rounded."""
        found = self._asdict() | {"worst_s": round(self.worst_s, 3), "first_s": self.first_s and round(self.first_s, 3)}
        return found | {"polls": self.polls and polls_as_json([self.polls])}


def median(found: Sequence[Any], value: Callable[[Any], float]) -> float:
    """Of the rounds."""
    return statistics.median(value(one) for one in found)


def _times(pages: Sequence[wrk.Pages]) -> dict[str, float]:
    times = {"p50_us": median(pages, lambda one: one.p50_us), "p99_us": median(pages, lambda one: one.p99_us)}
    return times | {"worst_us": max(one.worst_us for one in pages)}


def polls_as_json(polls: Sequence[load.Load]) -> dict[str, Any]:
    """Polls of all rounds: what was asked was answered, or there would be no figures at all."""
    number = sum(one.requests for one in polls)
    found: dict[str, Any] = {"asked": number, "answered": number, "lost": 0, "clients": POLLERS, "rate": POLL_RATE}
    found["p50_us"] = round(median(polls, lambda one: one.latency.p50), 2)
    found["p99_us"] = round(median(polls, lambda one: one.latency.p99), 2)
    lags = [one.lag.p99 for one in polls if one.lag]
    found["left_late_p99_us"] = round(statistics.median(lags), 2) if lags else None
    return found | {"worst_us": round(max(one.latency.max for one in polls), 2)}


def cases(bench: Bench) -> list[Case]:
    """Of one kind one after the other: our gateway with the pollers, without, and microdot."""
    ours, other = bench.gateway(), bench.microdot()
    found = [Case(ours, 0, False, True)]
    for connections in BROWSERS:
        for keep_alive in (False, True):
            found += [Case(ours, connections, keep_alive, polled) for polled in (True, False)]
            if not keep_alive:  # microdot ends each connection
                found.append(Case(other, connections, keep_alive, False))
    return found


def rows(bench: Bench, rounds: int, seconds: float, progress: Callable[[str], object]) -> list[Row]:
    """Each case in each round; the first one of a round moves."""
    found = [Row(case, []) for case in cases(bench)]
    for turn in range(rounds):
        progress(f"round {turn + 1} of {rounds}: pages and polls")
        start = turn % len(found)
        for row in found[start:] + found[:start]:
            row.samples.append(measure(row.case, bench.page, seconds))
    return found


def measure(case: Case, page: bytes, seconds: float) -> Sample:
    """One sample: the server is let run, asked for a page, loaded and held again."""
    server, pages = case.server, None
    with server.running(), concurrent.futures.ThreadPoolExecutor(1) as beside:
        exchanges.page(server.ports.http, False, page)  # its code is in the heap from now on
        polls = beside.submit(poll, server, seconds) if case.polled else None
        if polls:
            wait_polled(server, polls.done)
        if case.connections:
            pages = wrk.run(server.ports.http, page, case.connections, case.keep_alive, seconds)
        return Sample(pages, polls.result() if polls else None)


def poll(server: Server, seconds: float) -> load.Load:
    """Eight clients at their rate. LoadError when a connection was lost."""
    exchange = exchanges.read(10)
    found = load.run(server.ports.modbus, exchange, seconds=seconds, clients=POLLERS, rate=POLL_RATE, reopen=True)
    if found.reopened:
        raise load.LoadError(f"{server.name} ended {found.reopened} connections of Modbus clients that polled")
    return found


def wait_polled(server: Server, done: Callable[[], bool]) -> None:
    """Waits until the eight are connected, or done(). LoadError after some seconds."""
    question = questions.get("/api/sockets", False, _eight_poll)
    deadline = time.monotonic() + _CONNECT_S
    while not done():
        try:
            exchanges.fetch(server.ports.http, question)
        except questions.WrongAnswer as error:
            if time.monotonic() > deadline:
                raise load.LoadError(f"{server.name}: {error}") from error
            time.sleep(0.01)
        else:
            return


def _eight_poll(body: bytes) -> None:
    slots = json.loads(body)["slots"]
    number = sum(slot["kind"] == "modbus" and slot["role"] == "connection" for slot in slots)
    if number < POLLERS:
        raise questions.WrongAnswer(f"{number} of {POLLERS} Modbus clients are connected")


def sieges(bench: Bench, seconds: float, progress: Callable[[str], object]) -> list[Siege]:
    """Our gateway with the pollers, and microdot, under slow visitors."""
    found = []
    for server in (bench.gateway(), bench.microdot()):
        for came in (BEFORE, LATER):
            progress(f"slow visitors of {server.name}, the honest one comes {came}")
            with server.running():
                try:
                    found.append(asyncio.run(_siege(server, came, bench.page, _SIEGE_TIMES * seconds)))
                except ExceptionGroup as group:  # of the tasks; the first has ended the others
                    raise group.exceptions[0] from None
    return found


async def _siege(server: Server, came: str, page: bytes, seconds: float) -> Siege:
    """Pollers are connected before the slow visitors."""
    slow, visitor = Slowloris(server.ports.http, SLOW), Visitor(server.ports.http, page)
    both = (visitor, slow) if came == BEFORE else (slow, visitor)
    ahead = _AHEAD * seconds
    async with asyncio.TaskGroup() as group:
        polls = None
        if server.name != MICRODOT:
            polls = group.create_task(asyncio.to_thread(poll, server, seconds))
            await asyncio.to_thread(wait_polled, server, polls.done)
        tasks = []
        for one in both:
            await asyncio.sleep(ahead)
            tasks.append(group.create_task(one.run()))
        await asyncio.sleep(seconds - len(both) * ahead)
        for task in tasks:
            task.cancel()
    counts = (slow.opened, slow.most, slow.ended, visitor.asked, visitor.answered, visitor.first_s, visitor.worst_s)
    return Siege(server.name, came, seconds, polls.result() if polls else None, *counts)

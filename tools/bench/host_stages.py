"""The stages of `make bench`: each starts the servers that it compares and loads them in turns.

In:  a processes.Bench, Results. Out: rows in the Results. Raises load.LoadError, questions.WrongAnswer, and what
     starting servers raises.
"""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tools import sim
from tools.bench import compare, exchanges, load, memory, processes, questions, web
from tools.bench.compare import Case, Row
from tools.bench.memory import Allocated, Collections
from tools.bench.probe import Probe
from tools.bench.processes import GATEWAY, MICRODOT, POLL_LOOP, UMODBUS, Bench, Server
from tools.virtual_meters import default_meters

PASSED, PASSED_8 = "10 registers, passed through", "10 registers, passed through, 8 clients"
READ_10, READ_125, CLIENTS_8 = "10 registers", "125 registers", "10 registers, 8 clients"
PACED_RATE = 100  # requests per second and client
PAGE_CLOSE, PAGE_KEPT = "page, connections", "page, kept alive"

_ROOMY = "8M"  # a heap in which nothing is collected while the bytes of requests are counted
_COUNTED, _COUNTED_PAGES = 200, 20
_IDLE_TIMES, _LOADED_TIMES = 5, 4  # as long as a load in a round


class Idle(NamedTuple):
    """What a server does without requests."""

    server: str
    what: str
    percent: float  # of a core


class Ratio(NamedTuple):
    """Our gateway to another server."""

    what: str
    server: str
    rate: compare.Spread
    core: compare.Spread  # rates again, with the CPU time of server and client in place of the time that went by
    user: float | None  # user time for each request, over all rounds; None when they were too short for it to be seen

    def as_json(self) -> dict[str, Any]:
        """Rounded."""
        found: dict[str, Any] = {"what": self.what, "server": self.server, "user": self.user and round(self.user, 3)}
        for name in ("rate", "core"):
            found[name] = {key: round(value, 3) for key, value in getattr(self, name)._asdict().items()}
        return found


class Results:
    """Everything that was measured so far, and how often and long to measure."""

    def __init__(self, rounds: int, seconds: float, progress: Callable[[str], object]) -> None:
        self.rounds, self.seconds, self.progress = rounds, seconds, progress
        self.rows: list[Row] = []
        self.paced: list[Row] = []  # at a fixed rate
        self.passed: list[Row] = []  # reads that go through to a serial line
        self.allocated: list[Allocated] = []
        self.collections: list[Collections] = []
        self.idle: list[Idle] = []
        self.web: list[web.Row] = []
        self.sieges: list[web.Siege] = []

    def add(self, cases: list[Case]) -> None:
        """Measures these in turns."""
        self.rows += compare.interleave(cases, self.rounds, self.seconds, self.progress)

    def ratios(self) -> list[Ratio]:
        """Our gateway to each other server, load by load."""
        found = []
        for other in self.rows:
            ours = compare.find(self.rows, other.case.what, GATEWAY)
            if ours is None or other is ours:
                continue
            rate = compare.ratio(ours, other, lambda sample: sample.load.rate)
            core = compare.ratio(ours, other, lambda sample: 1 / sample.core_us)
            user = ours.cpu_us("user") / other.cpu_us("user") if other.cpu_us("user") else None
            found.append(Ratio(other.case.what, other.case.server.name, rate, core, user))
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "rounds": self.rounds,
            "seconds": self.seconds,
            "rows": [row.as_json() for row in self.rows],
            "ratios": [ratio.as_json() for ratio in self.ratios()],
            "passed": [row.as_json() for row in self.passed],
            "paced": [row.as_json() for row in self.paced],
            "allocated": [one.as_json() for one in self.allocated],
            "collections": [one.as_json() for one in self.collections],
            "idle": [one._asdict() | {"percent": round(one.percent, 3)} for one in self.idle],
            "web": [row.as_json() for row in self.web],
            "slowloris": [one.as_json() for one in self.sieges],
        }


def reads(bench: Bench, results: Results) -> None:
    """Cached reads: one client, then eight."""
    one_client: list[Server] = [
        bench.poll_loop(),
        bench.gateway(),
        bench.echo(),
        bench.umodbus(),
        bench.pymodbus(),
    ]
    cases = []
    for what, count in ((READ_10, 10), (READ_125, 125)):
        cases += [Case(what, server, server.ports.modbus, exchanges.read(count)) for server in one_client]
    for server in one_client:
        if server.name != UMODBUS:  # which serves one client
            cases.append(Case(CLIENTS_8, server, server.ports.modbus, exchanges.read(10), clients=8))
    results.add(cases)


def passed(bench: Bench, results: Results) -> None:
    """Reads that go through to a meter on a serial line: one client, then eight. Beside us pymodbus and umodbus, and
    mbusd where the environment has its path as MBUSD."""
    servers = [bench.passing_gateway(), bench.passing_pymodbus(), bench.passing_umodbus()]
    if os.environ.get("MBUSD"):
        servers.append(bench.mbusd(os.environ["MBUSD"]))
    exchange = exchanges.read(10, processes.PASSED_UNIT)
    cases = [
        Case(what, server, server.ports.modbus, exchange, clients)
        for what, clients in ((PASSED, 1), (PASSED_8, 8))
        for server in servers
        if clients == 1 or server.name != UMODBUS  # which serves one client
    ]
    results.passed += compare.interleave(cases, results.rounds, 2 * results.seconds, results.progress)


def pages(bench: Bench, results: Results) -> None:
    """The status page, and the same bytes from others."""
    cases = []
    for server in (bench.poll_loop(), bench.gateway(), bench.microdot()):
        with server.running():
            for what, keep_alive in ((PAGE_CLOSE, False), (PAGE_KEPT, True)):
                # microdot ends each connection, the poll loop none.
                if (server.name, keep_alive) in ((MICRODOT, True), (POLL_LOOP, False)):
                    continue
                exchange = exchanges.page(server.ports.http, keep_alive, bench.page)
                cases.append(Case(what, server, server.ports.http, exchange, reconnect=not keep_alive))
    results.add(sorted(cases, key=lambda case: case.what))


def paced(bench: Bench, results: Results) -> None:
    """Eight and ten clients at a fixed rate each. None of these servers takes much of the core, or spins, so they may
    go before all other programs of the machine, whose turns would else be counted as latency."""
    with compare.before_others(results.progress):
        servers = (bench.poll_loop(), bench.gateway(), bench.echo())
        exchange = exchanges.read(10)
        cases = [
            Case(f"{clients} clients, {PACED_RATE}/s each", server, server.ports.modbus, exchange, clients, PACED_RATE)
            for clients in (8, 10)
            for server in servers
        ]
        results.paced += compare.interleave(cases, results.rounds, 2 * results.seconds, results.progress)


def heap(bench: Bench, results: Results) -> None:
    """Bytes for each request, and the gateway's collections."""
    results.progress("bytes of heap for each request")
    bench.heap = _ROOMY
    servers = [bench.poll_loop(True), bench.gateway(probed=True), bench.echo(True), bench.umodbus(True)]
    for server in servers:
        with server.running(), Probe(server) as probe:
            for what, count in ((READ_10, 10), (READ_125, 125)):
                ask = _asker(server.ports.modbus, exchanges.read(count))
                results.allocated.append(Allocated(server.name, what, memory.allocated(probe, ask, _COUNTED)))
    for server, keep_alive in ((servers[1], True), (bench.microdot(True), False)):
        with server.running(), Probe(server) as probe:
            exchange = exchanges.page(server.ports.http, keep_alive, bench.page)
            ask = _asker(server.ports.http, exchange, reconnect=not keep_alive)
            found = memory.allocated(probe, ask, _COUNTED_PAGES)
            results.allocated.append(Allocated(server.name, PAGE_KEPT if keep_alive else PAGE_CLOSE, found))
    bench.heap = processes.HEAP
    _collections(bench, results)


def _asker(port: int, exchange: load.Exchange, reconnect: bool = False) -> Callable[[int], load.Load]:
    return lambda number: load.run(port, exchange, requests=number, reconnect=reconnect)


def _collections(bench: Bench, results: Results) -> None:
    server = bench.gateway(probed=True)
    modbus, http = server.ports.modbus, server.ports.http
    document = questions.get("/api/readings", True, questions.readings(1))

    seconds = _LOADED_TIMES * results.seconds

    def documents() -> None:
        with exchanges.Kept(http) as kept:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                kept.ask(document)

    with server.running(), Probe(server) as probe:
        page = exchanges.page(http, True, bench.page)
        loads: list[tuple[str, Callable[[], object]]] = [
            ("nothing", lambda: time.sleep(seconds)),
            ("8 clients, closed loop", lambda: load.run(modbus, exchanges.read(10), seconds=seconds, clients=8)),
            ("page, again and again", lambda: load.run(http, page, seconds=seconds)),
            ("readings, again and again", documents),
        ]
        for what, action in loads:
            results.progress(f"collections: {what}")
            results.collections.append(memory.collections(server.process.state_dir, probe, what, action))


def idle(bench: Bench, results: Results) -> None:
    """CPU time without requests."""
    polling = [{**one, "interval_s": 1} for one in sim.DEFAULT_CONFIG["meters"]]
    servers = [
        (bench.poll_loop(), "nobody connected"),
        (bench.gateway(), "nobody connected, no meter due"),
        (bench.gateway({"meters": polling}, default_meters()), "nobody connected, three meters each second"),
        (bench.echo(), "nobody connected"),
        (bench.microdot(), "nobody connected"),
        (bench.umodbus(), "nobody connected"),
    ]
    for server, what in servers:
        results.progress(f"idle: {server.name}, {what}")
        with server.running():
            time.sleep(results.seconds)
            before, begin = server.cpu().total, time.monotonic()
            time.sleep(_IDLE_TIMES * results.seconds)
            used, passed = server.cpu().total - before, time.monotonic() - begin
        results.idle.append(Idle(server.name, what, 100 * used / passed))


def pages_and_polls(bench: Bench, results: Results) -> None:
    """Pages in plenty while Modbus clients poll, then slow visitors."""
    results.web += web.rows(bench, results.rounds, results.seconds, results.progress)
    results.sieges += web.sieges(bench, results.seconds, results.progress)


STAGES: dict[str, Callable[[Bench, Results], None]] = {
    "reads": reads,
    "passed": passed,
    "paced": paced,
    "pages": pages,
    "heap": heap,
    "idle": idle,
    "web": pages_and_polls,
}

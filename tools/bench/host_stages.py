"""The stages of `make bench`: each starts the servers that it compares and loads them in turns.

In:  a processes.Bench, Results. Out: rows in the Results. Raises load.LoadError, questions.WrongAnswer, and what
     starting servers raises.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from tools.bench import compare, exchanges
from tools.bench.compare import Case, Row
from tools.bench.processes import GATEWAY, MICRODOT, POLL_LOOP, UMODBUS, Bench, Server

READ_10, READ_125, CLIENTS_8 = "10 registers", "125 registers", "10 registers, 8 clients"
PAGE_CLOSE, PAGE_KEPT = "page, connections", "page, kept alive"


class Ratio(NamedTuple):
    """Our gateway to another server."""

    what: str
    server: str
    rate: compare.Spread
    core: compare.Spread  # rates again, with the CPU time of server and client in place of the time that went by
    user: float  # user time for each request, over all rounds

    def as_json(self) -> dict[str, Any]:
        """Rounded."""
        found: dict[str, Any] = {"what": self.what, "server": self.server, "user": round(self.user, 3)}
        for name in ("rate", "core"):
            found[name] = {key: round(value, 3) for key, value in getattr(self, name)._asdict().items()}
        return found


class Results:
    """Everything that was measured so far, and how often and long to measure."""

    def __init__(self, rounds: int, seconds: float, progress: Callable[[str], object]) -> None:
        self.rounds, self.seconds, self.progress = rounds, seconds, progress
        self.rows: list[Row] = []

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
            user = ours.cpu_us("user") / other.cpu_us("user")
            found.append(Ratio(other.case.what, other.case.server.name, rate, core, user))
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {
            "rounds": self.rounds,
            "seconds": self.seconds,
            "rows": [row.as_json() for row in self.rows],
            "ratios": [ratio.as_json() for ratio in self.ratios()],
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


STAGES: dict[str, Callable[[Bench, Results], None]] = {"reads": reads, "pages": pages}

"""Rounds of the same load on several servers in turn, and what they amount to.

In:  Cases. Out: Rows: rates, latencies, CPU time for each request, and how each server compares with a reference. What
     the machine does besides changes by the second, so a ratio is taken within each round, one server directly after
     the other, and the median of those is given; the order turns from round to round. Raises load.LoadError.
"""

import contextlib
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from tools.bench import load
from tools.bench.processes import Cpu, Server

_WARM_UP_S = 0.1


class Case(NamedTuple):
    """A load for a server. `what` names the load; cases of the same name are compared."""

    what: str
    server: Server
    port: int
    exchange: load.Exchange
    clients: int = 1
    rate: float = 0  # requests per second and client; 0: as many as there is time for
    reconnect: bool = False
    reopen: bool = False


class Sample(NamedTuple):
    """One case in one round."""

    load: load.Load
    cpu: Cpu  # that the server used

    @property
    def core_us(self) -> float:
        """CPU time of server and client for each request: what it would take on a core that nobody else uses."""
        return 1e6 * (self.cpu.total + self.load.cpu_s) / self.load.requests


class Spread(NamedTuple):
    """The median of the rounds, the least and the greatest."""

    median: float
    least: float
    greatest: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f}-{self.greatest:.2f})"


class Row(NamedTuple):
    """A case in all rounds."""

    case: Case
    samples: list[Sample]

    @property
    def rate(self) -> Spread:
        """Answers per second."""
        return spread([sample.load.rate for sample in self.samples])

    def latency_us(self, quantile: str) -> float:
        """Median of the rounds; quantile: a field of load.Times."""
        return statistics.median(getattr(sample.load.latency, quantile) for sample in self.samples)

    @property
    def worst_us(self) -> float:
        """Of all rounds."""
        return max(sample.load.latency.max for sample in self.samples)

    @property
    def fairness(self) -> float:
        """What the slowest client got of what the fastest got; median of the rounds."""
        return statistics.median(sample.load.fairness for sample in self.samples)

    @property
    def core_us(self) -> Spread:
        """See Sample."""
        return spread([sample.core_us for sample in self.samples])

    def cpu_us(self, kind: str) -> float:
        """A field of Cpu for each request, over all rounds: one is too short for the kernel's samples."""
        total = sum(getattr(sample.cpu, kind) for sample in self.samples)
        return 1e6 * total / sum(sample.load.requests for sample in self.samples)

    def as_json(self) -> dict[str, Any]:
        """Everything, rounded."""
        found: dict[str, Any] = {
            "server": self.case.server.name,
            "what": self.case.what,
            "clients": self.case.clients,
            "requests": sum(sample.load.requests for sample in self.samples),
            "rate": {name: round(value, 1) for name, value in self.rate._asdict().items()},
        }
        for quantile in ("p50", "p99", "p999"):
            found[f"{quantile}_us"] = round(self.latency_us(quantile), 2)
        for quantile in ("p50", "p99"):
            values = [getattr(sample.load.served, quantile) for sample in self.samples]
            found[f"served_{quantile}_us"] = round(statistics.median(values), 2)
        found |= {"late": sum(sample.load.late for sample in self.samples)}
        found |= {"core_us": {name: round(value, 2) for name, value in self.core_us._asdict().items()}}
        found |= {"worst_us": round(self.worst_us, 2), "fairness": round(self.fairness, 3)}
        return found | {f"{kind}_us": round(self.cpu_us(kind), 3) for kind in Cpu._fields}


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError when there are none."""
    return Spread(statistics.median(values), min(values), max(values))


def measure(case: Case, seconds: float) -> Sample:
    """One sample: the server is let run, warmed up, asked and held again."""
    with case.server.running():
        ask(case, _WARM_UP_S)
        before = case.server.cpu()
        found = ask(case, seconds)
        after = case.server.cpu()
    return Sample(found, Cpu(*(late - early for late, early in zip(after, before, strict=True))))


def ask(case: Case, seconds: float) -> load.Load:
    """The load of a case."""
    return load.run(
        case.port,
        case.exchange,
        seconds=seconds,
        clients=case.clients,
        rate=case.rate,
        reconnect=case.reconnect,
        reopen=case.reopen,
    )


def interleave(cases: Iterable[Case], rounds: int, seconds: float, progress: Callable[[str], object]) -> list[Row]:
    """A row for each case, in the order of the cases."""
    groups: dict[str, list[Row]] = {}
    for case in cases:
        groups.setdefault(case.what, []).append(Row(case, []))
    for turn in range(rounds):
        progress(f"round {turn + 1} of {rounds}: {', '.join(groups)}")
        for rows in groups.values():
            start = turn % len(rows)
            for row in rows[start:] + rows[:start]:
                try:
                    row.samples.append(measure(row.case, seconds))
                except load.LoadError as error:
                    raise load.LoadError(f"{row.case.server.name}, {row.case.what}: {error}") from error
    return [row for rows in groups.values() for row in rows]


def ratio(row: Row, reference: Row, value: Callable[[Sample], float]) -> Spread:
    """Of the row to the reference, round by round."""
    pairs = zip(row.samples, reference.samples, strict=True)
    return spread([value(sample) / value(other) for sample, other in pairs])


def find(rows: Iterable[Row], what: str, server: str) -> Row | None:
    """The row of this load and server, or None."""
    return next((row for row in rows if (row.case.what, row.case.server.name) == (what, server)), None)


@contextlib.contextmanager
def before_others(progress: Callable[[str], object], *pids: int) -> Iterator[None]:
    """Real-time priority for these processes and for what is started within, where that is allowed (root): the turns
    of other programs would else be counted as latency. For loads that leave the core free most of the time."""
    everybody = (0, *pids)  # 0: ourselves
    before = [(os.sched_getscheduler(pid), os.sched_getparam(pid)) for pid in everybody]
    try:
        for pid in everybody:
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        progress("no right to real-time priority: other programs will be seen in the latencies")
    try:
        yield
    finally:
        for pid, (policy, parameter) in zip(everybody, before, strict=True):
            os.sched_setscheduler(pid, policy, parameter)

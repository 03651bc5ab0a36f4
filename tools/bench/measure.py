"""What the samples of a benchmark amount to. Arithmetic only."""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from tools.bench.chip import CLOCK_HZ, Sample, Sweep


class Row(NamedTuple):
    """One kind of request on one server: medians, and the worst. Times in microseconds of the chip's clock."""

    server: str
    what: str
    requests: int
    cycles: float
    mean_cycles: float
    busy_us: float
    line_cycles: float  # see chip.LINE
    turnaround_us: float
    latency_us: float
    worst_latency_us: float
    wire_us: float  # of the PPP line
    bus_us: float  # of the RS-485 line: request, the meter's delay, reply
    heap_bytes: float  # allocated for each request

    def as_json(self) -> dict[str, Any]:
        return {name: round(value, 2) if isinstance(value, float) else value for name, value in self._asdict().items()}


class Heap(NamedTuple):
    """The heap under a server, in bytes. Right after a collection, so garbage is no part of it."""

    server: str
    total: int
    started: int  # in use once it had started
    clients: int
    busiest: int  # the most in use after any collection while so many clients polled
    collections: int  # among which that was the most; 0: there was none, and `busiest` includes what garbage there was
    longest_us: float  # of them

    @property
    def least_free(self) -> int:
        return self.total - self.busiest

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {"least_free": self.least_free}


def heap_under(server: str, total: int, started: int, clients: int, sweeps: Sequence[Sweep], used: int) -> Heap:
    """`sweeps` while the clients polled, `used` at their end."""
    busiest = max((sweep.after for sweep in sweeps), default=used)
    longest = max((sweep.cycles for sweep in sweeps), default=0)
    return Heap(server, total, started, clients, busiest, len(sweeps), cycles_us(longest))


def cycles_us(cycles: float) -> float:
    """Microseconds at the chip's clock."""
    return cycles / CLOCK_HZ * 1e6


def row(server: str, what: str, samples: Sequence[Sample], character_ns: float, grown_bytes: int) -> Row:
    """The row of these samples, which allocated grown_bytes together. Raises ValueError when there are none."""
    if not samples:
        raise ValueError(f"{server}, {what}: no samples")

    def median_us(values: Sequence[float]) -> float:
        return statistics.median(values) / 1000

    cycles = statistics.median(sample.cycles for sample in samples)
    return Row(
        server,
        what,
        len(samples),
        cycles,
        statistics.fmean(sample.cycles for sample in samples),
        cycles_us(cycles),
        statistics.median(sample.line_cycles for sample in samples),
        median_us([sample.turnaround_ns for sample in samples]),
        median_us([sample.latency_ns for sample in samples]),
        max(sample.latency_ns for sample in samples) / 1000,
        median_us([(sample.asked_bytes + sample.answered_bytes) * character_ns for sample in samples]),
        median_us([sample.bus_ns for sample in samples]),
        grown_bytes / len(samples),
    )

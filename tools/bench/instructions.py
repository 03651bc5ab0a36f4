"""`make instructions`: instructions of the host's MicroPython for each request, counted by Callgrind.

In:  options (see --help). Out: a table on stdout; with --renew the file beside this one, by which a test
     (host_tests/system/test_instructions.py) holds the firmware to within 10 %.

Unlike a time the count does not mind what else the machine does. Each load is asked n times and then 2n times; the
difference is divided by n, so that whatever belongs to the measuring and to the start cancels out. What the firmware
does by the clock and not for a request is measured while nobody asks and taken off for the time that went by.

Left out is what depends on where the holes in the heap are, which is never twice the same: the allocator's search for
room, which goes through the heap from the first hole on, and the collections, of which more are needed when holes are
small. It is the allocations that are counted instead (and `make bench` has the bytes, and the collections). They
include the frames of Python functions that are too large for the C stack: arguments, locals and stack of more than 11
words (VM_MAX_STATE_ON_STACK of MicroPython's py/objfun.c).

The count is of the one interpreter that the file names, and of user mode: the kernel's work is not in it.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

from tools import build, gateway, micropython, valgrind
from tools.bench import callgrind, exchanges, load, processes, questions
from tools.bench.probe import Probe, ProbeError

FILE = pathlib.Path(__file__).resolve().with_name("instructions.json")
BOUND = 0.10  # of the number in the file, above and below
# What is sent in pieces or waits for the bus takes the loop more or fewer turns on another machine.
WIDE_BOUND = 0.25
EXACT = "from memory"  # the requests that BOUND is for
SLACK = {"instructions": 500, "allocations": 0.5}  # not worth a word
RENEW = 'make instructions ARGS="--renew"'
PASSED_UNIT = 9  # on the line, but not configured
_OPTIONS = ["--dump-before=getenv", "--callgrind-out-file=callgrind.out"]
_IDLE_S = 2.0
_READS, _OVER_BUS, _PAGES, _DOCUMENTS, _LARGE = 500, 20, 30, 30, 15  # the n of each kind

_STANDS_OUT = 10  # times the next function that is called as often
_OBJECTS = 100  # that Probe.allocate() makes
_TRIES = 5

Progress = Callable[[str], object]


class Cost(NamedTuple):
    """Of one request, or of what happened between two marks."""

    instructions: float  # without those of the allocator's search and of collections
    allocations: float

    def minus(self, other: "Cost", times: float = 1.0) -> "Cost":
        """Without so many times the other."""
        return Cost(self.instructions - times * other.instructions, self.allocations - times * other.allocations)


Figures = dict[str, Cost]
Judge = Callable[[str, Cost], bool]


class Counter:
    """Counts the instructions of a probed server that runs under Callgrind."""

    def __init__(self, server: processes.Server, probe: Probe) -> None:
        self._folder, self._probe = server.process.state_dir, probe
        self._allocator = self._find_allocator()
        self._collector = self._find_collector()
        self.idle = self._measure_idle()  # for each second

    def _find_allocator(self) -> str:
        """The interpreter is stripped: gc_alloc is where most instructions go when only allocating is done, and it is
        called once or twice for each object."""
        for _ in range(_TRIES):  # whatever else the server does may come in between
            more, less = self._profile(self._probe.allocate), self._profile(self._probe.look)
            own = more.own - less.own  # only what is more than there
            calls = more.calls - less.calls
            fits = sorted((own[name], name) for name in own if _OBJECTS <= calls[name] <= 3 * _OBJECTS)
            if len(fits) > 1 and fits[-1][0] > _STANDS_OUT * fits[-2][0]:
                return fits[-1][1]
            time.sleep(1)
        raise valgrind.NoValgrind(f"no function stands out as the allocator: {fits[-3:]}")

    def _find_collector(self) -> str:
        """gc_collect is called once when a collection is asked for, never when nothing is, and also when allocating has
        used all of the heap; what it calls takes less."""

        def allocate() -> None:
            free = self._probe.look().free
            while (now := self._probe.allocate().free) < free:  # more is free again after a collection
                free = now

        asked, full = self._profile(self._probe.collect), self._profile(allocate)
        nothing = self._profile(self._probe.look)
        found = [name for name in full.calls if asked.calls[name] == nothing.calls[name] + 1 == 1]
        if not found:
            raise valgrind.NoValgrind("no function stands out as the collector")
        return max(found, key=lambda name: full.inclusive[name])

    def _measure_idle(self) -> Cost:
        nothing, _ = self.between(lambda: None)
        idle, seconds = self.between(lambda: time.sleep(_IDLE_S))
        return Cost(*((found / seconds) for found in idle.minus(nothing)))

    def _profile(self, action: Callable[[], object]) -> callgrind.Profile:
        """What was executed while action() ran, after a collection of the heap."""
        self._probe.collect_late()
        self._probe.collect()
        self._probe.mark()
        action()
        before = self._dumps()
        self._probe.mark()
        (fresh,) = self._dumps() - before
        return callgrind.read(fresh.read_text(encoding="utf-8"))

    def _dumps(self) -> set[pathlib.Path]:
        return set(self._folder.glob("callgrind.out.*"))

    def between(self, action: Callable[[], object]) -> tuple[Cost, float]:
        """What it cost while action() ran, and how many seconds it did."""
        begin = time.monotonic()
        profile = self._profile(action)
        seconds = time.monotonic() - begin
        left_out = profile.own[self._allocator] + profile.inclusive[self._collector]
        return Cost(profile.total - left_out, profile.calls[self._allocator]), seconds

    def per_request(self, ask: Callable[[int], object], n: int) -> Cost:
        """One of the requests that ask(number) makes."""
        ask(2)  # what is loaded or allocated once is there then
        once, once_s = self.between(lambda: ask(n))
        twice, twice_s = self.between(lambda: ask(2 * n))
        found = twice.minus(once).minus(self.idle, twice_s - once_s)
        return Cost(round(found.instructions / n), abs(round(found.allocations / n, 1)))  # not -0.0


def _reader(port: int, count: int, unit: int = processes.UNIT) -> Callable[[int], object]:
    exchange = exchanges.read(count, unit)
    return lambda number: load.run(port, exchange, requests=number, timeout_s=30)


def _document(port: int, path: str, check: Callable[[bytes], None]) -> Callable[[int], object]:
    question = questions.get(path, True, check)

    def ask(number: int) -> None:
        with exchanges.Kept(port) as kept:
            for _ in range(number):
                kept.ask(question)

    return ask


def _is_json(body: bytes) -> None:
    json.loads(body)


def measure_gateway(bench: processes.Bench, is_right: Judge = lambda name, cost: True) -> Figures:
    """Of our gateway."""
    server = bench.gateway(meters=[processes.LineRamp(processes.UNIT), processes.LineRamp(PASSED_UNIT)], probed=True)
    modbus, http = server.ports.modbus, server.ports.http
    with server.running(), Probe(server) as probe:
        counter = Counter(server, probe)
        page = exchanges.page(http, True, bench.page)
        kinds: list[tuple[str, Callable[[int], object], int]] = [
            ("read of 10 registers from memory", _reader(modbus, 10), _READS),
            ("read of 125 registers from memory", _reader(modbus, 125), _READS),
            ("read of 10 registers over the bus", _reader(modbus, 10, PASSED_UNIT), _OVER_BUS),
            ("GET /", lambda number: load.run(http, page, requests=number, timeout_s=30), _PAGES),
            ("GET /api/readings, 63 points", _document(http, "/api/readings", questions.readings(1)), _LARGE),
            ("GET /api/status", _document(http, "/api/status", _is_json), _DOCUMENTS),
            ("GET /api/sockets", _document(http, "/api/sockets", _is_json), _DOCUMENTS),
        ]
        figures = {}
        for name, ask, n in kinds:
            for _ in range(_TRIES):
                bench.progress(name)
                figures[name] = counter.per_request(ask, n)
                if is_right(name, figures[name]):
                    break
    return figures


def measure_other(bench: processes.Bench, server: processes.Server) -> Figures:
    """Of a Modbus server that it is compared with."""
    with server.running(), Probe(server) as probe:
        counter = Counter(server, probe)
        figures: Figures = {}
        for count in (10, 125):
            bench.progress(f"{server.name}: {count} registers")
            ask = _reader(server.ports.modbus, count)
            figures[f"read of {count} registers from memory"] = counter.per_request(ask, _READS)
    return figures


def measure(
    tree: pathlib.Path, others: bool, progress: Progress, is_right: Judge = lambda name, cost: True
) -> dict[str, Figures]:
    """Figures by server. What is not right of our gateway is measured again: on a machine so busy that a meter's answer
    is late, or a reading too old, the firmware has more to do."""
    upy = processes.Interpreter(*valgrind.callgrind(micropython.ensure(progress), _OPTIONS, progress))
    with (
        tempfile.TemporaryDirectory(prefix="meterport-instructions-") as name,
        processes.Bench(tree, pathlib.Path(name), progress, upy) as bench,
    ):
        bench.ready_s = processes.READY_CALLGRIND_S
        progress("starting the gateway under Callgrind ...")
        found = {processes.GATEWAY: measure_gateway(bench, is_right)}
        # Not umodbus, which never sleeps: what it does for a request cannot be told from what it does meanwhile.
        for start in (bench.poll_loop, bench.echo) if others else ():
            server = start(probed=True)
            found[server.name] = measure_other(bench, server)
    return found


def interpreter_digest() -> str:
    """Which interpreter the numbers are of: it and the C library that it runs with."""
    path = micropython.ensure(lambda text: None)
    root = path.parent / "root"
    files = [root / "usr" / "bin" / "micropython", root / "usr" / "lib" / "i386-linux-gnu" / "libc.so.6"]
    total = hashlib.sha256()
    for file in files if root.is_dir() else [path]:
        total.update(file.read_bytes())
    return total.hexdigest()


def compare(kept: Figures, found: Figures) -> list[str]:
    """What is further than its bound from what is kept, a line each; empty when nothing is."""
    lines = []
    for name in sorted(kept.keys() | found.keys()):
        if name not in kept or name not in found:
            lines.append(f"{name}: {'not kept' if name in found else 'not measured'}")
            continue
        for field, before, now in zip(Cost._fields, kept[name], found[name], strict=True):
            bound = BOUND if EXACT in name else WIDE_BOUND
            if abs(now - before) > max(bound * before, SLACK[field]):
                lines.append(f"{name}: {now:,} {field} instead of {before:,} ({'fewer' if now < before else 'more'})")
    return lines


def read_file(path: pathlib.Path = FILE) -> tuple[str, Figures]:
    """What is kept: of which interpreter, and the figures."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept["interpreter"], {name: Cost(**cost) for name, cost in kept["requests"].items()}


def write_file(found: Figures, path: pathlib.Path = FILE) -> None:
    """Keeps these figures."""
    kept = {"interpreter": interpreter_digest(), "requests": {name: cost._asdict() for name, cost in found.items()}}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Runs it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="instructions",
        description="Counts the instructions of MicroPython for each request with Callgrind, and compares them with "
        "the file that is kept in the repository. Always ends with 0 when it could count.",
    )
    parser.add_argument("--renew", action="store_true", help="write what was counted into the file")
    parser.add_argument("--others", action="store_true", help="also count for poll loop and asyncio echo")
    parser.add_argument("--tree", type=pathlib.Path, default=build.ROOT, metavar="DIR", help="of another checkout")
    options = parser.parse_args(arguments)

    def progress(text: str) -> None:
        print(f"instructions: {text}", file=sys.stderr, flush=True)

    try:
        found = measure(options.tree, options.others, progress)
    except (
        build.BuildError,
        gateway.GatewayError,
        load.LoadError,
        micropython.NoMicroPython,
        ProbeError,
        questions.WrongAnswer,
        subprocess.SubprocessError,
        valgrind.NoValgrind,
        OSError,
    ) as error:
        progress(str(error))
        return 1
    for server, figures in found.items():
        for name, cost in figures.items():
            print(f"{server:14} {name:36} {cost.instructions:12,.0f} instructions {cost.allocations:8.1f} allocations")
    if options.renew:
        write_file(found[processes.GATEWAY])
    elif FILE.exists():
        for line in compare(read_file()[1], found[processes.GATEWAY]):
            print(f"beyond its bound: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

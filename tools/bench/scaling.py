"""`make bench-scaling`: how our gateway's rate, latency and heap follow clients, registers, meters and browsers.

In:  options (see --help). Out: a table on stdout, with --json as one object, with --svg as plots, which --from-json
     draws again without measuring. Same interpreter, heap and rules as `make bench`: every byte of every answer is
     compared, one server at a time runs.

Rates are of clients in a closed loop, latencies of clients that each want a hundred answers a second, counted from the
moment at which a request should have left. Where there are more clients than the gateway has slots for, it closes the
least recently used connection for each newcomer, so these clients come again; no request is lost.
"""

import argparse
import contextlib
import json
import pathlib
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from rich.console import Console

from tools.bench import __main__ as bench_main
from tools.bench import compare, document, exchanges, host_tables, load, processes, questions
from tools.bench.compare import Case, Sample
from tools.bench.document import Sheet
from tools.bench.probe import Probe
from tools.bench.processes import HOST, LineRamp, Server

CLIENTS = (1, 2, 4, 6, 8, 10, 12, 14, 16)
REGISTERS = (1, 10, 25, 50, 75, 100, 125)
METERS = (1, 4, 8, 16, 24, 32)
BROWSERS = (0, 1, 2)
ON, OFF = "all services", "Modbus TCP alone"
_SMALL = 10  # registers of a meter where there are many
_USUAL_CLIENTS = 4  # beside browsers
_BROWSE_S = 1.0  # between two questions of a browser
_RATE = 100.0  # requests per second and client
_MOST = 13  # an answer of a crowd may take so many seconds: each reconnect waits for its turn


class Point(NamedTuple):
    """One load."""

    axis: str
    value: int
    services: str
    case: Case | None  # None: the gateway does not start, its heap is too small
    browsers: int
    samples: list[Sample]
    paced: list[load.Load]
    heaps: list[int]  # bytes in use with the clients connected, after a collection

    @property
    def rate(self) -> float:
        """Answers per second on a core that nobody else uses."""
        return statistics.median(1e6 / sample.core_us for sample in self.samples)

    @property
    def measured_rate(self) -> float:
        """Answers per second that went by."""
        return statistics.median(sample.load.rate for sample in self.samples)

    @property
    def p99_ms(self) -> float:
        """At the fixed rate; median of the rounds."""
        return statistics.median(found.latency.p99 for found in self.paced) / 1000

    @property
    def heap(self) -> int:
        """Bytes."""
        return round(statistics.median(self.heaps))

    def as_json(self) -> dict[str, Any]:
        """Rounded."""
        where = {"axis": self.axis, "value": self.value, "services": self.services, "fits": bool(self.samples)}
        if not self.samples:
            return where
        return where | {
            "rate": round(self.rate, 1),
            "measured_rate": round(self.measured_rate, 1),
            "p99_ms": round(self.p99_ms, 3),
            "heap_bytes": self.heap,
            "reopened": sum(sample.load.reopened for sample in self.samples),
        }


def _quiet_services() -> dict[str, Any]:
    return {name: {"enabled": False} for name in ("http", "bacnet", "finder", "ntp", "posting")}


def _meters(count: int) -> dict[str, Any]:
    return {
        "meters": [{"slot": k, "name": f"meter {k}", "unit": 1 + k, "profile": f"ramp{_SMALL}"} for k in range(count)]
    }


def points(bench: processes.Bench) -> list[Point]:
    """All loads, their servers started and held."""
    found = []

    def add(axis: str, value: int, services: str, server: Server, count: int, clients: int, browsers: int = 0) -> None:
        exchange = exchanges.read(count)
        case = Case(f"{axis} {value}", server, server.ports.modbus, exchange, clients=clients, reopen=True)
        found.append(Point(axis, value, services, case, browsers, [], [], []))

    full = bench.gateway(probed=True)
    alone = bench.gateway(_quiet_services(), probed=True)
    for services, server in ((ON, full), (OFF, alone)):
        for clients in CLIENTS:
            add("clients", clients, services, server, 10, clients)
        for count in REGISTERS:
            add("registers", count, services, server, count, 1)
    for count in METERS:
        for services, over in ((ON, {}), (OFF, _quiet_services())):
            meters = [LineRamp(1 + k) for k in range(count)]
            try:
                server = bench.gateway(over | _meters(count), meters, probed=True)
            except processes.DoesNotFit as error:
                bench.progress(f"{count} meters, {services}: {str(error).splitlines()[0]}")
                found.append(Point("meters", count, services, None, 0, [], [], []))
            else:
                add("meters", count, services, server, _SMALL, 1)
    for count in BROWSERS:
        add("browsers", count, ON, full, 10, _USUAL_CLIENTS, count)
    return found


@contextlib.contextmanager
def browsing(server: Server, browsers: int) -> Iterator[None]:
    """So many browsers that ask for readings and status each second, as the page does."""
    ended, errors = threading.Event(), []
    documents = [
        questions.get("/api/readings", True, questions.readings(1)),
        questions.get("/api/status", True, lambda body: json.loads(body)),
    ]

    def browse() -> None:
        try:
            with exchanges.Kept(server.ports.http) as kept:
                while not ended.is_set():
                    for document in documents:
                        kept.ask(document)
                    ended.wait(_BROWSE_S)
        except Exception as error:  # raised where the block ends
            errors.append(error)

    threads = [threading.Thread(target=browse, daemon=True) for _ in range(browsers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def measure(point: Point, case: Case, seconds: float) -> None:
    """One more sample of a point."""
    server = case.server

    def ask(rate: float) -> load.Load:
        words: dict[str, Any] = {"seconds": seconds, "clients": case.clients, "timeout_s": _MOST}
        return load.run(case.port, case.exchange, rate=rate, reopen=True, **words)

    with server.running(), Probe(server) as probe, browsing(server, point.browsers):
        before = server.cpu()
        asked = ask(0)
        after = server.cpu()
        with compare.before_others(bench_main.progress, server.pid):
            point.paced.append(ask(_RATE))
        point.samples.append(
            Sample(asked, processes.Cpu(*(late - early for late, early in zip(after, before, strict=True))))
        )
        with _connected(case):
            point.heaps.append(probe.collect().used)


@contextlib.contextmanager
def _connected(case: Case) -> Iterator[None]:
    """The clients of a case, each with an answer; those that there is no room for have been closed again."""
    with contextlib.ExitStack() as stack:
        for _ in range(case.clients):
            client = stack.enter_context(socket.create_connection((HOST, case.port), timeout=_MOST))
            client.sendall(case.exchange.request)
            client.recv(512)
        yield


def sheet(found: list[Point], rounds: int, seconds: float) -> Sheet:
    """The table."""
    columns = ["axis", "value", "services", "/s on a free core", "/s measured", "p99 at 100/s ms", "heap used"]
    columns.append("opened again")
    rows = []
    for point in found:
        cells = ["does not fit", "", "", "", ""]
        if point.samples:
            cells = [f"{point.rate:.0f}", f"{point.measured_rate:.0f}", f"{point.p99_ms:.2f}", f"{point.heap}"]
            cells.append(str(sum(sample.load.reopened for sample in point.samples)))
        rows.append([point.axis, str(point.value), point.services, *cells])
    return Sheet(f"Scaling: {rounds} rounds of {seconds:g} s", 3, columns, rows)


def draw(figures: dict[str, Any], path: pathlib.Path) -> None:
    """Write the plots of figures, as --json writes them, as an SVG file; the same figures make the same file."""
    from matplotlib import rc_context  # takes a second
    from matplotlib.figure import Figure

    points, heap_kib = figures["points"], figures["heap_kib"]
    columns = {
        "clients": "clients",
        "registers": "registers of a read",
        "meters": "meters, polled",
        "browsers": f"browsers beside {_USUAL_CLIENTS} clients",
    }
    rows: dict[str, Callable[[dict[str, Any]], float]] = {
        "requests/s on a free core": lambda point: point["rate"],
        "99th percentile at\n100 requests/s each, ms": lambda point: point["p99_ms"],
        f"heap in use,\nKiB of {heap_kib}": lambda point: point["heap_bytes"] / 1024,
    }
    # Texts stay texts, and the ids of the file's parts are no random ones.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "scaling", "axes.grid": True, "grid.color": "#e1e0d9"}):
        figure = Figure(figsize=(9.6, 6.6), layout="constrained")
        figure.suptitle(f"Reads from memory, 32-bit MicroPython with a heap of {heap_kib} KiB")
        panels = figure.subplots(len(rows), len(columns), sharex="col", sharey="row", squeeze=False)
        for row, (title, value) in enumerate(rows.items()):
            panels[row][0].set_ylabel(title)
            for column, (axis, name) in enumerate(columns.items()):
                panel = panels[row][column]
                there = [one for one in points if one["axis"] == axis and one["fits"]]
                for services in (ON, OFF):
                    if chosen := [one for one in there if one["services"] == services]:
                        places = [one["value"] for one in chosen]
                        panel.plot(places, [value(one) for one in chosen], ".-", label=services)
                if row == len(rows) - 1:
                    panel.set_xlabel(name)
            panels[row][0].set_yscale("log" if "percentile" in title else "linear")
            if "percentile" not in title:
                panels[row][0].set_ylim(bottom=0)
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(prog="bench-scaling", description="How our gateway scales; see make bench.")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures there as well")
    parser.add_argument(
        "--from-json", metavar="FILE", type=pathlib.Path, help="only draw the plots of figures written before"
    )
    parser.add_argument("--svg", metavar="FILE", type=pathlib.Path, help="write the plots there")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default %(default)s")
    parser.add_argument("--seconds", type=float, default=2.0, metavar="S", help="default %(default)s")
    bench_main.add_where(parser)
    options = parser.parse_args(arguments)
    if options.from_json and not options.svg:
        parser.error("--from-json: --svg FILE is missing")
    bench_main.check_where(parser, options)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs it; returns the exit code."""
    options = parse(arguments)

    if options.from_json:
        draw(json.loads(options.from_json.read_text(encoding="utf-8")), options.svg)
        return 0

    def run() -> None:
        with (
            tempfile.TemporaryDirectory(prefix="meterport-scaling-") as name,
            processes.Bench(options.tree, pathlib.Path(name), bench_main.progress) as bench,
        ):
            found = points(bench)
            for turn in range(options.rounds):
                for point in found:
                    if point.case:
                        what = f"{point.case.what}, {point.services}"
                        bench_main.progress(f"round {turn + 1} of {options.rounds}: {what}")
                        measure(point, point.case, options.seconds)
        _write(found, options)

    return bench_main.on_one_core(options, run)


def _commit() -> str | None:
    """None when the measured code is not that of a commit."""
    try:
        return document.commit()
    except document.DocumentError:
        return None


def _write(found: list[Point], options: argparse.Namespace) -> None:
    table = sheet(found, options.rounds, options.seconds)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else host_tables.WIDTH)
    console.print(host_tables.table(table))
    figures = {
        "commit": _commit(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "heap_kib": int(processes.HEAP[:-1]),
        "points": [one.as_json() for one in found],
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if options.svg:
        draw(figures, options.svg)


if __name__ == "__main__":
    sys.exit(main())

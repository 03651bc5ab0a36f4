"""`make bench-emulated`: what requests cost on an emulated RP2040, in cycles of the chip at 125 MHz.

In:  options (see --help). Out: tables on stdout, progress on stderr, with --json everything as one object.
The chip runs on a clock of its own (lockstep.mjs): the same firmware takes the same cycles on every machine, all of
them. It never fails on time; it ends with 1 when a server gives a wrong answer or none.
"""

import argparse
import json
import pathlib
import signal
import subprocess
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from tools import build as device_build
from tools import debian, gateway, umodbus
from tools.bench import chip, cycles, document, elf, lockstep, questions, stages, tcp
from tools.bench.measure import Row, cycles_us
from tools.bench.servers import GATEWAY, POLL_LOOP
from tools.emulator import build, image, node

_FUNCTIONS = 20
_WIDTH = 132  # of the tables where the terminal does not say
_NOTES = """\
busy: cycles from the first bit of the request to the last bit of the answer in which the core did not sleep. Not among
them is reading PPP's UART ("line"), where MicroPython waits busily for bytes that do not come: a network device takes
its place. PPP's bytes are: they stand for the driver of the Wi-Fi, which takes other cycles. The poll loop is the
floor: the same bytes with nothing behind them.
latency: from the request's first bit on the PPP line (460800 baud) to the answer's last bit. wire: the bytes of both on
that line. RS-485: request, reply and the meter's 10 ms at 19200 baud. PPP's reader comes every 1 to 2 ms.
The emulator knows no misses of the flash's cache, and the boot ROM's routines (copying, floating point) are estimates:
a real chip is slower by what that makes."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(
        prog="bench-emulated",
        description="Measures our gateway, and the servers that it is compared with, on an emulated RP2040 with real "
        "MicroPython and lwIP. The figures are of the chip's own time and the same on every machine. The first run "
        "builds MicroPython from Debian's source packages and fetches umodbus.",
    )
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the figures there as well")
    document.add_option(parser)
    parser.add_argument(
        "--rounds", type=int, default=30, metavar="N", help="requests of a kind, pages a third; default %(default)s"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=stages.STAGES,
        metavar="STAGE",
        help=f"some stages only, repeatable: {', '.join(stages.STAGES)}",
    )
    parser.add_argument(
        "--firmware",
        type=pathlib.Path,
        metavar="FILE",
        help="another MicroPython than the emulator's own, for servers whose modules are files: firmware.bin, with "
        "firmware.elf beside it",
    )
    parser.add_argument(
        "--product", type=pathlib.Path, metavar="FILE", help="the same of the image with our firmware frozen into it"
    )
    parser.add_argument(
        "--functions", action="store_true", help="also show which Python functions the cycles of a request go to"
    )
    options = parser.parse_args(arguments)
    if not 1 <= options.rounds <= 10000:
        parser.error(f"--rounds {options.rounds}: must be 1 to 10000")
    return options


def _table(title: str, texts: int, *columns: str) -> Table:
    """The first `texts` columns are texts, the others numbers."""
    table = Table(title=title, title_justify="left", header_style="", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < texts else "right", no_wrap=True)
    return table


def rows_table(rows: list[Row]) -> Table:
    """What requests cost."""
    columns = ("busy\nkcycles", "busy\nus", "line\nkcycles", "latency\nus", "worst\nus", "wire\nus", "RS-485\nus")
    table = _table("Requests, medians", 2, "server", "request", *columns, "heap\nbytes")
    for row in rows:
        table.add_row(
            row.server,
            row.what,
            f"{row.cycles / 1000:.1f}",
            f"{row.busy_us:.0f}",
            f"{row.line_cycles / 1000:.0f}",
            f"{row.latency_us:.0f}",
            f"{row.worst_latency_us:.0f}",
            f"{row.wire_us:.0f}",
            f"{row.bus_us:.0f}" if row.bus_us else "-",
            f"{row.heap_bytes:.0f}",
        )
    return table


def heaps_table(bench: stages.Bench) -> Table:
    """What the heap holds."""
    columns = ("after\nstart", "clients", "most with\nclients", "least\nfree", "collec-\ntions", "longest\nms")
    total = bench.heaps[0].total if bench.heaps else 0
    title = f"Heap of {total} bytes: bytes in use right after a collection; what the chip does without requests"
    table = _table(title, 1, "server", *columns, "idle\nkcycles/s")
    for heap in bench.heaps:
        idle = bench.idle.get(heap.server)
        table.add_row(
            heap.server,
            str(heap.started),
            str(heap.clients),
            str(heap.busiest),
            str(heap.least_free),
            str(heap.collections),
            f"{heap.longest_us / 1000:.1f}" if heap.collections else "-",
            "-" if idle is None else f"{idle / 1000:.0f}",
        )
    return table


def parts_table(parts: dict[str, list[cycles.Share]]) -> Table:
    """Where cycles go, a row for each kind of request."""
    heads = [name.replace(" ", "\n") for name in cycles.ORDER]
    table = _table("Where the kcycles of a request go", 1, "request", *heads)
    for request, shares in parts.items():
        found = {share.name: share.cycles for share in shares}
        table.add_row(request, *(f"{found.get(name, 0) / 1000:.1f}" for name in cycles.ORDER))
    return table


def functions_table(title: str, functions: list[cycles.Share]) -> Table:
    """The Python functions that take most."""
    table = _table(f"Python functions of {title}", 1, "function", "calls", "kcycles", "us")
    for share in functions[:_FUNCTIONS]:
        table.add_row(share.name, f"{share.calls:.1f}", f"{share.cycles / 1000:.1f}", f"{cycles_us(share.cycles):.0f}")
    return table


def documented(bench: stages.Bench) -> dict[str, document.Sheet]:
    """The tables of docs/benchmarks.md: a row for each request, a column for each server, kcycles and heap. BACnet's
    and MQTT's, which none of the others serves, are tables of their own."""
    found = {(row.what, row.server): f"{row.cycles / 1000:,.0f}, {row.heap_bytes:,.0f} B" for row in bench.rows}
    servers = list(dict.fromkeys(row.server for row in bench.rows))
    servers.sort(key=lambda server: (server != GATEWAY, server == POLL_LOOP))  # ours first, the floor last
    rows = [
        [what, *(found.get((what, server), "") for server in servers)]
        for what in dict.fromkeys(what for what, _ in found)
    ]
    tables = {}
    for protocol in ("BACnet", "MQTT"):
        found_rows = [row[:2] for row in rows if row[0].startswith(protocol)]
        if found_rows:
            sheet = document.Sheet(f"Cycles of {protocol}", 1, ["request", GATEWAY], found_rows)
            tables[protocol.lower()] = sheet
        rows = [row for row in rows if not row[0].startswith(protocol)]
    if rows:
        tables["cycles"] = document.Sheet("Cycles", 1, ["request", *servers], rows)
    if bench.records:
        tables["records"] = records_sheet(bench)
    if bench.polls:
        tables["polling"] = polls_sheet(bench)
    return tables


def polls_sheet(bench: stages.Bench) -> document.Sheet:
    """What polling takes."""
    polls = bench.polls
    rows = [
        ["a poll: kcycles and heap", f"{polls['cycles'] / 1000:,.0f}, {max(0, polls['heap_bytes']):,.0f} B"],
        ["polls a second", f"{polls['polls_per_s']:.1f}"],
        ["the chip is busy", f"{100 * polls['share']:.1f} %"],
    ]
    return document.Sheet("32 meters at 9600 baud, and nobody connected", 1, ["what", "measured"], rows)


def records_sheet(bench: stages.Bench) -> document.Sheet:
    """What reading records from flash takes."""
    return document.Sheet("Records of history as CSV", 1, ["what", "measured"], [list(row) for row in bench.records])


def as_json(bench: stages.Bench) -> dict[str, object]:
    """Everything that was measured."""
    return {
        "clock_hz": chip.CLOCK_HZ,
        "firmware": bench.product.parent.name,
        "bare": bench.bare.parent.name,
        "rows": [row.as_json() for row in bench.rows],
        "records": dict(bench.records),
        "polls": bench.polls,
        "heaps": [heap.as_json() for heap in bench.heaps],
        "idle_cycles_per_s": bench.idle,
        "parts": {name: {share.name: share.cycles for share in shares} for name, shares in bench.parts.items()},
        "functions": {
            name: [[share.name, share.calls, share.cycles] for share in shares]
            for name, shares in bench.functions.items()
        },
    }


def show(bench: stages.Bench, functions: bool) -> None:
    """Prints the tables."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    if bench.rows:
        console.print(rows_table(bench.rows))
    if bench.heaps:
        console.print(heaps_table(bench))
    for sheet in [sheet(bench) for sheet, rows in ((records_sheet, bench.records), (polls_sheet, bench.polls)) if rows]:
        table = _table(sheet.title, sheet.texts, *sheet.columns)
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
    if bench.parts:
        console.print(parts_table(bench.parts))
    if functions:
        for name, shares in bench.functions.items():
            console.print(functions_table(name, shares))
    console.print(_NOTES)


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    options = parse(arguments)

    def progress(text: str) -> None:
        print(f"bench-emulated: {text}", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # temporary files go then, too
    try:
        at = document.commit() if options.into else ""
        bare = options.firmware or build.ensure_firmware(progress=progress)
        product = options.product or build.ensure_firmware(build.Variant(frozen=True), progress=progress)
        bench = stages.Bench(bare.resolve(), product.resolve(), options.rounds, progress)
        for name in options.only or stages.STAGES:
            stages.STAGES[name](bench)
    except KeyboardInterrupt:
        progress("stopped")
        return 130
    except (questions.WrongAnswer, chip.ChipError, tcp.TcpError, lockstep.LockstepError) as error:
        progress(str(error))
        return 1
    except (
        build.BuildError,
        debian.MissingPackages,
        document.DocumentError,
        device_build.BuildError,
        elf.ElfError,
        gateway.GatewayError,
        image.ImageError,
        node.NodeError,
        subprocess.SubprocessError,
        umodbus.FetchError,
        OSError,
    ) as error:
        progress(f"cannot be run: {error}")
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)
    show(bench, options.functions)
    if options.json:
        options.json.write_text(json.dumps(as_json(bench), indent=1) + "\n", encoding="utf-8")
    if options.into:
        document.put(options.into, documented(bench), at)
    return 0


if __name__ == "__main__":
    sys.exit(main())

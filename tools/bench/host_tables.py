"""The tables of `make bench`, for a terminal and for docs/benchmarks.md."""

import statistics
import sys

from rich import box
from rich.console import Console
from rich.table import Table

from tools.bench import compare, web
from tools.bench.compare import Row
from tools.bench.document import Sheet
from tools.bench.host_stages import Idle, Ratio, Results
from tools.bench.memory import Allocated, Collections
from tools.bench.processes import GATEWAY

ROWS, RATIOS, ALLOCATED = "Requests", "Our gateway to the others, round by round", "Heap for each request"
PAGES = "Pages in plenty (microdot serves nothing else, so nobody polls it)"
POLLS = f"Polls of our gateway beside them: {web.POLLERS} Modbus clients, {web.POLL_RATE}/s each"
SIEGES = f"{web.SLOW} visitors that send a header byte by byte, and an honest one that wants a page each second"
WIDTH = 132  # of the tables where the terminal does not say
NOTES = """\
Medians of {rounds} rounds of {seconds:g} s. Client and server share one core; each server is held while another one is
asked. user, system: CPU time of the server for each request. core: of server and client together, which is what a
request takes on a core that nobody else uses; ratios on a free core are made of it."""


def sheets(results: Results) -> list[Sheet]:
    """All tables of what was measured."""
    ratios = results.ratios()
    found = [
        rows_sheet(results) if results.rows else None,
        ratios_sheet(ratios) if ratios else None,
        passed_sheet(results.passed) if results.passed else None,
        paced_sheet(results.paced) if results.paced else None,
        allocated_sheet(results.allocated) if results.allocated else None,
        collections_sheet(results.collections) if results.collections else None,
        idle_sheet(results.idle) if results.idle else None,
        pages_sheet(results.web) if results.web else None,
        polls_sheet(results.web) if results.web else None,
        siege_sheet(results.sieges) if results.sieges else None,
    ]
    return [sheet for sheet in found if sheet]


def rows_sheet(results: Results) -> Sheet:
    """What requests cost."""
    columns = ["request", "server", "/s", "least", "most", "p50 us", "p99 us", "user us", "system us", "core us"]
    columns.append("slowest/ fastest")
    rows = []
    for row in results.rows:
        found = [row.case.what, row.case.server.name, *(f"{rate:.0f}" for rate in row.rate)]
        found += [f"{row.latency_us(name):.1f}" for name in ("p50", "p99")]
        found += [f"{row.cpu_us(kind):.2f}" for kind in ("user", "system")]
        rows.append([*found, f"{row.core_us.median:.2f}", f"{row.fairness:.2f}" if row.case.clients > 1 else ""])
    return Sheet(ROWS, 2, columns, rows)


def ratios_sheet(ratios: list[Ratio]) -> Sheet:
    """Our gateway to the others."""
    columns = ["request", "other", "rate", "least", "most", "on a free core", "least", "most", "user time"]
    rows = []
    for one in ratios:
        user = "" if one.user is None else f"{one.user:.2f}"
        rows.append([one.what, one.server, *(f"{value:.2f}" for value in (*one.rate, *one.core)), user])
    return Sheet(RATIOS, 2, columns, rows)


def paced_sheet(rows: list[Row]) -> Sheet:
    """Latencies at a fixed rate."""
    columns = ["load", "server", "answered", "p50 us", "p99 us", "p99 to p50", "worst us", "later than 20 ms"]
    columns += ["left late p99 us", "once sent p99 us", "p99 to p50"]
    found = []
    for row in rows:
        lags = [sample.load.lag for sample in row.samples if sample.load.lag]
        answered = sum(sample.load.requests for sample in row.samples)
        p50, p99 = row.latency_us("p50"), row.latency_us("p99")
        times = [f"{p50:.0f}", f"{p99:.0f}", f"{p99 / p50:.1f}", f"{row.worst_us:.0f}"]
        late = sum(sample.load.late for sample in row.samples)
        served = statistics.median(sample.load.served.p99 for sample in row.samples)
        served_p50 = statistics.median(sample.load.served.p50 for sample in row.samples)
        left = [f"{statistics.median(lag.p99 for lag in lags):.0f}", f"{served:.0f}", f"{served / served_p50:.1f}"]
        found.append([row.case.what, row.case.server.name, f"{answered}", *times, str(late), *left])
    return Sheet("At a fixed rate, from the moment at which a request should have left", 2, columns, found)


def passed_sheet(rows: list[Row]) -> Sheet:
    """Reads that wait for a serial line."""
    columns = ["request", "server", "/s", "p50 ms", "p99 ms", "worst ms", "CPU us", "slowest/ fastest"]
    found = []
    for row in rows:
        times = [row.latency_us("p50"), row.latency_us("p99"), row.worst_us]
        cells = [f"{row.rate.median:.1f}", *(f"{us / 1000:.1f}" for us in times), f"{row.cpu_us('total'):.0f}"]
        cells.append(f"{row.fairness:.2f}" if row.case.clients > 1 else "")
        found.append([row.case.what, row.case.server.name, *cells])
    return Sheet("Passed through to a meter on a serial line", 2, columns, found)


def allocated_sheet(rows: list[Allocated]) -> Sheet:
    """Garbage."""
    columns = ["request", "server", "bytes"]
    return Sheet(ALLOCATED, 2, columns, [[row.what, row.server, f"{row.bytes:.0f}"] for row in rows])


def collections_sheet(rows: list[Collections]) -> Sheet:
    """The gateway's collections."""
    columns = ["load", "seconds", "collections", "pause us", "longest us", "% of time", "bytes free"]
    found = []
    for row in rows:
        times = [f"{row.pause_us:.0f}", f"{row.longest_us:.0f}", f"{100 * row.share:.2f}"]
        found.append([row.what, f"{row.seconds:.1f}", str(row.number), *times, str(row.free)])
    return Sheet("Collections of the gateway's heap", 1, columns, found)


def idle_sheet(rows: list[Idle]) -> Sheet:
    """Doing nothing."""
    found = [[row.server, row.what, f"{row.percent:.2f}"] for row in rows]
    return Sheet("Idle", 2, ["server", "while", "% of a core"], found)


def pages_sheet(rows: list[web.Row]) -> Sheet:
    """Pages under load."""
    columns = ["load", "server", "polled too", "pages/s", "p50 ms", "p99 ms", "worst ms", "refused", "broken off"]
    found = []
    for row in rows:
        pages = row.as_json()["pages"]
        if pages:
            cells = ["yes" if row.case.polled else "no", f"{pages['rate']:.0f}"]
            cells += [f"{pages[name] / 1000:.1f}" for name in ("p50_us", "p99_us", "worst_us")]
            cells += [str(pages["refused"]), str(pages["broken"] + pages["unconnected"])]
            found.append([row.case.what, row.case.server.name, *cells])
    return Sheet(PAGES, 3, columns, found)


def polls_sheet(rows: list[web.Row]) -> Sheet:
    """Polls beside these pages."""
    columns = ["pages", "polls", "answered", "p50 us", "p99 us", "worst us", "left late p99 us"]
    found = []
    for row in rows:
        polls = row.as_json()["polls"]
        if polls:
            names = ("p50_us", "p99_us", "worst_us", "left_late_p99_us")
            times = [f"{polls[name]:.0f}" for name in names]
            found.append([row.case.what, str(polls["asked"]), str(polls["answered"]), *times])
    return Sheet(POLLS, 1, columns, found)


def siege_sheet(rows: list[web.Siege]) -> Sheet:
    """Slow visitors."""
    columns = ["server", "visitor came", "slow ones", "opened", "pages", "answered", "first s", "worst s"]
    columns += ["polls", "answered", "p99 us", "worst us"]
    found = []
    for one in rows:
        polls = one.as_json()["polls"]
        first = "never" if one.first_s is None else f"{one.first_s:.2f}"
        cells = [str(one.most), str(one.opened), str(one.asked), str(one.answered), first, f"{one.worst_s:.2f}"]
        cells += [f"{polls[name]:.0f}" for name in ("asked", "answered", "p99_us", "worst_us")] if polls else [""] * 4
        found.append([one.server, one.came, *cells])
    return Sheet(SIEGES, 2, columns, found)


def show(results: Results) -> None:
    """Prints the tables."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    for sheet in sheets(results):
        console.print(table(sheet))
    console.print(NOTES.format(rounds=results.rounds, seconds=results.seconds))


def table(sheet: Sheet) -> Table:
    """For rich's console."""
    found = Table(title=sheet.title, title_justify="left", header_style="", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(sheet.columns):
        # The last word of a heading on a line of its own keeps the columns narrow.
        head = "\n".join(column.rsplit(" ", 1)) if number >= sheet.texts else column
        found.add_column(head, justify="left" if number < sheet.texts else "right", no_wrap=True)
    for row in sheet.rows:
        found.add_row(*row)
    return found


def documented(results: Results) -> dict[str, Sheet]:
    """The tables of docs/benchmarks.md by their names there."""
    ratios = results.ratios()
    found = {
        "requests": overview_sheet(results) if results.rows else None,
        "ratios": short_ratios_sheet(ratios) if ratios else None,
        "passed": passed_sheet(results.passed) if results.passed else None,
        "paced": paced_sheet(results.paced) if results.paced else None,
        "collections": collections_sheet(results.collections) if results.collections else None,
        "idle": idle_sheet(results.idle) if results.idle else None,
        "pages": pages_sheet(results.web) if results.web else None,
        "polls": polls_sheet(results.web) if results.web else None,
        "slow-visitors": siege_sheet(results.sieges) if results.sieges else None,
    }
    return {name: sheet for name, sheet in found.items() if sheet}


def short_ratios_sheet(ratios: list[Ratio]) -> Sheet:
    """Medians of ratios_sheet()."""
    rows = [
        [one.what, one.server, f"{one.core.median:.2f}", "" if one.user is None else f"{one.user:.2f}"]
        for one in ratios
    ]
    return Sheet(RATIOS, 2, ["request", "to", "rate on a free core", "user time"], rows)


def overview_sheet(results: Results) -> Sheet:
    """A row for each request, a column for each server: requests per second on a free core, user time, heap."""
    heaps = {(one.what, one.server): one.bytes for one in results.allocated}
    names = list(dict.fromkeys(row.case.server.name for row in results.rows))
    names.sort(key=lambda name: name != GATEWAY)
    rows = []
    for what in dict.fromkeys(row.case.what for row in results.rows):
        cells = []
        for name in names:
            row = compare.find(results.rows, what, name)
            cell = f"{1e6 / row.core_us.median:,.0f}/s, {row.cpu_us('user'):.1f} us" if row else ""
            heap = heaps.get((what, name))
            cells.append(cell if not row or heap is None else f"{cell}, {heap:,.0f} B")
        rows.append([what, *cells])
    return Sheet("Requests on a free core, user time and heap of each", 1, ["request", *names], rows)

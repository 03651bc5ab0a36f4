"""The tables of `make bench`, for a terminal and for the README."""

import sys
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from tools.bench.host_stages import Ratio, Results

_WIDTH = 132  # of the tables where the terminal does not say
NOTES = """\
Medians of the rounds. Client and server share one core; each server is held while another one is asked.
user, system: CPU time of the server for each request. core: of server and client together, which is what a request
takes on a core that nobody else uses; ratios on a free core are made of it."""


class Sheet(NamedTuple):
    """A table: the first `texts` columns are texts, the others numbers."""

    title: str
    texts: int
    columns: list[str]
    rows: list[list[str]]


def sheets(results: Results) -> list[Sheet]:
    """All tables of what was measured."""
    found = [rows_sheet(results)] if results.rows else []
    ratios = results.ratios()
    return [*found, ratios_sheet(ratios)] if ratios else found


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
    return Sheet(f"Requests: {results.rounds} rounds of {results.seconds:g} s", 2, columns, rows)


def ratios_sheet(ratios: list[Ratio]) -> Sheet:
    """Our gateway to the others."""
    columns = ["request", "meterport to", "rate", "least", "most", "on a free core", "least", "most", "user time"]
    rows = [
        [one.what, one.server, *(f"{value:.2f}" for value in (*one.rate, *one.core, one.user))] for one in ratios
    ]
    return Sheet("Ratios, round by round", 2, columns, rows)


def show(results: Results) -> None:
    """Prints the tables."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    for sheet in sheets(results):
        console.print(_table(sheet))
    console.print(NOTES)


def _table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left", header_style="", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, column in enumerate(sheet.columns):
        # The last word of a heading on a line of its own keeps the columns narrow.
        head = "\n".join(column.rsplit(" ", 1)) if number >= sheet.texts else column
        table.add_column(head, justify="left" if number < sheet.texts else "right", no_wrap=True)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def markdown(results: Results) -> str:
    """The same for the README."""
    return "\n".join(_markdown(sheet) for sheet in sheets(results))


def _markdown(sheet: Sheet) -> str:
    lines = [f"**{sheet.title}**", "", "| " + " | ".join(sheet.columns) + " |"]
    lines.append("|" + "|".join("---" if k < sheet.texts else "--:" for k in range(len(sheet.columns))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in sheet.rows]
    return "\n".join(lines) + "\n"

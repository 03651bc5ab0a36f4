"""Puts measured tables into docs/benchmarks.md, and what README.md repeats of them into that: `--into FILE` of the
benchmarks, all of which `make benchmarks` runs.

In:  tables by name. A document has a place for each:

         <!-- table NAME -->
         ... replaced by "At COMMIT:" and the table
         <!-- end -->
Out: the file, rewritten. Raises DocumentError when there is no such place, or when the code that was measured differs
from the last commit.
"""

import argparse
import pathlib
import re
import subprocess
from typing import NamedTuple

from tools import build

BENCHMARKS = build.ROOT / "docs" / "benchmarks.md"
README = build.ROOT / "README.md"
_MEASURED = ("boot.py", "main.py", "firmware", "lib", "tools")  # what a figure depends on
_KCYCLES_PER_MS = 125  # the RP2040's clock
_PLACE = re.compile(r"(<!-- table ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


class DocumentError(RuntimeError):
    """A table has no place, or its commit has no name."""


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds --into."""
    parser.add_argument(
        "--into", metavar="FILE", type=pathlib.Path, help="put the tables into docs/benchmarks.md there"
    )


class Sheet(NamedTuple):
    """A table: the first `texts` columns are texts, the others numbers."""

    title: str
    texts: int
    columns: list[str]
    rows: list[list[str]]


def markdown(sheet: Sheet) -> str:
    """The table without its title."""
    lines = ["| " + " | ".join(sheet.columns) + " |"]
    lines.append("|" + "|".join("---" if k < sheet.texts else "--:" for k in range(len(sheet.columns))) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in sheet.rows]
    return "\n".join(lines) + "\n"


def commit(root: pathlib.Path = build.ROOT) -> str:
    """The abbreviated hash of the commit that the tree is at. Raises DocumentError when measured code has changed."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise DocumentError(f"git {words[0]}: {done.stderr.strip()}")
        return done.stdout.rstrip()

    if changed := git("status", "--porcelain", "--", *_MEASURED):
        raise DocumentError(f"commit first, so that the tables can name what they measure:\n{changed}")
    return git("rev-parse", "--short=7", "HEAD")


def put(path: pathlib.Path, tables: dict[str, Sheet], at: str) -> None:
    """Replaces tables of the document `path`; `at`: the commit that they were measured at."""
    text = path.read_text(encoding="utf-8")
    missing = set(tables) - {name for _, name, _ in _PLACE.findall(text)}
    if missing:
        raise DocumentError(f"{path}: no place for the table {', '.join(sorted(missing))}")

    def replace(place: re.Match[str]) -> str:
        head, name, end = place.groups()
        return f"{head}At {at}:\n\n{markdown(tables[name])}{end}" if name in tables else place[0]

    path.write_text(_PLACE.sub(replace, text), encoding="utf-8")
    if path == BENCHMARKS:
        README.write_text(with_numbers(README.read_text(encoding="utf-8"), path.read_text(encoding="utf-8")), "utf-8")


def with_numbers(readme: str, benchmarks: str) -> str:
    """README.md with the measured numbers of its table taken from benchmarks.md."""

    def cell(row: str, column: int) -> str:
        found = re.search(rf"^\| {re.escape(row)} \|(.*)\|$", benchmarks, re.MULTILINE)
        if not found:
            raise DocumentError(f"benchmarks.md has no row {row}")
        return found[1].split("|")[column].strip()

    def ms_and_heap(kcycles_and_heap: str) -> tuple[float, str]:
        kcycles, _, heap = kcycles_and_heap.rpartition(", ")
        return float(kcycles.replace(",", "")) / _KCYCLES_PER_MS, "no heap" if heap == "0 B" else heap

    ours_ms, ours_heap = ms_and_heap(cell("read of 10 registers", 0))
    theirs_ms, theirs_heap = ms_and_heap(cell("read of 10 registers", 1))
    page_ms, _ = ms_and_heap(cell("GET /", 0))
    numbers = {
        "cached read of 10 registers on the RP2040 (emulated)": (
            f"{ours_ms:.1f} ms, {ours_heap} (umodbus: {theirs_ms:.1f} ms, {theirs_heap})"
        ),
        "page on the RP2040 (emulated)": f"{page_ms / 1000:.1f} s for {cell('the page, packed with gzip', 0)}",
        "time on a full bus over the least that bits and delays take": cell(
            "time on a full bus (9600 baud, ten meters) over the least that bits and delays take", 0
        ),
    }
    for row, value in numbers.items():
        found = re.search(rf"^\| {re.escape(row)} \|.*\|$", readme, re.MULTILINE)
        if not found:
            raise DocumentError(f"README.md has no row {row}")
        readme = readme.replace(found[0], f"| {row} | {value} |")
    return readme

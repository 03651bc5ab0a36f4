"""Tables of the benchmarks in docs/benchmarks.md and README.md (tools/bench/document.py)."""

import re
import subprocess

import pytest

from tools.bench import document
from tools.bench.document import DocumentError, Sheet

PAGE = """\
# Numbers

<!-- table sizes -->
At 1111111:

| old |
<!-- end -->

Between.

<!-- table idle -->
At 2222222:

| kept |
<!-- end -->
"""


@pytest.fixture
def repository(tmp_path):
    def git(*words):
        return subprocess.run(["git", "-C", str(tmp_path), *words], capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "ntp.py").write_text("")
    git("add", "-A")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "first")
    return tmp_path, git("rev-parse", "HEAD").strip()


def test_a_table_and_its_commit_replace_the_old_ones_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    document.put(page, {"sizes": Sheet("Sizes", 1, ["what", "bytes"], [["heap", "7"]])}, "3333333")
    table = "| what | bytes |\n|---|--:|\n| heap | 7 |\n"
    assert page.read_text() == PAGE.replace("1111111", "3333333").replace("| old |\n", table)


def test_a_table_without_a_place_is_an_error_and_the_document_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    tables = {name: Sheet("", 1, ["what"], []) for name in ("sizes", "nowhere")}
    with pytest.raises(DocumentError, match="no place for the table nowhere"):
        document.put(page, tables, "3333333")
    assert page.read_text() == PAGE


def test_the_commit_is_that_of_the_measured_tree(repository):
    folder, head = repository
    (folder / "README.md").write_text("not measured")
    found = document.commit(folder)
    assert head.startswith(found)
    assert len(found) >= 7


def test_changed_code_cannot_be_named(repository):
    folder, _ = repository
    (folder / "lib" / "ntp.py").write_text("VERSION = 4")
    with pytest.raises(DocumentError, match=r"commit first.*\n M lib/ntp\.py"):
        document.commit(folder)


def test_every_table_of_the_document_names_its_commit():
    text = document.BENCHMARKS.read_text(encoding="utf-8")
    tables = text.count("<!-- table ")
    assert tables > 10
    assert len(re.findall(r"<!-- table [a-z-]+ -->\nAt [0-9a-f]{7}:\n\n\|", text)) == tables
    assert text.count("<!-- end -->") == tables


def test_the_readme_repeats_the_numbers_of_the_document():
    readme, benchmarks = (path.read_text(encoding="utf-8") for path in (document.README, document.BENCHMARKS))
    assert document.with_numbers(readme, benchmarks) == readme
    slower = re.sub(r"(\| read of 10 registers \|) \d+", r"\1 250", benchmarks)
    assert "2.0 ms, no heap" in document.with_numbers(readme, slower)


def test_a_row_that_is_gone_is_an_error():
    readme, benchmarks = (path.read_text(encoding="utf-8") for path in (document.README, document.BENCHMARKS))
    with pytest.raises(DocumentError, match="no row GET /"):
        document.with_numbers(readme, benchmarks.replace("| GET / |", "| page |"))
    with pytest.raises(DocumentError, match=r"README\.md has no row"):
        document.with_numbers(readme.replace("| page on", "| pages on"), benchmarks)

"""The documents: every link leads somewhere, every JSON and Python example can be read, every shell command is one that
a test runs or that this file says why it cannot run here."""

import ast
import json
import re
import shlex
import subprocess

import pytest

from host_tests.documents import (
    MAKE,
    NEEDS_BROKER,
    NEEDS_HARDWARE,
    NEEDS_NETWORK,
    PAGES,
    ROOT,
    RUN_ON_THE_SIM,
    anchors,
    blocks,
    commands,
    text_of,
)
from tools import page as page_tool


def commands_that_run_here():
    apart = (*RUN_ON_THE_SIM, MAKE, *NEEDS_HARDWARE, *NEEDS_NETWORK, *NEEDS_BROKER)
    return [(page, command) for page, _, command in commands() if not command.startswith(apart)]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text)
    wrong = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        found = (ROOT / page).parent / path if path else ROOT / page
        is_there = found.exists()
        if not is_there or (anchor and anchor not in anchors(found.resolve().relative_to(ROOT).as_posix())):
            wrong.append(target)
    assert not wrong


def test_the_link_check_sees_a_wrong_heading():
    assert "quick-start-a-a-board" in anchors("README.md")
    assert "quick-start" not in anchors("README.md")


def test_every_page_and_picture_of_docs_is_linked():
    linked = {"docs/reference/README.md", "docs/decisions/README.md"}
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", text_of(page)) + re.findall(r'src="([^"]+)"', text_of(page)):
            if "://" not in target:
                linked.add(((ROOT / page).parent / target).resolve().relative_to(ROOT).as_posix())
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.*") if path.is_file()}
    assert files - linked == set()


def test_every_page_is_in_the_navigation_of_the_site():
    """`make docs` refuses it otherwise; decisions are added by tools/mkdocs_hook.py."""
    pages = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    listed = set(re.findall(r"- (\S+\.md)$", text_of("tools/mkdocs.yml"), re.MULTILINE))
    assert {page for page in pages if not page.startswith("decisions/0")} - listed == set()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "json")])
def test_json_examples_are_json(page):
    for _, block in blocks(page, "json"):
        json.loads(block)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_examples_are_python(page):
    for _, block in blocks(page, "python"):
        ast.parse(block)


def test_a_profile_on_a_page_is_the_one_of_the_examples():
    (_, block), *_ = blocks("docs/add-a-meter.md", "json")
    assert json.loads(block) == json.loads(text_of("examples/profile-minimal.json"))


def test_the_example_of_one_meter_has_the_pins_that_the_readme_wires():
    (bus,) = json.loads(text_of("examples/config-one-meter.json"))["buses"]
    assert [int(pin) for pin in re.findall(r"\bGP(\d+) \(pin", text_of("README.md"))] == [
        bus["tx"],
        bus["rx"],
        bus["direction"],
    ]


def test_every_make_command_names_targets_and_variables_that_there_are():
    makefile = text_of("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE)) | {"UPGRADE"}
    wrong = []
    for page in PAGES:
        text = text_of(page)
        spoken = re.findall(r"`(?:[A-Z_]+=\S+ )*(make [^`\n]+)`", text)
        in_blocks = [command for where, _, command in commands() if where == page and command.startswith(MAKE)]
        for command in in_blocks + spoken:
            for word in shlex.split(command.replace("...", "").replace("path]", "path"))[1:]:
                name, equals, _ = word.partition("=")
                if not word.startswith("-") and name.lstrip("[") not in (variables if equals else targets):
                    wrong.append((page, command, name))
    assert not wrong


@pytest.mark.parametrize("command", sorted({command for _, _, command in commands() if command.startswith(MAKE)}))
def test_make_takes_the_command(command):
    """make -n: parsed and expanded, nothing is run. What the targets do has tests of its own."""
    if "$" in command or "~" in command:
        command = command.replace("~", "/tmp")
    subprocess.run(
        ["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=60
    )


@pytest.mark.parametrize("command", sorted({command for _, command in commands_that_run_here()}))
def test_a_command_that_needs_nothing_else_runs(command, tmp_path):
    """As it stands, from the repository's root; what it would write there goes to a folder of the test's own."""
    command = command.replace("build/try", str(tmp_path / "try"))
    if command.startswith("cp "):
        (tmp_path / "try/data/meters").mkdir(parents=True)
    subprocess.run(["sh", "-c", command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=300)


def test_every_shell_block_says_that_it_is_one():
    """An untagged block with a command would be checked by nobody."""
    for page in PAGES:
        for _, block in blocks(page, ""):
            for line in block.splitlines():
                assert not re.match(r"\s*(make|curl|mbpoll|\.venv/bin|python|mpremote|git) ", line), (page, line)


def test_the_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= 115


def test_the_heaps_of_the_readme_are_those_of_the_benchmarks():
    """The other numbers: test_bench_document.py."""
    benchmarks = text_of("docs/benchmarks.md")
    numbers = text_of("README.md").split("## Numbers", 1)[1].split("\n## ", 1)[0]
    at_rest, at_work = re.search(r"at most (\d+) KiB", numbers)[1], re.search(r"(\d+) KiB of a Pico W", numbers)[1]
    assert f"bytes in use | {at_rest} KiB" in benchmarks
    assert f"a save of the configuration | {at_work} KiB" in benchmarks


def test_the_bound_of_the_page_is_that_of_its_maker():
    bound = str(page_tool.MOST_BYTES // 1024)
    for name in ("README.md", "docs/pages.md"):
        assert re.search(r"ne document of less than (\d+) KB", text_of(name))[1] == bound, name


def test_the_gates_of_the_heap_are_those_of_the_tests():
    source = text_of("host_tests/system/test_heap_gates.py")
    benchmarks = text_of("docs/benchmarks.md")
    for at_rest in re.findall(r"AT_REST_BYTES = (\d+) \* 1024", source):
        assert f"bytes in use | {at_rest} KiB" in benchmarks
    heaps = re.findall(r'"(\d+)K"', source)
    for kib in re.findall(r"(?:a save of the configuration|two browsers, a save) \| (\d+) KiB", benchmarks):
        assert kib in heaps

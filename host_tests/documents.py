"""The documents as the tests read them: pages, fenced blocks, anchors, and the shell commands by where they can run."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md"),
                 *(ROOT / "tools").rglob("*.md"))
)  # fmt: skip

# Commands that host_tests/system/test_documents.py runs, by their first words.
CLI = ".venv/bin/meterport "
RUN_ON_THE_SIM = ("curl http://127.0.0.1:8080/", "mbpoll -m tcp -p 1502 ", CLI)
# Commands that are made of targets: only their names and variables are checked here (make -n). `make sim`, `check`,
# `test` and `emulated` are what developers and CI run; the others need a board, a MicroPython checkout, or much time.
MAKE = "make "
# Commands that need a board or a gateway on the network, or would change this machine.
NEEDS_HARDWARE = (".venv/bin/mpremote ",)
NEEDS_NETWORK = ("git clone ",)
# Commands against a broker: host_tests/interop/test_fleet.py runs them with fewer gateways.
FLEET = ".venv/bin/python -m tools.fleet --"
NEEDS_BROKER = (FLEET,)
# The rest runs as it stands, from the root.


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    """The fenced blocks of a language: (line of the page, text)."""
    text = text_of(page)
    found = re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start()) + 2, match[1]) for match in found]


def anchors(page):
    """What a link may name behind #: the headings as GitHub and mkdocs write them."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in plain}


def commands():
    """(page, line, command) of every line of the shell blocks, without its comment."""
    for page in PAGES:
        for first, block in blocks(page, "sh"):
            for k, line in enumerate(block.splitlines()):
                command = re.sub(r"\s+#.*$", "", line).strip()
                if command:
                    yield page, first + k, command

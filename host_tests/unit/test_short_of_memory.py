"""Real 32-bit MicroPython with a heap that is full: the loop goes on, and no socket or slot is lost
(host_tests/on_micropython/short_of_memory.py)."""

import json
import subprocess
from pathlib import Path

import pytest

from tools.micropython import ensure

_ROOT = Path(__file__).resolve().parents[2]
_FOLDER = _ROOT / "host_tests" / "on_micropython"
_NAMES = [
    line.split()[1].partition("(")[0]
    for line in (_FOLDER / "short_of_memory.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("def test_")
]


@pytest.fixture(scope="module")
def results():
    """{name: result} of each function, and what was printed."""
    done = subprocess.run(
        [str(ensure()), "-X", "heapsize=256K", str(_FOLDER / "run_module.py"), "short_of_memory",
         str(_ROOT), str(_ROOT / "lib"), str(_FOLDER)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    return {result["name"]: result for result in found}, done.stdout + done.stderr


@pytest.mark.parametrize("name", _NAMES)
def test_without_memory(results, name):
    found, output = results
    assert name in found, output
    assert found[name]["ok"], found[name]["traceback"]

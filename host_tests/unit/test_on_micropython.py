"""Runs portable_*.py on CPython and on real MicroPython, with the heap of a small board."""

import functools
import importlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tools.micropython import ensure

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent.parent
_RUNNER = _ROOT / "host_tests" / "on_micropython" / "run_module.py"
_HEAP = "256K"  # the modules come from source here, which takes more than .mpy files do
_MODULES = sorted(path.stem for path in _HERE.glob("portable_*.py"))

# Each function runs in an empty folder of its own, as the firmware does in the root of the device's file system.
_IN_FOLDERS = """
import os, sys
sys.path[0:0] = {paths!r}
import {module} as plain
def wrap(name, function):
    def run():
        os.mkdir(name)
        os.chdir(name)
        try:
            function()
        finally:
            os.chdir("..")
    return run
for name in dir(plain):
    if name.startswith("test_"):
        globals()[name] = wrap(name, getattr(plain, name))
"""


def _functions(module):
    namespace = vars(importlib.import_module(f"host_tests.unit.{module}"))
    return {name: value for name, value in namespace.items() if name.startswith("test_")}


@functools.cache
def _on_micropython(module):
    """(result by function name, exit status, tail of what was printed)."""
    folder = Path(tempfile.mkdtemp(prefix="meterport-"))
    try:
        paths = [str(_ROOT), str(_ROOT / "lib"), str(_HERE)]
        (folder / "wrapped.py").write_text(_IN_FOLDERS.format(paths=paths, module=module))
        done = subprocess.run(
            [str(ensure()), "-X", f"heapsize={_HEAP}", str(_RUNNER), "wrapped", str(folder)],
            cwd=folder, capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)
    results = {}
    for line in done.stdout.splitlines():
        if line.startswith('{"'):
            result = json.loads(line)
            results[result["name"]] = result
    return results, done.returncode, done.stdout[-2000:] + done.stderr[-4000:]


_CASES = [pytest.param(module, name, id=f"{module}-{name}") for module in _MODULES for name in _functions(module)]


@pytest.mark.parametrize(("module", "function"), _CASES)
def test_on_cpython(module, function, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _functions(module)[function]()


@pytest.mark.parametrize(("module", "function"), _CASES)
def test_on_real_micropython(module, function):
    results, status, output = _on_micropython(module)
    if function not in results:
        pytest.fail(f"{function} gave no result (exit status {status})\n{output}", pytrace=False)
    if not results[function]["ok"]:
        pytest.fail(results[function]["traceback"], pytrace=False)

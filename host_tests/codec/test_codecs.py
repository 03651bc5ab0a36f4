"""Runs every test function of host_tests/codec/codec_*.py on CPython and on real MicroPython.

A codec module is plain Python: no pytest, functions named test_* without arguments, plain asserts, helpers
from expect.py. On MicroPython each module is run once, in a process of its own with the heap of a small
board, by host_tests/on_micropython/run_module.py; its results are kept and asserted one by one here.
"""

import functools
import importlib
import json
import subprocess
from pathlib import Path

import pytest

from tools.micropython import ensure

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent.parent
_RUNNER = _ROOT / "host_tests" / "on_micropython" / "run_module.py"
_HEAP = "128K"  # what is left on a board with Wi-Fi up, and then some
_MODULE_TIMEOUT_S = 120

_MODULES = sorted(path.stem for path in _HERE.glob("codec_*.py"))


def _functions(module):
    """Test functions of one codec module, in the order of the file."""
    namespace = vars(importlib.import_module(module))
    return {name: value for name, value in namespace.items() if name.startswith("test_")}


@functools.cache
def _on_micropython(module):
    """One module on MicroPython: (result lines by test name, exit status, tail of what it printed)."""
    command = [str(ensure()), "-X", f"heapsize={_HEAP}", str(_RUNNER), module, str(_HERE), str(_ROOT / "lib")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_MODULE_TIMEOUT_S, check=False)
    results = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            result = json.loads(line)
            results[result["name"]] = result
    return results, done.returncode, done.stdout[-2000:] + done.stderr[-4000:]


_CASES = [
    pytest.param(runtime, module, function, id=f"{runtime}-{module}-{function}")
    for module in _MODULES
    for runtime in ("cpython", "micropython")
    for function in _functions(module)
]


@pytest.mark.parametrize(("runtime", "module", "function"), _CASES)
def test_codec(runtime, module, function):
    if runtime == "cpython":
        _functions(module)[function]()
        return
    results, status, output = _on_micropython(module)
    if function not in results:
        pytest.fail(f"{function} gave no result on MicroPython (exit status {status})\n{output}", pytrace=False)
    if not results[function]["ok"]:
        pytest.fail(results[function]["traceback"], pytrace=False)


@pytest.mark.parametrize("module", _MODULES)
def test_both_runtimes_ran_the_same_tests(module):
    results, status, output = _on_micropython(module)
    assert status == 0, output
    assert set(results) == set(_functions(module))
    assert results, f"{module} holds no test"

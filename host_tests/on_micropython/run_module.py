"""Runs the test functions of one plain module on MicroPython and prints one JSON line for each.

    micropython -X heapsize=128K run_module.py MODULE PATH...

The PATHs go to the front of sys.path, in order. A test is a function named test_* without arguments; it
fails by raising. Output lines: {"name": ..., "ok": true|false, "traceback": "" or text}. Exit status 0 when
every test was run, whether it passed or not; 1 when the module could not be imported, with the traceback on
standard error.
"""

import gc
import io
import json
import sys


def run(function):
    """Traceback text of one test, empty when it passed."""
    try:
        function()
    except Exception as e:
        text = io.StringIO()
        sys.print_exception(e, text)
        return text.getvalue()
    return ""


def main():
    sys.path[0:0] = sys.argv[2:]
    module = __import__(sys.argv[1])
    for name in dir(module):
        if name.startswith("test_"):
            gc.collect()  # each test starts with the same heap, whatever the one before it left
            traceback = run(getattr(module, name))
            print(json.dumps({"name": name, "ok": not traceback, "traceback": traceback}))


main()

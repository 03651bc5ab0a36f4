"""Runs on MicroPython with the compiled tree: what the modules of each service take of the heap, in the order of their
starting. Prints one JSON line, {name: [bytes, what firmware.app reckons with]}."""

import gc
import json

from firmware import app, board

port = board.detect()


def used():
    gc.collect()
    return gc.mem_alloc()


class Nothing:
    """In place of the application: a service's maker imports, and fails on what it then asks for."""

    resolver = app.App.resolver  # which imports


found = {}
for name, make, heap in app.BUILT:
    before = used()
    try:
        make(Nothing())
    except AttributeError:
        pass
    found[name] = [used() - before, heap]
print(json.dumps(found))

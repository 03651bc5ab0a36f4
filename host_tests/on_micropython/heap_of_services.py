"""Runs on MicroPython with the compiled tree: what the modules of each service take of the heap, in the order of their
starting. Prints one JSON line, a list of [name, bytes, what firmware.app reckons with]."""

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


class Names:
    """Of no use but to have attributes."""


# MicroPython keeps each name for good, in a table that doubles when it is full (9 KB at 1260 names): which service
# fills it depends on every other name of the firmware. So it has room for all names before the first is measured.
for number in range(1500):
    setattr(Names, "name_%d" % number, None)
found = []
for name, make, heap in app.BUILT:
    before = used()
    try:
        make(Nothing())
    except AttributeError:
        pass
    found.append([name, used() - before, heap])
print(json.dumps(found))

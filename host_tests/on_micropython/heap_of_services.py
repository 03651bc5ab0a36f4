"""Runs on MicroPython with the compiled tree: what the modules of each service take of the heap, in the order of their
starting, without the services that are its arguments; then those of each setting in firmware.app.FURTHER. Prints one
JSON line, a list of [service or "service.setting", bytes]."""

import gc
import json
import sys

from firmware import app, board

# What is imported with a setting, beside the modules of its service.
MODULES = {
    "mqtt.history": ("firmware.history.records", "firmware.services.mqtt.history"),
    "mqtt.homeassistant": ("firmware.services.mqtt.discovery",),
    "mqtt.payload": ("firmware.services.mqtt.sparkplug", "firmware.services.mqtt.sparkplug_history"),
}

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
for name, make, _ in app.BUILT:
    if name in sys.argv[1:]:
        continue
    before = used()
    try:
        make(Nothing())
    except AttributeError:
        pass
    found.append([name, used() - before])
from firmware.history import recorder, segments  # noqa: F401  # history.flash has them imported before services

for name, setting, _, _, _ in app.FURTHER:
    if name in sys.argv[1:]:
        continue
    key = "%s.%s" % (name, setting)
    before = used()
    for module in MODULES[key]:
        __import__(module)
    found.append([key, used() - before])
print(json.dumps(found))

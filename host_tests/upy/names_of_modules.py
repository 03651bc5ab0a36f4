"""Runs on MicroPython, in a state directory: the firmware, and then all of its modules but those of other boards and of
the prompt, each loaded once as over the weeks of a device's life. Prints the names that MicroPython keeps, each as a
line "Q(name)".
"""

import asyncio
import os
import sys

import micropython

from firmware import app, board
from firmware.net import seam

OTHERS = ("firmware.board.chip", "firmware.board.emulated_pico", "firmware.board.esp32", "firmware.board.rp2",
          "firmware.net.seam_cpython", "firmware.technician")  # fmt: skip


def load_all(folder, package):
    for entry in os.listdir(folder):
        name, dot, kind = entry.partition(".")
        if kind in ("mpy", "py"):
            full = package + name if name != "__init__" else package[:-1]
            if full not in OTHERS:
                __import__(full)
        elif not dot and entry not in ("meters", "page"):
            load_all("%s/%s" % (folder, entry), "%s%s." % (package, entry))


async def measure(gateway):
    gateway.start()
    await asyncio.sleep_ms(100)
    load_all(".fw/firmware", "firmware.")
    load_all(".fw/lib", "")
    micropython.qstr_info(1)


seam.install()
gateway = app.App(board.detect())
try:
    asyncio.run(measure(gateway))
finally:
    gateway.close()
sys.exit(0)

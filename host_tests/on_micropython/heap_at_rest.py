"""Runs on MicroPython, in a state directory: the firmware as main.py starts it, and its heap after some seconds.

Prints one JSON line: bytes of heap in all, and in use (after a collection) before the first import and when everything
runs. tools/bench/figures.py calls it.
"""

import asyncio
import gc
import json

gc.collect()
total = gc.mem_alloc() + gc.mem_free()
before = gc.mem_alloc()

from firmware import app, board
from firmware.net import seam


async def measure(gateway):
    gateway.start()
    for _ in range(100):
        await asyncio.sleep_ms(100)
        if all([meter.state == 1 for meter in gateway.meters.meters]):
            break
    gc.collect()
    print(json.dumps({"total": total, "before": before, "running": gc.mem_alloc()}))


seam.install()
gateway = app.App(board.detect())
try:
    asyncio.run(measure(gateway))
finally:
    gateway.close()

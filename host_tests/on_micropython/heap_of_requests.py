"""Runs on MicroPython, in a state directory: the firmware, and what its heap grows by while clients ask.

Argument: how many requests to look at. Prints the ready line's equivalent, "asked for", once the meters are read; then,
when so many requests were answered with no collection in between, one JSON line: requests and bytes.
"""

import asyncio
import gc
import json
import sys

from firmware import app, board
from firmware.meters.meter import ONLINE
from firmware.net import seam

REQUESTS = int(sys.argv[1])
WARM = 200


async def answered(counters, wanted):
    while counters.requests < wanted:
        await asyncio.sleep_ms(5)


async def measure(gateway):
    gateway.start()
    while not all([meter.state == ONLINE for meter in gateway.meters.meters]):
        await asyncio.sleep_ms(20)
    counters = gateway.service("modbus").counters
    print("asked for")
    await answered(counters, WARM)
    gc.collect()
    gc.disable()
    begin, before = counters.requests, gc.mem_alloc()
    await answered(counters, begin + REQUESTS)
    grown = gc.mem_alloc() - before
    gc.enable()
    print(json.dumps({"requests": counters.requests - begin, "bytes": grown}))


seam.install()
gateway = app.App(board.detect())
try:
    asyncio.run(measure(gateway))
finally:
    gateway.close()

"""Runs on MicroPython, in a state directory: the firmware as main.py starts it, and beside it a task that measures its
heap: a line "heap N", bytes in use after a collection, twice a second. Knows nothing of the firmware but main.run(),
and that it runs on asyncio.run().
"""

import asyncio
import gc

import main

_PERIOD_MS = 500
_run = asyncio.run


async def _watch():
    while True:
        await asyncio.sleep_ms(_PERIOD_MS)
        gc.collect()
        print("heap", gc.mem_alloc())


def _run_watched(coroutine):
    asyncio.create_task(_watch())
    return _run(coroutine)


asyncio.run = _run_watched
main.run()

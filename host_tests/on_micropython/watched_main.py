"""Runs on MicroPython, in a state directory: the firmware as main.py starts it, and beside it a task that measures its
heap: twice a second a line "heap N", bytes in use after a collection, and MicroPython's count of interned names.

With a path as its argument it measures only while there is a file of that name. Knows nothing of the firmware but
main.run(), and that it runs on asyncio.run().
"""

import asyncio
import gc
import os
import sys

import micropython

import main

_PERIOD_MS = 500
_run = asyncio.run


def _is_wanted():
    if len(sys.argv) < 2:
        return True
    try:
        os.stat(sys.argv[1])
    except OSError:
        return False
    return True


async def _watch():
    while True:
        await asyncio.sleep_ms(_PERIOD_MS)
        if _is_wanted():
            gc.collect()
            print("heap", gc.mem_alloc())
            micropython.qstr_info()


def _run_watched(coroutine):
    asyncio.create_task(_watch())
    return _run(coroutine)


asyncio.run = _run_watched
main.run()

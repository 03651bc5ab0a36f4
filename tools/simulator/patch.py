"""Puts the simulated clock and sockets under the firmware's seam, without changing a file of it, and takes them away.

What is replaced, for the duration of a `with`:
    firmware.net.seam_cpython   its globals `socket`, `time` and `asyncio`
    os.urandom                  the seed's bytes (nonces of NTP, ids of DNS queries)
    working directory           the flash folder: data/config.json lies there
    sys.stdout                  a Console that keeps the last lines
"""

import asyncio
import contextlib
import io
import os
from collections import deque


class TimeModule:
    """The names of `time` that the seam uses. Each look at the clock takes a while, as a call does on these chips; so
    spin_us, which looks again and again until a moment has come, ends."""

    _LOOK_US = 20

    def __init__(self, timeline):
        self._timeline = timeline

    def monotonic_ns(self):
        self._timeline.now_us += self._LOOK_US
        return self._timeline.now_us * 1000


class AsyncioModule:
    """asyncio, with the wait_for of Python 3.12 in every version: no task of its own for each wait, which would be half
    of all the work of a simulated day."""

    def __getattr__(self, name):
        return getattr(asyncio, name)

    @staticmethod
    async def wait_for(awaitable, timeout):
        async with asyncio.timeout(timeout):
            return await awaitable


class Console(io.TextIOBase):
    """Keeps the last `most` lines."""

    def __init__(self, most=400):
        self.lines = deque(maxlen=most)
        self._rest = ""

    def writable(self):
        return True

    def write(self, text):
        *lines, self._rest = (self._rest + text).split("\n")
        self.lines.extend(lines)
        return len(text)


@contextlib.contextmanager
def patched(timeline, sockets, rng, folder, console):
    """`sockets` is a SocketModule, `folder` the flash folder."""
    from firmware.net import seam_cpython

    saved = seam_cpython.socket, seam_cpython.time, seam_cpython.asyncio
    urandom = os.urandom
    where = os.getcwd()
    try:
        seam_cpython.socket, seam_cpython.time = sockets, TimeModule(timeline)
        seam_cpython.asyncio = AsyncioModule()
        os.urandom = rng.randbytes
        os.chdir(folder)
        with contextlib.redirect_stdout(console), contextlib.redirect_stderr(console):
            yield
    finally:
        seam_cpython.socket, seam_cpython.time, seam_cpython.asyncio = saved
        os.urandom = urandom
        os.chdir(where)

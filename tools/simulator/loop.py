"""An asyncio loop on a Timeline: instead of waiting it runs what the network has to do, and jumps to the next moment at
which a watched (fake) file descriptor is ready or a timer is due.

A fake descriptor belongs to an object with readable() and writable(). Whoever changes what these say calls
touch(fd); so a turn costs nothing for descriptors to which nothing happened. Readiness is level-triggered, and the
order of those ready at once is the seed's.
"""

import asyncio
import math
from selectors import EVENT_READ, EVENT_WRITE

FIRST_FD = 1 << 20  # far above what the process itself has open
_STILL_MAX = 50_000  # turns in which time stands still: a part spins


class SimError(Exception):
    """The simulation cannot go on, or must not."""


class _Key:
    """What asyncio reads of a selectors.SelectorKey."""

    __slots__ = ("fileobj", "fd", "events", "data")

    def __init__(self, fd, events, data):
        self.fileobj = self.fd = fd
        self.events = events
        self.data = data


class FakeSelector:
    def __init__(self, timeline, rng):
        self.timeline = timeline
        self.loop = None
        self._rng = rng
        self._keys = {}
        self._sources = {}  # fd -> object with readable(), writable()
        self._hot = {}  # fds that may be ready, in the order in which they became so
        self._still = 0
        self._last_us = -1

    # -- descriptors

    def new_fd(self, source):
        """The lowest free descriptor, as kernels give them out: an old number is soon reused."""
        fd = FIRST_FD
        while fd in self._sources:
            fd += 1
        self._sources[fd] = source
        return fd

    def drop_fd(self, fd):
        """True when it is still watched, which is a defect."""
        del self._sources[fd]
        self._hot.pop(fd, None)
        return self._keys.pop(fd, None) is not None

    def touch(self, fd):
        if fd in self._keys:
            self._hot[fd] = None

    # -- what asyncio calls

    def register(self, fd, events, data=None):
        if fd in self._keys:
            raise KeyError(f"{fd} is registered already")
        self._keys[fd] = key = _Key(fd, events, data)
        self._hot[fd] = None
        return key

    def modify(self, fd, events, data=None):
        key = self._keys[fd]
        key.events = events
        key.data = data
        self._hot[fd] = None
        return key

    def unregister(self, fd):
        self._hot.pop(fd, None)
        return self._keys.pop(fd)

    def get_key(self, fd):
        return self._keys[fd]

    def get_map(self):
        return self._keys

    def close(self):
        self._keys.clear()
        self._hot.clear()

    def select(self, timeout=None):
        timeline = self.timeline
        timeline.run_due()
        ready = self._ready() if self._hot else []
        if ready or (timeout is not None and timeout <= 0):
            self._spinning()
            return ready
        limit = None if timeout is None else timeline.now_us + math.ceil(timeout * 1e6)
        pending = self.loop._ready
        while True:
            when = timeline.next_us()
            if when is None and limit is None:
                raise SimError("nothing is left that could ever happen: the tasks wait for each other")
            if when is None or (limit is not None and when >= limit):
                timeline.now_us = max(timeline.now_us, limit)
                timeline.run_due()
                return self._ready() if self._hot else []
            timeline.now_us = max(timeline.now_us, when)
            timeline.run_due()
            if self._hot:
                ready = self._ready()
                if ready:
                    return ready
            if pending:
                return []

    def _ready(self):
        ready = []
        cold = []
        for fd in self._hot:
            key = self._keys.get(fd)
            source = self._sources.get(fd)
            events = 0
            if key is not None and source is not None:
                if key.events & EVENT_READ and source.readable():
                    events = EVENT_READ
                if key.events & EVENT_WRITE and source.writable():
                    events |= EVENT_WRITE
            if events:
                ready.append((key, events))
            else:
                cold.append(fd)
        for fd in cold:
            del self._hot[fd]
        if len(ready) > 1:
            self._rng.shuffle(ready)
        return ready

    def calm(self):
        """Resets the count of turns without progress."""
        self._still = 0

    def _spinning(self):
        if self.timeline.now_us != self._last_us:
            self._last_us = self.timeline.now_us
            self._still = 0
            return
        self._still += 1
        if self._still > _STILL_MAX:
            raise SimError(f"the loop spins: {_STILL_MAX} turns at {self.timeline.now_s:.6f} s")


class VirtualLoop(asyncio.SelectorEventLoop):
    """`on_turn()` is called after each turn."""

    def __init__(self, selector, on_turn):
        self._timeline = selector.timeline
        self._on_turn = on_turn
        super().__init__(selector)
        self._clock_resolution = 1e-6
        selector.loop = self

    def time(self):
        return self._timeline.now_us / 1e6

    def _run_once(self):
        super()._run_once()
        self._on_turn()

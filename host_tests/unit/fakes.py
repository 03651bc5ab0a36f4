"""What the unit tests of the firmware share: a clock that only tests move, a loop that runs on it, a serial line
without electrons, and a peer's end of a stream.

Nothing here takes the firmware's word for a checksum or a frame: what the tests compare with is written once more.
"""

import asyncio
import contextlib
import errno
import selectors
import struct

from firmware.events import Events
from firmware.net.budget import SERVICES

TICKS_PERIOD = 1 << 30
SIX = SERVICES[:6]  # the services that hold six of the sixteen sockets: what came later is off unless it is asked for


class Uptime:
    """Seconds since boot, as the firmware's parts are given them."""

    def __init__(self, now=0):
        self.now = now

    def __call__(self):
        return self.now


class Log(Events):
    """The real event log, with its console kept in a list."""

    def __init__(self, uptime_s=None):
        self.console = []
        super().__init__(uptime_s or Uptime(), self.console.append)

    def texts(self):
        return [line[2] for line in self.lines()]


class Clock:
    """Microseconds that stand still until something moves them. Ticks wrap as on the chips."""

    def __init__(self, start_us=5_000_000):
        self.us = start_us

    def ticks_ms(self):
        return self.us // 1000 % TICKS_PERIOD

    def ticks_us(self):
        return self.us % TICKS_PERIOD

    def spin_us(self, us):
        self.us += us

    def advance_ms(self, ms):
        self.us += 1000 * ms

    @property
    def ms(self):
        return self.us / 1000

    def install(self, monkeypatch):
        """Puts this clock in the place of the seam's, everywhere."""
        from firmware.bus import bus, poller, transaction
        from firmware.net import budget, seam
        from firmware.services.modbus_tcp import server

        for module in (seam, budget, poller, server, transaction, bus):
            monkeypatch.setattr(module, "ticks_ms", self.ticks_ms)
        monkeypatch.setattr(seam, "ticks_us", self.ticks_us)
        monkeypatch.setattr(seam, "spin_us", self.spin_us)
        return self


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting it moves the clock to where the wait would have ended."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("nothing is left that could ever happen: the tasks wait for each other")
            self._clock.us += max(1, round(timeout * 1e6)) if timeout > 0 else 0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio on a Clock: an hour passes in no time, and in the same order each time."""

    def __init__(self, clock):
        self._clock = clock
        super().__init__(_JumpingSelector(clock))
        self._clock_resolution = 1e-7

    def time(self):
        return self._clock.us / 1e6


def run_virtual(clock, coroutine, limit_s=3600):
    """Runs the coroutine to its end on the clock; its result is the caller's. All other tasks end with it."""
    loop = VirtualLoop(clock)

    async def bounded():
        return await asyncio.wait_for(coroutine, limit_s)

    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(bounded())
    finally:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        asyncio.set_event_loop(None)
        loop.close()


def store(block, registers, now_s=0, fresh_ms=10_000):
    """What the bus does when a poll of the block was answered just now."""
    from firmware.net import seam

    assert len(registers) == len(block.raw)
    block.store(registers, 0, seam.ticks_add(seam.ticks_ms(), fresh_ms), now_s)


def is_good(block):
    """Whether it may answer requests, if it is not too old."""
    return block.fresh_until_ms >= 0


def defaults(section, **values):
    """A section of the configuration (firmware.config.load) with `values` in it."""
    return {key: spec[1] for key, spec in section.items()} | values


def crc16(data):
    """CRC-16 of Modbus, bit by bit as in Serial Line V1.02, 6.2.2; low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)


def frame(*parts):
    """A serial frame: the parts (ints or bytes) and their CRC."""
    body = b"".join(bytes([part]) if isinstance(part, int) else bytes(part) for part in parts)
    return body + crc16(body)


def read_frame(unit, function, first, count):
    return frame(unit, function, struct.pack(">HH", first, count))


def registers(unit, function, *words):
    """The answer to a read of registers."""
    return frame(unit, function, 2 * len(words), struct.pack(f">{len(words)}H", *words))


class FakeLine:
    """A serial line (firmware.board). `on_send(data)` plays what hangs on the other end; it says so with deliver()."""

    jitter_ms = 0
    turn_ms = 0

    def __init__(self, clock, on_send=None):
        self.clock = clock
        self.stream = self
        self.on_send = on_send or (lambda data: None)
        self.owner = None
        self.inbox = bytearray()
        self.sent = []  # (microseconds at which the first bit left, frame)
        self.finished_us = []  # when finish() was called
        self.closed = False
        self.error = None  # once it is set, nothing is received or sent
        self.events = 0
        self.looks = 0  # at what has come

    def frames(self):
        return [data for _, data in self.sent]

    def deliver(self, data, after_ms=0.0, byte_ms=None):
        """Bytes come after a while: all at once, or one every `byte_ms`."""
        loop = asyncio.get_running_loop()
        if byte_ms is None:
            loop.call_later(after_ms / 1000, self._arrive, bytes(data))
            return
        for k, byte in enumerate(data):
            loop.call_later((after_ms + k * byte_ms) / 1000, self._arrive, bytes((byte,)))

    def unplug(self):
        """The device goes away: the loop sees a hang-up."""
        self.error = OSError(errno.EIO, "unplugged")
        self._ready()

    def _arrive(self, data):
        self.inbox += data
        self.look()

    def look(self):
        """A turn of the poll loop."""
        while self.inbox and self.owner is not None and self.events:
            left = len(self.inbox)
            self._ready()
            if len(self.inbox) == left:
                break

    def _ready(self):
        owner = self.owner
        if owner is None:
            return
        try:
            owner.on_ready(1)
        except Exception as error:
            owner.fail(error)

    # -- what firmware.board promises of a line

    def receive(self, buf, at):
        if self.error:
            return 0
        self.looks += 1
        n = min(len(self.inbox), len(buf) - at)
        buf[at : at + n] = self.inbox[:n]
        del self.inbox[:n]
        return n

    def discard(self):
        if self.error:
            return 0
        n = len(self.inbox)
        self.inbox.clear()
        return n

    def send(self, buf, n):
        if self.error:
            return
        data = bytes(buf[:n])
        self.sent.append((self.clock.us, data))
        self.on_send(data)

    def finish(self):
        self.finished_us.append(self.clock.us)

    def close(self):
        assert not self.closed, "closed twice"
        self.closed = True


def fake_seam(monkeypatch, clock):
    """The seam on this clock, with streams that know their owner instead of a poll: for lines, not for sockets."""
    from firmware.net import seam

    clock.install(monkeypatch)

    def watch(stream, owner, listener=False):
        assert stream.owner is None
        stream.owner = owner
        stream.events = seam.READ

    def unwatch(stream):
        assert stream.owner is not None
        stream.owner = None

    def interest(stream, events):
        assert stream.owner is not None
        stream.events = events
        if events and isinstance(stream, FakeLine):
            asyncio.get_running_loop().call_soon(stream.look)

    monkeypatch.setattr(seam, "watch", watch)
    monkeypatch.setattr(seam, "unwatch", unwatch)
    monkeypatch.setattr(seam, "interest", interest)


class FakeStream:
    """Our end of a connection whose peer is the test: `feed` what the peer says, read `out` for what it gets.

    `room`: bytes that the socket takes before write() says "not now"; None for all of them."""

    def __init__(self, room=None):
        self.owner = None
        self.events = 0
        self.inbox = bytearray()
        self.out = bytearray()
        self.room = room
        self.writes = 0
        self.ended = False
        self.reset = False
        self.closed = False

    def readinto(self, buf):
        if self.reset:
            raise OSError(errno.ECONNRESET, "reset")
        n = min(len(buf), len(self.inbox))
        if not n:
            return 0 if self.ended or not len(buf) else None
        buf[:n] = self.inbox[:n]
        del self.inbox[:n]
        return n

    def write(self, buf, at, n=None):
        """write(buf, n) or write(buf, at, n)"""
        at, n = (0, at) if n is None else (at, n)
        assert not self.closed, "written after close"
        if self.reset:
            raise OSError(errno.EPIPE, "reset")
        self.writes += 1
        take = n if self.room is None else min(n, self.room)
        if self.room is not None:
            self.room -= take
        self.out += memoryview(buf)[at : at + take]
        return take if take or not n else None

    def close(self):
        assert not self.closed, "closed twice"
        self.closed = True

    # -- the peer

    def turn(self):
        """One turn of a poll loop, level-triggered: True when there was anything to call for."""
        owner = self.owner
        if owner is None:
            return False
        can_read = bool(self.events & 1) and bool(self.inbox or self.ended or self.reset)
        can_write = bool(self.events & 4) and (self.room is None or self.room > 0)
        if not (can_read or can_write):
            return False
        try:
            owner.on_ready((1 if can_read else 0) | (4 if can_write else 0))
        except Exception as error:
            owner.fail(error)
        return True

    def settle(self, most=10000):
        """Turns until nothing is left to do."""
        for _ in range(most):
            if not self.turn():
                return
        raise AssertionError("the connection is never satisfied: it spins")

    def feed(self, data):
        self.inbox += data
        self.settle()

    def take(self):
        """What the peer has got since it last looked."""
        data = bytes(self.out)
        self.out.clear()
        return data


@contextlib.contextmanager
def closing(*things):
    """Closes them all at the end."""
    try:
        yield things
    finally:
        for thing in things:
            thing.close()

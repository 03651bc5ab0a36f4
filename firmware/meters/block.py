"""One planned read of a meter: which registers, what the meter last said they are, and how far that can be relied on.

The registers stay as they came, byte for byte: Modbus reads are answered from them, and readings are decoded from them
when somebody asks. So a value exists once, and nothing is decoded that nobody wants. The bus fills a block; everybody
else only reads it. How a block keeps what it knows is known in this file only.
"""

from micropython import const

NOT_FRESH = const(-1)


class Block:
    """Registers first to first + count - 1 of one function, 3 or 4.

    raw             the registers, big-endian, as a bytearray of the block's own
    fresh_until_ms  ticks until which they may answer a read; NOT_FRESH: they may not
    read_at_s       uptime of the last good read; None before the first
    failed          the last read of them failed
    exception       with this exception code the meter refuses to be read here; 0: it does not
    """

    def __init__(self, function, first, count):
        self.function = function
        self.first = first
        self.count = count
        self.raw = bytearray(2 * count)
        self.fresh_until_ms = NOT_FRESH
        self.read_at_s = None
        self.failed = False
        self.exception = 0

    @property
    def seen(self):
        """Whether they were read at least once."""
        return self.read_at_s is not None

    def holds(self, function, first, count):
        """Whether all registers of that read lie in this block."""
        return function == self.function and first >= self.first and first + count <= self.first + self.count

    def is_fresh(self, now_ms, ticks_diff):
        """Whether the registers may answer now (ticks)."""
        return self.fresh_until_ms != NOT_FRESH and ticks_diff(now_ms, self.fresh_until_ms) <= 0

    def copy_to(self, out, at, first, count):
        """Copies `count` registers from address `first` on, which the block holds, to out[at:]."""
        begin = 2 * (first - self.first)
        out[at : at + 2 * count] = memoryview(self.raw)[begin : begin + 2 * count]

    def store(self, frame, at, fresh_until_ms, now_s):
        """The meter has answered: its registers are in frame[at:] and may answer until then (ticks)."""
        self.raw[:] = memoryview(frame)[at : at + 2 * self.count]
        self.fresh_until_ms = fresh_until_ms
        self.read_at_s = now_s
        self.failed = False
        self.exception = 0

    def refuse(self, exception):
        """The meter has answered with that exception code. False when it did so the last time, too."""
        is_new = exception != self.exception
        self.fresh_until_ms = NOT_FRESH
        self.exception = exception
        return is_new

    def fail(self):
        """The meter has not answered, or wrongly. (What it said before may still answer: see Meter.purge.)"""
        self.failed = True

    def purge(self):
        """What was read may not answer any more, and counts as failed."""
        self.fresh_until_ms = NOT_FRESH
        self.failed = True

    def written(self, first, count):
        """Somebody writes those registers: what was read of them may not answer. Input and holding registers are often
        the same cells, so the function does not protect a block."""
        if first < self.first + self.count and self.first < first + count:
            self.fresh_until_ms = NOT_FRESH

    def expire(self, now_ms, ticks_diff):
        """What is too old may not answer any more. Ticks wrap, so this must not wait for a reader."""
        if self.fresh_until_ms != NOT_FRESH and ticks_diff(now_ms, self.fresh_until_ms) > 0:
            self.fresh_until_ms = NOT_FRESH

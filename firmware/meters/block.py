"""One planned read of a meter: which registers, what the meter last said they are, and how far that can be relied on.

The registers stay as they came, byte for byte: Modbus reads are answered from them, and readings are decoded from them
when somebody asks. So a value exists once, and nothing is decoded that nobody wants. The bus fills a block; everybody
else only reads it. How a block keeps what it knows is known in this file only.
"""

from micropython import const

NOT_FRESH = const(-1)
REFUSED = const(-2)


class Block:
    """`read` is the profile's (function 3 or 4, first register, count), which all meters of a kind share.

    raw             the registers, big-endian, as a bytearray of the block's own
    fresh_until_ms  ticks until which they may answer a read; NOT_FRESH: they may not; REFUSED: they may not, and the
                    meter is not asked for them (firmware.meters.refusals)
    read_at_s       uptime of the last good read; None before the first
    failed          the last read of them failed
    exception       the code with which the meter refused the last read of them, 0 if it did not
    """

    # Six attributes: there are some hundred blocks, and MicroPython makes room for eight after six.

    def __init__(self, read):
        self._read = read
        self.raw = bytearray(2 * read[2])
        self.fresh_until_ms = NOT_FRESH
        self.read_at_s = None
        self.failed = False
        self.exception = 0

    @property
    def function(self):
        return self._read[0]

    @property
    def first(self):
        return self._read[1]

    @property
    def count(self):
        return self._read[2]

    @property
    def origin(self):
        """Address of the first register in `raw`."""
        return self._read[1]

    @property
    def seen(self):
        """Whether they were read at least once."""
        return self.read_at_s is not None

    def may_answer(self, function, first, count):
        """Whether all registers of that read lie in this block and may answer it, up to fresh_until_ms."""
        read = self._read
        if self.fresh_until_ms < 0 or function != read[0]:
            return False
        return first >= read[1] and first + count <= read[1] + read[2]

    def copy_to(self, out, at, first, count):
        """Copies `count` registers from address `first` on, which the block holds, to out[at:]."""
        begin = 2 * (first - self._read[1])
        out[at : at + 2 * count] = memoryview(self.raw)[begin : begin + 2 * count]

    def store(self, frame, at, fresh_until_ms, now_s):
        """The meter has answered: its registers are in frame[at:] and may answer until then (ticks)."""
        self.raw[:] = memoryview(frame)[at : at + len(self.raw)]
        self.fresh_until_ms = fresh_until_ms
        self.read_at_s = now_s
        self.failed = False
        self.exception = 0

    def refuse(self, exception):
        """The meter has answered with that exception code. Returns the code of the answer before, 0 for none."""
        before = self.exception
        self._spoil()
        self.exception = exception
        return before

    def fail(self):
        """The meter has not answered, or wrongly. (What it said before may still answer: see Meter.purge.)"""
        self.failed = True

    def purge(self):
        """What was read may not answer any more, and counts as failed."""
        self._spoil()
        self.failed = True

    def _spoil(self):
        if self.fresh_until_ms >= 0:
            self.fresh_until_ms = NOT_FRESH

    def written(self, first, count):
        """Somebody writes those registers: what was read of them may not answer. Input and holding registers are often
        the same cells, so the function does not protect a block."""
        read = self._read
        if first < read[1] + read[2] and read[1] < first + count:
            self._spoil()

    def expire(self, now_ms, ticks_diff):
        """What is too old may not answer any more. Ticks wrap, so this must not wait for a reader."""
        if self.fresh_until_ms >= 0 and ticks_diff(now_ms, self.fresh_until_ms) > 0:
            self.fresh_until_ms = NOT_FRESH


class Part(Block):
    """A part of a Block that the meter refuses as a whole. Its registers stay in `raw` of the whole."""

    def __init__(self, block, first, count):
        """`block`: the whole, or a part of it that holds these registers."""
        self._read = (block.function, first, count)
        self._origin = block.origin
        self.raw = block.raw
        self.fresh_until_ms = NOT_FRESH
        self.read_at_s = block.read_at_s
        self.failed = block.failed
        self.exception = block.exception

    @property
    def origin(self):
        """Address of the first register in `raw`."""
        return self._origin

    def copy_to(self, out, at, first, count):
        """Copies `count` registers from address `first` on, which the part holds, to out[at:]."""
        begin = 2 * (first - self._origin)
        out[at : at + 2 * count] = memoryview(self.raw)[begin : begin + 2 * count]

    def store(self, frame, at, fresh_until_ms, now_s):
        """The meter has answered: the registers of this part are in frame[at:] and may answer until then (ticks)."""
        _, first, count = self._read
        begin = 2 * (first - self._origin)
        self.raw[begin : begin + 2 * count] = memoryview(frame)[at : at + 2 * count]
        self.fresh_until_ms = fresh_until_ms
        self.read_at_s = now_s
        self.failed = False
        self.exception = 0

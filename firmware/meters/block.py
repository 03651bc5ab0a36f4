"""One planned read of a meter: its registers as they were last read, and whether they still count.

The registers stay as they came, byte for byte: Modbus reads are answered from them, and readings are decoded from them
on demand. So a value exists once, and only what is asked for is decoded. The bus fills a block; all others read it.
Only this file knows how a block keeps its state.
"""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

NOT_FRESH = const(-1)
REFUSED = const(-2)


def copy(out: bytearray, at: int, source: "bytes | bytearray | memoryview", begin: int, size: int) -> None:
    """Copies source[begin:begin+size] to out[at:]."""
    out[at : at + size] = memoryview(source)[begin : begin + size]


try:
    from firmware.meters.block_machine import copy  # type: ignore
except ImportError:  # only images for the RP2 have machine code
    pass


class Block:
    """
    read            the profile's (function 3 or 4, first register, count), which all meters of a kind share
    raw             the registers, big-endian, as a bytearray of the block's own
    fresh_until_ms  ticks until which they may answer a read; NOT_FRESH: they may not; REFUSED: they may not, and the
                    meter is not asked for them (firmware.meters.refusals)
    read_at_s       uptime of the last good read; None before the first
    failed          the last read of them failed
    exception       the code with which the meter refused the last read of them, 0 if it did not
    """

    # Six attributes: there are some hundred blocks, and MicroPython makes room for eight after six.

    def __init__(self, read: "tuple[int, int, int]") -> None:
        """`read`: (function, first register, count)."""
        self.read = read
        self.raw = bytearray(2 * read[2])
        self.fresh_until_ms = NOT_FRESH
        self.read_at_s: int | None = None
        self.failed = False
        self.exception = 0

    @property
    def function(self) -> int:
        """The function code of the read: 3 or 4."""
        return self.read[0]

    @property
    def first(self) -> int:
        """Address of the first register."""
        return self.read[1]

    @property
    def count(self) -> int:
        """How many registers."""
        return self.read[2]

    @property
    def origin(self) -> int:
        """Address of the first register in `raw`."""
        return self.read[1]

    @property
    def seen(self) -> bool:
        """True when the block was read at least once."""
        return self.read_at_s is not None

    def may_answer(self, function: int, first: int, count: int) -> bool:
        """True when all registers of that read lie in this block and may answer it, up to fresh_until_ms."""
        read = self.read
        if self.fresh_until_ms < 0 or function != read[0]:
            return False
        return first >= read[1] and first + count <= read[1] + read[2]

    def offset(self, first: int) -> int:
        """The index in `raw` of the first byte of the register with that address."""
        return 2 * (first - self.read[1])

    def copy_to(self, out: bytearray, at: int, first: int, count: int) -> None:
        """Copies `count` registers from address `first` on, which the block holds, to out[at:]."""
        copy(out, at, self.raw, self.offset(first), 2 * count)

    def store(self, frame: "bytearray | memoryview", at: int, fresh_until_ms: int, now_s: int) -> None:
        """Stores the answer of the meter: the block's registers are in frame[at:], and may answer until fresh_until_ms
        (ticks). `now_s`: uptime."""
        _, first, count = self.read
        copy(self.raw, self.offset(first), frame, at, 2 * count)
        self.fresh_until_ms = fresh_until_ms
        self.read_at_s = now_s
        # Seldom, and storing costs more than looking: a class with properties is looked through for each attribute.
        if self.failed:
            self.failed = False
        if self.exception:
            self.exception = 0

    def refuse(self, exception: int) -> int:
        """Notes that the meter has refused the read with that exception code. Returns the code of the answer before, 0
        for none."""
        before = self.exception
        self._spoil()
        self.exception = exception
        return before

    def purge(self) -> None:
        """Marks what was read as failed, and no longer fit to answer."""
        self._spoil()
        self.failed = True

    def _spoil(self):
        if self.fresh_until_ms >= 0:
            self.fresh_until_ms = NOT_FRESH

    def written(self, first: int, count: int) -> None:
        """A client writes those registers: what was read of them may not answer. Input and holding registers are often
        the same cells, so the function does not protect a block."""
        read = self.read
        if first < read[1] + read[2] and read[1] < first + count:
            self._spoil()

    def expire(self, now_ms: int, ticks_diff: "Callable[[int, int], int]") -> None:
        """Lets the block answer no more if it is too old at `now_ms`. Ticks wrap, so this must not wait for a
        reader."""
        if self.fresh_until_ms >= 0 and ticks_diff(now_ms, self.fresh_until_ms) > 0:
            self.fresh_until_ms = NOT_FRESH


class Part(Block):
    """A part of a Block that the meter refuses as a whole. Its registers stay in `raw` of the whole."""

    def __init__(self, block: Block, first: int, count: int) -> None:
        """`block`: the whole, or a part of it that holds these registers."""
        self.read = (block.function, first, count)
        self._origin = block.origin
        self.raw = block.raw
        self.fresh_until_ms = NOT_FRESH
        self.read_at_s = block.read_at_s
        self.failed = block.failed
        self.exception = block.exception

    @property
    def origin(self) -> int:
        """Address of the first register in `raw`."""
        return self._origin

    def offset(self, first: int) -> int:
        """The index in `raw` of the first byte of the register with that address."""
        return 2 * (first - self._origin)

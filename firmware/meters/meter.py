"""One meter of the configuration: its address and profile, the registers that were last read of it, its state."""

from micropython import const

from firmware.meters.block import REFUSED, Block
from firmware.meters.profile import DECIMALS_BITS

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Sequence

    from firmware.bus.bus_stats import AnswerTimes
    from firmware.meters.profile import Profile, Ratios

# States, by the last exchanges
UNKNOWN = const(0)  # no request since boot
ONLINE = const(1)
FAILING = const(2)  # the last request got no answer, or a wrong one
QUARANTINED = const(3)  # asked now and then only
STATES = ("unknown", "online", "failing", "quarantined")
_NO_RESETS = ()
_HELD_POLLS = const(3)  # a counter is held for so many polls after a fall


def next_changed(
    profile: "Profile", block_of: "bytes | bytearray", number: int, raw: bytearray, frame: "bytearray | memoryview",
    begin: int, k: int,
) -> int:  # fmt: skip
    """Returns the index in profile.counters, from `k` on, of the next counter that lies in the block with that number
    and whose registers in frame[begin:] differ from those in `raw`, the block's; -1 when there is none."""
    counters = profile.counters
    while k < len(counters):
        i = counters[k]
        if block_of[i] == number:
            at = profile.offsets[i]
            end = at + 2 * profile.size(i)
            while at < end and raw[at] == frame[begin + at]:
                at += 1
            if at < end:
                return k
        k += 1
    return -1


try:
    from firmware.meters.block_machine import next_changed  # type: ignore
except ImportError:  # only images for the RP2 have machine code
    pass


class Meter:
    """`config` is an item of the configuration's `meters`; `ratios` those of its transformers (profile_loader.ratios).

    state           index into STATES; this and the following are kept by the meter's bus
    requests, timeouts, errors, exceptions
                    counters since boot; errors: answers that were wrong
    failures        failed exchanges in a row
    last_result, last_reason
                    how the last exchange ended (firmware.bus)
    answer_times    statistics of the answers' times, or None
    blocks          the reads, at first those of the profile's plan
    block_of        bytes, for each point the index of its block
    refused_text    which registers the meter refuses (firmware.meters.refusals), "" for none
    held            None, or {index of a point: (value, polls)} of counters that have fallen: the value before the
                    fall, and how many polls have given less since; 0 polls while the meter gives no value for it.
                    The value is None of one that was 0 at first
    """

    def __init__(self, config: dict, profile: "Profile", ratios: "Ratios | None" = None) -> None:
        self.slot = config["slot"]
        self.name = config["name"]
        self.unit = config["unit"]
        self.bus = config["bus"]
        self.interval_ms = 1000 * config["interval_s"]
        self.max_age_ms = 1000 * config["max_age_s"]
        self.timeout_ms = config["timeout_ms"]
        self.retries = config["retries"]
        self.auto_timeout = config["auto_timeout"]
        self.profile_name = config["profile"]
        self.profile = profile
        self.ratios = ratios
        self.blocks = [Block(read) for read in profile.plan]
        self.block_of = profile.blocks
        self.refused_text = ""
        self.state = UNKNOWN
        self.requests = 0
        self.timeouts = 0
        self.errors = 0
        self.exceptions = 0
        self.failures = 0
        self.last_result = 0
        self.last_reason = 0
        self.answer_times: AnswerTimes | None = None
        self.held: dict[int, tuple[int | None, int]] | None = None

    def point_id(self, i: int) -> int:
        """The permanent id of point `i` of the profile."""
        return self.slot << 8 | self.profile.numbers[i]

    def find(self, function: int, first: int, count: int) -> "Block | None":
        """The block that holds those registers and may answer for them, up to its fresh_until_ms; or None."""
        # No `for`, so that the frame has at most 11 words, which MicroPython keeps off the heap.
        k = len(self.blocks)
        while k:
            k -= 1
            if self.blocks[k].may_answer(function, first, count):
                return self.blocks[k]
        return None

    def next_block(self, k: int) -> int:
        """Index of the first block from `k` on that is to be read; len(blocks) when there is none."""
        blocks = self.blocks
        while k < len(blocks) and blocks[k].fresh_until_ms == REFUSED:
            k += 1
        return k

    def value(self, i: int) -> "int | float | None":
        """The value of point `i`, as Profile.decode() returns it; of a counter that has fallen, the value before its
        fall (see store). Before the first read the registers are 0, which is a value too: ask the block first."""
        value = self._decoded(i)
        if self.held and i in self.held and value is not None:
            return self.held[i][0]
        return value

    def decimal(self, i: int, block: Block) -> "int | None":
        """The same as Profile.decimal() returns it. `block`: in which the point lay at the moment that counts."""
        decimal = self.profile.decimal(i, block.raw, self.ratios)
        if self.held and i in self.held and decimal is not None:
            value = self.held[i][0]
            return None if value is None else value << DECIMALS_BITS
        return decimal

    def store(
        self, block: Block, frame: "bytearray | memoryview", at: int, fresh_until_ms: int, now_s: int
    ) -> "Sequence[tuple[int, int, int | float | None]]":
        """Stores the answer to the read of `block`, one of the meter's, as Block.store() does. Holds a counter that
        falls for three polls: a meter that restarts may give 0 first, and then its total. One that is 0 when it is read
        for the first time has no value for as long: both may have started. Returns [(index of the point, value before,
        value now)] of counters that are lower still: they were reset."""
        if block.read_at_s is None:
            block.store(frame, at, fresh_until_ms, now_s)
            self._hold_zeros(block)
            return _NO_RESETS
        counters = None  # a list where one has changed: an object in the heap, and mostly none has
        number = 0
        while self.blocks[number] is not block:  # index() would look for an __eq__
            number += 1
        begin = at - block.offset(block.first)  # where the first register in block.raw would be in the frame
        profile = self.profile
        if self.held:
            counters = self._counters_of(number)
        else:
            # Most have not changed, and are not decoded.
            k = next_changed(profile, self.block_of, number, block.raw, frame, begin, 0)
            while k >= 0:
                counters = counters or []
                i = profile.counters[k]
                counters.append((i, self._decoded(i)))
                k = next_changed(profile, self.block_of, number, block.raw, frame, begin, k + 1)
        block.store(frame, at, fresh_until_ms, now_s)
        return _NO_RESETS if counters is None else self._resets(counters)

    def _counters_of(self, number):
        """[(index of the point, its value)] of the counters in that block. Not in store(): a comprehension there would
        make an object in the heap for each poll, for every name that it takes from outside."""
        return [(i, self._counted(i)) for i in self.profile.counters if self.block_of[i] == number]

    def _hold_zeros(self, block):
        for i in self.profile.counters:
            if self.blocks[self.block_of[i]] is block and self._decoded(i) == 0:
                self.held = self.held or {}
                self.held.setdefault(i, (None, 1))  # it may be held since before the block was cut

    def _resets(self, counters):
        return [(i, last, self.value(i)) for i, last in counters if self._follow(i, last)]

    def _decoded(self, i):
        return self.profile.decode(i, self.blocks[self.block_of[i]].raw, self.ratios)

    def _counted(self, i):
        """The last value of counter `i` before a fall; None before the first."""
        return self.held[i][0] if self.held and i in self.held else self._decoded(i)

    def _follow(self, i, last):
        """Holds counter `i`, which has just been read, if it is lower than `last`, or ends the hold. Returns True when
        it is lower and held no longer: it was reset. `last` is None of one that had no value, or was 0 at first."""
        value = self._decoded(i)
        held = self.held or {}
        if last is None:
            if i in held:
                polls = held.pop(i)[1]
                if not value and polls < _HELD_POLLS:
                    held[i] = None, polls + 1
            return False
        _, polls = held.get(i, (last, 0))
        if value is not None:
            if value >= last or polls == _HELD_POLLS:
                held.pop(i, None)
                return value < last
            polls += 1
        held[i] = (last, polls)
        self.held = held
        return False

    def purge(self) -> None:
        """Marks all that was read as failed, and no longer fit to answer a Modbus read: the meter has failed."""
        for block in self.blocks:
            block.purge()

    def written(self, first: int, count: int) -> None:
        """A client writes those registers: what was read of them may not answer."""
        for block in self.blocks:
            block.written(first, count)

    def expire(self, now_ms: int, ticks_diff: "Callable[[int, int], int]") -> None:
        """Lets no block answer that is too old at `now_ms` (ticks)."""
        for block in self.blocks:
            block.expire(now_ms, ticks_diff)

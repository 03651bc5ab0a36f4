"""One meter of the configuration: where it is, what its registers mean, what was last read of it, how it behaves."""

from micropython import const

from firmware.meters.block import REFUSED, Block

# What a meter's last exchanges say of it
UNKNOWN = const(0)  # never asked yet
ONLINE = const(1)
FAILING = const(2)  # the last request got no (right) answer
QUARANTINED = const(3)  # asked only now and then
STATES = ("unknown", "online", "failing", "quarantined")
_HELD_POLLS = const(3)  # that a counter must say less than before until it is believed


class Meter:
    """`config` is an item of the configuration's `meters`; `ratios` those of its transformers (profile_loader.ratios).

    What its bus keeps: state (of STATES); requests, timeouts, errors (answers that were not taken), exceptions:
    counters since boot; failures: in a row; last_result, last_reason: how the last exchange ended; answer_times.

    blocks: the reads, at first those of the profile's plan. block_of: bytes, for each point the index of its block.
    refused_text: which registers the meter refuses (firmware.meters.refusals), "" for none.

    held: None, or {index of a point: (value, polls)} of counters that have fallen: the value before the fall, and how
    many polls have said less since; 0 polls while the meter gives no value for it."""

    def __init__(self, config, profile, ratios=None):
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
        self.answer_times = None
        self.held = None

    def point_id(self, i):
        """The permanent id of point `i` of the profile."""
        return self.slot << 8 | self.profile.numbers[i]

    def find(self, function, first, count):
        """The block that holds those registers and may answer for them, up to its fresh_until_ms; or None."""
        # No `for`, so that the frame has at most 11 words, which MicroPython keeps off the heap.
        k = len(self.blocks)
        while k:
            k -= 1
            if self.blocks[k].may_answer(function, first, count):
                return self.blocks[k]
        return None

    def next_block(self, k):
        """Index of the first block from `k` on that is to be read; len(blocks) when there is none."""
        blocks = self.blocks
        while k < len(blocks) and blocks[k].fresh_until_ms == REFUSED:
            k += 1
        return k

    def value(self, i):
        """The value of point `i`, as Profile.decode() has it; of a counter that has fallen the value before its fall
        (see store). Zero registers, as before the first read, are a value too: ask the block."""
        value = self._decoded(i)
        if self.held and i in self.held and value is not None:
            return self.held[i][0]
        return value

    def store(self, block, frame, at, fresh_until_ms, now_s):
        """The meter has answered the read of `block`, one of its blocks, as Block.store() takes it. A counter that says
        less than before is held for three polls: a meter that restarts may say 0 first, and then its total. Returns
        [(index of the point, value before, value now)] of those that still say so then: they were reset."""
        counters = []
        if block.read_at_s is not None:
            number = self.blocks.index(block)
            begin = at - block.offset(block.first)  # where the first register in block.raw would be in the frame
            for i in self.profile.counters:
                # Most say what they said before, and are not decoded.
                if self.block_of[i] == number and (self.held or self._is_changed(i, block.raw, frame, begin)):
                    counters.append((i, self._counted(i)))
        block.store(frame, at, fresh_until_ms, now_s)
        return [(i, last, self.value(i)) for i, last in counters if last is not None and self._is_reset(i, last)]

    def _is_changed(self, i, raw, frame, begin):
        """Whether the registers of point `i` in frame[begin:] are others than in `raw`."""
        k = self.profile.offsets[i]
        end = k + 2 * self.profile.size(i)
        while k < end and raw[k] == frame[begin + k]:
            k += 1
        return k < end

    def _decoded(self, i):
        return self.profile.decode(i, self.blocks[self.block_of[i]].raw, self.ratios)

    def _counted(self, i):
        """What counter `i` was the last time that it had a value and had not fallen; None before the first."""
        return self.held[i][0] if self.held and i in self.held else self._decoded(i)

    def _is_reset(self, i, last):
        """Compares counter `i`, which has just been read, with what it was: holds it, or lets go of it. True when it
        has fallen and is held no longer."""
        value = self._decoded(i)
        held = self.held or {}
        _, polls = held.get(i, (last, 0))
        if value is not None:
            if value >= last or polls == _HELD_POLLS:
                held.pop(i, None)
                return value < last
            polls += 1
        held[i] = (last, polls)
        self.held = held
        return False

    def purge(self):
        """After a failure nothing that this meter said before is passed on as if it were current."""
        for block in self.blocks:
            block.purge()

    def written(self, first, count):
        """Somebody writes those registers."""
        for block in self.blocks:
            block.written(first, count)

    def expire(self, now_ms, ticks_diff):
        """What is too old (ticks) may not answer any more."""
        for block in self.blocks:
            block.expire(now_ms, ticks_diff)

"""One meter of the configuration: where it is, what its registers mean, what was last read of it, how it behaves."""

from micropython import const

from firmware.meters.block import REFUSED, Block

# What a meter's last exchanges say of it
UNKNOWN = const(0)  # never asked yet
ONLINE = const(1)
FAILING = const(2)  # the last request got no (right) answer
QUARANTINED = const(3)  # asked only now and then
STATES = ("unknown", "online", "failing", "quarantined")


class Meter:
    """`config` is an item of the configuration's `meters`; `ratios` those of its transformers (profile_loader.ratios).

    What its bus keeps: state (of STATES); requests, timeouts, errors (answers that were not taken), exceptions:
    counters since boot; failures: in a row; last_result, last_reason: how the last exchange ended; answer_times.

    blocks: the reads, at first those of the profile's plan. block_of: bytes, for each point the index of its block.
    refused_text: which registers the meter refuses (firmware.meters.refusals), "" for none."""

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

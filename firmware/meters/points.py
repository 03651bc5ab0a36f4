"""Meters, the registers last read from them, and the table of all their points.

A point's id is permanent: meter slot x 256 + the profile's point number. It is the BACnet instance, and four times
the id is the point's register on unit 255 (docs/contracts.md).

A meter's registers are kept as it said them, byte for byte, in the blocks of its profile's plan. The poller fills them;
Modbus reads are answered from them; readings are decoded from them when somebody asks. So a value exists once, and
nothing is decoded that nobody wants.

A bus has up to 32 meters, in a heap of 128 KiB. So a meter is one object with one array of registers and one of
numbers: an object for each block would take more than the registers themselves.
"""

from array import array

from micropython import const

SLOTS = const(64)  # 64 x 256 points x 4 registers fill the 65536 addresses of unit 255

# What a meter's last exchanges say of it
UNKNOWN = const(0)  # never asked yet
ONLINE = const(1)
FAILING = const(2)  # the last request got no (right) answer
QUARANTINED = const(3)  # asked only now and then
STATES = ("unknown", "online", "failing", "quarantined")

# Meter.words: first the answer times (firmware.bus.tally), then the counters, then of each block:
# until when it may answer (ticks, _NOT: it may not), uptime of its last good read in s, and what is to be said of it
_REQUESTS = const(4)
_TIMEOUTS = const(5)
_ERRORS = const(6)
_EXCEPTIONS = const(7)
_MARKS = const(8)
_MARK = const(3)
_NOT = const(-1)
_SEEN = const(1)  # was read at least once
_FAILED = const(2)  # the last read of it failed
_REFUSED = const(2)  # bits in front of which the exception code of the meter to this read stands, 0 for none
_COUNT_MASK = const(0x3FFFFFFF)  # a small integer on 32 bits


class Meter:
    """One meter of the configuration. `state` and the counters are kept by the bus. `data` are the registers of all
    blocks, one after the other."""

    # What is configured seldom is no entry of each meter.
    bus = 0
    interval_ms = 5000
    max_age_ms = 10000
    timeout_ms = 500
    retries = 1
    auto_timeout = False
    ratios = None  # of its transformers (profile_load.ratios)

    def __init__(self, config, profile, ratios=None):
        self.slot = config["slot"]
        self.name = config["name"]
        self.unit = config["unit"]
        self.profile_name = config["profile"]
        self.profile = profile
        size = sum([count for _, _, count in profile.plan])
        self.data = bytearray(2 * size)
        self.words = array("i", [0] * _MARKS + [_NOT, 0, 0] * len(profile.plan))
        self.state = UNKNOWN
        self.failures = 0  # in a row
        self.trouble = 0  # how the last exchange ended, and why its answer was not taken (Bus.why)
        self.set("bus", config["bus"])
        self.set("interval_ms", 1000 * config["interval_s"])
        self.set("max_age_ms", 1000 * config["max_age_s"])
        self.set("timeout_ms", config["timeout_ms"])
        self.set("retries", config["retries"])
        self.set("auto_timeout", config["auto_timeout"])
        self.set("ratios", ratios)

    def set(self, name, value):
        if value != getattr(Meter, name):
            setattr(self, name, value)

    @property
    def requests(self):
        return self.words[_REQUESTS]

    @property
    def timeouts(self):
        return self.words[_TIMEOUTS]

    @property
    def errors(self):
        """Answers that were not taken."""
        return self.words[_ERRORS]

    @property
    def exceptions(self):
        return self.words[_EXCEPTIONS]

    def count(self, k):
        """One more of _REQUESTS ... _EXCEPTIONS."""
        self.words[k] = self.words[k] + 1 & _COUNT_MASK

    def point_id(self, i):
        return self.slot << 8 | self.profile.numbers[i]

    # -- what the bus does with the blocks; k is the number of one in the plan, now the ticks

    def holds(self, function, first, count):
        """Where the registers of a read are and may answer it, if they are not too old: index into `words` of the
        ticks until which they may << 16, index into `data`. -1 without them. Allocates nothing."""
        words = self.words
        mark = _MARKS
        at = 0
        for plan in self.profile.plan:
            begin = first - plan[1]
            if plan[0] == function and begin >= 0 and begin + count <= plan[2] and words[mark] != _NOT:
                return mark << 16 | at + 2 * begin
            mark += _MARK
            at += 2 * plan[2]
        return -1

    def take(self, k, buf, at, until_ms, uptime_s):
        """The registers of block k are in buf[at:], and may answer until then (ticks)."""
        data = self.data
        begin = self.profile.begins[k]
        for i in range(2 * self.profile.plan[k][2]):
            data[begin + i] = buf[at + i]
        self._mark(k, until_ms, uptime_s, _SEEN)

    def refuse(self, k, code):
        """The meter has answered the read of block k with that exception. False when it did so the last time, too."""
        at = _MARKS + _MARK * k
        says = self.words[at + 2]
        self._mark(k, _NOT, self.words[at + 1], says & (_SEEN | _FAILED) | code << _REFUSED)
        return says >> _REFUSED != code

    def fail(self, k):
        """A read of block k has failed."""
        self.words[_MARKS + _MARK * k + 2] |= _FAILED

    def _mark(self, k, until_ms, read_s, code):
        at = _MARKS + _MARK * k
        words = self.words
        words[at] = until_ms
        words[at + 1] = read_s
        words[at + 2] = code

    def purge(self):
        """After a failure nothing that this meter said before is passed on as if it were current."""
        for k in range(len(self.profile.plan)):
            self.words[_MARKS + _MARK * k] = _NOT
            self.fail(k)

    def drop(self, first, count):
        """These registers are being written: what was read of them may not answer. Input and holding registers are
        often the same cells: the function of a block does not protect it."""
        mark = _MARKS
        for plan in self.profile.plan:
            if first < plan[1] + plan[2] and plan[1] < first + count:
                self.words[mark] = _NOT
            mark += _MARK

    def expire(self, now, ticks_diff):
        """What is too old may not answer any more. Ticks wrap, so this must not wait for a reader."""
        words = self.words
        for mark in range(_MARKS, len(words), _MARK):
            if words[mark] != _NOT and ticks_diff(now, words[mark]) > 0:
                words[mark] = _NOT


class Points:
    """All meters, by slot."""

    def __init__(self, meters):
        self.meters = meters
        self._of_slot = bytearray(SLOTS)  # index of the meter + 1
        for k, meter in enumerate(meters):
            self._of_slot[meter.slot] = k + 1

    def __len__(self):
        return sum([len(meter.profile) for meter in self.meters])

    def in_slot(self, slot):
        """The meter in that slot, or None."""
        k = self._of_slot[slot] if slot < SLOTS else 0
        return self.meters[k - 1] if k else None

    def find(self, point_id):
        """(meter, index of the point in its profile); index -1 when its profile has no such point; None when there is
        no such meter."""
        meter = self.in_slot(point_id >> 8)
        if meter is None:
            return None
        return meter, meter.profile.numbers.find(bytes((point_id & 0xFF,)))

"""Latest value, quality and age of each point, decoded from its meter's blocks when somebody asks."""

from micropython import const

GOOD = const(0)
_STALE = const(1)  # older than it should be by now
_FAILED = const(2)  # the meter's last answer to this read was missing or wrong; the value is from before
_NEVER = const(3)  # not read yet since boot
_NO_VALUE = const(4)  # the meter answers, and says that it has no value (NaN) or no such register
QUALITIES = ("good", "stale", "failed", "never", "no_value")
_LATE = const(3)  # intervals after which a value counts as stale


class Readings:
    """`uptime_s`: function, seconds since boot."""

    def __init__(self, uptime_s):
        self._uptime_s = uptime_s

    def read(self, meter, i):
        """Point `i` of the meter: value in its unit (int, float or None), seconds since it was read (None: it never
        was), and how good it is, as an index into QUALITIES."""
        # In two functions so that the frame of each has at most 11 words, which MicroPython keeps off the heap.
        block = meter.blocks[meter.block_of[i]]
        if block.read_at_s is None:
            return None, None, _NO_VALUE if block.exception else _NEVER
        return _reading(block, meter.profile.decode(i, block.raw, meter.ratios), self._uptime_s(), meter.interval_ms)


def _reading(block, value, now_s, interval_ms):
    age_s = now_s - block.read_at_s
    if block.exception:
        return value, age_s, _NO_VALUE
    if block.failed:
        return value, age_s, _FAILED
    if value is None:
        return value, age_s, _NO_VALUE
    return value, age_s, _STALE if age_s > _LATE * interval_ms // 1000 else GOOD

"""Latest value, quality and age of each point, decoded from its meter's blocks when somebody asks."""

from micropython import const

GOOD = const(0)
_STALE = const(1)  # older than it should be by now
_FAILED = const(2)  # the meter's last answer to this read was missing or wrong; the value is from before
_NEVER = const(3)  # not read yet since boot
_NO_VALUE = const(4)  # the meter answers, and says that it has no value (NaN) or no such register
_HELD = const(5)  # the counter says less than before; the value is from before, until the fall is confirmed
QUALITIES = ("good", "stale", "failed", "never", "no_value", "held")
_STALE_AFTER = const(3)  # intervals


class Readings:
    """`uptime_s`: function, seconds since boot."""

    def __init__(self, uptime_s):
        self._uptime_s = uptime_s

    def read(self, meter, i):
        """Point `i` of the meter as (value, age, quality): the value in the point's unit, int, float or None; the
        seconds since its registers were read, None when they never were; an index into QUALITIES. The API, unit 255
        and the history show what is decided here."""
        # In two functions so that the frame of each has at most 11 words, which MicroPython keeps off the heap.
        block = meter.blocks[meter.block_of[i]]
        if block.read_at_s is None:
            return None, None, _NO_VALUE if block.exception else _NEVER
        return _reading(block, meter.value(i), self._uptime_s() - block.read_at_s, meter, i)


def _reading(block, value, age_s, meter, i):
    if block.exception:
        return None, age_s, _NO_VALUE
    if block.failed:
        return value, age_s, _FAILED
    if value is None:
        return None, age_s, _NO_VALUE
    if meter.held and i in meter.held:
        return value, age_s, _HELD
    return value, age_s, _STALE if age_s > _STALE_AFTER * meter.interval_ms // 1000 else GOOD

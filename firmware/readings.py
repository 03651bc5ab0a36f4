"""Latest value, quality and age of each point, decoded from its meter's blocks when somebody asks."""

from micropython import const

GOOD = const(0)
STALE = const(1)  # older than it should be by now
FAILED = const(2)  # the meter's last answer to this read was missing or wrong; the value is from before
NEVER = const(3)  # not read yet since boot
NO_VALUE = const(4)  # the meter answers, and says that it has no value (NaN) or no such register
QUALITIES = ("good", "stale", "failed", "never", "no_value")
_LATE = const(3)  # intervals after which a value counts as stale


class Readings:
    """`uptime_s`: function, seconds since boot."""

    def __init__(self, uptime_s):
        self._uptime_s = uptime_s

    def read(self, meter, i):
        """Point `i` of the meter: value in its unit (int, float or None), seconds since it was read (None: it never
        was), and one of GOOD ... NO_VALUE."""
        block = meter.blocks[meter.profile.blocks[i]]
        if not block.seen:
            return None, None, NO_VALUE if block.refused else NEVER
        age_s = self._uptime_s() - block.read_s
        i = meter.profile.decode(i, block.data, meter.ratios)  # a name less: this frame stays off the heap
        quality = _quality(meter, block, i, age_s)
        return i, age_s, quality


def _quality(meter, block, value, age_s):
    if block.refused:
        return NO_VALUE
    if block.failed:
        return FAILED
    if value is None:
        return NO_VALUE
    return STALE if age_s > _LATE * meter.interval_ms // 1000 else GOOD

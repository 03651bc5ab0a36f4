"""Latest value, quality and age of each point, decoded from its meter's blocks when somebody asks."""

from micropython import const

GOOD = const(0)
_STALE = const(1)  # older than it should be by now
_FAILED = const(2)  # the meter's last answer to this read was missing or wrong; the value is from before
_NEVER = const(3)  # not read yet since boot
_NO_VALUE = const(4)  # the meter answers, and says that it has no value (NaN) or no such register
QUALITIES = ("good", "stale", "failed", "never", "no_value")
_LATE = const(3)  # intervals after which a value counts as stale
# Of Meter.words, as in firmware.meters.points, where its _FAILED is our _LOST; a unit test compares them.
_MARKS = const(8)
_MARK = const(3)
_SEEN = const(1)
_LOST = const(2)
_REFUSED = const(2)


class Readings:
    """`uptime_s`: function, seconds since boot."""

    def __init__(self, uptime_s):
        self._uptime_s = uptime_s

    def read(self, meter, i):
        """Point `i` of the meter: value in its unit (int, float or None), seconds since it was read (None: it never
        was), and how good it is, as an index into QUALITIES."""
        # No more names than this: the frame stays off the heap.
        age_s = _MARKS + _MARK * meter.profile.blocks[i]
        says = meter.words[age_s + 2]
        if not says & _SEEN:
            return None, None, _NO_VALUE if says >> _REFUSED else _NEVER
        age_s = self._uptime_s() - meter.words[age_s + 1]
        i = meter.profile.decode(i, meter.data, meter.ratios)
        says = _quality(says, i, age_s, meter.interval_ms)
        return i, age_s, says


def _quality(code, value, age_s, interval_ms):
    if code >> _REFUSED:
        return _NO_VALUE
    if code & _LOST:
        return _FAILED
    if value is None:
        return _NO_VALUE
    return _STALE if age_s > _LATE * interval_ms // 1000 else GOOD

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

    def age_s(self, meter, i):
        """Seconds since point `i` of the meter was read, or None when it never was."""
        block = meter.blocks[meter.profile.blocks[i]]
        return self._uptime_s() - block.read_s if block.seen else None

    def value(self, meter, i):
        """Value of point `i` of the meter in its unit: int, float or None."""
        profile = meter.profile
        block = meter.blocks[profile.blocks[i]]
        return profile.decode(i, block.data, meter.ratios) if block.seen else None

    def quality(self, meter, i, value):
        """One of GOOD ... NO_VALUE for a value that value() gave."""
        block = meter.blocks[meter.profile.blocks[i]]
        if block.refused:
            return NO_VALUE
        if not block.seen:
            return NEVER
        if block.failed:
            return FAILED
        if value is None:
            return NO_VALUE
        late_s = _LATE * meter.interval_ms // 1000
        return STALE if self._uptime_s() - block.read_s > late_s else GOOD

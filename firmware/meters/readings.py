"""Latest value, age and quality of each point, decoded on demand from its meter's blocks."""

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.meters.block import Block
    from firmware.meters.meter import Meter

GOOD = const(0)
_STALE = const(1)  # older than it should be by now
_FAILED = const(2)  # the meter's last answer to this read was missing or wrong; the value is from before
_NEVER = const(3)  # not read yet since boot
_NO_VALUE = const(4)  # the meter has none (NaN, or what its profile names), or refuses the register
_HELD = const(5)  # the counter has fallen; the value is that of before, until the fall is confirmed
QUALITIES = ("good", "stale", "failed", "never", "no_value", "held")
WITHOUT_VALUE = (_NEVER, _NO_VALUE)  # qualities of a block that has no values
_STALE_AFTER = const(3)  # intervals


class Readings:
    """Decides what the API, unit 255 and the history show."""

    def __init__(self, uptime_s: "Callable[[], int]") -> None:
        """`uptime_s` returns the seconds since boot."""
        self._uptime_s = uptime_s

    def read(self, meter: "Meter", i: int) -> "tuple[int | float | None, int | None, int]":
        """(value, age, quality) of point `i` of the meter: the value in its unit, None without one; seconds since its
        registers were read, None when they never were; an index into QUALITIES."""
        block = meter.blocks[meter.block_of[i]]
        age_s, quality = self.of_block(meter, block)
        if quality in WITHOUT_VALUE:
            return None, age_s, quality
        value = meter.value(i)
        if quality != _FAILED:
            if value is None:
                quality = _NO_VALUE
            elif meter.held and i in meter.held:
                quality = _HELD
        return value, age_s, quality

    def of_block(self, meter: "Meter", block: "Block", now_s: "int | None" = None) -> "tuple[int | None, int]":
        """(age, quality) of one of the meter's blocks. Those of its points are the same, except of points without a
        value and of held ones. `now_s`: seconds since boot where the caller knows them."""
        if block.read_at_s is None:
            return None, _NO_VALUE if block.exception else _NEVER
        age_s = (self._uptime_s() if now_s is None else now_s) - block.read_at_s
        if block.exception:
            return age_s, _NO_VALUE
        if block.failed:
            return age_s, _FAILED
        return age_s, _STALE if age_s > _STALE_AFTER * meter.interval_ms // 1000 else GOOD

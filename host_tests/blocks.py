"""The blocks of a meter for tests, which may also set what the meter has said.

Of registers first..end-1 of one function as last read: `good`: they may answer requests, if they are not too old;
`seen`: they were read at least once, at `read_s` (uptime) the last time; `failed`: the last read of them failed;
`refused`: with this exception code of the meter, 0 for none.
"""

from firmware.meters.points import _FAILED as FAILED
from firmware.meters.points import _MARK as MARK
from firmware.meters.points import _MARKS as MARKS
from firmware.meters.points import _REFUSED as REFUSED
from firmware.meters.points import _SEEN as SEEN
from firmware.net import seam


class LiveBlock:
    """Block `k` of a meter."""

    def __init__(self, meter, k):
        self.meter = meter
        self.at = MARKS + MARK * k
        self.function, self.first, count = meter.profile.plan[k]
        self.end = self.first + count
        begin = meter.profile.begins[k]
        self.data = memoryview(meter.data)[begin : begin + 2 * count]

    def read(self):
        """The meter has answered just now."""
        self.until_ms = seam.ticks_add(seam.ticks_ms(), self.meter.max_age_ms)

    @property
    def until_ms(self):
        return self.meter.words[self.at]

    @until_ms.setter
    def until_ms(self, value):
        self.meter.words[self.at] = value

    @property
    def good(self):
        return self.until_ms >= 0

    @good.setter
    def good(self, value):
        self.until_ms = -1
        if value:
            self.read()

    @property
    def read_s(self):
        return self.meter.words[self.at + 1]

    @read_s.setter
    def read_s(self, value):
        self.meter.words[self.at + 1] = value

    @property
    def seen(self):
        return bool(self._says & SEEN)

    @seen.setter
    def seen(self, value):
        self._says = self._says & ~SEEN | (SEEN if value else 0)

    @property
    def failed(self):
        return bool(self._says & FAILED)

    @failed.setter
    def failed(self, value):
        self._says = self._says & ~FAILED | (FAILED if value else 0)

    @property
    def refused(self):
        return self._says >> REFUSED

    @refused.setter
    def refused(self, value):
        self._says = self._says & (SEEN | FAILED) | value << REFUSED

    @property
    def _says(self):
        return self.meter.words[self.at + 2]

    @_says.setter
    def _says(self, value):
        self.meter.words[self.at + 2] = value


def live(meter):
    """What meter.blocks is in tests."""
    return [LiveBlock(meter, k) for k in range(len(meter.profile.plan))]

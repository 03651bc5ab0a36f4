"""The last day or so of the points that a technician looks at first, in a fixed piece of memory; gone with a restart.

Kept are power and then voltage of each meter in the order of the configuration, 32 points at most. A value is the mean
of a step, in two bytes: 13 bits for a whole number of -4095 to 4095, three for a power of ten of -3 to 4, and 0 for
none. That is 0.13 % at worst, for up to 40 MW. Who reads it: services/http/documents/history.py.
"""

from array import array

from micropython import const

from firmware.meters.readings import GOOD

_TYPING = const(0)
if _TYPING:
    from firmware.meters.meter import Meter
    from firmware.meters.readings import Readings

WANTED = (16, 1)  # numbers of points: active power, voltage of line 1
_POINTS_MAX = const(32)
_SPAN_S = const(86400)
_EVERY_S = const(10)
_ZERO = const(4096)
_MOST = const(4095)


class Recent:
    """`size`: bytes; `meters` in the order of the configuration; `readings`: their values."""

    def __init__(self, size: int, meters: "list[Meter]", readings: "Readings") -> None:
        self._readings = readings
        self.meters = meters
        self.rows = bytearray()  # two for each point: index of its meter, index of the point in the profile
        for number in WANTED:
            for k, meter in enumerate(meters):
                i = meter.profile.index_of(number)
                if i >= 0 and len(self) < _POINTS_MAX:
                    self.rows.extend(bytes((k, i)))
        points = max(len(self), 1)
        self.steps = size // (2 * points)
        # Whole minutes, and long enough for a day.
        self.step_s = 60 * -(-_SPAN_S // (60 * max(self.steps, 1)))
        self.ring = bytearray(2 * points * self.steps)
        self.newest = 0  # the step that was filled last
        self.closed_s = 0  # uptime of its end
        self._sums = array("f", [0] * points)
        self._counts = array("i", [0] * points)

    def __len__(self) -> int:
        """How many points are kept."""
        return len(self.rows) // 2

    def row(self, k: int) -> "tuple[Meter, int]":
        """(meter, index of the point in its profile) of one of them."""
        return self.meters[self.rows[2 * k]], self.rows[2 * k + 1]

    def tick(self, uptime_s: int) -> None:
        """Once a second."""
        if uptime_s % _EVERY_S == 0:
            self._sample()
        if uptime_s - self.closed_s >= self.step_s and self.steps:
            self._close()
            self.closed_s = uptime_s

    def _sample(self):
        for k in range(len(self)):
            value, _, quality = self._readings.read(*self.row(k))
            if quality == GOOD:
                self._sums[k] += value
                self._counts[k] += 1

    def _close(self):
        self.newest = (self.newest + 1) % self.steps
        at = 2 * self.newest * len(self)
        for k in range(len(self)):
            packed = pack(self._sums[k] / self._counts[k]) if self._counts[k] else 0
            self.ring[at] = packed >> 8
            self.ring[at + 1] = packed & 0xFF
            at += 2
            self._sums[k] = self._counts[k] = 0


def pack(value: float) -> int:
    """A number in 16 bits; 0 when it is too large."""
    exponent = -3
    value = 1000 * value
    while exponent < 5:
        # Rounded half away from zero, for both signs alike.
        whole = int(value + 0.5) if value >= 0 else -int(0.5 - value)
        if -_MOST <= whole <= _MOST:
            return (exponent + 3) << 13 | (whole + _ZERO)
        value = value / 10
        exponent += 1
    return 0

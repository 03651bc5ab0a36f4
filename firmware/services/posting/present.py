"""What is posted where history.flash is off: the present readings, in the shape of firmware.history.records."""

from micropython import const

from firmware.history.records import Columns

_TYPING = const(0)
if _TYPING:
    from firmware.history.records import Batch
    from firmware.meters.meter import Meter
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock

_GOOD = const(0)  # firmware.meters.readings.GOOD


class PresentReadings:
    """What the meters say now, as one record at a time: nothing is kept, and what could not be posted is replaced by
    what they say then. `interval_s`: record times are multiples of it."""

    is_kept = False

    def __init__(
        self, series: "list[tuple[Meter, int]]", interval_s: int, readings: "Readings", clock: "Clock"
    ) -> None:
        self.columns = Columns(series)
        self.interval_s = interval_s
        self.record = self.time_s = self.cursor = 0
        self.passed_undated = self.set_aside = self.lost = self.lost_before = self.undated = 0
        self.is_ready = True
        self.waiting = 0
        self._readings = readings
        self._clock = clock
        self._values: list[bytes] = []

    def take(self) -> None:
        """Takes a record of what the meters say now."""
        now_s = self._clock.unix_s()
        self.time_s = now_s - now_s % self.interval_s
        self._values = [self._text(self.columns.series[k]) for k in self.columns.order]
        self.waiting = 1

    def _text(self, point: "tuple[Meter, int]") -> bytes:
        value, _, quality = self._readings.read(*point)
        if quality != _GOOD or value is None:
            return b""
        return b"%d" % (value if isinstance(value, int) else int(value + 0.5 if value >= 0 else value - 0.5))

    def open(self, number: int) -> None:
        """Goes to the record."""
        self.record = number - 1

    def open_day(self, begin_s: int, end_s: int) -> None:
        """Goes to the record."""
        self.record = self.cursor - 1

    def next(self) -> bool:
        """True when there is one."""
        self.record += 1
        return self.record - self.cursor < self.waiting

    def value(self, k: int) -> bytes:
        """Of column k, as text."""
        return self._values[k]

    def pass_on(self, batch: "Batch", set_aside: bool = False) -> None:
        """The record is not needed any more."""
        self.cursor = batch.end
        self.waiting = 0
        if set_aside:
            self.set_aside += batch.count

    def is_to_keep(self) -> bool:
        """Never."""
        return False

    def keep(self) -> None:
        """Nothing is kept."""

"""Takes a record of all meters at each interval, and commits records to flash in gaps of the buses.

A record holds, for each series, a whole number: of an accumulating point its value at the interval's end, of any other
the mean of the samples taken during the interval. A value that is not good is left out: unknown, never 0. Records are
encoded as they are taken and wait in a buffer until it is due, nearly full, or the firmware ends: a power cut loses at
most what waits (window_s). Flash is written only while the buses rest, since an RP2040 hears nothing meanwhile.

Before the clock is set records carry the uptime; they are dated by a frame of their own once the time is known.
"""

from array import array

import segment
from micropython import const

from firmware.history.segments import SEGMENT_BYTES, Range
from firmware.meters.readings import GOOD

_TYPING = const(0)
if _TYPING:
    from firmware.bus import Buses
    from firmware.events import Events
    from firmware.history.segments import Segments
    from firmware.meters.meter import Meter
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock

_SAMPLE_S = const(10)
_FRAME_MIN = const(512)  # bytes of the buffer, at least;
_FRAME_OF_ONE = const(32)  # and for each series: an hour and more of records of 5 minutes, which take 1 to 3 bytes each
_REST_S = const(20)  # the longest that a commit waits for the buses
_ENERGIES = (32, 40)  # numbers of points: energy imported, or else the total
_POWER = const(16)
_DAILY_SHARE = const(40)  # percent of all room, which daily totals take at most;
_DAILY_DAYS = const(3660)  # else what ten years take:
_DAY_BYTES = const(17)  # a day without a meter, and
_DAY_OF_ONE = const(5)  # each energy, of up to 17 GWh
_DECIMALS = {"Wh": 0, "varh": 0, "VAh": 0, "W": 0, "var": 0, "VA": 0, "V": 1}  # of the others 3


def energies(meters: "list[Meter]") -> "list[tuple[Meter, int]]":
    """Series of the energy of each meter that has one: a list of (meter, index of the point in its profile)."""
    series = []
    for meter in meters:
        for number in _ENERGIES:
            i = meter.profile.index_of(number)
            if i >= 0:
                series.append((meter, i))
                break
    return series


def powers(meters: "list[Meter]") -> "list[tuple[Meter, int]]":
    """Series of the active power of each meter that has one."""
    indices = [(meter, meter.profile.index_of(_POWER)) for meter in meters]
    return [(meter, i) for meter, i in indices if i >= 0]


def daily_limit(limit: int, energies: int) -> int:
    """Bytes for the daily totals of so many energies, of `limit` bytes for all records."""
    wanted = _DAILY_DAYS * (_DAY_BYTES + _DAY_OF_ONE * energies) + SEGMENT_BYTES
    return min(wanted, limit * _DAILY_SHARE // 100)


class Recorder:
    """Writes records of `series` (a list of (meter, index of the point)) each `interval_s`, a divisor of a day, to
    `segments`, at least each `commit_s`.

    taken: records since boot; lost: those of them that could not be written; last_commit_s: uptime of the last commit,
    or None; stall_ms: the longest that a commit took; error: why the last one failed, or ""."""

    def __init__(
        self,
        series: "list[tuple[Meter, int]]",
        interval_s: int,
        commit_s: int,
        segments: "Segments",
        readings: "Readings",
        clock: "Clock",
        buses: "Buses",
        events: "Events",
    ) -> None:
        """Raises OSError, MemoryError."""
        self.series = series
        self.interval_s = interval_s
        self.commit_s = commit_s
        self.segments = segments
        self.taken = self.lost = self.stall_ms = 0
        self.last_commit_s: int | None = None
        self.error = ""
        self._readings = readings
        self._clock = clock
        self._buses = buses
        self._events = events
        self._options = bytes([self._option(meter, i) for meter, i in series])
        self._sums = array("f", [0] * len(series))
        self._counts = array("H", [0] * len(series))
        self._frame_bytes = min(max(_FRAME_MIN, _FRAME_OF_ONE * len(series)), segment.FRAME_MAX)
        self._encoder = segment.Encoder(self._options, self._frame_bytes)
        self._begun_s = 0  # uptime of the first record that waits
        self._slot = -2  # the present interval
        self._is_dated = clock.is_set
        self._undated = 0  # frames since boot whose time is to be told
        self._is_pausing = False  # a commit waits for the buses
        self._pausing_since_s = 0
        segments.open(interval_s, [meter.point_id(i) for meter, i in series], self._options)

    @staticmethod
    def _option(meter: "Meter", i: int) -> int:
        unit = meter.profile.unit(i)
        decimals = _DECIMALS.get(unit, 3)
        return decimals | segment.RISES if meter.profile.accumulates(i) else decimals

    @property
    def pending(self) -> int:
        """Records that wait for the next commit."""
        return self._encoder.count

    @property
    def window_s(self) -> int:
        """The longest time whose records a power cut loses, in seconds."""
        held = self._frame_bytes // self._record_bytes()
        return min(self.commit_s, held * self.interval_s) + self.interval_s

    @property
    def kept_s(self) -> int:
        """The time that the records on flash can span at the present rate, in seconds."""
        room = self.segments.limit_bytes - SEGMENT_BYTES // 2  # half of the newest segment is filled, on the average
        return max(room, 0) // self._record_bytes() * self.interval_s

    @property
    def bytes_a_day(self) -> int:
        """Bytes that a day's records take on flash at the present rate."""
        return 86400 // self.interval_s * self._record_bytes()

    def _record_bytes(self) -> int:
        """The mean size of a record on flash, estimated before there is one."""
        segments = self.segments
        first = segments.first_record(segments.first) if segments.first <= segments.last else None
        records = 0 if first is None else segments.next_record - first
        return max(segments.bytes // records if records else 8 + 2 * len(self.series), 1)

    @property
    def next_record(self) -> int:
        """The number of the record that is taken next."""
        return self.segments.next_record + self.pending

    @property
    def is_dated(self) -> bool:
        """True when the time is known and the records made before are dated: one without a time never gets one."""
        return self._is_dated and not self._undated

    def read(self, begin_s: "int | None" = None, end_s: "int | None" = None, first_record: int = 0) -> Range:
        """Reads records on flash and those that wait for the next commit: by time, or from a number on."""
        return Range(self.segments, begin_s, end_s, first_record, self._encoder)

    # -- once a second

    def tick(self, uptime_s: int) -> None:
        """Samples, takes a record when an interval has ended, commits when it is due. Once a second."""
        if uptime_s % _SAMPLE_S == 0:
            self._sample()
        clock = self._clock
        if clock.is_set and not self._is_dated:
            self._is_dated = True
            self._slot = -2
            self._commit_soon()
        if self._is_pausing and uptime_s - self._pausing_since_s > _REST_S:
            self._is_pausing = False  # tried again with the next record
            self._buses.resume()
        slot = (clock.unix_s() if self._is_dated else uptime_s) // self.interval_s
        if slot != self._slot and not self._is_pausing:
            has_ended = slot - 1 == self._slot  # else the clock was set: no interval has ended just now
            self._slot = slot
            if has_ended:
                self._take(slot, uptime_s)
        if self.pending and uptime_s - self._begun_s >= self.commit_s:
            self._commit_soon()

    def _sample(self):
        for k in range(len(self.series)):
            if not self._options[k] & segment.RISES:
                value, _, quality = self._readings.read(*self.series[k])
                if quality == GOOD:
                    self._sums[k] += value
                    self._counts[k] += 1

    def _values(self):
        values = []
        for k in range(len(self.series)):
            option = self._options[k]
            if option & segment.RISES:
                value, _, quality = self._readings.read(*self.series[k])
                value = value if quality == GOOD else None
            else:
                value = self._sums[k] / self._counts[k] if self._counts[k] else None
                self._sums[k] = self._counts[k] = 0
            if value is not None:
                scaled = value * 10 ** segment.decimals(option)
                value = scaled if isinstance(scaled, int) else int(scaled + 0.5 if scaled >= 0 else scaled - 0.5)
                if not -segment.VALUE_MAX < value < segment.VALUE_MAX:
                    value = None
            values.append(value)
        return values

    # -- records

    def _take(self, slot: int, uptime_s: int) -> None:
        """Encodes the record of an interval that has ended."""
        self.taken += 1
        values = self._values()
        encoder = self._encoder
        if self.pending and not self._fits(slot):
            self._commit_soon()
            if self.pending:  # the buses cannot rest (a scan): nothing may be written
                self.lost += 1
                return
        if not self.pending:
            encoder.begin(self._kind(), slot)
            self._begun_s = uptime_s
        encoder.put(slot, values)
        if not encoder.has_room(slot):  # while there is time
            self._commit_soon()

    def _fits(self, slot: int) -> bool:
        """True when the frame that waits can take a record of that slot: a frame has one kind of time."""
        return (self._encoder.kind == segment.RECORDS) == self._is_dated and self._encoder.has_room(slot)

    def _kind(self) -> int:
        if self._is_dated:
            return segment.RECORDS
        self._undated += 1
        return segment.BOOT if self._undated == 1 else segment.UNDATED

    # -- commits

    def _commit_soon(self) -> None:
        """Commits as soon as the buses rest: at once, or from the task of a bus. When they cannot be paused (a scan, a
        save) nothing happens: the caller comes again."""
        if self._has_work() and not self._is_pausing and self._buses.pause(self._commit_and_resume):
            self._is_pausing = self._buses.paused  # else it is done
            self._pausing_since_s = self._clock.uptime_s()

    def _commit_and_resume(self) -> None:
        try:
            self.commit()
        finally:
            self._is_pausing = False
            self._buses.resume()

    def _has_work(self) -> bool:
        return self.pending > 0 or (self._is_dated and self._undated > 0)

    def commit(self) -> None:
        """Writes the records that wait, now: while the buses rest, or before a planned restart. What cannot be written
        is counted as lost; OSError and MemoryError go no further."""
        if not self._has_work():
            return
        encoder = self._encoder
        begun_ms = self._clock.uptime_ms()
        records = encoder.count
        frame = encoder.end()  # also without records: then it is not written
        try:
            if encoder.kind == segment.RECORDS:
                self._write_time()
            if records:
                self.segments.append(frame, records)
            self._write_time()
            self.error = ""
        except (OSError, MemoryError) as error:
            self.lost += records
            if not self.error:
                self._events.add("history", "%d records lost: %r" % (records, error))
            self.error = repr(error)
        self.last_commit_s = self._clock.uptime_s()
        self.stall_ms = max(self.stall_ms, self._clock.uptime_ms() - begun_ms)

    def _write_time(self) -> None:
        """Dates the frames that were written before the time was known."""
        if self._is_dated and self._undated:
            self._undated = 0
            clock = self._clock
            self.segments.append(segment.time_frame(clock.unix_s() - clock.uptime_s()), 0)

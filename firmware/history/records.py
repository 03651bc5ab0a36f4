"""Records of the flash for a service that delivers each of them (posting, MQTT): read from a durable cursor on.

Records have: columns; open(number) goes to the record of that number; next() to the first one behind it whose time is
known: then record is its number, time_s the begin of its interval (unix time) and value(k) the value of column k as
text, b"" when it is unknown. waiting: records that were not delivered yet. pass_on(batch) moves the cursor behind what
was delivered or set aside. The present readings of posting have the same shape.
"""

import hashlib

import line_protocol
import segment
from micropython import const

from firmware.config import store

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator, Sequence
    from typing import Protocol

    from firmware.bus import Buses
    from firmware.events import Events
    from firmware.history.recorder import Recorder
    from firmware.history.segments import Range, Walk
    from firmware.meters.meter import Meter

    class Records(Protocol):
        """What lines(), Batch and Keeper use of records."""

        columns: "Columns"
        record: int
        time_s: int
        passed_undated: int

        def value(self, k: int) -> bytes:
            """Of column k, as text."""

        def is_to_keep(self) -> bool:
            """True when keep() has something to write."""

        def keep(self) -> None:
            """Writes the cursor. Raises OSError."""


_KEEP_S = const(600)  # between two writes of a cursor, at least
_REST_S = const(20)  # the longest that the buses are asked to rest


def offset_s(serial: bytes, width_s: int) -> int:
    """When in `width_s` seconds a gateway sends, 0 to width_s - 1: each at a time of its own, so that many gateways
    with the right time do not send at once. The same after each restart."""
    digest = hashlib.sha256(serial).digest()
    return (digest[0] << 16 | digest[1] << 8 | digest[2]) % width_s


def lines(records: "Records", gateway: bytes) -> "Iterator[bytes]":
    """Yields the record that `records` stands at as lines of InfluxDB's line protocol: one for each meter that has a
    value. `gateway`: the tag gw."""
    columns = records.columns
    line = b""
    last = -1
    for k in range(len(columns.names)):
        value = records.value(k)
        if not value:
            continue
        m = columns.meter_of[k]
        if m != last:
            if line:
                yield line + line_protocol.end(records.time_s)
            name = columns.meters[m].name.encode()
            line = line_protocol.head(b"meterport", [(b"gw", gateway), (b"meter", name)]) + b" "
            last = m
        else:
            line += b","
        line += line_protocol.field(columns.names[k], value, columns.is_whole(k))
    if line:
        yield line + line_protocol.end(records.time_s)


class Columns:
    """The series that are delivered, those of a meter side by side: `series` is a list of (meter, index of the point).

    order: for each column the index in `series`; names: bytes, as energy_import_wh; meters: list of those that have
    columns; meter_of: for each column the index in meters."""

    def __init__(self, series: "list[tuple[Meter, int]]") -> None:
        self.series = series
        self.meters: list[Meter] = []
        for meter, _ in series:
            if meter not in self.meters:
                self.meters.append(meter)
        keys = [self.meters.index(meter) for meter, _ in series]
        self.order = bytes([key & 0xFF for key in sorted([m << 8 | k for k, m in enumerate(keys)])])
        self.meter_of = bytes([keys[k] for k in self.order])
        known: dict = {}
        self.names = []
        for k in self.order:
            meter, i = series[k]
            key = meter.profile, i
            if key not in known:
                name = meter.profile.name_of(i).encode()
                unit = meter.profile.unit(i).lower().encode()
                known[key] = name + b"_" + unit if unit else name
            self.names.append(known[key])

    def is_whole(self, k: int) -> bool:
        """True when column k has whole numbers only: energy."""
        meter, i = self.series[self.order[k]]
        return meter.profile.accumulates(i)


class Batch:
    """Records begin to end - 1 by their numbers, of which `count` are there and dated, and `undated` will never be.
    time_s: of the first one; has_values: any of them says anything; size: bytes of the body that is made of them."""

    def __init__(self, begin: int) -> None:
        self.begin = self.end = begin
        self.count = self.undated = self.size = self.time_s = 0
        self.has_values = False

    def add(self, records: "Records") -> None:
        """Adds the record that `records` stands at."""
        if not self.count:
            self.time_s = records.time_s
        self.count += 1
        self.end = records.record + 1
        self.undated = records.passed_undated
        if not self.has_values:
            self.has_values = any([len(records.value(k)) for k in range(len(records.columns.names))])


class FlashRecords:
    """Records that `recorder` takes, and a cursor that store.py keeps as `path`: each consumer has one of its own.
    set_aside, lost, undated: records since the cursor was first kept that a server refused, that were gone before they
    were delivered, and that were made in a boot which never knew the time. lost_before: of `lost` those before boot."""

    is_kept = True

    def __init__(self, recorder: "Recorder", path: str) -> None:
        """Raises OSError."""
        self._path = path
        self.columns = Columns(recorder.series)
        self.record = self.time_s = 0
        self.passed_undated = 0  # since open()
        self._recorder = recorder
        self._places: list[int] = []
        kept = [int(part) for part in (store.load(path) or b"").split() if part.isdigit()]
        self.cursor, self.set_aside, self.lost, self.undated = kept if len(kept) == 4 else (0, 0, 0, 0)
        self.lost_before = self.lost
        if self.cursor > recorder.segments.next_record:
            self.cursor = 0  # the history was removed, and begins anew
        self._kept = self._state()
        self.open(self.cursor)

    @property
    def is_ready(self) -> bool:
        """True when all records of this boot have their time."""
        return self._recorder.is_dated

    @property
    def interval_s(self) -> int:
        """Of the records that are taken now."""
        return self._recorder.interval_s

    @property
    def next_record(self) -> int:
        """The number of the record that is taken next."""
        return self._recorder.next_record

    @property
    def waiting(self) -> int:
        """Records to be delivered."""
        return max(self._recorder.next_record - self.cursor, 0)

    def open(self, number: int) -> None:
        """Goes to the record of that number, or the first one behind it."""
        self._begin(self._recorder.read(first_record=number))

    def open_day(self, begin_s: int, end_s: int) -> None:
        """Goes to the first record of that day."""
        self._begin(self._recorder.read(begin_s + 1, end_s + 1))  # they have the times at which intervals ended

    def take(self) -> None:
        """The recorder has taken them."""

    def _begin(self, reader: "Range") -> None:
        self.passed_undated = 0
        self._reader = reader
        self._walk: Walk | None = None

    def next(self) -> bool:
        """Raises MemoryError."""
        while self._reader.next():
            walk = self._reader.walk
            assert walk is not None
            if walk.unix_s is None:
                self.passed_undated += 1
                continue
            if walk is not self._walk:
                self._walk = walk
                self._decoder = walk.decoder
                self._find_columns(walk.header.ids)
            self.record = self._reader.record
            self.time_s = walk.unix_s - walk.header.interval_s
            return True
        return False

    def _find_columns(self, ids: "Sequence[int]") -> None:
        """A segment from before a change of meters has others."""
        places = {ids[place]: place for place in range(len(ids))}
        series = self.columns.series
        self._places = [places.get(series[k][0].point_id(series[k][1]), -1) for k in self.columns.order]

    def value(self, k: int) -> bytes:
        """Of column k, as text."""
        place = self._places[k]
        decoder = self._decoder
        if place < 0 or not decoder.known[place]:
            return b""
        return segment.number(decoder.values[place], segment.decimals(decoder.options[place]))

    def pass_on(self, batch: Batch, set_aside: bool = False) -> None:
        """Moves the cursor behind a batch, and counts what was never delivered."""
        self.lost += batch.end - batch.begin - batch.count - batch.undated
        self.undated += batch.undated
        if set_aside:
            self.set_aside += batch.count
        self.cursor = batch.end

    # -- the durable cursor

    def _state(self) -> tuple:
        """Records that are not on flash yet have numbers which are given again after a power cut."""
        return min(self.cursor, self._recorder.segments.next_record), self.set_aside, self.lost, self.undated

    def is_to_keep(self) -> bool:
        """True when keep() has something to write."""
        return self._state() != self._kept

    def keep(self) -> None:
        """Writes the cursor. Raises OSError."""
        state = self._state()
        store.save(self._path, b"%d %d %d %d" % state)
        self._kept = state


class Keeper:
    """Writes the cursor of `records` in gaps of the buses, at most each ten minutes. `name`: in the log."""

    def __init__(self, records: "Records", buses: "Buses", events: "Events", name: str) -> None:
        self._records = records
        self._buses = buses
        self._events = events
        self._name = name
        self._kept_s = 0
        self._is_pausing = False
        self._pausing_since_s = 0

    def tick(self, uptime_s: int) -> None:
        """Writes the cursor when it is time, while the buses rest. Once a second."""
        if self._is_pausing:
            if uptime_s - self._pausing_since_s > _REST_S:
                self._is_pausing = False
                self._buses.resume()
        elif uptime_s - self._kept_s >= _KEEP_S and self._records.is_to_keep():
            self._kept_s = uptime_s
            if self._buses.pause(self._keep_and_resume):
                self._is_pausing = self._buses.paused  # else it is done
                self._pausing_since_s = uptime_s

    def _keep_and_resume(self) -> None:
        try:
            self.keep()
        finally:
            self._is_pausing = False
            self._buses.resume()

    def keep(self) -> None:
        """Writes the cursor, if it has moved: while the buses rest, or before a planned restart."""
        if not self._records.is_to_keep():
            return
        try:
            self._records.keep()
        except OSError as error:
            self._events.add(self._name, "the cursor cannot be kept: %r" % error)

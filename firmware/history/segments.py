"""History segments as files: appended to, never changed, and the oldest removed when the room is used up.

A folder holds files NNNNNNNN.seg of at most SEGMENT_BYTES each (lib/segment.py has the format), numbered without gaps
in the order of their making. A file is only ever appended to by whole frames; littlefs keeps what was there when the
power goes meanwhile, and on a file system that tears a frame its CRC tells. A damaged end is never repaired in place:
readers stop before it, and writing goes on in a new segment. Records are numbered from 0 on through all segments, so
what was removed before a consumer has read it can be counted.
"""

import os
from array import array

import segment
from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Sequence

SEGMENT_BYTES = 16384
_DIGITS = const(8)


class Segments:
    """The segments in `folder`, which is made when needed, one level deep. `limit_bytes`: all of them together take no
    more, but the newest always stays. Files of other names are left alone.

    first, last: numbers of the oldest and newest segment; last < first: there is none. bytes: size of all.
    next_record: number of the record that is written next. removed: records that were removed for want of room since
    boot. damaged: segments whose header or end was found damaged by open()."""

    def __init__(self, folder: str, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.first = 0
        self.last = -1
        self.bytes = 0
        self.next_record = 0
        self.removed = 0
        self.damaged = 0
        self._interval_s = 0
        self._ids: Sequence[int] = ()
        self._options = b""
        self._room = 0  # bytes that the last segment may still take; 0: the next frame begins a new one

    def path(self, number: int) -> str:
        """The file of a segment."""
        return "%s/%08d.seg" % (self.folder, number)

    def open(self, interval_s: int, ids: "Sequence[int]", options: bytes) -> None:
        """Looks at what is there and prepares for appending records of those series at that interval. Where the last
        segment is damaged, or of others, the next frame begins a new one. Raises OSError, MemoryError."""
        self._interval_s = interval_s
        self._ids = array("H", ids)
        self._options = bytes(options)
        self._list()
        number = self.last
        while number >= self.first:
            try:
                walk = Walk(self, number)
                break
            except segment.SegmentError:  # its header is damaged, or a power cut left none: nothing in it can be read
                self.damaged += 1
                number -= 1
        else:
            return
        while walk.next_frame():
            pass
        self.next_record = walk.record
        self.damaged += walk.is_damaged
        header = walk.header
        if walk.is_damaged or number != self.last or header.interval_s != interval_s:
            return
        if header.ids == self._ids and header.options == self._options:
            self._room = max(SEGMENT_BYTES - walk.offset, 0)

    def _list(self) -> None:
        try:
            names = os.listdir(self.folder)
        except OSError:  # there is no such folder yet
            return
        numbers = []
        for name in names:
            if len(name) == _DIGITS + 4 and name.endswith(".seg") and name[:_DIGITS].isdigit():
                numbers.append(int(name[:_DIGITS]))
                self.bytes += os.stat(self.folder + "/" + name)[6]
        if numbers:
            self.first = min(numbers)
            self.last = max(numbers)

    def append(self, frame: "memoryview | bytearray", records: int) -> None:
        """Appends a whole frame of `records` records, in a new segment when it finds no room in the last one. Raises
        OSError, MemoryError: then they are lost, their numbers are not given again, and a new segment comes next."""
        head: bytes | bytearray = b""
        room = self._room - len(frame)
        first_record = self.next_record
        self.next_record += records
        self._room = 0  # until it is written
        if room < 0:
            head = self.make_header(first_record)
            room = SEGMENT_BYTES - len(head) - len(frame)
            if self.last < self.first:
                self._make_folder()
            self.last += 1
        self.bytes += len(head) + len(frame)
        with open(self.path(self.last), "ab") as f:
            if head:
                f.write(head)
            f.write(frame)
        self._room = max(room, 0)
        while self.bytes > self.limit_bytes and self.first < self.last:
            self.remove_first()

    def make_header(self, first_record: int) -> bytearray:
        """The header of a segment of the present series whose first record has that number."""
        return segment.header(self._interval_s, first_record, self._ids, self._options)

    def _make_folder(self) -> None:
        try:
            os.stat(self.folder)
        except OSError:
            os.mkdir(self.folder)

    def remove_first(self) -> None:
        """Removes the oldest segment, and counts its records. Raises OSError."""
        path = self.path(self.first)
        before = self.first_record(self.first)
        self.first += 1
        self.bytes -= os.stat(path)[6]
        os.remove(path)
        after = self.first_record(self.first) if self.first <= self.last else self.next_record
        if before is not None and after is not None:
            self.removed += after - before

    def first_record(self, number: int) -> "int | None":
        """The number of the first record of a segment, or None when it cannot be read."""
        try:
            return _read_header(self.path(number)).first_record
        except (OSError, segment.SegmentError):
            return None

    def begin_s(self, number: int) -> "int | None":
        """The unix time of a segment's first record, or None when it is not known."""
        try:
            path = self.path(number)
            header = _read_header(path)
            with open(path, "rb") as f:
                f.seek(header.size)
                head = f.read(segment.HEAD_BYTES)
            return segment.first_slot(head) * header.interval_s if head[:1] == bytes((segment.RECORDS,)) else None
        except (OSError, segment.SegmentError):
            return None


class Walk:
    """Goes through one segment frame by frame, and through the records of those that are opened. The file is open for
    moments only; one frame is in memory. With `waiting`, a frame that is not on flash yet, this is all there is.

    header; frame: the last frame that next_frame() has found, bytes; offset: its end, or that of the header; record:
    number of the record that comes next; is_damaged: what is behind offset is not whole; decoder: segment.Decoder with
    the last record; unix_s: when its interval ended, None while that is not known; uptime_s: the same since its boot,
    for records that were made before the time was known, else None.

    Raises OSError, MemoryError, and segment.SegmentError of the header."""

    def __init__(self, segments: Segments, number: int, waiting: bytes = b"") -> None:
        self._segments = segments
        self.number = number
        self._path = segments.path(number)
        self._waiting = waiting
        if waiting:
            header = segment.Header(bytes(segments.make_header(segments.next_record)))
        else:
            header = _read_header(self._path)
        self.header = header
        self.offset = header.size
        self.frame = b""
        self.record = header.first_record
        self.is_damaged = False
        self.decoder = segment.Decoder(header.options)
        self.unix_s: int | None = None
        self.uptime_s: int | None = None
        self._boot_s: int | None = None  # unix time of uptime 0, for the frame that is open
        self._left = 0  # records of the frame that were not read

    def next_frame(self) -> bool:
        """True and the next frame is in `frame`; its records are passed over, but by next()."""
        self.record += self._left
        self._left = 0
        if self._waiting:
            frame = None if self.frame else self._waiting
        else:
            frame = _read_frame(self._path, self.offset)
        if frame is None:
            self.is_damaged = not self._waiting and os.stat(self._path)[6] > self.offset
            return False
        self.frame = frame
        self.offset += len(frame)
        self._left = segment.record_count(frame)
        return True

    def open_frame(self) -> bool:
        """True when `frame` is one of records, which next() goes through then."""
        kind = self.frame[0]
        if not self._left:
            return False
        self._boot_s = None
        if kind != segment.RECORDS and not self._waiting:
            self._boot_s = self._find_boot_s()
        self.decoder.open(self.frame)
        return True

    def next(self) -> bool:
        """True and the next record of the frame that was opened is in decoder, unix_s, uptime_s. False at its end."""
        try:
            if not self._left or not self.decoder.next():
                return False
        except segment.SegmentError:  # its CRC is right, and yet it is nothing that this codec writes
            self.is_damaged = True
            return False
        self._left -= 1
        self.record += 1
        seconds = self.decoder.slot * self.header.interval_s
        if self.frame[0] == segment.RECORDS:
            self.unix_s, self.uptime_s = seconds, None
        else:
            self.uptime_s = seconds
            self.unix_s = None if self._boot_s is None else self._boot_s + seconds
        return True

    def _find_boot_s(self) -> "int | None":
        """The unix time of uptime 0 that a TIME frame gives for undated records, here or in a later segment; None when
        another boot or dated records come first."""
        path, offset, number = self._path, self.offset, self.number
        while True:
            frame = _read_frame(path, offset)
            if frame is None:
                number += 1
                if number > self._segments.last:
                    return None
                path = self._segments.path(number)
                try:
                    offset = _read_header(path).size
                except (OSError, segment.SegmentError):
                    return None
                continue
            if frame[0] == segment.TIME:
                return segment.time_of(frame)
            if frame[0] != segment.UNDATED:
                return None
            offset += len(frame)


def _read_header(path: str) -> segment.Header:
    """The header of the segment in a file. Raises OSError, segment.SegmentError."""
    with open(path, "rb") as f:
        head = f.read(segment.COUNT_BYTES)
        # Not at once for the most series: a kilobyte in one piece is what a full heap has last.
        return segment.Header(head + f.read(segment.header_size(head[-1]) - len(head)) if head else head)


def _read_frame(path: str, offset: int) -> "bytes | None":
    """The frame at `offset` of a file, or None when there is no whole one. Raises OSError."""
    with open(path, "rb") as f:
        f.seek(offset)
        head = f.read(segment.HEAD_BYTES)
        if len(head) < segment.HEAD_BYTES:
            return None
        size = segment.frame_size(head)
        if not len(head) <= size <= segment.FRAME_MAX:
            return None
        frame = head + f.read(size - len(head))
    return frame if len(frame) == size and segment.is_whole(frame, size) else None


class Range:
    """Reads the records of all segments whose interval ended at begin_s <= unix time < end_s; None: no bound. Records
    without a known time are read only when begin_s is None. Ends at the first frame that begins at end_s or later: of a
    clock that was set back, records behind it are not read.

    Or reads from record `first_record` on, the oldest first: for a consumer that wants each record once.
    It keeps the number behind the last one that it is done with, and begins there the next time. What was removed
    before, or cannot be read, is a gap in the numbers.

    `encoder`: the records in it, which wait to be committed, are read last; None: only those on flash. They get the
    same numbers on flash, but for a power cut: so a number that a consumer keeps over restarts must not be above
    Segments.next_record, or it takes other records for those that it has had.

    walk: the Walk that stands at the record that next() has found. What is removed meanwhile is passed over."""

    def __init__(
        self,
        segments: Segments,
        begin_s: "int | None" = None,
        end_s: "int | None" = None,
        first_record: int = 0,
        encoder: "segment.Encoder | None" = None,
    ) -> None:
        self.walk: Walk | None = None
        self._segments = segments
        self._begin_s = begin_s
        self._end_s = end_s
        self._first_record = first_record
        self._encoder = encoder
        self._is_at_end = False
        self._number = segments.first
        highest = segments.last if first_record or begin_s is not None else self._number
        while self._number < highest:  # the last segment that begins before: by halves
            middle = (self._number + highest + 1) // 2
            first = segments.first_record(middle) if begin_s is None else segments.begin_s(middle)
            if first is None or first > (first_record if begin_s is None else begin_s):
                highest = middle - 1
            else:
                self._number = middle

    @property
    def record(self) -> int:
        """The number of the record that next() has found."""
        return self.walk.record - 1 if self.walk is not None else -1

    def next(self) -> bool:
        """True when there is another record. Raises MemoryError."""
        while True:
            try:
                walk = self.walk = self.walk or self._next_walk()
                if walk is None:
                    return False
                while True:
                    while walk.next():
                        if walk.record > self._first_record and self._is_wanted(walk.unix_s):
                            return True
                    if walk.is_damaged or not walk.next_frame():
                        break
                    if walk.record + segment.record_count(walk.frame) <= self._first_record:
                        continue
                    if walk.frame[0] == segment.RECORDS:
                        interval_s = walk.header.interval_s
                        if self._end_s is not None and segment.first_slot(walk.frame) * interval_s >= self._end_s:
                            return False
                        if self._begin_s is not None and segment.last_slot(walk.frame) * interval_s < self._begin_s:
                            continue
                    walk.open_frame()
            except (OSError, segment.SegmentError):
                pass  # removed, or damaged: the next one
            self.walk = None
            self._number += 1

    def _next_walk(self) -> "Walk | None":
        """Of the next segment, and then of the records that wait. Raises what Walk does."""
        number = self._number = max(self._number, self._segments.first)
        if number <= self._segments.last and not self._is_at_end:
            return Walk(self._segments, number)
        encoder = None if self._is_at_end else self._encoder
        self._is_at_end = True
        if encoder is None or not encoder.count:
            return None
        return Walk(self._segments, number, bytes(encoder.frame()))

    def _is_wanted(self, unix_s: "int | None") -> bool:
        if unix_s is None:
            return self._begin_s is None
        if self._begin_s is not None and unix_s < self._begin_s:
            return False
        return self._end_s is None or unix_s < self._end_s

"""The format of a history segment: records of integer series in few bytes. Codec only: no file, no clock.

A segment is a header and frames behind it. Each of them ends with a CRC-32 (IEEE 802.3, as binascii.crc32) over all of
its bytes before, so a reader stops at the first one that is damaged. Numbers are little-endian.

    header  "MPH" 1, interval_s u32, number of the first record u32, count of series u8,
            for each series: point id u16, options u8; CRC-32
    frame   kind u8, length of the payload u16, payload, CRC-32
            RECORDS   slot of the first record u32, slots from it to the last one u16, count of records u16, records;
                      slot x interval_s is the unix time at which a record's interval ended
            UNDATED   the same, but slot x interval_s is the uptime, in a boot that knew no time yet
            BOOT      as UNDATED, and the first of its boot
            TIME      unix time u32 of uptime 0: dates the UNDATED frames before it, back to the BOOT

A record is a varint, 2 x (its slot - the slot of the record before) + 1 if it has gaps; then, when it has, a bitmap of
the series that are known (bit k % 8 of byte k // 8); then for each known series a zigzag varint of its value less the
predicted one. The prediction is the last known value; for a series with RISES in its options the last step is added:
a total that rises evenly costs one byte a record then. Each frame begins with all values and steps 0, so it can be
read without those before it. Varints are little-endian base 128, as in Protocol Buffers.
"""

from array import array
from binascii import crc32
from struct import pack_into, unpack_from

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Sequence

RECORDS = 1
UNDATED = 2
BOOT = 3
TIME = 4
RISES = 0x80  # option of a series: it accumulates; the low bits are its decimals, value = number / 10**decimals
SERIES_MAX = 255
FRAME_MAX = 4096  # bytes; a longer one is damaged
COUNT_BYTES = 13  # of a header, of which the last one is the count of its series
HEAD_BYTES = 11  # of a frame of records: all before the first record
CRC_BYTES = 4
VALUE_MAX = 1 << 53  # values are less than that, either way: what a reader in JavaScript holds exactly

_SHORT_MAX = const(1 << 29)  # a comparison with a longer integer takes heap on a chip
_RISES = const(0x80)
_HEADER = const(13)
_FRAME_HEAD = const(3)
_DECIMALS = const(0x0F)
_VALUE_MAX = const(9)  # bytes of the varint: a difference has 56 bits and its sign at most
_SLOT_MAX = const(3)  # bytes of the varint: two of the 65535 that a frame spans at most, doubled
_SPAN_MAX = const(0xFFFF)
_MAGIC = b"MPH\x01"


class SegmentError(ValueError):
    """The bytes are no segment of this format, or damaged."""


def header(interval_s: int, first_record: int, ids: "Sequence[int]", options: bytes) -> bytearray:
    """The header of a segment. `ids`: point ids; `options` of each."""
    count = len(options)
    out = bytearray(header_size(count))
    out[:4] = _MAGIC
    pack_into("<IIB", out, 4, interval_s, first_record, count)
    for k in range(count):
        pack_into("<HB", out, _HEADER + 3 * k, ids[k], options[k])
    pack_into("<I", out, len(out) - CRC_BYTES, crc32(memoryview(out)[:-CRC_BYTES]))
    return out


def header_size(count: int) -> int:
    """Bytes of a header with `count` series."""
    return _HEADER + 3 * count + CRC_BYTES


class Header:
    """A segment's header: interval_s, first_record, ids (array of point ids), options (bytes), size in bytes.

    `head`: the first bytes of the segment, at least header_size() of them or all there are. Raises
    SegmentError."""

    def __init__(self, head: bytes) -> None:
        if len(head) < _HEADER or bytes(head[:4]) != _MAGIC:
            raise SegmentError("not a history segment")
        self.interval_s, self.first_record, count = unpack_from("<IIB", head, 4)
        self.size = header_size(count)
        if len(head) < self.size or not is_whole(head, self.size):
            raise SegmentError("damaged header")
        self.ids = array("H", [unpack_from("<H", head, _HEADER + 3 * k)[0] for k in range(count)])
        self.options = bytes([head[_HEADER + 3 * k + 2] for k in range(count)])
        if not count or not self.interval_s:
            raise SegmentError("header without series or interval")


def is_whole(buf: "bytes | bytearray", size: int) -> bool:
    """True when buf[:size] ends with its right CRC-32."""
    end = size - CRC_BYTES
    return bool(crc32(memoryview(buf)[:end]) == unpack_from("<I", buf, end)[0])


def frame_size(head: bytes) -> int:
    """Bytes of the frame that begins with `head`, 3 bytes at least."""
    return _FRAME_HEAD + (head[1] | head[2] << 8) + CRC_BYTES


def first_slot(head: bytes) -> int:
    """The slot of the first record of a frame of records, of which `head` are the first HEAD_BYTES. Raises
    SegmentError when it is another frame."""
    if len(head) < HEAD_BYTES or not RECORDS <= head[0] <= BOOT:
        raise SegmentError("not a frame of records")
    slot: int = unpack_from("<I", head, _FRAME_HEAD)[0]
    return slot


def last_slot(head: bytes) -> int:
    """The same of the last record."""
    return first_slot(head) + (head[7] | head[8] << 8)


def record_count(head: bytes) -> int:
    """How many records a frame has, of which `head` are the first bytes: 0 unless it is one of records."""
    if len(head) < HEAD_BYTES or not RECORDS <= head[0] <= BOOT:
        return 0
    return head[9] | head[10] << 8


def time_frame(boot_unix_s: int) -> bytearray:
    """A TIME frame."""
    out = bytearray(_FRAME_HEAD + 4 + CRC_BYTES)
    pack_into("<BHI", out, 0, TIME, 4, boot_unix_s)
    pack_into("<I", out, len(out) - CRC_BYTES, crc32(memoryview(out)[:-CRC_BYTES]))
    return out


def time_of(frame: bytes) -> int:
    """The unix time of uptime 0 that a TIME frame gives. Raises SegmentError."""
    if len(frame) < _FRAME_HEAD + 4 + CRC_BYTES:
        raise SegmentError("frame too short")
    boot_unix_s: int = unpack_from("<I", frame, _FRAME_HEAD)[0]
    return boot_unix_s


class _Predictor:
    """For each series its last value and its last step. `options`: bytes, one of each series."""

    def __init__(self, options: bytes) -> None:
        self.options = options
        # Lists and not arrays: MicroPython makes a long integer on the heap of each item of an array of 64 bits.
        self.values = [0] * len(options)
        self._steps = [0] * len(options)

    def reset(self) -> None:
        """As at the beginning of a frame."""
        for k in range(len(self.values)):
            self.values[k] = self._steps[k] = 0

    def predicted(self, k: int) -> int:
        """The value of series k that costs least."""
        return self.values[k] + self._steps[k]

    def take(self, k: int, value: int) -> None:
        """The next known value of series k."""
        if self.options[k] & RISES:
            self._steps[k] = value - self.values[k]
        self.values[k] = value


class Encoder(_Predictor):
    """Makes one frame of records at a time in a buffer of `size` bytes, its own.

    count: records in it; kind: of the frame (RECORDS, UNDATED or BOOT); slot: of its last record."""

    def __init__(self, options: bytes, size: int) -> None:
        super().__init__(options)
        self.count = self.kind = self.slot = self._first_slot = 0
        self._buf = bytearray(size)
        self._end = 0
        gaps = (len(options) + 7) // 8
        self._room = size - CRC_BYTES - _SLOT_MAX - gaps - _VALUE_MAX * len(options)  # for the largest record behind it

    def begin(self, kind: int, slot: int) -> None:
        """Begins a frame whose first record is of that slot."""
        self.reset()
        self.count = 0
        self.kind = kind
        self.slot = self._first_slot = slot
        self._buf[0] = kind
        pack_into("<I", self._buf, _FRAME_HEAD, slot)
        self._end = HEAD_BYTES

    def has_room(self, slot: int) -> bool:
        """True when the frame can take a record of that slot, however large: it is not before the last one's."""
        return self._end <= self._room and self.slot <= slot <= self._first_slot + _SPAN_MAX

    def put(self, slot: int, values: "Sequence[int | None]") -> None:
        """Appends a record, for which has_room(slot). `values`: for each series an int (above -VALUE_MAX, below
        VALUE_MAX), or None: unknown."""
        buf = self._buf
        gaps = int(None in values)
        self._put_varint(2 * (slot - self.slot) + gaps)
        if gaps:
            at = self._end
            for k, value in enumerate(values):
                if k % 8 == 0:
                    buf[at + k // 8] = 0
                if value is not None:
                    buf[at + k // 8] |= 1 << k % 8
            self._end = at + (len(self.values) + 7) // 8
        for k, value in enumerate(values):
            if value is not None:
                difference = value - self.predicted(k)
                self._put_varint(2 * difference if difference >= 0 else -2 * difference - 1)
                self.take(k, value)
        self.slot = slot
        self.count += 1

    def _put_varint(self, number: int) -> None:
        buf = self._buf
        at = self._end
        while number > 0x7F:
            buf[at] = number & 0x7F | 0x80
            number >>= 7
            at += 1
        buf[at] = number
        self._end = at + 1

    def end(self) -> memoryview:
        """The whole frame, which is there until begin(); no record is left to be made into one then."""
        frame = self.frame()
        self.count = 0
        return frame

    def frame(self) -> memoryview:
        """The whole frame with the records so far, which is there until put() or begin()."""
        end = self._end
        pack_into("<H", self._buf, 1, end - _FRAME_HEAD)
        pack_into("<HH", self._buf, HEAD_BYTES - 4, self.slot - self._first_slot, self.count)
        frame = memoryview(self._buf)
        pack_into("<I", self._buf, end, crc32(frame[:end]))
        return frame[: end + CRC_BYTES]


class Decoder(_Predictor):
    """Decodes the records of one frame after the other. `known`: bytearray, 1 for each series that the last record
    knows, whose value is in values; `slot`: of the last record. `wanted`: the indices of the series that are decoded,
    in ascending order; the others are passed over, which is much quicker."""

    def __init__(self, options: bytes) -> None:
        super().__init__(options)
        self.known = bytearray(len(options))
        self.wanted: Sequence[int] = range(len(options))
        self.slot = 0
        self._frame = b""
        self._at = self._end = 0

    def open(self, frame: bytes) -> None:
        """Goes to the beginning of a frame of records, which is whole. Raises SegmentError."""
        self.slot = first_slot(frame)
        self.reset()
        self._frame = frame
        self._at = HEAD_BYTES
        self._end = len(frame) - CRC_BYTES

    def next(self) -> bool:
        """True and the next record is in slot, known and values; False at the frame's end. Raises SegmentError when
        the bytes are no records."""
        if self._at >= self._end:
            return False
        head = self._varint()
        self.slot += head >> 1
        # All in one function and in local variables: a record has some sixty values, and a day some hundred records.
        known = self.known
        options = self.options
        values = self.values
        steps = self._steps
        frame = self._frame
        at = self._at
        end = self._end
        bitmap = -1
        if head & 1:
            bitmap = at
            at += (len(known) + 7) // 8
            if at > end:
                raise SegmentError("record cut short")
        following = 0  # the series behind the last one that was decoded
        for k in self.wanted:
            if following < k:
                at = self._pass(at, following, k, bitmap)
            following = k + 1
            known[k] = 0
            if bitmap >= 0 and not frame[bitmap + k // 8] >> k % 8 & 1:
                continue
            if at >= end:
                raise SegmentError("record cut short")
            number = frame[at]
            at += 1
            if number > 0x7F:
                self._at = at - 1
                number = self._varint()
                at = self._at
            before = values[k]
            value = before + steps[k] + (-(number >> 1) - 1 if number & 1 else number >> 1)
            if not -_SHORT_MAX < value < _SHORT_MAX and not -VALUE_MAX < value < VALUE_MAX:
                raise SegmentError("value out of range")
            if options[k] & _RISES:
                steps[k] = value - before
            values[k] = value
            known[k] = 1
        self._at = self._pass(at, following, len(known), bitmap)
        return True

    def _pass(self, at: int, first: int, behind: int, bitmap: int) -> int:
        """The place behind the values of the series `first` to `behind` - 1, which begin at `at`."""
        frame = self._frame
        end = self._end
        left = behind - first
        if bitmap >= 0:
            for k in range(first, behind):
                left -= 1 - (frame[bitmap + k // 8] >> k % 8 & 1)
        while left:
            if at >= end:
                raise SegmentError("record cut short")
            if frame[at] < 0x80:  # the last byte of a number
                left -= 1
            at += 1
        return at

    def _varint(self) -> int:
        frame = self._frame
        at = self._at
        end = min(self._end, at + _VALUE_MAX)
        number = shift = 0
        while at < end:
            byte = frame[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                self._at = at
                return number
            shift += 7
        raise SegmentError("number cut short or too long")


def decimals(option: int) -> int:
    """Decimals of a series with that option: its value is number / 10**decimals."""
    return option & _DECIMALS


def number(value: int, decimals: int) -> bytes:
    """value / 10**decimals as text, exact: the 24 bits of a float would not hold it."""
    if not decimals:
        return b"%d" % value
    scale = 10**decimals
    whole = abs(value)
    return b"%s%d.%0*d" % (b"-" if value < 0 else b"", whole // scale, decimals, whole % scale)

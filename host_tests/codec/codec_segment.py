"""segment: what is encoded is decoded, byte for byte as the format says, and nothing damaged passes for a record."""

from binascii import crc32

import segment
from expect import raises
from segment import BOOT, RECORDS, RISES, TIME, UNDATED, Decoder, Encoder, Header, SegmentError

IDS = (32, 16, 288)
OPTIONS = bytes((RISES, 0, 1))


def _crc(data):
    return crc32(data).to_bytes(4, "little")


def _encode(options, records, kind=RECORDS):
    """A frame of `records`: (slot, values)."""
    encoder = Encoder(options, 4096)
    encoder.begin(kind, records[0][0])
    for slot, values in records:
        assert encoder.has_room(slot)
        encoder.put(slot, values)
    return bytes(encoder.end())


def _decode(frame, options):
    """(slot, values) of each record of a frame."""
    decoder = Decoder(options)
    decoder.open(frame)
    found = []
    while decoder.next():
        found.append((decoder.slot, [decoder.values[k] if decoder.known[k] else None for k in range(len(options))]))
    return found


def test_a_header_is_laid_out_as_documented():
    body = b"MPH\x01" + b"\x2c\x01\x00\x00" + b"\x07\x00\x00\x00" + b"\x03"
    body += b"\x20\x00\x80" + b"\x10\x00\x00" + b"\x20\x01\x01"
    assert bytes(segment.header(300, 7, IDS, OPTIONS)) == body + _crc(body)
    assert segment.header_size(3) == len(body) + 4


def test_a_header_is_read_back():
    header = Header(bytes(segment.header(300, 7, IDS, OPTIONS)) + b"what is behind it")
    assert (header.interval_s, header.first_record, tuple(header.ids), header.options) == (300, 7, IDS, OPTIONS)
    assert header.size == segment.header_size(3)


def test_a_header_cut_short_or_with_any_bit_wrong_is_refused():
    good = bytes(segment.header(300, 7, IDS, OPTIONS))
    for size in range(len(good)):
        raises(SegmentError, Header, good[:size])
    for k in range(len(good)):
        for bit in range(8):
            wrong = bytearray(good)
            wrong[k] ^= 1 << bit
            raises(SegmentError, Header, bytes(wrong))


def test_a_header_without_series_or_interval_is_refused():
    raises(SegmentError, Header, bytes(segment.header(300, 0, (), b"")))
    raises(SegmentError, Header, bytes(segment.header(0, 0, IDS, OPTIONS)))


def test_a_frame_is_laid_out_as_documented():
    # 1000 Wh, 12 W; then 1025 Wh, 11 W, one slot later: the total's step was 1000, so 2000 were predicted.
    frame = _encode(b"\x80\x00", [(9, (1000, 12)), (10, (1025, 11))])
    payload = b"\x09\x00\x00\x00" + b"\x01\x00" + b"\x02\x00" + b"\x00\xd0\x0f\x18" + b"\x02\x9d\x0f\x01"
    body = bytes((RECORDS, len(payload), 0)) + payload
    assert frame == body + _crc(body)


def test_a_total_that_rises_evenly_costs_one_byte():
    options = bytes((RISES,))
    frame = _encode(options, [(k, (123456789 + 125 * k,)) for k in range(100)])
    assert len(frame) <= segment.HEAD_BYTES + segment.CRC_BYTES + 2 * 100 + 10


def test_records_are_read_back_whatever_is_unknown():
    records = [
        (5, [123456789012345, -5, 0]),
        (6, [None, None, None]),
        (6, [123456789012345, None, 1]),
        (99, [None, 70000, None]),
        (60000, [1, -70000, 2301]),
    ]
    assert _decode(_encode(OPTIONS, records), OPTIONS) == records


def test_more_than_eight_series_have_a_longer_bitmap():
    options = bytes(20)
    records = [(k, [None if (k + n) % 3 else k * n for n in range(20)]) for k in range(9)]
    assert _decode(_encode(options, records), options) == records


def test_series_that_are_not_wanted_are_passed_over():
    options = bytes((RISES, 0, RISES, 0))
    records = [
        (k, [10**12 + 125 * k * k, None if k % 3 else -300 * k, 7 * k, 70000 if k % 2 else None]) for k in range(9)
    ]
    frame = _encode(options, records)
    for wanted in range(16):
        decoder = Decoder(options)
        decoder.wanted = [k for k in range(4) if wanted >> k & 1]
        decoder.open(frame)
        for slot, values in records:
            assert decoder.next()
            assert decoder.slot == slot
            for k in decoder.wanted:
                assert decoder.known[k] == int(values[k] is not None)
                assert values[k] is None or decoder.values[k] == values[k]
        assert not decoder.next()


def test_a_frame_is_read_without_those_before_it():
    encoder = Encoder(OPTIONS, 256)
    frames = []
    for n in (1, 2):
        encoder.begin(UNDATED, n)
        encoder.put(n, (1000000 + n, n, None))
        encoder.put(n + 1, (1000010 + n, n, n))
        frames.append(bytes(encoder.end()))
        assert encoder.count == 0
    assert _decode(frames[1], OPTIONS) == [(2, [1000002, 2, None]), (3, [1000012, 2, 2])]
    assert _decode(frames[0], OPTIONS) == [(1, [1000001, 1, None]), (2, [1000011, 1, 1])]


def test_the_largest_values_fit_wherever_there_is_room():
    most = segment.VALUE_MAX - 1
    options = bytes((RISES,)) * 9
    for size in range(120, 400, 7):
        encoder = Encoder(options, size)
        encoder.begin(RECORDS, 0)
        found = []
        for k in range(40):
            slot = 65535 if k else 0
            if not encoder.has_room(slot):
                break
            values = [most if k % 2 else -most] * 8 + [None if k % 3 else most]
            encoder.put(slot, values)
            found.append((slot, values))
        assert found
        assert len(encoder.end()) <= size
        assert _decode(bytes(encoder.end()), options) == found


def test_a_frame_takes_no_slot_that_goes_back_or_too_far():
    encoder = Encoder(OPTIONS, 4096)
    encoder.begin(RECORDS, 100)
    encoder.put(110, (1, 2, 3))
    assert not encoder.has_room(109)
    assert encoder.has_room(110)
    assert encoder.has_room(100 + 65535)
    assert not encoder.has_room(100 + 65536)


def test_a_time_frame_is_laid_out_as_documented():
    body = bytes((TIME, 4, 0)) + b"\x00\xf1\x53\x65"
    assert bytes(segment.time_frame(1700000000)) == body + _crc(body)
    assert segment.time_of(segment.time_frame(1700000000)) == 1700000000


def test_the_head_of_a_frame_tells_its_slots_and_records():
    frame = _encode(OPTIONS, [(77, [1, 2, 3]), (78, [1, 2, 3]), (99, [1, 2, 3])], BOOT)
    head = frame[: segment.HEAD_BYTES]
    assert (segment.first_slot(head), segment.last_slot(head), segment.record_count(head)) == (77, 99, 3)
    assert segment.frame_size(head) == len(frame)
    time = bytes(segment.time_frame(1700000000))
    assert segment.record_count(time) == 0
    raises(SegmentError, segment.first_slot, time)
    raises(SegmentError, segment.first_slot, b"\x01\x04")
    raises(SegmentError, segment.time_of, time[:-1])


def test_a_damaged_frame_is_not_whole():
    frame = _encode(OPTIONS, [(1, [1, 2, 3])])
    assert segment.is_whole(frame, len(frame))
    for k in range(len(frame)):
        wrong = bytearray(frame)
        wrong[k] ^= 0x10
        assert not segment.is_whole(wrong, len(wrong))


def test_no_bytes_with_a_right_crc_do_more_than_raise():
    # 3000 frames from a small generator of its own, for both interpreters.
    seed = 1
    refused = 0
    for _ in range(3000):
        size = segment.HEAD_BYTES + 4 + seed % 23
        frame = bytearray(size)
        for k in range(size):
            seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
            frame[k] = (seed >> 16 & 0xFF) | (0x80 if seed >> 8 & 3 == 0 else 0)
        frame[0] = RECORDS
        decoder = Decoder(bytes(200) if seed & 1 else OPTIONS)  # of many series the bitmap is longer than a short frame
        if seed & 2:
            decoder.wanted = (1,)
        try:
            decoder.open(bytes(frame))
            while decoder.next():
                assert all(abs(value) < segment.VALUE_MAX for value in decoder.values)
        except SegmentError:
            refused += 1
    assert 100 < refused < 3000


def test_a_frame_without_its_head_is_refused():
    raises(SegmentError, Decoder(OPTIONS).open, b"\x01\x03\x00abc")


def test_a_frame_can_be_read_before_it_is_ended_and_goes_on():
    encoder = Encoder(OPTIONS, 256)
    encoder.begin(RECORDS, 5)
    records = []
    for n in range(5, 9):
        records.append((n, [1000 * n, n, None]))
        encoder.put(*records[-1])
        assert _decode(bytes(encoder.frame()), OPTIONS) == records
    assert encoder.count == 4
    assert _decode(bytes(encoder.end()), OPTIONS) == records

"""firmware/history: records of virtual meters on flash. Slots, commits, bounds, recovery, dating, reading by range."""

import os
import random

import pytest
import segment

from firmware.history import segments as segments_module
from firmware.history.recorder import daily_limit
from firmware.history.segments import Range
from firmware.meters.readings import GOOD
from host_tests.unit.history_bench import INTERVAL_S, NOON, Meter, Rig

DAY_S = 86400


@pytest.fixture
def make(tmp_path):
    return lambda **options: Rig(tmp_path, **options)


# Records


def test_a_record_is_taken_at_each_slot_of_the_clock_and_committed_each_hour(make):
    rig = make(unix_s=NOON + 17)
    rig.run(3600)
    assert rig.recorder.taken == 12
    assert rig.number() == 0  # an hour has not passed since the first
    rig.run(300)
    assert [row[0] for row in rig.records()] == [NOON + INTERVAL_S * k for k in range(1, 14)]
    assert rig.records()[0][2] == [1_000_000, 2_000_000, 100, 200]


def test_power_is_the_mean_of_the_interval_and_energy_its_value_at_the_end(make):
    rig = make(meters=1)
    rig.run(100)
    rig.meters[0].power_w = 400.0
    rig.meters[0].energy_wh = 1_000_025
    rig.run(200)
    rig.recorder.commit()
    assert rig.records()[0][2] == [1_000_025, 300]  # 9 or 10 of 30 samples were 100 W


def test_a_mean_is_rounded_to_the_nearest_watt_for_both_signs(make):
    rig = make(meters=2)
    rig.meters[0].power_w, rig.meters[1].power_w = 1.6, -1.6
    rig.run(300)
    rig.recorder.commit()
    assert rig.records()[0][2][2:] == [2, -2]


def test_what_is_not_good_is_unknown_and_never_zero(make):
    rig = make()
    rig.meters[1].quality = GOOD + 1
    rig.run(300)
    rig.meters[1].quality = GOOD
    rig.run(300)
    rig.recorder.commit()
    assert [row[2] for row in rig.records()] == [[1_000_000, None, 100, None], [1_000_000, 2_000_000, 100, 200]]


def test_a_value_out_of_range_is_unknown(make):
    rig = make(meters=1)
    rig.meters[0].energy_wh = segment.VALUE_MAX
    rig.run(300)
    rig.recorder.commit()
    assert rig.records()[0][2] == [None, 100]


# Commits


def test_what_waits_is_written_before_a_planned_restart(make):
    rig = make()
    rig.run(900)
    assert rig.number() == 0
    rig.recorder.commit()
    assert len(rig.records()) == 3


def test_a_power_cut_loses_no_more_than_the_window_says(make):
    rig = make()
    rig.live(5 * 86400)
    taken = rig.recorder.taken
    rig.restart(NOON + 5 * 86400)
    lost = taken - rig.number()
    assert 0 < lost * INTERVAL_S <= rig.recorder.window_s <= 3600 + INTERVAL_S


def test_flash_is_written_only_while_the_buses_rest(make):
    rig = make(commit_s=300)
    rig.buses.is_late = True
    rig.run(700)
    assert rig.number() == 0
    assert rig.buses.paused
    rig.buses.on_paused()
    assert rig.number() > 0
    assert not rig.buses.paused


def test_buses_that_do_not_come_to_rest_go_on_after_a_while_and_nothing_is_lost(make):
    rig = make(commit_s=300)
    rig.buses.is_late = True
    rig.run(640)
    assert rig.buses.resumed > 0
    assert rig.recorder.lost == 0
    rig.buses.is_late = False
    rig.run(600)
    assert [row[0] for row in rig.records()] == [NOON + INTERVAL_S * k for k in range(1, rig.number() + 1)]


def test_records_that_find_no_room_while_nothing_may_be_written_are_counted_as_lost(make):
    rig = make()
    rig.buses.may_pause = False
    rig.live(86400)
    assert rig.recorder.taken == 288
    assert rig.recorder.lost > 0
    rig.buses.may_pause = True
    rig.live(600)
    rig.recorder.commit()
    assert len(rig.records()) + rig.recorder.lost == rig.recorder.taken


def test_a_file_system_that_refuses_costs_what_waited_and_is_named_once(make, monkeypatch):
    rig = make()
    rig.run(900)
    with monkeypatch.context() as patch:

        def refuse(*_):
            raise OSError(28, "no space")

        patch.setattr(segments_module, "open", refuse, raising=False)
        rig.recorder.commit()
        rig.run(600)
        rig.recorder.commit()
    assert rig.recorder.lost == 5
    assert len([text for text in rig.log.texts() if "lost" in text]) == 1
    assert "28" in rig.recorder.error
    rig.run(600)
    rig.recorder.commit()
    assert [row[0] for row in rig.records()] == [NOON + INTERVAL_S * k for k in (6, 7)]
    assert rig.recorder.error == ""
    assert rig.number() == 7  # the numbers of those that were lost are not given again


# Bounds


def test_the_oldest_segment_makes_room_and_its_records_are_counted(make):
    rig = make(meters=20, limit_bytes=3 * segments_module.SEGMENT_BYTES)
    rng = random.Random(1)
    for _ in range(2000):
        for meter in rig.meters:
            meter.energy_wh += rng.randrange(1000)
            meter.power_w = rng.randrange(5000)
        rig.run(INTERVAL_S)
    rig.recorder.commit()
    files = os.listdir(rig.folder)
    assert len(files) in (3, 4)
    size = sum(os.path.getsize(os.path.join(rig.folder, name)) for name in files)
    assert size == rig.segments.bytes <= 3 * segments_module.SEGMENT_BYTES + segment.FRAME_MAX
    assert max(os.path.getsize(os.path.join(rig.folder, name)) for name in files) <= segments_module.SEGMENT_BYTES
    assert rig.segments.removed > 0
    assert rig.segments.removed + len(rig.records()) == 2000
    kept_s = rig.records()[-1][0] - rig.records()[0][0]
    assert 0.8 < kept_s / rig.recorder.kept_s < 1.25


def test_thirty_two_meters_take_some_ninety_bytes_a_record(make):
    """Energy and power of each, in frames of an hour; loads of dwellings, which turn on and off."""
    rig = make(meters=32)
    rng = random.Random(2)
    for _ in range(600):
        for meter in rig.meters:
            if rng.random() < 0.1:
                meter.power_w = rng.choice((50, 200, 800, 2000)) + rng.randrange(30)
            meter.energy_wh += round(meter.power_w / 12)
        rig.run(INTERVAL_S)
    rig.recorder.commit()
    assert rig.segments.bytes / 600 <= 92


@pytest.mark.parametrize(("meters", "years"), [(3, 10), (24, 10), (32, 7.5)])
def test_daily_totals_of_ten_years_have_room_in_a_megabyte(make, meters, years):
    """Of the most meters it is less. They take no more than they need, and two fifths of the room at most."""
    limit_bytes = daily_limit(1 << 20, meters)
    rig = make(meters=meters, limit_bytes=limit_bytes, interval_s=DAY_S, commit_s=0)
    rig.recorder.series = rig.series = rig.series[:meters]  # energies
    rig.start()
    rng = random.Random(3)
    for _ in range(12 * 365):
        for meter in rig.meters:
            meter.energy_wh += rng.randrange(30_000)
        rig.clock.seconds += DAY_S
        rig.recorder.tick(rig.clock.seconds)
    found = rig.records()
    assert rig.recorder.lost == 0
    assert rig.segments.removed + len(found) == rig.recorder.taken
    assert [row[0] for row in found] == list(range(found[0][0], found[-1][0] + 1, DAY_S))
    assert found[-1][2] == [meter.energy_wh for meter in rig.meters]
    assert found[-1][0] - found[0][0] >= years * 365 * DAY_S
    assert rig.segments.bytes <= limit_bytes <= 0.4 * (1 << 20)


def test_records_are_dated_right_beyond_2038(make):
    unix_s = 2_240_000_000 // DAY_S * DAY_S  # 2040: beyond 31 bits, and in the second era of NTP
    rig = make(unix_s=unix_s, commit_s=300)
    rig.run(3 * INTERVAL_S)
    rig.recorder.commit()
    assert [row[0] for row in rig.records(begin_s=unix_s)] == [unix_s + INTERVAL_S * k for k in (1, 2, 3)]


# Recovery


def test_writing_goes_on_in_the_same_segment_after_a_restart(make):
    rig = make()
    rig.live(7200)
    rig.recorder.commit()
    before = rig.records()
    rig.restart(NOON + 7200)
    rig.live(7200)
    rig.recorder.commit()
    assert os.listdir(rig.folder) == ["00000000.seg"]
    assert rig.records()[: len(before)] == before
    assert rig.records()[-1][2] == [meter.energy_wh for meter in rig.meters] + [100, 200]


@pytest.mark.parametrize("change", ["cut", "flip", "append"])
def test_a_damaged_end_is_left_alone_and_a_new_segment_begins(make, change):
    rig = make(commit_s=300)
    rig.run(3000)
    before = rig.records()
    path = rig.segments.path(0)
    with open(path, "rb") as f:
        whole = f.read()
    damaged = {
        "cut": whole[:-5],
        "flip": whole[:-20] + bytes([whole[-20] ^ 4]) + whole[-19:],
        "append": whole + b"\x01\xff\xff junk",
    }[change]
    with open(path, "wb") as f:
        f.write(damaged)
    rig.restart(NOON + 3000)
    assert rig.segments.damaged == 1
    rig.run(900)
    rig.recorder.commit()
    with open(path, "rb") as f:
        assert f.read() == damaged
    records = rig.records()
    kept = len(before) if change == "append" else len(records) - 3
    assert len(before) - 3 <= kept <= len(before)
    assert records[:kept] == before[:kept]
    assert [row[0] for row in records[kept:]] == [NOON + 3000 + INTERVAL_S * k for k in (1, 2, 3)]


def test_a_damaged_header_costs_its_segment_only(make):
    rig = make(commit_s=300)
    rig.run(900)
    with open(rig.segments.path(0), "r+b") as f:
        f.write(b"XXXX")
    rig.restart(NOON + 900)
    rig.run(900)
    rig.recorder.commit()
    assert rig.segments.damaged == 1
    assert [row[0] for row in rig.records()] == [NOON + 900 + INTERVAL_S * k for k in (1, 2, 3)]


def test_other_meters_begin_a_new_segment_and_the_old_one_stays_readable(make, tmp_path):
    rig = make()
    rig.run(900)
    rig.recorder.commit()
    rig.meters.append(Meter(7))
    rig.series = [(meter, 0) for meter in rig.meters]
    rig.restart(NOON + 900)
    rig.run(300)
    rig.recorder.commit()
    assert [len(row[2]) for row in rig.records()] == [4, 4, 4, 3]
    assert list(segments_module.Walk(rig.segments, 1).header.ids) == [32, 288, 7 << 8 | 32]


# Time


def test_records_before_the_first_time_are_dated_when_it_comes(make):
    rig = make(unix_s=None, commit_s=600)
    rig.run(2000)
    assert [row[:2] for row in rig.records()][:2] == [(None, 300), (None, 600)]
    rig.clock.offset_s = NOON
    rig.run(2000)
    rig.recorder.commit()
    assert [row[0] for row in rig.records()] == [NOON + INTERVAL_S * k for k in range(1, 14)]
    assert [row[1] for row in rig.records()] == [INTERVAL_S * k for k in range(1, 7)] + [None] * 7


def test_records_of_a_boot_that_never_knew_the_time_stay_undated_and_are_kept(make):
    rig = make(unix_s=None, commit_s=300)
    rig.run(1000)
    rig.restart()
    rig.run(1000)
    rig.clock.offset_s = NOON
    rig.run(10)
    times = [row[:2] for row in rig.records()]
    assert times == [(None, s) for s in (300, 600)] + [(NOON + s, s) for s in (300, 600, 900)]
    assert [row[0] for row in rig.records(NOON)] == [NOON + 300, NOON + 600, NOON + 900]


def test_a_time_that_is_found_in_a_later_segment_dates_too(make, monkeypatch):
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", 1024)
    rig = make(unix_s=None, commit_s=300)
    rig.run(20000)
    assert rig.segments.last > 0
    rig.clock.offset_s = NOON
    rig.run(10)
    assert [row[0] for row in rig.records()] == [NOON + INTERVAL_S * k for k in range(1, 67)]


def test_a_clock_that_is_set_back_loses_nothing(make):
    rig = make()
    rig.run(1000)
    rig.clock.offset_s -= 7200
    rig.run(1000)
    rig.recorder.commit()
    assert rig.recorder.lost == 0
    assert len(rig.records()) == rig.recorder.taken


def test_a_clock_that_is_set_forward_makes_no_record_of_an_interval_that_did_not_end(make):
    rig = make()
    rig.run(400)
    rig.clock.offset_s += 3000
    rig.run(400)
    rig.recorder.commit()
    assert [row[0] for row in rig.records()] == [NOON + INTERVAL_S, NOON + 12 * INTERVAL_S]


# By range


def test_a_range_gives_what_lies_in_it_from_whichever_segment(make, monkeypatch):
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", 1024)
    rig = make(commit_s=300)
    rig.run(60000)
    assert rig.segments.last >= 3
    everything = rig.records()
    for begin, end in ((0, 300), (9000, 9001), (10001, 30000), (None, 601)):
        begin_s, end_s = begin if begin is None else NOON + begin, NOON + end
        wanted = [row for row in everything if (begin_s is None or row[0] >= begin_s) and row[0] < end_s]
        assert rig.records(begin_s, end_s) == wanted
    assert rig.records(NOON + 10**6) == []


def test_a_reader_passes_over_what_is_removed_meanwhile(make, monkeypatch):
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", 1024)
    rig = make(commit_s=300)
    rig.run(40000)
    reader = Range(rig.segments)
    assert reader.next()
    for _ in range(2):
        rig.segments.remove_first()
    found = 1
    while reader.next():
        found += 1
    assert found >= rig.number() - rig.segments.removed


def test_files_of_others_are_left_alone(make):
    rig = make()
    rig.run(300)
    rig.recorder.commit()
    for name in ("note.txt", "00000001.txt", "x0000001.seg", "1.seg"):
        with open(os.path.join(rig.folder, name), "w") as f:
            f.write("mine")
    rig.restart(NOON + 300)
    assert (rig.segments.first, rig.segments.last) == (0, 0)
    assert rig.number() == 1


# From a number on


def numbers(rig, first_record=0):
    """(number, time) of the records that a consumer gets from that one on."""
    reader = rig.recorder.read(first_record=first_record)
    found = []
    while reader.next():
        found.append((reader.record, reader.walk.unix_s))
    return found


@pytest.mark.parametrize("segment_bytes", [1024, 16384])
def test_a_consumer_gets_every_record_once_from_any_number_on(make, monkeypatch, segment_bytes):
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", segment_bytes)
    rig = make()
    rig.run(60 * INTERVAL_S)
    assert rig.recorder.pending > 0
    everything = [(k, NOON + INTERVAL_S * (k + 1)) for k in range(rig.recorder.next_record)]
    assert len(everything) == 60
    for first in range(62):
        assert numbers(rig, first) == everything[first:]


def test_what_waits_is_read_too_and_has_the_same_number_on_flash(make):
    rig = make()
    rig.run(2 * INTERVAL_S)
    assert (rig.number(), rig.recorder.next_record) == (0, 2)
    waiting = numbers(rig)
    assert waiting == [(0, NOON + INTERVAL_S), (1, NOON + 2 * INTERVAL_S)]
    reader = rig.recorder.read(first_record=1)
    assert reader.next()
    assert list(reader.walk.decoder.values) == [1_000_000, 2_000_000, 100, 200]
    assert list(reader.walk.header.ids) == [32, 256 + 32, 16, 256 + 16]
    rig.recorder.commit()
    assert numbers(rig) == waiting
    assert not reader.next()


def test_a_commit_and_a_new_segment_while_a_consumer_reads_give_no_record_twice(make, monkeypatch):
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", 512)
    rig = make(commit_s=1200)
    rig.run(10 * INTERVAL_S)
    for change_at in range(10):
        reader = rig.recorder.read()
        found = []
        while reader.next():
            found.append(reader.record)
            if len(found) == change_at:
                for _ in range(3):
                    rig.recorder.commit()
                    rig.run(5 * INTERVAL_S)
        assert found == list(range(len(found)))
        assert len(found) >= 10


def test_what_a_consumer_has_missed_is_a_gap_in_the_numbers(make, monkeypatch):
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", 512)
    rig = make(commit_s=300)
    rig.run(200 * INTERVAL_S)
    removed_first = rig.segments.first_record(rig.segments.first + 2)
    for _ in range(2):
        rig.segments.remove_first()
    assert numbers(rig, 3)[0][0] == removed_first == rig.segments.removed
    first = rig.segments.first
    damaged = range(rig.segments.first_record(first + 1), rig.segments.first_record(first + 2))
    with open(rig.segments.path(first + 1), "r+b") as f:
        f.write(b"XXXX")
    wanted = [number for number in range(removed_first, rig.recorder.next_record) if number not in damaged]
    assert [number for number, _ in numbers(rig, removed_first)] == wanted


def test_numbers_go_on_after_a_restart(make):
    rig = make(commit_s=300)
    rig.run(10 * INTERVAL_S)
    before = rig.number()
    rig.restart(NOON + 10 * INTERVAL_S)
    rig.run(2 * INTERVAL_S)
    assert [number for number, _ in numbers(rig, before)] == list(range(before, rig.recorder.next_record))


def test_records_without_a_time_are_dated_before_is_dated_says_so(make):
    rig = make(unix_s=None)
    rig.run(3 * INTERVAL_S)
    rig.buses.may_pause = False
    rig.clock.offset_s = NOON
    rig.run(5)
    assert not rig.recorder.is_dated
    rig.buses.may_pause = True
    rig.run(2 * INTERVAL_S)
    assert rig.recorder.is_dated
    assert [unix_s for _, unix_s in numbers(rig)][:3] == [NOON + INTERVAL_S * k for k in (1, 2, 3)]

"""firmware/history on the real littlefs with the power cut at each single erase and program: of commits, of a new
segment, of a segment's removal, of the cursor of posting. What was committed stays readable and the device goes on
writing; each record is posted."""

from types import SimpleNamespace

import pytest
import segment

from firmware.config import store
from firmware.history import segments as segments_module
from firmware.history.records import Batch, FlashRecords
from firmware.history.segments import Range, Segments
from host_tests.unit.flash import GEOMETRIES, TEARS_EACH, Device, Flash

FOLDER = "data/history"
IDS = (32, 16)
OPTIONS = bytes((segment.RISES, 0))
INTERVAL_S = 300
COMMITS = 60  # enough for the removal of two segments of 512 bytes
LIMIT_BYTES = 1100
POSTS = 6


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch):
    monkeypatch.setattr(segments_module, "SEGMENT_BYTES", 512)


class Writer:
    """Commits frames of three records, as the recorder does; record n has slot n and the values 1000 n and 7 n."""

    def __init__(self):
        self.segments = Segments(FOLDER, LIMIT_BYTES)
        self.segments.open(INTERVAL_S, IDS, OPTIONS)

    def commit(self):
        encoder = segment.Encoder(OPTIONS, 128)
        first = self.segments.next_record
        encoder.begin(segment.RECORDS, first)
        for number in range(first, first + 3):
            encoder.put(number, (1000 * number, 7 * number))
        self.segments.append(encoder.end(), 3)


def numbers(segments):
    """Numbers of the records that can be read; each has the values that were written under its number."""
    found = []
    reader = Range(segments)
    while reader.next():
        number = reader.walk.decoder.slot
        assert list(reader.walk.decoder.values) == [1000 * number, 7 * number]
        assert reader.walk.record == number + 1
        found.append(number)
    return found


def mount(flash, monkeypatch, fresh=False):
    device = Device(flash, fresh)
    if fresh:
        device.os.mkdir("data")
    return device.install(monkeypatch, (segments_module, store))


def kept_after_each_commit(geometry, image, monkeypatch):
    """The oldest record that is kept after each commit of a writer that nothing disturbs."""
    mount(Flash(geometry, image), monkeypatch)
    writer = Writer()
    oldest = [0]
    for _ in range(COMMITS):
        writer.commit()
        oldest.append(numbers(writer.segments)[0])
    return oldest


@TEARS_EACH
@GEOMETRIES
def test_the_power_may_go_at_every_write(geometry, tear, monkeypatch):
    start = Flash(geometry)
    mount(start, monkeypatch, fresh=True)
    Writer().commit()
    oldest = kept_after_each_commit(geometry, start.image, monkeypatch)
    assert len(set(oldest)) > 2  # segments are removed meanwhile
    cuts = cuts_of_removals = 0
    while True:
        flash = Flash(geometry, start.image)
        flash.limit, flash.tear = cuts, tear
        mount(flash, monkeypatch)
        commits = 0
        try:
            writer = Writer()
            while commits < COMMITS:
                writer.commit()
                commits += 1
        except OSError:
            assert flash.cut
        if not flash.cut:
            break
        committed = 3 + 3 * commits
        after = Flash(geometry, flash.image)
        mount(after, monkeypatch)
        writer = Writer()
        found = numbers(writer.segments)
        # The commit under way may have come through; of what was committed only the oldest segment may be gone.
        assert found == list(range(found[0], found[-1] + 1))
        assert found[-1] + 1 in (committed, committed + 3)
        assert found[0] in (oldest[commits], oldest[commits + 1])
        if oldest[commits] != oldest[commits + 1] and found[-1] + 1 == committed + 3:
            cuts_of_removals += 1  # the frame had come through: the cut is behind it
        writer.commit()
        assert numbers(writer.segments)[-3:] == list(range(found[-1] + 1, found[-1] + 4))
        assert writer.segments.bytes <= LIMIT_BYTES
        assert writer.segments.bytes == sum(
            segments_module.os.stat(writer.segments.path(number))[6]
            for number in range(writer.segments.first, writer.segments.last + 1)
        )
        cuts += 1
    assert cuts > COMMITS
    assert cuts_of_removals >= len(set(oldest)) - 1


class Post:
    """A server that takes all records from the durable cursor on. `taken`: their numbers, in the order in which they
    came; it stays when the device restarts."""

    def __init__(self):
        self.taken = []

    def start(self, writer):
        """The device has started: the cursor is what is kept of it."""
        segments = writer.segments
        recorder = SimpleNamespace(
            series=[], segments=segments, interval_s=INTERVAL_S, is_dated=True,
            read=lambda first_record: Range(segments, first_record=first_record),
        )  # fmt: skip
        self.records = FlashRecords(recorder, "data/posting")

    def deliver(self):
        """Raises OSError when the cursor cannot be kept."""
        records = self.records
        batch = Batch(records.cursor)
        records.open(batch.begin)
        while records.next():
            batch.add(records)
            self.taken.append(records.record)
        records.pass_on(batch)
        records.keep()


@TEARS_EACH
@GEOMETRIES
def test_the_posting_cursor_survives_the_power_cut_at_every_write(geometry, tear, monkeypatch):
    """Each record comes at least once, in its order; what comes twice is what was delivered before the cursor was kept.
    None is counted as lost."""
    start = Flash(geometry)
    mount(start, monkeypatch, fresh=True)
    Writer().commit()
    cuts = repeated = 0
    while True:
        flash = Flash(geometry, start.image)
        flash.limit, flash.tear = cuts, tear
        mount(flash, monkeypatch)
        post = Post()
        try:
            post_until_the_end(post)
        except OSError:
            assert flash.cut
        if not flash.cut:
            break
        before = len(post.taken)
        mount(Flash(geometry, flash.image), monkeypatch)
        post_until_the_end(post)
        assert sorted(set(post.taken)) == list(range(post.records.cursor))
        assert post.taken[before:] == list(range(post.taken[before], post.records.cursor))
        assert (post.records.lost, post.records.set_aside, post.records.undated) == (0, 0, 0)
        repeated += len(post.taken) > len(set(post.taken))
        cuts += 1
    assert cuts > 2 * POSTS
    assert repeated >= POSTS  # at least one cut of each save lies between the delivery and the cursor


def post_until_the_end(post):
    writer = Writer()
    post.start(writer)
    for _ in range(POSTS):
        writer.commit()
        post.deliver()

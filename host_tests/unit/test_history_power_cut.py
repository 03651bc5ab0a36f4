"""firmware/history on the real littlefs with the power cut at each single erase and program: of commits, of a new
segment, of a segment's removal. What was committed stays readable and the device goes on writing."""

import pytest
import segment

from firmware.history import segments as segments_module
from firmware.history.segments import Range, Segments
from host_tests.unit.flash import GEOMETRIES, TEARS_EACH, Device, Flash

FOLDER = "data/history"
IDS = (32, 16)
OPTIONS = bytes((segment.RISES, 0))
INTERVAL_S = 300
COMMITS = 24  # enough for three segments of 512 bytes, and the removal of the first
LIMIT_BYTES = 1100


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
    return device.install(monkeypatch, (segments_module,))


@TEARS_EACH
@GEOMETRIES
def test_the_power_may_go_at_every_write(geometry, tear, monkeypatch):
    start = Flash(geometry)
    mount(start, monkeypatch, fresh=True)
    Writer().commit()
    cuts = 0
    while True:
        flash = Flash(geometry, start.image)
        flash.limit, flash.tear = cuts, tear
        mount(flash, monkeypatch)
        committed = 3
        try:
            writer = Writer()
            for _ in range(COMMITS):
                writer.commit()
                committed += 3
        except OSError:
            assert flash.cut
        if not flash.cut:
            break
        after = Flash(geometry, flash.image)
        mount(after, monkeypatch)
        writer = Writer()
        found = numbers(writer.segments)
        # The commit under way may have come through; of what was committed only the oldest segment may be gone.
        assert found == list(range(found[0], found[-1] + 1))
        assert found[-1] + 1 in (committed, committed + 3)
        assert found[0] == 0 or committed * INTERVAL_S and found[-1] - found[0] > 60
        writer.commit()
        assert numbers(writer.segments)[-3:] == list(range(found[-1] + 1, found[-1] + 4))
        cuts += 1
    assert cuts > COMMITS

"""A recorder of virtual meters on a file system of the test, whose time the test moves."""

from firmware.history.recorder import Recorder
from firmware.history.segments import Range, Segments
from firmware.meters.readings import GOOD
from host_tests.unit import fakes

INTERVAL_S = 300
NOON = 1_800_000_000 // 86400 * 86400 + 43200


class Profile:
    """Point 0: energy_import in Wh; point 1: active_power in W."""

    numbers = bytes((32, 16))

    def index_of(self, number):
        return self.numbers.find(bytes((number,)))

    def unit(self, i):
        return ("Wh", "W")[i]

    def accumulates(self, i):
        return i == 0


class Meter:
    profile = Profile()

    def __init__(self, slot):
        self.slot = slot
        self.energy_wh = 1_000_000 * (slot + 1)
        self.power_w = 100.0 * (slot + 1)
        self.quality = GOOD

    def point_id(self, i):
        return self.slot << 8 | self.profile.numbers[i]


class Readings:
    def read(self, meter, i):
        return (meter.energy_wh if i == 0 else meter.power_w), 0, meter.quality


class Clock:
    def __init__(self):
        self.seconds = 1
        self.offset_s = None

    @property
    def is_set(self):
        return self.offset_s is not None

    def uptime_s(self):
        return self.seconds

    def uptime_ms(self):
        return 1000 * self.seconds

    def unix_s(self):
        return self.offset_s + self.seconds if self.is_set else 0


class Buses:
    """Rest at once, when they may; `late`: the callback is kept for later."""

    def __init__(self):
        self.may_pause = True
        self.is_late = False
        self.paused = False
        self.resumed = 0
        self.on_paused = None

    def pause(self, on_paused):
        if not self.may_pause or self.paused:
            return False
        self.paused = True
        if self.is_late:
            self.on_paused = on_paused
        else:
            on_paused()
        return True

    def resume(self):
        self.paused = False
        self.resumed += 1


class Rig:
    """A recorder of some meters whose time the test moves; `restart()` is what a power cut does to it."""

    def __init__(self, folder, meters=2, limit_bytes=1 << 20, interval_s=INTERVAL_S, commit_s=3600, unix_s=NOON):
        self.meters = [Meter(slot) for slot in range(meters)]
        self.series = [(meter, i) for i in range(2) for meter in self.meters]
        self.folder = str(folder / "history")
        self.options = limit_bytes, interval_s, commit_s
        self.clock = Clock()
        if unix_s is not None:
            self.clock.offset_s = unix_s - self.clock.seconds
        self.start()

    def start(self):
        limit_bytes, interval_s, commit_s = self.options
        self.buses = Buses()
        self.log = fakes.Log(self.clock.uptime_s)
        self.segments = Segments(self.folder, limit_bytes)
        self.recorder = Recorder(
            self.series, interval_s, commit_s, self.segments, Readings(), self.clock, self.buses, self.log
        )

    def restart(self, unix_s=None):
        self.clock.seconds = 1
        self.clock.offset_s = None if unix_s is None else unix_s - 1
        self.start()

    def run(self, seconds):
        for _ in range(seconds):
            self.clock.seconds += 1
            self.recorder.tick(self.clock.seconds)

    def live(self, seconds):
        """The same with meters that count."""
        for _ in range(seconds // 10):
            for meter in self.meters:
                meter.energy_wh += int(meter.power_w) // 36
            self.run(10)

    def records(self, begin_s=None, end_s=None):
        return read(self.segments, begin_s, end_s)

    def number(self):
        return self.segments.next_record


def read(segments, begin_s=None, end_s=None):
    """(unix_s, uptime_s, values) of all records."""
    found = []
    reader = Range(segments, begin_s, end_s)
    while reader.next():
        walk = reader.walk
        values = walk.decoder.values
        known = walk.decoder.known
        row = [values[k] if known[k] else None for k in range(len(values))]
        found.append((walk.unix_s, walk.uptime_s, row))
    return found

"""Records on flash that wait to be posted when the gateway of a test starts."""

from types import SimpleNamespace

from firmware.history.recorder import Recorder
from firmware.history.segments import Segments
from firmware.meters.readings import GOOD
from host_tests.system.rig import METERS

NOON = 1_749_945_600  # a multiple of a day and of the interval
INTERVAL_S = 300
NAMES = [meter["name"] for meter in METERS]
# Numbers of the points that are recorded of rig.METERS: energy, then power.
ENERGIES = (32, 40, 40)
POWER = 16


class _Profile:
    """Of one meter: its energy, then its power."""

    def __init__(self, energy):
        self.numbers = bytes((energy, POWER))

    def unit(self, i):
        return ("Wh", "W")[i]

    def accumulates(self, i):
        return i == 0


class _Meter:
    def __init__(self, slot):
        self.slot = slot
        self.profile = _Profile(ENERGIES[slot])

    def point_id(self, i):
        return self.slot << 8 | self.profile.numbers[i]


class Backlog:
    """Records on flash from before the gateway was started, of values by a formula. values: {unix time of the slot:
    [(energy, power) of each meter]}; end_s: when the last interval ended."""

    def __init__(self, folder, count):
        (folder / "data").mkdir(exist_ok=True)
        self.end_s = NOON - INTERVAL_S
        meters = [_Meter(slot) for slot in range(3)]
        clock = SimpleNamespace(is_set=True, unix_s=lambda: self.end_s, uptime_s=lambda: 10, uptime_ms=lambda: 10_000)
        buses = SimpleNamespace(pause=lambda on_paused: on_paused() or True, resume=lambda: None, paused=False)
        readings = SimpleNamespace(read=lambda meter, i: (self.value(meter)[i], 0, GOOD))
        segments = Segments(str(folder / "data" / "history"), 1 << 20)
        series = [(meter, i) for i in range(2) for meter in meters]
        recorder = Recorder(series, INTERVAL_S, 3600, segments, readings, clock, buses, None)
        recorder.tick(10)
        self.values = {}
        for _ in range(count):
            self.end_s += INTERVAL_S
            recorder.tick(10)
            self.values[self.end_s - INTERVAL_S] = [self.value(meter) for meter in meters]
        recorder.commit()
        assert segments.next_record == count

    def value(self, meter):
        k = max(self.end_s - NOON, 0) // INTERVAL_S  # the first record is the mean of two readings
        return 5_000_000_000 * (meter.slot + 1) + 37 * k, (k * 7919 + meter.slot * 13) % 5000 - 1000

    def points(self, i):
        """{(name of the meter, time): value}; i is 0 for energy, 1 for power."""
        return {(NAMES[slot], at): row[slot][i] for at, row in self.values.items() for slot in range(3)}

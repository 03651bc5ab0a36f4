"""A past for a device that has just been set up: history on flash of days gone by, written by the firmware's own
segments under CPython, so that a test need not wait for it."""

import contextlib
import math
import os
from dataclasses import dataclass

import segment

from firmware.history.segments import Segments

INTERVAL_S = 300
DAY_S = 86400
LIMIT_BYTES = 1 << 30
ENERGY, POWER = 32, 16
_FRAME = 12  # records of an hour


@dataclass(frozen=True)
class Past:
    """Of meters in slots 0 to `meters` - 1, each with energy_import and active_power, `days` until `end_s`, unix time
    and the end of a day (UTC). Power has its peak at noon; no two meters have the same."""

    meters: int
    days: int
    end_s: int

    @property
    def begin_s(self):
        return self.end_s - self.days * DAY_S

    @property
    def times(self):
        """The end of each interval."""
        return range(self.begin_s + INTERVAL_S, self.end_s + 1, INTERVAL_S)

    def power_w(self, slot, unix_s):
        day = unix_s // DAY_S
        return round((500 + 100 * slot + 7 * (day % 30)) * (1.2 - math.cos(2 * math.pi * (unix_s % DAY_S) / DAY_S)))

    def energy_wh(self, slot, unix_s):
        """In closed form and not the sum of the powers: each day takes some 4 Wh more than the one before."""
        gone_s = unix_s - self.begin_s
        return 1_000_000 * (slot + 1) + ((2400 + 240 * slot) * gone_s + 2 * gone_s * gone_s // DAY_S) // DAY_S

    def values(self, unix_s):
        """As /api/records has them: all energies, then all powers."""
        slots = range(self.meters)
        return [self.energy_wh(slot, unix_s) for slot in slots] + [self.power_w(slot, unix_s) for slot in slots]

    def write(self, folder):
        """Writes records and daily totals into the state directory of a device."""
        slots = range(self.meters)
        ids = [slot << 8 | ENERGY for slot in slots]
        os.makedirs(folder / "data", exist_ok=True)
        with contextlib.chdir(folder):
            rises = bytes((segment.RISES,)) * self.meters
            self._write(
                "data/history", INTERVAL_S, ids + [slot << 8 | POWER for slot in slots], rises + bytes(self.meters)
            )
            self._write("data/daily", DAY_S, ids, rises)

    def _write(self, folder, interval_s, ids, options):
        segments = Segments(folder, LIMIT_BYTES)
        segments.open(interval_s, ids, options)
        encoder = segment.Encoder(options, segment.FRAME_MAX)
        for unix_s in range(self.begin_s + interval_s, self.end_s + 1, interval_s):
            if not encoder.count:
                encoder.begin(segment.RECORDS, unix_s // interval_s)
            encoder.put(unix_s // interval_s, self.values(unix_s)[: len(ids)])
            if encoder.count == _FRAME or unix_s == self.end_s:
                records = encoder.count
                segments.append(encoder.end(), records)

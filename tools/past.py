"""A past for a device that has just been set up: history on flash of days gone by, in the format of lib/segment.py, so
that a test or a benchmark need not wait for it.

In:  how many meters, how many days. Out: files of data/history and data/daily, and the values that are in them.
"""

import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
for _folder in ("host_tests/shim", "lib"):
    if str(_ROOT / _folder) not in sys.path:
        sys.path.append(str(_ROOT / _folder))

import segment  # noqa: E402

INTERVAL_S = 300
DAY_S = 86400
ENERGY, POWER = 32, 16  # numbers of points
TOTAL_ENERGY = 40  # of meters that have no ENERGY
_SEGMENT_BYTES = 16384
_FRAME = 12  # records of an hour


@dataclass(frozen=True)
class Past:
    """Of meters in slots 0 to `meters` - 1, each with `energy` and active_power, `days` until `end_s`, unix time
    and the end of a day (UTC). Power has its peak at noon; no two meters have the same."""

    meters: int
    days: int
    end_s: int
    energy: int = ENERGY

    @property
    def begin_s(self):
        return self.end_s - self.days * DAY_S

    @property
    def records(self):
        """How many there are."""
        return self.days * DAY_S // INTERVAL_S

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

    def csv(self, begin_s, end_s):
        """The lines of GET /api/records?format=csv without their head, of records of begin_s <= time < end_s."""
        for unix_s in self.times:
            if begin_s <= unix_s < end_s:
                at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))
                yield f"{at},,good," + ",".join(map(str, self.values(unix_s)))

    def files(self):
        """The files of its records and daily totals, by their names on the device."""
        slots = range(self.meters)
        ids = [slot << 8 | self.energy for slot in slots]
        rises = bytes((segment.RISES,)) * self.meters
        records = self._files(
            "data/history", INTERVAL_S, ids + [slot << 8 | POWER for slot in slots], rises + bytes(self.meters)
        )
        return records | self._files("data/daily", DAY_S, ids, rises)

    def write(self, folder):
        """Writes them into the state directory of a device."""
        for name, content in self.files().items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _files(self, folder, interval_s, ids, options):
        files = []
        encoder = segment.Encoder(options, segment.FRAME_MAX)
        first_record = 0
        for unix_s in range(self.begin_s + interval_s, self.end_s + 1, interval_s):
            if not encoder.count:
                encoder.begin(segment.RECORDS, unix_s // interval_s)
            encoder.put(unix_s // interval_s, self.values(unix_s)[: len(ids)])
            if encoder.count == _FRAME or unix_s == self.end_s:
                records = encoder.count
                frame = bytes(encoder.end())
                if not files or len(files[-1]) + len(frame) > _SEGMENT_BYTES:
                    files.append(bytes(segment.header(interval_s, first_record, ids, options)))
                files[-1] += frame
                first_record += records
        return {f"{folder}/{k:08d}.seg": content for k, content in enumerate(files)}

"""What is kept of the past: the last day in memory, records and daily totals on flash."""

import os

from micropython import const

from firmware.history.recent import Recent

_TYPING = const(0)
if _TYPING:
    from firmware.bus import Buses
    from firmware.events import Events
    from firmware.history.recorder import Recorder
    from firmware.meters.meter import Meter
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock

DAY_S = const(86400)
_DATA = "data"
_RECORDS = _DATA + "/history"
_DAILY = _DATA + "/daily"
_FREE_SHARE = const(60)  # percent of the free flash, where nothing else is configured
_LIMIT_MAX = const(1 << 20)
_LIMIT_MIN = const(32768)  # two segments


class History:
    """`section`: history of the configuration. recent: firmware.history.recent.Recent, records and daily: Recorder;
    each may be None: switched off, or without room."""

    def __init__(
        self,
        section: dict,
        meters: "list[Meter]",
        readings: "Readings",
        clock: "Clock",
        buses: "Buses",
        events: "Events",
    ) -> None:
        self.recent: Recent | None = None
        self.records: Recorder | None = None
        self.daily: Recorder | None = None
        if not meters:
            return
        try:
            if section["bytes"]:
                self.recent = Recent(section["bytes"], meters, readings)
            if section["flash"]:
                # Here and not at the head: it takes 6 KB of heap where it is off, too.
                from firmware.history import recorder
                from firmware.history.segments import Segments

                limit = 1024 * section["flash_kb"] or _automatic_limit()
                parts = (readings, clock, buses, events)
                energies = recorder.energies(meters)
                daily = recorder.daily_limit(limit, len(energies))
                series = energies + recorder.powers(meters)
                if series:
                    segments = Segments(_RECORDS, limit - daily)
                    interval_s, commit_s = section["interval_s"], section["commit_s"]
                    self.records = recorder.Recorder(series, interval_s, commit_s, segments, *parts)
                if energies:
                    self.daily = recorder.Recorder(energies, DAY_S, 0, Segments(_DAILY, daily), *parts)
        except MemoryError:
            events.add("history", "no memory for all of it: see history.bytes and history.flash")
        except OSError as error:
            events.add("history", "not kept on flash: %r" % error)

    def tick(self, uptime_s: int) -> None:
        """Once a second."""
        for part in (self.recent, self.records, self.daily):
            if part is not None:
                part.tick(uptime_s)

    def commit(self) -> None:
        """Writes what waits, before a planned restart."""
        for part in (self.records, self.daily):
            if part is not None:
                part.commit()


def _automatic_limit() -> int:
    """Bytes for all segments: most of what is free or theirs, and not more than _LIMIT_MAX. Raises OSError."""
    found = os.statvfs(".")
    free = found[1] * found[3] + _size(_RECORDS) + _size(_DAILY)
    return max(min(free * _FREE_SHARE // 100, _LIMIT_MAX), _LIMIT_MIN)


def _size(folder: str) -> int:
    """Bytes of the files in a folder; 0 when there is none."""
    try:
        return sum([os.stat(folder + "/" + name)[6] for name in os.listdir(folder)])
    except OSError:
        return 0

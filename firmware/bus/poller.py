"""Which meter is due: earliest due time first, one block at a time, so that clients can go in between.

Due times advance by the meter's interval, not by when it was served: no drift. A meter that has fallen behind by more
than an interval is due at once, behind those that have waited longer: a bus that is too slow for what is asked of it
serves all in turn, each equally late. Rounds that were missed are counted, and the interval that is kept is measured.
"""

from micropython import const

from firmware import points
from firmware.net.seam import ticks_add, ticks_diff, ticks_ms

PROBE_FIRST_MS = const(2000)
_PROBE_LAST_MS = const(60000)


class Round:
    """The poller's state of one meter."""

    def __init__(self, meter, due_ms):
        self.meter = meter
        self.due_ms = due_ms
        self.index = 0  # of the next block
        self.held_ms = 0  # by which the due time was put off while a late answer might have come
        self.probe_ms = PROBE_FIRST_MS
        self.missed = 0
        self.behind_ms = 0  # of a round that is not missed as a whole yet
        self.ended_ms = None  # ticks of the end of the last round
        self.period_ms = 0  # from end to end, smoothed over eight rounds


class Poller:
    """Plans the reads of `meters`, which are those of one bus."""

    def __init__(self, meters):
        now = ticks_ms()
        self.rounds = [Round(meter, now) for meter in meters]

    def due(self):
        """The round that is due first (earliest due time), or None without any meters."""
        first = None
        for one in self.rounds:
            if first is None or ticks_diff(one.due_ms, first.due_ms) < 0:
                first = one
        return first

    def hold(self, one, held_ms):
        """This round cannot go on for so long; others are not kept from theirs."""
        now = ticks_ms()
        one.held_ms += ticks_diff(now, one.due_ms) + held_ms
        one.due_ms = ticks_add(now, held_ms)

    def done(self, one, answered):
        """A block of this round was asked for; `answered` says whether the meter said anything right."""
        meter = one.meter
        now = ticks_ms()
        if meter.state == points.QUARANTINED:
            one.index = one.held_ms = one.period_ms = 0
            one.ended_ms = None
            one.due_ms = ticks_add(now, one.probe_ms)
            one.probe_ms = min(2 * one.probe_ms, _PROBE_LAST_MS)
            return
        one.probe_ms = PROBE_FIRST_MS
        one.index += 1
        if answered and one.index < len(meter.blocks):
            return  # the round goes on; its due time still stands and keeps it in front
        one.index = 0
        if one.ended_ms is not None:
            period_ms = ticks_diff(now, one.ended_ms)
            one.period_ms += (period_ms - one.period_ms) // 8 if one.period_ms else period_ms
        one.ended_ms = now
        one.due_ms = ticks_add(one.due_ms, meter.interval_ms - one.held_ms)
        one.held_ms = 0
        behind_ms = ticks_diff(now, one.due_ms)
        if behind_ms > 0:
            one.behind_ms += behind_ms
            one.missed += one.behind_ms // meter.interval_ms
            one.behind_ms %= meter.interval_ms
            one.due_ms = now

    def hurry(self, meter, in_ms):
        """The meter's state has changed: it is asked next in `in_ms`, from its first block."""
        for one in self.rounds:
            if one.meter is meter:
                one.index = one.held_ms = 0
                one.due_ms = ticks_add(ticks_ms(), in_ms)

"""Which meter is due: earliest due time first, one block at a time, so that clients can go in between.

Due times advance by the meter's interval, not by when it was served: no drift. A meter that has fallen behind by more
than an interval is due at once, behind those that have waited longer: a bus that is too slow for what is asked of it
serves all in turn, each equally late. Rounds that were missed are counted, and the interval that is kept is measured.
"""

from array import array

from micropython import const

from firmware.meters import points
from firmware.net.seam import ticks_add, ticks_diff, ticks_ms

PROBE_FIRST_MS = const(2000)
_PROBE_LAST_MS = const(60000)

# The state of one meter's round, as numbers in Poller.rounds
_DUE_MS = const(0)
_BLOCK = const(1)  # the next one
_HELD_MS = const(2)  # by which the due time was put off while a late answer might have come
_PROBE_MS = const(3)
_MISSED = const(4)
_BEHIND_MS = const(5)  # of a round that is not missed as a whole yet
_ENDED_MS = const(6)  # ticks of the end of the last round; -1: there is none
_PERIOD_MS = const(7)  # from end to end, smoothed over eight rounds
_ROUND = const(8)
_MISSED_MAX = const(0x3FFFFFFF)


class Poller:
    """Plans the reads of `meters`, which are those of one bus. `k` is the number of one of them."""

    def __init__(self, meters):
        self.meters = meters
        self.rounds = array("i", [ticks_ms(), 0, 0, PROBE_FIRST_MS, 0, 0, -1, 0] * len(meters))

    def due(self):
        """The meter that is due first (earliest due time), or -1 without any."""
        rounds = self.rounds
        first = -1
        for k in range(len(self.meters)):
            if first < 0 or ticks_diff(rounds[_ROUND * k], rounds[_ROUND * first]) < 0:
                first = k
        return first

    def due_ms(self, k):
        """When (ticks)."""
        return self.rounds[_ROUND * k + _DUE_MS]

    def held_ms(self, k):
        """For how long it has been held up."""
        return self.rounds[_ROUND * k + _HELD_MS]

    def block(self, k):
        """Which of its blocks is to be read."""
        return self.rounds[_ROUND * k + _BLOCK]

    def missed(self, k):
        """Rounds for which there was no time."""
        return self.rounds[_ROUND * k + _MISSED]

    def kept_ms(self, k):
        """The interval that is kept; 0 before the second round."""
        return self.rounds[_ROUND * k + _PERIOD_MS]

    def hold(self, k, held_ms):
        """This round cannot go on for so long; others are not kept from theirs."""
        now = ticks_ms()
        rounds = self.rounds
        at = _ROUND * k
        rounds[at + _HELD_MS] += ticks_diff(now, rounds[at]) + held_ms
        rounds[at] = ticks_add(now, held_ms)

    def done(self, k, answered):
        """A block of this round was asked for; `answered` says whether the meter said anything right."""
        meter = self.meters[k]
        rounds = self.rounds
        at = _ROUND * k
        now = ticks_ms()
        if meter.state == points.QUARANTINED:
            probe_ms = rounds[at + _PROBE_MS]
            self._begin(at, ticks_add(now, probe_ms))
            rounds[at + _PERIOD_MS] = 0
            rounds[at + _ENDED_MS] = -1
            rounds[at + _PROBE_MS] = min(2 * probe_ms, _PROBE_LAST_MS)
            return
        rounds[at + _PROBE_MS] = PROBE_FIRST_MS
        rounds[at + _BLOCK] += 1
        if answered and rounds[at + _BLOCK] < len(meter.profile.plan):
            return  # the round goes on; its due time still stands and keeps it in front
        if rounds[at + _ENDED_MS] >= 0:
            period_ms = ticks_diff(now, rounds[at + _ENDED_MS])
            smooth_ms = rounds[at + _PERIOD_MS]
            rounds[at + _PERIOD_MS] += (period_ms - smooth_ms) // 8 if smooth_ms else period_ms
        rounds[at + _ENDED_MS] = now
        self._begin(at, ticks_add(rounds[at], meter.interval_ms - rounds[at + _HELD_MS]))
        behind_ms = ticks_diff(now, rounds[at])
        if behind_ms > 0:
            behind_ms += rounds[at + _BEHIND_MS]
            rounds[at + _MISSED] = min(rounds[at + _MISSED] + behind_ms // meter.interval_ms, _MISSED_MAX)
            rounds[at + _BEHIND_MS] = behind_ms % meter.interval_ms
            rounds[at] = now

    def _begin(self, at, due_ms):
        """The next round begins then, with the first block."""
        rounds = self.rounds
        rounds[at] = due_ms
        rounds[at + _BLOCK] = rounds[at + _HELD_MS] = 0

    def hurry(self, meter, in_ms):
        """The meter's state has changed: it is asked next in `in_ms`, from its first block."""
        for k in range(len(self.meters)):
            if self.meters[k] is meter:
                self._begin(_ROUND * k, ticks_add(ticks_ms(), in_ms))

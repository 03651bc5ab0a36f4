"""Plans the polls: the meter with the earliest due time first, one block at a time, so that clients go in between.

Due times advance by the meter's interval, not by when it was served: no drift. A meter that has fallen behind by more
than an interval is due at once, behind those that have waited longer: a bus that is too slow for what is asked of it
serves all in turn, each equally late. Rounds that were missed are counted, and the interval that is kept is measured.

After an exchange that failed, the meter's values are no longer fit to answer, and it is asked again: in 2 s, then 4, 8
and so on up to a minute, until a round succeeds; after its interval where that is shorter. In quarantine the interval
does not count, and the waits begin again at 2 s.
"""

from micropython import const

from firmware.meters.meter import QUARANTINED
from firmware.net.seam import ticks_add, ticks_diff, ticks_ms

_TYPING = const(0)
if _TYPING:
    from firmware.meters.meter import Meter

RETRY_FIRST_MS = const(2000)
_RETRY_LAST_MS = const(60000)
_MISSED_MAX = const(0x3FFFFFFF)
_NONE = const(-1)


class Round:
    """The rounds of one meter: each block of it once. What changes its due time is to be told to Poller.move()."""

    # Ten attributes: MicroPython makes room for twelve after ten.

    def __init__(self, meter: "Meter"):
        self.meter = meter
        self.due_ms: int = ticks_ms()
        self.held_ms = 0  # by which the due time was put off because of a late answer
        self.missed = 0  # rounds for which there was no time
        self.actual_interval_ms = 0  # from end to end, smoothed over eight rounds
        self.position = 0  # of the next block
        self.logged_refusals = ""  # the meter's refused_text that was logged last
        self._retry_ms = RETRY_FIRST_MS  # from the next poll that fails to the one that follows
        self._behind_ms = 0  # of a round that is not missed as a whole yet
        self._ended_ms = _NONE  # ticks of the end of the last round

    def begin(self, due_ms: int) -> None:
        """Plans the next round for `due_ms` (ticks): from the first block that the meter does not refuse, or from the
        first."""
        self.due_ms = due_ms
        self.held_ms = 0
        first = self.meter.next_block(0)
        self.position = first if first < len(self.meter.blocks) else 0

    def postpone(self, held_ms: int) -> None:
        """Puts the next read of this meter off by `held_ms`; other meters are unaffected."""
        now_ms = ticks_ms()
        self.held_ms += ticks_diff(now_ms, self.due_ms) + held_ms
        self.due_ms = ticks_add(now_ms, held_ms)

    def finish_block(self, following: int) -> bool:
        """Ends the read of a block that the meter has answered, with an exception perhaps. `following`: index of the
        first block that has not been asked for in this round. Returns whether the round has ended."""
        meter = self.meter
        self.position = meter.next_block(following)
        if self.position < len(meter.blocks):
            return False  # its due time still stands and keeps it in front
        self._retry_ms = RETRY_FIRST_MS
        self._end(ticks_ms(), meter.interval_ms)
        return True

    def retry(self, is_poll: bool) -> None:
        """Plans the next round after an exchange that failed: a poll, which ends its round, or a request of a client,
        which puts no poll off."""
        meter = self.meter
        wait_ms = self._retry_ms
        if meter.state == QUARANTINED:
            self.actual_interval_ms = 0
            self._ended_ms = _NONE
        elif wait_ms > meter.interval_ms:
            wait_ms = meter.interval_ms
        due_ms = ticks_add(ticks_ms(), wait_ms)
        if is_poll:
            self._retry_ms = min(2 * self._retry_ms, _RETRY_LAST_MS)
        if is_poll or ticks_diff(due_ms, self.due_ms) < 0:
            self.begin(due_ms)

    def restart(self, in_ms: int) -> None:
        """Starts a new round in `in_ms`, as if none had failed before."""
        self._retry_ms = RETRY_FIRST_MS
        self.begin(ticks_add(ticks_ms(), in_ms))

    def _end(self, now_ms, interval_ms):
        """Ends the round: measures the interval, and plans the next one."""
        if self._ended_ms != _NONE:
            passed_ms = ticks_diff(now_ms, self._ended_ms)
            smooth_ms = self.actual_interval_ms
            self.actual_interval_ms += (passed_ms - smooth_ms) // 8 if smooth_ms else passed_ms
        self._ended_ms = now_ms
        due_ms = ticks_add(self.due_ms, interval_ms - self.held_ms)
        behind_ms = ticks_diff(now_ms, due_ms)
        if behind_ms > 0:
            behind_ms += self._behind_ms
            self.missed = min(self.missed + behind_ms // interval_ms, _MISSED_MAX)
            self._behind_ms = behind_ms % interval_ms
            due_ms = now_ms
        self.begin(due_ms)


class Poller:
    """Plans the reads of `meters`, which are those of one bus."""

    def __init__(self, meters: "list[Meter]"):
        self._rounds = [Round(meter) for meter in meters]  # by their due times

    def first_due(self) -> "Round | None":
        """Returns the Round that is due first, or None without meters."""
        return self._rounds[0] if self._rounds else None

    def move(self, one: Round) -> None:
        """Moves it to its place in the plan: its due time has changed."""
        rounds = self._rounds
        rounds.remove(one)
        # Mostly it was the first and becomes the last: behind those that are due at the same time.
        at = len(rounds)
        while at and ticks_diff(one.due_ms, rounds[at - 1].due_ms) < 0:
            at -= 1
        rounds.insert(at, one)

    def _round_of(self, meter):
        for one in self._rounds:
            if one.meter is meter:
                return one
        raise ValueError("meter %s is of another bus" % meter.name)

    def missed(self, meter: "Meter") -> int:
        """Returns for how many rounds there was no time."""
        return self._round_of(meter).missed

    def actual_interval_ms(self, meter: "Meter") -> int:
        """Returns the measured interval between rounds; 0 before the second."""
        return self._round_of(meter).actual_interval_ms

    def retry(self, meter: "Meter", is_poll: bool) -> None:
        """Plans when the meter is asked again after an exchange that failed, `is_poll`: a poll."""
        one = self._round_of(meter)
        one.retry(is_poll)
        self.move(one)

    def reschedule(self, meter: "Meter", in_ms: int) -> None:
        """Starts a new round of the meter in `in_ms`, as if none had failed before."""
        one = self._round_of(meter)
        one.restart(in_ms)
        self.move(one)

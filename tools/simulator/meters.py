"""Virtual meters whose values change in steps and whose past is known: what could one have said between two moments?

A step is long compared with a poll, so that the registers of one moment are computed once; every meter, register and
step has another value, so that an answer of another meter, of other registers or of too long ago is found out.
"""

from tools.virtual_meters import VirtualMeter

_ANSWERS_MAX = 256


class SteppedMeter(VirtualMeter):
    """Values change every `step_s` seconds of the Timeline; 0: never."""

    def __init__(self, unit, profile, timeline, step_s=30.0, seed=0):
        self._timeline = timeline
        self._step_us = int(1e6 * step_s)
        self._forced_s = None
        self._answers = {}
        super().__init__(unit, profile, seed, clock=self._seconds)

    def _seconds(self):
        """Since the start, in whole steps."""
        if self._forced_s is not None:
            return self._forced_s
        if not self._step_us:
            return 0.0
        timeline = self._timeline
        return (timeline.now_us - timeline.start_us) // self._step_us * self._step_us / 1e6

    def answer(self, pdu):
        """As VirtualMeter's; what reads give is computed once for each step."""
        pdu = bytes(pdu)
        if pdu[0] not in (3, 4):
            self._answers.clear()  # a write changes what reads give
            return super().answer(pdu)
        key = pdu, self._seconds()
        reply = self._answers.get(key)
        if reply is None:
            if len(self._answers) >= _ANSWERS_MAX:
                self._answers.clear()
            reply = self._answers[key] = super().answer(pdu)
        return reply

    def replies(self, pdu, from_us, to_us):
        """Every PDU that this meter could have answered to `pdu` with between two moments of the Timeline."""
        start_us = self._timeline.start_us
        step_us = self._step_us
        if not step_us:
            return {self.answer(pdu)}
        first = max(0, (from_us - start_us) // step_us)
        found = set()
        try:
            for step in range(first, (to_us - start_us) // step_us + 1):
                self._forced_s = step * step_us / 1e6
                found.add(self.answer(pdu))
        finally:
            self._forced_s = None
        return found

"""A bus that another master polls: its requests and their answers are followed, and nothing is ever sent.

What is read is stored in the meters' blocks as if this gateway had asked, so cache, readings and services are the same.

The wire is a Follower (follower.py): an answer is taken only directly behind its request, when it fits it.

A late answer to another request may fit as well. So of each meter it is known which answers it may still owe, in
their order, and meters answer in order. What follows a request is thrown away while it could be something owed with
another content:

- A request without an answer is owed for four time-outs of the meter (and at least a second, and at least for as long
  again as the master has waited).
- What cannot be read may be a request: after each eight bytes of noise, and at the start, an answer of any length is
  owed.
- An answer ends what is owed up to the first that it could be. If it was that, its request is owed in turn: the doubt
  ends with an answer that has another length than all that is owed, or when nothing has come from the meter, and it was
  not asked, for one time-out.

A block of the meter's plan is stored when all of its registers were read within max_age (without one: the interval),
by one read or by several; its age is that of the oldest. A point counts only where one read holds all of its registers.
A block that stays incomplete three times in a row is cut into what was read and what was not, at borders of points.
"""

from micropython import const

from firmware.bus.bus import Bus, drop_written, log_resets
from firmware.bus.follower import Follower
from firmware.bus.heard import Heard
from firmware.bus.request import OK, Request
from firmware.bus.transaction import TIMED_OUT, WRONG
from firmware.meters.meter import FAILING, ONLINE
from firmware.net import seam
from firmware.net.seam import ticks_add, ticks_diff
from modbus import pdu, rtu

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.board import Line
    from firmware.meters.meter import Meter
    from modbus.pdu import Buffer


_TIMEOUTS = const(4)  # for so many an answer is owed
_OWED_MIN_MS = const(1000)
_WAITED_MAX_MS = const(40000)  # four of the longest time-out of the configuration
_REOPEN_MS = const(1000)
_FAILURES = const(3)  # in a row, after which a meter is failing
_UNASKED_S = const(60)  # without an answer, after which a meter is failing
_NAMED_MAX = const(3)


class ListeningBus(Bus):
    """A Bus with `role` "listen": what services see of it is the same. Its counters count the other master's traffic.
    Requests get exception 0B for meters that are configured, 0A for others."""

    def __init__(
        self, number: int, config: dict, open_line: "Callable[[dict], Line]", meters: "list[Meter]", events: "Any",
        uptime_s: "Callable[[], int]",
    ) -> None:  # fmt: skip
        super().__init__(number, config, open_line, meters, events, uptime_s)
        self._heard = {meter.unit: Heard(meter) for meter in meters}
        self._owed_ms = max([_owed_ms(meter) for meter in meters] + [_OWED_MIN_MS])
        self.config["broadcast"] = False
        self._wire: "Any" = None  # the last Follower, also when it is closed

    # -- for services

    def submit(self, request: Request) -> int:
        """Refuses the request: nothing is sent."""
        if self.wire is None or request.unit not in self.by_unit:
            return pdu.GATEWAY_PATH_UNAVAILABLE
        return pdu.GATEWAY_TARGET_FAILED

    def broadcast(self, buf: "Buffer", at: int, n: int) -> int:
        """Refuses the write."""
        return pdu.GATEWAY_PATH_UNAVAILABLE

    def lease_line(self, user: "Any") -> bool:
        """Never gives the line away."""
        return False

    def fault_text(self, meter: "Meter") -> str:  # type: ignore[override]  # what is missing is known to the bus
        """Returns what is wrong with the meter, and what was not seen of it, as a text; "" for nothing."""
        heard = self._heard[meter.unit]
        if self.wire is None and self.line_error is not None:
            return "serial line gone"
        if not heard.is_asked:
            return "not seen: nobody asks this unit"
        if meter.state == FAILING:
            if meter.failures:
                return "damaged answers" if meter.last_result == WRONG else "silent"
            return "not seen for %d s" % (self._uptime_s() - heard.heard_s)
        if heard.doubted:
            return "answers that may be late ones to other requests"
        texts = []
        for block in meter.blocks:
            if not block.seen:
                texts.append("%d to %d of function %d" % (block.first, block.first + block.count - 1, block.function))
        if not texts:
            return ""
        more = len(texts) - _NAMED_MAX
        text = "not seen: registers " + ", ".join(texts[:_NAMED_MAX])
        return text + (" and %d more ranges" % more if more > 0 else "")

    def tick(self) -> None:
        """Is called once a second."""
        super().tick()
        now_ms = seam.ticks_ms()
        wire = self._wire
        if wire is not None:
            wire.give_up(self._owed_ms)
        # What is owed at a request counts for its answer, so it is forgotten between two exchanges only.
        is_between = wire is None or not wire.request_length
        uptime_s = self._uptime_s()
        for heard in self._heard.values():
            if is_between:
                heard.forget_owed(now_ms)
            heard.tick(now_ms)
            if heard.meter.state == ONLINE and uptime_s - heard.heard_s > _UNASKED_S:
                heard.meter.state = FAILING
                heard.meter.purge()

    # -- the task

    def _advance(self):
        self.silent_s = 0
        if self.wire is not None and self.wire.line_error is not None:
            self._lose_line()
        if self.wire is None:
            if not self._open_wire():
                return _REOPEN_MS
            self.on_noise()  # a request may be under way
        return self._wire.wait_ms()

    def _make_wire(self, line):
        for heard in self._heard.values():
            heard.clear()
            heard.owed = []
        self._wire = Follower(line, self.config, self.counters, self, self._waker)
        return self._wire

    # -- for the Follower

    def on_noise(self) -> None:
        """Notes that there may have been a request to any meter."""
        now_ms = seam.ticks_ms()
        for heard in self._heard.values():
            heard.owe(None, ticks_add(now_ms, _owed_ms(heard.meter)))

    def on_foreign(self, unit: int) -> None:
        """Notes that the meter is still answering something."""
        heard = self._heard.get(unit)
        if heard is not None:
            heard.put_off(ticks_add(seam.ticks_ms(), heard.meter.timeout_ms))

    def on_request(self) -> None:
        """Takes what a request says: what is owed at its time, and what it writes."""
        wire = self._wire
        request = wire.request
        heard = self._heard.get(request[0])
        if heard is not None:
            heard.is_asked = True
            heard.forget_owed(wire.asked_ms)
        if not pdu.is_read(request, 1, 2):
            for one in self._heard.values():
                if one is heard or not request[0]:
                    drop_written(one.meter, request)
                    one.written()

    def on_unknown(self, unit: int) -> None:
        """Drops what was read of a unit: a function that is not known may write."""
        heard = self._heard.get(unit)
        if heard is not None:
            heard.meter.written(0, 0x10000)
            heard.written()

    def on_unanswered(self, how: int) -> None:
        """Notes that the request has got no answer (TIMED_OUT), or a damaged one (WRONG)."""
        wire = self._wire
        request = wire.request
        heard = self._heard.get(request[0])
        if heard is None:
            return
        meter = heard.meter
        meter.requests += 1
        meter.failures += 1
        meter.last_result = how
        if how == TIMED_OUT:
            meter.timeouts += 1
        else:
            meter.errors += 1
            meter.last_reason = rtu.BAD_CRC
        if meter.failures == _FAILURES:
            meter.state = FAILING
            meter.purge()
            self._events.add("bus", "meter %s (unit %d): %s" % (meter.name, meter.unit, self.fault_text(meter)))
        # A damaged answer is an answer: nothing more will come.
        if 3 <= request[1] <= 4 and (how == TIMED_OUT or heard.owed):
            now_ms = seam.ticks_ms()
            waited_ms = min(max(ticks_diff(now_ms, wire.asked_ms), 0), _WAITED_MAX_MS)
            heard.owe(request, ticks_add(wire.asked_ms, max(_owed_ms(meter), 2 * waited_ms)))

    def on_answer(self) -> None:
        """Stores the registers of an answer that is the right one for certain."""
        wire = self._wire
        request = wire.request
        heard = self._heard.get(request[0])
        if heard is None:
            return
        meter = heard.meter
        meter.requests += 1
        is_exception = wire.rx[wire.at + 1] & 0x80 != 0
        if 3 <= request[1] <= 4:
            is_right = heard.is_right(request, is_exception, seam.ticks_ms())
            if not is_right:
                heard.doubted += 1
                self.counters.foreign += 1
                self.counters.wrong[rtu.OTHER_CONTENT] += 1
                return
            heard.doubted = 0
            if not is_exception:
                self._take(heard, request)
        meter.last_result = OK
        heard.heard_s = self._uptime_s()
        self._mark_online(meter)

    def _take(self, heard, request):
        meter = heard.meter
        for k in range(len(meter.blocks)):
            since_ms = heard.take(k, request, self._wire)
            if since_ms is not None:
                age_s = ticks_diff(seam.ticks_ms(), since_ms) // 1000
                image = heard.collected[k].image
                until_ms = ticks_add(since_ms, meter.max_age_ms)
                log_resets(
                    self._events, meter, meter.store(meter.blocks[k], image, 0, until_ms, self._uptime_s() - age_s)
                )


def _owed_ms(meter):
    """For how long the meter may owe an answer."""
    return max(_TIMEOUTS * meter.timeout_ms, _OWED_MIN_MS)

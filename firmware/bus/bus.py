"""One bus: the queue of requests, the meters' states, and the cache that reads are answered from.

Order: clients with priority, then the others first come, first served (each connection has one request under way, so
this is round robin), then the poller; but a poll that is due follows eight clients at the latest, or constant traffic
would let the cache grow old and so make more traffic. The answer to a read ends all equal reads that wait. Queue and
retries are bounded; a newcomer to a full queue gets exception 06, a meter that does not answer gives 0B, a line that is
gone 0A.

A meter that stays silent is quarantined: clients get 0B at once, and the poller probes it at growing intervals, so
that it costs the others nothing. While the line is gone no meter is online.

Registers that a meter refuses are left out (firmware.meters.refusals), and asked for again once a day, after a restart,
and when the meter comes back from quarantine.
"""

from micropython import const

from firmware.bus.bus_stats import AnswerTimes, BusStats
from firmware.bus.late_replies import LateReplies
from firmware.bus.poller import RETRY_FIRST_MS, Poller, Round
from firmware.bus.request import OK, Request
from firmware.bus.transaction import ANSWERED, ENDED, LINE_DOWN, TIMED_OUT, WRONG, Transaction
from firmware.meters import refusals
from firmware.meters.block import REFUSED
from firmware.meters.meter import FAILING, ONLINE, QUARANTINED
from firmware.net import seam
from firmware.net.seam import ticks_add, ticks_diff, ticks_ms
from modbus import pdu, rtu

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from firmware.board import Line
    from firmware.events import Events
    from firmware.meters.block import Block
    from firmware.meters.meter import Meter
    from modbus.pdu import Buffer

_QUEUE_MAX = const(16)
_QUARANTINE_AFTER = const(3)  # failed requests in a row
_REOPEN_MS = const(1000)
_TIMEOUT_MS = const(1000)  # for units that are not configured: Serial Line V1.02, 2.4.1, "1 s to several s at 9600"
_CLIENTS_IN_A_ROW_MAX = const(8)  # clients before a poll that is due
_CALIBRATED_AFTER = const(20)  # answers
_CALIBRATED_MIN_MS = const(100)
_LOAD_S = const(60)
_STEP_S = const(600)  # of what is kept of the load
_STEPS = const(72)  # twelve hours
_DAY_S = const(86400)
_PAUSED_MS = const(1000)
_LEASE_S = const(86400)  # longer than any search
_IDLE_MS = const(60000)  # with no meters to poll, the bus looks up once a minute


class Bus:
    """`config`: the section of this bus; `self.config` is a copy whose gap_ms is the largest that one of the meters
    needs. `open_line(config)` opens the serial line or raises OSError. `meters`: those on this bus."""

    def __init__(
        self, number: int, config: dict, open_line: "Callable[[dict], Line]", meters: "list[Meter]", events: "Events",
        uptime_s: "Callable[[], int]",
    ):  # fmt: skip
        self.number = number
        gaps_ms = [meter.profile.gap_ms for meter in meters]
        self.config = dict(config, gap_ms=max([config["gap_ms"]] + gaps_ms))
        self.meters = meters
        self.by_unit = {meter.unit: meter for meter in meters}
        self.counters = BusStats()
        self.poller = Poller(meters)
        self.wire: "Transaction | None" = None
        self.line_error: "Exception | None" = None
        self.load_percent = 0  # of the last minute
        self._loads = bytearray(_STEPS)  # of steps, in percent: number k since boot at k modulo _STEPS
        self._steps = 0  # that have ended
        self._minutes = 0  # of the present step, and the sum of their loads
        self._load_sum = 0
        self.lessee: "Any" = None  # has the line for itself (lease_line)
        self._open_line = open_line
        self._events = events
        self._uptime_s = uptime_s
        self._late = LateReplies()
        self._queue: "list[Request]" = []
        self._held_ms = _IDLE_MS  # for how long all in the queue are held up
        # The exchange under way:
        self._request: "Request | None" = None
        self._poll: "Round | None" = None  # the poll, None for a client's request
        self._position = 0  # of its block
        self._meter: "Meter | None" = None  # None for a unit that is not configured
        self._retries = 0  # that are left
        self._poll_request = Request(None)
        self._waker = seam.Waker()
        self._clients_in_a_row = 0
        self._seconds = 0
        self._day_s = 0
        self._busy_mark_ms = 0
        self._paused = False
        self._on_idle: "Callable[[], object] | None" = None
        self._is_lent = False
        self.silent_s = 0  # counted by the supervisor since the last turn of run(), which has one a minute at least
        self._is_free = False  # the line is open, and nothing is due: submit() begins at once
        for meter in meters:
            meter.answer_times = AnswerTimes()

    # -- for services

    def submit(self, request: Request) -> int:
        """Takes a filled Request. Returns OK when its owner will be told the end, else the exception code to answer
        with."""
        if not self._is_free or self._queue or self._late.expected:
            return self._queue_up(request)
        # Nothing is due: begins at once, without the detour by queue and task. That is only told when to go on.
        meter = self.by_unit.get(request.unit)
        if meter is not None and meter.state == QUARANTINED:
            return pdu.GATEWAY_TARGET_FAILED
        if not request.only_reads:
            self._drop_written_by(request, meter)
        self._waker.wake_in(self._begin(request, meter))
        return OK

    def _queue_up(self, request):
        if self.wire is None and self.line_error is not None:
            return pdu.GATEWAY_PATH_UNAVAILABLE
        meter = self.by_unit.get(request.unit)
        if meter is not None and meter.state == QUARANTINED:
            return pdu.GATEWAY_TARGET_FAILED
        queue = self._queue
        if len(queue) >= _QUEUE_MAX or self.lessee is not None:
            return pdu.SERVER_DEVICE_BUSY
        at = len(queue)
        if request.has_priority:
            at = 0
            while at < len(queue) and queue[at].has_priority:
                at += 1
        queue.insert(at, request)
        self._wake()
        return OK

    def broadcast(self, buf: "Buffer", at: int, n: int) -> int:
        """Takes the PDU of a write to all meters of this bus, which has no answer. Returns OK or an exception code."""
        request = Request(None)
        request.fill(0, buf, at, n)
        return self.submit(request)

    def withdraw(self, request: Request) -> None:
        """Drops a waiting request, or the end of one on the wire: its owner is gone."""
        if self._request is request:
            request.owner = None
        elif request in self._queue:
            self._queue.remove(request)

    def cached(self, unit: int, function: int, first: int, count: int) -> "Block | None":
        """Returns the fresh Block of the meter with that unit that holds the registers of a read, or None. Allocates
        nothing."""
        if unit not in self.by_unit:
            return None
        block = self.by_unit[unit].find(function, first, count)
        if block is None or ticks_diff(ticks_ms(), block.fresh_until_ms) > 0:
            return None
        return block

    def waiting(self) -> int:
        """Returns how many requests wait."""
        return len(self._queue)

    def answer_times_ms(self, meter: "Meter | None" = None) -> "tuple[int, int, int] | None":
        """Returns (shortest, mean, longest) answer time of a meter of this bus, or of the whole bus; None without
        answers."""
        return (self.counters if meter is None else meter).answer_times.summary_ms()

    def exceptions(self, meter: "Meter | None" = None) -> "list[tuple[int, int]]":
        """Returns [(code, times)] of the exceptions of a meter of this bus, or of all on it."""
        return self.counters.exceptions_of(0 if meter is None else meter.unit)

    @staticmethod
    def fault_text(meter: "Meter") -> str:
        """Returns what is wrong with the meter as a text, "" when nothing is."""
        if meter.last_result == LINE_DOWN:
            return "serial line gone"
        if meter.last_result == WRONG:
            return "wrong answers (%s)" % rtu.REASONS[meter.last_reason]
        return "silent" if meter.last_result == TIMED_OUT else meter.refused_text

    @staticmethod
    def timeout_ms(meter: "Meter") -> int:
        """Returns the time-out of the meter: the configured one; with auto_timeout, after 20 answers and while there is
        no failure, three times the longest answer time."""
        times = meter.answer_times
        if meter.auto_timeout and not meter.failures and times.count >= _CALIBRATED_AFTER:
            return min(max(3 * times.max_ms, _CALIBRATED_MIN_MS), meter.timeout_ms)
        return meter.timeout_ms

    # -- for Buses

    # No property: in a class with one, each attribute that is stored is looked for in the class first.

    def is_idle(self) -> bool:
        """Whether the bus is paused and no transaction is under way."""
        return self._paused and self._request is None and not self._is_lent

    def pause(self, on_idle: "Callable[[], object]") -> None:
        """Begins no other transaction. Calls on_idle() once, when none is under way: perhaps at once."""
        self._paused = True
        self._is_free = False
        if self.is_idle():
            on_idle()
        else:
            self._on_idle = on_idle

    def resume(self) -> None:
        """Ends the pause; on_idle() is no longer called."""
        self._paused = False
        self._on_idle = None
        self._wake()

    def lease_line(self, user: "Any") -> bool:
        """Gives the line to `user` once the transaction under way has ended: polling pauses, clients get 06, until
        `await user.run(open_line)` ends. Returns False when the line is leased already."""
        if self.lessee is not None:
            return False
        self.lessee = user
        self._is_free = False
        self._wake()
        return True

    def _wake(self):
        """Has the task look what is due. During an exchange only the transaction does that: it takes a wake without
        bytes for silence."""
        if self._request is None:
            self._waker.wake()

    load_step_s = _STEP_S

    def past_loads(self) -> "list[int]":
        """The mean load in percent of each step of load_step_s seconds that has ended in the last twelve hours, the
        newest last."""
        return [self._loads[step % _STEPS] for step in range(max(0, self._steps - _STEPS), self._steps)]

    def step_age_s(self) -> int:
        """Seconds since the newest of these steps ended."""
        return self._minutes * _LOAD_S + self._seconds

    def tick(self) -> None:
        """Is called once a second: measures the load, and expires blocks that are too old: those of one meter, each in
        its turn. A read looks at the time by itself, and ticks take days to come round."""
        self._seconds += 1
        if self._seconds >= _LOAD_S:
            busy_ms = self.counters.busy_ms - self._busy_mark_ms
            self._busy_mark_ms = self.counters.busy_ms
            self.load_percent = min(max(busy_ms, 0) // (10 * self._seconds), 100)
            self._seconds = 0
            self._minutes += 1
            self._load_sum += self.load_percent
            if self._minutes * _LOAD_S >= _STEP_S:
                self._loads[self._steps % _STEPS] = self._load_sum // self._minutes
                self._steps += 1
                self._minutes = self._load_sum = 0
        self._day_s += 1
        if self._day_s >= _DAY_S:
            self._day_s = 0
            for meter in self.meters:
                refusals.ask_again(meter)
        if self.meters:
            self.meters[self._day_s % len(self.meters)].expire(ticks_ms(), ticks_diff)

    def close(self) -> None:
        """Closes the line; run() opens it again."""
        self._is_free = False
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    # -- the task

    async def run(self) -> None:
        """Serves the bus for ever."""
        try:
            while True:
                await seam.repeat(self._waker, self._advance)
                await self._lend_line(self.lessee)
        except Exception:  # a bug: the owner of the request must not wait for ever; the supervisor logs it
            if self._request is not None:
                self._request.finish(pdu.SERVER_DEVICE_FAILURE)
            raise
        finally:
            self._is_free = False
            if self._request is not None:
                self._request = None
                if self.wire is not None:
                    self.wire.cancel()
                self._tell_idle()

    def _advance(self):
        """Does what is due. Returns for how long to wait until the next call, or ENDED: the line is to be lent.

        No coroutine: each that is called for a request would be an object in the heap."""
        self.silent_s = 0
        wait_ms = ENDED
        if self._request is not None:
            wait_ms = self.wire.step()
            if wait_ms < 0:
                wait_ms = self._end_exchange()
        while wait_ms < 0:
            if self._paused:
                return _PAUSED_MS
            if self.wire is None and not self._open_wire():
                self._fail_all(pdu.GATEWAY_PATH_UNAVAILABLE)
                if self.lessee is not None:
                    self.lessee.abort(self.line_error)
                    self.lessee = None
                return _REOPEN_MS
            if self.lessee is not None:
                return ENDED
            wait_ms = self._begin_next()
        return wait_ms

    def _begin_next(self):
        """Begins the exchange that is due. Returns for how long to wait, or ENDED where another may be due at once."""
        self._is_free = False
        poll = self.poller.first_due()
        wait_ms = _IDLE_MS if poll is None else ticks_diff(poll.due_ms, ticks_ms())
        queue = self._queue
        # A poll that was held up goes first, or the next request that fails would hold it up again.
        if queue and (wait_ms > 0 or (self._clients_in_a_row < _CLIENTS_IN_A_ROW_MAX and not poll.held_ms)):
            request = self._next_request()
            if request is not None:
                self._clients_in_a_row += 1
                meter = self.by_unit.get(request.unit)
                if meter is not None and meter.state == QUARANTINED:  # since it came
                    request.finish(pdu.GATEWAY_TARGET_FAILED)
                    return ENDED
                if not request.only_reads:
                    self._drop_written_by(request, meter)
                return self._begin(request, meter)
        self._clients_in_a_row = 0
        if wait_ms > 0:
            self._is_free = True
            if queue and wait_ms > self._held_ms:
                return self._held_ms
            return wait_ms if wait_ms < _IDLE_MS else _IDLE_MS
        request = self._fill_poll(poll)
        return self._begin(request, poll.meter, poll) if request is not None else ENDED

    def _tell_idle(self):
        """Calls what waits for the end of the transaction."""
        on_idle = self._on_idle
        self._on_idle = None
        if on_idle is not None:
            on_idle()

    async def _lend_line(self, lessee):
        self._is_lent = True
        self.silent_s = -_LEASE_S
        self._fail_all(pdu.SERVER_DEVICE_BUSY)
        self.close()
        self._events.add("bus", "bus %d: polling pauses for %s" % (self.number, lessee.name))
        try:
            try:
                await lessee.run(self._open_line)
            except Exception as error:
                self._events.add("bus", "bus %d: %s: %r" % (self.number, lessee.name, error))
            await seam.sleep_ms(_TIMEOUT_MS)  # an answer to the last request of the lease may still come
        finally:
            self.lessee = None
            self._is_lent = False
            self._events.add("bus", "bus %d: polling goes on" % self.number)
            self._tell_idle()

    def _next_request(self):
        """Takes the request that goes next out of the queue, or returns None. A request is held up while a
        late answer could be taken for its own; others overtake it. `_held_ms`: for how long that is so for all."""
        self._held_ms = _IDLE_MS
        late = self._late
        for request in self._queue:
            left_ms = late.hold_ms(request.frame, request.length) if late.expected else 0
            if not left_ms:
                self._queue.remove(request)
                return request
            self._held_ms = min(self._held_ms, left_ms)
        return None

    def _open_wire(self):
        line = None
        try:
            line = self._open_line(self.config)
            self.wire = self._make_wire(line)
        except (OSError, ValueError, MemoryError) as error:  # ValueError: pins that this chip does not have
            if line is not None:
                line.close()
            if self.line_error is None:
                self._events.add("bus", "bus %d: cannot open %s: %r" % (self.number, self.config["uart"], error))
                self._mark_line_gone()
            self.line_error = error
            return False
        self.line_error = None
        return True

    def _make_wire(self, line):
        return Transaction(line, self.config, self.counters, self._late, self._events, self._waker)

    def _lose_line(self):
        """Gives the line up: it failed during an exchange."""
        self.line_error = self.wire.line_error
        self._events.add("bus", "bus %d: line lost: %r" % (self.number, self.line_error))
        self.wire = None
        self._mark_line_gone()

    def _mark_line_gone(self):
        """Marks all meters as failing. They are asked as soon as the line is back."""
        for meter in self.meters:
            meter.purge()
            self.poller.reschedule(meter, _REOPEN_MS)
            meter.state = FAILING
            meter.last_result = LINE_DOWN
            meter.failures = 0

    def _fail_all(self, code):
        while self._queue:
            self._queue.pop(0).finish(code)

    def _drop_written_by(self, request, meter):
        """Drops the blocks of `meter`, or of all with a broadcast, that the request writes."""
        for one in self.meters:
            if one is meter or not request.unit:
                drop_written(one, request.frame)

    def _fill_poll(self, poll):
        """Returns the request for the block that is due, or None while a late answer holds it up."""
        read = poll.meter.blocks[poll.position].read
        request = self._poll_request
        request.fill_read(poll.meter.unit, read[0], read[1], read[2])
        return None if self._late.expected and self._is_held_up(poll, request) else request

    def _is_held_up(self, poll, request):
        """Puts the poll off where a late answer holds it up. Returns whether one does."""
        held_ms = self._late.hold_ms(request.frame, request.length)
        if held_ms:
            poll.postpone(held_ms)
            self.poller.move(poll)
        return held_ms > 0

    # -- the exchange under way

    def _begin(self, request, meter, poll=None):
        """Begins the exchange of a client's request, or of that of `poll`, with a meter, None for a unit that is not
        configured. Returns for how long to wait before the next step."""
        self._is_free = False
        self._request = request
        self._poll = poll
        self._meter = meter
        self._retries = 0
        if poll is not None:
            self._position = poll.position
            # A probe is not repeated: the meter is most likely still silent, and others wait.
            if meter.state != QUARANTINED:
                self._retries = meter.retries
        elif meter is not None and request.only_reads:
            # Only reads are repeated: a write may have been carried out although its answer was lost.
            self._retries = meter.retries
        return self._try()

    def _try(self):
        """Sends the request, for the first time or again."""
        meter = self._meter
        timeout_ms = slowest_ms = _TIMEOUT_MS
        if meter is not None:
            timeout_ms = self.timeout_ms(meter)
            slowest_ms = meter.timeout_ms
        # No name for the request, so that the frame has at most 11 words.
        wait_ms = self.wire.begin(self._request.frame, self._request.length, timeout_ms, slowest_ms)
        return wait_ms if wait_ms > 0 else 0  # what has ended at once ends in the next step: submit() has not returned

    def _end_exchange(self):
        """Takes the end of a transaction, which may be tried again. Returns for how long to wait, or ENDED."""
        result = self.wire.result
        if result == LINE_DOWN:
            self._lose_line()
        elif result != ANSWERED and self._retries:
            self._retries -= 1
            self.counters.retries += 1
            return self._try()
        elif self._meter is not None:
            self._meter.requests += 1
            self._meter.last_result = result
            if result == ANSWERED:
                self._mark_online(self._meter)
            else:
                self._mark_failing(self._meter, result)
        request = self._request
        self._request = None
        if self._poll is not None:
            if result == ANSWERED:
                self._end_poll(self._poll, self._position)
        else:
            if self._queue and request.only_reads:
                self._finish_equal_requests(request, result)
            self._finish(request, result)
        if self._on_idle is not None:
            self._tell_idle()
        return ENDED

    def _finish_equal_requests(self, request, result):
        """Ends the equal reads that came while this one was on the wire."""
        for other in self._queue[:]:
            if other.only_reads and other.equals(request):
                self._queue.remove(other)
                self._finish(other, result)

    def _finish(self, request, result):
        if result == ANSWERED:
            wire = self.wire
            request.finish(OK, wire.view, wire.at, wire.n)
        else:
            request.finish(pdu.GATEWAY_PATH_UNAVAILABLE if result == LINE_DOWN else pdu.GATEWAY_TARGET_FAILED)

    def _end_poll(self, poll, position):
        """Ends an answered poll of the block at that index: stores the answer, or learns that the meter refuses it."""
        following = position + 1
        if self.wire.rx[self.wire.at + 1] & 0x80:
            following = self._refused(poll.meter, position)
        else:
            self._store_answer(poll.meter.blocks[position])
        due_ms = poll.due_ms
        if poll.finish_block(following):
            self._log_refusals(poll)
        if poll.due_ms != due_ms:
            self.poller.move(poll)

    def _store_answer(self, block):
        """Stores the registers of a block of the meter. With few names, so that the frame has at most 11 words."""
        if block.fresh_until_ms == REFUSED:
            refusals.ask_again(self._meter)  # it refuses this one no longer, and perhaps others
        resets = self._meter.store(
            block, self.wire.view, self.wire.at + 3, ticks_add(ticks_ms(), self._meter.max_age_ms), self._uptime_s()
        )
        if resets:
            log_resets(self._events, self._meter, resets)

    def _log_refusals(self, poll):
        """Logs what the meter refuses, at the end of a round, when all of it is known."""
        text = poll.meter.refused_text
        if text and text != poll.logged_refusals:
            poll.logged_refusals = text
            self._events.add("bus", "meter %s %s" % (poll.meter.name, text))

    def _refused(self, meter, position):
        """Learns that the meter refuses the block at that index. Returns the index of the block that is read next."""
        code = self.wire.rx[self.wire.at + 2]
        block = meter.blocks[position]
        if code != block.exception and not refusals.is_lasting(code):
            self._events.add(
                "bus", "meter %s refuses registers %d to %d of function %d: exception %d"
                % (meter.name, block.first, block.first + block.count - 1, block.function, code)
            )  # fmt: skip
        return refusals.note(meter, position, code)

    def _mark_failing(self, meter, result):
        """Updates counters and state of the meter after an exchange that failed, and has it asked again."""
        if result == TIMED_OUT:
            meter.timeouts += 1
        else:
            meter.errors += 1
            meter.last_reason = self.wire.reason
        meter.purge()
        meter.failures += 1
        if meter.failures < _QUARANTINE_AFTER:
            meter.state = FAILING
        elif meter.state != QUARANTINED:
            self._quarantine(meter)
        self.poller.retry(meter, self._poll is not None)

    def _quarantine(self, meter):
        reason = self.fault_text(meter)
        self._events.add("bus", "meter %s (unit %d): %s, quarantined" % (meter.name, meter.unit, reason))
        meter.state = QUARANTINED
        self.poller.reschedule(meter, RETRY_FIRST_MS)

    def _mark_online(self, meter):
        """The same after an answer."""
        wire = self.wire
        if wire.rx[wire.at + 1] & 0x80:
            meter.exceptions += 1
            self.counters.add_exception(meter.unit, wire.rx[wire.at + 2])
        meter.answer_times.add(wire.answer_ms)
        meter.failures = 0
        if meter.state != ONLINE:
            self._events.add("bus", "meter %s (unit %d) answers" % (meter.name, meter.unit))
            if meter.state == QUARANTINED:
                refusals.ask_again(meter)
                self.poller.reschedule(meter, 0)
            meter.state = ONLINE


def log_resets(events: "Events", meter: "Meter", resets: "Sequence[tuple[int, int, int | float | None]]") -> None:
    """Logs which counters of the meter were lost: Meter.store() has found them."""
    for i, before, value in resets:
        text = "meter %s: %s: counter reset: %d after %d" % (meter.name, meter.profile.name_of(i), value, before)
        events.add("bus", text)


def drop_written(meter: "Meter", frame: "Buffer") -> None:
    """Drops the blocks that a write overlaps; all blocks of the meter when its registers are not known."""
    function = frame[1]
    first, count = 0, 0x10000
    if function in (6, 22):
        first, count = frame[2] << 8 | frame[3], 1
    elif function == 16:
        first, count = frame[2] << 8 | frame[3], frame[4] << 8 | frame[5]
    elif function == 23:
        first, count = frame[6] << 8 | frame[7], frame[8] << 8 | frame[9]
    meter.written(first, count)

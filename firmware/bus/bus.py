"""One bus: the queue of requests, the meters' states, and the cache that reads are answered from.

Order: clients that have priority, the others in the order of their coming (each connection has one request under way,
so this is round robin among them), then the poller; but a poll that is due follows eight clients at the latest, or
constant traffic would let the cache grow old and so make more traffic. A read that is answered answers all equal reads
that wait. Queue and retries are bounded; a full queue is exception 06 for the newcomer, a meter that does not answer
0B, a line that is gone 0A.

A meter that stays silent is quarantined: clients get 0B at once, and the poller probes it at growing intervals, so
that it costs the others nothing.
"""

from micropython import const

from firmware.bus import OK, Request, tally, transaction
from firmware.bus.late import Late
from firmware.bus.poller import PROBE_FIRST_MS, Poller
from firmware.meters import points
from firmware.net import seam
from modbus import pdu, rtu

_QUEUE_MAX = const(16)
_QUARANTINE_AFTER = const(3)  # failed requests in a row
_REOPEN_MS = const(1000)
_TIMEOUT_MS = const(1000)  # for units that are not configured: Serial Line V1.02, 2.4.1, "1 s to several s at 9600"
_IN_A_ROW = const(8)  # clients before a poll that is due
_CALIBRATED_AFTER = const(20)  # answers
_CALIBRATED_MIN_MS = const(100)
_LOAD_S = const(60)
_HELD_MS = const(1000)
_RESULT = const(0x0F)  # of Meter.trouble
_REASON = const(4)  # its bits in front of which there is the reason
# Of Meter.count(), as in firmware.meters.points; a unit test compares them.
_REQUESTS = const(4)
_TIMEOUTS = const(5)
_ERRORS = const(6)
_EXCEPTIONS = const(7)
_IDLE_MS = const(60000)  # with no meters to poll, the bus looks up once a minute


class Bus:
    """`open_line()` opens the serial line or raises OSError; `meters` are those on this bus."""

    def __init__(self, number, config, open_line, meters, events, uptime_s):
        self.number = number
        self.config = config
        self.meters = meters
        self.by_unit = {meter.unit: meter for meter in meters}
        self.counters = transaction.Counters()
        self.poller = Poller(meters)
        self.wire = None
        self.line_error = None
        self.load_percent = 0  # of the last minute
        self.held = False
        self.resting = False  # while it is held: no transaction is under way
        self.guest = None  # who has the line to himself (firmware.bus.scan)
        self._open_line = open_line
        self._events = events
        self._uptime_s = uptime_s
        self._late = Late()
        self._queue = []
        self._current = None
        self._waker = seam.Waker()
        self._in_a_row = 0
        self._seconds = 0
        self._busy_mark = 0
        self._frame = bytearray(8)  # the poller's request: every read of registers has 8 bytes

    # -- for services

    def submit(self, request):
        """Takes a filled Request. 0 when its owner will be told the end, else the exception code that is the end."""
        if self.wire is None and self.line_error is not None:
            return pdu.GATEWAY_PATH_UNAVAILABLE
        meter = self.by_unit.get(request.unit)
        if meter is not None and meter.state == points.QUARANTINED:
            return pdu.GATEWAY_TARGET_FAILED
        if len(self._queue) >= _QUEUE_MAX or self.guest is not None:
            return pdu.SERVER_DEVICE_BUSY
        at = len(self._queue)
        if request.first:
            at = 0
            while at < len(self._queue) and self._queue[at].first:
                at += 1
        self._queue.insert(at, request)
        self._waker.wake()
        return OK

    def broadcast(self, buf, at, n):
        """Takes the PDU of a write for all meters of this bus, which nobody answers. OK or an exception code."""
        request = Request(None)
        request.fill(0, buf, at, n)
        return self.submit(request)

    def withdraw(self, request):
        """The owner is gone: a waiting request is dropped, one on the wire ends without telling anybody."""
        if self._current is request:
            self._current = None
        elif request in self._queue:
            self._queue.remove(request)

    def cached(self, unit, function, first, count):
        """Where in the meter of that unit (`by_unit`) the registers are that may answer a read, as Meter.holds() gives
        it; -1 when none may. Allocates nothing."""
        meter = self.by_unit.get(unit)
        if meter is None:
            return -1
        place = meter.holds(function, first, count)
        if place >= 0 and seam.ticks_diff(seam.ticks_ms(), meter.words[place >> 16]) > 0:
            return -1
        return place

    def tallied(self, words, unit):
        """((shortest, mean, longest) answer time in ms or None, [(code, times)] of the exceptions) of a meter, or with
        the tally of the counters and unit 0 of the whole bus."""
        return tally.times_ms(words), tally.exceptions(self.counters.codes, unit)

    def waiting(self):
        return len(self._queue)

    # -- the task

    async def run(self):
        """Serves the bus for ever."""
        while True:
            if self.held:
                self.resting = True
                await self._waker.wait_ms(_HELD_MS)
                continue
            self.resting = False
            if self.wire is None and not self._open():
                self._fail_all(pdu.GATEWAY_PATH_UNAVAILABLE)
                await seam.sleep_ms(_REOPEN_MS)
                continue
            if self.guest is not None:
                await self._host(self.guest)
                continue
            k = self.poller.due()
            wait_ms = _IDLE_MS if k < 0 else seam.ticks_diff(self.poller.due_ms(k), seam.ticks_ms())
            # A poll that was held up goes first, or the next request that fails would hold it up again.
            before = wait_ms <= 0 and (self._in_a_row >= _IN_A_ROW or self.poller.held_ms(k) > 0)
            request, held_ms = (None, 0) if before else self._next()
            if request is not None:
                self._in_a_row += 1
                await self._serve(request)
                continue
            self._in_a_row = 0
            if wait_ms > 0:
                await self._waker.wait_ms(min(wait_ms, held_ms))
            else:
                await self._poll(k)

    def close(self):
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def hold(self, on):
        """Lets the bus rest after the transaction under way (`resting` says when), or go on. Requests wait."""
        self.held = on
        self._waker.wake()

    def invite(self, guest):
        """Gives the line to `guest` once the transaction under way has ended: polling pauses, clients get 06, until
        `await guest.run(open_line)` ends. False when somebody has it already."""
        if self.guest is not None:
            return False
        self.guest = guest
        self._waker.wake()
        return True

    async def _host(self, guest):
        self._fail_all(pdu.SERVER_DEVICE_BUSY)
        self.close()
        self._events.add("bus", "bus %d: polling pauses for %s" % (self.number, guest.name))
        try:
            await guest.run(self._open_line)
        except (OSError, MemoryError) as error:
            self._events.add("bus", "bus %d: %s: %r" % (self.number, guest.name, error))
        try:
            await seam.sleep_ms(_TIMEOUT_MS)  # what the guest asked may still be answered
        finally:
            self.guest = None
            self._events.add("bus", "bus %d: polling goes on" % self.number)

    def expire(self):
        """Once a second: what is too old may not answer any more."""
        self._seconds += 1
        if self._seconds >= _LOAD_S:
            busy_ms = self.counters.busy_ms - self._busy_mark
            self._busy_mark = self.counters.busy_ms
            self.load_percent = min(max(busy_ms, 0) // (10 * self._seconds), 100)
            self._seconds = 0
        now = seam.ticks_ms()
        for meter in self.meters:
            meter.expire(now, seam.ticks_diff)

    def _next(self):
        """(the client's request that goes next or None, how long those that wait are held up). A request is held up
        while a late answer could be taken for its own; others overtake it."""
        held_ms = _IDLE_MS
        for request in self._queue:
            left_ms = self._late.left_ms(request.frame, request.length)
            if not left_ms:
                self._queue.remove(request)
                return request, 0
            held_ms = min(held_ms, left_ms)
        return None, held_ms

    def _open(self):
        try:
            self.wire = transaction.Transaction(
                self._open_line(self.config), self.config, self.counters, self._late, self._events
            )
        except OSError as error:
            if self.line_error is None:
                self._events.add("bus", "bus %d: cannot open %s: %r" % (self.number, self.config["uart"], error))
            self.line_error = error
            return False
        self.line_error = None
        return True

    def _lost(self):
        """The line went away in the middle."""
        self.line_error = self.wire.line_error
        self._events.add("bus", "bus %d: line lost: %r" % (self.number, self.line_error))
        self.wire = None
        for meter in self.meters:
            meter.purge()

    def _fail_all(self, code):
        while self._queue:
            _tell(self._queue.pop(0), code, b"", 0, 0)

    async def _serve(self, request):
        """A client's request: on the wire, and its end to whoever waits for it."""
        if not request.unit:
            await self._broadcast(request)
            return
        meter = self.by_unit.get(request.unit)
        if meter is not None and meter.state == points.QUARANTINED:
            _tell(request, pdu.GATEWAY_TARGET_FAILED, b"", 0, 0)  # since it came, the meter has been given up
            return
        if not request.reads and meter is not None:
            _drop_written(meter, request.frame, request.length)
        # Only reads are repeated: a write may have been carried out although its answer was lost.
        retries = meter.retries if meter is not None and request.reads else 0
        self._current = request
        try:
            result = await self._exchange(request.frame, request.length, meter, retries)
        except Exception:  # a fault of ours: its owner must not wait for ever; the supervisor tells the rest
            _tell(request, pdu.SERVER_DEVICE_FAILURE, b"", 0, 0)
            raise
        still_wanted = self._current is request
        self._current = None
        if meter is not None:
            self._note(meter, result)
        if result == transaction.ANSWERED:
            code, buf, at, n = OK, self.wire.rx, self.wire.at, self.wire.n
        else:
            lost = result == transaction.LINE_DOWN
            code, buf, at, n = pdu.GATEWAY_PATH_UNAVAILABLE if lost else pdu.GATEWAY_TARGET_FAILED, b"", 0, 0
        # Those who asked the same while it was on the wire share its end.
        if request.reads:
            for other in self._queue[:]:
                if other.reads and other.equals(request):
                    self._queue.remove(other)
                    _tell(other, code, buf, at, n)
        if still_wanted:
            _tell(request, code, buf, at, n)

    async def _broadcast(self, request):
        for meter in self.meters:
            _drop_written(meter, request.frame, request.length)
        if await self.wire.broadcast(request.frame, request.length) == transaction.LINE_DOWN:
            self._lost()

    async def _poll(self, k):
        meter = self.meters[k]
        block = self.poller.block(k)
        function, first, count = meter.profile.plan[block]
        frame = self._frame
        frame[0] = meter.unit
        frame[1] = function
        frame[2] = first >> 8
        frame[3] = first & 0xFF
        frame[4] = count >> 8
        frame[5] = count & 0xFF
        length = rtu.close(frame, 6)
        held_ms = self._late.left_ms(frame, length)
        if held_ms:
            self.poller.hold(k, held_ms)
            return
        # A probe is not repeated: the meter is most likely still silent, and others wait.
        retries = 0 if meter.state == points.QUARANTINED else meter.retries
        result = await self._exchange(frame, length, meter, retries)
        self._note(meter, result)
        answered = result == transaction.ANSWERED
        if answered:
            self._take(meter, block)
        else:
            meter.fail(block)
        self.poller.done(k, answered)

    def _take(self, meter, block):
        """The poller's answer into its block."""
        wire = self.wire
        if wire.rx[wire.at + 1] & 0x80:
            code = wire.rx[wire.at + 2]
            if meter.refuse(block, code):
                function, first, count = meter.profile.plan[block]
                self._events.add(
                    "bus", "meter %s refuses registers %d to %d of function %d: exception %d"
                    % (meter.name, first, first + count - 1, function, code)
                )  # fmt: skip
            return
        until_ms = seam.ticks_add(seam.ticks_ms(), meter.max_age_ms)
        meter.take(block, wire.rx, wire.at + 3, until_ms, self._uptime_s())

    async def _exchange(self, frame, length, meter, retries):
        slowest_ms = _TIMEOUT_MS if meter is None else meter.timeout_ms
        while True:
            timeout_ms = _TIMEOUT_MS if meter is None else self.timeout_ms(meter)
            result = await self.wire.exchange(frame, length, timeout_ms, slowest_ms)
            if result == transaction.LINE_DOWN:
                self._lost()
                return result
            if result == transaction.ANSWERED or not retries:
                return result
            retries -= 1
            self.counters.retries += 1

    @staticmethod
    def why(meter):
        """What is wrong with the meter, as a text; "" when nothing is."""
        if meter.trouble & _RESULT == transaction.WRONG:
            return "wrong answers (%s)" % rtu.REASONS[meter.trouble >> _REASON]
        return "silent" if meter.trouble == transaction.TIMED_OUT else ""

    @staticmethod
    def timeout_ms(meter):
        """With auto_timeout three times the longest answer, once there were enough; at first, and after a failure, what
        is configured."""
        if meter.auto_timeout and not meter.failures and tally.answers(meter.words) >= _CALIBRATED_AFTER:
            return min(max(3 * tally.longest_ms(meter.words), _CALIBRATED_MIN_MS), meter.timeout_ms)
        return meter.timeout_ms

    def _note(self, meter, result):
        """What an exchange says of the meter's state. A line that is gone says nothing of it."""
        if result == transaction.LINE_DOWN:
            return
        meter.count(_REQUESTS)
        meter.trouble = result
        if result == transaction.ANSWERED:
            wire = self.wire
            if wire.rx[wire.at + 1] & 0x80:
                meter.count(_EXCEPTIONS)
                tally.exception(self.counters.codes, meter.unit, wire.rx[wire.at + 2])
            tally.answer(meter.words, wire.answer_ms)
            meter.failures = 0
            if meter.state != points.ONLINE:
                self._events.add("bus", "meter %s (unit %d) answers" % (meter.name, meter.unit))
                if meter.state == points.QUARANTINED:
                    self.poller.hurry(meter, 0)
                meter.state = points.ONLINE
            return
        if result == transaction.TIMED_OUT:
            meter.count(_TIMEOUTS)
        elif result == transaction.WRONG:
            meter.count(_ERRORS)
            meter.trouble |= self.wire.reason << _REASON
        meter.purge()
        meter.failures += 1
        if meter.failures >= _QUARANTINE_AFTER:
            if meter.state != points.QUARANTINED:
                self._events.add(
                    "bus", "meter %s (unit %d): %s, quarantined" % (meter.name, meter.unit, self.why(meter))
                )
                meter.state = points.QUARANTINED
                self.poller.hurry(meter, PROBE_FIRST_MS)  # whoever found out: the poller may be due in an hour
        else:
            meter.state = points.FAILING


def _tell(request, code, buf, at, n):
    """The end of a request to its owner. An owner that cannot take it closes; nobody else suffers."""
    if request.owner is None:
        return
    try:
        request.owner.on_answer(code, buf, at, n)
    except Exception as error:
        request.owner.fail(error)


def _drop_written(meter, frame, length):
    """Takes what a write overlaps out of the cache; all of the meter's when it cannot be told what is written."""
    function = frame[1]
    first, count = 0, 0x10000
    if function in (6, 22):
        first, count = frame[2] << 8 | frame[3], 1
    elif function == 16:
        first, count = frame[2] << 8 | frame[3], frame[4] << 8 | frame[5]
    elif function == 23:
        first, count = frame[6] << 8 | frame[7], frame[8] << 8 | frame[9]
    meter.drop(first, count)

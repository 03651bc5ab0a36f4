"""One Modbus RTU transaction at a time on one serial line.

The line is silent for t3.5 before a request; what lies in the receiver is thrown away and counted; the request goes
out; the answer is cut by its expected length and matched with the request (modbus.rtu). What does not match is never
taken for the answer. t3.5 is kept as a minimum only: these ports cannot see t1.5 (they poll, or deliver in chunks).

A request to which the late answer to another could be taken for its own waits until that can no longer come
(firmware.bus.late_replies).

The line (firmware/board) offers: stream, receive(buf, at), discard(), send(buf, n), finish(), close(), jitter_ms,
turn_ms, error.
"""

from micropython import const

from firmware.bus.late_replies import starts_with
from firmware.net import seam
from firmware.net.seam import ticks_add, ticks_diff, ticks_ms
from modbus import rtu
from modbus.rtu import find_answer, is_read_answer

_TYPING = const(0)
if _TYPING:
    from typing import Protocol

    from firmware.board import Line
    from firmware.bus.bus_stats import BusStats
    from firmware.bus.late_replies import LateReplies

    class Log(Protocol):
        """Events, or what stands for them."""

        def add(self, source: str, text: str) -> object:
            """Adds a line."""


ANSWERED = const(0)
TIMED_OUT = const(1)
WRONG = const(2)  # something came, and it was not the answer
LINE_DOWN = const(3)
ENDED = const(-1)  # what step() returns at the end of an exchange

# States of an exchange. From _SENDING on, what comes may be the answer.
_IDLE = const(0)  # there is none
_BEFORE = const(1)  # the line must fall silent first
_BROADCAST = const(2)  # was sent, and the meters carry it out
_SENDING = const(3)
_SILENT = const(4)  # nothing of the answer has come: the next byte is worth a look
_FLOWING = const(5)  # bytes come: the line falling silent is worth a look, they may end without telling their length
_PAUSED = const(6)  # the line is not looked at: the answer cannot be whole yet

_BUFFER = const(2 * 256)  # an echo or a foreign frame, and the answer behind it
_CHARACTER_BITS = const(11)  # Serial Line V1.02, 2.5.1: silence is counted in these, also at 8N1
_GAP_FAST_US = const(1750)  # 2.5.1.1: fixed above 19200 baud
_ANSWER_MIN = const(4)  # unit, function, CRC
_PAUSE_MIN_MS = const(3)  # a shorter rest of an answer is read as it comes


def gap_us(baud: int) -> int:
    """Returns t3.5 in microseconds: the silence that separates frames."""
    return _GAP_FAST_US if baud > 19200 else 3500000 * _CHARACTER_BITS // baud


class Transaction:
    """The wire of one bus. After an exchange that ended ANSWERED the answer is rx[at:at+n] until the next one; `view`
    is a memoryview of rx, for slices without a copy."""

    def __init__(
        self, line: "Line", config: dict, counters: "BusStats", late: "LateReplies", events: "Log",
        waker: "seam.Waker | None" = None,
    ):  # fmt: skip
        """`counters`: the bus's BusStats; `late`: its LateReplies; `events`: the log. `config`: the bus's section:
        "baud"; "gap_ms", the least silence before a request where some meter needs more than t3.5; "echo", whether the
        line repeats what is sent; "turnaround_ms" after a broadcast. `waker`: what the task waits with that calls
        step(), None for one of its own."""
        baud = config["baud"]
        self.counters = counters
        self.rx = bytearray(_BUFFER)
        self.view = memoryview(self.rx)
        self.at = 0
        self.n = 0
        self.line_error: "Exception | None" = None
        self._line: "Line | None" = line
        self._late = late
        self._events = events
        framing = config["framing"]
        # What a character really takes: a driver that is turned back too late speaks into the answer.
        self._character_us = (9 + (framing[1] != "N") + int(framing[2])) * 1000000 // baud
        self._gap_us = max(gap_us(baud), 1000 * config["gap_ms"])
        self._silence_ms = gap_us(baud) // 1000 + 1 + line.jitter_ms
        self._turnaround_ms = config["turnaround_ms"]
        self._echo = config["echo"]
        self.answer_ms = 0  # what the last answer took, from the last bit of its request
        self.reason = 0  # why what came last was not the answer (rtu.REASONS), 0 when nothing came
        self.result = ANSWERED  # of the last exchange
        self.waker = waker or seam.Waker()
        self._frame_ms = rtu.ADU_MAX * _CHARACTER_BITS * 1000 // baud + line.jitter_ms  # of the longest frame
        self._quiet_since_us = seam.ticks_us()
        # Of the exchange under way:
        self._state = _IDLE
        self._request: "bytearray | None" = None
        self._request_length = 0
        self._timeout_ms = 0
        self._slowest_ms = 0
        self._begun_ms = 0
        self._since_ms = 0  # of the state
        self._sent_ms = 0  # the last bit of the request
        self._end = 0  # of what has come
        self._seen_end = 0  # of it when step() looked last
        self._expected_end = 0  # where the answer must end that has begun to come, 0 when that is not known
        seam.watch(line.stream, self)

    def on_ready(self, events: int) -> None:
        """Takes the bytes that have come. Wakes the task only when they may be a whole answer, or are the first."""
        state = self._state
        if state < _SENDING:
            self._take_stale()
            return
        end = self._receive()
        length = rtu.answer_length(self.rx, 0, end, self._request_length)
        if length > end and state != _SENDING and self._pause_reading(length - end):
            return
        if state == _SILENT or length < 0 or 0 < length <= end:
            self.waker.wake()

    def _take_stale(self):
        """Takes bytes that nobody has asked for: perhaps a late answer."""
        line = self._line
        got = line.receive(self.view, 0)
        if line.error is not None:
            self.fail(line.error)
        self._quiet_since_us = seam.ticks_us()
        self.counters.stale_bytes += got
        if got > 1 and self._late.take_arrived(self.rx):
            self.waker.wake()

    def _receive(self):
        """Takes what has come behind what came before. Returns the end of it, 0 when the line is gone."""
        end = self._end
        got = self._line.receive(self.view, end)
        if not got:
            if self._line.error is not None:
                self.fail(self._line.error)
                return 0
            return end
        end += got
        self._quiet_since_us = seam.ticks_us()
        if end == _BUFFER:  # longer than anything that could be an answer
            self.counters.noise_bytes += end
            end = 0
        self._end = end
        return end

    def _pause_reading(self, rest):
        """Has step() called when the `rest` bytes that are missing from what looks like the answer must be there. They
        come one to four at a time, and each time would cost the loop as much as a client's request. Noise that looks
        like that puts the answer off by as much, once. Returns False for a rest that is not worth it."""
        rest_ms = rest * self._character_us // 1000 + 2  # ticks lose up to one of them
        if rest_ms < _PAUSE_MIN_MS or self._expected_end or self._echo:
            return False
        rx = self.rx
        if rx[0] != self._request[0] or rx[1] & 0x7F != self._request[1]:
            return False
        self._state = _PAUSED
        self._expected_end = self._end + rest
        seam.interest(self._line.stream, 0)
        self.waker.wake_in(rest_ms)  # where step() is due at once, it reads what is there, and goes on as without
        return True

    def fail(self, error: Exception) -> None:
        """Gives up the line: the serial device is gone or broken. The bus opens it again."""
        self.line_error = error
        self.close()
        self.waker.wake()

    def close(self) -> None:
        """Closes the line."""
        if self._line is not None:
            seam.unwatch(self._line.stream)
            self._line.close()
            self._line = None

    # An exchange is a sequence of steps and not a coroutine, which would be an object in the heap for each request.

    async def exchange(self, request: bytearray, length: int, timeout_ms: int) -> int:
        """begin() and all steps in one, for a caller that asks once in a while. Returns the result."""
        wait_ms = self.begin(request, length, timeout_ms)
        try:
            while wait_ms >= 0:
                await self.waker.wait_ms(wait_ms)
                wait_ms = self.step()
        finally:
            self.cancel()
        return self.result

    def begin(self, request: bytearray, length: int, timeout_ms: int, slowest_ms: int = 0) -> int:
        """Begins to send request[:length] and to wait up to timeout_ms, counted from its last bit, for the answer.
        Returns what step() does. Never two at once. A late answer is expected for as long as if `slowest_ms` were the
        time-out, where that is more: a time-out by auto_timeout tells when to give up, not how slow the meter can be.

        A request to unit 0 is a broadcast, which has no answer (Serial Line V1.02, 2.1): it is ANSWERED at the end of
        the turnaround time, in which the meters carry it out."""
        assert self._state == _IDLE
        self._request = request
        self._request_length = length
        self._timeout_ms = timeout_ms
        self._slowest_ms = slowest_ms
        self._begun_ms = self._since_ms = seam.ticks_ms()
        self._state = _BEFORE
        wait_ms = self._wait_for_silence()
        if wait_ms < 0:
            self._end_exchange()
        return wait_ms

    def step(self) -> int:
        """Goes on with the exchange. Returns for how many milliseconds to wait on `waker` before the next step, or
        ENDED: then `result` is ANSWERED, TIMED_OUT, WRONG or LINE_DOWN."""
        state = self._state
        if state >= _SILENT:
            wait_ms = self._look_for_answer(state)
        elif state == _BEFORE:
            wait_ms = self._wait_for_silence()
        elif state == _SENDING:
            wait_ms = self._wait_until_sent()
        elif state == _BROADCAST:
            wait_ms = self._wait_until_carried_out()
        else:
            return ENDED
        if wait_ms < 0:
            self._end_exchange()
        return wait_ms

    def cancel(self) -> None:
        """Ends an exchange before its end; does nothing without one."""
        if self._state != _IDLE:
            self.result = LINE_DOWN
            self._end_exchange()

    # -- before the answer

    def _wait_for_silence(self):
        """Sends once no late answer can pass for the answer, and the line has been silent for t3.5. Waits
        busily for less than a millisecond; gives up where the line does not fall silent for the time of a frame."""
        late = self._late
        left_ms = late.hold_ms(self._request, self._request_length) if late.expected else 0
        if left_ms:
            self._since_ms = ticks_add(ticks_ms(), left_ms)
            return left_ms
        passed_us = ticks_diff(seam.ticks_us(), self._quiet_since_us)
        while 0 <= passed_us < self._gap_us:
            if ticks_diff(ticks_ms(), self._since_ms) > self._frame_ms + self._gap_us // 1000:
                self.counters.noise_bytes += 1
                self.result = WRONG
                return ENDED
            left_us = self._gap_us - passed_us
            if left_us >= 1000:
                return left_us // 1000 + 1  # a wait of so many ticks ends up to one before
            seam.spin_us(left_us)
            passed_us = ticks_diff(seam.ticks_us(), self._quiet_since_us)
        if self._line is None:
            self.result = LINE_DOWN
            return ENDED
        return self._send()

    def _send(self):
        """Puts the request on the line; its last bit leaves as many characters later."""
        line = self._line
        request = self._request
        length = self._request_length
        counters = self.counters
        counters.stale_bytes += line.discard()
        self._end = self._seen_end = self._expected_end = 0
        self._state = _SENDING
        self.waker.clear()
        line.send(request, length)
        if line.error is not None:
            self.fail(line.error)
            self.result = LINE_DOWN
            return ENDED
        counters.sent += 1
        length_us = length * self._character_us
        length_ms = length_us // 1000
        self._sent_ms = ticks_add(ticks_ms(), length_ms)
        self._quiet_since_us = ticks_add(seam.ticks_us(), length_us)
        if line.turn_ms or self._echo:
            return self._wait_until_sent()
        # Without a direction pin nothing has to be done at the last bit.
        if not request[0]:
            return self._wait_for_answer()
        self._state = _SILENT
        return self._timeout_ms + length_ms

    def _wait_until_sent(self):
        """Releases the direction pin at the last bit."""
        line = self._line
        if line is not None:
            left_ms = ticks_diff(self._sent_ms, ticks_ms()) - line.turn_ms
            if left_ms > 0:
                return left_ms
            line.finish()
        self._sent_ms = ticks_ms()
        self._quiet_since_us = seam.ticks_us()
        return self._wait_for_answer()

    def _wait_for_answer(self):
        if not self._request[0]:
            self._state = _BROADCAST
            return self._wait_until_carried_out()
        return self._wait_for_bytes(False)

    def _wait_until_carried_out(self):
        """The turnaround time after a broadcast."""
        if self._line is None:
            self.result = LINE_DOWN
            return ENDED
        left_ms = ticks_diff(self._sent_ms, ticks_ms()) + self._turnaround_ms
        if left_ms > 0:
            return left_ms
        self.result = ANSWERED
        return ENDED

    # -- the answer

    def _look_for_answer(self, state):
        end = self._end
        line = self._line
        if state == _PAUSED and line is not None:
            seam.interest(line.stream, seam.READ)
        # Where nothing is known to have come the loop may have been late: what has come meanwhile is no silence.
        if line is not None and (state == _PAUSED or end == self._seen_end):
            end = self._receive()
        # Most often what has come is the answer and nothing else.
        if end and end == self._expected_end and is_read_answer(self.rx, end, self._request):
            self.at = 0
            self.n = end
            self.result = ANSWERED
            return ENDED
        has_come = state == _PAUSED or end != self._seen_end
        if (has_come or state == _FLOWING) and self._find_answer(not has_come):
            self.result = ANSWERED
            return ENDED
        return self._wait_for_bytes(has_come)

    def _wait_for_bytes(self, is_flowing):
        """For timeout_ms for the first bytes, and then as long as they keep coming, up to the time of a longest
        frame."""
        if self._line is None:
            self.result = LINE_DOWN
            return ENDED
        left_ms = self._timeout_ms - ticks_diff(ticks_ms(), self._sent_ms)
        if left_ms <= (-self._frame_ms if is_flowing else 0):
            self.result = self._count_failure()
            return ENDED
        self._state = _FLOWING if is_flowing else _SILENT
        self._seen_end = self._end
        return self._silence_ms if is_flowing else left_ms

    def _end_exchange(self):
        """Counts the exchange, and notes an answer that may still come."""
        now_ms = ticks_ms()
        counters = self.counters
        counters.add_busy(ticks_diff(now_ms, self._begun_ms))
        state = self._state
        self._state = _IDLE
        if state < _SENDING:  # nothing was sent that could be answered
            return
        if state == _PAUSED and self.result != ANSWERED:
            if self._line is not None:
                seam.interest(self._line.stream, seam.READ)
        if self.result == ANSWERED:
            counters.answered += 1
            self.answer_ms = max(0, ticks_diff(now_ms, self._sent_ms))
            counters.answer_times.add(self.answer_ms)
            if not self._late.expected:
                return
        self._expect_late()

    def _expect_late(self):
        request = self._request
        if self.result == WRONG and self.rx[0] == request[0] and self.rx[1] & 0x7F == request[1]:
            # A damaged answer is an answer: nothing more will come. The request's own echo is none.
            if not starts_with(self.rx, request, self._request_length):
                return
        timeout_ms = max(self._timeout_ms, self._slowest_ms)
        self._late.expect(request, self._request_length, self._sent_ms, timeout_ms, self.result == ANSWERED)

    # The way of an answer that comes as it should: in functions whose frames have at most 11 words, which MicroPython
    # keeps off the heap.

    def _find_answer(self, silent):
        """Returns whether an answer is in what has come; sets at and n."""
        end = self._end
        if end < (self._request_length if self._echo else _ANSWER_MIN):
            return False
        begin = self._echo_end() if self._echo else 0
        place = self._find_frame(silent, begin)
        if not place:
            return False
        self.at = place >> 16
        self.n = place & 0xFFFF
        self._count_answer(begin)
        return True

    def _find_frame(self, silent, begin):
        return find_answer(self.rx, self._end, self._request, self._request_length, silent, begin)

    def _count_answer(self, begin):
        counters = self.counters
        counters.noise_bytes += self.at
        if begin:
            counters.noise_bytes -= self._request_length
            counters.echoes += 1
        if self.rx[self.at + 1] & 0x80:
            counters.exceptions += 1
            counters.add_exception(0, self.rx[self.at + 2])

    def _echo_end(self):
        """Returns where the echo of the request ends in what has come, 0 without one. A stray byte may be before it.
        Taken for the answer, which looks the same for functions 5 and 6, it would confirm what no meter has done."""
        length = self._request_length
        for at in range(self._end - length + 1):
            if starts_with(self.rx, self._request, length, at):
                return at + length
        return 0

    def _count_failure(self):
        """Counts what came instead of the answer, by kind. Returns TIMED_OUT or WRONG."""
        end = self._end
        counters = self.counters
        self.reason = 0
        if self._echo and end >= self._request_length and self._echo_end() == end:
            counters.echoes += 1
            counters.noise_bytes += end - self._request_length
            end = 0
        if not end:
            counters.timeouts += 1
            return TIMED_OUT
        reason = rtu.mismatch(self.rx, 0, end, self._request, self._request_length)
        length = rtu.answer_length(self.rx, 0, end, self._request_length)
        if reason == rtu.BAD_CRC and 0 < length < end:
            reason = rtu.mismatch(self.rx, 0, length, self._request, self._request_length)
        if reason == rtu.BAD_CRC or end < 4:
            counters.crc += 1
        else:
            counters.foreign += 1
        counters.wrong[reason] += 1
        self.reason = reason
        self._events.add(
            "bus", "unit %d: no answer to function %d, but %d bytes with wrong %s"
            % (self._request[0], self._request[1], end, rtu.REASONS[reason])
        )  # fmt: skip
        return WRONG

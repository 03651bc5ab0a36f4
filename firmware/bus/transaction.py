"""One Modbus RTU transaction at a time on one serial line.

The line is silent for t3.5 before a request; what lies in the receiver is thrown away and counted; the request goes
out; the answer is cut by its expected length and matched with the request (modbus.rtu). What does not match is never
taken for the answer. t3.5 is kept as a minimum only: these ports cannot see t1.5 (they poll, or deliver in chunks).

A request to which the late answer to another could be taken for its own waits until that can no longer come
(firmware.bus.late_replies).

The line (firmware/board) offers: stream, receive(buf, at), discard(), send(buf, n), finish(), close(), jitter_ms.
"""

from micropython import const

from firmware.bus.late_replies import starts_with
from firmware.net import seam
from modbus import rtu
from modbus.rtu import find_answer

_TYPING = const(0)
if _TYPING:
    from typing import Protocol

    from firmware.board import Line
    from firmware.bus.bus_stats import BusStats
    from firmware.bus.late_replies import LateReplies
    from modbus.pdu import Buffer

    class Log(Protocol):
        """Events, or what stands for them."""

        def add(self, source: str, text: str) -> object:
            """Adds a line."""


ANSWERED = const(0)
TIMED_OUT = const(1)
WRONG = const(2)  # something came, and it was not the answer
LINE_DOWN = const(3)

_BUFFER = const(2 * 256)  # an echo or a foreign frame, and the answer behind it
_CHARACTER_BITS = const(11)  # Serial Line V1.02, 2.5.1: silence is counted in these, also at 8N1
_GAP_FAST_US = const(1750)  # 2.5.1.1: fixed above 19200 baud
_ANSWER_MIN = const(4)  # unit, function, CRC
_LAST = const(4)  # bytes of an answer that are watched coming: the silence after them is counted from the last one
_PAUSE_MIN_MS = const(3)  # for less it is not worth it to look away


def gap_us(baud: int) -> int:
    """Returns t3.5 in microseconds: the silence that separates frames."""
    return _GAP_FAST_US if baud > 19200 else 3500000 * _CHARACTER_BITS // baud


class Transaction:
    """The wire of one bus. After an exchange that ended ANSWERED the answer is rx[at:at+n] until the next one; `view`
    is a memoryview of rx, for slices without a copy."""

    def __init__(self, line: "Line", config: dict, counters: "BusStats", late: "LateReplies", events: "Log"):
        """`counters`: the bus's BusStats; `late`: its LateReplies; `events`: the log. `config`: the bus's section:
        "baud"; "gap_ms", the least silence before a request where some meter needs more than t3.5; "echo", whether the
        line repeats what is sent; "turnaround_ms" after a broadcast."""
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
        self._frame_ms = rtu.ADU_MAX * _CHARACTER_BITS * 1000 // baud + line.jitter_ms  # of the longest frame
        self._waker = seam.Waker()
        self._end = 0
        self._quiet_since_us = seam.ticks_us()
        self._request: "Buffer | None" = None  # of the exchange under way
        self._request_length = 0
        self._sent_ms = 0
        self._awaits_silence_or_byte = False  # nothing comes: the next byte is worth a look
        self._may_pause_reading = False  # once in an exchange
        self._is_reading_paused = False  # the line is not looked at, since the answer cannot be whole yet
        self._pause_ms = 0  # for how long, where no task waits that could be woken at the end
        seam.watch(line.stream, self)

    def on_ready(self, events: int) -> None:
        """Takes the bytes that have come. Wakes the task only when they may be a whole answer, or are the first."""
        end = self._end if self._request is not None else 0
        got = self._line.receive(self.view, end)
        self._quiet_since_us = seam.ticks_us()
        if self._request is None:
            self.counters.stale_bytes += got
            if got > 1 and self._late.take_arrived(self.rx):
                self._waker.wake()
            return
        self._end = end = end + got
        if end == len(self.rx):  # longer than anything that could be an answer
            self.counters.noise_bytes += end
            self._end = 0
            return
        length = rtu.answer_length(self.rx, 0, end, self._request_length)
        if length > end and self._may_pause_reading:
            self._pause_reading(length - end)
        if self._awaits_silence_or_byte or length < 0 or 0 < length <= end:
            self._awaits_silence_or_byte = False
            self._waker.wake()

    def _pause_reading(self, rest):
        """`rest` bytes are missing from what looks like the answer: they come one to four at a time, and each time
        would cost the loop as much as a client's request. Noise that looks like that puts the answer off by as much,
        once."""
        rest_ms = (rest - _LAST) * self._character_us // 1000
        rx = self.rx
        if rest_ms >= _PAUSE_MIN_MS and rx[0] == self._request[0] and rx[1] & 0x7F == self._request[1]:
            self._may_pause_reading = False
            self._is_reading_paused = True
            seam.interest(self._line.stream, 0)
            self._pause_ms = 0 if self._waker.wake_in(rest_ms) else rest_ms
            self._awaits_silence_or_byte = False

    def fail(self, error: Exception) -> None:
        """Gives up the line: the serial device is gone or broken. The bus opens it again."""
        self.line_error = error
        self.close()
        self._waker.wake()

    def close(self) -> None:
        """Closes the line."""
        if self._line is not None:
            seam.unwatch(self._line.stream)
            self._line.close()
            self._line = None

    def _resume_reading(self):
        """Ends what _pause_reading() has begun."""
        if self._is_reading_paused:
            self._is_reading_paused = False
            if self._line is not None:
                seam.interest(self._line.stream, seam.READ)

    # One coroutine for all of it: each that is awaited is an object of its own in the heap.

    async def exchange(self, request: "Buffer", length: int, timeout_ms: int, slowest_ms: int = 0) -> int:
        """Sends request[:length] and waits up to timeout_ms, counted from its last bit, for the answer. Returns
        ANSWERED, TIMED_OUT, WRONG or LINE_DOWN. Never two at once. A late answer is expected for as long as if
        `slowest_ms` were the time-out, where that is more: a time-out by auto_timeout tells when to give up, not how
        slow the meter can be.

        A request to unit 0 is a broadcast, which has no answer (Serial Line V1.02, 2.1): it is ANSWERED at the end of
        the turnaround time, in which the meters carry it out."""
        assert self._request is None
        begin_ms = self._sent_ms = seam.ticks_ms()
        result = LINE_DOWN
        try:
            left = self._late.hold_ms(request, length)
            while left:
                await self._waker.wait_ms(left)
                left = self._late.hold_ms(request, length)
            since_ms = seam.ticks_ms()
            left = self._gap_left_us()
            while left:
                if seam.ticks_diff(seam.ticks_ms(), since_ms) > self._frame_ms + self._gap_us // 1000:
                    self.counters.noise_bytes += 1
                    return WRONG  # the line does not fall silent for the time of a frame
                if left < 1000:
                    seam.spin_us(left)
                else:
                    await seam.sleep_ms(left // 1000)
                left = self._gap_left_us()
            if self._line is None:
                return LINE_DOWN
            self._send(request, length)
            await seam.sleep_ms(max(0, length * self._character_us // 1000 - self._line.turn_ms))
            self._finish_sending()
            if not request[0]:
                await seam.sleep_ms(self._turnaround_ms)
                result = LINE_DOWN if self._line is None else ANSWERED
                return result
            # timeout_ms for the first bytes, and then as long as they keep coming, up to the time of a longest frame
            since_ms = seam.ticks_ms()
            is_flowing = False
            while self._line is not None:
                if self._is_reading_paused:
                    if self._pause_ms:
                        await seam.sleep_ms(self._pause_ms)
                    self._resume_reading()
                left = timeout_ms - seam.ticks_diff(seam.ticks_ms(), since_ms)
                if left <= (-self._frame_ms if is_flowing else 0):
                    break
                end = self._end
                # Once something came, the line falling silent means: look at it, it may end without telling its length.
                self._awaits_silence_or_byte = not is_flowing
                has_come = await self._waker.wait_ms(self._silence_ms if is_flowing else left)
                has_come = has_come or self._end != end
                if self._is_reading_paused:
                    is_flowing = True
                    continue
                if (has_come or is_flowing) and self._find_answer(not has_come):
                    result = ANSWERED
                    break
                is_flowing = has_come
            if result != ANSWERED and self._line is not None:
                result = self._count_failure()
        except OSError as error:
            self.fail(error)
        finally:
            self._end_exchange(request, length, max(timeout_ms, slowest_ms), result)
            self.counters.add_busy(seam.ticks_diff(seam.ticks_ms(), begin_ms))
        return result

    def _gap_left_us(self):
        """Returns what is left of t3.5 since the last byte; 0: the line is silent."""
        passed_us = seam.ticks_diff(seam.ticks_us(), self._quiet_since_us)
        return self._gap_us - passed_us if 0 <= passed_us < self._gap_us else 0

    def _send(self, request, length):
        """Puts request[:length] on the line; its last bit leaves length characters later. Raises OSError."""
        counters = self.counters
        counters.stale_bytes += self._line.discard()
        self._end = 0
        if request[0]:
            self._request = request
            self._request_length = length
            self._may_pause_reading = not self._echo
            self._waker.clear()
        self._line.send(request, length)
        counters.sent += 1

    def _finish_sending(self):
        if self._line is not None:
            self._line.finish()
        self._sent_ms = seam.ticks_ms()
        self._quiet_since_us = seam.ticks_us()

    def _end_exchange(self, request, length, timeout_ms, result):
        """Ends the exchange: counts it, and notes an answer that may still come."""
        if self._request is None:  # nothing was sent that could be answered
            return
        self._request = None
        self._resume_reading()
        if result == ANSWERED:
            self.counters.answered += 1
            self.answer_ms = seam.ticks_diff(seam.ticks_ms(), self._sent_ms)
            self.counters.answer_times.add(self.answer_ms)
            if not len(self._late):
                return
        self._expect_late(request, length, timeout_ms, result)

    def _expect_late(self, request, length, timeout_ms, result):
        if result == WRONG and self.rx[0] == request[0] and self.rx[1] & 0x7F == request[1]:
            # A damaged answer is an answer: nothing more will come. The request's own echo is none.
            if not starts_with(self.rx, request, length):
                return
        self._late.expect(request, length, self._sent_ms, timeout_ms, result == ANSWERED)

    # The way of an answer that comes as it should: in functions whose frames have at most 11 words, which MicroPython
    # keeps off the heap.

    def _find_answer(self, silent):
        """Returns whether an answer is in what has come; sets at and n."""
        if self._end < (self._request_length if self._echo else _ANSWER_MIN):
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

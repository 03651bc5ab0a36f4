"""One Modbus RTU transaction at a time on one serial line.

The line is silent for t3.5 before a request; what lies in the receiver is thrown away and counted; the request goes
out; the answer is cut by its expected length and matched with the request (modbus.rtu). What does not match is never
taken for the answer. t3.5 is kept as a minimum only: these ports cannot see t1.5 (they poll, or deliver in chunks).

A late answer is the trap of every gateway: it may have unit, function and length of the next request. So each request
that went out and got no answer is remembered, and another request to which its answer could pass for the right one
waits: until that answer has come and been thrown away, or has been late for three time-outs.

The line (firmware/board) offers: stream, receive(buf, at), discard(), send(buf, n), finish(), close(), jitter_ms.
"""

from micropython import const

from firmware.net import seam
from modbus import rtu

ANSWERED = const(0)
TIMED_OUT = const(1)
WRONG = const(2)  # something came, and it was not the answer
LINE_DOWN = const(3)

_BUFFER = const(2 * 256)  # an echo or a foreign frame, and the answer behind it
_CHARACTER_BITS = const(11)  # Serial Line V1.02, 2.5.1: also counted for 8N1, whose frames end earlier
_LATE_MAX = const(8)  # answers that may still come
_LATE_TIMEOUTS = const(4)  # after its request: the time-out, and three more
_LATE_MIN_MS = const(1000)
_LATE_EVER_MS = const(40000)  # four times the longest time-out of the configuration
_GAP_FAST_US = const(1750)  # 2.5.1.1: fixed above 19200 baud


class Counters:
    """What happened on one bus since boot."""

    def __init__(self):
        self.sent = 0
        self.answered = 0
        self.timeouts = 0
        self.retries = 0
        self.exceptions = 0
        self.crc = 0
        self.foreign = 0  # whole frames that were not the answer: other unit, function, length or content
        self.noise_bytes = 0  # in front of an answer
        self.stale_bytes = 0  # in the receiver before a request was sent
        self.busy_ms = 0  # time spent in transactions, gaps included


def gap_us(baud):
    """t3.5 in microseconds: the silence that separates frames."""
    return _GAP_FAST_US if baud > 19200 else 3500000 * _CHARACTER_BITS // baud


class Transaction:
    """The wire of one bus. After an exchange that ended ANSWERED the answer is rx[at:at+n] until the next one."""

    def __init__(self, line, baud, counters, events):
        self.counters = counters
        self.rx = bytearray(_BUFFER)
        self.at = 0
        self.n = 0
        self.line_error = None
        self._line = line
        self._events = events
        self._character_us = _CHARACTER_BITS * 1000000 // baud
        self._gap_us = gap_us(baud)
        self._silence_ms = self._gap_us // 1000 + 1 + line.jitter_ms
        self._frame_ms = rtu.ADU_MAX * self._character_us // 1000 + line.jitter_ms  # of the longest frame
        self._waker = seam.Waker()
        self._end = 0
        self._quiet_since_us = seam.ticks_us()
        self._request = None  # of the exchange that is under way
        self._request_length = 0
        self._late = []  # [frame, until (ticks)] of each request whose answer may still come
        self._sent_ms = 0
        seam.watch(line.stream, self)

    def on_ready(self, events):
        """Bytes have come. The task is woken only when they may be a whole answer, or are the first."""
        end = self._end if self._request is not None else 0
        got = self._line.receive(self.rx, end)
        self._quiet_since_us = seam.ticks_us()
        if self._request is None:
            self.counters.stale_bytes += got
            if got > 1 and self._late:
                self._late_came()
            return
        self._end = end = end + got
        if end == len(self.rx):  # longer than anything that could be an answer
            self.counters.noise_bytes += end
            self._end = 0
            return
        length = rtu.answer_length(self.rx, 0, end, self._request_length)
        if end == got or length < 0 or 0 < length <= end:
            self._waker.wake()

    def fail(self, error):
        """The serial device is gone or broken; the bus opens it again."""
        self.line_error = error
        self.close()
        self._waker.wake()

    def close(self):
        if self._line is not None:
            seam.unwatch(self._line.stream)
            self._line.close()
            self._line = None

    async def exchange(self, request, length, timeout_ms):
        """Sends request[:length] and waits up to timeout_ms, counted from its last bit, for the answer. Returns
        ANSWERED, TIMED_OUT, WRONG or LINE_DOWN. Never two at once."""
        assert self._request is None
        counters = self.counters
        begin_ms = seam.ticks_ms()
        try:
            while True:
                left_ms = self.late_ms(request, length)
                if not left_ms:
                    break
                await self._waker.wait_ms(left_ms)
            if not await self._silence():
                counters.noise_bytes += 1
                return WRONG
            if self._line is None:
                return LINE_DOWN
            counters.stale_bytes += self._line.discard()
            self._end = 0
            self._request = request
            self._request_length = length
            self._waker.clear()
            self._line.send(request, length)
            counters.sent += 1
            await seam.sleep_ms(length * self._character_us // 1000)
            if self._line is None:
                return LINE_DOWN
            self._line.finish()
            self._sent_ms = seam.ticks_ms()
            self._quiet_since_us = seam.ticks_us()
            result = await self._answer(timeout_ms)
        except OSError as error:
            self.fail(error)
            return LINE_DOWN
        finally:
            self._request = None
            counters.busy_ms += seam.ticks_diff(seam.ticks_ms(), begin_ms)
        if result == ANSWERED:
            counters.answered += 1
        # A damaged answer is an answer: nothing more will come. The request's own echo is none.
        damaged = result == WRONG and self.rx[0] == request[0] and self.rx[1] & 0x7F == request[1]
        damaged = damaged and not _same(self.rx[:length], request, length)
        if result != LINE_DOWN and not damaged:
            self._expect_late(request, length, max(_LATE_TIMEOUTS * timeout_ms, _LATE_MIN_MS), result == ANSWERED)
        return result

    def _expect_late(self, request, length, late_ms, answered):
        """Notes that an answer to this request may still come, until `late_ms` after its last bit. Also after an
        answer, when the same request had failed before: then that may have been the late answer to the first, and
        the one to this is still under way."""
        until_ms = seam.ticks_add(self._sent_ms, late_ms)
        if answered:
            for entry in self._late:
                if _same(entry[0], request, length):
                    entry[1] = until_ms
                    return
            return
        if len(self._late) == _LATE_MAX:
            self._late.pop(0)
        self._late.append([bytes(request[:length]), until_ms])

    def _late_came(self):
        """Bytes have come that nobody asked for: if they begin like an answer that was late, it is late no more."""
        for entry in self._late:
            if entry[0][0] == self.rx[0] and entry[0][1] == self.rx[1] & 0x7F:
                self._late.remove(entry)
                self._waker.wake()
                return

    def late_ms(self, request, length):
        """For how long a late answer to another request could still pass for one to request[:length]: it has the
        same unit and function. 0 when none can."""
        most_ms = 0
        for entry in self._late[:]:
            frame = entry[0]
            left_ms = seam.ticks_diff(entry[1], seam.ticks_ms())
            if left_ms <= 0 or left_ms > _LATE_EVER_MS:  # over; beyond ever when the ticks have wrapped since
                self._late.remove(entry)
            elif frame[0] == request[0] and frame[1] == request[1] and not _same(frame, request, length):
                most_ms = max(most_ms, left_ms)
        return most_ms

    async def _silence(self):
        """Waits for t3.5 since the last byte. False when the line does not fall silent for the time of a frame."""
        gap_us = self._gap_us
        begin_ms = seam.ticks_ms()
        most_ms = self._frame_ms + gap_us // 1000
        while True:
            waited_us = seam.ticks_diff(seam.ticks_us(), self._quiet_since_us)
            if not 0 <= waited_us < gap_us:
                return True
            if seam.ticks_diff(seam.ticks_ms(), begin_ms) > most_ms:
                return False
            left_us = gap_us - waited_us
            if left_us < 1000:
                seam.spin_us(left_us)
            else:
                await seam.sleep_ms(left_us // 1000)

    async def _answer(self, timeout_ms):
        """Waits for the bytes that make an answer: timeout_ms for the first, and then as long as they keep coming, up
        to the time of the longest frame."""
        waker = self._waker
        begin_ms = seam.ticks_ms()
        flowing = False
        while self._line is not None:
            passed_ms = seam.ticks_diff(seam.ticks_ms(), begin_ms)
            if passed_ms >= (timeout_ms + self._frame_ms if flowing else timeout_ms):
                break
            end = self._end
            # Once something came, the line falling silent means: look at it, it may end without telling its length.
            woken = await waker.wait_ms(self._silence_ms if flowing else timeout_ms - passed_ms)
            came = self._end != end
            if (woken or came or flowing) and self._found(not (woken or came)):
                return ANSWERED
            flowing = came
        if self._line is None:
            return LINE_DOWN
        return self._no_answer()

    def _found(self, silent):
        """Whether an answer is in what has come; sets at and n."""
        end = self._end
        if end < 4:
            return False
        place = rtu.find_answer(self.rx, end, self._request, self._request_length, silent)
        if not place:
            return False
        self.at = place >> 16
        self.n = place & 0xFFFF
        self.counters.noise_bytes += self.at
        if self.rx[self.at + 1] & 0x80:
            self.counters.exceptions += 1
        return True

    def _no_answer(self):
        """Counts what came instead of the answer, by kind."""
        end = self._end
        counters = self.counters
        if not end:
            counters.timeouts += 1
            return TIMED_OUT
        reason = rtu.why_not(self.rx, 0, end, self._request, self._request_length)
        length = rtu.answer_length(self.rx, 0, end, self._request_length)
        if reason == rtu.BAD_CRC and 0 < length < end:
            reason = rtu.why_not(self.rx, 0, length, self._request, self._request_length)
        if reason == rtu.BAD_CRC or end < 4:
            counters.crc += 1
        else:
            counters.foreign += 1
        self._events.add(
            "bus", "unit %d: no answer to function %d, but %d bytes with wrong %s"
            % (self._request[0], self._request[1], end, rtu.REASONS[reason])
        )  # fmt: skip
        return WRONG


def _same(frame, request, length):
    """Whether request[:length] is the very request in `frame`."""
    if len(frame) != length:
        return False
    for i in range(length):
        if frame[i] != request[i]:
            return False
    return True

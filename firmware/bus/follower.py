"""The wire of a bus that another master polls: cuts what comes into frames, and matches answers with requests.

Frames are cut by the length that their function and counts tell and by their CRC; a silence of t3.5 only ends what
cannot become a frame any more. (These ports see no t3.5 reliably: they poll, or deliver in chunks.) An answer is taken
only directly behind its request, with its unit, function and count of bytes; a stray byte between the two ends that.
"""

from micropython import const

from firmware.bus.late_replies import starts_with
from firmware.bus.transaction import TIMED_OUT, WRONG, gap_us
from firmware.net import seam
from firmware.net.seam import ticks_diff
from modbus import pdu, rtu
from modbus.crc import crc16

_TYPING = const(0)
if _TYPING:
    from firmware.board import Line
    from firmware.bus.bus_stats import BusStats
    from firmware.bus.listening import ListeningBus

_BUFFER = const(2 * 256)
_FRAME_MIN = const(4)  # unit, function, CRC
_UNIT_MAX = const(247)  # Serial Line V1.02, 2.2
_NOISE_MIN = const(3)  # bytes: a driver that is switched makes one or two
_NOISE_STEP = const(8)  # bytes of a request to read
_NO = const(0)  # there is no such frame
_IDLE_MS = const(60000)


class Follower:
    """The wire: cuts what comes on `line` into frames and matches answers with requests.

    It tells `owner`, a ListeningBus: on_request() with the request in request[:request_length], on_answer() with the
    answer in rx[at:at+n], on_unanswered(how), on_foreign(unit) after an answer to nothing, on_unknown(unit) after a
    frame of an unknown function, on_noise()."""

    def __init__(
        self, line: "Line", config: dict, counters: "BusStats", owner: "ListeningBus", waker: "seam.Waker"
    ) -> None:
        self.line_error: "Exception | None" = None
        self.rx = bytearray(_BUFFER)
        self.at = 0  # of the answer
        self.n = 0
        self.request = bytearray(rtu.ADU_MAX)
        self.request_length = 0  # 0: what comes next is no answer
        self.asked_ms = 0  # ticks of its last byte
        self.answer_ms = 0  # what the last answer took
        self._line: "Line | None" = line
        self._counters = counters
        self._owner = owner
        self._waker = waker
        self._silence_ms = gap_us(config["baud"]) // 1000 + 1 + line.jitter_ms
        self._view = memoryview(self.rx)
        self._end = 0  # of what has come and is in no frame yet
        self._needed = 0  # bytes, before another look is worth it
        self._last_ms = 0  # ticks of the last byte
        self._noise = 0  # bytes of noise since the last frame
        seam.watch(line.stream, self)

    def on_ready(self, events: int) -> None:
        """Takes the bytes that have come."""
        before = self._end
        if self._receive() and not before and self._end:
            self._waker.wake()  # for the silence behind it

    def _receive(self):
        """Takes the bytes that have come, and follows them. Returns their number."""
        got = self._line.receive(self._view, self._end)
        if got:
            self._end += got
            self._last_ms = seam.ticks_ms()
            if self._end >= self._needed:
                self._follow(False)
        elif self._line.error is not None:
            self.fail(self._line.error)
        return got

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

    def wait_ms(self) -> int:
        """Ends frames when the line has been silent for t3.5. Returns for how long to wait before the next call."""
        if self._end:
            left_ms = self._silence_ms - ticks_diff(seam.ticks_ms(), self._last_ms)
            if left_ms > 0:
                return min(left_ms, self._silence_ms)
            # The loop may have been late: what has come meanwhile was no silence.
            if self._receive():
                return self._silence_ms
            if self._line is None:
                return 0
            self._follow(True)
        return _IDLE_MS

    def give_up(self, limit_ms: int) -> None:
        """Expects no answer any more to a request that is older than that."""
        if self.request_length and ticks_diff(seam.ticks_ms(), self.asked_ms) > limit_ms:
            self._end_request(TIMED_OUT)

    # -- frames

    def _follow(self, is_silent):
        """Takes all frames out of rx[:_end]. `is_silent`: nothing more will come of what is there."""
        at = 0
        self._needed = 0
        while at < self._end:
            n = self._take_frame(at, is_silent)
            if n > 0:
                at += n
                self._noise = 0
            elif n < 0:
                self._needed = -n
                break
            else:
                self._take_noise(at)
                at += 1
        self._end -= at
        if at:
            for k in range(self._end):
                self.rx[k] = self.rx[at + k]

    def _take_noise(self, at):
        self._counters.noise_bytes += 1
        self._noise += 1
        if self.request_length:
            is_damaged = starts_with(self.rx, self.request, 2, at) if at + 1 < self._end else False
            self._end_request(WRONG if is_damaged else TIMED_OUT)
        if self._noise % _NOISE_STEP == _NOISE_MIN:
            self._owner.on_noise()

    def _take_frame(self, at, is_silent):
        """Takes the frame that begins at rx[at]. Returns its length; _NO when there is none; -n when n bytes from there
        on are needed to know."""
        rest = self._end - at
        if rest < _FRAME_MIN:
            return _NO if is_silent else -_FRAME_MIN
        answer = self._answer_length(at, rest, is_silent) if self.request_length else _NO
        request = _NO
        # A repeated read goes first, and a stray zero behind it leaves the CRC right. Writes are confirmed by an echo.
        if answer <= 0 or self.request[1] < 5:
            request = self._request_length(at, rest)
            if request > 0:
                return self._take_request(at, request)
        if answer > 0:
            return self._take_answer(at, answer)
        foreign = self._foreign_length(at, rest, is_silent)
        if foreign > 0:
            return self._take_foreign(at, foreign)
        if is_silent:
            return _NO
        return _fewest(answer, _fewest(request, foreign))

    def _answer_length(self, at, rest, is_silent):
        """The same for a frame that answers the request."""
        rx = self.rx
        request = self.request
        function = request[1]
        if rx[at] != request[0] or rx[at + 1] & 0x7F != function:
            return _NO
        n = rtu.answer_length(rx, at, self._end, self.request_length)
        if n == rtu.SILENCE and is_silent:
            n = rest
        if n <= 0:
            return -rest - 1
        if rx[at + 1] == function and 3 <= function <= 4 and n != 5 + 2 * (request[4] << 8 | request[5]):
            return _NO
        return self._checked(at, n, rest)

    def _request_length(self, at, rest):
        """The same for a frame that is a request."""
        rx = self.rx
        n = rtu.request_length(rx, at, self._end)
        if rx[at] > _UNIT_MAX or n == rtu.SILENCE:
            return _NO
        if n == rtu.MORE:
            return -rest - 1
        n = self._checked(at, n, rest)
        if n > 0 and (pdu.check_request(rx, at + 1, n - 3) or not rx[at] and pdu.is_read(rx, at + 1, n - 3)):
            return _NO
        return n

    def _foreign_length(self, at, rest, is_silent):
        """The same for any other frame."""
        rx = self.rx
        if not 0 < rx[at] <= _UNIT_MAX or not rx[at + 1] & 0x7F:
            return _NO
        n = rtu.answer_length(rx, at, self._end, 8)
        if n == rtu.SILENCE and is_silent:
            n = rest
        return self._checked(at, n, rest) if n > 0 else -rest - 1

    def _checked(self, at, n, rest):
        """n when the frame of that length is whole and its CRC right, -n when it is not whole yet, else _NO."""
        if n > rtu.ADU_MAX or n < _FRAME_MIN:
            return _NO
        if n > rest:
            return -n
        return _NO if crc16(self.rx, at + n, at) else n

    def _take_request(self, at, n):
        if self.request_length:
            self._end_request(TIMED_OUT)
        for k in range(n):
            self.request[k] = self.rx[at + k]
        self._counters.sent += 1
        self.asked_ms = self._last_ms
        if self.request[0]:  # a broadcast has no answer
            self.request_length = n
        self._owner.on_request()
        return n

    def _take_answer(self, at, n):
        if rtu.mismatch(self.rx, at, n, self.request, self.request_length) != rtu.MATCH:
            return self._take_foreign(at, n)
        self.at = at
        self.n = n
        self.request_length = 0
        self.answer_ms = max(0, ticks_diff(self._last_ms, self.asked_ms))
        counters = self._counters
        counters.answered += 1
        counters.answer_times.add(self.answer_ms)
        counters.add_busy(self.answer_ms)
        if self.rx[at + 1] & 0x80:
            counters.exceptions += 1
            counters.add_exception(0, self.rx[at + 2])
        self._owner.on_answer()
        return n

    def _take_foreign(self, at, n):
        """Takes a frame that answers nothing: a late answer, or one whose request was not understood."""
        if self.request_length:
            self._end_request(TIMED_OUT)
        self._counters.foreign += 1
        self._counters.wrong[rtu.OTHER_CONTENT] += 1
        if rtu.answer_length(self.rx, at, at + n, 8) == rtu.SILENCE:
            self._owner.on_unknown(self.rx[at])
        self._owner.on_foreign(self.rx[at])
        return n

    def _end_request(self, how):
        counters = self._counters
        if how == TIMED_OUT:
            counters.timeouts += 1
        else:
            counters.crc += 1
            counters.wrong[rtu.BAD_CRC] += 1
        self._owner.on_unanswered(how)
        self.request_length = 0


def _fewest(one, other):
    """Of two counts of needed bytes, both as -n or 0, the lower; _NO where both are 0 or longer than a frame."""
    if one < -rtu.ADU_MAX:
        one = _NO
    if other < -rtu.ADU_MAX:
        other = _NO
    return max(one, other) if one and other else one or other

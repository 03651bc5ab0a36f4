"""A bus that another master polls: its requests and their answers are followed, and nothing is ever sent.

What is read is stored in the meters' blocks as if this gateway had asked, so cache, readings and services are the same.

Frames are cut by the length that their function and counts tell and by their CRC; a silence of t3.5 only ends what
cannot become a frame any more. (These ports see no t3.5 reliably: they poll, or deliver in chunks.) An answer is taken
only directly behind its request, with its unit, function and count of bytes; a stray byte between the two ends that.

A late answer to another request may have all that too. So of each meter it is known which answers it may still owe, in
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

from firmware.bus.bus import Bus, drop_written
from firmware.bus.late_replies import starts_with
from firmware.bus.request import OK, Request
from firmware.bus.transaction import TIMED_OUT, WRONG, gap_us
from firmware.meters.block import Part, copy
from firmware.meters.meter import FAILING, ONLINE
from firmware.net import seam
from firmware.net.seam import ticks_add, ticks_diff
from modbus import pdu, rtu
from modbus.crc import crc16

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.board import Line
    from firmware.bus.bus_stats import BusStats
    from firmware.meters.block import Block
    from firmware.meters.meter import Meter
    from modbus.pdu import Buffer

_BUFFER = const(2 * 256)
_FRAME_MIN = const(4)  # unit, function, CRC
_UNIT_MAX = const(247)  # Serial Line V1.02, 2.2
_READ_LENGTH = const(6)  # of a request to read registers, without its CRC
_NOISE_MIN = const(3)  # bytes: a driver that is switched makes one or two
_NOISE_STEP = const(8)  # bytes of a request to read
_NO = const(0)  # there is no such frame

_TIMEOUTS = const(4)  # for so many an answer is owed
_OWED_MIN_MS = const(1000)
_WAITED_MAX_MS = const(40000)  # four of the longest time-out of the configuration
_REOPEN_MS = const(1000)
_IDLE_MS = const(60000)
_FAILURES = const(3)  # in a row, after which a meter is failing
_UNASKED_S = const(60)  # without an answer, after which a meter is failing
_INCOMPLETE_MAX = const(3)  # times in a row
_MORE_BLOCKS_MAX = const(40)  # than the profile's plan has: about 6 KB of heap for each meter at worst
_NAMED_MAX = const(3)

_OWED_MAX = const(4)  # answers of one meter; the two oldest become one of any length


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
        got = self._line.receive(self._view, before)
        if not got:
            return
        self._end = before + got
        self._last_ms = seam.ticks_ms()
        if self._end >= self._needed:
            self._follow(False)
        if not before and self._end:
            self._waker.wake()  # for the silence behind it

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


class _Collected:
    """The registers of one block that were read since `since_ms` (ticks), in the order of the block. `marks` has a byte
    for each, 1 where it was read."""

    def __init__(self, block: "Block") -> None:
        self.marks = bytearray(block.count)
        self.image = bytearray(2 * block.count)
        self.left = block.count  # registers that were not read
        self.since_ms = 0
        self.incomplete = 0  # times in a row

    def clear(self) -> None:
        """Begins again."""
        if self.is_empty:
            return
        self.left = len(self.marks)
        for k in range(len(self.marks)):
            self.marks[k] = 0

    @property
    def is_empty(self) -> bool:
        """Nothing was read."""
        return self.left == len(self.marks)


class _Heard:
    """A meter, what was read of it, and what it may still owe."""

    def __init__(self, meter: "Meter") -> None:
        self.meter = meter
        self.collected = [_Collected(block) for block in meter.blocks]  # in the order of meter.blocks
        self.is_asked = False  # since boot
        self.doubted = 0  # answers in a row that were thrown away, since they may have been late ones
        self.heard_s = 0  # uptime of the last answer
        self.owed: "list[bytes | None]" = []  # requests that it may still answer, None for one that is not known
        self.until_ms = 0  # ticks, until which it owes that

    def clear(self) -> None:
        """Forgets what was read of blocks that are not complete."""
        for one in self.collected:
            one.clear()

    def written(self) -> None:
        """Its registers are written: what was read or is owed is from before that."""
        self.clear()
        for k in range(len(self.owed)):
            self.owed[k] = None

    def owe(self, request: "Buffer | None", until_ms: int) -> None:
        """Notes that an answer to that read may still come until then. None: to one that is not known."""
        if not self.owed or ticks_diff(until_ms, self.until_ms) > 0:
            self.until_ms = until_ms
        if len(self.owed) == _OWED_MAX:
            self.owed.pop(0)
            self.owed[0] = None
        self.owed.append(None if request is None else bytes(memoryview(request)[:_READ_LENGTH]))

    def put_off(self, until_ms: int) -> None:
        """What is owed may come until then."""
        if self.owed and ticks_diff(until_ms, self.until_ms) > 0:
            self.until_ms = until_ms

    def forget_owed(self, now_ms: int) -> None:
        """Owes nothing any more when the time is over."""
        if self.owed and ticks_diff(now_ms, self.until_ms) > 0:
            self.owed = []

    def is_right(self, request: "Buffer", is_exception: bool, now_ms: int) -> bool:
        """Takes what has come behind that read. Returns whether it is its answer, or one with the same content, for
        certain."""
        if not self.owed:
            return True
        first = -1  # that this could be
        is_right = True
        for k, one in enumerate(self.owed):
            if one is None or is_exception or _is_as_long(request, one):
                if first < 0:
                    first = k
                is_right = is_right and one is not None and starts_with(request, one, _READ_LENGTH)
        if first < 0:
            self.owed = []
            return True
        self.owed = self.owed[first + 1 :]
        until_ms = ticks_add(now_ms, self.meter.timeout_ms)
        if self.owed:  # for as long as before
            self.put_off(until_ms)
            until_ms = self.until_ms
        self.owe(request, until_ms)
        return is_right

    def window_ms(self) -> int:
        """Within what time a block has to be read."""
        return self.meter.max_age_ms or self.meter.interval_ms

    def take(self, k: int, request: "Buffer", wire: Follower) -> "int | None":
        """Takes what the answer in `wire` has of block `k`. Returns the ticks of the oldest register when the block is
        complete, which is in the image of collected[k] then; else None."""
        block = self.meter.blocks[k]
        first = request[2] << 8 | request[3]
        end = min(first + (request[4] << 8 | request[5]), block.first + block.count)
        if request[1] != block.function or end <= block.first or first >= block.first + block.count:
            return None
        source = wire.at + 3 + 2 * (max(first, block.first) - first)
        first = max(first, block.first)
        one = self.collected[k]
        if end - first == block.count:
            copy(one.image, 0, wire.rx, source, 2 * block.count)
            one.incomplete = 0
            one.clear()
            return wire.asked_ms
        if one.is_empty:
            one.since_ms = wire.asked_ms
        elif ticks_diff(wire.asked_ms, one.since_ms) > self.window_ms():
            return None  # tick() begins again
        whole, end = self._whole_points(k, first, end)
        if whole >= end:
            return None
        copy(one.image, 2 * (whole - block.first), wire.rx, source + 2 * (whole - first), 2 * (end - whole))
        for i in range(whole - block.first, end - block.first):
            one.left -= not one.marks[i]
            one.marks[i] = 1
        if one.left:
            return None
        one.incomplete = 0
        one.clear()
        return one.since_ms

    def _whole_points(self, k, first, end):
        """Narrows that range so that it cuts no point of block `k`: the halves of a value may be of two moments."""
        meter = self.meter
        profile = meter.profile
        origin = meter.blocks[k].origin
        is_cut = True
        while is_cut and first < end:
            is_cut = False
            for i in range(len(meter.block_of)):
                if meter.block_of[i] == k:
                    low = origin + profile.offsets[i] // 2
                    high = low + profile.size(i)
                    if low < first < high:
                        first = high
                        is_cut = True
                    if low < end < high:
                        end = low
                        is_cut = True
        return first, end

    def tick(self, now_ms: int) -> None:
        """Begins again where a block was not complete in time; cuts it where that happens again and again."""
        k = 0
        while k < len(self.collected):
            one = self.collected[k]
            if not one.is_empty and ticks_diff(now_ms, one.since_ms) > self.window_ms():
                one.incomplete += 1
                if one.incomplete < _INCOMPLETE_MAX or not self._cut(k):
                    one.clear()
            k += 1

    def _cut(self, k):
        """Replaces block `k` by parts: what was read, and what was not. Returns False when there is nothing to cut."""
        meter = self.meter
        block = meter.blocks[k]
        marks = self.collected[k].marks
        runs: "list[list]" = []  # [first register, the one behind the last, whether it was read]
        for low, high in sorted(_spans(meter, k)):
            is_read = all(marks[low - block.first : high - block.first])
            last = runs[-1] if runs else None
            if last is None:
                runs.append([low, high, is_read])
            elif low < last[1]:  # points that share registers stay together
                last[1] = max(last[1], high)
                last[2] = last[2] and is_read
            elif is_read == last[2] and (not is_read or all(marks[last[1] - block.first : low - block.first])):
                last[1] = high
            else:
                runs.append([low, high, is_read])
        more = len(runs) - 1
        if runs[0][:2] == [block.first, block.first + block.count] or (
            len(meter.blocks) + more > len(meter.profile.plan) + _MORE_BLOCKS_MAX
        ):
            return False
        moved = bytearray(meter.block_of)
        for i, number in enumerate(moved):
            if number > k:
                moved[i] = number + more
            elif number == k:
                first = block.origin + meter.profile.offsets[i] // 2
                moved[i] = k + [low <= first < high for low, high, _ in runs].index(True)
        parts = [Part(block, low, high - low) for low, high, _ in runs]
        collected = [_Collected(part) for part in parts]
        block_of = bytes(moved)  # before anything is changed: there may be no memory for it
        meter.blocks[k : k + 1] = parts
        self.collected[k : k + 1] = collected
        meter.block_of = block_of
        return True


def _is_as_long(request, other):
    """Whether the answers to two reads have the same function and length."""
    return request[1] == other[1] and request[4] == other[4] and request[5] == other[5]


def _spans(meter, k):
    """[(first register, the one behind the last)] of the points in block `k`."""
    profile = meter.profile
    origin = meter.blocks[k].origin
    return [
        (origin + profile.offsets[i] // 2, origin + profile.offsets[i] // 2 + profile.size(i))
        for i in range(len(meter.block_of))
        if meter.block_of[i] == k
    ]


class ListeningBus(Bus):
    """A Bus with `role` "listen": what services see of it is the same. Its counters count the other master's traffic.
    Requests get exception 0B for meters that are configured, 0A for others."""

    def __init__(
        self, number: int, config: dict, open_line: "Callable[[dict], Line]", meters: "list[Meter]", events: "Any",
        uptime_s: "Callable[[], int]",
    ) -> None:  # fmt: skip
        super().__init__(number, config, open_line, meters, events, uptime_s)
        self._heard = {meter.unit: _Heard(meter) for meter in meters}
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

    async def run(self) -> None:
        """Follows the line for ever."""
        while True:
            self.silent_s = 0
            await self._waker.wait_ms(self._advance())

    def _advance(self):
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
                for reset in meter.store(meter.blocks[k], image, 0, until_ms, self._uptime_s() - age_s):
                    self._log_reset(meter, *reset)


def _owed_ms(meter):
    """For how long the meter may owe an answer."""
    return max(_TIMEOUTS * meter.timeout_ms, _OWED_MIN_MS)

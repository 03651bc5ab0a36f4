"""A meter of a bus that another master polls: what was read of it, and which answers it may still owe.

A late answer to another request may be like the one that is awaited. So of each meter it is known which answers it may
still owe, in their order, and meters answer in order. What follows a request is thrown away while it could be something
owed with another content. listening.py says what is owed, and for how long.
"""

from micropython import const

from firmware.bus.late_replies import starts_with
from firmware.meters.block import Part, copy
from firmware.net.seam import ticks_add, ticks_diff

_TYPING = const(0)
if _TYPING:
    from firmware.bus.follower import Follower
    from firmware.meters.block import Block
    from firmware.meters.meter import Meter
    from modbus.pdu import Buffer

_READ_LENGTH = const(6)  # of a request to read registers, without its CRC
_INCOMPLETE_MAX = const(3)  # times in a row
_MORE_BLOCKS_MAX = const(40)  # than the profile's plan has: about 6 KB of heap for each meter at worst
_OWED_MAX = const(4)  # answers of one meter; the two oldest become one of any length


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


class Heard:
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

    def take(self, k: int, request: "Buffer", wire: "Follower") -> "int | None":
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

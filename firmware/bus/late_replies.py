"""Tracks requests whose answer may still come, and holds up those that such a late answer could satisfy wrongly.

A late answer is the trap of every gateway: it may have unit, function and length of the next request. So each request
that went out and got no answer is remembered, and another request to which its answer could pass for the right one
waits: until that answer has come and been thrown away, or has been late for three time-outs. Kept by the bus, since it
outlives a line that is closed and opened again.
"""

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from firmware.bus.request import Buffer

_REPLIES_MAX = const(8)  # answers that may still come
_TIMEOUTS = const(4)  # after its request: the time-out, and three more
_MIN_MS = const(1000)
_LONGEST_MS = const(40000)  # four times the longest time-out of the configuration


class _LateReply:
    """The answer to `frame` may come until `until_ms` (ticks)."""

    def __init__(self, frame: bytes, until_ms: int):
        self.frame = frame
        self.until_ms = until_ms
        self.holds_others_up = False  # another request waits until it can no longer come


class LateReplies:
    """The late answers of one bus, at most eight: a ninth drops the oldest.

    expected   of them, empty where none may come: asked before a call, which mostly can be spared"""

    def __init__(self) -> None:
        self.expected: "list[_LateReply]" = []

    def expect(self, request: "Buffer", length: int, sent_ms: int, timeout_ms: int, is_answered: bool) -> None:
        """Notes that an answer to request[:length] may still come, until four time-outs after `sent_ms`, its last bit.
        Also after an answer, when the same request had failed before: then that may have been the late answer to the
        first, and the one to this is still under way."""
        until_ms = seam.ticks_add(sent_ms, max(_TIMEOUTS * timeout_ms, _MIN_MS))
        if is_answered:
            for one in self.expected:
                if is_same(one.frame, request, length):
                    one.until_ms = until_ms
                    return
            return
        if len(self.expected) == _REPLIES_MAX:
            self.expected.pop(0)
        self.expected.append(_LateReply(bytes(request[:length]), until_ms))

    def take_arrived(self, buf: "Buffer") -> bool:
        """Takes bytes that came between two exchanges: when they begin like a late answer, that one is no longer
        expected. Returns whether they do."""
        for one in self.expected:
            if one.frame[0] == buf[0] and one.frame[1] == buf[1] & 0x7F:
                self.expected.remove(one)
                return True
        return False

    def hold_ms(self, request: "Buffer", length: int) -> int:
        """Returns for how long a late answer to another request could still pass for one to request[:length]: it has
        the same unit and function. 0 when none can. Once another request is held up, a repetition of the late one is
        held up too: each answer to it would put the end off."""
        most_ms = 0
        for one in self.expected[:]:
            frame = one.frame
            left_ms = seam.ticks_diff(one.until_ms, seam.ticks_ms())
            if left_ms <= 0 or left_ms > _LONGEST_MS:  # over; beyond ever when the ticks have wrapped since
                self.expected.remove(one)
            elif frame[0] == request[0] and frame[1] == request[1]:
                one.holds_others_up = one.holds_others_up or not is_same(frame, request, length)
                if one.holds_others_up:
                    most_ms = max(most_ms, left_ms)
        return most_ms


def is_same(frame: "Buffer", request: "Buffer", length: int) -> bool:
    """Returns whether request[:length] is the request in `frame`."""
    return len(frame) == length and starts_with(frame, request, length)


def starts_with(buf: "Buffer", request: "Buffer", length: int, at: int = 0) -> bool:
    """Returns whether buf[at:] begins with request[:length]."""
    for i in range(length):
        if buf[at + i] != request[i]:
            return False
    return True

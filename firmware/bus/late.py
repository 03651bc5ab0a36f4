"""Answers that may still come, and the requests that have to wait for their end.

A late answer is the trap of every gateway: it may have unit, function and length of the next request. So each request
that went out and got no answer is remembered, and another request to which its answer could pass for the right one
waits: until that answer has come and been thrown away, or has been late for three time-outs. Kept by the bus, since it
outlives a line that is closed and opened again.
"""

from micropython import const

from firmware.net import seam

_MAX = const(8)  # answers that may still come
_TIMEOUTS = const(4)  # after its request: the time-out, and three more
_MIN_MS = const(1000)
_EVER_MS = const(40000)  # four times the longest time-out of the configuration


class Late:
    def __init__(self):
        self._entries = []  # [frame, until (ticks), somebody waits for its end]

    def __len__(self):
        return len(self._entries)

    def expect(self, request, length, sent_ms, timeout_ms, answered):
        """Notes that an answer to request[:length] may still come, until four time-outs after `sent_ms`, its last bit.
        Also after an answer, when the same request had failed before: then that may have been the late answer to the
        first, and the one to this is still under way."""
        until_ms = seam.ticks_add(sent_ms, max(_TIMEOUTS * timeout_ms, _MIN_MS))
        if answered:
            for entry in self._entries:
                if same(entry[0], request, length):
                    entry[1] = until_ms
                    return
            return
        if len(self._entries) == _MAX:
            self._entries.pop(0)
        self._entries.append([bytes(request[:length]), until_ms, False])

    def came(self, buf):
        """Bytes have come that nobody asked for: if they begin like an answer that was late, it is late no more, and
        this is True."""
        for entry in self._entries:
            if entry[0][0] == buf[0] and entry[0][1] == buf[1] & 0x7F:
                self._entries.remove(entry)
                return True
        return False

    def left_ms(self, request, length):
        """For how long a late answer to another request could still pass for one to request[:length]: it has the
        same unit and function. 0 when none can. Once somebody has been held up, the request itself that he waits for
        is held up too: each answer to it would put the end off."""
        most_ms = 0
        for entry in self._entries[:]:
            frame = entry[0]
            left_ms = seam.ticks_diff(entry[1], seam.ticks_ms())
            if left_ms <= 0 or left_ms > _EVER_MS:  # over; beyond ever when the ticks have wrapped since
                self._entries.remove(entry)
            elif frame[0] == request[0] and frame[1] == request[1]:
                entry[2] = entry[2] or not same(frame, request, length)
                if entry[2]:
                    most_ms = max(most_ms, left_ms)
        return most_ms


def same(frame, request, length):
    """Whether request[:length] is the very request in `frame`."""
    return len(frame) == length and begins(frame, request, length)


def begins(buf, request, length, at=0):
    """Whether buf[at:] begins with request[:length]."""
    for i in range(length):
        if buf[at + i] != request[i]:
            return False
    return True

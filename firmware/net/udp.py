"""One UDP question and its answer without blocking the loop: SNTP and DNS, on the slot of the service that asks."""

import errno

from firmware.net import seam

_DATAGRAM_MAX = 512  # RFC 1035, 2.3.4; an SNTP answer has 48


class Exchange:
    """Waits on a socket of its own that is open only while a question is under way."""

    def __init__(self, slot, any_address="0.0.0.0"):
        self._slot = slot
        self._any = any_address
        self._waker = seam.Waker()
        self._error = None

    def on_ready(self, events):
        self._waker.wake()

    def fail(self, error):
        self._error = error
        self._waker.wake()

    async def ask(self, ip, port, question, check, timeout_ms):
        """Sends `question` (bytes) to ip:port and gives each datagram that comes from there to check(data), until
        that returns something other than None. Returns that, or None after timeout_ms. OSError when sending fails."""
        server = seam.address(ip, port)
        stream = seam.udp(self._any, 0)
        slot = self._slot
        slot.open = True
        slot.peer = server
        try:
            seam.watch(stream, self)
            try:
                self._waker.clear()
                stream.sendto(question, server)
                slot.sent += len(question)
                begin_ms = seam.ticks_ms()
                while True:
                    left_ms = timeout_ms - seam.ticks_diff(seam.ticks_ms(), begin_ms)
                    if left_ms <= 0 or not await self._waker.wait_ms(left_ms):
                        return None
                    try:
                        data, sender = stream.recvfrom(_DATAGRAM_MAX)
                    except OSError as error:
                        if error.errno == errno.EAGAIN:
                            continue  # woken for nothing
                        raise
                    slot.received += len(data)
                    if seam.peer(sender) != (ip, port):
                        continue  # not from whom was asked
                    answer = check(data)
                    if answer is not None:
                        slot.requests += 1
                        slot.used_ms = seam.ticks_ms()
                        return answer
            finally:
                seam.unwatch(stream)
        finally:
            seam.close(stream)
            slot.open = False

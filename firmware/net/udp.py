"""One UDP question and its answer without blocking the loop: SNTP and DNS, on the slot of the service that asks."""

import errno

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.net.budget import Slot

_DATAGRAM_MAX = const(512)  # RFC 1035, 2.3.4; an SNTP answer has 48


class Exchange:
    """Waits on a socket of its own that is open only while a question is under way."""

    def __init__(self, slot: "Slot", any_address: str = "0.0.0.0") -> None:
        self._slot = slot
        self._any = any_address
        self._waker = seam.Waker()

    def on_ready(self, events: int) -> None:
        """Called by the loop: a datagram has come."""
        self._waker.wake()

    def fail(self, error: Exception) -> None:
        """Called by the loop: on_ready() has raised."""
        self._waker.wake()

    async def ask(
        self, ip: str, port: int, question: "bytes | bytearray", check: "Callable[[bytes], Any]", timeout_ms: int
    ) -> "Any":
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
                        continue  # of another sender
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

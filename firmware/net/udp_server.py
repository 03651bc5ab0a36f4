"""The UDP socket of a service that others send to: so many datagrams a second; a dead socket comes back by itself."""

import errno

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.net.budget import Slot

_DATAGRAM_LEAST = const(64)  # is read where there is no memory for more; the rest of the datagram is lost


class UdpServer:
    """Listens at bind:port on `slot` for `owner`, whose on_ready(events) calls receive() and whose fail(error) is told
    what that raised. Of a flood `per_second` datagrams are read each second; the port drops the others. `group`: a
    multicast group that it hears, too.

    stream   of the seam, to send by; None while the socket could not be opened again
    empty    empty datagrams since it was made"""

    def __init__(self, slot: "Slot", owner: "Any", bind: str, port: int, per_second: int, group: str = "") -> None:
        self.stream: "Any" = None
        self._slot = slot
        self._owner = owner
        self._bind = bind
        self._port = port
        self._per_second = per_second
        self._group = group
        self._left = per_second
        self.empty = 0
        self._empty_in_a_row = 0

    def open(self) -> None:
        """Raises OSError, MemoryError."""
        stream = seam.udp(self._bind, self._port)
        try:
            if self._group:
                seam.join(stream, self._group)
            seam.watch(stream, self._owner)
        except Exception:
            seam.close(stream)
            raise
        self.stream = stream
        self._slot.open = True

    def close(self) -> None:
        """May be called when it is closed already."""
        if self.stream is not None:
            seam.unwatch(self.stream)
            seam.close(self.stream)
            self.stream = None
            self._slot.open = False

    def tick(self) -> None:
        """Once a second: notes that the slot is used; reads on after a flood; opens the socket again where receive()
        could not."""
        if self._left != self._per_second:
            self._slot.used_ms = seam.ticks_ms()
        if self.stream is None:
            try:
                self.open()
            except OSError as error:
                self._owner.fail(error)
        elif self._left <= 0:
            seam.interest(self.stream, seam.READ)
        self._left = self._per_second

    def receive(self, most: int) -> "tuple | None":
        """One datagram of at most `most` bytes, as (bytes, address); None when there was none, or an empty one. Raises
        OSError."""
        left = self._left = self._left - 1
        if left <= 0:
            seam.interest(self.stream, 0)  # until the next tick
        try:
            received = self.stream.recvfrom(most)
        except MemoryError:  # else the loop would come back to this datagram at once, for ever
            received = self.stream.recvfrom(_DATAGRAM_LEAST)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None  # woken for nothing
            raise
        size = len(received[0])
        if size:
            self._slot.received += size
            self._empty_in_a_row = 0
            return received
        self.empty += 1
        self._empty_in_a_row += 1
        if self._empty_in_a_row > 1:
            # The ESP32 takes an empty datagram for the end of a stream, and never reads that socket again: it gives
            # nothing but empty ones (modsocket.c, _socket_read_data).
            self._empty_in_a_row = 0
            self.close()
            self.open()
            if self._left <= 0:
                seam.interest(self.stream, 0)
        return None

"""Sends one answer that is longer than a datagram in segments (ASHRAE 135-2012, 5.2 and 5.4.5).

Nothing of the answer is kept but its request: each segment is written when it is sent, by serving the request again
with the window of the segment. Values may have moved on meanwhile, as between two answers; an answer whose length has
changed is given up.
"""

from micropython import const

from firmware.net.seam import ticks_diff, ticks_ms
from firmware.services.bacnet.objects import APDU_RETRIES, SEGMENT_TIMEOUT_MS

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from bacnet.apdu import Apdu

    from firmware.services.bacnet.service import BacnetService

SEGMENTS_MAX = const(8)
WINDOW = const(4)
HEADER = const(5)


class Segments:
    """`service` sends its segments (service.py: send_segment).

    data, at     the request: a datagram, and where its APDU begins; None while nothing is being sent
    peer, route  of the client
    length       bytes of the whole content
    room         bytes of the content in each segment"""

    def __init__(self, service: "BacnetService"):
        self._service = service
        self.data: "bytes | None" = None

    def is_busy(self) -> bool:
        """Whether an answer is being sent: there is one at a time."""
        return self.data is not None

    def start(self, data: bytes, at: int, peer: "Any", route: bytes, length: int, room: int) -> None:
        """Begins the answer to the request with the APDU at data[at:]: `length` bytes of content, `room` in each
        segment."""
        self.data = data
        self.at = at
        self.peer = peer
        self.route = route
        self.length = length
        self.room = room
        self._first = 0  # of the window: all segments before it have come
        self._window = 1  # until the client has said how many it takes
        self._tries = 0
        self._send_window()

    def acknowledge(self, ack: "Apdu", peer: "Any") -> None:
        """The client has all segments up to ack.sequence, and wants those behind."""
        if self.data is None or peer != self.peer or ack.invoke_id != self.data[self.at + 2]:
            return
        came = (ack.sequence - self._first) & 0xFF
        if came >= self._window and came != 0xFF:
            return  # a duplicate of an earlier one, 5.4.2.2
        self._first += 0 if came == 0xFF else came + 1
        if self._first * self.room >= self.length:
            self.data = None
            return
        self._window = max(1, min(ack.window, WINDOW))
        self._tries = 0
        self._send_window()

    def abort(self, invoke_id: int, peer: "Any") -> None:
        """The client wants no more of it."""
        if self.data is not None and peer == self.peer and invoke_id == self.data[self.at + 2]:
            self.data = None

    def tick(self) -> None:
        """Once a second: sends again what was not acknowledged in time."""
        if self.data is None or ticks_diff(ticks_ms(), self._sent_ms) < SEGMENT_TIMEOUT_MS:
            return
        self._tries += 1
        if self._tries > APDU_RETRIES:
            self.data = None
            return
        self._send_window()

    def _send_window(self):
        self._sent_ms = ticks_ms()
        last = (self.length - 1) // self.room
        for number in range(self._first, min(self._first + self._window, last + 1)):
            if not self._service.send_segment(self, number, number == last):
                self.data = None
                return

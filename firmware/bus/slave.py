"""A serial line on which this gateway is the slave: another master reads its served meters by Modbus RTU.

Requests are cut as MODBUS over Serial Line V1.02, 2.5.1 has it: by silence, here together with their expected length
and their CRC. A request that begins after a silence and is whole is answered t3.5 behind its last byte; one that stands
behind other frames (other slaves answer on the same line) is found when the line has fallen silent. What is for others
is passed over, a broadcast is taken and changes nothing (2.1), and damaged frames are never answered.
"""

from micropython import const

from firmware.bus.bus import Bus
from firmware.bus.request import Request
from firmware.bus.transaction import gap_us
from firmware.net import seam
from firmware.net.seam import ticks_diff
from modbus import pdu, rtu
from modbus.crc import crc16

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.board import Line
    from firmware.bus.bus_stats import BusStats

_BUFFER = const(2 * 256)
_REQUEST_MIN = const(4)  # unit, function, CRC
_REOPEN_MS = const(1000)
_IDLE_MS = const(60000)
_PAUSED_MS = const(1000)
_LATEST_MS = const(250)  # behind a request: then the master may have gone on, and no answer is better than a late one
# States of the wire
_HEARING = const(0)
_DUE = const(1)  # a request is whole; its answer follows t3.5 later
_ANSWERING = const(2)  # what comes meanwhile is an echo


class SlaveWire:
    """The wire. `units`: {unit: what answers for it, as unit255.Unit255 does}."""

    def __init__(
        self, line: "Line", config: dict, counters: "BusStats", units: "dict[int, Any]", waker: "seam.Waker"
    ) -> None:
        baud = config["baud"]
        framing = config["framing"]
        self.line_error: "Exception | None" = None
        self._line: "Line | None" = line
        self._counters = counters
        self._units = units
        self._waker = waker
        self._gap_ms = gap_us(baud) // 1000 + 1
        self._silence_ms = self._gap_ms + line.jitter_ms
        self._character_us = (9 + (framing[1] != "N") + int(framing[2])) * 1000000 // baud
        self._state = _HEARING
        self.rx = bytearray(_BUFFER)
        self._view = memoryview(self.rx)
        self._out = bytearray(rtu.ADU_MAX)
        self._end = 0  # of what has come since the last silence
        self._at = 0  # of the request that is due
        self._last_ms = seam.ticks_ms()  # its last byte
        self._sent_ms = 0
        self._sending_ms = 0  # that the answer takes
        seam.watch(line.stream, self)

    @property
    def is_answering(self) -> bool:
        """True while an answer goes out."""
        return self._state == _ANSWERING

    def on_ready(self, events: int) -> None:
        """Takes the bytes that have come."""
        now_ms = seam.ticks_ms()
        if self._state == _ANSWERING:
            if self._end_answer():
                self._line.receive(self._view, 0)  # an echo
                return
        if self._receive(now_ms) and not self._waker.wake_in(self._gap_ms if self._state == _DUE else self._silence_ms):
            self._waker.wake()

    def _receive(self, now_ms):
        """Takes the bytes that have come behind those of before. Returns their number."""
        got = self._line.receive(self._view, self._end)
        if got:
            self._end += got
            self._last_ms = now_ms
            if self._end == _BUFFER:  # longer than anything that could be a request
                self._drop()
            self._state = _HEARING  # a request that something follows at once was none
            if self._is_request(0):
                self._at = 0
                self._state = _DUE
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
        self._state = _HEARING
        if self._line is not None:
            seam.unwatch(self._line.stream)
            self._line.close()
            self._line = None

    def step(self) -> int:
        """Does what is due. Returns for how many milliseconds to wait until the next call."""
        if self._state == _ANSWERING:
            return self._end_answer() or _IDLE_MS
        if not self._end:
            return _IDLE_MS
        now_ms = seam.ticks_ms()
        needed_ms = self._gap_ms if self._state == _DUE else self._silence_ms
        left_ms = needed_ms - ticks_diff(now_ms, self._last_ms)
        if left_ms > 0:
            return left_ms
        # The loop may have been late: what has come meanwhile was no silence.
        if self._receive(now_ms):
            return self._gap_ms if self._state == _DUE else self._silence_ms
        if self._line is None:
            return _IDLE_MS
        if self._state == _DUE:
            return self._answer()
        # Nothing more comes of this: the request may stand behind frames of others.
        for at in range(1, self._end - _REQUEST_MIN + 1):
            if self._is_request(at):
                self._at = at
                return self._answer()
        self._drop()
        return _IDLE_MS

    def _is_request(self, at):
        """True when rx[at:_end] is a whole request to one of the units, or to all."""
        rx = self.rx
        unit = rx[at]
        n = self._end - at
        if (unit and unit not in self._units) or n < _REQUEST_MIN or n > rtu.ADU_MAX:
            return False
        length = rtu.request_length(rx, at, self._end)
        return (length == n or length == rtu.SILENCE) and not crc16(rx, self._end, at)

    def _drop(self):
        """Forgets what has come, and counts it as what it was."""
        counters = self._counters
        if self._end < _REQUEST_MIN:
            counters.noise_bytes += self._end
        elif crc16(self.rx, self._end, 0):
            if self.rx[0] in self._units:
                counters.crc += 1
            else:
                counters.noise_bytes += self._end
        else:
            counters.foreign += 1
        self._end = 0

    def _answer(self):
        """Sends the answer to the request at rx[_at:_end]. Returns what step() does."""
        at, n = self._at, self._end - self._at
        self._end = 0
        self._state = _HEARING
        unit = self.rx[at]
        if not unit:  # a broadcast
            return _IDLE_MS
        self._counters.sent += 1
        if ticks_diff(seam.ticks_ms(), self._last_ms) > _LATEST_MS:
            self._counters.timeouts += 1
            return _IDLE_MS
        out = self._out
        out[0] = unit
        length = rtu.append_crc(out, 1 + self._units[unit].answer(self.rx, at + 1, n - 3, out, 1))
        if out[1] & 0x80:
            self._counters.exceptions += 1
            self._counters.add_exception(0, out[2])
        self._line.send(out, length)
        if self._line.error is not None:
            self.fail(self._line.error)
            return _IDLE_MS
        now_ms = seam.ticks_ms()
        self._counters.answer_times.add(max(ticks_diff(now_ms, self._last_ms), 0))
        self._sent_ms = now_ms
        self._sending_ms = length * self._character_us // 1000 + 1
        self._counters.add_busy(self._sending_ms)
        self._state = _ANSWERING
        return max(self._sending_ms - self._line.turn_ms, 0)

    def _end_answer(self):
        """Ends the answer whose time is over. Returns for how many milliseconds it goes on, 0 at its end."""
        left_ms = self._sending_ms - self._line.turn_ms - ticks_diff(seam.ticks_ms(), self._sent_ms)
        if left_ms > 0:
            return left_ms
        self._line.finish()
        self._counters.answered += 1
        self._state = _HEARING
        return 0


class SlaveBus(Bus):
    """A bus without meters. `units` are set before run()."""

    units: "dict[int, Any]" = {}
    wire: "Any"  # a SlaveWire

    def submit(self, request: Request) -> int:
        """Refuses: nothing can be asked here."""
        return pdu.GATEWAY_PATH_UNAVAILABLE

    def is_idle(self) -> bool:
        """Whether the bus is paused and no answer goes out."""
        return self._paused and (self.wire is None or not self.wire.is_answering)

    def lease_line(self, user: "Any") -> bool:
        """Never: nobody but the master may ask on this line."""
        return False

    def _make_wire(self, line):
        return SlaveWire(line, self.config, self.counters, self.units, self._waker)

    def _advance(self):
        self.silent_s = 0
        if self.wire is not None and self.wire.line_error is not None:
            self._lose_line()
        if self._paused:
            # Flash that is written now would tear an answer.
            wait_ms = self.wire.step() if self.wire is not None and self.wire.is_answering else _PAUSED_MS
            if self.is_idle():
                self._tell_idle()
            return wait_ms
        if self.wire is None and not self._open_wire():
            return _REOPEN_MS
        return self.wire.step()

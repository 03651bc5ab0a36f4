"""A serial line with meters on it, as firmware.board describes a Line; baud rate and silence in virtual time.

The wire is shared: one sender at a time. A request is understood when its last bit has come, and a meter answers after
t3.5 and its own delay, byte by byte; the driver hands bytes over in pieces, as UARTs with a FIFO do. Whoever sends
while another does damages both. Faults come from the seed (Faults) or from a meter's own behaviour
(tools.virtual_meters).
"""

import errno
from dataclasses import dataclass

from tools.virtual_line import adu, crc16

_CHARACTER_BITS = 10  # 8N1
# Bytes that the driver hands over at once. An RP2040 keeps back up to 4 (UARTIFLS, lowest level), an ESP32 none
# (MicroPython sets the threshold to 1 with timeout_char=0): 32 saves time and is harder, but at low rates they would
# take too long.
_PIECE = 32
_PIECE_MS = 34
_RX_MAX = 512  # firmware.board.machine_common: rxbuf


@dataclass
class Faults:
    """Probabilities for each request."""

    silent: float = 0.0
    crc_error: float = 0.0
    noise: float = 0.0  # bytes in front of the answer
    late: float = 0.0  # by up to late_ms more
    late_ms: float = 800.0


class Wire:
    """The line and what hangs on it. `meters` is a list of VirtualMeters. The gateway's end is a Line at a time."""

    def __init__(self, timeline, rng, selector, meters, baud, jitter_ms, faults=None):
        self.timeline = timeline
        self.rng = rng
        self.selector = selector
        self.meters = list(meters)
        self.baud = baud
        self.jitter_ms = jitter_ms
        self.faults = faults or Faults()
        self.character_us = _CHARACTER_BITS * 1_000_000 / baud
        self.piece = min(_PIECE, max(4, int(1000 * _PIECE_MS / self.character_us)))
        self.gap_us = 1750 if baud > 19200 else 3.5 * 11 * 1_000_000 / baud
        self.line = None
        self.gone = False  # unplugged
        self.requests = self.answered = self.collisions = 0
        self._busy_until_us = 0  # a meter is sending

    def open(self):
        if self.gone:
            raise OSError(errno.ENODEV, "no such device")
        self.line = Line(self)
        return self.line

    def unplug(self):
        """The device goes away; plug() brings it back."""
        self.gone = True
        if self.line is not None:
            self.line.changed()

    def plug(self):
        self.gone = False

    # -- the wire

    def send(self, frame):
        """The gateway has begun to send; gives when it will be done."""
        now = self.timeline.now_us
        done = now + int(len(frame) * self.character_us)
        if now < self._busy_until_us:
            self.collisions += 1
            self.line.garble()
        else:
            self.timeline.at(done, self._arrived, frame)
        return done

    def _arrived(self, frame):
        if len(frame) < 4 or crc16(frame) != 0:
            return
        unit, pdu = frame[0], frame[1:-2]
        for meter in self.meters:
            if meter.unit == unit:
                break
        else:
            return
        self.requests += 1
        meter.requests += 1
        meter.seen.append(pdu)
        self._answer(meter, pdu)

    def _answer(self, meter, pdu):
        behaviour = meter.behaviour()
        faults = self.faults
        rng = self.rng
        if behaviour.silent or (faults.silent and rng.random() < faults.silent):
            return
        exception = behaviour.exception
        reply = bytearray(adu(meter.unit, bytes((pdu[0] | 0x80, exception)) if exception else meter.answer(pdu)))
        if behaviour.crc_error or (faults.crc_error and rng.random() < faults.crc_error):
            reply[-1] ^= 0x55
        if behaviour.short:
            del reply[-behaviour.short :]
        if faults.noise and rng.random() < faults.noise:
            reply = bytearray(rng.randbytes(rng.randrange(1, 6))) + reply
        delay_us = int(self.gap_us + 1000 * behaviour.delay_ms)
        if faults.late and rng.random() < faults.late:
            delay_us += int(1000 * faults.late_ms * rng.random())
        meter.answered += 1
        self.answered += 1
        self.timeline.after(delay_us, self._sending, bytes(behaviour.noise) + bytes(reply))

    def _sending(self, data):
        now = self.timeline.now_us
        line = self.line
        if line is None or now < line.sending_until_us or now < self._busy_until_us:
            self.collisions += 1
            return
        self._busy_until_us = now + int(len(data) * self.character_us)
        for at in range(0, len(data), self.piece):
            piece = data[at : at + self.piece]
            self.timeline.at(now + int((at + len(piece)) * self.character_us), self._deliver, line, piece)

    def _deliver(self, line, piece):
        if line is self.line and not self.gone:
            line.deliver(piece)


class Line:
    """firmware.board: Line. It is its own stream."""

    def __init__(self, wire):
        self._wire = wire
        self.jitter_ms = wire.jitter_ms
        self.turn_ms = 0  # as without a direction pin
        self.stream = self
        self.sending_until_us = 0
        self.overruns = 0
        self._rx = bytearray()
        self._garbled = False
        self._fd = wire.selector.new_fd(self)

    # -- the loop's side

    def fileno(self):
        return self._fd

    def readable(self):
        return bool(self._rx) or self._wire.gone

    def writable(self):
        return True

    def changed(self):
        self._wire.selector.touch(self._fd)

    # -- the wire's side

    def deliver(self, piece):
        if self._garbled:
            piece = bytes(byte ^ 0xA5 for byte in piece)
        room = _RX_MAX - len(self._rx)
        if len(piece) > room:
            self.overruns += 1
        self._rx += piece[:room]
        self.changed()

    def garble(self):
        """What a meter is sending now is damaged."""
        self._garbled = True
        self._wire.timeline.at(self._wire._busy_until_us + 1, self._ungarble)

    def _ungarble(self):
        self._garbled = False

    # -- the firmware's side

    @property
    def error(self):
        return OSError(errno.EIO, "unplugged") if self._wire.gone else None

    def receive(self, buf, at):
        if self._wire.gone:
            return 0
        n = min(len(self._rx), len(buf) - at)
        buf[at : at + n] = self._rx[:n]
        del self._rx[:n]
        return n

    def discard(self):
        if self._wire.gone:
            return 0
        n = len(self._rx)
        self._rx.clear()
        return n

    def send(self, buf, n):
        if n > 256:
            raise AssertionError(f"send: {n} bytes are more than a driver's buffer")
        if self._wire.gone:
            return
        self.sending_until_us = self._wire.send(bytes(buf[:n]))

    def finish(self):
        """Waits busily for the last bit, for four characters and 2 ms at most (firmware.board.machine_common)."""
        timeline = self._wire.timeline
        left_us = self.sending_until_us - timeline.now_us
        if left_us > 0:
            timeline.spend_us(int(min(left_us, 4 * self._wire.character_us + 2000)))

    def close(self):
        if self._fd < 0:
            return
        self._wire.selector.drop_fd(self._fd)
        self._fd = -1
        if self._wire.line is self:
            self._wire.line = None

"""A Modbus RTU line with virtual meters on it: framing, CRC, timing and the thread that plays it.

In:  request frames from the gateway at the other end of a pty or of a serial device
     (Modbus over Serial Line V1.02).
Out: the replies of the meters (tools/virtual_meters.VirtualMeter) whose unit ids are on the line; everything
     else is met with silence, as on a real line.

Timing: a pty has no wire, so the time that the wire would need is added here. A reply begins when the
request would have been transmitted, plus t3.5, plus the meter's response delay, and appears in pieces of
about 5 ms of wire time, each when its last byte would have arrived: in pieces, because UART drivers hand
over pieces, and a reader that takes one read for a frame must fail against this line. On a real serial
device the UART keeps the time, and a reply is one write.

Framing: requests with a known function code are cut by their expected length, others by silence. A CRC
error makes the rest unreadable until the line was silent.
"""

import contextlib
import heapq
import os
import select
import threading
import time
import tty
from pathlib import Path

_ADU_MAX = 256  # Modbus over Serial Line V1.02, 2.5.1
_SILENCE_S = 0.030  # ends an unfinished or unknown frame; longer than t3.5, since a scheduler is in between
_PIECE_S = 0.005  # wire time of one piece of a reply
_PENDING_MAX = 64  # replies waiting for their time; more means that the gateway does not wait for replies


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def crc16(data):
    """CRC-16 of Modbus RTU (polynomial 0xA001, start 0xFFFF); on the wire its low byte comes first."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def adu(unit, pdu):
    """The RTU frame of a PDU: unit id, PDU, CRC."""
    body = bytes((unit,)) + bytes(pdu)
    return body + crc16(body).to_bytes(2, "little")


def request_length(data):
    """Length of the request frame that begins with data: a number, 0 when more bytes must tell, None when the
    function code is unknown and only silence ends the frame. (Modbus Application Protocol V1.1b3, 6)"""
    if len(data) < 2:
        return 0
    function = data[1]
    fixed = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6}.get(function)
    if fixed:
        return fixed
    # Index of the byte count, length of all the rest.
    counted = {15: (6, 9), 16: (6, 9), 20: (2, 5), 21: (2, 5), 23: (10, 13)}.get(function)
    if counted:
        index, rest = counted
        return data[index] + rest if len(data) > index else 0
    if function == 43:
        return 0 if len(data) < 3 else 7 if data[2] == 14 else None
    return None


class VirtualLine:
    """Meters on one RS-485 line, played by one thread between start() and stop() (or as a context manager).

    path          the device for the gateway: the link when one was given, else the pty
    requests      frames with a good CRC for a unit on the line        answered   replies sent
    crc_errors    frames with a wrong CRC                              foreign    good frames for other units
    broken        bytes that never became a frame (ended by silence)   dropped    replies that were not read
    broadcasts    frames for unit 0 (carried out, never answered)
    deaf          True after a CRC error until the line was silent
    """

    def __init__(self, meters, baud=9600, framing="8N1", link=None, serial=None):
        """Nothing is opened before start(). Raises ValueError.

        meters   VirtualMeters with different unit ids
        framing  data bits, parity, stop bits
        link     path of a symbolic link to keep to the pty
        serial   a device to play on instead of a new pty (needs pyserial)
        """
        if len(framing) != 3 or framing[0] != "8" or framing[1] not in "NEO" or framing[2] not in "12":
            raise ValueError(f"framing {framing!r} is not like 8N1, 8E1, 8O1 or 8N2")
        self.baud, self.framing, self.link, self.serial = baud, framing, link and Path(link), serial
        self.meters = list(meters)
        units = [meter.unit for meter in self.meters]
        if len(set(units)) != len(units):
            raise ValueError(f"units {units} are not all different")
        self.path = None
        self.requests = self.answered = self.crc_errors = self.foreign = 0
        self.broken = self.dropped = self.broadcasts = 0
        bits = 9 + (framing[1] != "N") + int(framing[2])
        self._char_s = bits / baud
        # Modbus over Serial Line V1.02, 2.5.1.1: 3.5 characters of 11 bits, fixed above 19200 baud
        self._t35_s = 0.00175 if baud > 19200 else 3.5 * 11 / baud
        self._silence_s = max(self._t35_s, _SILENCE_S)
        self._buffer = bytearray()
        self.deaf = False
        self._last_rx = self._wire_free = 0.0
        self._pending, self._sequence = [], 0
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = self._device = self._error = None
        self._fd = self._slave = self._wake_r = self._wake_w = -1
        self._paced = True

    def meter(self, unit):
        """The meter with this unit id. Raises KeyError."""
        for meter in self.meters:
            if meter.unit == unit:
                return meter
        raise KeyError(unit)

    def start(self):
        """Opens the pty or device and begins to answer; returns self. Raises OSError."""
        if self._thread:
            raise RuntimeError("the line runs already")
        self._open()
        self._wake_r, self._wake_w = os.pipe()
        self._stopping.clear()
        self._buffer.clear()
        self._pending.clear()
        self.deaf, self._error = False, None
        self._thread = threading.Thread(target=self._run, name="virtual meters", daemon=True)
        self._thread.start()
        return self

    def stop(self):
        """Ends the thread, closes everything, removes the link. RuntimeError if the thread had died."""
        if self._thread:
            self._stopping.set()
            os.write(self._wake_w, b"x")
            self._thread.join()
            self._thread = None
        self._close()
        if self._error:
            raise RuntimeError("the virtual meters died") from self._error

    @property
    def alive(self):
        """True while the thread plays the meters."""
        return bool(self._thread and self._thread.is_alive())

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def freeze(self):
        """All values stop moving."""
        for meter in self.meters:
            meter.freeze()

    def thaw(self):
        """All values move on."""
        for meter in self.meters:
            meter.thaw()

    def wait_for(self, condition, timeout=5.0):
        """Waits until condition() is true, asked after every frame. Raises TimeoutError or RuntimeError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._error or condition(), timeout):
                raise TimeoutError(f"not within {timeout} s: {self.counters()}")
        if self._error:
            raise RuntimeError("the virtual meters died") from self._error

    def counters(self):
        """All counters of the line as a dictionary."""
        names = ("requests", "answered", "crc_errors", "foreign", "broken", "dropped", "broadcasts")
        return {name: getattr(self, name) for name in names}

    def _open(self):
        if self.serial:
            import serial  # pyserial: needed for real devices only

            self._device = serial.Serial(
                str(self.serial), self.baud, parity=self.framing[1], stopbits=int(self.framing[2]), timeout=0
            )
            self._fd, self.path = self._device.fileno(), str(self.serial)
            self._paced = os.path.realpath(self.serial).startswith("/dev/pts/")
            return
        # The slave stays open here, too: its last close would hang up the line.
        self._fd, self._slave = os.openpty()
        tty.setraw(self._fd)
        tty.setraw(self._slave)
        os.set_blocking(self._fd, False)
        self.path = os.ttyname(self._slave)
        if self.link:
            if self.link.exists() and not self.link.is_symlink():
                self._close()
                raise FileExistsError(f"{self.link} exists and is not a symbolic link")
            self.link.unlink(missing_ok=True)  # left by a run that was killed
            self.link.symlink_to(self.path)
            self.path = str(self.link)

    def _close(self):
        if self.link and self._slave >= 0:
            with contextlib.suppress(FileNotFoundError):
                if self.link.is_symlink() and os.readlink(self.link) == os.ttyname(self._slave):
                    self.link.unlink()
        if self._device:
            self._device.close()
            self._device, self._fd = None, -1
        for name in ("_fd", "_slave", "_wake_r", "_wake_w"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)

    # From here on everything runs in the thread.

    def _run(self):
        try:
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:  # kept for stop() and wait_for(), which raise it
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _turn(self):
        now = time.monotonic()
        deadlines = [self._pending[0][0]] if self._pending else []
        if self._buffer or self.deaf:
            deadlines.append(self._last_rx + self._silence_s)
        timeout = max(0.0, min(deadlines) - now) if deadlines else None
        readable, _, _ = select.select([self._fd, self._wake_r], [], [], timeout)
        now = time.monotonic()
        if self._fd in readable:
            data = os.read(self._fd, 1024)
            self._last_rx = now
            # The pty hands the request over at once; the wire would have needed its time.
            self._wire_free = max(now, self._wire_free) + (len(data) * self._char_s if self._paced else 0)
            with self._changed:
                self._receive(data)
                self._changed.notify_all()
        elif (self._buffer or self.deaf) and now - self._last_rx >= self._silence_s:
            with self._changed:
                self._silence()
                self._changed.notify_all()
        while self._pending and self._pending[0][0] <= time.monotonic() and not self._stopping.is_set():
            _, _, data, meter, paced = heapq.heappop(self._pending)
            self._transmit(data, meter, paced)

    def _receive(self, data):
        if self.deaf:
            self.broken += len(data)
            return
        self._buffer += data
        while self._buffer:
            length = request_length(self._buffer)
            if length is not None and length > _ADU_MAX:  # cannot be: framing is lost
                self._lose()
                return
            if length is None and len(self._buffer) > _ADU_MAX:
                self._lose()
                return
            if not length or len(self._buffer) < length:
                return
            frame = bytes(self._buffer[:length])
            del self._buffer[:length]
            if not self._frame(frame):
                self._lose()

    def _lose(self):
        """Nothing is taken for a frame before the line was silent."""
        self.broken += len(self._buffer)
        self._buffer.clear()
        self.deaf = True

    def _silence(self):
        self.deaf = False
        frame = bytes(self._buffer)
        self._buffer.clear()
        if len(frame) >= 4 and request_length(frame) is None:
            self._frame(frame)
        else:
            self.broken += len(frame)

    def _frame(self, frame):
        """A whole frame; False when its CRC is wrong."""
        if crc16(frame):  # over data and CRC it is 0
            self.crc_errors += 1
            return False
        if frame[0] == 0:
            self.broadcasts += 1
            for meter in self.meters:
                meter.answer(frame[1:-2])
            return True
        try:
            meter = self.meter(frame[0])
        except KeyError:
            self.foreign += 1
            return True
        self.requests += 1
        meter.requests += 1
        meter.seen.append(frame[1:-2])
        self._schedule(meter, frame, meter.behaviour())
        return True

    def _schedule(self, meter, frame, behaviour):
        if behaviour.echo:
            self._push(self._wire_free, frame, None, False)
        if behaviour.silent:
            return
        unit = meter.unit  # before the request: a write may change it
        if behaviour.exception:
            pdu = bytes((frame[1] | 0x80, behaviour.exception))
        else:
            pdu = meter.answer(frame[1:-2])
        if behaviour.wrong_function:
            pdu = bytes(({3: 4, 4: 3}.get(pdu[0], pdu[0] + 1 & 0xFF),)) + pdu[1:]
        if behaviour.wrong_count and pdu[0] in (3, 4) and len(pdu) > 2:
            count = max(0, pdu[1] + 2 * int(behaviour.wrong_count)) % 256
            pdu = (bytes((pdu[0], count)) + pdu[2:] + bytes(256))[: 2 + count]
        reply = bytearray(adu(unit + 1 if behaviour.wrong_unit else unit, pdu))
        if behaviour.crc_error:
            reply[-1] ^= 0xFF
        if behaviour.short:
            del reply[max(0, len(reply) - int(behaviour.short)) :]
        reply += bytes(0x55 + k & 0xFF for k in range(int(behaviour.long)))
        due = self._wire_free + self._t35_s + behaviour.delay_ms / 1000
        data = bytes(behaviour.noise) + bytes(reply)
        if behaviour.gap_ms and len(data) > 1:
            half = len(data) // 2
            self._push(due, data[:half], None, self._paced)
            due += half * self._char_s + behaviour.gap_ms / 1000
            data = data[half:]
        self._push(due, data, meter, self._paced)

    def _push(self, due, data, meter, paced):
        if len(self._pending) >= _PENDING_MAX:
            self.dropped += 1
            return
        self._sequence += 1
        heapq.heappush(self._pending, (due, self._sequence, data, meter, paced))

    def _transmit(self, data, meter, paced):
        start = max(time.monotonic(), self._wire_free)
        step = max(1, int(_PIECE_S / self._char_s)) if paced else len(data)
        sent = True
        for index in range(0, len(data), step):
            piece = data[index : index + step]
            if paced and self._stopping.wait(start + (index + len(piece)) * self._char_s - time.monotonic()):
                return
            with self._changed:
                if meter and index + step >= len(data):  # counted before it can be seen at the other end
                    meter.answered += 1
                    self.answered += 1
                try:
                    sent = os.write(self._fd, piece) == len(piece) and sent
                except BlockingIOError:  # not read: the bytes are lost, as on a wire
                    sent = False
        self._wire_free = time.monotonic()
        with self._changed:
            self.dropped += not sent
            self._changed.notify_all()

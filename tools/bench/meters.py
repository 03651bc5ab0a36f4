"""Meters on the chip's RS-485 line, in the chip's time (Modbus over Serial Line V1.02).

In:  bytes that the chip sent, each with the moment at which it was out.
Out: replies with the moment at which they begin, and a record of each transaction. Silence when there is no meter of
     that unit, or the CRC is wrong; what silence has cut is dropped.
"""

import struct
from collections.abc import Iterable
from typing import Any, NamedTuple

from tools.virtual_line import adu, crc16, request_length

_QUIET_CHARACTERS = 3.5  # between frames: 2.5.1.1, at 19200 baud and below
_BITS = 11  # of a character there
_FRAME_MAX = 256
_KEPT = 1000
DELAY_MS = 10


class Transaction(NamedTuple):
    """Moments: the request's first bit, its last one, the reply's first one, its last one."""

    began_ns: float
    asked_ns: float
    answering_ns: float
    ended_ns: float


class Ramp:
    """A meter that has every register: its value follows from its address."""

    def __init__(self, unit: int) -> None:
        self.unit = unit

    @staticmethod
    def register(address: int) -> int:
        return (7 * address + 1000) & 0xFFFF

    def answer(self, pdu: bytes) -> bytes:
        function, first, count = struct.unpack(">BHH", pdu)
        values = [self.register(first + n) for n in range(count)]
        return struct.pack(f">BB{count}H", function, 2 * count, *values)


class Line:
    """Meters (answer(pdu) -> pdu, unit) on one line; each answers `delay_ms` after the end of the request, or t3.5."""

    def __init__(self, meters: Iterable[Any], delay_ms: float = DELAY_MS) -> None:
        self._meters = {meter.unit: meter for meter in meters}
        self._delay_ms = delay_ms
        self._frame = bytearray()
        self._began_ns = self._last_ns = 0.0
        self.transactions: list[Transaction] = []
        self.replies = 0  # of all time

    def sent(self, byte: int, now_ns: float, character_ns: float) -> tuple[float, bytes] | None:
        """A byte of the chip; the reply and the moment at which it begins, once a request is whole."""
        quiet_ns = _QUIET_CHARACTERS * character_ns * _BITS / 10
        if self._frame and now_ns - self._last_ns > quiet_ns + character_ns:
            self._frame.clear()
        if not self._frame:
            self._began_ns = now_ns - character_ns
        self._last_ns = now_ns
        self._frame.append(byte)
        length = request_length(self._frame)
        if length is None or length > _FRAME_MAX:
            raise ValueError(f"the chip sent what these meters do not know: {self._frame.hex()}")
        if not length or len(self._frame) < length:
            return None
        frame = bytes(self._frame[:length])
        self._frame.clear()
        meter = self._meters.get(frame[0])
        if meter is None or crc16(frame):
            return None
        reply = adu(frame[0], meter.answer(frame[1:-2]))
        begins_ns = now_ns + max(quiet_ns, 1e6 * self._delay_ms)
        self.transactions.append(Transaction(self._began_ns, now_ns, begins_ns, begins_ns + len(reply) * character_ns))
        del self.transactions[:-_KEPT]
        self.replies += 1
        return begins_ns, reply

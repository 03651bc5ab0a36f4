"""Unit 255 (and 0): the gateway as a Modbus device. The register map is in docs/reference/modbus.md.

Input registers (FC 04): point id x 4 is a point of a meter: float32 (2), age in seconds (1), quality (1).
Holding registers (FC 03): identity, health, the socket ledger and counters.
Device identification: FC 43/14 (Application Protocol V1.1b3, 6.21).
"""

import struct

from micropython import const

from firmware import VERSION
from firmware.bus import BusStats
from firmware.meters.meter import ONLINE
from firmware.net import seam
from firmware.net.budget import SERVICES
from firmware.services.modbus_tcp.counters import Counters
from modbus import pdu

_TYPING = const(0)
if _TYPING:
    from firmware.bus import Buses
    from firmware.config.config_store import ConfigStore
    from firmware.device import Device
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.budget import Budget
    from firmware.net.clock import Clock
    from modbus.pdu import Buffer

MAP_VERSION = const(1)
LEDGER = const(200)
LEDGER_ROWS = const(16)
LEDGER_ROW = const(16)
BUSES = const(600)
BUS_ROW = const(32)
_NO_POINT = const(255)  # quality of an address between two points
_NO_AGE = const(0xFFFF)
_NAN = b"\x7f\xc0\x00\x00"


class Unit255:
    """`device`: its `services` are (name, state, ...) of all kinds of services; `config_store`: name, errors and
    reboot_due(); the others are the parts of the gateway. `counters` are the Modbus server's."""

    def __init__(
        self, device: "Device", config_store: "ConfigStore", clock: "Clock", budget: "Budget", meters: "Meters",
        readings: "Readings", buses: "Buses",
    ):  # fmt: skip
        self.counters = Counters()
        self._device = device
        self._config_store = config_store
        self._clock = clock
        self._budget = budget
        self._meters = meters
        self._readings = readings
        self._buses = buses

    def answer(self, buf: "Buffer", at: int, n: int, out: bytearray, start: int) -> int:
        """Writes the answer to the PDU buf[at:at+n] into out[start:]; returns its length."""
        function = buf[at]
        if function not in (3, 4, 43):
            return _exception(out, start, function, pdu.ILLEGAL_FUNCTION)
        code = pdu.check_request(buf, at, n)
        if code:
            return _exception(out, start, function, code)
        if function == 43:
            return self._identification(buf, at, n, out, start)
        first = buf[at + 1] << 8 | buf[at + 2]
        count = buf[at + 3] << 8 | buf[at + 4]
        if function == 4:
            good = self._read_input(first, count, out, start + 2)
        else:
            good = self._read_holding(first, count, out, start + 2)
        if not good:
            return _exception(out, start, function, pdu.ILLEGAL_DATA_ADDRESS)
        out[start] = function
        out[start + 1] = 2 * count
        return 2 + 2 * count

    # -- input registers: the points

    def _read_input(self, first, count, out, at):
        row = bytearray(8)
        address = first & ~3
        while address < first + count:
            if not self._put_point(address >> 2, row):
                return False
            for i in range(4):
                if first <= address + i < first + count:
                    to = at + 2 * (address + i - first)
                    out[to] = row[2 * i]
                    out[to + 1] = row[2 * i + 1]
            address += 4
        return True

    def _put_point(self, point_id, row):
        """Writes the four registers of a point into `row`. Returns False when no meter has that slot."""
        found = self._meters.find(point_id)
        if found is None:
            return False
        meter, i = found
        row[:4] = _NAN
        age = _NO_AGE
        quality = _NO_POINT
        if i >= 0:
            value, age_s, quality = self._readings.read(meter, i)
            if value is not None:
                struct.pack_into(">f", row, 0, value)
            if age_s is not None:
                age = min(age_s, _NO_AGE)
        row[4] = age >> 8
        row[5] = age & 0xFF
        row[6] = 0
        row[7] = quality
        return True

    # -- holding registers: identity, ledger, counters

    def _read_holding(self, first, count, out, at):
        end = first + count
        if end <= 100:
            rows = iter((self._identity(),))
            base = 0
        elif first >= 100 and end <= LEDGER:
            rows = iter((self._sockets(),))
            base = 100
        elif first >= LEDGER and end <= LEDGER + LEDGER_ROWS * LEDGER_ROW:
            rows = self._ledger()
            base = LEDGER
        elif first >= BUSES:
            rows = self._bus_counters()
            base = BUSES
        else:
            return False
        for words in rows:
            for i in range(max(first - base, 0), min(end - base, len(words))):
                to = at + 2 * (base + i - first)
                out[to] = words[i] >> 8
                out[to + 1] = words[i] & 0xFF
            base += len(words)
            if base >= end:
                return True
        return False

    def _identity(self):
        store = self._config_store
        meters = self._meters
        words = [0x4D50, MAP_VERSION, VERSION[0] << 8 | VERSION[1], VERSION[2]]
        _append_long(words, self._clock.uptime_s())
        _append_long(words, self._clock.unix_s())
        words.append(1 if store.reboot_due() else 0)
        words.append(len(store.errors))
        words.append(len(meters.meters))
        words.append(len(meters))
        words.append(sum([1 for meter in meters.meters if meter.state == ONLINE]))
        words.append(self._without_memory())
        return words

    def _without_memory(self):
        """Bit k: the k-th kind of service was not started for want of memory."""
        mask = 0
        for service in self._device.services:
            if service.state == "no_memory":
                mask |= 1 << SERVICES.index(service.name)
        return mask

    def _sockets(self):
        budget = self._budget
        words = [budget.limit, len(budget.services), budget.general, len(budget.connections), budget.high_water]
        words.append(len(budget.refused_services))
        for count in (budget.accepted, budget.postponed, budget.failed_accepts):
            _append_long(words, count)
        for count in budget.evictions:
            _append_long(words, count)
        for name in Counters.NAMES:
            _append_long(words, getattr(self.counters, name))
        return words

    def _ledger(self):
        rows = 0
        now = self._clock.uptime_s()
        for slot in self._budget.ledger():
            words = []
            words.append(1 + SERVICES.index(slot.kind) | (0x100 if slot.role == "connection" else 0))
            words.append((1 if slot.open else 0) | (2 if slot.busy else 0))
            ip, port = seam.peer(slot.peer) if slot.peer is not None else ("0.0.0.0", 0)
            quad = [int(part) for part in ip.split(".")]
            words.append(quad[0] << 8 | quad[1])
            words.append(quad[2] << 8 | quad[3])
            words.append(port)
            words.append(min(slot.idle_ms() // 1000, 0xFFFF) if slot.role == "connection" else _NO_AGE)
            _append_long(words, now - slot.opened_s)
            _append_long(words, slot.requests)
            _append_long(words, slot.received)
            _append_long(words, slot.sent)
            words.extend((0, 0))
            rows += 1
            yield words
        while rows < LEDGER_ROWS:
            rows += 1
            yield bytes(LEDGER_ROW)

    def _bus_counters(self):
        for bus in self._buses:
            words = []
            counters = bus.counters
            words.append(0 if bus.line_error else 1)
            words.append(bus.waiting())
            for name in BusStats.NAMES:
                _append_long(words, getattr(counters, name))
            words.extend([0] * (BUS_ROW - len(words)))
            yield words

    # -- device identification

    def _identification(self, buf, at, n, out, start):
        """6.21: stream access to the basic and regular objects, and individual access to each."""
        if buf[at + 1] != 0x0E:
            return _exception(out, start, 43, pdu.ILLEGAL_FUNCTION)
        if n != 4 or not 1 <= buf[at + 2] <= 4:
            return _exception(out, start, 43, pdu.ILLEGAL_DATA_VALUE)
        code, wanted = buf[at + 2], buf[at + 3]
        objects = (
            b"meterport",
            b"METERPORT",
            b"%d.%d.%d" % VERSION,
            b"",
            b"meterport Modbus gateway",
            b"",
            self._config_store.name.encode(),
        )
        if code == 4:
            if wanted >= len(objects):
                return _exception(out, start, 43, pdu.ILLEGAL_DATA_ADDRESS)
            first, end = wanted, wanted + 1
        else:
            end = 3 if code == 1 else len(objects)
            first = wanted if wanted < end else 0  # an unknown object starts the stream over
        # Seven objects of at most 32 bytes always fit into one answer: "more follows" is never needed.
        answer = bytes((43, 0x0E, code, 0x82, 0, 0, end - first))
        for k in range(first, end):
            answer += bytes((k, len(objects[k]))) + objects[k]
        out[start : start + len(answer)] = answer
        return len(answer)


def _exception(out, start, function, code):
    out[start] = function | 0x80
    out[start + 1] = code
    return 2


def _append_long(words, number):
    """Appends an unsigned 32-bit number, high word first; counters wrap as registers do."""
    words.append(number >> 16 & 0xFFFF)
    words.append(number & 0xFFFF)

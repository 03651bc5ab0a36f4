"""The history as messages of QoS 1 (MQTT 3.1.1, 4.3.2): a record of flash is delivered with the PUBACK of its packet.

A packet has whole lines of InfluxDB's line protocol, of several records or of a part of one. At most _WINDOW of them
wait for their PUBACK. Only where they begin and end is kept: what is sent again after a reconnect (4.4) is read again,
and has the same lines, without those that were removed for want of room. The cursor moves behind a packet when it and
all before it are acknowledged.
"""

import mqtt
from micropython import const

from firmware.history.records import Batch, lines
from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from firmware.history.records import FlashRecords

CURSOR = const("data/mqtt_history")  # kept by store.py
_PACKET = const(1024)  # bytes at most
_WINDOW = const(4)
_RECORDS_MAX = const(128)  # in a packet: those that say nothing take no room
_FIRST_ID = const(2)  # of packets: 1 is that of SUBSCRIBE
_LAST_ID = const(65535)
_ANSWER_MS = const(30000)


class Packet(Batch):
    """The records that end in a packet, and where it begins and stops: at line `line` of record `record`, when that is
    within one, and before line `stop_line` of record `stop_record`."""

    def __init__(self, identifier: int, begin: int, record: int, line: int) -> None:
        super().__init__(begin)
        self.identifier = identifier
        self.record = self.stop_record = record
        self.line = self.stop_line = line
        self.is_acknowledged = False


class HistorySender:
    """`topic`: of all packets; `gateway`: the tag gw of all lines; what next() gives goes out in its order.

    delivered: records since boot; has_answer: a packet was acknowledged since begin()."""

    def __init__(self, records: "FlashRecords", topic: bytes, gateway: bytes) -> None:
        self.records = records
        self.delivered = 0
        self.has_answer = False
        self._topic = topic
        self._gateway = gateway
        self._room = _PACKET - len(mqtt.publish(topic, b"", False, _FIRST_ID)) - 2  # for two more digits of the length
        self._window: list[Packet] = []
        self._again = 0  # index of the first in the window that was not sent in this connection
        self._last = Packet(_LAST_ID, records.cursor, 0, 0)  # behind it comes the next one
        self._is_placed = False  # the records stand behind _last
        self._is_within = False  # and that is within one, at line _line
        self._line = 0
        self._passed = 0  # records without a time that were counted since the records were opened
        self._opened_end = 0  # number of the record that was taken next when they were opened
        self._looked_end = -1  # the same, when nothing was found in them
        self._sent_ms = 0

    @property
    def is_unanswered(self) -> bool:
        """True when packets were sent in this connection, and the broker has acknowledged none of them."""
        return self._again > 0 and not self.has_answer

    @property
    def in_flight(self) -> int:
        """Packets that wait for their PUBACK."""
        return len(self._window)

    def begin(self) -> None:
        """A connection has begun: what is not acknowledged is sent again."""
        self._again = 0
        self.has_answer = False
        self._is_placed = False

    def is_overdue(self) -> bool:
        """True when the broker has acknowledged nothing for too long."""
        return self._again > 0 and seam.ticks_diff(seam.ticks_ms(), self._sent_ms) > _ANSWER_MS

    def acknowledge(self, identifier: int) -> None:
        """A PUBACK has come. One that was not awaited is passed over."""
        for k in range(self._again):
            packet = self._window[k]
            if packet.identifier == identifier:
                packet.is_acknowledged = self.has_answer = True
                self._sent_ms = seam.ticks_ms()
        self._pass_on()

    def _pass_on(self) -> None:
        """Moves the cursor behind what is acknowledged without a gap."""
        while self._window and self._window[0].is_acknowledged:
            packet = self._window.pop(0)
            self._again = max(self._again - 1, 0)
            self.records.pass_on(packet)
            self.delivered += packet.count

    async def next(self) -> "bytes | None":
        """The next PUBLISH; None while the window is full or nothing waits, and after many records that say nothing.
        Raises MemoryError; then a connection has to begin anew."""
        while True:
            window = self._window
            is_again = self._again < len(window)
            if is_again:
                packet = window[self._again]
                self._again += 1
                if packet.is_acknowledged:
                    continue
                payload = await self._read_again(packet)
            elif len(window) < _WINDOW and self._has_more():
                last = self._last
                identifier = last.identifier + 1 if last.identifier < _LAST_ID else _FIRST_ID
                packet = Packet(identifier, last.end, last.stop_record, last.stop_line)
                payload = await self._read_next(packet)
                if not payload and not packet.count:
                    return None
                self._last = packet
                window.append(packet)
                self._again += 1
            else:
                return None
            if payload:
                if self._again == 1:
                    self._sent_ms = seam.ticks_ms()
                return mqtt.publish(self._topic, payload, False, packet.identifier, is_again)
            packet.is_acknowledged = True  # nothing in it says anything, or it was removed
            self._pass_on()
            if not is_again:
                return None

    def _has_more(self) -> bool:
        if self._is_placed:
            return True
        end = self.records.next_record
        return end > self._last.end and end != self._looked_end

    def _open(self, number: int) -> None:
        self._opened_end = self.records.next_record
        self.records.open(number)
        self._is_within = False
        self._passed = 0

    async def _read_next(self, packet: Packet) -> bytes:
        if not self._is_placed:
            self._open(packet.begin)
        self._is_placed = False  # until it is done
        payload = bytearray()
        self._is_placed = await self._read(packet, payload, False)
        if not self._is_placed:
            self._looked_end = self._opened_end
        records = self.records
        packet.stop_record, packet.stop_line = (records.record, self._line) if self._is_within else (packet.end, 0)
        return bytes(payload)

    async def _read_again(self, packet: Packet) -> bytes:
        self._open(packet.begin)
        packet.count = packet.undated = 0
        payload = bytearray()
        await self._read(packet, payload, True)
        return bytes(payload)

    async def _read(self, packet: Packet, payload: bytearray, is_again: bool) -> bool:
        """Reads lines until the packet is full, or up to where it stops: False when no record was left."""
        records = self.records
        undated = self._passed
        for _ in range(_RECORDS_MAX):
            if not self._is_within:
                if not records.next():
                    return False
                self._is_within = True
                self._line = packet.line if records.record == packet.record else 0
            number = 0
            is_last = is_again and records.record >= packet.stop_record
            stop = packet.stop_line if records.record == packet.stop_record else 0
            for line in lines(records, self._gateway):
                number += 1
                if number <= self._line:
                    continue
                if is_last and number > stop:
                    return True
                if len(payload) + len(line) > self._room:
                    assert payload, "names have 32 characters and a slot: a line has room"
                    return True
                payload.extend(line)
                self._line = number
            if is_last:
                return True
            self._is_within = False
            self._passed = records.passed_undated
            packet.count += 1
            packet.undated = records.passed_undated - undated
            if not is_again:
                packet.end = records.record + 1
            await seam.sleep_ms(0)
        return True

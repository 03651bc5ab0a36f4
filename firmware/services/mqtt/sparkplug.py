"""What a Sparkplug host is told (Eclipse Sparkplug 3.0.0): the gateway is an edge node, each meter a device of it.

    spBv1.0/GROUP/NBIRTH|NDATA|NDEATH/NODE            bdSeq, Node Control/Rebirth, serial number, version, meters online
    spBv1.0/GROUP/DBIRTH|DDATA|DDEATH/NODE/METER      all points of a meter; in DDATA those that have changed
    spBv1.0/GROUP/NCMD/NODE                           a host asks for the births again
    spBv1.0/STATE/HOST                                whether the primary host is there: without it nothing is told

GROUP is mqtt.prefix, NODE the device's name. A message may have all points of a meter and be longer than any buffer:
its values are taken at one moment, counted, then encoded again, metric by metric, into the buffer of the connection.
What a host has been told of each meter is kept: the same is not sent again (Data Publish).
The alias of a point is its permanent id (Meter.point_id).
"""

import mqtt
import sparkplug
from micropython import const

from firmware import VERSION
from firmware.meters.meter import FAILING, ONLINE
from firmware.meters.profile import plain_real
from firmware.meters.readings import GOOD, WITHOUT_VALUE
from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Awaitable, Callable

    from firmware.history.records import FlashRecords
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock

_KEPT = const(512)  # bytes of a command: 274 for the longest topic, and room for 238 of its payload
_SEQ_MAX = const(255)
_REBIRTH_MS = const(5000)  # between two births that hosts ask for, at least
# Aliases of the node: those of points end at 63 << 8 | 255
_ALIAS_ONLINE = const(0x4001)
_ALIAS_VERSION = const(0x4002)
_ALIAS_SERIAL = const(0x4003)
# Of a meter, in _lives
_DEAD = const(0)
_ALIVE = const(1)
_REVIVED = const(2)  # its birth was sent for the values of its past only
# What is kept of a value before its bytes: its length << 2, one of these, and _TOLD for what the host has
_FRESH = const(0)
_OLD = const(1)
_NONE = const(2)
_TOLD = const(0x80)
_LENGTH = const(31)
_QUALITIES = (None, sparkplug.STALE, sparkplug.BAD)
_PROPERTIES = (b"", sparkplug.properties(b"", sparkplug.STALE), sparkplug.properties(b"", sparkplug.BAD))
_VALUE_MAX = const(12)  # bytes that are kept of a value
_METRIC_MAX = const(64)  # of a metric in data: 2, 5 of the alias, 8 of the time, 2, 20 of the quality, 11 of the value
_PIECE = const(256)  # of several metrics


class Sparkplug:
    """`group`, `node`, `host`: levels of topics; host b"": there is no primary host. `begin_message(topic, size)`
    begins one of QoS 0 in the connection, and `put(data)` writes a piece of its payload.

    commands, state: the topics to subscribe to, state b"" without a primary host; kept: bytes of a packet from them
    that a Reader has to keep; is_rebirth_due: births were asked for, and no values are sent until then;
    is_host_online: whether the primary host is, True without one; has_host_gone: it is not any more, and the connection
    has to end."""

    kept = _KEPT

    def __init__(
        self, group: bytes, node: bytes, level: "Callable[[str], bytes]", serial: str, clock: "Clock",
        host: bytes, meters: "Meters", readings: "Readings", begin_message: "Callable[[bytes, int], Awaitable[None]]",
        put: "Callable[[bytes | memoryview], Awaitable[None]]",
    ) -> None:  # fmt: skip
        self._group = b"spBv1.0/" + group
        self._node = node
        self._level = level
        self._serial = serial
        self._clock = clock
        self._meters = meters
        self._readings = readings
        self._begin_message = begin_message
        self._put = put
        self._piece = bytearray(_PIECE)
        self._bd_seq = _SEQ_MAX  # of this connection: the first one has 0
        self._seq = 0
        self._lives: list[int] = []  # for each meter: _DEAD until the host has its birth, and after its death
        self._told: "list[bytes | None]" = []  # for each meter: values as _look() has them, of the last message
        self._online = 0  # meters, as the host knows it
        self._born_ms = 0
        self.is_rebirth_due = True
        self._is_first = True  # births of a connection wait for nothing
        self.commands = self._topic(b"NCMD")
        self.state = host and b"spBv1.0/STATE/" + host
        self._state_ms = 0  # time of the last STATE
        self.is_host_online = not host
        self.has_host_gone = False

    def _topic(self, kind, meter=None):
        topic = self._group + b"/" + kind + b"/" + self._node
        return topic if meter is None else topic + b"/" + self._level(meter.name)

    def _now_ms(self):
        now_ms = self._clock.unix_ms()
        assert now_ms is not None, "connected only once it is known"
        return now_ms

    @property
    def is_born(self) -> bool:
        """True from the births on until they have to come again."""
        return self.is_host_online and not self.is_rebirth_due

    # -- the connection

    def will(self) -> "tuple[bytes, bytes]":
        """(topic, payload) of the NDEATH that the broker publishes when the connection that is begun now has ended."""
        self._bd_seq = (self._bd_seq + 1) & _SEQ_MAX
        return self.death()

    def death(self) -> "tuple[bytes, bytes]":
        """The same, of the connection that there is: it comes before a DISCONNECT (Edge Node Session Termination)."""
        now_ms = self._now_ms()
        return self._topic(b"NDEATH"), sparkplug.begin(now_ms) + self._bd_seq_metric(now_ms)

    def begin(self) -> None:
        """The connection is made; the broker will say whether the primary host is online."""
        self.is_rebirth_due = self._is_first = True
        self.is_host_online = not self.state
        self.has_host_gone = False

    def take(self, flags: int, size: int, body: bytes) -> bytes:
        """Takes a PUBLISH of the topics `commands` and `state`: the PUBACK that it calls for, or b"". A command of
        which the Reader kept a part only is taken for a request of births, which tell all. Raises MqttError."""
        packet_id, at = mqtt.published(flags, body)
        if self.state and body[2:].startswith(self.state):
            self._take_state(body[at:])
        elif size > len(body) or sparkplug.asks_rebirth(body[at:]):
            self.is_rebirth_due = True
        return mqtt.puback(packet_id) if packet_id else b""

    def _take_state(self, payload):
        """One that is older than the last counts for nothing: the will of a connection that the host has replaced."""
        state = sparkplug.state(payload)
        if state is None or state[1] < self._state_ms:
            return
        is_online, self._state_ms = state
        if self.is_host_online and not is_online:
            self.has_host_gone = True
        self.is_host_online = is_online

    # -- messages

    async def publish_changes(self, is_flushing: bool = False) -> None:
        """All births when they are due; births and deaths of meters that have come and gone. Nothing without the
        primary host. `is_flushing`: records are being sent, and a meter that is revived for them does not die yet."""
        if not self.is_host_online:
            return
        if self.is_rebirth_due:
            waited_ms = seam.ticks_diff(seam.ticks_ms(), self._born_ms)
            if not self._is_first and 0 <= waited_ms < _REBIRTH_MS:
                return
            self._is_first = self.is_rebirth_due = False
            self._born_ms = seam.ticks_ms()
            await self._publish_node()
        for k, meter in enumerate(self._meters.meters):
            before = after = self._lives[k]
            if meter.state == ONLINE:
                after = _ALIVE
            elif not (before == _ALIVE and meter.state == FAILING or before == _REVIVED and is_flushing):
                after = _DEAD  # not at the first answer that it has missed: its values are stale
            if after != before:
                self._lives[k] = after
                if after == _ALIVE:
                    await self._publish_meter(k, True)
                else:
                    await self._publish(self._topic(b"DDEATH", meter), b"")
        online = self._lives.count(_ALIVE)
        if online != self._online:
            self._online = online
            await self._publish(self._topic(b"NDATA"), self._online_metric(self._now_ms(), False))

    async def publish_values(self) -> None:
        """Of the points that have changed, of all meters that have their birth; none while births are due."""
        for k in range(len(self._meters.meters)):
            if self.is_rebirth_due:
                return
            if self._lives[k] == _ALIVE:
                await self._publish_meter(k, False)

    async def publish_record(self, records: "FlashRecords") -> int:
        """The record that `records` stands at, as historical values with its time: data of each meter that has any.
        Bytes. A meter that is not there now is born for it: without a birth it has no data."""
        columns = records.columns
        time = sparkplug.timestamp(1000 * records.time_s)
        count = len(columns.names)
        k = size = 0
        while k < count:
            m = columns.meter_of[k]
            meter = columns.meters[m]
            metrics = b""
            while k < count and columns.meter_of[k] == m:  # energy and power at most
                text = records.value(k)
                if text:
                    is_whole = columns.is_whole(k)
                    value = sparkplug.integer(int(text)) if is_whole else sparkplug.single(float(text))
                    alias = meter.point_id(columns.series[columns.order[k]][1])
                    datatype = sparkplug.INT64 if is_whole else sparkplug.FLOAT
                    metrics += sparkplug.metric(alias, time, datatype, sparkplug.HISTORICAL + value)
                k += 1
            if metrics:
                at = self._meters.meters.index(meter)
                if self._lives[at] == _DEAD:
                    self._lives[at] = _REVIVED
                    await self._publish_meter(at, True)
                await self._publish(self._topic(b"DDATA", meter), metrics)
                size += len(metrics)
        return size

    async def _publish_node(self):
        self._lives = [_DEAD] * len(self._meters.meters)
        self._told = [None] * len(self._meters.meters)
        self._online = 0
        self._seq = _SEQ_MAX  # a birth has 0
        now_ms = self._now_ms()
        time = sparkplug.timestamp(now_ms)
        version = sparkplug.text(b"%d.%d.%d" % VERSION)
        serial = sparkplug.text(self._serial.encode())
        metrics = (
            self._bd_seq_metric(now_ms),
            sparkplug.metric(0, time, sparkplug.BOOLEAN, sparkplug.boolean(False), b"", sparkplug.REBIRTH),
            self._online_metric(now_ms, True),
            sparkplug.metric(_ALIAS_VERSION, time, sparkplug.STRING, version, b"", b"firmware_version"),
            sparkplug.metric(_ALIAS_SERIAL, time, sparkplug.STRING, serial, b"", b"serial_number"),
        )  # fmt: skip
        await self._publish(self._topic(b"NBIRTH"), b"".join(metrics))

    def _bd_seq_metric(self, now_ms):
        time = sparkplug.timestamp(now_ms)
        return sparkplug.metric(0, time, sparkplug.INT64, sparkplug.integer(self._bd_seq), b"", b"bdSeq")

    def _online_metric(self, now_ms, is_birth):
        value = sparkplug.integer(self._online, sparkplug.INT32)
        time = sparkplug.timestamp(now_ms)
        name = b"meters_online" if is_birth else b""
        return sparkplug.metric(_ALIAS_ONLINE, time, sparkplug.INT32, value, b"", name)

    async def _publish(self, topic, metrics):
        """A message of these metrics."""
        begin, end = self._ends(self._now_ms())
        await self._begin_message(topic, len(begin) + len(metrics) + len(end))
        await self._put(begin + metrics + end)

    def _ends(self, now_ms):
        """Beginning and end of the next payload."""
        self._seq = (self._seq + 1) & _SEQ_MAX
        return sparkplug.begin(now_ms), sparkplug.end(self._seq)

    async def _publish_meter(self, k, is_birth):
        """A message of the points of meter k, as they are now: a birth of all, data of those that have changed."""
        meter = self._meters.meters[k]
        now_ms = self._now_ms()
        times, values, size = self._look(meter, now_ms, None if is_birth else self._told[k])
        self._told[k] = values
        if is_birth:
            size = 0
            for metric in self._births(meter, times, values, True):
                size += metric
        elif not size:
            return
        begin, end = self._ends(now_ms)
        await self._begin_message(self._topic(b"DBIRTH" if is_birth else b"DDATA", meter), len(begin) + size + len(end))
        await self._put(begin)
        if is_birth:
            for metric in self._births(meter, times, values, False):
                await self._put(metric)
        else:
            await self._put_data(meter, times, values)
        await self._put(end)

    def _look(self, meter, now_ms, told):
        """(times, values, size) at this moment: when each block was read, encoded; for each point the length of its
        value << 2 | _FRESH and so on, and the value, encoded; the length of all metrics in data, without those that are
        the same in `told`, values of before. What is written between two pauses may change in them."""
        profile = meter.profile
        block_of = meter.block_of
        times = [b""] * len(meter.blocks)
        values = bytearray(_VALUE_MAX * len(profile))
        begin = size = was = 0
        number = -1
        for i in range(len(profile)):
            if block_of[i] != number:
                number = block_of[i]
                block = meter.blocks[number]
                age_s, block_quality = self._readings.of_block(meter, block)
                time = times[number] = sparkplug.timestamp(now_ms - 1000 * (age_s or 0))
            at = begin + 1
            quality = block_quality
            accumulates = profile.accumulates(i)
            if (
                quality in WITHOUT_VALUE
                or accumulates
                or meter.ratios
                or meter.held
                or not plain_real(values, at + 1, profile, i, block.raw)
            ):
                value, _, quality = self._readings.read(meter, i)
                if value is None:
                    values[at : at + 2] = sparkplug.NULL
                    end = at + 2
                elif accumulates:
                    assert isinstance(value, int)
                    end = sparkplug.put_integer(values, at, value)
                else:
                    values[at : at + 5] = sparkplug.single(value)
                    end = at + 5
                state = _NONE if value is None else _FRESH if quality == GOOD else _OLD
            else:
                values[at] = 0x65  # as sparkplug.single() writes it; those four bytes have the other order
                end = at + 5
                values[at + 1], values[at + 2], values[at + 3], values[at + 4] = (
                    values[at + 4], values[at + 3], values[at + 2], values[at + 1],
                )  # fmt: skip
                state = _FRESH if quality == GOOD else _OLD
            values[begin] = end - at << 2 | state
            if told is not None:
                then = was + 1
                was = then + (told[was] >> 2 & _LENGTH)
                if told[then - 1] & 0x7F == values[begin]:
                    begin += 1
                    while begin < end and values[begin] == told[then]:
                        begin += 1
                        then += 1
                    if begin == end:
                        values[at - 1] |= _TOLD
                        continue
            size += 5 + sparkplug.varint_size(meter.point_id(i)) + len(time) + len(_PROPERTIES[state]) + end - at
            begin = end
        return times, bytes(memoryview(values)[:begin]), size

    def _births(self, meter, times, values, is_size):
        """Yields each metric of the birth of a meter, or with `is_size` the length of each."""
        profile = meter.profile
        names = profile.names
        at = end = 0
        for i in range(len(profile)):
            begin = at + 1
            at = begin + (values[begin - 1] >> 2 & _LENGTH)
            name_at = end + 1
            end = name_at + names[end]
            name = names[name_at:end]
            time = times[meter.block_of[i]]
            properties = sparkplug.properties(profile.unit(i).encode(), _QUALITIES[values[begin - 1] & 3])
            alias = meter.point_id(i)
            if is_size:
                yield sparkplug.metric_size(alias, len(time) + at - begin + len(properties), len(name))
            else:
                datatype = sparkplug.INT64 if profile.accumulates(i) else sparkplug.FLOAT
                yield sparkplug.metric(alias, time, datatype, values[begin:at], properties, name)

    async def _put_data(self, meter, times, values):
        """The metrics of what has changed without their names, some of them at a time. As sparkplug.metric() writes
        them, but in place: what is allocated for each point costs most in the collections that follow."""
        piece = self._piece
        view = memoryview(piece)
        profile = meter.profile
        at = value = 0
        for i in range(len(profile)):
            if at > _PIECE - _METRIC_MAX:
                await self._put(view[:at])
                await seam.sleep_ms(0)
                at = 0
            state = values[value]
            length = state >> 2 & _LENGTH
            value += 1
            if state & _TOLD:
                value += length
                continue
            properties = _PROPERTIES[state & 3]
            time = times[meter.block_of[i]]
            begin = at
            piece[at] = 0x12
            piece[at + 2] = 0x10
            at = sparkplug.put_varint(piece, at + 3, meter.point_id(i))
            piece[at : at + len(time)] = time
            at += len(time)
            # With its type, which the standard lets be left out here: Eclipse Tahu's own decoder for JavaScript reads
            # no value without.
            piece[at] = 0x20
            piece[at + 1] = sparkplug.INT64 if profile.accumulates(i) else sparkplug.FLOAT
            at += 2
            if properties:
                piece[at : at + len(properties)] = properties
                at += len(properties)
            piece[at : at + length] = values[value : value + length]
            at += length
            value += length
            piece[begin + 1] = at - begin - 2  # less than 128
        await self._put(view[:at])

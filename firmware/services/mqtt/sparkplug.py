"""What a Sparkplug host is told (Eclipse Sparkplug 3.0.0): the gateway is an edge node, each meter a device of it.

    spBv1.0/GROUP/NBIRTH|NDATA|NDEATH/NODE            bdSeq, Node Control/Rebirth, serial number, version, meters online
    spBv1.0/GROUP/DBIRTH|DDATA|DDEATH/NODE/METER      all points of a meter
    spBv1.0/GROUP/NCMD/NODE                           a host asks for the births again

GROUP is mqtt.prefix, NODE the device's name. A message has all points of a meter and may be longer than any buffer: its
values are taken at one moment, counted, then encoded again, metric by metric, into the buffer of the connection.
The alias of a point is its permanent id (Meter.point_id).
"""

import mqtt
import sparkplug
from micropython import const

from firmware import VERSION
from firmware.meters.meter import FAILING, ONLINE
from firmware.meters.readings import GOOD
from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Awaitable, Callable

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
# What is kept of a value beside its bytes: its length << 2, and one of
_FRESH = const(0)
_OLD = const(1)
_NONE = const(2)
_QUALITIES = (None, sparkplug.STALE, sparkplug.BAD)


class Sparkplug:
    """`group`, `node`: levels of topics; `begin_message(topic, size)` begins one of QoS 0 in the connection, and
    `put(data)` writes a piece of its payload.

    commands: the topic to subscribe to; kept: bytes of a packet from it that a Reader has to keep;
    is_rebirth_due: births were asked for, and no values are sent until then."""

    kept = _KEPT

    def __init__(
        self, group: bytes, node: bytes, level: "Callable[[str], bytes]", serial: str, clock: "Clock",
        meters: "Meters", readings: "Readings", begin_message: "Callable[[bytes, int], Awaitable[None]]",
        put: "Callable[[bytes], Awaitable[None]]",
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
        self._bd_seq = _SEQ_MAX  # of this connection: the first one has 0
        self._seq = 0
        self._is_alive: list[bool] = []  # for each meter: the host has its birth, and no death
        self._online = 0  # meters, as the host knows it
        self._born_ms = 0
        self.is_rebirth_due = True
        self._is_first = True  # births of a connection wait for nothing
        self.commands = self._topic(b"NCMD")

    def _topic(self, kind, meter=None):
        topic = self._group + b"/" + kind + b"/" + self._node
        return topic if meter is None else topic + b"/" + self._level(meter.name)

    def _now_ms(self):
        now_ms = self._clock.unix_ms()
        assert now_ms is not None, "connected only once it is known"
        return now_ms

    # -- the connection

    def will(self) -> "tuple[bytes, bytes]":
        """(topic, payload) of the NDEATH that the broker publishes when the connection that is begun now has ended."""
        self._bd_seq = (self._bd_seq + 1) & _SEQ_MAX
        now_ms = self._now_ms()
        return self._topic(b"NDEATH"), sparkplug.begin(now_ms) + self._bd_seq_metric(now_ms)

    def begin(self) -> None:
        """The connection is made."""
        self.is_rebirth_due = self._is_first = True

    def take(self, flags: int, size: int, body: bytes) -> bytes:
        """Takes a PUBLISH of the topic `commands`: the PUBACK that it calls for, or b"". One of which the Reader kept
        a part only is taken for a request of births, which tell all. Raises MqttError."""
        packet_id, at = mqtt.published(flags, body)
        if size > len(body) or sparkplug.asks_rebirth(body[at:]):
            self.is_rebirth_due = True
        return mqtt.puback(packet_id) if packet_id else b""

    # -- messages

    async def publish_changes(self) -> None:
        """All births when they are due; births and deaths of meters that have come and gone."""
        if self.is_rebirth_due:
            waited_ms = seam.ticks_diff(seam.ticks_ms(), self._born_ms)
            if not self._is_first and 0 <= waited_ms < _REBIRTH_MS:
                return
            self._is_first = self.is_rebirth_due = False
            self._born_ms = seam.ticks_ms()
            await self._publish_node()
        for k, meter in enumerate(self._meters.meters):
            # A meter that has missed one answer is not dead yet: its values are stale.
            was_alive = self._is_alive[k]
            is_alive = meter.state == ONLINE or was_alive and meter.state == FAILING
            if is_alive != was_alive:
                self._is_alive[k] = is_alive
                if is_alive:
                    await self._publish_meter(b"DBIRTH", meter, True)
                else:
                    await self._publish(self._topic(b"DDEATH", meter), b"")
        online = sum(self._is_alive)
        if online != self._online:
            self._online = online
            await self._publish(self._topic(b"NDATA"), self._online_metric(self._now_ms(), False))

    async def publish_values(self) -> None:
        """Of all points of all meters that have their birth; none while births are due."""
        for k, meter in enumerate(self._meters.meters):
            if self._is_alive[k] and not self.is_rebirth_due:
                await self._publish_meter(b"DDATA", meter, False)

    async def _publish_node(self):
        self._is_alive = [False] * len(self._meters.meters)
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

    async def _publish_meter(self, kind, meter, is_birth):
        """A message of all points of a meter, as they are now."""
        now_ms = self._now_ms()
        times, values = self._look(meter, now_ms)
        begin, end = self._ends(now_ms)
        size = len(begin) + len(end)
        for metric in self._metrics(meter, times, values, is_birth, True):
            size += metric
        await self._begin_message(self._topic(kind, meter), size)
        await self._put(begin)
        for metric in self._metrics(meter, times, values, is_birth, False):
            await self._put(metric)
        await self._put(end)

    def _look(self, meter, now_ms):
        """(times, values) at this moment: when each block was read, encoded; for each point the length of its value
        << 2 | _FRESH and so on, and the value, encoded. What is written between two pauses may change in them."""
        times = [b""] * len(meter.blocks)
        values = bytearray()
        for i in range(len(meter.profile)):
            value, age_s, quality = self._readings.read(meter, i)
            block = meter.block_of[i]
            if not times[block]:
                times[block] = sparkplug.timestamp(now_ms - 1000 * (age_s or 0))
            kind = _FRESH if quality == GOOD else _OLD
            if value is None:
                kind = _NONE
                data = sparkplug.NULL
            elif isinstance(value, int) and meter.profile.accumulates(i):
                data = sparkplug.integer(value)
            else:
                data = sparkplug.single(value)
            values.append(len(data) << 2 | kind)
            values.extend(data)
        return times, values

    def _metrics(self, meter, times, values, is_birth, is_size):
        """Yields each metric of a message of the meter, or with `is_size` the length of each."""
        profile = meter.profile
        name = unit = b""
        at = 0
        for i in range(len(profile)):
            begin = at + 1
            at = begin + (values[begin - 1] >> 2)
            if is_birth:
                name = profile.name_of(i).encode()
                unit = profile.unit(i).encode()
            time = times[meter.block_of[i]]
            properties = sparkplug.properties(unit, _QUALITIES[values[begin - 1] & 3])
            alias = meter.point_id(i)
            if is_size:
                yield sparkplug.metric_size(alias, len(time) + at - begin + len(properties), len(name))
            else:
                # With its type in data too, where the standard lets it be left out: Eclipse Tahu's own decoder for
                # JavaScript reads no value without.
                datatype = sparkplug.INT64 if profile.accumulates(i) else sparkplug.FLOAT
                yield sparkplug.metric(alias, time, datatype, bytes(values[begin:at]), properties, name)

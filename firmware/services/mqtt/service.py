"""MQTT client (3.1.1): tells a broker whether the gateway and its meters are there, and their values.

    PREFIX/NAME/status             online, or offline, which the broker says when the connection ends (will); retained
    PREFIX/NAME/METER/status       online or offline; retained
    PREFIX/NAME/METER/POINT        a value in its unit, each interval, while it is fresh; not retained: who comes later
                                   gets none that is old
    PREFIX/NAME/METER/values       with mqtt.payload "json" in place of those: all values of a meter, as one object
    PREFIX/NAME/history            records of flash, each of them, with QoS 1 (history.py); the newest at an offset
                                   behind its interval that is the gateway's own

With mqtt.payload "sparkplug" none of these, but what sparkplug.py has.

One connection, one task. It goes on for ever: after an error again in 2 s, 4 s, ... 5 minutes, less a random part.
With TLS it ends the connection when posting over https waits for its turn, and is back after that (firmware.net.tls).
Values have QoS 0: each is overtaken by the next one. No packet but CONNECT and those of Sparkplug and of all values of
a meter is longer than 1 KiB.
docs/reference/mqtt.md.
"""

import os

import mqtt
from micropython import const

from firmware.config import store
from firmware.meters.meter import ONLINE
from firmware.meters.meters import topic_level
from firmware.net import seam
from firmware.net.link import serial as serial_of
from firmware.net.tcp_client import ConnectionFailed
from firmware.services import Service
from firmware.services.mqtt.values import Values

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.board import Link
    from firmware.bus import Buses
    from firmware.events import Events
    from firmware.history.history import History
    from firmware.history.records import Keeper
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.clock import Clock
    from firmware.net.tcp_client import TcpClient
    from firmware.net.tls import Tls
    from firmware.services.mqtt.history import HistorySender
    from firmware.services.mqtt.sparkplug import Sparkplug
    from firmware.services.mqtt.sparkplug_history import SparkplugHistory

_ANSWER_MS = const(10000)
_HANDSHAKE_MS = const(30000)  # to connect with TLS
_PORT = const(1883)
_PORT_TLS = const(8883)
_LOOK_MS = const(1000)
_BACK_OFF_FIRST_S = const(2)
_BACK_OFF_LAST_S = const(300)
_BUFFER = const(1024)  # packets that go out together
_RECEIVED = const(256)
_BIRTH_DELAY_S = const(10)  # at most, after Home Assistant has come: gateways do not send all at once
_ACK_S = const(5)  # before the end of an interval, by which the newest record is sent: its PUBACK has come then
_PAUSE_MS = const(20)  # between two buffers of many packets: others have their turn
_HEAD = const(5)  # before a topic: 1, two of a length, two of the topic's
_AROUND = const(16)  # of an object: a head, "/values", and braces
_FIRST_ID = const(1)  # of a SUBSCRIBE; packets of the history have others
_STATE_ID = const(2)  # of that for the primary host: Sparkplug has no such packets
_REFUSED = const(0x80)  # in a SUBACK
_BIRTH = b"homeassistant/status"
_DISCOVERY = b"homeassistant/"
_DESCRIBED = const("data/mqtt")  # kept by store.py: the entities that Home Assistant was told of (discovery.entities)
_STATES = const("data/mqtt_states")  # as well: whose states the broker retains, topics with a zero byte between two
_REST_MS = const(20000)  # the longest that the buses are asked to rest
_REFUSALS = const(3)  # connections in a row that end at the history, after which there are only values
_REFUSED_S = const(3600)  # until the history is tried again
_MISSED = const(3)  # intervals without a value, after which Home Assistant shows none


def level(name: str) -> bytes:
    """A name as one level of a topic."""
    return topic_level(name).encode()


class Mqtt(Service):
    """`config` is the section "mqtt"; `name` the device's; `serial` what no other device has; `tls`:
    firmware.net.tls.Tls, or None.

    state: "no_link", "no_time", "connecting", "connected", "no_host", "retrying"; error: why it is not connected, or
    never will hear of its host; None when it is.
    connections, published: since boot.
    history: what sends the records of flash, None when it does not."""

    name = "mqtt"
    has_task = True

    def __init__(
        self, config: dict, name: str, serial: str, client: "TcpClient", tls: "Tls | None", events: "Events",
        clock: "Clock", link: "Link", meters: "Meters", readings: "Readings", buses: "Buses", history: "History",
        random_bytes: "Callable[[int], bytes]" = os.urandom, page_port: int = 80,
    ) -> None:  # fmt: skip
        """`page_port`: of the gateway's page, 0 without one. Raises OSError when what Home Assistant was told, or the
        cursor of the history, cannot be read."""
        self._config = config
        self._name = name
        self._serial = serial
        self._client = client
        self.tls = tls
        self._port = config["port"] or (_PORT if tls is None else _PORT_TLS)
        self._events = events
        if tls is not None and config["trust"] == "none":
            events.add("mqtt", "the broker's certificate is not checked: mqtt.trust is none")
        self._clock = clock
        self._link = link
        self._meters = meters
        self._buses = buses
        self._random_bytes = random_bytes
        self._page_port = page_port
        self._waker = seam.Waker()
        self._root = level(config["prefix"]) + b"/" + level(name)
        self._is_json = config["payload"] == "json"
        self._buffer = bytearray(max(self._longest() if self._is_json else 0, _BUFFER))
        self._filled = 0
        self._values = Values(readings)
        self._received = bytearray(_RECEIVED)
        self._back_off_s = _BACK_OFF_FIRST_S
        self._has_failed = False  # since it was last connected, and that is in the log
        self._is_settled = False  # the broker takes what is sent
        self._has_given_way = False  # the last connection was ended for another that waits for TLS
        self._states: "list[bool | None]" = []  # of the meters, as the broker knows them
        self._ping_ms = 0  # when the last PINGREQ was sent, or the connection made
        self._pings = 0  # without an answer
        self._discovery_in_s: "int | None" = None
        self._described = store.load(_DESCRIBED) or b""
        self._to_keep: dict[str, bytes] = {}  # path: when the broker has answered the ping behind it
        self.state = "connecting"
        self.error: "str | None" = None
        self.connections = 0
        self.published = 0
        self.history: "HistorySender | SparkplugHistory | None" = None
        self._sender: "HistorySender | None" = None  # it is one of these two
        self._past: "SparkplugHistory | None" = None
        self._interval_s = self._offset_s = 0  # of the records, and in it when the newest is sent
        self._keeper: "Keeper | None" = None
        self._refusals = 0  # connections in a row that ended at the history
        self._refused_until_s: "int | None" = None  # uptime; no history is sent before
        self._sparkplug: "Sparkplug | None" = None
        self._has_discovery = config["homeassistant"]
        self._answers = b""  # PUBACKs for what was received
        if config["payload"] == "sparkplug":
            from firmware.services.mqtt.sparkplug import Sparkplug

            self._has_discovery = False
            self._sparkplug = Sparkplug(
                level(config["prefix"]), level(name), level, serial, clock, level(config["primary_host"]), meters,
                readings, self._begin, self._put,
            )  # fmt: skip
        if config["history"] and history.records is None:
            events.add("mqtt", "history.flash is off: no history is sent")
        elif config["history"]:
            # Here and not at the head: it takes heap where it is off, too.
            from firmware.history.records import FlashRecords, Keeper, offset_s
            from firmware.services.mqtt.history import CURSOR, HistorySender

            records = FlashRecords(history.records, CURSOR)
            gateway = serial_of(link, name).encode()
            if self._sparkplug is None:
                self.history = self._sender = HistorySender(records, self._root + b"/history", gateway)
            else:
                from firmware.services.mqtt.sparkplug_history import SparkplugHistory

                self.history = self._past = SparkplugHistory(records, self._sparkplug)
            self._interval_s = records.interval_s
            self._offset_s = offset_s(gateway, self._interval_s - _ACK_S)
            self._keeper = Keeper(records, buses, events, "mqtt")

    def status(self) -> dict:
        """The section "mqtt" of GET /api/status."""
        history = self.history
        records = None if history is None else history.records
        return {
            "state": self.state, "error": self.error, "connections": self.connections, "published": self.published,
            "refused": history and self._refused_until_s is not None,
            "waiting": records and records.waiting,
            "delivered": history and history.delivered, "lost": records and records.lost,
            "undated": records and records.undated,
            "tls_stall_ms": None if self.tls is None else self.tls.longest_stall_ms,
        }  # fmt: skip

    def tick(self) -> None:
        """Writes the cursor of the history when it is time."""
        if self._keeper is not None:
            self._keeper.tick(self._clock.uptime_s())

    def keep(self) -> None:
        """Writes the cursor of the history, before a planned restart."""
        if self._keeper is not None:
            self._keeper.keep()

    def close(self) -> None:
        """Ends the connection; the broker publishes the will."""
        self._client.close()

    async def run(self) -> None:
        """Keeps a connection for ever."""
        self._has_given_way = False
        while True:
            if not self._link.up():
                self.state = "no_link"
                await seam.sleep_ms(_LOOK_MS)
                continue
            if self._sparkplug is not None and not self._clock.is_set:
                self.state = "no_time"  # which each message of Sparkplug has
                await seam.sleep_ms(_LOOK_MS)
                continue
            try:
                await self._serve(await self._connect())
                self._has_given_way = True
            except (ConnectionFailed, mqtt.MqttError) as error:
                self._has_given_way = False
                self._fail(str(error))
                self._judge_history()
            finally:
                self._client.close()
            if not self._has_given_way:
                await seam.sleep_ms(self._next_wait_ms())

    def _fail(self, reason):
        self.state = "retrying"
        self.error = reason
        if not self._has_failed:
            self._has_failed = True
            self._events.add("mqtt", "%s:%d: %s" % (self._config["host"], self._port, reason))

    def _judge_history(self):
        """A connection has failed. A broker that may not let the history in ends it there (MQTT 3.1.1, 3.3.5 has no
        other way to refuse), and would do so again for ever: after some of these it gets values only, for a while."""
        if self._sender is None or not self._sender.is_unanswered:
            return
        self._refusals += 1
        if self._refusals < _REFUSALS:
            return
        self._refused_until_s = self._clock.uptime_s() + _REFUSED_S
        if self._refusals == _REFUSALS:
            self._events.add(
                "mqtt", "no history was acknowledged in %d connections: values only, tried again each hour" % _REFUSALS
            )

    def _may_send_history(self):
        """Not before the time is known, when the records of this boot have theirs."""
        history = self.history
        if history is None or not self._clock.is_set or not history.records.is_ready:
            return False
        return self._refused_until_s is None or self._clock.uptime_s() >= self._refused_until_s

    def _next_wait_ms(self):
        """A random part less than the back-off, which doubles: gateways do not come back at the same moment."""
        whole_ms = 1000 * self._back_off_s
        self._back_off_s = min(2 * self._back_off_s, _BACK_OFF_LAST_S)
        return whole_ms - whole_ms * self._random_bytes(1)[0] // 512

    async def _connect(self):
        """Connects; returns what the broker has sent behind its CONNACK, with a session that was kept."""
        config = self._config
        self.state = "connecting"
        if self.history is not None:
            self.history.begin()
        tls = self.tls
        await self._client.connect(config["host"], self._port, _ANSWER_MS if tls is None else _HANDSHAKE_MS, tls)
        client_id = b"meterport-" + self._serial.encode()
        will_topic, will = self._root + b"/status", b"offline"
        if self._sparkplug is not None:
            will_topic, will = self._sparkplug.will()
        packet = mqtt.connect(
            client_id, config["keep_alive_s"], config["user"].encode(), config["password"].encode(),
            will_topic, will, self.history is None or self._past is not None, self._sparkplug is None,
        )  # fmt: skip
        await self._client.send(packet, len(packet))
        reader = mqtt.Reader()
        while True:
            n = await self._client.receive(self._received, _ANSWER_MS)
            if not n:
                raise ConnectionFailed("closed by the broker")
            end = reader.next(memoryview(self._received)[:n])
            if reader.kind != mqtt.CONNACK or reader.size > 2 or end > 0 and len(reader.body) != 2:
                raise mqtt.MqttError("the broker does not answer as one")
            if end > 0:
                break
        why = mqtt.refusal(reader.body[1])
        if why:
            raise ConnectionFailed("refused: " + why)
        self.connections += 1
        self.state = "connected"
        self.error = None
        self._is_settled = False
        return memoryview(self._received)[end:n]

    def _settle(self):
        """Forgets former failures once the broker takes what is sent: one that ends the connection at the history would
        otherwise be asked again each 2 s."""
        history = self._sender
        if not self._is_settled and (
            history is None or history.has_answer or not history.in_flight or self._refused_until_s is not None
        ):  # fmt: skip
            self._is_settled = True
            self._back_off_s = _BACK_OFF_FIRST_S
            self._has_failed = False
            if not self._has_given_way:
                self._events.add("mqtt", "connected to %s" % self._config["host"])

    async def _serve(self, received):
        """While the connection lasts, or until another waits for TLS. `received`: what has come already. Raises
        ConnectionFailed, MqttError."""
        config = self._config
        client = self._client
        sparkplug = self._sparkplug
        reader = mqtt.Reader(mqtt.KEPT if sparkplug is None else sparkplug.kept)
        self._filled = 0
        self._pings = 0
        self._ping_ms = seam.ticks_ms()
        self._to_keep = {}
        self._answers = b""
        self._settle()
        self._states = [None] * len(self._meters.meters)
        self._discovery_in_s = None
        if not self._has_given_way and (self._has_discovery or self._described):
            self._discovery_in_s = 0  # what was sent half a minute ago the broker has
        if sparkplug is not None:
            sparkplug.begin()
            await self._put(mqtt.subscribe(_FIRST_ID, sparkplug.commands, 1))
            if sparkplug.state:
                self.state = "no_host"
                await self._put(mqtt.subscribe(_STATE_ID, sparkplug.state, 1))
        else:
            await self._publish(self._root + b"/status", b"online", True)
        if self._has_discovery:
            await self._put(mqtt.subscribe(_FIRST_ID, _BIRTH))
        if not self._has_given_way:
            await self._remove_states()
        self._take(reader, received)
        due_s = self._clock.uptime_s()
        if sparkplug is not None:
            due_s += config["interval_s"]  # births have values
        while True:
            if sparkplug is not None:
                await sparkplug.publish_changes(self._past is not None and self._past.in_flight > 0)
            else:
                await self._publish_states()
            if self._discovery_in_s is not None:
                if self._discovery_in_s <= 0:
                    self._discovery_in_s = None
                    await self._publish_discovery()
                    due_s = self._clock.uptime_s()
                else:
                    self._discovery_in_s -= 1
            if self._clock.uptime_s() >= due_s:
                due_s = self._clock.uptime_s() + config["interval_s"]
                if sparkplug is not None:
                    await sparkplug.publish_values()
                else:
                    await self._publish_values()
            await self._send_history()
            await self._flush()
            self._settle()
            await self._keep_alive()
            if self._to_keep and not self._pings:
                await self._keep()
            elif self.tls is not None and self.tls.is_wanted():
                await self._take_leave()
                return
            elif sparkplug is not None and sparkplug.state:
                if sparkplug.has_host_gone:
                    self._events.add("mqtt", "the primary host is offline: nothing is sent")
                    await self._take_leave()
                    return
                if self.state == "no_host" and sparkplug.is_host_online:
                    self.state = "connected"
                    self._events.add("mqtt", "the primary host is online")
            until_ms = seam.ticks_add(seam.ticks_ms(), _LOOK_MS)
            while seam.ticks_diff(until_ms, seam.ticks_ms()) > 0:
                n = client.receive_more(self._received)
                if n is None:
                    await client.wait_ready(seam.READ, until_ms)
                    continue
                if not n:
                    raise ConnectionFailed("closed by the broker")
                self._take(reader, memoryview(self._received)[:n])
                if self._answers:
                    await self._put(self._answers)
                    self._answers = b""
                await self._send_history()
                await self._flush()
                await seam.sleep_ms(0)
            self._check_answers()

    async def _take_leave(self):
        """Ends the connection so that the broker does not publish the will: the gateway is back soon."""
        if self._sparkplug is not None:
            await self._publish(*self._sparkplug.death())
        await self._put(mqtt.DISCONNECT)
        await self._flush()

    def _take(self, reader, data):
        """Takes what the broker has sent."""
        while len(data):
            n = reader.next(data)
            if n > 0:
                if reader.kind == mqtt.PINGRESP:
                    self._pings = max(self._pings - 1, 0)
                    if self._past is not None and not self._pings:
                        self._past.confirm()
                elif reader.kind == mqtt.PUBACK and self._sender is not None:
                    if len(reader.body) != 2:
                        raise mqtt.MqttError("no PUBACK: %d bytes" % reader.size)
                    self._sender.acknowledge(reader.body[0] << 8 | reader.body[1])
                    if self._refusals and self._sender.has_answer:
                        self._refusals = 0
                        if self._refused_until_s is not None:
                            self._refused_until_s = None
                            self._events.add("mqtt", "the broker takes the history")
                elif reader.kind == mqtt.SUBACK:
                    self._take_suback(reader.body)
                elif reader.kind == mqtt.PUBLISH and self._sparkplug is not None:
                    self._answers += self._sparkplug.take(reader.flags, reader.size, reader.body)
                elif reader.kind == mqtt.PUBLISH and self._has_discovery:
                    # The only topic that it has subscribed to.
                    if reader.body.endswith(b"online"):
                        self._discovery_in_s = 1 + self._random_bytes(1)[0] % _BIRTH_DELAY_S
            data = data[abs(n) :]

    def _take_suback(self, body):
        """Says it when the broker refuses a subscription (3.9.3), and goes on without what it would bring."""
        if len(body) != 3:
            raise mqtt.MqttError("no SUBACK: %d bytes" % len(body))
        if body[2] < _REFUSED:
            return
        sparkplug = self._sparkplug
        is_state = body[1] == _STATE_ID
        topic = _BIRTH if sparkplug is None else sparkplug.state if is_state else sparkplug.commands
        refusal = "the broker refuses to be asked for %s" % topic.decode()
        if is_state:
            self.error = refusal  # it goes on waiting for the host
        if not self._has_given_way:
            self._events.add("mqtt", refusal)

    async def _keep_alive(self):
        """Values have no answer: without pings beside them a broker that is gone would be noticed late."""
        waited_ms = seam.ticks_diff(seam.ticks_ms(), self._ping_ms)
        if not self._pings and waited_ms > 500 * self._config["keep_alive_s"]:
            await self._ping()

    def _check_answers(self):
        """Behind the reading: what was published may have taken longer than a broker has for its answer, which lies in
        the socket then."""
        if self._pings and seam.ticks_diff(seam.ticks_ms(), self._ping_ms) > _ANSWER_MS:
            raise ConnectionFailed("no answer to a ping")
        if self._sender is not None and self._sender.is_overdue():
            raise ConnectionFailed("no answer to the history")

    async def _ping(self):
        self._ping_ms = seam.ticks_ms()
        self._pings += 1
        await self._put(mqtt.PINGREQ)
        await self._flush()

    # -- what is published

    async def _publish(self, topic, payload, retain=False):
        self.published += 1
        head = mqtt.publish_head(topic, len(payload), retain)
        if len(head) + len(payload) <= _BUFFER:
            await self._put(head + payload)
            return
        await self._put(head)
        for at in range(0, len(payload), _BUFFER):
            await self._put(payload[at : at + _BUFFER])

    async def _begin(self, topic, size):
        """Begins a message whose payload, of `size` bytes, is put piece by piece."""
        self.published += 1
        await self._put(mqtt.publish_head(topic, size))

    async def _put(self, packet):
        """Sends a packet, of _BUFFER bytes at most, together with others: when the buffer is full or with _flush()."""
        n = len(packet)
        if self._filled + n > _BUFFER:
            await self._flush()
            await seam.sleep_ms(_PAUSE_MS)
        self._buffer[self._filled : self._filled + n] = packet
        self._filled += n

    async def _flush(self):
        if self._filled:
            n = self._filled
            self._filled = 0
            await self._client.send(self._buffer, n)

    async def _send_history(self):
        """As much of it as may be sent now."""
        history = self.history
        while history is not None and self._may_send_history():
            if history.records.waiting == 1 and self._clock.unix_s() % self._interval_s < self._offset_s:
                return  # all gateways have just taken a record; older ones wait for nothing
            if self._sender is None:
                await self._send_past()
                return
            packet = await self._sender.next()
            if packet is None:
                return
            await self._put(packet)

    async def _send_past(self):
        """A batch of the history in Sparkplug's payloads, and the ping whose answer says that the broker has it."""
        if not self._pings and self._sparkplug.is_born and await self._past.send():
            await self._ping()

    def _topic(self, meter):
        return self._root + b"/" + level(meter.name)

    async def _remove_states(self):
        """Removes by empty messages the retained states of what was published before and is gone: of meters, and of
        all under a former name or prefix."""
        topics = []
        if self._sparkplug is None:
            topics = [self._root] + [self._topic(meter) for meter in self._meters.meters]
        states = b"\0".join(topics)
        before = store.load(_STATES) or b""
        if before == states:
            return
        self._to_keep[_STATES] = states
        gone = [topic for topic in before.split(b"\0") if topic and topic not in topics]
        for topic in gone:
            await self._publish(topic + b"/status", b"", True)
        if gone:
            await self._ping()

    async def _publish_states(self):
        """Of the meters whose state has changed."""
        for k, meter in enumerate(self._meters.meters):
            is_online = meter.state == ONLINE
            if is_online != self._states[k]:
                self._states[k] = is_online
                await self._publish(self._topic(meter) + b"/status", b"online" if is_online else b"offline", True)

    async def _publish_values(self):
        for meter in self._meters.meters:
            if self._is_json:
                await self._publish_object(meter, self._topic(meter) + b"/values")
            else:
                await self._publish_points(meter, self._topic(meter) + b"/")

    def _longest(self):
        """Bytes that a message of all values of a meter can take, at most."""
        return max([_AROUND + len(self._topic(meter)) + Values.longest(meter) for meter in self._meters.meters] + [0])

    async def _publish_object(self, meter, topic):
        """All values of a meter as one object of JSON, null where there is none that is fresh; nothing when none is.
        Written where it will be sent from, behind room for the longest head."""
        await self._flush()
        buffer = self._buffer
        values = self._values
        head = _HEAD + len(topic)
        values.begin(meter, b"")
        at = values.fill(buffer, head + 1)
        if not values.count():
            return
        buffer[head] = 0x7B  # {
        buffer[at - 1] = 0x7D  # } in place of the last comma
        size = at - _HEAD + 2
        if size > 127:
            begin = 0
            buffer[1] = size & 127 | 128
            buffer[2] = size >> 7
        else:
            begin = 1
            buffer[2] = size
        buffer[begin] = 0x30
        buffer[3] = len(topic) >> 8
        buffer[4] = len(topic) & 255
        buffer[5:head] = topic
        self.published += 1
        await self._client.send(memoryview(buffer)[begin:at], at - begin)
        await seam.sleep_ms(_PAUSE_MS)

    async def _publish_points(self, meter, topic):
        """Of all points of a meter that have a fresh value. Written into the buffer where they will be sent from."""
        values = self._values
        values.begin(meter, topic)
        while True:
            self._filled = values.fill(self._buffer, self._filled)
            if values.is_done():
                break
            await self._flush()
            await seam.sleep_ms(_PAUSE_MS)
        self.published += values.count()

    async def _publish_discovery(self):
        """Describes all entities, and removes with an empty document each that was described before and is gone; all
        of them when Home Assistant is not to be told any more."""
        from firmware.services.mqtt import discovery

        serial = self._serial
        node = _DISCOVERY + b"sensor/meterport_" + serial.encode() + b"/"
        url = ""
        if self._page_port and self._link.up():
            url = "http://%s%s/" % (self._link.address(), "" if self._page_port == 80 else ":%d" % self._page_port)
        is_on = self._has_discovery
        meters = self._meters.meters if is_on else []
        entities = discovery.entities(meters)
        for entity in discovery.gone(self._described, entities):
            await self._publish(node + entity + b"/config", b"", True)
        await self._publish(
            _DISCOVERY + b"binary_sensor/meterport_" + serial.encode() + b"/status/config",
            discovery.gateway_document(self._name, serial, self._root, url) if is_on else b"", True,
        )  # fmt: skip
        expire_s = _MISSED * self._config["interval_s"]
        for meter in meters:
            topic = self._topic(meter)
            for i in range(len(meter.profile)):
                document = discovery.document(serial, self._root, topic, meter, i, expire_s, url, self._is_json)
                await self._publish(node + discovery.entity(meter, i) + b"/config", document, True)
        self._events.add("mqtt", "described %d meters to Home Assistant" % len(meters))
        if entities != self._described:
            self._to_keep[_DESCRIBED] = entities
            await self._ping()

    async def _keep(self):
        """Writes to flash what the broker retains, while the buses rest; they are asked again in a second when they
        cannot."""
        self._waker.clear()
        if not self._buses.pause(self._waker.wake):
            return
        try:
            if not await self._waker.wait_ms(_REST_MS):
                return
            kept = self._to_keep
            self._to_keep = {}
            for path, data in kept.items():
                store.save(path, data)
            self._described = kept.get(_DESCRIBED, self._described)
        except OSError as error:
            self._events.add("mqtt", "what the broker was told cannot be kept: %r" % error)
        finally:
            self._buses.resume()

"""BACnet/IP on one UDP socket: takes datagrams apart, answers them from one buffer, and says who it is.

One datagram is served a turn of the event loop, and answered with one, no longer than the client takes. Requests that
find a device (Who-Is, Who-Has) are answered to who asks, so many a second and no more. What is no BACnet/IP, or not for
this device, is counted and gets no answer.
"""

import os

import iso8601
from bacnet import apdu as apdus
from bacnet import bvlc, npdu
from bacnet.apdu import Apdu
from bacnet.npdu import Npdu
from bacnet.present_value import ANSWER_LENGTH, ANSWER_REAL_AT, begin_answer
from bacnet.tags import CHARACTERS, DATE, END, ENUMERATED, OBJECT, TIME, UNSIGNED, Malformed, Reader, TooLong, Writer
from micropython import const

from firmware.net import seam
from firmware.net.udp_server import UdpServer
from firmware.services import Service
from firmware.services.bacnet.kept import Kept
from firmware.services.bacnet.objects import ANY_DEVICE, APDU_MAX, DEVICE, Objects
from firmware.services.bacnet.plain_value import WRITTEN, put_plain
from firmware.services.bacnet.requests import DISABLE, SIMPLE, Requests
from firmware.services.bacnet.segments import HEADER, SEGMENTS_MAX, WINDOW, Segments
from firmware.services.bacnet.subscriptions import Subscriptions

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.board import Link
    from firmware.bus import Buses
    from firmware.device import Device
    from firmware.events import Events
    from firmware.meters.meters import Meters
    from firmware.meters.readings import Readings
    from firmware.net.budget import Budget
    from firmware.net.clock import Clock

_FIRST_INSTANCE = const(1000000)  # and the low 21 bits of the MAC address: instances that nobody numbers by hand
_MAC_BITS = const(0x1FFFFF)
_DATAGRAM_MAX = const(1472)  # what is not cut into fragments
_DATAGRAMS_A_SECOND = const(256)
_HOPS_LEAST = const(0x80)
_FINDS_A_SECOND = const(20)  # answers to Who-Is and Who-Has
_ASKER_MS = const(500)  # and one I-Am to the same asker within
_GREETING_S = const(3)  # after the network is up, and as many more at random: all devices of a site may start at once
_COUNTERS = ("errors", "rejects", "aborts", "malformed", "limited")
# Context tags n << 4 | CONTEXT
_TAG_0 = const(0x08)
_TAG_1 = const(0x18)
_TAG_2 = const(0x28)
_TAG_3 = const(0x38)
# Protocol_Services_Supported, 41 bits: SubscribeCOV 5, ReadProperty 12, ReadPropertyMultiple 14, WriteProperty 15,
# DeviceCommunicationControl 17, ReinitializeDevice 20, Who-Has 33, Who-Is 34
_SERVICES = b"\x04\x0b\x48\x00\x60\x00"
_SERVICES_WITH_TIME = b"\x04\x0b\x48\x00\xe8\x00"  # and TimeSynchronization 32, UTCTimeSynchronization 36
_EARLIEST_MS = 1704067200000  # 2024: this firmware is younger
_EPOCH = const(1900)


class BacnetService(Service):
    """`config` is the section "bacnet"; `name` the name of this device; `model` and `link` the board's."""

    name = "bacnet"

    def __init__(
        self, config: dict, name: str, model: str, budget: "Budget", events: "Events", clock: "Clock", link: "Link",
        meters: "Meters", readings: "Readings", buses: "Buses", device: "Device",
    ):  # fmt: skip
        self.errors = self.rejects = self.aborts = self.malformed = self.limited = 0
        self.conflict = None  # a text when another device has the same instance number
        self._config = config
        self._clients = config["clients"]
        self._slot = budget.service_slot("bacnet")
        self._events = events
        self._link = link
        self._server = UdpServer(self._slot, self, "0.0.0.0", config["port"], _DATAGRAMS_A_SECOND)
        self._objects = objects = Objects(meters, readings, clock, config)
        self._tables = objects.tables
        objects.name = name.encode()
        objects.model = b"meterport " + model.encode()
        objects.services = _SERVICES_WITH_TIME if config["accept_time"] else _SERVICES
        self._clock = clock
        self._kept = Kept(objects, buses, events)
        self._subscriptions = Subscriptions(objects, clock.uptime_s, events, self._send_notification)
        objects.write_subscriptions = self._subscriptions.write_list
        self._requests = Requests(objects, self._subscriptions, self._kept, config, device, clock.uptime_s, events)
        self._segments = Segments(self)
        self._buf = bytearray(bvlc.HEADER + npdu.HEADER_MAX + APDU_MAX)
        self._answer_view = memoryview(self._buf)[:ANSWER_LENGTH]
        self._view = memoryview(self._buf)[:0]  # what was sent last: answers of one length take no other
        self._out = Writer(self._buf)
        self._npdu = Npdu()
        self._apdu = Apdu()
        self._reader = Reader()
        self._hops = _HOPS_LEAST + (os.urandom(1)[0] & 0x7F)  # by which our own broadcasts are known
        self._finds_left = _FINDS_A_SECOND
        self._asker = None  # who was told I-Am last, and when
        self._asked_ms = 0
        self._greets_in_s = _GREETING_S + os.urandom(1)[0] % _GREETING_S
        self._registers_in_s = 1  # at the BBMD of the configuration, if there is one
        self._registration = "no answer"

    def start(self) -> None:
        """Takes the instance number and opens the socket. Raises OSError."""
        mac = self._link.details()[4] or ""
        objects = self._objects
        objects.serial = mac.encode()
        objects.instance = self._config["instance"]
        if objects.instance == ANY_DEVICE:
            objects.instance = _FIRST_INSTANCE + (int(mac.replace(":", ""), 16) & _MAC_BITS if mac else 0)
        self._kept.load()
        self._server.open()

    def close(self) -> None:
        """Gives the socket back."""
        self._server.close()
        self._kept.close()

    def status(self) -> dict:
        """As in docs/reference/http.md."""
        status: "dict[str, Any]" = {"requests": self._slot.requests}
        for name in _COUNTERS:
            status[name] = getattr(self, name)
        status["instance"] = self._objects.instance
        status["objects"] = len(self._objects)
        status["conflict"] = self.conflict
        status["subscriptions"] = len(self._subscriptions.items)
        status["notifications"] = self._subscriptions.told
        status["unacknowledged"] = self._subscriptions.dropped
        status["bbmd"] = self._registration if self._config["bbmd"] else None
        return status

    def tick(self) -> None:
        """Once a second."""
        self._server.tick()
        self._finds_left = _FINDS_A_SECOND
        self._segments.tick()
        self._requests.tick()
        self._kept.tick()
        if not self._link.up():
            return
        self._subscriptions.tick(self._requests.may_initiate())
        if self._config["bbmd"]:
            self._registers_in_s -= 1
            if not self._registers_in_s:
                self._register()
        if self._greets_in_s and self._requests.may_initiate():
            self._greets_in_s -= 1
            if not self._greets_in_s:
                self._greet()

    def _register(self):
        """As a foreign device at the BBMD, which passes on to us what is broadcast there, J.5.2. Half of the time to
        live before it ends, once more."""
        ttl_s = self._config["bbmd_ttl_s"]
        self._registers_in_s = ttl_s // 2
        self._send(bvlc.write_number(self._buf, bvlc.REGISTER_FOREIGN_DEVICE, ttl_s), self._bbmd())

    def _bbmd(self):
        return seam.address(self._config["bbmd"], self._config["bbmd_port"])

    def _serve_result(self, data, peer):
        """What the BBMD says to a registration."""
        if seam.peer(peer) != (self._config["bbmd"], self._config["bbmd_port"]):
            return
        registration = "refused" if bvlc.result(data) else "registered"
        if registration != self._registration:
            self._registration = registration
            self._events.add("bacnet", "as a foreign device at %s: %s" % (self._config["bbmd"], registration))
            self._greets_in_s = 1  # there, too

    def _greet(self):
        """Asks for the own instance number, which no other device may have, and says once who is here (BTL 7.2)."""
        buf = self._buf
        out = self._out
        at = npdu.write_header(buf, bvlc.HEADER, npdu.BROADCAST, False, self._hops)
        at = apdus.write_unconfirmed(buf, at, apdus.WHO_IS)
        out.start(at, 0, APDU_MAX, APDU_MAX)
        out.unsigned(_TAG_0, self._objects.instance)
        out.unsigned(_TAG_1, self._objects.instance)
        self._broadcast(at + out.length)
        self._broadcast(self._write_i_am(npdu.BROADCAST, self._hops))

    # -- datagrams

    def on_ready(self, events: int) -> None:
        """Serves one datagram."""
        received = self._server.receive(_DATAGRAM_MAX)
        if received is None:
            return
        data, peer = received
        if self._clients and seam.peer(peer)[0] not in self._clients:
            self.limited += 1
            return
        # What nearly all requests are, ReadProperty of the Present_Value of an Analog Input: a quarter of the work of
        # _serve_datagram(), and no allocation. A call of a function of its own would be a tenth of that.
        instance = begin_answer(self._buf, data)
        if self._requests.communication == DISABLE or (
            put_plain(self._tables, instance, self._buf, ANSWER_REAL_AT) != WRITTEN
            and not self._objects.put_present_value(instance, self._buf, ANSWER_REAL_AT)
        ):
            self._serve_datagram(data, peer)
            return
        self._slot.requests += 1
        try:
            self._slot.sent += self._server.stream.sendto(self._answer_view, peer)
        except OSError:
            pass  # as in _send()

    def _serve_datagram(self, data, peer):
        function = bvlc.parse(data)
        at = bvlc.npdu_at(function)
        if not at:
            self._serve_link(data, function, peer)
        elif not self._npdu.parse(data, at) or not self._apdu.parse(data, self._npdu.apdu_at):
            self.malformed += 1
        else:
            if function == bvlc.FORWARDED_NPDU:
                peer = seam.address(*bvlc.origin(data))
            self._serve(data, peer, self._npdu.route)

    def fail(self, error: Exception) -> None:
        """What on_ready() raised."""
        self._events.add("bacnet", "a datagram was not served: %r" % error)

    def _serve_link(self, data, function, peer):
        """What is no NPDU: for a BBMD, which this is not, or the answer of one."""
        if function == bvlc.RESULT and self._config["bbmd"]:
            self._serve_result(data, peer)
            return
        code = bvlc.refusal(function) if function > 0 else 0
        if code:
            self._send(bvlc.write_number(self._buf, bvlc.RESULT, code), peer)
        else:
            self.malformed += 1

    def _send(self, length, peer):
        """Sends buf[:length]. What the port has no room for is lost, as on any network."""
        if len(self._view) != length:
            self._view = memoryview(self._buf)[:length]
        try:
            self._slot.sent += self._server.stream.sendto(self._view, peer)
        except OSError:
            pass

    def _send_npdu(self, length, peer):
        bvlc.write_header(self._buf, bvlc.UNICAST, length)
        self._send(length, peer)

    def _broadcast(self, length):
        """To the own subnet, and as a foreign device to those that the BBMD knows."""
        bvlc.write_header(self._buf, bvlc.BROADCAST, length)
        self._send(length, seam.address(self._broadcast_address(), self._config["port"]))
        if self._config["bbmd"]:
            bvlc.write_header(self._buf, bvlc.DISTRIBUTE_BROADCAST, length)
            self._send(length, self._bbmd())

    def _broadcast_address(self):
        """The highest of the subnet: 255.255.255.255 would leave by any interface of a computer."""
        address, mask = self._link.details()[:2]
        if not address or not mask:
            return "255.255.255.255"
        parts = zip(address.split("."), mask.split("."))
        return ".".join([str(int(one) | 255 - int(other)) for one, other in parts])

    # -- requests

    def _serve(self, data, peer, route):
        apdu = self._apdu
        kind = apdu.kind
        try:
            if kind == apdus.CONFIRMED_REQUEST:
                if not self._requests.may_answer(apdu.service):
                    return
                self._slot.requests += 1
                length = self._answer(data, peer, route)
                if length:
                    self._send_npdu(length, peer)
            elif kind == apdus.UNCONFIRMED_REQUEST:
                if self._requests.may_answer(-1):
                    self._serve_unconfirmed(data, peer, route)
            elif kind == apdus.SEGMENT_ACK:
                self._segments.acknowledge(apdu, peer)
            elif kind == apdus.ABORT and not apdu.is_from_server:
                self._segments.abort(apdu.invoke_id, peer)
            else:
                self._subscriptions.acknowledged(apdu.invoke_id, peer)
        except Malformed:
            self.malformed += 1

    def _answer(self, data, peer, route):
        """Writes the answer to a confirmed request. Returns the length of its datagram, 0 when it is sent in
        segments."""
        apdu = self._apdu
        out = self._out
        buf = self._buf
        at = npdu.write_header(buf, bvlc.HEADER, route)
        limit = min(apdu.max_apdu, APDU_MAX)
        if apdu.is_segmented:
            return self._abort(at, apdus.SEGMENTATION_NOT_SUPPORTED)
        most = limit - 3
        if apdu.takes_segments:
            most = (limit - HEADER) * min(apdu.max_segments, SEGMENTS_MAX)
        out.start(at + 3, 0, limit - 3, most)
        try:
            result = self._requests.serve(apdu, data, out, peer, route)
        except Malformed as error:
            self.rejects += 1
            return apdus.write_short(buf, at, apdus.REJECT, apdu.invoke_id, error.reason)
        except TooLong:
            return self._abort(at, apdus.BUFFER_OVERFLOW if apdu.takes_segments else apdus.SEGMENTATION_NOT_SUPPORTED)
        if result == SIMPLE:
            return apdus.write_short(buf, at, apdus.SIMPLE_ACK, apdu.invoke_id, apdu.service)
        if result:
            self.errors += 1
            at = apdus.write_short(buf, at, apdus.ERROR, apdu.invoke_id, apdu.service)
            out.start(at, 0, APDU_MAX, APDU_MAX)
            out.error(result)
            return at + out.length
        if out.length <= limit - 3:
            return apdus.write_short(buf, at, apdus.COMPLEX_ACK, apdu.invoke_id, apdu.service) + out.length
        if self._segments.is_busy():
            return self._abort(at, apdus.OUT_OF_RESOURCES)
        self._segments.start(data, self._npdu.apdu_at, peer, route, out.length, limit - HEADER)
        return 0

    def _abort(self, at, reason):
        self.aborts += 1
        return apdus.write_short(self._buf, at, apdus.ABORT, self._apdu.invoke_id, reason)

    def _serve_unconfirmed(self, data, peer, route):
        service = self._apdu.service
        reader = self._reader
        reader.start(data, self._apdu.content_at)
        if service == apdus.WHO_IS:
            self._serve_who_is(reader, peer, route)
        elif service == apdus.WHO_HAS:
            self._serve_who_has(reader, peer, route)
        elif service == apdus.I_AM:
            self._serve_i_am(reader, peer)
        elif service in (apdus.TIME_SYNCHRONIZATION, apdus.UTC_TIME_SYNCHRONIZATION) and self._config["accept_time"]:
            self._serve_time(reader)

    def _serve_who_is(self, reader, peer, route):
        """16.10."""
        tag = reader.next()
        if tag != END and (tag != _TAG_0 or not _is_within(reader, self._objects.instance)):
            return
        if self._is_limited():
            return
        now_ms = seam.ticks_ms()
        if peer == self._asker and seam.ticks_diff(now_ms, self._asked_ms) < _ASKER_MS:
            self.limited += 1
            return
        self._asker = peer
        self._asked_ms = now_ms
        self._send_npdu(self._write_i_am(route), peer)

    def _is_limited(self):
        if self._finds_left:
            self._finds_left -= 1
            return False
        self.limited += 1
        return True

    def _write_i_am(self, route, hops=npdu.HOPS):
        """16.10.4."""
        buf = self._buf
        at = npdu.write_header(buf, bvlc.HEADER, route, False, hops)
        at = apdus.write_unconfirmed(buf, at, apdus.I_AM)
        out = self._out
        out.start(at, 0, APDU_MAX, APDU_MAX)
        out.object(OBJECT, DEVICE, self._objects.instance)
        out.unsigned(UNSIGNED, APDU_MAX)
        out.unsigned(ENUMERATED, 1)  # segmented-transmit
        out.unsigned(UNSIGNED, self._objects.vendor_id)
        return at + out.length

    def _serve_who_has(self, reader, peer, route):
        """16.9."""
        objects = self._objects
        tag = reader.next()
        if tag == _TAG_0:
            if not _is_within(reader, objects.instance):
                return
            tag = reader.next()
        if self._is_limited():
            return
        if tag == _TAG_2:
            reader.object()
            is_found = objects.find(reader.type, reader.instance)
        elif tag == _TAG_3:
            name = reader.text()
            is_found = name is not None and objects.find_name(name)
        else:
            return
        if not is_found:
            return
        buf = self._buf
        at = apdus.write_unconfirmed(buf, npdu.write_header(buf, bvlc.HEADER, route), apdus.I_HAVE)
        out = self._out
        out.start(at, 0, APDU_MAX, APDU_MAX)
        out.object(OBJECT, DEVICE, objects.instance)
        out.object(OBJECT, objects.type, objects.object_instance())
        out.text(CHARACTERS, objects.object_name())
        self._send_npdu(at + out.length, peer)

    def _serve_i_am(self, reader, peer):
        """Another device that says our instance number: one of the two has to be given another."""
        reader.take(OBJECT)
        reader.object()
        is_ours = reader.type == DEVICE and reader.instance == self._objects.instance
        if not is_ours or self._npdu.hops == self._hops:  # on a computer our own broadcast comes back
            return
        ip, port = seam.peer(peer)
        conflict = "instance %d is also that of the BACnet device at %s:%d" % (reader.instance, ip, port)
        if self.conflict != conflict:
            self.conflict = conflict
            self._events.add("bacnet", conflict)

    def _serve_time(self, reader):
        """16.7, 16.8: the local time of this device is UTC. A time with a part that is not given says nothing."""
        reader.take(DATE)
        date = reader.octets()
        reader.take(TIME)
        time = reader.octets()
        if len(date) != 4 or len(time) != 4:
            return
        text = b"%04d-%02d-%02dT%02d:%02d:%02dZ" % (date[0] + _EPOCH, date[1], date[2], time[0], time[1], time[2])
        try:
            unix_ms = 1000 * iso8601.parse(text) + 10 * min(time[3], 99)
        except ValueError:
            return
        if unix_ms >= _EARLIEST_MS:
            self._clock.set_ms(unix_ms)
            self._events.add("bacnet", "clock set by a client")

    # -- notifications and segmented answers

    def _send_notification(self, item):
        buf = self._buf
        at = npdu.write_header(buf, bvlc.HEADER, item.route, item.is_confirmed)
        if item.is_confirmed:
            at = apdus.write_confirmed(buf, at, item.invoke_id, apdus.CONFIRMED_COV_NOTIFICATION)
        else:
            at = apdus.write_unconfirmed(buf, at, apdus.UNCONFIRMED_COV_NOTIFICATION)
        out = self._out
        out.start(at, 0, APDU_MAX, APDU_MAX)
        self._subscriptions.write_notification(out, item)
        self._send_npdu(at + out.length, item.peer)

    def send_segment(self, answer: "Segments", number: int, is_last: bool) -> bool:
        """Writes and sends one segment of that answer, whose request is served once more. False when it cannot be sent
        because the answer is no longer what it was; its client has been told."""
        buf = self._buf
        out = self._out
        apdu = self._apdu
        apdu.parse(answer.data, answer.at)
        at = npdu.write_header(buf, bvlc.HEADER, answer.route, True)
        out.start(at + HEADER, number * answer.room, answer.room, answer.length)
        try:
            self._requests.serve(apdu, answer.data, out, answer.peer, answer.route)
        except TooLong:
            out.length = 0
        if out.length != answer.length:
            at = npdu.write_header(buf, bvlc.HEADER, answer.route)
            self._send_npdu(self._abort(at, apdus.OTHER), answer.peer)
            return False
        at = apdus.write_segment(buf, at, apdu.invoke_id, apdu.service, number, WINDOW, is_last)
        self._send_npdu(at + min(answer.room, answer.length - number * answer.room), answer.peer)
        return True


def _is_within(reader, instance):
    """Whether that instance lies between the limit that has just been read and the one that comes next."""
    low = reader.unsigned()
    reader.take(_TAG_1)
    return low <= instance <= reader.unsigned()

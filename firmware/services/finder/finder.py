"""Finder: answers searches on the local network with what this gateway is, blinks its LED, and notices another gateway
of the same name. docs/reference/finder.md has the datagrams.

A request is a line of ASCII, compared as bytes: nothing of it becomes an object that stays. A flood costs sixteen
datagrams a second; the port drops the rest while nobody reads. Each request has one answer, which goes to addresses of
the device's own network only, unless `anywhere` is set.
"""

import json

from micropython import const

from firmware import VERSION
from firmware.net import seam
from firmware.net.link import is_local
from firmware.net.udp_server import UdpServer
from firmware.services import Service

_TYPING = const(0)
if _TYPING:
    from firmware.board import Link
    from firmware.device import Device
    from firmware.events import Events
    from firmware.net.budget import Budget
    from firmware.net.clock import Clock
    from firmware.services.finder.responder import Responder

_FIND = b"meterport find"
_IDENTIFY = b"meterport identify "
_DOCUMENT = b'{"meterport":1,"name":'
_OFFERED = ("http", "modbus", "bacnet")  # services that others connect to
_DATAGRAM_MAX = const(256)  # longer than a document of ours to the end of its serial
_REQUEST_MAX = const(80)
_PER_SECOND = const(16)
_BLINK_S = const(20)
_FIRST_QUESTION_S = const(3)
_NEXT_QUESTION_S = const(3600)


class Finder(Service):
    """`config` is the section "finder"; `name` the device's; `responder` answers multicast DNS, where it is on."""

    name = "finder"

    def __init__(
        self, config: dict, name: str, budget: "Budget", events: "Events", clock: "Clock", link: "Link",
        device: "Device", responder: "Responder | None" = None,
    ):  # fmt: skip
        self._config = config
        self._slot = budget.service_slot("finder")
        self._budget = budget
        self._events = events
        self._clock = clock
        self._link = link
        self._device = device
        self._led = device.board.led(config["led"])
        self._same_name = _DOCUMENT + json.dumps(name).encode() + b","
        self._serial = device.board.identity()[1].encode()
        self._server = UdpServer(self._slot, self, config["bind"], config["port"], _PER_SECOND)
        self._blink_s = 0
        self._question_in_s = _FIRST_QUESTION_S
        self.conflict = None
        self._same_as: "str | None" = None  # which gateway's name is ours
        self._refused = 0
        self._responder = responder

    @property
    def refused(self) -> int:
        """Datagrams without an answer since boot: empty, too long, no request, or from elsewhere."""
        return self._refused + self._server.empty

    def start(self) -> None:
        """firmware.services.Service, as tick(), close() and status() are."""
        self._server.open()

    def close(self) -> None:
        """Gives back the sockets."""
        if self._responder is not None:
            self._responder.close()
        self._server.close()

    def _show_conflict(self):
        """Which other device has our name: a gateway, or a host that answers multicast DNS."""
        responder = self._responder
        self.conflict = self._same_as or (None if responder is None else responder.conflict)

    def status(self) -> dict:
        """The section "finder" of GET /api/status."""
        return {"answered": self._slot.requests, "refused": self.refused, "conflict": self.conflict,
                "host": None if self._responder is None else self._responder.host()}  # fmt: skip

    def tick(self) -> None:
        """Has datagrams looked at again, blinks, and asks for others of the same name when it is time to."""
        self._server.tick()
        if self._responder is not None:
            self._responder.tick()
            self._show_conflict()
        if self._blink_s:
            self._blink_s -= 1
            self._led(self._blink_s & 1)
        self._question_in_s -= 1
        if self._server.stream is not None and not self._question_in_s:
            self._question_in_s = _NEXT_QUESTION_S if self._look_for_others() else _FIRST_QUESTION_S

    def on_ready(self, events: int) -> None:
        """Looks at one datagram."""
        received = self._server.receive(_DATAGRAM_MAX)
        if received is None:
            return
        data, sender = received
        if data.startswith(_DOCUMENT):
            self._compare(data, sender)
        elif len(data) > _REQUEST_MAX or not self._answer(data.rstrip(), sender):
            self._refused += 1

    def fail(self, error: Exception) -> None:
        """on_ready has raised: no way to the sender, no memory."""
        self._events.add("finder", "a request was lost: %r" % error)

    def _answer(self, request, sender):
        """False when this is no request to this device, or its sender must not have an answer."""
        is_find = request == _FIND
        if not is_find and not (request.startswith(_IDENTIFY) and request[len(_IDENTIFY) :] == self._serial):
            return False
        ip = seam.peer(sender)[0]
        if not self._config["anywhere"] and not is_local(self._link, ip):
            return False
        if not is_find:
            self._events.add("finder", "identify, asked by %s" % ip)
            if self._led is not None:
                self._blink_s = _BLINK_S
        self._send_document(sender)
        slot = self._slot
        slot.peer = sender
        slot.requests += 1
        return True

    def _send_document(self, address):
        device = self._device
        budget = self._budget
        ports = [
            b'"%s":%d' % (entry.name.encode(), entry.port)
            for entry in device.services
            if entry.state == "running" and entry.name in _OFFERED
        ]
        instances = [
            b"%d" % entry.service.status()["instance"]
            for entry in device.services
            if entry.state == "running" and entry.name == "bacnet"
        ]
        conflicts = [
            entry.service.conflict
            for entry in device.services
            if entry.service is not None and entry.service.conflict is not None
        ]
        details = self._link.details()
        document = (
            b'%s"serial":"%s","model":%s,"board":"%s","firmware":"%d.%d.%d","address":%s,"mac":%s,"ports":{%s},'
            b'"instance":%s,"sockets":%d,"sockets_free":%d,"uptime_s":%d,"led":%s,"conflicts":%s}'
        ) % (
            self._same_name, self._serial, json.dumps(device.board.identity()[0]).encode(), device.board.name.encode(),
            VERSION[0], VERSION[1], VERSION[2], json.dumps(details[0]).encode(), json.dumps(details[4]).encode(),
            b",".join(ports), instances[0] if instances else b"null", budget.limit,
            max(budget.limit - budget.in_use(), 0), self._clock.uptime_s(),
            b"false" if self._led is None else b"true", json.dumps(conflicts).encode(),
        )  # fmt: skip
        self._server.stream.sendto(document, address)
        self._slot.sent += len(document)

    # -- another device of the same name

    def _look_for_others(self):
        """Asks all gateways of the network, which compare their name with ours as we do: those that answer are looked
        at by _compare(). False while the network is not known."""
        address, netmask = self._link.details()[:2]
        if not netmask:
            return False
        mask = [int(part) for part in netmask.split(".")]
        own = [int(part) for part in address.split(".")]
        broadcast = ".".join([str(own[k] & mask[k] | 255 - mask[k]) for k in range(4)])
        self._same_as = None
        self._show_conflict()
        try:
            self._server.stream.sendto(_FIND, seam.address(broadcast, self._config["port"]))
        except OSError as error:
            self.fail(error)
        return True

    def _compare(self, data, sender):
        """Takes another gateway's document. One that has our name is told ours, once: so both know."""
        if not data.startswith(self._same_name) or self._same_as is not None:
            return
        serial = data[len(self._same_name) :]
        if not serial.startswith(b'"serial":"') or serial[10:].startswith(self._serial + b'"'):
            return
        ip = seam.peer(sender)[0]
        if is_local(self._link, ip):
            self._same_as = "the name is also that of the gateway at %s" % ip
            self._show_conflict()
            self._events.add("finder", self._same_as)
            self._send_document(sender)

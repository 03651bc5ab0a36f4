"""Multicast DNS with DNS-SD: others on the network find the page and the Modbus and BACnet servers by name, as
`avahi-browse _http._tcp` and a browser's .local do. lib/mdns.py has the packets.

The names are announced once the network is up, after three questions whether another host has them (RFC 6762 8); if one
has, -2 to -9 is added to them. A query from the device's own network is answered, up to 16 in a second.
"""

from micropython import const

import mdns
from firmware import VERSION
from firmware.net import seam
from firmware.net.link import is_local
from firmware.net.udp_server import UdpServer

_TYPING = const(0)
if _TYPING:
    from firmware.board import Link
    from firmware.device import Device
    from firmware.events import Events
    from firmware.net.budget import Slot

_PER_SECOND = const(16)
_DATAGRAM_MAX = const(1472)
_PROBES = const(3)
_ANNOUNCEMENTS = const(2)
_NUMBER_MAX = const(9)
_LOOK_S = const(10)  # between two looks at the address, for each of which the port makes a dozen objects
_AGAIN_S = const(60)
_TYPES = (("http", b"_http._tcp"), ("modbus", b"_modbus._tcp"), ("bacnet", b"_bacnet._udp"))


class Responder:
    """A part of the finder, on a slot of its own. `host`: the host name of the configuration; `name`: the device's,
    which its services are listed under; `ports`: {name of a service: port}. `slot`: of the budget.

    conflict: a text once another host had one of the names"""

    def __init__(
        self, host: str, name: str, ports: "dict[str, int]", slot: "Slot", events: "Events", link: "Link",
        device: "Device",
    ):  # fmt: skip
        self.conflict: "str | None" = None
        self._host = host
        self._name = name
        self._number = 1
        self._slot = slot
        self._events = events
        self._link = link
        self._server = UdpServer(slot, self, "0.0.0.0", mdns.PORT, _PER_SECOND, mdns.GROUP)
        model, serial = device.board.identity()
        self._told = [
            b"serial=" + serial.encode(), b"model=" + model.encode(), b"version=%d.%d.%d" % VERSION,
        ]  # fmt: skip
        self._services = [(kind, ports[service]) for service, kind in _TYPES if service in ports]
        self._address = b""  # ours, as it was announced
        self._steps = 0  # probes and announcements that were sent for it
        self._opens_in_s = 0
        self._looks_in_s = 0  # whether the address is another
        self._has_failed = False
        self._choose_names()

    def _choose_names(self):
        ending = "" if self._number == 1 else "-%d" % self._number
        host, name = (self._host + ending).encode(), (self._name + ending).encode()
        self._names = mdns.Names(host, name, self._services, self._told)
        self._steps = 0

    def _open(self):
        """A group is joined where an interface is up. Returns False when that failed: the port's own responder may have
        that socket's port. It is tried again later, and logged once."""
        self._opens_in_s -= 1
        if self._opens_in_s > 0:
            return False
        self._opens_in_s = _AGAIN_S
        try:
            self._server.open()
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                self._events.add("finder", "multicast DNS is not answered: %r" % error)
            return False
        return True

    def close(self) -> None:
        """Says that the names are gone, and gives back the socket."""
        if self._server.stream is not None and self._steps > _PROBES:
            self._send(self._names.all, is_goodbye=True)
        self._server.close()

    def host(self) -> "str | None":
        """The name of this host, as others look for it; None while they are not answered."""
        if self._server.stream is None:
            return None
        wire = self._names.host
        return wire[1 : 1 + wire[0]].decode() + ".local"

    def tick(self) -> None:
        """Once a second: opens its socket once the network is up, asks for the names, then announces them; anew when
        the address has changed."""
        if not self._link.up():
            self._looks_in_s = 0
            return
        if self._server.stream is None and not self._open():
            return
        self._server.tick()
        if self._steps == _PROBES + _ANNOUNCEMENTS and self._looks_in_s:
            self._looks_in_s -= 1
            return
        self._looks_in_s = _LOOK_S
        text = self._link.details()[0]
        address = bytes([int(part) for part in text.split(".")]) if text else b""
        if len(address) != 4:
            return
        if address != self._address:
            self._address = address
            self._steps = 0
        if self._steps == _PROBES + _ANNOUNCEMENTS:
            return
        self._steps += 1
        if self._steps <= _PROBES:
            self._send(None)
        else:
            self._send(self._names.all)

    def on_ready(self, events: int) -> None:
        """Looks at one datagram."""
        received = self._server.receive(_DATAGRAM_MAX)
        if received is None or not self._address:
            return
        data, sender = received
        ip, port = seam.peer(sender)
        if not is_local(self._link, ip):
            return
        try:
            records = self._names.wanted(data)
            if not records and self._names.is_contradicted(data, self._address):
                self._give_way(ip)
        except ValueError:
            return  # no message
        if not records or self._steps <= _PROBES:
            return
        slot = self._slot
        slot.peer = sender
        slot.requests += 1
        if port != mdns.PORT:
            self._send(records, sender, question=data)
        else:
            self._send(records, sender if self._names.may_be_unicast else None)

    def fail(self, error: Exception) -> None:
        """on_ready has raised."""
        self._events.add("finder", "a query of names was lost: %r" % error)

    def _give_way(self, ip):
        """Another host has one of the names: takes others."""
        self.conflict = "the name %s is also that of %s" % (self.host(), ip)
        self._events.add("finder", self.conflict)
        if self._number < _NUMBER_MAX:
            self._number += 1
            self._choose_names()

    def _send(self, records, address=None, is_goodbye=False, question=b""):
        """Sends these records, None for a question whether another host has the names; to the group where no address is
        given. What the port has no room or no way for is lost, as on any network.

        The buffer is for a moment only: there are at most 16 answers a second, and mostly none for hours."""
        try:
            buf = bytearray(_DATAGRAM_MAX)
            names = self._names
            if records is None:
                length = names.write_probe(buf)
            else:
                length = names.write(buf, records, self._address, is_goodbye, question)
            self._server.stream.sendto(memoryview(buf)[:length], address or seam.address(mdns.GROUP, mdns.PORT))
            self._slot.sent += length
        except (OSError, MemoryError):
            pass

"""The BACnet service of a gateway without a network: datagrams in, datagrams out, and a decoder of our own for them."""

import errno
import struct
from types import SimpleNamespace

from firmware.meters import profile_loader
from firmware.meters.meter import Meter
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net import seam
from firmware.net.budget import Budget
from firmware.net.clock import Clock
from firmware.services.bacnet.service import BacnetService
from host_tests.unit import the_schema as schema
from host_tests.unit.fakes import SIX, Log, Uptime, defaults, store

CLIENT = ("192.0.2.9", 47808)
OTHER = ("192.0.2.10", 47808)
INSTANCE = 1234
ANALOG_INPUT, DEVICE, LARGE_ANALOG_VALUE = 0, 8, 46


class Stream:
    """A UDP socket. `sent` keeps what was sent, as (datagram, address)."""

    def __init__(self):
        self.incoming = []
        self.sent = []
        self.is_closed = False

    def recvfrom(self, most):
        if not self.incoming:
            raise OSError(errno.EAGAIN, "nothing has come")
        data, peer = self.incoming.pop(0)
        return data[:most], peer

    def sendto(self, data, peer):
        self.sent.append((bytes(data), peer))
        return len(data)

    def close(self):
        self.is_closed = True


class Link:
    is_up = True
    known = ("192.0.2.1", "255.255.255.0", "192.0.2.254", "192.0.2.254", "28:cd:c1:0a:0b:0c", -60)

    def up(self):
        return self.is_up

    def details(self):
        return self.known


def profile(*rows):
    """A profile of points (number, name, unit, kind), each a float32 in registers of its own."""
    given = [
        [number, name, 4, 2 * k, "float32", 1, unit, "accumulating" if unit.endswith("h") else "instantaneous"]
        for k, (number, name, unit) in enumerate(rows)
    ]
    return profile_loader.parse("Test meter", {"columns": profile_loader.COLUMNS, "points": given})


PROFILE = profile(
    (5, "voltage_l1_l2", "V"), (16, "active_power", "W"), (28, "power_factor", ""), (32, "energy_import", "Wh"),
    (44, "reactive_energy_import", "varh"), (130, "temperature", ""),
)  # fmt: skip


def meter(slot=0, name="main", parsed=PROFILE, **values):
    """A Meter that has just been read; `values` by names of points."""
    given = defaults(schema.METER, slot=slot, name=name, unit=slot + 1, profile="test", interval_s=3600)
    one = Meter(given, parsed)
    set_values(one, **values)
    return one


def set_values(one, now_s=0, **values):
    """What the bus does when the meter has answered all reads at `now_s`."""
    names = [one.profile.name_of(i) for i in range(len(one.profile))]
    numbers = dict.fromkeys(names, 0.0) | values
    for block in one.blocks:
        raw = bytearray(len(block.raw))
        for i, name in enumerate(names):
            if one.blocks[one.block_of[i]] is block:
                raw[one.profile.offsets[i] : one.profile.offsets[i] + 4] = struct.pack(">f", numbers[name])
        store(block, bytes(raw), now_s)


class Buses:
    """`is_free` False: they cannot be paused now."""

    is_free = True
    pauses = 0

    def pause(self, on_paused):
        if self.is_free:
            self.pauses += 1
            on_paused()
        return self.is_free

    def resume(self):
        pass


class Bench:
    """ask() and find() give what the service sends back."""

    def __init__(self, monkeypatch, meters=(), **config):
        self.uptime = Uptime()
        self.log = Log(self.uptime)
        self.stream = Stream()
        self.link = Link()
        self.budget = Budget(16, 16, 16, list(SIX), {"http": 4}, self.uptime, self.log)
        self.meters = list(meters)
        self.device = SimpleNamespace(reboots=0, reboot=self._reboot, board=SimpleNamespace(name="unix"))
        self.told = []
        self.clock = Clock(self.told.append)
        monkeypatch.setattr(seam, "udp", lambda *bound: self.stream)
        monkeypatch.setattr(seam, "watch", lambda stream, owner: None)
        monkeypatch.setattr(seam, "unwatch", lambda stream: None)
        monkeypatch.setattr(seam, "interest", lambda stream, events: None)
        section = defaults(schema.SCHEMA["bacnet"], **{"enabled": True, "instance": INSTANCE, **config})
        self.buses = Buses()
        self.clock.uptime_s = self.uptime
        self.service = BacnetService(
            section, "gateway", "unix", self.budget, self.log, self.clock, self.link,
            Meters(self.meters), Readings(self.uptime), self.buses, self.device,
        )  # fmt: skip
        self.service.start()

    def _reboot(self):
        self.device.reboots += 1

    def send(self, datagram, peer=CLIENT):
        """Gives the service a datagram; returns what it sends meanwhile, as (datagram, address)."""
        before = len(self.stream.sent)
        self.stream.incoming.append((bytes(datagram), peer))
        self.service.on_ready(1)
        return self.stream.sent[before:]

    def ask(self, apdu, peer=CLIENT, route=b"", function=0x0A):
        """The APDU that answers, None when none does; it is for `peer`, by the way that the request came."""
        answers = self.send(datagram(apdu, route and b"\x08" + route, function), peer)
        assert len(answers) <= 1, "one answer for a request"
        if not answers:
            return None
        answer, where = answers[0]
        assert where == peer
        return unpacked(answer, route)

    def read(self, kind, instance, number, index=None, **options):
        """The values of that property, as decoded; an Error as (class, code)."""
        request = b"\x00\x05\x07\x0c" + context(0, object_id(kind, instance)) + context(1, uint(number))
        if index is not None:
            request += context(2, uint(index))
        answer = self.ask(request, **options)
        if answer[0] == 0x50:
            assert answer[:3] == b"\x50\x07\x0c"
            return tuple(decoded(answer[3:]))
        assert answer[:3] == b"\x30\x07\x0c", answer.hex()
        got = decoded(answer[3:])
        assert got[-1] == ("closing", 3)
        begin = got.index(("opening", 3))
        return got[begin + 1 : -1]

    def tick(self, seconds=1):
        """Lets seconds pass; returns what the service sends meanwhile."""
        before = len(self.stream.sent)
        for _ in range(seconds):
            self.uptime.now += 1
            self.service.tick()
        return self.stream.sent[before:]

    def one(self, *what, **options):
        """The only value of a property."""
        (value,) = self.read(*what, **options)
        return value


def uint(number):
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")


def object_id(kind, instance):
    return struct.pack(">I", kind << 22 | instance)


def context(number, content):
    """A context tag with its content."""
    assert len(content) < 254
    if len(content) < 5:
        return bytes([number << 4 | 8 | len(content)]) + content
    return bytes([number << 4 | 13, len(content)]) + content


def datagram(apdu, addresses=b"", function=0x0A):
    """`addresses`: control byte and what follows it."""
    npdu = b"\x01" + (addresses or b"\x00") + apdu
    return struct.pack(">BBH", 0x81, function, len(npdu) + 4) + npdu


def unpacked(answer, route=b""):
    """The APDU of a datagram to one node."""
    kind, function, length = struct.unpack_from(">BBH", answer)
    assert (kind, length) == (0x81, len(answer))
    assert function == 0x0A
    head = b"\x01\x20" + route + b"\xff" if route else b"\x01\x00"
    assert answer[4 : 4 + len(head)] == head or answer[4 : 4 + len(head)] == head[:1] + bytes([head[1] | 4]) + head[2:]
    return answer[4 + len(head) :]


def decoded(data):
    """The tags of an APDU's content: application values as Python's, ("opening", n), ("closing", n), ("context", n,
    bytes). Written from clause 20.2 alone."""
    found = []
    at = 0
    while at < len(data):
        first = data[at]
        at += 1
        number, is_context, length = first >> 4, first >> 3 & 1, first & 7
        if is_context and length > 5:
            found.append(("opening" if length == 6 else "closing", number))
            continue
        if number == 1 and not is_context:
            found.append(bool(length))
            continue
        if length == 5:
            length = data[at]
            at += 1
            if length == 254:
                length = struct.unpack_from(">H", data, at)[0]
                at += 2
        content = data[at : at + length]
        assert len(content) == length
        at += length
        found.append(("context", number, content) if is_context else _VALUES[number](content))
    return found


_VALUES = {
    0: lambda content: None,
    2: lambda content: int.from_bytes(content, "big"),
    3: lambda content: int.from_bytes(content, "big", signed=True),
    4: lambda content: struct.unpack(">f", content)[0],
    5: lambda content: struct.unpack(">d", content)[0],
    6: bytes,
    7: lambda content: content[1:].decode() if content[:1] == b"\0" else None,
    8: lambda content: "".join(f"{byte:08b}" for byte in content[1:])[: 8 * (len(content) - 1) - content[0]],
    9: lambda content: int.from_bytes(content, "big"),
    10: lambda content: ("date", *content),
    11: lambda content: ("time", *content),
    12: lambda content: divmod(struct.unpack(">I", content)[0], 1 << 22),
}

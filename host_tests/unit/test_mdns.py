"""The responder of multicast DNS without a network: what it sends when, to whom, and whose name it takes."""

import errno
import random
import socket
import struct
from types import SimpleNamespace

import pytest
from zeroconf import DNSIncoming

import mdns
from firmware.net import seam
from firmware.net.budget import Budget
from firmware.services.finder.responder import Responder
from host_tests.unit.bacnet_bench import Stream
from host_tests.unit.fakes import SIX, Log, Uptime

ADDRESS, ASKER, STRANGER = "192.0.2.1", ("192.0.2.9", 5353), ("198.51.100.7", 5353)
EVERYBODY = (mdns.GROUP, mdns.PORT)
HOST = b"\x04gate\x05local\0"
HTTP = b"\x05_http\x04_tcp\x05local\0"
STARTED_S = 5  # three probes, two announcements


class Bench:
    def __init__(self, monkeypatch):
        self.stream = Stream()
        self.joined = []
        monkeypatch.setattr(seam, "udp", lambda *bound: self.stream)
        monkeypatch.setattr(seam, "join", lambda stream, group: self.joined.append(group))
        for name in ("watch", "unwatch", "interest"):
            monkeypatch.setattr(seam, name, lambda *given: None)
        uptime = Uptime()
        self.log = Log(uptime)
        self.address = ADDRESS
        self.is_up = True
        self.looks = 0  # at the address
        link = SimpleNamespace(up=lambda: self.is_up, details=self._details)
        budget = Budget(16, 16, 16, [*SIX, "finder"], {"http": 4}, uptime, self.log)
        device = SimpleNamespace(board=SimpleNamespace(identity=lambda: ("a model", "0242ac110002")))
        self.responder = Responder(
            "gate", "Main hall", {"http": 80, "modbus": 502, "bacnet": 47808}, budget.service_slot("finder", 1),
            self.log, link, device,
        )  # fmt: skip

    def _details(self):
        self.looks += 1
        return self.address, "255.255.255.0", "", "", None, None

    def tick(self, seconds=STARTED_S):
        """Lets seconds pass; what was sent meanwhile."""
        before = len(self.stream.sent)
        for _ in range(seconds):
            self.responder.tick()
        return self.stream.sent[before:]

    def ask(self, data, sender=ASKER):
        before = len(self.stream.sent)
        self.stream.incoming.append((data, sender))
        self.responder.on_ready(1)
        return self.stream.sent[before:]


@pytest.fixture
def bench(monkeypatch):
    return Bench(monkeypatch)


def question(name, kind, class_=1, id_=0):
    return struct.pack(">HHHHHH", id_, 0, 1, 0, 0, 0) + name + struct.pack(">HH", kind, class_)


def claim(name, address, ttl_s=120):
    """A response of another host that has this name."""
    data = socket.inet_aton(address)
    return struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + name + struct.pack(">HHIH", 1, 0x8001, ttl_s, 4) + data


def read(data):
    """{(name, type): record} as python-zeroconf reads them."""
    message = DNSIncoming(bytes(data))
    assert message.valid
    return {(record.name, type(record).__name__, getattr(record, "alias", "")): record for record in message.answers()}


def test_its_group_is_joined_once_the_network_is_up(bench):
    """lwIP refuses a group while there is no interface."""
    bench.is_up = False
    assert bench.tick(100) == []
    assert not bench.joined
    bench.is_up = True
    bench.tick(1)
    assert bench.joined == [mdns.GROUP]


def test_a_port_that_is_taken_is_logged_once_and_tried_each_minute(bench, monkeypatch):
    tried = []

    def refuse(stream, group):
        tried.append(group)
        raise OSError(errno.EADDRINUSE, "taken")

    join = seam.join
    monkeypatch.setattr(seam, "join", refuse)
    assert bench.tick(121) == []
    assert len(tried) == 3
    assert len(bench.log.texts()) == 1
    assert "multicast DNS is not answered" in bench.log.texts()[0]
    assert bench.responder.host() is None
    monkeypatch.setattr(seam, "join", join)
    bench.tick(60)
    assert bench.responder.host() == "gate.local"


def test_it_asks_three_times_for_its_names_then_announces_them_twice_to_the_group(bench):
    assert not bench.joined
    assert bench.responder.host() is None
    sent = bench.tick(20)
    assert bench.joined == [mdns.GROUP]
    assert [address for _, address in sent] == [EVERYBODY] * 5
    assert all(DNSIncoming(data).is_query() for data, _ in sent[:3])
    records = read(sent[3][0])
    assert sent[3] == sent[4]
    (address,) = [record for record in records.values() if type(record).__name__ == "DNSAddress"]
    assert (address.name, socket.inet_ntoa(address.address)) == ("gate.local.", ADDRESS)
    servers = {record.name: (record.server, record.port) for record in records.values() if hasattr(record, "server")}
    assert servers == {
        "Main hall._http._tcp.local.": ("gate.local.", 80),
        "Main hall._modbus._tcp.local.": ("gate.local.", 502),
        "Main hall._bacnet._udp.local.": ("gate.local.", 47808),
    }
    pointers = {(record.name, record.alias) for record in records.values() if hasattr(record, "alias")}
    assert ("_http._tcp.local.", "Main hall._http._tcp.local.") in pointers
    assert ("_services._dns-sd._udp.local.", "_modbus._tcp.local.") in pointers


def test_nothing_is_answered_before_the_names_are_known_to_be_free(bench):
    bench.tick(3)
    assert bench.ask(question(HOST, 1)) == []
    bench.tick(1)
    ((data, address),) = bench.ask(question(HOST, 1))
    assert address == EVERYBODY
    assert list(read(data)) == [("gate.local.", "DNSAddress", "")]


def test_who_asks_for_a_unicast_answer_or_from_another_port_gets_it_alone(bench):
    bench.tick()
    ((_, address),) = bench.ask(question(HOST, 1, 0x8001))
    assert address == ASKER
    other = (ASKER[0], 40000)
    ((data, address),) = bench.ask(question(HOST, 1, id_=7), other)
    assert address == other
    assert struct.unpack_from(">HHHH", data) == (7, 0x8400, 1, 1)


def test_another_network_gets_no_answer_and_takes_no_name(bench):
    bench.tick()
    assert bench.ask(question(HOST, 1), STRANGER) == []
    assert bench.ask(claim(HOST, "192.0.2.66"), STRANGER) == []
    assert bench.responder.conflict is None


def test_what_is_no_question_for_us_gets_no_answer(bench):
    bench.tick()
    for data in (b"x", b"\xff" * 100, question(b"\x05other\x05local\0", 1), question(HTTP, 16), claim(HOST, ADDRESS)):
        assert bench.ask(data) == []
    assert bench.responder.host() == "gate.local"


@pytest.mark.parametrize("probed_s", [1, STARTED_S])
def test_a_name_that_another_host_has_is_given_up_for_one_with_a_number(bench, probed_s):
    bench.tick(probed_s)
    bench.ask(claim(HOST, "192.0.2.66"), ("192.0.2.66", 5353))
    assert bench.responder.host() == "gate-2.local"
    assert bench.responder.conflict == "the name gate.local is also that of 192.0.2.66"
    assert bench.log.texts() == [bench.responder.conflict]
    sent = bench.tick(20)
    assert len(sent) == 5
    assert ("Main hall-2._http._tcp.local.", "DNSService", "") in read(sent[-1][0])
    for k in range(2, 40):
        bench.ask(claim(b"\x06gate-" + b"%d" % k + b"\x05local\0", "192.0.2.66"), ("192.0.2.66", 5353))
    assert bench.responder.host() == "gate-9.local"


def test_a_new_address_is_announced(bench):
    bench.tick(20)
    bench.address = "192.0.2.2"
    sent = bench.tick(20)
    assert len(sent) == 5
    assert socket.inet_ntoa(read(sent[-1][0])["gate.local.", "DNSAddress", ""].address) == "192.0.2.2"


def test_the_address_is_looked_at_seldom_and_at_once_when_the_network_was_down(bench):
    """The ports make objects in the heap for it."""
    bench.tick(20)
    before = bench.looks
    bench.tick(110)
    assert 0 < bench.looks - before <= 10
    bench.is_up = False
    bench.tick(1)
    bench.is_up = True
    bench.address = "192.0.2.2"
    assert len(bench.tick(1)) == 1


def test_the_end_is_told(bench):
    bench.tick()
    before = len(bench.stream.sent)
    bench.responder.close()
    ((data, address),) = bench.stream.sent[before:]
    assert address == EVERYBODY
    assert {record.ttl for record in read(data).values()} == {0}
    assert bench.stream.is_closed


def test_random_packets_do_no_harm_and_have_one_answer_that_others_can_read(bench):
    rng = random.Random(1)
    bench.tick()
    whole = [
        question(HOST, 255), question(HTTP, 12, 0x8001), question(b"\x09Main hall" + HTTP, 33), claim(HOST, ADDRESS),
        question(b"\x09_services\x07_dns-sd\x04_udp\x05local\0", 12),
    ]  # fmt: skip
    answered = 0
    for number in range(20_000):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice((0, 1, 1, 3))):
            at = rng.randrange(2, len(data) + 1)
            data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        if rng.random() < 0.02:
            data = bytearray(rng.randbytes(rng.randrange(1, 1472)))
        sent = bench.ask(bytes(data))
        assert len(sent) <= 1
        for answer, _ in sent:
            assert len(answer) < 1400
            answered += 1
            if number % 50 == 0:
                read(answer)
        if number % 10 == 0:
            bench.responder.tick()
    assert answered > 1000
    assert bench.log.texts() == [] or bench.responder.conflict

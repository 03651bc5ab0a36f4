"""The finder with a fake socket: what it answers, what it refuses, and that nothing of a datagram stays."""

import errno
import json
import random
from types import SimpleNamespace

import pytest

from firmware.config import load as config
from firmware.net import seam
from firmware.net.budget import Budget
from firmware.services.finder import finder as finder_module
from firmware.services.finder.finder import Finder
from host_tests.unit.fakes import SIX, Log, Uptime

ASKER = ("192.168.1.7", 40000)
FIND = b"meterport find"
SERIAL = "28cdc1012345"
PER_SECOND = 16


class Socket:
    def __init__(self):
        self.queue = []
        self.sent = []
        self.watched = True
        self.closed = False

    def recvfrom(self, n):
        if not self.queue:
            raise OSError(errno.EAGAIN, "nothing")
        data, sender = self.queue.pop(0)
        return data[:n], sender

    def sendto(self, data, address):
        self.sent.append((data, address))
        return len(data)


class Bench:
    def __init__(self, monkeypatch, name="switchroom", network=("192.168.1.50", "255.255.255.0"), led=None, **section):
        self.sockets = []
        self.levels = []
        self.network = network
        monkeypatch.setattr(seam, "udp", self._udp)
        monkeypatch.setattr(seam, "watch", lambda stream, owner, listener=False: None)
        monkeypatch.setattr(seam, "unwatch", lambda stream: None)
        monkeypatch.setattr(seam, "close", lambda stream: setattr(stream, "closed", True))
        monkeypatch.setattr(seam, "interest", lambda stream, events: setattr(stream, "watched", bool(events)))
        self.uptime = Uptime(77)
        self.events = Log(self.uptime)
        self.budget = Budget(16, 16, 16, list(SIX), {}, self.uptime, self.events)
        board = SimpleNamespace(
            name="rp2", identity=lambda: ("Raspberry Pi Pico 2 W", SERIAL),
            led=lambda pin: self.levels.append if led else None,
        )  # fmt: skip
        services = [SimpleNamespace(name="http", state="running", port=80, service=SimpleNamespace(conflict=None)),
                    SimpleNamespace(name="modbus", state="failed", port=502, service=None)]  # fmt: skip
        self.device = SimpleNamespace(board=board, services=services)
        link = SimpleNamespace(details=lambda: (*self.network, None, None, "28:cd:c1:01:23:45", -60))
        clock = SimpleNamespace(uptime_s=self.uptime)
        values = config.default()["finder"] | section
        self.finder = Finder(values, name, self.budget, self.events, clock, link, self.device)
        services.append(SimpleNamespace(name="finder", state="running", port=10502, service=self.finder))
        self.slot = self.budget.service_slot("finder")
        self.finder.start()

    def _udp(self, bind, port):
        self.sockets.append(Socket())
        return self.sockets[-1]

    @property
    def socket(self):
        return self.sockets[-1]

    def tell(self, data, sender=ASKER):
        """The datagrams that the finder sends when it gets this one: (bytes, address)."""
        before = len(self.socket.sent)
        self.socket.queue.append((data, sender))
        while self.socket.queue and self.socket.watched:
            self.finder.on_ready(seam.READ)
        return self.socket.sent[before:]

    def found(self):
        """The document that answers a search."""
        ((data, address),) = self.tell(FIND)
        assert address == ASKER
        return json.loads(data)

    def wait_s(self, seconds):
        for _ in range(seconds):
            self.uptime.now += 1
            self.finder.tick()


@pytest.fixture
def make(monkeypatch):
    return lambda *args, **options: Bench(monkeypatch, *args, **options)


def test_a_search_is_answered_with_what_the_device_is(make):
    bench = make()
    bench.budget.open("modbus", ASKER)
    bench.device.services[0].service.conflict = 'instance 7 is also "there"'
    assert bench.found() == {
        "meterport": 1, "name": "switchroom", "serial": SERIAL, "model": "Raspberry Pi Pico 2 W", "board": "rp2",
        "firmware": "0.1.0", "address": "192.168.1.50", "mac": "28:cd:c1:01:23:45", "ports": {"http": 80},
        "instance": None, "sockets": 16, "sockets_free": 9, "uptime_s": 77, "led": False,
        "conflicts": ['instance 7 is also "there"'],
    }  # fmt: skip
    assert (bench.slot.open, bench.slot.peer, bench.slot.requests, bench.slot.received) == (True, ASKER, 1, len(FIND))
    assert bench.finder.status() == {"answered": 1, "refused": 0, "conflict": None, "host": None}


def test_the_instance_is_that_of_the_bacnet_service_that_runs(make):
    bench = make()
    bacnet = SimpleNamespace(conflict=None, status=lambda: {"instance": 1234567})
    entry = SimpleNamespace(name="bacnet", state="running", port=47808, service=bacnet)
    bench.device.services.append(entry)
    document = bench.found()
    assert (document["instance"], document["ports"]["bacnet"]) == (1234567, 47808)
    entry.state, entry.service = "failed", None
    assert bench.found()["instance"] is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n"])
def test_a_line_end_makes_no_difference(make, end):
    assert make().tell(FIND + end)


@pytest.mark.parametrize("name", ['the "east" room', "back\\slash", "süd", "{}[]:,", "x" * 32])
def test_any_name_comes_whole(make, name):
    assert make(name).found()["name"] == name


REFUSED = [
    b"x", b"meterport", b"meterport finds", b"Meterport find", b"meterport find " + SERIAL.encode(),
    b"meterport identify", b"meterport identify ", b"meterport identify 28cdc1012346",
    b"meterport identify " + SERIAL.encode() + b"0", b"meterport find" + b" " * 70, b"{}", b'{"meterport":2}',
    b"\xff" * 256, b"\0",
]  # fmt: skip


@pytest.mark.parametrize("data", REFUSED)
def test_what_is_no_request_gets_nothing(make, data):
    bench = make(led=True)
    assert bench.tell(data) == []
    assert bench.finder.refused == 1
    assert (bench.slot.requests, bench.slot.peer, bench.levels) == (0, None, [])
    assert bench.found()


@pytest.mark.parametrize(
    ("network", "sender", "answered"),
    [
        (("192.168.1.50", "255.255.255.0"), "192.168.1.255", True),
        (("192.168.1.50", "255.255.255.0"), "192.168.2.7", False),
        (("10.1.2.3", "255.254.0.0"), "10.0.9.9", True),
        (("10.1.2.3", "255.254.0.0"), "10.2.9.9", False),
        (("10.1.2.3", "255.0.0.0"), "127.0.0.1", True),
        ((None, None), "192.168.200.1", True),
        ((None, None), "203.0.113.1", False),
    ],
)
def test_only_the_devices_own_network_is_answered(make, network, sender, answered):
    bench = make(network=network)
    assert bool(bench.tell(FIND, (sender, 9))) is answered
    assert bench.finder.refused == (0 if answered else 1)
    bench = make(network=network, anywhere=True)
    assert bench.tell(FIND, (sender, 9))


# -- bounds


def test_a_flood_costs_sixteen_datagrams_a_second(make):
    bench = make()
    for _ in range(3):
        before = len(bench.socket.sent)
        for _ in range(1000):
            bench.tell(FIND)
        assert len(bench.socket.sent) == before + PER_SECOND
        assert not bench.socket.watched, "the loop is woken no more"
        bench.socket.queue.clear()
        bench.wait_s(1)
        assert bench.socket.watched
    assert bench.found()


def test_sixteen_refused_ones_close_the_second_too(make):
    bench = make()
    for _ in range(PER_SECOND):
        bench.tell(b"x")
    assert (bench.tell(FIND), bench.finder.refused) == ([], PER_SECOND)


def test_a_socket_that_gives_empty_datagrams_only_is_opened_again(make):
    """As the ESP32's does after one (firmware.services.finder)."""
    bench = make()
    bench.tell(b"")
    assert bench.found(), "one does no harm elsewhere"
    for _ in range(2):
        bench.tell(b"")
    assert [socket.closed for socket in bench.sockets] == [True, False]
    assert bench.found()


def test_empty_datagrams_cannot_pass_the_bound_by_a_new_socket(make):
    bench = make()
    for _ in range(200):
        if bench.socket.watched:
            bench.tell(b"")
    assert len(bench.sockets) <= 1 + PER_SECOND // 2 + 1
    assert not bench.socket.watched
    bench.wait_s(1)
    assert bench.found()


def test_a_socket_that_cannot_be_opened_again_is_tried_each_second(make, monkeypatch):
    bench = make()
    with monkeypatch.context() as patch:

        def fail(bind, port):
            raise OSError(errno.ENFILE, "none is left")

        patch.setattr(seam, "udp", fail)
        bench.socket.queue += [(b"", ASKER)] * 2
        bench.finder.on_ready(seam.READ)
        with pytest.raises(OSError, match="none is left") as error:
            bench.finder.on_ready(seam.READ)
        bench.finder.fail(error.value)
        bench.wait_s(2)
        assert not bench.slot.open
        assert any("none is left" in text for text in bench.events.texts())
    bench.wait_s(1)
    assert bench.slot.open
    assert bench.found()


def test_a_sender_that_cannot_be_reached_is_logged(make):
    bench = make()

    def sendto(data, address):
        raise OSError(errno.EHOSTUNREACH, "no way")

    bench.socket.sendto = sendto
    bench.socket.queue.append((FIND, ASKER))
    with pytest.raises(OSError, match="no way") as error:
        bench.finder.on_ready(seam.READ)
    bench.finder.fail(error.value)
    assert bench.events.texts() == ["a request was lost: " + repr(error.value)]


def test_woken_for_nothing_is_no_datagram(make):
    bench = make()
    bench.finder.on_ready(seam.READ)
    assert bench.finder.status() == {"answered": 0, "refused": 0, "conflict": None, "host": None}


def test_nothing_escapes_whatever_comes(make):
    """200000 datagrams: random ones, and mutations of requests and documents."""
    rng = random.Random(17)
    bench = make(anywhere=True, led=True)
    seeds = [FIND, b"meterport identify " + SERIAL.encode(), other(), b'{"meterport":1,"name":"switchroom","serial":']
    before = set(vars(bench.finder))
    for k in range(200_000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(data) + 1)
            if rng.random() < 0.5:
                data[at : at + rng.randrange(3)] = bytes([rng.randrange(256)])
            else:
                data[at:] = rng.randbytes(rng.randrange(8))
        bench.socket.queue = [(bytes(data), ASKER)]
        bench.finder.on_ready(seam.READ)
        bench.socket.sent = bench.socket.sent[-1:]
        if k % 10 == 0:
            bench.finder.tick()
    assert set(vars(bench.finder)) == before
    assert len(bench.events.lines()) <= 24


# -- identify


def identify(bench):
    ((data, _),) = bench.tell(b"meterport identify " + SERIAL.encode())
    return json.loads(data)


def test_identify_blinks_for_twenty_seconds_and_leaves_the_led_dark(make):
    bench = make(led=True)
    assert identify(bench)["led"] is True
    assert bench.events.texts() == ["identify, asked by 192.168.1.7"]
    bench.wait_s(30)
    assert bench.levels == [1, 0] * 10


def test_identify_without_a_led_is_logged_and_answered(make):
    bench = make()
    assert identify(bench)["led"] is False
    bench.wait_s(30)
    assert bench.events.texts() == ["identify, asked by 192.168.1.7"]


# -- another device of the same name


def other(name="switchroom", serial="28cdc10999"):
    return b'{"meterport":1,"name":%s,"serial":"%s","model":"x"' % (json.dumps(name).encode(), serial.encode())


def test_others_are_asked_when_the_network_is_known_and_once_an_hour(make):
    bench = make(network=(None, None))
    bench.wait_s(60)
    assert bench.socket.sent == []
    bench.network = ("10.1.2.3", "255.255.252.0")
    bench.wait_s(3)
    assert bench.socket.sent == [(FIND, ("10.1.3.255", 10502))]
    bench.wait_s(3599)
    assert len(bench.socket.sent) == 1
    bench.wait_s(1)
    assert len(bench.socket.sent) == 2


def test_one_that_has_the_same_name_is_named_and_told_once(make):
    bench = make()
    sender = ("192.168.1.9", 10502)
    ((told, address),) = bench.tell(other(), sender)
    assert address == sender
    assert json.loads(told)["conflicts"] == ["the name is also that of the gateway at 192.168.1.9"]
    assert bench.tell(other(), sender) == []
    assert bench.found()["conflicts"] == ["the name is also that of the gateway at 192.168.1.9"]
    assert bench.finder.status()["conflict"] == "the name is also that of the gateway at 192.168.1.9"
    assert bench.events.texts() == ["the name is also that of the gateway at 192.168.1.9"]
    bench.wait_s(3)
    assert bench.finder.conflict is None, "a new question begins anew: the other may have got another name"


def test_two_of_one_name_tell_each_other_and_are_silent_then(make):
    one, two = make(), make()
    two.finder._serial = b"28cdc10999"
    sent = two.tell(FIND)
    for k in range(10):
        here, sender = ((one, "192.168.1.9"), (two, "192.168.1.50"))[k % 2]
        if not sent:
            break
        sent = here.tell(sent[0][0], (sender, 10502))
    assert k == 3
    assert one.finder.conflict == "the name is also that of the gateway at 192.168.1.9"
    assert two.finder.conflict == "the name is also that of the gateway at 192.168.1.50"


@pytest.mark.parametrize(
    ("data", "sender"),
    [
        (other("elsewhere"), "192.168.1.9"),
        (other("switchroom 2"), "192.168.1.9"),
        (other(serial=SERIAL), "192.168.1.50"),
        (other(), "203.0.113.5"),
        (b'{"meterport":1,"name":"switchroom"', "192.168.1.9"),
        (b'{"meterport":1,"name":"switchroom",', "192.168.1.9"),
    ],
    ids=["another name", "a longer name", "its own", "from elsewhere", "cut before", "cut behind the name"],
)
def test_no_conflict(make, data, sender):
    bench = make()
    assert bench.tell(data, (sender, 10502)) == []
    assert bench.finder.conflict is None


def test_a_question_that_cannot_be_sent_is_logged(make):
    bench = make()

    def sendto(data, address):
        raise OSError(errno.ENETUNREACH, "down")

    bench.socket.sendto = sendto
    bench.wait_s(4)
    assert len(bench.events.texts()) == 1


def test_its_bounds_are_what_the_reference_says():
    assert finder_module._BLINK_S == 20
    assert finder_module._PER_SECOND == PER_SECOND

"""The UDP socket of a service: what a flood, a datagram without room and a socket that is dead do to it."""

import errno

import pytest

from firmware.net import seam
from firmware.net.budget import Budget
from firmware.net.udp_server import UdpServer
from host_tests.unit.fakes import SIX, Log, Uptime

PEER = ("192.0.2.9", 40000)
PER_SECOND = 4
MOST = 1472


class Socket:
    """`queue`: datagrams and errors that recvfrom() gives in turn. An ESP32 `dies` at an empty datagram."""

    def __init__(self, dies=False):
        self.queue = []
        self.dies = dies
        self.is_dead = False
        self.is_read = True

    def recvfrom(self, most):
        if self.is_dead:
            return b"", PEER
        if not self.queue:
            raise OSError(errno.EAGAIN, "nothing has come")
        data = self.queue.pop(0)
        if isinstance(data, Exception):
            raise data
        if isinstance(data, int):  # of that length, which there is no memory for
            if most > 64:
                self.queue.insert(0, data)
                raise MemoryError
            return bytes(most), PEER
        self.is_dead = self.dies and not data
        return data[:most], PEER


class Owner:
    def __init__(self):
        self.errors = []

    def fail(self, error):
        self.errors.append(error)


@pytest.fixture
def bench(monkeypatch):
    """A server on fake sockets, which `bench.sockets` keeps; the next one cannot be made while `bench.error` is set."""

    class Bench:
        sockets = []
        closed = []
        error = None
        dies = False

        def __init__(self):
            self.sockets, self.closed = [], []
            monkeypatch.setattr(seam, "udp", self.udp)
            monkeypatch.setattr(seam, "watch", self.watch)
            monkeypatch.setattr(seam, "unwatch", lambda stream: None)
            monkeypatch.setattr(seam, "close", self.closed.append)
            monkeypatch.setattr(seam, "interest", lambda stream, events: setattr(stream, "is_read", bool(events)))
            self.watch_error = None
            self.owner = Owner()
            uptime = Uptime()
            budget = Budget(16, 16, 16, list(SIX), {}, uptime, Log(uptime))
            self.slot = budget.service_slot("bacnet")
            self.server = UdpServer(self.slot, self.owner, "0.0.0.0", 47808, PER_SECOND)

        def udp(self, bind, port):
            if self.error is not None:
                raise self.error
            assert (bind, port) == ("0.0.0.0", 47808)
            self.sockets.append(Socket(self.dies))
            return self.sockets[-1]

        def watch(self, stream, owner):
            assert owner is self.owner
            if self.watch_error is not None:
                raise self.watch_error

    return Bench()


def test_a_datagram_is_given_with_its_sender_and_counted(bench):
    bench.server.open()
    assert bench.slot.open
    bench.sockets[0].queue = [b"one", b"x" * 2000]
    assert bench.server.receive(MOST) == (b"one", PEER)
    assert bench.server.receive(MOST) == (b"x" * MOST, PEER)
    assert bench.server.receive(MOST) is None
    assert bench.slot.received == 3 + MOST


def test_of_a_flood_so_many_are_read_in_a_second(bench):
    bench.server.open()
    (socket,) = bench.sockets
    socket.queue = [b"%d" % k for k in range(100)]
    for _second in range(3):
        read = 0
        while socket.is_read:
            assert bench.server.receive(MOST)
            read += 1
        assert read == PER_SECOND
        bench.server.tick()
        assert socket.is_read


def test_without_memory_for_a_long_datagram_its_beginning_is_read(bench):
    bench.server.open()
    bench.sockets[0].queue = [1400, b"next"]
    assert bench.server.receive(MOST) == (bytes(64), PEER)
    assert bench.server.receive(MOST) == (b"next", PEER)


def test_an_error_of_the_port_is_raised(bench):
    bench.server.open()
    bench.sockets[0].queue = [OSError(errno.ENOMEM, "no room"), b"next"]
    with pytest.raises(OSError, match="no room"):
        bench.server.receive(MOST)
    assert bench.server.receive(MOST) == (b"next", PEER)


def test_a_single_empty_datagram_changes_nothing(bench):
    bench.server.open()
    bench.sockets[0].queue = [b"", b"one", b"", b"two"]
    assert [bench.server.receive(MOST) for _ in range(4)] == [None, (b"one", PEER), None, (b"two", PEER)]
    assert len(bench.sockets) == 1


def test_a_socket_that_an_empty_datagram_has_killed_is_opened_anew(bench):
    bench.dies = True
    bench.server.open()
    bench.sockets[0].queue = [b"", b"lost"]
    assert [bench.server.receive(MOST) for _ in range(2)] == [None, None]
    assert bench.closed == bench.sockets[:1]
    assert len(bench.sockets) == 2
    bench.sockets[1].queue = [b"next"]
    assert bench.server.receive(MOST) == (b"next", PEER)
    assert bench.slot.open


def test_a_socket_opened_anew_does_not_prolong_a_flood(bench):
    bench.dies = True
    bench.server.open()
    bench.sockets[0].queue = [b"", b""]
    for _ in range(PER_SECOND // 2):
        bench.server.receive(MOST)
        bench.server.receive(MOST)
        bench.sockets[-1].queue = [b"", b""]
    assert not bench.sockets[-1].is_read


def test_a_socket_that_cannot_be_opened_anew_is_tried_each_second(bench):
    bench.dies = True
    bench.server.open()
    bench.sockets[0].queue = [b""]
    bench.server.receive(MOST)
    bench.error = OSError(errno.EADDRINUSE, "in use")
    with pytest.raises(OSError, match="in use"):
        bench.server.receive(MOST)
    assert bench.server.stream is None
    assert not bench.slot.open
    bench.server.tick()
    assert bench.owner.errors == [bench.error]
    bench.error = None
    bench.server.tick()
    assert bench.server.stream is bench.sockets[-1]
    assert bench.slot.open


def test_a_socket_that_cannot_be_watched_is_closed(bench):
    bench.watch_error = MemoryError()
    with pytest.raises(MemoryError):
        bench.server.open()
    assert bench.closed == bench.sockets
    assert not bench.slot.open


def test_it_is_closed_once(bench):
    bench.server.open()
    bench.server.close()
    bench.server.close()
    assert bench.closed == bench.sockets
    assert not bench.slot.open

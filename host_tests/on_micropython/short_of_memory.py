"""Sockets and the event loop of MicroPython without a byte of heap: what must go on, and what must not be lost.

Functions test_* as run_module.py runs them. The heap is really full: fill() takes it in pieces down to the smallest.
"""

import gc
import io
import os
import socket

from firmware.events import Events
from firmware.net import seam, seam_micropython
from firmware.net.budget import SERVICES, Budget
from firmware.net.listener import Connection, Listener

_ROUNDS = 20
_EAGAIN = 11


def fill():
    """All of the heap, as a chain that holds it until it is dropped."""
    gc.collect()
    chain = None
    for size in (65536, 4096, 512, 64, 0, 64, 0):  # twice: what failed last may have left its piece behind
        try:
            while True:
                chain = (chain, bytearray(size)) if size else (chain,)
        except MemoryError:
            pass
    return chain


def descriptors():
    """How many sockets and files the process has open."""
    return len(os.listdir("/proc/self/fd"))


class _Echo(Connection):
    """Sends back what comes, in a buffer that it makes each time."""

    def on_input(self):
        buf = bytearray(100)
        n = self.stream.readinto(buf)
        if not n:
            self.close()
            return
        self.budget.served(self.slot)
        self.send(buf, n)


class _Bench:
    def __init__(self):
        seam.install()
        self.lines = []
        self.events = Events(lambda: 0, self.lines.append)
        self.budget = Budget(16, 16, 16, SERVICES[:6], {"http": 4}, lambda: 0, self.events)
        self.clients = []
        port = 20011 + seam.ticks_us() % 9000
        while True:
            try:
                self.listener = Listener(self.budget, self.events, "modbus", "127.0.0.1", port, self._make, 9999, 9999)
                break
            except OSError:
                port += 1
                assert port < 65000
        self.where = seam.address("127.0.0.1", port)

    def _make(self, stream, slot):
        return _Echo(stream, slot, self.budget, self.events)

    def knock(self):
        client = socket.socket()
        client.connect(self.where)
        client.setblocking(False)
        self.clients.append(client)
        return client

    def ask(self, client):
        """What the client gets for a byte; b"" when it was closed."""
        try:
            client.send(b"x")
            for _ in range(20):
                turn()
                try:
                    return client.recv(10)
                except OSError as error:
                    if error.errno != _EAGAIN:
                        raise
        except OSError:  # reset
            return b""
        return None

    def close(self):
        for client in self.clients:
            client.close()
        for slot in self.budget.connections[:]:
            slot.connection.close()
        self.listener.close()


def turn():
    """One turn of the loop, with nothing to wait for."""
    seam_micropython._reactor.wait_io_event(0)


def test_a_connection_without_memory_waits_in_the_backlog():
    bench = _Bench()
    bench.ask(bench.knock())
    client = bench.knock()
    before = descriptors()
    for _ in range(_ROUNDS):
        chain = fill()
        turn()
        chain = None
        gc.collect()
        bench.listener.sweep()
    assert chain is None
    assert bench.budget.failed_accepts == _ROUNDS, bench.budget.failed_accepts
    assert len(bench.budget.connections) == 1
    assert descriptors() == before, (descriptors(), before)
    assert bench.ask(client) == b"x"
    assert len(bench.budget.connections) == 2
    bench.close()


def test_a_connection_without_memory_for_its_input_is_closed_and_nothing_is_lost():
    bench = _Bench()
    closed = 0
    before = descriptors()
    for _ in range(_ROUNDS):
        client = bench.knock()
        assert bench.ask(client) == b"x"
        client.send(b"y")
        chain = fill()
        turn()
        chain = None
        gc.collect()
        got = bench.ask(client)
        # Where even closing it took memory (id() of an object is a large integer on the unix port), it is served now.
        assert got in (b"", b"y"), got
        closed += got == b""
        if got:
            assert bench.ask(client) == b"x"
            bench.budget.connections[0].connection.close()
        bench.clients.remove(client)
        client.close()
    assert chain is None
    assert closed > _ROUNDS // 2, closed
    assert bench.budget.connections == []
    assert len(seam_micropython._reactor.streams) == len(seam_micropython._reactor.owners) == 1
    assert descriptors() == before, (descriptors(), before)
    bench.close()


def test_a_connection_that_cannot_be_kept_leaves_no_slot_and_no_socket():
    bench = _Bench()
    made = []

    def make(stream, slot):
        made.append(stream)
        raise MemoryError

    bench.listener._factory = make
    before = descriptors()
    for _ in range(_ROUNDS):
        client = bench.knock()
        turn()
        assert client.recv(1) == b""
        bench.clients.remove(client)
        client.close()
        bench.listener.sweep()
    assert len(made) == _ROUNDS
    assert bench.budget.connections == []
    assert descriptors() == before
    bench.close()


def test_connections_are_closed_and_evicted_without_memory():
    bench = _Bench()
    for _ in range(10):
        assert bench.ask(bench.knock()) == b"x"
    newcomer = bench.knock()
    budget = bench.budget
    connections = budget.connections[:]
    before = descriptors()
    chain = fill()
    connections[5].connection.close()
    turn()
    chain = None
    gc.collect()
    assert chain is None
    assert connections[5].connection.closed
    assert len(budget.connections) == 9
    assert descriptors() == before - 1
    bench.listener.sweep()
    assert bench.ask(newcomer) == b"x"
    bench.close()


class _Unpollable(io.IOBase):
    """A stream that cannot be asked, as on an ESP32 without memory for select(): `failures` times."""

    def __init__(self, failures):
        self.failures = failures

    def ioctl(self, request, argument):
        if request != 3:  # MP_STREAM_POLL; it has no descriptor, as nothing on a chip has
            return -22
        self.failures -= 1
        return -5 if self.failures >= 0 else 0  # EIO


def test_a_poll_that_fails_does_not_end_the_loop():
    bench = _Bench()
    ticks = []

    async def main():
        client = bench.knock()
        broken = _Unpollable(5)
        seam.watch(broken, None)
        client.send(b"x")
        for _ in range(200):
            ticks.append(broken.failures)
            await seam.sleep_ms(10)
            try:
                return client.recv(10)
            except OSError as error:
                assert error.errno == _EAGAIN
        return None

    try:
        assert seam.run(main()) == b"x"
        assert ticks[0] == 5, ticks
        assert 3 in ticks, ticks  # tasks went on meanwhile
    finally:
        bench.close()


def test_a_poll_that_fails_for_ever_ends_the_firmware():
    error = OSError(5)
    assert seam_micropython._poll_failed(error, 1) == ()
    assert seam_micropython._poll_failed(error, 1000) == ()
    try:
        seam_micropython._poll_failed(error, 1001)
    except OSError as raised:
        assert raised is error
    else:
        raise AssertionError("goes on for ever")


class _CannotFail:
    """Raises in on_ready() and in fail()."""

    def __init__(self):
        self.calls = 0

    def on_ready(self, events):
        raise MemoryError

    def fail(self, error):
        self.calls += 1
        raise MemoryError


def test_an_owner_that_cannot_even_fail_does_not_end_the_loop():
    bench = _Bench()
    client = bench.knock()
    assert bench.ask(client) == b"x"
    owner = _CannotFail()
    reactor = seam_micropython._reactor
    at = reactor.streams.index(bench.budget.connections[0].connection.stream)
    reactor.owners[at], kept = owner, reactor.owners[at]
    client.send(b"y")
    turn()
    assert owner.calls == 1
    reactor.owners[at] = kept
    turn()
    assert client.recv(10) == b"y"
    bench.close()


class _Stubborn:
    """A stream whose close() fails, as lwip_close() may on an ESP32."""

    def __init__(self, stream):
        self.readinto, self.write = stream.readinto, stream.write
        self.stream = stream

    def close(self):
        raise OSError(12)


def test_a_slot_is_free_when_close_fails():
    bench = _Bench()
    bench.ask(bench.knock())
    [slot] = bench.budget.connections
    connection = slot.connection
    stream = connection.stream
    reactor = seam_micropython._reactor
    reactor.streams[reactor.streams.index(stream)] = connection.stream = _Stubborn(stream)
    connection.close()
    assert connection.closed
    assert bench.budget.connections == []
    reactor.poller.unregister(stream)
    stream.close()
    bench.close()

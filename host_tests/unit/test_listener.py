"""Listener and Connection over real loopback sockets, on CPython's side of the seam."""

import asyncio
import contextlib
import errno
import os
import socket
import struct

import pytest

from firmware.net import seam
from firmware.net.budget import Budget
from firmware.net.listener import Connection, Listener
from host_tests.unit.fakes import SIX, Clock, Uptime

LIMIT_S = 10
UNSERVED_MS = 10_000
IDLE_MS = 60_000


class Echo(Connection):
    """Answers each input with itself; some bytes are commands."""

    def __init__(self, service, stream, slot):
        super().__init__(stream, slot, service.budget, service.events)
        self.service = service
        self.closes = 0
        self.got = bytearray()
        self.sent_calls = 0
        service.made.append(self)

    def on_input(self):
        buf = bytearray(4096)
        n = self.stream.readinto(buf)
        if n is None:
            return
        if n == 0:
            self.close()
            return
        self.got += buf[:n]
        if buf[:1] == b"!":
            raise ValueError("boom")
        if buf[:1] == b"B":
            self.slot.busy = True
            seam.interest(self.stream, 0)
            return
        if buf[:1] == b"L":
            self.slot.busy = True
            self.send(bytes(buf[1:5]) * (1 << 20), 4 << 20)
            return
        if buf[:1] == b"F":
            self.send(bytes(buf[1:5]) * (1 << 20), 4 << 20)
            self.finish()
            return
        self.budget.served(self.slot)
        self.send(buf, n)

    def on_sent(self):
        self.sent_calls += 1
        self.slot.busy = False
        self.budget.served(self.slot)


class Bench:
    """A listener with its budget, and clients that are closed at the end."""

    def __init__(self, events, limit=16, enabled=SIX, kind="modbus", factory=None, quota=4):
        self.events = events
        self.budget = Budget(limit, 16, 16, list(enabled), {"http": quota}, Uptime(), events)
        self.made = []
        self.clients = []
        self.kind = kind
        self.factory = factory or (lambda stream, slot: Echo(self, stream, slot))

    async def __aenter__(self):
        self.listener = Listener(
            self.budget, self.events, self.kind, "127.0.0.1", 0, self.factory, UNSERVED_MS, IDLE_MS
        )
        self.port = self.listener._stream.sock.getsockname()[1]
        return self

    async def __aexit__(self, *_):
        for client in self.clients:
            client.close()
        for slot in self.budget.connections[:]:
            slot.connection.close()
        self.listener.close()

    async def connect(self):
        client = Client()
        self.clients.append(client)
        await asyncio.get_running_loop().sock_connect(client.sock, ("127.0.0.1", self.port))
        return client

    async def served(self):
        """A client that has had one request answered."""
        client = await self.connect()
        assert await client.ask(b"x") == b"x"
        return client


class Client:
    def __init__(self):
        self.sock = socket.socket()
        self.sock.setblocking(False)

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes with a reset instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, n=65536):
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, n), LIMIT_S)

    async def ask(self, data):
        await self.send(data)
        return await self.receive()

    async def is_closed(self):
        """Waits for the end of the connection."""
        try:
            return await self.receive() == b""
        except ConnectionResetError:
            return True


async def until(condition):
    """Lets the loop turn until the condition holds."""

    async def wait():
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), LIMIT_S)


async def turns(n=20):
    """Enough turns of the loop for anything that is ready to be done."""
    for _ in range(n):
        await asyncio.sleep(0)


def run(test):
    seam.install()
    seam.run(asyncio.wait_for(test(), 30))


def test_what_is_sent_comes_back_and_is_in_the_books(events):
    async def test():
        async with Bench(events) as bench:
            client = await bench.connect()
            assert await client.ask(b"hello") == b"hello"
            (slot,) = bench.budget.connections
            assert (slot.requests, slot.sent, slot.kind) == (1, 5, "modbus")
            assert seam.peer(slot.peer) == client.sock.getsockname()
            assert bench.budget.service_slot("modbus").requests == 1
            assert bench.budget.service_slot("modbus").open

    run(test)


def test_the_listening_port_is_closed_with_the_listener_and_can_be_had_again(events):
    async def test():
        async with Bench(events) as bench:
            port = bench.port
        assert not bench.budget.service_slot("modbus").open
        with contextlib.closing(socket.socket()) as probe:
            assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED

    run(test)


def test_a_port_that_is_taken_is_an_error_and_nothing_is_left_open(events):
    async def test():
        with contextlib.closing(socket.socket()) as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            budget = Budget(16, 16, 16, list(SIX), {"http": 4}, Uptime(), events)
            with pytest.raises(OSError, match=r"[Ii]n use"):
                Listener(budget, events, "modbus", "127.0.0.1", other.getsockname()[1], None, 1, 1)
            assert not budget.service_slot("modbus").open

    run(test)


def test_the_eleventh_client_evicts_exactly_the_least_recently_used(events):
    async def test():
        async with Bench(events) as bench:
            clients = [await bench.served() for _ in range(10)]
            await clients[0].ask(b"again")
            eleventh = await bench.served()
            assert await clients[1].is_closed()
            await turns()
            assert bench.budget.evicted() == 1, "one newcomer, one victim"
            assert bench.budget.in_use() == 16
            for client in [clients[0], *clients[2:], eleventh]:
                assert await client.ask(b"still there") == b"still there"

    run(test)


def test_every_newcomer_at_the_limit_costs_one_and_no_socket_is_left_behind(events):
    async def test():
        async with Bench(events) as bench:
            for _ in range(10):
                await bench.served()
            open_before = len(os.listdir("/proc/self/fd"))
            for _ in range(4):
                await bench.served()
            await turns()
            assert bench.budget.evicted() == 4
            assert bench.budget.high_water == 16
            assert len(os.listdir("/proc/self/fd")) == open_before + 4, "their own ends, and none on ours"

    run(test)


def test_input_of_those_who_are_in_is_served_before_newcomers(events):
    async def test():
        async with Bench(events) as bench:
            clients = [await bench.served() for _ in range(10)]
            # Both are ready in the same turn: the least recently used asks, and a newcomer knocks.
            os_level = socket.socket()
            os_level.connect(("127.0.0.1", bench.port))
            clients[0].sock.send(b"me first")
            assert await clients[0].receive() == b"me first"
            await until(lambda: bench.budget.evicted())
            assert bench.budget.evicted() == 1
            assert bench.made[1].closed, "the request made client 0 the most recently used"
            os_level.close()

    run(test)


# -- output


def test_what_the_socket_does_not_take_is_kept_and_flushed(events):
    async def test():
        async with Bench(events) as bench:
            client = await bench.connect()
            await client.send(b"Labcd")
            got = bytearray()
            while len(got) < 4 << 20:
                got += await client.receive()
            assert got == b"abcd" * (1 << 20)
            (connection,) = bench.made
            await until(lambda: connection.sent_calls)
            assert connection.sent_calls == 1
            assert connection.slot.sent == 4 << 20
            assert await client.ask(b"next") == b"next"

    run(test)


def test_while_output_is_kept_no_input_is_read(events):
    async def test():
        async with Bench(events) as bench:
            client = await bench.connect()
            await client.send(b"Labcd")
            await until(lambda: bench.made and bench.made[0]._unsent)
            await client.send(b"later")
            await turns(50)
            assert bench.made[0].got == b"Labcd"
            got = bytearray()
            while len(got) < (4 << 20) + 5:
                got += await client.receive()
            assert got == b"abcd" * (1 << 20) + b"later"

    run(test)


def test_finish_closes_only_after_everything_was_sent(events):
    async def test():
        async with Bench(events) as bench:
            client = await bench.connect()
            await client.send(b"Fabcd")
            got = bytearray()
            while data := await client.receive():
                got += data
            assert got == b"abcd" * (1 << 20)
            await until(lambda: not bench.budget.connections)

    run(test)


def test_a_peer_that_never_reads_is_closed_by_the_sweep(events, monkeypatch):
    async def test():
        clock = Clock().install(monkeypatch)
        async with Bench(events) as bench:
            client = await bench.connect()
            await client.send(b"Labcd")
            await until(lambda: bench.made and bench.made[0]._unsent)
            clock.advance_ms(9_999)
            bench.listener.sweep()
            assert bench.budget.in_use() == 7
            clock.advance_ms(1)
            bench.listener.sweep()
            assert bench.budget.in_use() == 6
            assert bench.made[0].closed
            assert events.texts() == ["modbus connection closed: timeout"]

    run(test)


def test_a_peer_that_reads_slowly_is_not_stalled(events, monkeypatch):
    async def test():
        clock = Clock().install(monkeypatch)
        async with Bench(events) as bench:
            client = await bench.connect()
            await client.send(b"Labcd")
            await until(lambda: bench.made and bench.made[0]._unsent)
            (connection,) = bench.made
            pauses = 0
            got = 0
            while got < 4 << 20:
                sent = connection.slot.sent
                while got < 4 << 20 and connection.slot.sent == sent:
                    got += len(await client.receive(1 << 20))
                clock.advance_ms(9_000)
                bench.listener.sweep()
                assert not connection.closed
                pauses += 1
            assert pauses >= 2, "longer in all than a peer may take nothing"

    run(test)


def test_idleness_before_a_long_reply_is_not_a_stall(events, monkeypatch):
    async def test():
        clock = Clock().install(monkeypatch)
        async with Bench(events) as bench:
            client = await bench.served()
            clock.advance_ms(IDLE_MS - 1)
            await client.send(b"Labcd")
            await until(lambda: bench.made[0]._unsent)
            bench.listener.sweep()
            assert not bench.made[0].closed, "it has had no time to read yet"

    run(test)


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_peer_that_goes_away_in_the_midst_of_output_frees_its_slot(events, way):
    async def test():
        async with Bench(events) as bench:
            client = await bench.connect()
            await client.send(b"Labcd")
            await until(lambda: bench.made and bench.made[0]._unsent)
            getattr(client, way)()
            await until(lambda: not bench.budget.connections)
            assert bench.made[0].closed

    run(test)


# -- ends


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_peer_that_goes_away_frees_its_slot_without_a_line_in_the_log(events, way):
    async def test():
        async with Bench(events) as bench:
            client = await bench.served()
            getattr(client, way)()
            await until(lambda: not bench.budget.connections)
            assert events.texts() == []

    run(test)


def test_an_exception_closes_that_connection_only_and_is_logged(events):
    async def test():
        async with Bench(events) as bench:
            other, client = await bench.served(), await bench.served()
            await client.send(b"!")
            assert await client.is_closed()
            assert await other.ask(b"fine") == b"fine"
            assert bench.budget.in_use() == 7
            assert len(events.texts()) == 1
            assert "boom" in events.texts()[0]

    run(test)


def test_close_twice_is_safe_and_gives_the_slot_back_once(events):
    async def test():
        async with Bench(events) as bench:
            await bench.served()
            (connection,) = bench.made
            connection.close()
            connection.close()
            connection.fail(OSError(errno.ECONNRESET))
            assert bench.budget.in_use() == 6
            assert connection.closed

    run(test)


def test_a_connection_without_a_request_is_closed_after_its_time(events, monkeypatch):
    async def test():
        clock = Clock().install(monkeypatch)
        async with Bench(events) as bench:
            await bench.connect()
            await until(lambda: bench.made)
            clock.advance_ms(UNSERVED_MS - 1)
            bench.listener.sweep()
            assert not bench.made[0].closed
            clock.advance_ms(1)
            bench.listener.sweep()
            assert bench.made[0].closed
            assert bench.budget.evictions[4] == 1

    run(test)


def test_an_idle_connection_is_closed_after_its_time_counted_from_the_last_request(events, monkeypatch):
    async def test():
        clock = Clock().install(monkeypatch)
        async with Bench(events) as bench:
            client = await bench.served()
            clock.advance_ms(IDLE_MS - 1)
            await client.ask(b"again")
            clock.advance_ms(IDLE_MS - 1)
            bench.listener.sweep()
            assert not bench.made[0].closed
            clock.advance_ms(1)
            bench.listener.sweep()
            assert await client.is_closed()

    run(test)


def test_a_connection_with_a_request_in_flight_is_not_closed_for_idleness(events, monkeypatch):
    async def test():
        clock = Clock().install(monkeypatch)
        async with Bench(events) as bench:
            client = await bench.connect()
            await client.send(b"B")
            await until(lambda: bench.made and bench.made[0].slot.busy)
            clock.advance_ms(10 * IDLE_MS)
            bench.listener.sweep()
            assert not bench.made[0].closed

    run(test)


def test_a_sweep_leaves_the_connections_of_other_services_alone(events, monkeypatch):
    async def test():
        clock = Clock().install(monkeypatch)
        async with Bench(events) as bench, Bench(events, kind="http") as other:
            other.budget = bench.budget
            other.listener._budget = bench.budget
            await bench.connect()
            await other.connect()
            await until(lambda: bench.made and other.made)
            clock.advance_ms(UNSERVED_MS)
            bench.listener.sweep()
            assert bench.made[0].closed
            assert not other.made[0].closed
            other.made[0].close()

    run(test)


# -- newcomers who have to wait, and accepts that fail


def test_a_newcomer_that_has_to_wait_is_taken_up_by_the_next_sweep(events):
    async def test():
        async with Bench(events, limit=4, enabled=("http", "modbus")) as bench:
            http = Listener(
                bench.budget, events, "http", "127.0.0.1", 0, lambda s, slot: Echo(bench, s, slot), UNSERVED_MS, IDLE_MS
            )
            pollers = [await bench.served() for _ in range(2)]
            for poller in pollers:
                await poller.send(b"B")
            await until(lambda: all(one.slot.busy for one in bench.made))
            modbus_port, bench.port = bench.port, http._stream.sock.getsockname()[1]
            browser = await bench.connect()
            bench.port = modbus_port
            await until(lambda: bench.budget.postponed)
            await turns(50)
            assert bench.budget.postponed == 1, "it waits for the sweep, it does not spin"
            assert len(bench.made) == 2
            http.sweep()
            await until(lambda: bench.budget.postponed == 2)
            bench.made[0].slot.busy = False
            http.sweep()
            assert await browser.ask(b"page") == b"page"
            assert [one.closed for one in bench.made] == [True, False, False]
            bench.made[2].close()
            http.close()

    run(test)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ECONNABORTED])
def test_an_accept_that_fails_neither_spins_nor_costs_anybody_but_one_a_place(events, monkeypatch, code):
    async def test():
        async with Bench(events) as bench:
            clients = [await bench.served() for _ in range(10)]
            calls = []

            def broken(listener):
                calls.append(1)
                raise OSError(code, "no more")

            with monkeypatch.context() as patch:
                patch.setattr(seam, "accept", broken)
                newcomer = await bench.connect()
                await until(lambda: calls)
                await turns(200)
                assert len(calls) == 1
                assert bench.budget.evicted() <= 1
                assert bench.budget.failed_accepts == 1
                assert any("accept failed" in text for text in events.texts())
            bench.listener.sweep()
            assert await newcomer.ask(b"at last") == b"at last"
            assert await clients[9].ask(b"ok") == b"ok"

    run(test)


@pytest.mark.parametrize("error", [MemoryError("no heap"), OSError(errno.ENOMEM, "no heap"), ValueError("bug")])
def test_a_connection_that_cannot_be_made_leaves_no_slot_and_no_socket(events, error):
    async def test():
        broken = True

        def factory(stream, slot):
            if broken:
                raise error
            return Echo(bench, stream, slot)

        async with Bench(events, factory=factory) as bench:
            before = len(os.listdir("/proc/self/fd"))
            client = await bench.connect()
            assert await client.is_closed()
            assert bench.budget.in_use() == 6
            assert len(os.listdir("/proc/self/fd")) == before + 1
            assert len(events.texts()) == 1
            broken = False
            bench.listener.sweep()
            other = await bench.connect()
            assert await other.ask(b"works") == b"works"

    run(test)


def test_want_of_memory_costs_one_connection_and_the_next_is_served(events):
    """Both of one that connects and of one that asks."""

    async def test():
        first = True

        def factory(stream, slot):
            nonlocal first
            if first:
                first = False
                raise MemoryError
            made = Echo(bench, stream, slot)
            made.on_input = short
            return made

        def short():
            raise MemoryError

        async with Bench(events, factory=factory) as bench:
            assert await (await bench.connect()).is_closed()
            bench.listener.sweep()
            client = await bench.connect()
            await client.send(b"x")
            assert await client.is_closed()
            assert bench.budget.in_use() == 6
            assert sum("MemoryError" in text for text in events.texts()) == 2

    run(test)


def test_a_newcomer_that_has_gone_again_does_not_disturb(events, monkeypatch):
    async def test():
        async with Bench(events) as bench:
            with monkeypatch.context() as patch:
                seen = []
                patch.setattr(seam, "accept", lambda listener: seen.append(1))
                client = await bench.connect()
                await until(lambda: seen)
                assert bench.budget.in_use() == 6
            assert await client.ask(b"hi") == b"hi"

    run(test)


def test_the_firmware_can_be_closed_after_its_loop_has_ended(events):
    """Ctrl-C at the REPL: sockets are given back although nothing turns any more."""
    bench = Bench(events)

    async def test():
        await bench.__aenter__()
        await bench.served()

    run(test)
    for client in bench.clients:
        client.close()
    for slot in bench.budget.connections[:]:
        slot.connection.close()
    bench.listener.close()
    assert bench.budget.in_use() == 6


def test_what_the_port_has_no_memory_to_transmit_is_in_its_queue_and_not_sent_again(events):
    """lwIP says ENOMEM when it has taken the bytes and could not send them just now."""

    async def test():
        async with Bench(events) as bench:
            client = await bench.connect()
            await until(lambda: bench.made)
            (connection,) = bench.made
            real_write = connection.stream.write
            calls = []

            def write(buf, n):
                calls.append(n)
                real_write(buf, n)
                raise OSError(errno.ENOMEM, "out of memory")

            connection.stream.write = write
            assert await client.ask(b"hello") == b"hello"
            assert calls == [5]
            connection.stream.write = real_write
            assert await client.ask(b"again") == b"again"
            assert not connection.closed

    run(test)
    assert [line[2] for line in events.lines()] == ["the port is short of memory for output"]

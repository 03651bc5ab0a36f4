"""The seam, the listener and one UDP question on CPython and on real MicroPython alike: plain functions, run by
test_on_micropython.py.

No pytest, nothing but the language and the firmware.
"""

import asyncio
import socket

from firmware.events import Events
from firmware.net import seam
from firmware.net.budget import SERVICES, Budget
from firmware.net.clock import Clock
from firmware.net.listener import Connection, Listener
from firmware.net.udp import Exchange

# Linux; MicroPython names only some of them
_SOL_SOCKET = 1
_SO_SNDBUF = 7
_SO_RCVBUF = 8
_EAGAIN = 11
_ECONNRESET = 104


def _events(lines):
    return Events(lambda: 0, lines.append)


class _Echo(Connection):
    def __init__(self, bench, stream, slot):
        super().__init__(stream, slot, bench.budget, bench.events)
        bench.made.append(self)
        self.bench = bench

    def on_input(self):
        buf = bytearray(100)
        n = self.stream.readinto(buf)
        if n is None:
            return
        if not n:
            self.close()
            return
        if buf[:1] == b"!":
            raise ValueError("boom")
        self.bench.order.append(bytes(buf[:n]))
        self.budget.served(self.slot)
        self.send(buf, n)


class _Bench:
    def __init__(self, factory=None):
        self.lines = []
        self.events = _events(self.lines)
        self.budget = Budget(16, 16, 16, SERVICES[:6], {"http": 4}, lambda: 0, self.events)
        self.made = []
        self.order = []
        self.clients = []
        factory = factory or (lambda stream, slot: _Echo(self, stream, slot))
        port = 20011 + seam.ticks_us() % 9000
        while True:
            try:
                self.listener = Listener(self.budget, self.events, "modbus", "127.0.0.1", port, factory, 10000, 60000)
                break
            except OSError:
                port += 1
                assert port < 65000
        self.port = port

    def knock(self, buffer=0):
        """A client: the connection stands once the system has taken it into the backlog."""
        client = socket.socket()
        if buffer:
            client.setsockopt(_SOL_SOCKET, _SO_RCVBUF, buffer)
        client.connect(seam.address("127.0.0.1", self.port))
        client.setblocking(False)
        self.clients.append(client)
        return client

    async def receive(self, client):
        """What has come for the client; b"" when it was closed."""
        for _ in range(2000):
            try:
                return client.recv(100)
            except OSError as error:
                if error.errno == _ECONNRESET:
                    return b""
                if error.errno != _EAGAIN:
                    raise
            await seam.sleep_ms(1)
        raise AssertionError("nothing came")

    async def served(self):
        client = self.knock()
        client.send(b"x")
        assert await self.receive(client) == b"x"
        return client

    async def many(self, n):
        clients = []
        for _ in range(n):
            clients.append(await self.served())
        return clients

    def close(self):
        for client in self.clients:
            client.close()
        for slot in self.budget.connections[:]:
            slot.connection.close()
        self.listener.close()


def _run(test, *options):
    async def main():
        bench = _Bench(*options)
        try:
            await test(bench)
        finally:
            bench.close()

    seam.install()
    seam.run(main())


def test_the_eleventh_client_evicts_exactly_the_least_recently_used():
    async def test(bench):
        clients = await bench.many(10)
        clients[0].send(b"again")
        assert await bench.receive(clients[0]) == b"again"
        await bench.served()
        assert await bench.receive(clients[1]) == b""
        await seam.sleep_ms(5)
        assert bench.budget.evicted() == 1
        assert bench.budget.in_use() == 16
        for client in [clients[0]] + clients[2:]:
            client.send(b"y")
            assert await bench.receive(client) == b"y"

    _run(test)


def test_input_goes_before_newcomers():
    async def test(bench):
        clients = await bench.many(10)
        bench.knock()
        clients[0].send(b"me first")  # the least recently used: it would have to go
        assert await bench.receive(clients[0]) == b"me first"
        for _ in range(100):
            if bench.budget.evicted():
                break
            await seam.sleep_ms(1)
        assert bench.budget.evicted() == 1
        assert bench.made[1].closed
        assert not bench.made[0].closed

    _run(test)


def test_an_exception_closes_that_connection_only():
    async def test(bench):
        one, other = await bench.served(), await bench.served()
        one.send(b"!")
        assert await bench.receive(one) == b""
        other.send(b"fine")
        assert await bench.receive(other) == b"fine"
        assert len(bench.budget.connections) == 1
        assert [line for line in bench.lines if "boom" in line]

    _run(test)


def test_a_connection_that_cannot_be_made_leaves_no_slot():
    def factory(stream, slot):
        raise MemoryError("no heap")

    async def test(bench):
        client = bench.knock()
        assert await bench.receive(client) == b""
        assert bench.budget.in_use() == 6
        bench.listener.sweep()
        await seam.sleep_ms(2)

    _run(test, factory)


def test_many_ready_at_once_are_all_served_while_some_close():
    async def test(bench):
        clients = await bench.many(10)
        for k, client in enumerate(clients):
            client.send(b"!" if k % 3 == 0 else b"%d" % k)
        for k, client in enumerate(clients):
            assert await bench.receive(client) == (b"" if k % 3 == 0 else b"%d" % k)
        assert len(bench.budget.connections) == 6

    _run(test)


def test_output_that_the_socket_does_not_take_is_kept_and_flushed():
    big = bytes(range(256)) * 128  # 32 KiB: more than these sockets take at once

    class Big(Connection):
        def on_input(self):
            self.stream.readinto(bytearray(100))
            self.slot.busy = True
            getattr(self.stream, "sock", self.stream).setsockopt(_SOL_SOCKET, _SO_SNDBUF, 4096)
            assert not self.send(big, len(big))

        def on_sent(self):
            self.slot.busy = False
            self.budget.served(self.slot)

    async def test(bench):
        bench.listener._factory = lambda stream, slot: Big(stream, slot, bench.budget, bench.events)
        client = bench.knock(2048)
        client.send(b"x")
        got = 0
        while got < len(big):
            data = await bench.receive(client)
            assert data
            assert data == big[got : got + len(data)]
            got += len(data)
        for _ in range(100):
            if bench.budget.connections[0].requests:
                break
            await seam.sleep_ms(1)
        assert bench.budget.connections[0].sent == len(big)

    _run(test)


def test_a_waker_ends_the_wait_that_is_under_way_or_the_next():
    async def test(bench):
        waker = seam.Waker()
        assert await waker.wait_ms(1) is False
        waker.wake()
        assert await waker.wait_ms(10000) is True
        assert await waker.wait_ms(1) is False
        waker.wake()
        waker.clear()
        assert await waker.wait_ms(1) is False

        class Wake:
            def on_ready(self, events):
                waker.wake()
                seam.unwatch(stream)

            def fail(self, error):
                raise error

        client = await bench.served()
        client.send(b"z")
        stream = bench.made[0].stream
        begin_ms = seam.ticks_ms()
        seam.unwatch(stream)
        seam.watch(stream, Wake())
        assert await waker.wait_ms(10000) is True
        assert seam.ticks_diff(seam.ticks_ms(), begin_ms) < 5000
        seam.watch(stream, bench.made[0])

    _run(test)


def test_repeat_calls_again_after_the_time_or_a_wake_until_it_is_told_to_end():
    async def test(bench):
        waker = seam.Waker()
        waits_ms = [20, 0, 10000, 10000, 10000, -1]
        called_ms = []

        def turn():
            called_ms.append(seam.ticks_ms())
            if len(called_ms) == 3:
                waker.wake()  # the next wait, before it begins
            return waits_ms[len(called_ms) - 1]

        async def wake():
            while len(called_ms) < 4:
                await seam.sleep_ms(1)
            assert waker.wake_in(20)
            while len(called_ms) < 5:
                await seam.sleep_ms(1)
            waker.wake()

        task = asyncio.create_task(wake())
        await seam.repeat(waker, turn)
        await task
        passed_ms = [seam.ticks_diff(called_ms[k + 1], called_ms[k]) for k in range(5)]
        assert len(called_ms) == 6
        assert min(passed_ms[0], passed_ms[3]) >= 20
        assert max(passed_ms) < 5000
        assert not waker.wake_in(1)  # nothing waits any more

    _run(test)


def test_a_repeat_that_is_cancelled_waits_no_more():
    async def test(bench):
        waker = seam.Waker()
        called = []

        def turn():
            called.append(1)
            return 10000

        async def run():
            await seam.repeat(waker, turn)

        task = asyncio.create_task(run())
        while not called:
            await seam.sleep_ms(1)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            called.append("cancelled")
        assert called == [1, "cancelled"]
        assert not waker.wake_in(1)

    _run(test)


class _UdpServer:
    """Answers with what `answers(data)` gives."""

    def __init__(self, answers):
        self.answers = answers
        self.port = 30011 + seam.ticks_us() % 9000
        while True:
            try:
                self.stream = seam.udp("127.0.0.1", self.port)
                break
            except OSError:
                self.port += 1
        seam.watch(self.stream, self)

    def on_ready(self, events):
        data, sender = self.stream.recvfrom(512)
        for answer in self.answers(data):
            self.stream.sendto(answer, sender)

    def fail(self, error):
        raise error

    def close(self):
        seam.unwatch(self.stream)
        self.stream.close()


def test_a_question_over_udp_passes_over_rubbish_and_takes_the_answer():
    async def test(bench):
        server = _UdpServer(lambda data: [b"rubbish", b"", b"more rubbish", b"answer to " + data])
        exchange = Exchange(bench.budget.service_slot("ntp"))
        found = await exchange.ask(
            "127.0.0.1", server.port, b"me", lambda data: data if data[:6] == b"answer" else None, 2000
        )
        assert found == b"answer to me"
        assert not bench.budget.service_slot("ntp").open
        server.answers = lambda data: []
        assert await exchange.ask("127.0.0.1", server.port, b"me", lambda data: data, 30) is None
        server.close()

    _run(test)


def test_uptime_counts_on_across_a_wrap_of_the_ticks():
    real = seam.ticks_ms
    now = [(1 << 30) - 1500]
    seam.ticks_ms = lambda: now[0]
    try:
        clock = Clock()
        for k in range(1, 4000):
            now[0] = ((1 << 30) - 1500 + 7 * k) & 0x3FFFFFFF
            assert clock.uptime_ms() == 7 * k
            assert clock.uptime_s() == 7 * k // 1000
    finally:
        seam.ticks_ms = real


def test_half_a_year_in_steps_of_a_day():
    real = seam.ticks_ms
    now = [12345]
    seam.ticks_ms = lambda: now[0] & 0x3FFFFFFF
    try:
        clock = Clock()
        for day in range(1, 180):
            now[0] += 86400000
            assert clock.uptime_s() == 86400 * day
    finally:
        seam.ticks_ms = real

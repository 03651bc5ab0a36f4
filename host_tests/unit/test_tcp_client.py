"""firmware.net.tcp_client on the simulated network: servers that refuse, are silent, slow, or reset half-way."""

import asyncio

import pytest

from firmware.net.dns import Resolver
from firmware.net.tcp_client import ConnectionFailed, TcpClient
from tools.simulator import profiles
from tools.simulator import world as world_module
from tools.simulator.hosts import Server
from tools.simulator.udp import NameServer

SERVER = "192.0.2.10"
NAMES = "192.0.2.11"
NOBODY = "192.0.2.99"
PORT = 8086
TIMEOUT_MS = 5000
BOARDS = (profiles.UNIX, profiles.ESP32_16, profiles.PICOW_16)


async def echo(stream):
    """Sends back what comes, until the client closes."""
    while data := await stream.recv(timeout_s=3600):
        await stream.send(data, timeout_s=3600)


async def silence(stream):
    """Reads nothing and says nothing."""
    await asyncio.sleep(3600)


class Bench:
    """A client on the slot of posting, in the firmware that runs."""

    def __init__(self, world, handler=echo):
        self.world = world
        self.server = Server(world.network, SERVER, PORT, handler, world.start)
        self.names = NameServer(world.network, NAMES, {"meters.example": SERVER})
        self.slot = world.budget.service_slot("posting")
        self.client = TcpClient(self.slot, Resolver(lambda: [NAMES], world.app.clock.uptime_s, world.rng.randbytes))

    async def connect(self, host=SERVER, port=PORT, timeout_ms=TIMEOUT_MS):
        await self.client.connect(host, port, timeout_ms)

    async def fails(self, waits):
        """The reason with which it ends; nothing stays open."""
        with pytest.raises(ConnectionFailed) as failed:
            await waits
        assert not self.client.is_open
        assert not self.slot.open
        return str(failed.value)

    async def receive(self, n, **options):
        buf = bytearray(n)
        got = b""
        while len(got) < n:
            count = await self.client.receive(memoryview(buf)[: n - len(got)], **options)
            if not count:
                break
            got += buf[:count]
        return got


def run(scenario, handler=echo, profile=profiles.UNIX, seed=1, loss=0.0):
    async def whole(world):
        world.network.loss = loss
        bench = Bench(world, handler)
        try:
            await scenario(bench)
        finally:
            bench.client.close()

    return world_module.run(whole, seed=seed, profile=profile)


@pytest.mark.parametrize("profile", BOARDS, ids=lambda profile: profile.name)
def test_what_is_sent_arrives_and_what_comes_back_is_received(profile):
    data = bytes(range(256)) * 100

    async def scenario(bench):
        await bench.connect("meters.example")
        assert bench.slot.open
        sent, received = bench.slot.sent, bench.slot.received  # by the name's question
        for at in range(0, len(data), 1000):
            part = bytearray(data[at : at + 1000])
            await bench.client.send(part, len(part))
            part[:] = bytes(len(part))  # the caller's again
            assert await bench.receive(len(part)) == data[at : at + 1000]
        assert (bench.slot.sent - sent, bench.slot.received - received) == (len(data), len(data))

    run(scenario, profile=profile)


@pytest.mark.parametrize("seed", range(5))
def test_loss_on_the_way_delays_but_changes_nothing(seed):
    data = bytes(range(256)) * 20

    async def scenario(bench):
        await bench.connect(timeout_ms=60000)
        for at in range(0, len(data), 512):
            await bench.client.send(data[at : at + 512], 512, timeout_ms=60000)
            assert await bench.receive(512, timeout_ms=60000) == data[at : at + 512]

    run(scenario, seed=seed, loss=0.2)


def test_a_port_without_a_server_refuses():
    async def scenario(bench):
        assert await bench.fails(bench.connect(port=PORT + 1)) == "refused"
        await bench.connect()  # and the client can be used again
        assert bench.client.is_open

    run(scenario)


@pytest.mark.parametrize("profile", BOARDS, ids=lambda profile: profile.name)
def test_an_address_that_is_silent_ends_with_the_time_out(profile):
    async def scenario(bench):
        begun_s = bench.world.now_s
        assert await bench.fails(bench.connect(NOBODY)) == "no answer"
        assert 4.99 <= bench.world.now_s - begun_s < 5.1

    run(scenario, profile=profile)


def test_a_name_that_has_no_address_says_which_and_why():
    async def scenario(bench):
        reason = await bench.fails(bench.connect("elsewhere.example"))
        assert reason.startswith("no address: cannot resolve elsewhere.example: 192.0.2.11: ")
        bench.names.answers = False
        reason = await bench.fails(bench.connect("meters.example"))
        assert reason == "no address: cannot resolve meters.example: 192.0.2.11 does not answer"

    run(scenario)


def test_a_server_that_says_nothing_ends_with_the_time_out_of_the_receive():
    async def scenario(bench):
        await bench.connect()
        await bench.client.send(b"hello", 5)
        begun_s = bench.world.now_s
        assert await bench.fails(bench.client.receive(bytearray(10), timeout_ms=2000)) == "time-out"
        assert 1.99 <= bench.world.now_s - begun_s < 2.1

    run(scenario, silence)


@pytest.mark.parametrize("profile", BOARDS, ids=lambda profile: profile.name)
def test_a_server_that_reads_nothing_ends_with_the_time_out_of_the_send(profile):
    async def scenario(bench):
        await bench.connect()
        piece = bytes(1000)

        async def send():
            for _ in range(1000):
                await bench.client.send(piece, len(piece), timeout_ms=2000)

        assert await bench.fails(send()) in ("time-out", "no memory for a connection")
        assert bench.slot.sent < 300_000

    run(scenario, silence, profile=profile)


def test_a_slow_server_is_waited_for_while_something_comes():
    async def slow(stream):
        for number in range(20):
            await asyncio.sleep(1.5)
            await stream.send(bytes([number]))

    async def scenario(bench):
        await bench.connect()
        assert await bench.receive(20, timeout_ms=2000) == bytes(range(20))
        assert await bench.client.receive(bytearray(1)) == 0  # the end of the stream
        assert bench.client.is_open  # until the caller closes it

    run(scenario, slow)


def test_a_reset_half_way_ends_receive_and_send():
    async def resets(stream):
        await stream.recv_exactly(3)
        stream.reset()

    async def scenario(bench):
        await bench.connect()
        await bench.client.send(b"abc", 3)
        assert await bench.fails(bench.client.receive(bytearray(10))) == "closed by the server"
        await bench.connect()
        await bench.client.send(b"abc", 3)
        await bench.world.sleep(1)
        assert await bench.fails(bench.client.send(b"more", 4)) == "closed by the server"
        assert await bench.fails(bench.client.send(b"more", 4)) == "closed"

    run(scenario, resets)


def test_close_ends_a_wait_that_is_under_way():
    async def scenario(bench):
        await bench.connect()
        receiving = asyncio.ensure_future(bench.client.receive(bytearray(1), timeout_ms=60000))
        await bench.world.sleep(1)
        bench.client.close()
        bench.client.close()
        assert await bench.fails(receiving) == "closed"

    run(scenario, silence)


@pytest.mark.parametrize("host", [SERVER, NOBODY])
def test_a_task_that_is_cancelled_leaves_no_socket_open(host):
    async def scenario(bench):
        async def use():
            await bench.connect(host)
            try:
                await bench.client.receive(bytearray(1), timeout_ms=60000)
            finally:
                bench.client.close()

        task = asyncio.ensure_future(use())
        await bench.world.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not bench.slot.open

    run(scenario, silence)


def test_a_connection_that_is_reset_while_nobody_waits_costs_no_turn_of_the_loop():
    async def resets(stream):
        stream.reset()

    async def scenario(bench):
        await bench.connect()
        await bench.world.sleep(1)
        calls = []
        bench.client.on_ready = calls.append
        turns = bench.world.invariants.turns
        await bench.world.sleep(10)
        assert not calls
        assert bench.world.invariants.turns - turns < 2000  # a loop that spins takes 50,000 at one moment

    run(scenario, resets)


def test_a_board_without_a_free_connection_says_so():
    async def scenario(bench):
        pcbs = [await bench.world.host().connect(502) for _ in range(4)]
        bench.world.device.reserve("held")
        assert await bench.fails(bench.connect()) == "no memory for a connection"
        del pcbs

    run(scenario, profile=profiles.PICOW)

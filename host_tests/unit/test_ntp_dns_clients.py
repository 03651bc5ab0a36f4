"""SNTP client and resolver against small servers on loopback: right, silent, hostile and confused ones."""

import asyncio
import os
import socket
import struct
import threading
import time

import pytest

import ntp
from firmware.config import load as config
from firmware.net import dns as resolver_module
from firmware.net import seam
from firmware.net import udp as udp_module
from firmware.net.budget import Budget
from firmware.net.clock import Clock
from firmware.net.dns import Resolver
from firmware.net.udp import Exchange
from firmware.services.ntp import client as client_module
from firmware.services.ntp.client import NtpClient
from host_tests.unit.fakes import SIX, Uptime

NTP_EPOCH = 2208988800
TIMEOUT_MS = 1200  # instead of 2 s: these servers are near, on a machine that may be busy
STILL_S = 0.3  # at most, of a loop that nothing holds up


class Server(asyncio.DatagramProtocol):
    """Answers each datagram by what `answer(data)` gives: a list of datagrams. None of them when it is silent."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        self.asked.append(data)
        for one in self.answer(data):
            self.transport.sendto(one, sender)

    @property
    def port(self):
        return self.transport.get_extra_info("sockname")[1]


async def serve(answer, address="127.0.0.1"):
    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(lambda: Server(answer), local_addr=(address, 0))
    return server


class Watch:
    """For how long at most the loop stood still, and beside it a thread, which only a busy machine holds up. A context
    manager."""

    def __init__(self):
        self.loop_s = self.thread_s = 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch_thread, daemon=True)

    def __enter__(self):
        self._thread.start()
        self._task = asyncio.ensure_future(self._watch_loop())
        return self

    def __exit__(self, *exc):
        self._task.cancel()
        self._ends.set()
        self._thread.join()

    async def _watch_loop(self):
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.002)
            self.loop_s = max(self.loop_s, time.monotonic() - before)

    def _watch_thread(self):
        before = time.monotonic()
        while not self._ends.wait(0.002):
            now = time.monotonic()
            self.thread_s, before = max(self.thread_s, now - before), now


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(client_module, "_TIMEOUT_MS", TIMEOUT_MS)
    monkeypatch.setattr(resolver_module, "_TIMEOUT_MS", TIMEOUT_MS)


def run(test):
    """Runs the test on the seam, while watching that nothing blocks the loop. Every socket must be closed again."""

    async def watched():
        with Watch() as watch:
            await asyncio.sleep(0)
            result = await asyncio.wait_for(test(), 60)
        assert watch.loop_s < STILL_S + 2 * watch.thread_s, f"the loop stood still for {watch.loop_s:.3f} s"
        return result

    seam.install()
    return seam.run(watched())


# -- NTP


def ntp_answer(request, now=None, stratum=2, leap=0, mode=4, nonce=None, refid=b"TEST", dispersion=0, size=48):
    now = time.time() if now is None else now
    seconds = int(now) + NTP_EPOCH
    fraction = int((now % 1) * 2**32)
    stamp = struct.pack(">II", seconds & 0xFFFFFFFF, fraction)
    packet = struct.pack(">BBBbII4s", leap << 6 | 4 << 3 | mode, stratum, 6, -20, 0, dispersion, refid)
    packet += stamp + (request[40:48] if nonce is None else nonce) + stamp + stamp
    return (packet + bytes(20))[:size]


class FakeLink:
    def __init__(self, servers=()):
        self._servers = servers
        self.is_up = True

    def up(self):
        return self.is_up

    def dns_servers(self):
        return list(self._servers)


class Bench:
    def __init__(self, events, server="127.0.0.1", port=123, dns_servers=(), interval_s=3600):
        self.events = events
        self.budget = Budget(16, 16, 16, list(SIX), {"http": 4}, Uptime(), events)
        self.slot = self.budget.service_slot("ntp")
        self.told = []
        self.clock = Clock(self.told.append)
        config = {"server": server, "more_servers": [], "port": port, "interval_s": interval_s}
        self.link = FakeLink(dns_servers)
        resolver = Resolver(self.link.dns_servers, self.clock.uptime_s, os.urandom)
        self.client = NtpClient(config, self.budget, events, self.clock, self.link, resolver)

    def error_s(self):
        """How far the clock is off, seconds."""
        return abs(self.clock.unix_ms() / 1000 - time.time())


def test_nobody_is_asked_before_the_link_is_up(events, monkeypatch):
    monkeypatch.setattr(client_module, "_LOOK_MS", 10)
    monkeypatch.setattr(client_module, "_AGAIN_MS", 10)

    async def test():
        seen = []
        server = await serve(lambda data: seen.append(data) or [ntp_answer(data)])
        bench = Bench(events, port=server.port)
        bench.link.is_up = False
        task = asyncio.ensure_future(bench.client.run())
        await asyncio.sleep(0.1)
        assert (seen, bench.client.failures) == ([], 0)
        bench.link.is_up = True
        while bench.client.synchronised_s is None:
            await asyncio.sleep(0.005)
        assert len(seen) == 2
        task.cancel()
        server.transport.close()

    run(test)


def test_a_right_answer_sets_the_clock(events):
    async def test():
        seen = []
        server = await serve(lambda data: seen.append((bench.slot.open, bench.slot.peer)) or [ntp_answer(data)])
        bench = Bench(events, port=server.port)
        bench.client.error = "from before"
        await bench.client.synchronise()
        assert seen == [(True, ("127.0.0.1", server.port))], "the ledger shows the socket while it is open"
        assert bench.error_s() < 0.5
        assert bench.told == [pytest.approx(time.time(), abs=2)]
        assert (bench.client.stratum, bench.client.error) == (2, None)
        assert 0 <= bench.client.round_trip_ms < 1000
        assert len(events.texts()) == 1
        assert (bench.slot.open, bench.slot.requests, bench.slot.sent, bench.slot.received) == (False, 1, 48, 48)
        server.transport.close()

    run(test)


def test_a_question_is_an_sntp_request_with_a_new_nonce_each_time(events):
    async def test():
        server = await serve(lambda data: [ntp_answer(data)])
        bench = Bench(events, port=server.port)
        for _ in range(5):
            await bench.client.synchronise()
        assert all(len(data) == 48 and data[0] == 0x23 and not any(data[1:40]) for data in server.asked)
        assert len({data[40:] for data in server.asked}) == 5
        server.transport.close()

    run(test)


def test_the_correction_of_a_clock_that_runs_is_told(events):
    async def test():
        offset = 0
        server = await serve(lambda data: [ntp_answer(data, time.time() + offset)])
        bench = Bench(events, port=server.port)
        await bench.client.synchronise()
        offset = 100
        await bench.client.synchronise()
        assert bench.client.offset_ms == pytest.approx(100_000, abs=600)
        assert bench.clock.unix_ms() / 1000 == pytest.approx(time.time() + 100, abs=1)
        offset = -50
        await bench.client.synchronise()
        assert bench.client.offset_ms == pytest.approx(-150_000, abs=600)
        server.transport.close()

    run(test)


def test_times_beyond_the_end_of_the_first_era_are_right(events):
    async def test():
        then = 2_200_000_000  # 2039: NTP's seconds have wrapped in 2036
        server = await serve(lambda data: [ntp_answer(data, then)])
        bench = Bench(events, port=server.port)
        await bench.client.synchronise()
        assert bench.clock.unix_s() == pytest.approx(then, abs=1)
        server.transport.close()

    run(test)


def test_a_slow_answer_is_halved_not_added(events):
    async def test():
        async def later(server, data, sender):
            await asyncio.sleep(0.2)
            server.transport.sendto(ntp_answer(data, stamp), sender)

        stamp = time.time()
        server = await serve(lambda data: [])
        tasks = []
        server.datagram_received = lambda data, sender: tasks.append(asyncio.ensure_future(later(server, data, sender)))
        bench = Bench(events, port=server.port)
        stamp = time.time()
        await bench.client.synchronise()
        assert bench.client.round_trip_ms >= 195
        assert bench.error_s() < 0.75 * bench.client.round_trip_ms / 1000
        server.transport.close()

    run(test)


def test_a_silent_server_is_an_error_after_the_time_out_and_nothing_stays_open(events):
    async def test():
        server = await serve(lambda data: [])
        bench = Bench(events, port=server.port)
        before = len(os.listdir("/proc/self/fd"))
        begin = time.monotonic()
        with pytest.raises(OSError, match="answer"):
            await bench.client.synchronise()
        assert TIMEOUT_MS / 1000 - 0.01 <= time.monotonic() - begin < TIMEOUT_MS / 1000 + 5
        assert len(os.listdir("/proc/self/fd")) == before
        assert not bench.slot.open
        assert not bench.clock.is_set
        server.transport.close()

    run(test)


def test_nobody_at_the_port_is_an_error_after_the_time_out(events):
    async def test():
        server = await serve(lambda data: [])
        port = server.port
        server.transport.close()
        await asyncio.sleep(0.01)
        bench = Bench(events, port=port)
        with pytest.raises(OSError, match="answer"):
            await bench.client.synchronise()
        assert not bench.slot.open

    run(test)


WRONG = {
    "another nonce": lambda data: ntp_answer(data, nonce=b"12345678"),
    "an empty nonce": lambda data: ntp_answer(data, nonce=bytes(8)),
    "a client's packet": lambda data: ntp_answer(data, mode=3),
    "our own packet": bytes,
    "a broadcast": lambda data: ntp_answer(data, mode=5),
    "short": lambda data: ntp_answer(data, size=47),
    "empty": lambda data: b"",
    "rubbish": lambda data: b"\xff" * 48,
    "a flood of text": lambda data: b"x" * 1400,
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_answer_to_our_question_is_passed_over(events, case, monkeypatch):
    async def test():
        wrong = WRONG[case]
        server = await serve(lambda data: [wrong(data)])
        bench = Bench(events, port=server.port)
        with monkeypatch.context() as patch:
            patch.setattr(client_module, "_TIMEOUT_MS", 40)  # nothing right comes that could be late
            with pytest.raises(OSError, match="answer"):
                await bench.client.synchronise()
        assert not bench.clock.is_set

        server.answer = lambda data: [wrong(data)] * 3 + [ntp_answer(data)]
        await bench.client.synchronise()
        assert bench.error_s() < 0.5, "and the right one behind it is taken"
        server.transport.close()

    run(test)


@pytest.mark.parametrize("where", ["another port", "another address"])
def test_an_answer_from_somebody_else_is_passed_over(events, where):
    async def test():
        other = await serve(lambda data: [], "127.0.0.2" if where == "another address" else "127.0.0.1")
        server = await serve(lambda data: [])

        def received(data, sender):
            other.transport.sendto(ntp_answer(data, 1_900_000_000), sender)
            asyncio.get_running_loop().call_later(0.05, server.transport.sendto, ntp_answer(data), sender)

        server.datagram_received = received
        bench = Bench(events, port=server.port)
        await bench.client.synchronise()
        assert bench.error_s() < 0.5
        other.transport.close()
        server.transport.close()

    run(test)


def test_rubbish_without_end_does_not_make_the_wait_longer(events):
    async def test():
        server = await serve(lambda data: [])
        stop = False

        async def flood(sender):
            while not stop:
                server.transport.sendto(b"\xff" * 48, sender)
                await asyncio.sleep(0.005)

        tasks = []
        server.datagram_received = lambda data, sender: tasks.append(asyncio.ensure_future(flood(sender)))
        bench = Bench(events, port=server.port)
        begin = time.monotonic()
        with pytest.raises(OSError, match="answer"):
            await bench.client.synchronise()
        assert time.monotonic() - begin < TIMEOUT_MS / 1000 + 5
        stop = True
        await asyncio.gather(*tasks)
        server.transport.close()

    run(test)


UNUSABLE = {
    "kiss-o'-death RATE": ({"stratum": 0, "refid": b"RATE"}, "kiss"),
    "kiss-o'-death DENY": ({"stratum": 0, "refid": b"DENY"}, "kiss"),
    "not synchronised": ({"leap": 3}, "not synchronised"),
    "stratum 16": ({"stratum": 16}, "stratum"),
    "too far": ({"dispersion": 20 << 16}, "far"),
    "1990": ({"now": 631_152_000}, "2024"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_an_unusable_answer_ends_the_wait_at_once_and_sets_nothing(events, case):
    options, reason = UNUSABLE[case]

    async def test():
        server = await serve(lambda data: [ntp_answer(data, **options)])
        bench = Bench(events, port=server.port)
        begin = time.monotonic()
        with pytest.raises(ntp.NtpError, match=reason):
            await bench.client.synchronise()
        assert time.monotonic() - begin < TIMEOUT_MS / 1000 - 0.02
        assert not bench.clock.is_set
        server.transport.close()

    run(test)


class Sleeps:
    """In place of the seam's sleep_ms: says how long, and ends the run after some."""

    class Enough(BaseException):
        pass

    def __init__(self, most):
        self.ms = []
        self.most = most

    async def __call__(self, ms):
        self.ms.append(ms)
        if len(self.ms) == self.most:
            raise self.Enough


def run_client(events, monkeypatch, answer, rounds, **options):
    """The seconds that the client slept between its questions."""
    sleeps = Sleeps(rounds)

    async def test():
        server = await serve(answer)
        bench = Bench(events, port=server.port, **options)
        with monkeypatch.context() as patch:
            patch.setattr(client_module.seam, "sleep_ms", sleeps)
            with pytest.raises(Sleeps.Enough):
                await bench.client.run()
        server.transport.close()
        return bench

    return [ms // 1000 for ms in sleeps.ms] if not (bench := run(test)) else ([ms // 1000 for ms in sleeps.ms], bench)


def test_the_client_asks_at_its_interval_while_all_is_well(events, monkeypatch):
    slept, bench = run_client(events, monkeypatch, lambda data: [ntp_answer(data)], 4, interval_s=640)
    assert slept == [2, 640, 640, 640]  # the first time is asked for twice
    assert bench.client.failures == 0
    assert len(events.texts()) == 1, "said once"


def test_failures_are_retried_at_doubling_intervals_up_to_an_hour(events, monkeypatch):
    monkeypatch.setattr(client_module, "_TIMEOUT_MS", 1)
    slept, bench = run_client(events, monkeypatch, lambda data: [], 11)
    assert slept == [15, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert bench.client.failures == 11
    assert bench.client.error
    assert len(events.texts()) == 1, "one line, counted"


def test_a_success_starts_the_intervals_again(events, monkeypatch):
    answers = [1, 1, 0, 0, 1, 1]
    monkeypatch.setattr(client_module, "_TIMEOUT_MS", 500)
    slept, bench = run_client(
        events, monkeypatch, lambda data: [] if answers.pop(0) else [ntp_answer(data)], 6, interval_s=3000
    )
    assert slept == [15, 30, 2, 3000, 15, 30]


@pytest.mark.parametrize("code", [b"RATE", b"DENY", b"RSTR"])
def test_a_kiss_of_death_leaves_the_server_alone_for_the_longest_interval(events, monkeypatch, code):
    slept, _ = run_client(events, monkeypatch, lambda data: [ntp_answer(data, stratum=0, refid=code)], 2)
    assert slept == [3600, 3600]


def test_a_name_that_is_none_is_an_error_that_is_retried(events, monkeypatch):
    sleeps = Sleeps(1)
    monkeypatch.setattr(client_module.seam, "sleep_ms", sleeps)

    async def test():
        bench = Bench(events, server="not a name!", dns_servers=["127.0.0.1"])
        with pytest.raises(Sleeps.Enough):
            await bench.client.run()
        assert bench.client.failures == 1

    run(test)


@pytest.mark.parametrize("server", ["12345", "1.2.3", "300.1.1.1", "1.2.3.4.5"])
def test_digits_that_are_no_address_are_never_given_to_the_systems_resolver(events, monkeypatch, server):
    """getaddrinfo stops the whole loop, and would take 12345 for 0.0.48.57. Refused by the configuration, or by the
    client where it comes through."""
    if config.validate({"ntp": {"server": server}})[1]:
        return
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("getaddrinfo was called"))
    asked = []
    monkeypatch.setattr(udp_module.seam, "udp", lambda *_: asked.append(1) or pytest.fail("a question was sent"))

    async def test():
        bench = Bench(events, server=server)
        with pytest.raises((OSError, ValueError)):
            await bench.client.synchronise()

    run(test)


# -- DNS


def dns_answer(query, address="10.1.2.3", ttl=300, rcode=0, id_=None, flags=0x8180, name=None, count=1, question=None):
    question = query[12:] if question is None else question
    head = struct.pack(
        ">HHHHHH", struct.unpack(">H", query[:2])[0] if id_ is None else id_, flags | rcode, 1, count, 0, 0
    )
    record = (name or b"\xc0\x0c") + struct.pack(">HHIH", 1, 1, ttl, 4) + bytes(map(int, address.split(".")))
    return head + question + record * count


class DnsBench:
    def __init__(self, events, *servers, monkeypatch=None):
        self.uptime = Uptime(1000)
        self.budget = Budget(16, 16, 16, list(SIX), {"http": 4}, self.uptime, events)
        self.slot = self.budget.service_slot("ntp")
        self.resolver = Resolver(lambda: list(servers), self.uptime, os.urandom)
        self.exchange = Exchange(self.slot)

    async def resolve(self, name="pool.ntp.org"):
        return await self.resolver.resolve(name, self.exchange)


async def dns_server(monkeypatch, answer, address="127.0.0.1"):
    """All servers of a test share the first one's port, for the resolver asks at 53."""
    loop = asyncio.get_running_loop()
    port = 0 if resolver_module._PORT == 53 else resolver_module._PORT
    _, server = await loop.create_datagram_endpoint(lambda: Server(answer), local_addr=(address, port))
    monkeypatch.setattr(resolver_module, "_PORT", server.port)
    return server


def test_a_name_is_resolved_on_the_slot_of_the_service_that_asks(events, monkeypatch):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [dns_answer(data)])
        bench = DnsBench(events, "127.0.0.1")
        assert await bench.resolve() == "10.1.2.3"
        assert (bench.slot.open, bench.slot.requests) == (False, 1)
        assert bench.budget.in_use() == 6
        assert b"\x04pool\x03ntp\x03org\x00" in server.asked[0]
        server.transport.close()

    run(test)


def test_an_address_needs_no_server(events):
    async def test():
        assert await DnsBench(events).resolve("192.0.2.7") == "192.0.2.7"

    run(test)


@pytest.mark.parametrize(("ttl", "kept_s"), [(0, 60), (59, 60), (300, 300), (86400, 86400), (10**6, 86400)])
def test_an_answer_is_kept_for_its_time_to_live_within_bounds(events, monkeypatch, ttl, kept_s):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [dns_answer(data, ttl=ttl)])
        bench = DnsBench(events, "127.0.0.1")
        await bench.resolve()
        bench.uptime.now += kept_s - 1
        assert await bench.resolve() == "10.1.2.3"
        assert len(server.asked) == 1
        bench.uptime.now += 1
        await bench.resolve()
        assert len(server.asked) == 2
        server.transport.close()

    run(test)


def test_the_last_eight_names_are_kept(events, monkeypatch):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [dns_answer(data)])
        bench = DnsBench(events, "127.0.0.1")
        for number in range(9):
            await bench.resolve(f"host{number}.example")
        for number in range(1, 9):
            await bench.resolve(f"host{number}.example")
        assert len(server.asked) == 9
        await bench.resolve("host0.example")
        assert len(server.asked) == 10
        server.transport.close()

    run(test)


def test_each_query_has_an_id_of_its_own(events, monkeypatch):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [dns_answer(data, ttl=0)])
        bench = DnsBench(events, "127.0.0.1")
        for _ in range(10):
            await bench.resolve()
            bench.uptime.now += 100
        assert len({data[:2] for data in server.asked}) > 5
        server.transport.close()

    run(test)


FOREIGN = {
    "another id": lambda data: dns_answer(data, id_=(data[0] << 8 | data[1]) ^ 1),
    "another question": lambda data: dns_answer(data, question=b"\x04evil\x03org\x00\x00\x01\x00\x01"),
    "a query": bytes,
    "short": lambda data: data[:5],
    "empty": lambda data: b"",
    "rubbish": lambda data: b"\xff" * 100,
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_datagram_that_answers_another_query_is_passed_over(events, monkeypatch, case):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [FOREIGN[case](data)] * 2 + [dns_answer(data)])
        bench = DnsBench(events, "127.0.0.1")
        assert await bench.resolve() == "10.1.2.3"
        assert len(server.asked) == 1
        server.transport.close()

    run(test)


def test_an_answer_from_another_address_is_passed_over(events, monkeypatch):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [])
        other = await dns_server(monkeypatch, lambda data: [], "127.0.0.2")

        def received(data, sender):
            other.transport.sendto(dns_answer(data, "6.6.6.6"), sender)
            asyncio.get_running_loop().call_later(0.03, server.transport.sendto, dns_answer(data), sender)

        server.datagram_received = received
        assert await DnsBench(events, "127.0.0.1").resolve() == "10.1.2.3"
        server.transport.close()
        other.transport.close()

    run(test)


def test_a_silent_server_is_asked_twice_then_the_next(events, monkeypatch):
    async def test():
        silent = await dns_server(monkeypatch, lambda data: [])
        good = await dns_server(monkeypatch, lambda data: [dns_answer(data)], "127.0.0.2")
        bench = DnsBench(events, "127.0.0.1", "127.0.0.2")
        assert await bench.resolve() == "10.1.2.3"
        assert (len(silent.asked), len(good.asked)) == (2, 1)
        silent.transport.close()
        good.transport.close()

    run(test)


@pytest.mark.parametrize(("rcode", "text"), [(2, "SERVFAIL"), (3, "NXDOMAIN"), (5, "REFUSED")])
def test_an_error_of_the_server_is_told_at_once_with_name_server_and_reason(events, monkeypatch, rcode, text):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [dns_answer(data, rcode=rcode, count=0)])
        with pytest.raises(OSError, match=rf"cannot resolve pool\.ntp\.org: 127\.0\.0\.1: {text}"):
            await DnsBench(events, "127.0.0.1").resolve()
        assert len(server.asked) == 1
        server.transport.close()

    run(test)


def test_a_server_with_an_error_does_not_hide_the_next(events, monkeypatch):
    async def test():
        bad = await dns_server(monkeypatch, lambda data: [dns_answer(data, rcode=2, count=0)])
        good = await dns_server(monkeypatch, lambda data: [dns_answer(data)], "127.0.0.2")
        assert await DnsBench(events, "127.0.0.1", "127.0.0.2").resolve() == "10.1.2.3"
        bad.transport.close()
        good.transport.close()

    run(test)


LOOPS = {
    "truncated": (lambda data: dns_answer(data, flags=0x8380), "truncated"),
    "a name that points to itself": (lambda data: dns_answer(data, name=b"\xc0" + bytes([len(data)])), "backwards"),
    "an alias of itself": (
        lambda data: dns_answer(data, count=0)[:6] + b"\0\1" + dns_answer(data, count=0)[8:]
        + b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 300, 2) + b"\xc0\x0c",
        "more than 8 CNAMEs",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LOOPS)
def test_a_truncated_or_looping_answer_ends_the_question_and_the_next_server_is_asked(events, monkeypatch, case):
    answer, reason = LOOPS[case]

    async def test():
        bad = await dns_server(monkeypatch, lambda data: [answer(data)])
        good = await dns_server(monkeypatch, lambda data: [dns_answer(data)], "127.0.0.2")
        assert await DnsBench(events, "127.0.0.1", "127.0.0.2").resolve() == "10.1.2.3"
        assert (len(bad.asked), len(good.asked)) == (1, 1)
        with pytest.raises(OSError, match=f"cannot resolve pool.ntp.org: 127.0.0.1: .*{reason}"):
            await DnsBench(events, "127.0.0.1").resolve()
        bad.transport.close()
        good.transport.close()

    run(test)


def test_without_any_server_it_is_an_error_that_says_so(events):
    async def test():
        with pytest.raises(OSError, match="no name server"):
            await DnsBench(events).resolve()

    run(test)


def test_failing_queries_leave_no_socket_open(events, monkeypatch):
    async def test():
        server = await dns_server(monkeypatch, lambda data: [])
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="does not answer"):
            await DnsBench(events, "127.0.0.1").resolve()
        assert len(os.listdir("/proc/self/fd")) == before
        server.transport.close()

    run(test)


def test_the_client_finds_its_server_by_name(events, monkeypatch):
    async def test():
        names = await dns_server(monkeypatch, lambda data: [dns_answer(data, "127.0.0.1")])
        server = await serve(lambda data: [ntp_answer(data)])
        bench = Bench(events, "time.example", server.port, ["127.0.0.1"])
        await bench.client.synchronise()
        await bench.client.synchronise()
        assert bench.error_s() < 0.5
        assert len(names.asked) == 1
        assert not bench.slot.open
        names.transport.close()
        server.transport.close()

    run(test)


# -- the seam's waker, on which both wait


def test_a_waker_ends_the_wait_that_is_under_way_or_the_next(events):
    async def test():
        waker = seam.Waker()
        assert await waker.wait_ms(1) is False
        waker.wake()
        assert await waker.wait_ms(10_000) is True
        assert await waker.wait_ms(1) is False, "a wake counts once"
        asyncio.get_running_loop().call_later(0.01, waker.wake)
        assert await waker.wait_ms(10_000) is True
        waker.wake()
        waker.clear()
        assert await waker.wait_ms(1) is False

    run(test)

"""firmware.net.tls on the simulated network, with OpenSSL at both ends: who is trusted, when no session is begun."""

import asyncio
import ssl

import pytest

from firmware.net import seam
from firmware.net.dns import Resolver
from firmware.net.tcp_client import ConnectionFailed, TcpClient
from firmware.net.tls import Tls
from host_tests.certificates import HOST, REASONS, Certificate, Certificates
from tools.simulator import world as world_module
from tools.simulator.hosts import Server
from tools.simulator.udp import NameServer

SERVER, NAMES = "192.0.2.10", "192.0.2.11"
PORT = 443
TIMEOUT_MS = 5000
PLENTY = 100_000


@pytest.fixture(scope="module")
def certificates():
    return Certificates()


class TlsServer:
    """Echoes, within TLS. The handler of a simulated Server."""

    def __init__(self, path):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        self.stood = 0  # handshakes

    async def __call__(self, stream):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(incoming, outgoing, server_side=True)

        async def until_done(call, *args):
            while True:
                try:
                    return call(*args)
                except ssl.SSLWantReadError:
                    await stream.send(outgoing.read())
                    data = await stream.recv(timeout_s=3600)
                    if not data:
                        raise EOFError from None
                    incoming.write(data)

        try:
            await until_done(tls.do_handshake)
            self.stood += 1
            while True:
                tls.write(await until_done(tls.read, 4096))
                await stream.send(outgoing.read())
        except ssl.SSLError:
            await stream.send(outgoing.read())


class Bench:
    def __init__(self, world, folder, certificates, kind, trust, **options):
        self.world = world
        certificate = certificates.servers[kind]
        self.handler = TlsServer(certificate.write(folder, "server"))
        Server(world.network, SERVER, PORT, options.get("handler") or self.handler, world.start)
        NameServer(world.network, NAMES, {HOST: SERVER})
        names = Resolver(lambda: [NAMES], world.app.clock.uptime_s, world.rng.randbytes)
        self.client = TcpClient(world.budget.service_slot("posting"), names)
        self.free = PLENTY
        self.section = {"trust": trust, "ca_file": "ca.pem", "pin_sha256": options.get("pin", "")}
        self.turns = []
        self.tls = self.another()

    def another(self):
        """A Tls of another service."""
        return Tls(self.section, self.world.app.clock, self.world.app.buses, lambda: (self.free, 0), self.turns)

    async def exchange(self):
        """Whether what was sent comes back; or the reason why not."""
        client = self.client
        try:
            await client.connect(HOST, PORT, TIMEOUT_MS, self.tls)
            data = bytes(range(256)) * 20
            buf = bytearray(5000)
            for at in range(0, len(data), 1024):
                await client.send(data[at : at + 1024], 1024)
                got = b""
                while len(got) < 1024:
                    got += buf[: await client.receive(buf)]
                assert got == data[at : at + 1024]
        except ConnectionFailed as error:
            assert not client.is_open
            assert not client.slot.open
            return str(error)
        finally:
            client.close()
        return True


def run(tmp_path, certificates, kind="good", trust="ca", scenario=None, authority=None, clock=True, **options):
    """What exchange() gives, or the scenario with the bench."""

    async def whole(world):
        (world._folder / "data" / "ca.pem").write_bytes(certificates.authority.pem if authority is None else authority)
        bench = Bench(world, tmp_path, certificates, kind, trust, **options)
        if clock:
            await world.until(lambda: world.app.clock.is_set, what="the time")
        return await (scenario(bench) if scenario else bench.exchange())

    return world_module.run(whole, config=None if clock else {"ntp": {"enabled": False}}).result


@pytest.mark.parametrize("kind", REASONS)
def test_with_an_authority_only_its_valid_certificates_for_this_name_are_accepted(tmp_path, certificates, kind):
    assert run(tmp_path, certificates, kind) == (REASONS[kind] or True)


def test_a_certificate_is_looked_at_before_anything_is_sent(tmp_path, certificates):
    async def scenario(bench):
        assert await bench.exchange() == REASONS["unknown"]
        await bench.world.sleep(1)
        assert bench.handler.stood == 0
        assert bench.tls.handshakes == 0

    run(tmp_path, certificates, "unknown", scenario=scenario)


@pytest.mark.parametrize("kind", REASONS)
def test_the_pinned_certificate_is_accepted_whatever_it_says(tmp_path, certificates, kind):
    assert run(tmp_path, certificates, kind, "pin", pin=certificates.servers[kind].sha256) is True


def test_a_changed_certificate_is_not_the_pinned_one(tmp_path, certificates):
    renewed = Certificate(HOST, certificates.authority)
    assert run(tmp_path, certificates, "good", "pin", pin=renewed.sha256) == "certificate has changed"


def test_a_pin_may_be_written_with_colons_and_capitals(tmp_path, certificates):
    plain = certificates.servers["good"].sha256.upper()
    pin = ":".join(plain[at : at + 2] for at in range(0, 64, 2))
    assert run(tmp_path, certificates, "good", "pin", pin=pin) is True


@pytest.mark.parametrize("kind", REASONS)
def test_without_trust_any_certificate_is_accepted(tmp_path, certificates, kind):
    assert run(tmp_path, certificates, kind, "none") is True


@pytest.mark.parametrize(("trust", "reason"), [
    ("ca", "time unknown: a certificate cannot be checked before the clock is set"), ("pin", True), ("none", True),
])  # fmt: skip
def test_only_an_authority_needs_the_time(tmp_path, certificates, trust, reason):
    pin = certificates.servers["good"].sha256
    assert run(tmp_path, certificates, trust=trust, pin=pin, clock=False) == reason


@pytest.mark.parametrize(("authority", "reason"), [
    (b"", "no certificate in PEM or DER"),
    (b"0\x82\x01\x00cut short", "no certificate in PEM or DER"),
    (b"0\x82\x00\x02no", "TLS error"),
    (bytes(8193), "larger than 8192 bytes"),
    (b"-----BEGIN CERTIFICATE-----\nMIIB", "cut short, or more than 8 certificates"),
    (b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----", "a certificate that is no base64"),
    (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "no certificate in PEM or DER"),
])  # fmt: skip
def test_a_bad_file_of_authorities_is_named(tmp_path, certificates, authority, reason):
    named = reason if reason == "TLS error" else "data/ca.pem: " + reason
    assert run(tmp_path, certificates, authority=authority) == named


def test_a_file_of_authorities_may_be_der_or_have_several_in_pem(tmp_path, certificates):
    assert run(tmp_path, certificates, authority=certificates.authority.der) is True
    several = b"".join(Certificate(f"authority {k}").pem for k in range(7)) + certificates.authority.pem
    assert run(tmp_path, certificates, authority=several) is True


def test_a_missing_file_of_authorities_is_named(tmp_path, certificates):
    async def scenario(bench):
        (bench.world._folder / "data" / "ca.pem").unlink()
        return await bench.exchange()

    reason = run(tmp_path, certificates, scenario=scenario)
    assert reason == "no file data/ca.pem with certificates of authorities"


def test_without_memory_no_connection_is_begun(tmp_path, certificates):
    async def scenario(bench):
        bench.free = 46079
        opened = bench.world.sockets.changes
        assert await bench.exchange() == "no memory for TLS: 46079 of 46080 bytes free"
        assert bench.world.sockets.changes == opened
        bench.free = 46080
        assert await bench.exchange() is True

    run(tmp_path, certificates, scenario=scenario)


def test_there_is_one_session_at_a_time_and_who_wants_another_waits_for_his_turn(tmp_path, certificates):
    async def scenario(bench):
        await bench.client.connect(HOST, PORT, TIMEOUT_MS, bench.tls)
        await bench.client.connect(HOST, PORT, TIMEOUT_MS, bench.tls)  # its own is closed first
        other = TcpClient(bench.client.slot, bench.client._resolver)
        waits = asyncio.ensure_future(other.connect(HOST, PORT, TIMEOUT_MS, bench.another()))
        await bench.world.sleep(1)
        assert not other.is_open
        assert not bench.tls.is_wanted()  # it has just begun
        await bench.world.sleep(30)
        assert bench.tls.is_wanted()
        assert not waits.done()
        bench.client.close()
        assert not bench.tls.is_wanted()
        await waits
        assert other.is_open
        other.close()
        assert await bench.exchange() is True
        assert bench.turns == []

    run(tmp_path, certificates, scenario=scenario)


def test_turns_come_in_the_order_of_asking(tmp_path, certificates):
    async def scenario(bench):
        got = []

        async def connect(name):
            client = TcpClient(bench.client.slot, bench.client._resolver)
            await client.connect(HOST, PORT, TIMEOUT_MS, bench.another())
            got.append(name)
            client.close()

        await bench.client.connect(HOST, PORT, TIMEOUT_MS, bench.tls)
        others = [asyncio.ensure_future(connect(name)) for name in "abc"]
        await bench.world.sleep(1)
        bench.client.close()
        again = asyncio.ensure_future(bench.client.connect(HOST, PORT, TIMEOUT_MS, bench.tls))
        await asyncio.gather(*others)
        assert got == ["a", "b", "c"]
        await again
        bench.client.close()

    run(tmp_path, certificates, scenario=scenario)


def test_a_turn_that_does_not_come_is_an_error_and_the_place_is_given_up(tmp_path, certificates):
    async def scenario(bench):
        await bench.client.connect(HOST, PORT, TIMEOUT_MS, bench.tls)
        other = TcpClient(bench.client.slot, bench.client._resolver)
        waits = asyncio.ensure_future(other.connect(HOST, PORT, TIMEOUT_MS, bench.another()))
        await bench.world.sleep(179)
        assert not waits.done()
        await bench.world.sleep(2)
        with pytest.raises(ConnectionFailed, match="another TLS session is open"):
            await waits
        assert bench.turns == [bench.tls]
        waits = asyncio.ensure_future(other.connect(HOST, PORT, TIMEOUT_MS, bench.another()))
        await bench.world.sleep(1)
        waits.cancel()  # as when its service ends
        await asyncio.gather(waits, return_exceptions=True)
        assert bench.turns == [bench.tls]
        bench.client.close()

    run(tmp_path, certificates, scenario=scenario)


@pytest.mark.parametrize("kind", ["good", "expired"])
def test_a_connection_that_ends_ends_the_turn_however_it_ends(tmp_path, certificates, kind):
    async def scenario(bench):
        await bench.exchange()
        assert bench.turns == []
        bench.free = 0 if kind == "good" else 1
        await bench.exchange()
        assert bench.turns == []

    run(tmp_path, certificates, kind, scenario=scenario)


def test_what_comes_is_read_without_waiting_though_tls_has_more_than_the_socket(tmp_path, certificates):
    async def scenario(bench):
        client, buf, got = bench.client, bytearray(100), b""
        await client.connect(HOST, PORT, TIMEOUT_MS, bench.tls)
        assert client.receive_more(buf) is None
        data = bytes(range(256)) * 4
        await client.send(data, len(data))
        until_ms = seam.ticks_add(seam.ticks_ms(), TIMEOUT_MS)
        while len(got) < len(data):
            n = client.receive_more(buf)
            if n is None:
                assert await client.wait_ready(seam.READ, until_ms)
            else:
                got += buf[:n]
        assert got == data
        client.close()
        with pytest.raises(ConnectionFailed, match="closed"):
            client.receive_more(buf)

    run(tmp_path, certificates, scenario=scenario)


def test_no_request_is_outstanding_on_the_bus_while_a_step_computes(tmp_path, certificates):
    async def scenario(bench):
        bus = bench.world.app.buses[0]
        seen = []
        from firmware.net import tls_cpython

        whole_step = tls_cpython.Session.step

        def step(session):
            seen.append((bus.is_idle(), bench.world.app.buses.paused))
            bench.world.timeline.spend_us(300_000)
            return whole_step(session)

        tls_cpython.Session.step = step
        try:
            assert await bench.exchange() is True
        finally:
            tls_cpython.Session.step = whole_step
        assert len(seen) >= 2
        assert set(seen) == {(True, True)}
        assert not bench.world.app.buses.paused
        assert 300 <= bench.tls.longest_stall_ms <= 320
        await bench.world.until(bench.world.polled, what="meters that are polled again")

    run(tmp_path, certificates, scenario=scenario)


def test_buses_that_cannot_be_paused_end_the_handshake_with_its_time_out(tmp_path, certificates):
    async def scenario(bench):
        assert bench.world.app.buses.pause(lambda: None)  # as a save does
        try:
            assert await bench.exchange() == "the buses are busy"
        finally:
            bench.world.app.buses.resume()
        assert await bench.exchange() is True

    run(tmp_path, certificates, scenario=scenario)


async def silence(stream):
    await asyncio.sleep(3600)


async def hang_up(stream):
    await stream.recv()


async def no_tls(stream):
    await stream.send(b"220 welcome\r\n")
    await asyncio.sleep(3600)


@pytest.mark.parametrize(("handler", "reason"), [
    (silence, "no answer to the TLS handshake"), (hang_up, "closed by the server"), (no_tls, "TLS error"),
])  # fmt: skip
def test_a_server_that_does_not_speak_tls_is_an_error(tmp_path, certificates, handler, reason):
    assert run(tmp_path, certificates, handler=handler) == reason

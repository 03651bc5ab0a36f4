"""Posting by the whole firmware on real MicroPython: a backlog on flash arrives number by number at receivers that
refuse what real ones refuse, at InfluxDB and at VictoriaMetrics, and beside ten pollers and two browsers."""

import contextlib
import json
import time

import pytest

from host_tests.certificates import REASONS, Certificates
from host_tests.http_receiver import AcquiSuiteServer, EmoncmsServer, Receiver
from host_tests.nginx import Nginx, tls_proxy
from host_tests.system.backlog import INTERVAL_S, NAMES, Backlog
from host_tests.system.crowd import Browser, Poller, assert_nothing_lost, play, run_for
from host_tests.system.rig import HOST, PICO_W_HEAP, Rig, wait_for
from host_tests.time_series import InfluxDb, VictoriaMetrics
from tools import gateway
from tools.device_api import Device

PASSWORD = "correct horse"
ARRIVES_S = 60
HEAP = gateway.FROZEN_HEAP


@contextlib.contextmanager
def posting_rig(folder, backlog, url, heap=HEAP, services=None, **posting):
    """A gateway with that backlog, whose clock is set."""
    posting = {"url": url, "interval_s": 86400, **posting}
    config = {"name": "gateway", "ntp": {"enabled": False}, "history": {"flash": True}, "posting": posting}
    config.update(services or {})
    with Rig(folder, config=config, frozen=True, heap=heap) as rig, Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)
        device.login(PASSWORD)
        device.post("/api/time", {"unix_s": backlog.end_s + 20})
        rig.device = device
        yield rig


def post(rig):
    """Has what waits posted; the status of posting when nothing waits any more."""
    rig.device.post("/api/posting")
    rig.device.close()  # connects again by itself; the gateway closes it when nothing comes for a while
    wait_for(lambda: rig.status()["posting"]["waiting"] == 0, ARRIVES_S, "everything that waits to be posted")
    return wait_for(
        lambda: (found := rig.device.get("/api/posting"))["state"] == "waiting" and found, 15, "the end of it"
    )


def test_a_backlog_arrives_whole_oldest_first_and_once(tmp_path):
    backlog = Backlog(tmp_path, 500)
    with Receiver() as receiver, posting_rig(tmp_path, backlog, receiver.url + "/in") as rig:
        status = post(rig)
        records = [record for request in receiver.requests for record in json.loads(request.body)["records"]]
        assert [record["time"] for record in records] == sorted(backlog.values)
        for record in records:
            found = [
                (meter.get("energy_import_wh", meter.get("energy_total_wh")), meter["active_power_w"])
                for meter in record["meters"]
            ]
            assert found == backlog.values[record["time"]]
            assert [meter["meter"] for meter in record["meters"]] == NAMES
        assert (status["delivered"], status["lost"], status["undated"], status["failures"]) == (500, 0, 0, 0)
        assert receiver.connections == 1
        assert status["last"]["status"] == 204
        # What was delivered is remembered over a planned restart.
        rig.device.reboot()
        rig.wait_polled()
        with Device(HOST, rig.http_port) as device:
            device.login(PASSWORD)
            device.post("/api/time", {"unix_s": backlog.end_s + 60})
            count = len(receiver.requests)
            device.post("/api/posting")
            wait_for(lambda: device.get("/api/posting")["state"] == "waiting", 30, "the end of a post")
        assert len(receiver.requests) == count


def test_acquisuite_takes_every_log_line_after_it_has_refused_some(tmp_path):
    backlog = Backlog(tmp_path, 300)
    server = AcquiSuiteServer("gateway", "s3cret")
    server.failures = ["database is busy"]
    with (
        Receiver(server) as receiver,
        posting_rig(tmp_path, backlog, receiver.url, format="acquisuite", auth="basic", user="gateway",
                    password="s3cret") as rig,
    ):  # fmt: skip
        server.serial = rig.status()["network"]["mac"].replace(":", "")
        assert post(rig)["failures"] == 1
        wanted = {}
        for at, row in backlog.values.items():
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
            for slot, values in enumerate(row):
                wanted[slot + 1, text] = (0, list(values))
        assert server.rows == wanted


def test_emoncms_takes_every_frame(tmp_path):
    backlog = Backlog(tmp_path, 300)
    server = EmoncmsServer("f00dcafe")
    with (
        Receiver(server) as receiver,
        posting_rig(tmp_path, backlog, receiver.url + "/input/bulk", format="emoncms", auth="bearer",
                    password="f00dcafe") as rig,
    ):  # fmt: skip
        post(rig)
        powers = {(node, at): values["active_power_w"] for (at, node), values in server.frames.items()}
        assert powers == backlog.points(1)
        energies = {(node, at): next(values[name] for name in values if "energy" in name)
                    for (at, node), values in server.frames.items()}  # fmt: skip
        assert energies == backlog.points(0)


@pytest.mark.parametrize(("program", "target"), [
    (InfluxDb, "/write?db=energy"), (VictoriaMetrics, "/write"), (VictoriaMetrics, "/api/v2/write?org=o&bucket=b"),
])  # fmt: skip
def test_a_time_series_database_has_every_number(tmp_path, program, target):
    backlog = Backlog(tmp_path, 300)
    folder = tmp_path / "database"
    folder.mkdir()
    with (
        program(folder) as database,
        posting_rig(tmp_path, backlog, f"http://{HOST}:{database.port}{target}", format="influx") as rig,
    ):
        status = post(rig)
        assert (status["last"]["status"], status["failures"]) == (204, 0)
        energies = database.points("energy_import_wh") | database.points("energy_total_wh")
        assert energies == backlog.points(0)
        assert database.points("active_power_w") == backlog.points(1)


def test_a_wrong_database_stops_posting_and_loses_nothing(tmp_path):
    backlog = Backlog(tmp_path, 20)
    folder = tmp_path / "database"
    folder.mkdir()
    with (
        InfluxDb(folder) as database,
        posting_rig(tmp_path, backlog, f"http://{HOST}:{database.port}/write?db=none", format="influx") as rig,
    ):
        rig.device.post("/api/posting")
        status = wait_for(lambda: (found := rig.status()["posting"])["state"] == "refused" and found, 30, "a refusal")
        assert status["error"] == f"{HOST}: 404"
        assert (status["waiting"], status["set_aside"]) == (20, 0)
        assert "database not found" in rig.device.get("/api/posting")["last"]["answer"]
        assert 800 < status["next_s"] <= 900


def test_no_poll_is_lost_beside_a_full_backlog(tmp_path):
    """Ten pollers and two browsers while two weeks are posted, over one socket. In some kilobytes more than an ESP32
    without PSRAM has: there a post beside so many may find no memory, and is tried again."""
    backlog = Backlog(tmp_path, 4032)
    # Without BACnet and NTP there is room for twelve. With four places for browsers a poller that connects while they
    # load would take the place of another.
    less = {"bacnet": {"enabled": False}, "http": {"max_connections": 2}}
    with Receiver() as receiver, posting_rig(tmp_path, backlog, receiver.url, "128K", less) as rig:
        rig.wait_polled()
        rig.device.post("/api/posting")
        rig.device.close()

        def is_posted():
            """By what has arrived: to ask the gateway would take a thirteenth connection."""
            return sum(request.body.count(b'"time":') for request in receiver.requests) >= len(backlog.values)

        async def scenario(crowd):
            pollers = [Poller(crowd, phase=k / 10) for k in range(10)]
            browsers = [Browser(crowd), Browser(crowd)]

            def enough():
                return is_posted() and all(browser.documents > 20 for browser in browsers)

            await run_for(10, *pollers, *browsers, enough=enough, at_most_s=ARRIVES_S)
            assert_nothing_lost(pollers)
            assert enough()

        play(scenario, rig)
        posting = rig.status()["posting"]
        assert (posting["delivered"], posting["failures"], receiver.connections) == (len(backlog.values), 0, 1)
        times = [record["time"] for request in receiver.requests for record in json.loads(request.body)["records"]]
        assert times == sorted(backlog.values)


@contextlib.contextmanager
def https_servers(folder, ports, receiver):
    """nginx with TLS in front of the receiver: {name of the certificate: its address}, and the certificates."""
    certificates = Certificates(HOST)
    urls, servers = {}, []
    for (name, certificate), port in zip(certificates.servers.items(), ports, strict=True):
        servers.append(tls_proxy(port, certificate.write(folder, name), receiver.port))
        urls[name] = f"https://{HOST}:{port}/in"
    with Nginx(folder / "nginx", servers, ports):
        yield urls, certificates


@pytest.fixture
def today(tmp_path):
    """A backlog at a gateway whose clock is that of the certificates, with minutes left until the next record."""
    backlog = Backlog(tmp_path, 50)
    backlog.end_s = int(time.time()) // INTERVAL_S * INTERVAL_S
    return backlog


def attempt(rig):
    """Has what waits posted; the reason why that failed, or None."""

    def attempts(status):
        return status["delivered"] + status["failures"]

    before = attempts(rig.device.get("/api/posting"))
    rig.device.post("/api/posting")
    status = wait_for(
        lambda: (now := rig.device.get("/api/posting"))["state"] != "posting" and attempts(now) > before and now,
        ARRIVES_S, "the end of a post",
    )  # fmt: skip
    assert (status["waiting"] == 0) == (status["error"] is None)
    return status["error"]


@pytest.mark.parametrize(("name", "trust", "reason"), [
    *[(name, "ca", reason) for name, reason in REASONS.items()], ("unknown", "none", None),
])  # fmt: skip
def test_over_https_only_a_server_that_is_trusted_gets_anything(tmp_path, today, name, trust, reason):
    ports = gateway.free_ports(len(REASONS))
    with Receiver() as receiver, https_servers(tmp_path, ports, receiver) as (urls, certificates):
        (tmp_path / "data" / "ca.pem").write_bytes(certificates.authority.pem)
        with posting_rig(tmp_path, today, urls[name], PICO_W_HEAP, trust=trust) as rig:
            assert attempt(rig) == (reason and f"{HOST}: {reason}")
            assert bool(receiver.requests) == (reason is None)
            said = any("not checked" in event["text"] for event in rig.status()["events"])
            assert said == (trust == "none")


def test_a_pinned_certificate_that_changes_stops_posting(tmp_path, today):
    ports = gateway.free_ports(len(REASONS))
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        with https_servers(tmp_path, ports, receiver) as (urls, certificates):
            pinned = {"trust": "pin", "pin_sha256": certificates.servers["unknown"].sha256}
            rig = stack.enter_context(posting_rig(tmp_path, today, urls["unknown"], PICO_W_HEAP, **pinned))
            assert attempt(rig) is None
        count = len(receiver.requests)
        with https_servers(tmp_path, ports, receiver):  # the same addresses, with certificates of their own
            rig.device.post("/api/time", {"unix_s": today.end_s + INTERVAL_S + 20})
            wait_for(lambda: rig.status()["posting"]["waiting"], ARRIVES_S, "a new record")
            assert attempt(rig) == f"{HOST}: certificate has changed"
        assert len(receiver.requests) == count > 0


def test_authorities_are_uploaded_and_count_at_once(tmp_path, today):
    ports = gateway.free_ports(len(REASONS))
    with Receiver() as receiver, https_servers(tmp_path, ports, receiver) as (urls, certificates):
        with posting_rig(tmp_path, today, urls["good"], PICO_W_HEAP) as rig:
            assert attempt(rig) == f"{HOST}: no file data/ca.pem with certificates of authorities"
            assert rig.device.get("/api/posting")["ca_bytes"] is None
            pem = certificates.authority.pem
            rig.device.call("PUT", "/api/posting/authorities", pem)
            status = post(rig)
            assert (status["error"], status["delivered"], status["ca_bytes"]) == (None, 50, len(pem))
            assert 0 < status["tls_stall_ms"] < 5000  # below the watchdog's 8.388 s, on a machine that may be busy
        assert receiver.requests


def test_a_board_without_room_for_tls_says_so_and_keeps_its_records(tmp_path, today):
    with posting_rig(tmp_path, today, f"https://{HOST}:9/in", trust="none") as rig:
        assert attempt(rig).startswith(f"{HOST}: no memory for TLS: ")
        assert rig.status()["posting"]["waiting"] == 50

"""MQTT over TLS from real MicroPython with Mbed TLS to mosquitto: which broker is trusted, and that posting over https
has its turns beside it, without a record lost."""

import contextlib
import json
import time

import pytest

from host_tests.certificates import REASONS, Certificates
from host_tests.http_receiver import Receiver
from host_tests.mosquitto import Listener, Mosquitto, history_of, history_points
from host_tests.nginx import Nginx, tls_proxy
from host_tests.system.backlog import INTERVAL_S, Backlog
from host_tests.system.rig import HOST, PICO_W_HEAP, Rig, wait_for
from tools import gateway
from tools.device_api import Device

PASSWORD = "correct horse"
CONNECTED_S = 30
TURNS_S = 180  # several of 30 s
RECORDS = 50


@contextlib.contextmanager
def tls_broker(folder, **options):
    """A broker that shows each kind of certificate at a port of its own; and the certificates."""
    certificates = Certificates(HOST)
    files = {name: certificate.write(folder, name) for name, certificate in certificates.servers.items()}
    with Mosquitto(folder / "mosquitto", certificates=files, **options) as broker:
        yield broker, certificates


@contextlib.contextmanager
def mqtt_rig(folder, port, unix_s, services=None, **mqtt):
    """A gateway whose clock is set."""
    mqtt = {"enabled": True, "host": HOST, "port": port, "tls": True, "interval_s": 1, **mqtt}
    config = {"name": "hall", "ntp": {"enabled": False}, "mqtt": mqtt, **(services or {})}
    with Rig(folder, config=config, frozen=True, heap=PICO_W_HEAP) as rig:
        with Device(HOST, rig.http_port) as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            if unix_s:
                device.post("/api/time", {"unix_s": unix_s})
        yield rig


def keep_authority(folder, certificates):
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "ca.pem").write_bytes(certificates.authority.pem)


@pytest.mark.parametrize(("name", "trust", "reason"), [
    *[(name, "ca", reason) for name, reason in REASONS.items()], ("unknown", "none", None),
    ("expired", "pin", None), ("good", "pin", "certificate has changed"),
])  # fmt: skip
def test_only_a_broker_that_is_trusted_hears_anything(tmp_path, name, trust, reason):
    """Pinned is the certificate that has expired: with a pin neither name nor date matter."""
    with tls_broker(tmp_path) as (broker, certificates), Listener(broker) as listener:
        keep_authority(tmp_path, certificates)
        pin = certificates.servers["expired"].sha256 if trust == "pin" else ""
        settings = {"trust": trust, "pin_sha256": pin}
        with mqtt_rig(tmp_path, broker.tls_ports[name], int(time.time()), **settings) as rig:
            if reason is None:
                wait_for(lambda: "meterport/hall/main/active_power" in listener.seen, CONNECTED_S, "values")
                assert rig.status()["mqtt"]["error"] is None
            else:
                wait_for(lambda: rig.status()["mqtt"]["error"] == reason, CONNECTED_S, reason)
                assert listener.all == []
                assert rig.status()["mqtt"]["connections"] == 0
            said = any("not checked" in event["text"] for event in rig.status()["events"])
            assert said == (trust == "none")


def test_without_the_time_an_authority_is_waited_for_and_a_port_without_tls_is_an_error(tmp_path):
    with tls_broker(tmp_path) as (broker, certificates):
        keep_authority(tmp_path, certificates)
        with mqtt_rig(tmp_path, broker.tls_ports["good"], 0) as rig:
            said = wait_for(lambda: rig.status()["mqtt"]["error"], CONNECTED_S, "an error")
            assert said.startswith("time unknown")
            with Device(HOST, rig.http_port) as device:
                device.login(PASSWORD)
                device.post("/api/time", {"unix_s": int(time.time())})
            wait_for(lambda: rig.status()["mqtt"]["state"] == "connected", CONNECTED_S, "a connection")
        with mqtt_rig(tmp_path / "plain", broker.port, int(time.time()), trust="none") as rig:
            said = wait_for(lambda: rig.status()["mqtt"]["error"], CONNECTED_S, "an error")
            assert said in ("closed by the server", "TLS error") or said.startswith("TLS error")


def test_authorities_of_the_broker_are_uploaded_and_count_at_once(tmp_path):
    with (
        tls_broker(tmp_path) as (broker, certificates),
        mqtt_rig(tmp_path, broker.tls_ports["good"], int(time.time()), ca_file="broker.pem") as rig,
    ):
        missing = "no file data/broker.pem with certificates of authorities"
        wait_for(lambda: rig.status()["mqtt"]["error"] == missing, CONNECTED_S, missing)
        with Device(HOST, rig.http_port) as device:
            device.login(PASSWORD)
            device.call("PUT", "/api/mqtt/authorities", certificates.authority.pem)
        wait_for(lambda: rig.status()["mqtt"]["state"] == "connected", CONNECTED_S, "a connection")


def test_posting_over_https_and_mqtt_with_tls_both_deliver_every_record(tmp_path):
    """Both have the same backlog to deliver, with one session at a time. The will is never published."""
    backlog = Backlog(tmp_path, RECORDS)
    backlog.end_s = int(time.time()) // INTERVAL_S * INTERVAL_S
    (https_port,) = gateway.free_ports(1)
    with contextlib.ExitStack() as stack:
        broker, certificates = stack.enter_context(tls_broker(tmp_path))
        receiver = stack.enter_context(Receiver())
        keep_authority(tmp_path, certificates)
        proxy = tls_proxy(https_port, certificates.servers["good"].write(tmp_path, "https"), receiver.port)
        stack.enter_context(Nginx(tmp_path / "nginx", [proxy], [https_port]))
        listener = stack.enter_context(Listener(broker))
        posting = {"url": f"https://{HOST}:{https_port}/in", "interval_s": 60}
        services = {"history": {"flash": True}, "posting": posting}
        rig = stack.enter_context(
            mqtt_rig(tmp_path, broker.tls_ports["good"], backlog.end_s + 20, services, history=True)
        )
        wait_for(lambda: rig.status()["mqtt"]["waiting"] == 0, CONNECTED_S, "MQTT's history")

        def posts():
            return rig.status()["posting"]["posts"]

        wait_for(lambda: rig.status()["posting"]["waiting"] == 0 and posts(), TURNS_S, "posting's turn")
        wait_for(lambda: rig.status()["mqtt"]["connections"] == 2, TURNS_S, "MQTT's return")
        status = rig.status()
        assert status["posting"]["failures"] == 0
        assert (status["mqtt"]["error"], status["mqtt"]["lost"]) == (None, 0)
        records = [record for request in receiver.requests for record in json.loads(request.body)["records"]]
        assert {record["time"] for record in records} >= set(backlog.values)
        found, _ = history_of([listener])
        for i in (0, 1):
            wanted = backlog.points(i)
            assert {key: value for key, value in history_points(found, i).items() if key in wanted} == wanted
        states = [payload for topic, payload, _ in listener.all if topic == "meterport/hall/status"]
        assert set(states) == {"online"}
        assert not [event for event in status["events"] if "another TLS session" in event["text"]]
        assert [event["text"] for event in status["events"]].count(f"connected to {HOST}") == 1

"""Sparkplug B from real MicroPython over mosquitto to two decoders that others wrote: pysparkplug, and Eclipse Tahu's
for JavaScript."""

import contextlib
import json
import subprocess
import time
from pathlib import Path

import pysparkplug
import pytest

from host_tests.mosquitto import Listener, Mosquitto
from host_tests.system.backlog import ENERGIES, NAMES, POWER, Backlog
from host_tests.system.rig import HOST, METERS, READY_S, Rig, quick_to_fail, wait_for
from tools import build, gateway
from tools.device_api import Device
from tools.emulator import node

HERE = Path(__file__).resolve().parent
GROUP = "spBv1.0/meterport"
PASSWORD = "correct horse"
HEARD_S = 60
EXACT = 5e-6  # of /api/readings, which shows six to seven digits
STATE = "spBv1.0/STATE/scada"
RECORDS = 400
LARGE = "elkor-wattson-mcm-60"  # the most points of all kinds
CLASSES = {
    "NBIRTH": pysparkplug.NBirth, "NDATA": pysparkplug.NData, "NDEATH": pysparkplug.NDeath,
    "DBIRTH": pysparkplug.DBirth, "DDATA": pysparkplug.DData, "DDEATH": pysparkplug.DDeath,
}  # fmt: skip


class Host:
    """What it hears, in its order: [(kind, device or "", payload as bytes)]."""

    def __init__(self, listener):
        self._listener = listener

    def heard(self):
        found = []
        for topic, payload, retained in list(self._listener.all):
            if topic == "probe" or topic == STATE:
                continue
            space, group, kind, name, *device = topic.split("/")
            assert (f"{space}/{group}", name, retained) == (GROUP, "test", False)
            if kind != "NCMD":
                found.append((kind, "".join(device), payload))
        return found

    def kinds(self):
        return [(kind, device) for kind, device, _ in self.heard()]

    def count(self, kind, device=""):
        return self.kinds().count((kind, device))

    def decoded(self):
        """[(kind, device, what pysparkplug makes of it)]: data by the last birth of its node or device."""
        births, found = {}, []
        for kind, device, payload in self.heard():
            decoded = CLASSES[kind].decode(payload, birth=births.get(device))
            if kind.endswith("BIRTH"):
                births[device] = decoded
            found.append((kind, device, decoded))
        return found


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture
def host(broker):
    with Listener(broker, decode=bytes) as listener:
        broker.retain("probe", "x")
        wait_for(lambda: "probe" in listener.seen, HEARD_S, "its subscription")
        yield Host(listener)


@pytest.fixture
def start(tmp_path, broker):
    """start(meters, settings, config, unix_s): a gateway that knows the time; `settings` of its MQTT."""
    with contextlib.ExitStack() as stack:

        def begin(meters=METERS, settings=None, config=None, unix_s=None, **options):
            mqtt = {"enabled": True, "host": HOST, "port": broker.port, "interval_s": 1, "payload": "sparkplug"}
            config = {"mqtt": mqtt | (settings or {})} | (config or {})
            rig = stack.enter_context(Rig(tmp_path, config=config, meters=meters, **options))
            with Device(HOST, rig.http_port) as device:
                device.set_password(PASSWORD)
            rig.wait_polled()
            set_time(rig, unix_s)  # only now it connects
            return rig

        yield begin


def set_time(rig, unix_s=None):
    with Device(HOST, rig.http_port) as device:
        device.login(PASSWORD)
        device.post("/api/time", {"unix_s": int(time.time()) if unix_s is None else unix_s})


def ask_for_births(broker):
    now_ms = int(time.time() * 1000)
    metric = pysparkplug.Metric(now_ms, "Node Control/Rebirth", pysparkplug.DataType.BOOLEAN, value=True)
    payload = pysparkplug.NCmd(timestamp=now_ms, metrics=(metric,)).encode(include_dtypes=True)
    broker.publish(f"{GROUP}/NCMD/test", payload)


def tahu(payloads):
    """What Eclipse Tahu's decoder makes of them."""
    cache = build.ROOT / "build" / "sparkplug_payload"
    modules = node.ensure_packages(cache=cache, source=HERE / "sparkplug_payload")
    program, _ = node.find()
    lines = "".join(payload.hex() + "\n" for payload in payloads)
    command = [program, HERE / "sparkplug_decode.mjs", modules]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(metrics):
    return {metric.name: metric for metric in metrics}


def readings(rig):
    """{device: {name: point}}"""
    meters = rig.get("/api/readings")["meters"]
    return {meter["name"]: {point["name"]: point for point in meter["points"]} for meter in meters}


def let_move(rig):
    """From now on values change with each read: what stands still is not sent again."""
    for meter in METERS:
        rig.meter(meter["unit"]).thaw()


def move(rig):
    """Values of all meters are others than before; they stand still again."""
    before = readings(rig)
    let_move(rig)

    def have_moved():
        now = readings(rig)
        return all(now[name]["active_power"]["value"] != before[name]["active_power"]["value"] for name in now)

    wait_for(have_moved, HEARD_S, "other values")
    for meter in METERS:
        rig.meter(meter["unit"]).freeze()

    def have_stopped():
        """What the gateway has is what the meters say from now on."""
        return all(
            point["value"] == pytest.approx(rig.meter(meter["unit"]).expected(point["id"] & 255), rel=EXACT, abs=1e-9)
            for meter in rig.get("/api/readings")["meters"]
            for point in meter["points"]
        )

    wait_for(have_stopped, HEARD_S, "the last values")


def check_sequence(decoded):
    """From each NBIRTH on the numbers follow each other; NDEATH has none."""
    expected = None
    for kind, device, payload in decoded:
        if kind == "NDEATH":
            continue
        expected = 0 if kind == "NBIRTH" else (expected + 1) % 256
        assert payload.seq == expected, (kind, device)


def test_two_decoders_read_each_point_of_each_meter(start, host):
    rig = start()
    wait_for(lambda: host.count("DBIRTH", "socket"), HEARD_S, "births")
    move(rig)

    def told():
        """{device: {name: the last value}}"""
        found = {}
        for _, device, payload in host.decoded():
            if device:
                found.setdefault(device, {}).update({metric.name: metric.value for metric in payload.metrics})
        return found

    def is_told():
        wanted = readings(rig)
        return all(
            told()[device][name] == pytest.approx(point["value"], rel=EXACT)
            for device, points in wanted.items()
            for name, point in points.items()
        )

    wait_for(is_told, HEARD_S, "values of all, as they are now")
    wanted = readings(rig)
    decoded = host.decoded()
    check_sequence(decoded)
    assert decoded[0][:2] == ("NBIRTH", "")
    assert host.kinds()[1:4] == [("DBIRTH", name) for name in wanted]
    node = names(decoded[0][2].metrics)
    assert node["bdSeq"].value == 0
    assert node["Node Control/Rebirth"].value is False
    now_ms = time.time() * 1000
    for _, device, payload in decoded:
        assert abs(payload.timestamp - now_ms) < 120_000
        if device:
            for name, metric in names(payload.metrics).items():
                point = wanted[device][name]
                is_energy = point["unit"].endswith("h")
                assert metric.datatype == (pysparkplug.DataType.INT64 if is_energy else pysparkplug.DataType.FLOAT), (
                    name
                )
                assert metric.alias == point["id"]
                assert 0 <= payload.timestamp - metric.timestamp < 60_000
    heard = [(kind, device, payload) for kind, device, payload in host.heard() if device]
    units, last = {}, {}
    for (kind, device, _), payload in zip(heard, tahu([payload for _, _, payload in heard]), strict=True):
        for metric in payload["metrics"]:
            if kind == "DBIRTH":
                units[metric["alias"]] = (
                    metric["name"],
                    metric.get("properties", {}).get("engUnit", {}).get("value", ""),
                )
            name, unit = units[metric["alias"]]
            point = wanted[device][name]
            assert unit == point["unit"]
            last[device, name] = float(metric["value"])
            assert metric["type"] == ("Int64" if unit.endswith("h") else "Float")

    points = {(device, name): point["value"] for device in wanted for name, point in wanted[device].items()}
    assert last == {key: pytest.approx(value, rel=EXACT) for key, value in points.items()}


def test_a_meter_that_falls_silent_dies_and_is_born_again(start, host):
    rig = start(meters=quick_to_fail(3))
    let_move(rig)
    wait_for(lambda: host.count("DDATA", "socket"), HEARD_S, "values")
    rig.meter(3).silent = True
    wait_for(lambda: host.count("DDEATH", "socket"), HEARD_S, "its death")
    rig.meter(3).silent = False
    wait_for(lambda: host.count("DBIRTH", "socket") == 2, HEARD_S, "its birth")
    wait_for(lambda: host.kinds()[-1] == ("DDATA", "socket"), HEARD_S, "its values")
    decoded = host.decoded()
    check_sequence(decoded)
    kinds = host.kinds()
    death = kinds.index(("DDEATH", "socket"))
    birth = kinds.index(("DBIRTH", "socket"), death)
    assert ("DDATA", "socket") not in kinds[death:birth]
    online = [payload.metrics[0].value for kind, _, payload in decoded if kind == "NDATA"]
    assert online[-3:] == [3, 2, 3]
    stale = [payload for kind, device, payload in host.heard()[:death] if (kind, device) == ("DDATA", "socket")][-1]
    assert {metric["properties"]["Quality"]["value"] for metric in tahu([stale])[0]["metrics"]} == {500}


def test_the_broker_tells_of_the_death_of_a_gateway_and_births_follow(start, host):
    rig = start()
    let_move(rig)
    wait_for(lambda: host.count("DDATA", "main"), HEARD_S, "values")
    rig.gateway.kill()
    wait_for(lambda: host.count("NDEATH"), HEARD_S, "its death")
    rig.gateway.start()
    rig.gateway.wait_ready(READY_S, rig.http_port, rig.modbus_port)
    wait_for(lambda: rig.status()["mqtt"]["state"] == "no_time", HEARD_S, "its start")
    assert host.count("NBIRTH") == 1
    set_time(rig)
    wait_for(lambda: host.count("DBIRTH", "main") == 2, HEARD_S, "births")
    decoded = host.decoded()
    check_sequence(decoded)
    [death] = [payload for kind, _, payload in decoded if kind == "NDEATH"]
    assert death.bd_seq_metric.value == names(decoded[0][2].metrics)["bdSeq"].value


def test_a_host_that_asks_for_births_gets_them(start, host, broker):
    rig = start()
    let_move(rig)
    wait_for(lambda: host.count("DDATA", "main") > 5, HEARD_S, "values")
    ask_for_births(broker)
    wait_for(lambda: host.count("NBIRTH") == 2 and host.kinds()[-1] == ("DDATA", "socket"), HEARD_S, "births")
    check_sequence(host.decoded())
    assert [host.count("DBIRTH", name) for name in ("main", "feeder", "socket")] == [2, 2, 2]
    assert rig.status()["mqtt"]["connections"] == 1


def test_the_largest_meter_has_room_in_a_small_heap(start, host):
    meters = [{"slot": 0, "name": "channels", "unit": 1, "profile": LARGE, "interval_s": 2}]
    rig = start(meters=meters, frozen=True, heap=gateway.FROZEN_HEAP)
    [(name, points)] = readings(rig).items()
    wait_for(lambda: host.count("DBIRTH", name), HEARD_S, "values")
    [birth] = [payload for kind, _, payload in host.heard() if kind == "DBIRTH"]
    print(f"{len(points)} points: a birth of {len(birth)} bytes")
    [decoded] = [payload for kind, _, payload in host.decoded() if kind == "DBIRTH"]
    found = {metric.name: metric.value for metric in decoded.metrics}
    assert found == {key: pytest.approx(point["value"], rel=EXACT) for key, point in points.items()}
    assert len(points) > 100


# -- the history, and the primary host


def say(broker, online, timestamp):
    """As the primary host says it: pysparkplug writes its own."""
    broker.publish(STATE, pysparkplug.State(timestamp=timestamp, online=online).encode(), "-r", "-q", "1")


def past(host):
    """{(device, unix time, number of the point): value} of all historical metrics; what came twice is the same."""
    found = {}
    for kind, device, payload in host.decoded():
        if kind in ("DBIRTH", "DDATA"):
            for metric in payload.metrics:
                if metric.is_historical:
                    key = device, metric.timestamp // 1000, metric.alias & 255
                    assert found.setdefault(key, metric.value) == metric.value
    return found


def of_backlog(backlog):
    return {
        (name, at, number): value
        for at, row in backlog.values.items()
        for name, energy, pair in zip(NAMES, ENERGIES, row, strict=True)
        for number, value in zip((energy, POWER), pair, strict=True)
    }


def test_a_backlog_follows_the_births_as_historical_values_once_the_primary_host_is_online(
    start, host, broker, tmp_path
):
    backlog = Backlog(tmp_path, RECORDS)
    wanted = of_backlog(backlog)
    rig = start(
        settings={"history": True, "primary_host": "scada", "interval_s": 3600}, unix_s=backlog.end_s + 20,
        config={"history": {"flash": True}, "ntp": {"enabled": False}}, frozen=True, heap=gateway.FROZEN_HEAP,
    )  # fmt: skip
    wait_for(lambda: rig.status()["mqtt"]["state"] == "no_host", HEARD_S, "a connection")
    assert host.heard() == []
    say(broker, True, 1000)
    wait_for(lambda: rig.status()["mqtt"]["waiting"] == 0, HEARD_S, "its history")
    wait_for(lambda: len(past(host)) >= len(wanted), HEARD_S, "the last of it")
    found = past(host)
    assert {key: found[key] for key in wanted} == {key: pytest.approx(value) for key, value in wanted.items()}
    check_sequence(host.decoded())
    payloads = [payload for kind, _, payload in host.heard() if kind == "DDATA"]
    historical = [metric for payload in tahu(payloads[:50]) for metric in payload["metrics"]]
    assert historical
    assert all(metric["isHistorical"] for metric in historical)
    status = rig.status()["mqtt"]
    assert (status["delivered"], status["lost"], status["connections"]) == (RECORDS, 0, 1)

    say(broker, False, 1000)
    wait_for(lambda: host.count("NDEATH"), HEARD_S, "its death")
    wait_for(lambda: rig.status()["mqtt"]["state"] == "no_host", HEARD_S, "a connection")
    say(broker, True, 2000)
    wait_for(lambda: host.count("DBIRTH", "socket") == 2, HEARD_S, "births")
    assert host.count("NDEATH") == 1
    check_sequence(host.decoded())

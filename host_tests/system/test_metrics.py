"""GET /metrics on real MicroPython, as Prometheus' own tool reads it."""

import http.client
import re
import subprocess

import pytest

from firmware.config import store
from host_tests.prometheus import Prometheus
from host_tests.system.rig import HOST, Rig, quick_to_fail, wait_for
from tools import debian

SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
JOULES = 3600  # in a watt-hour
SCRAPED_S = 30


def text_of(rig):
    connection = http.client.HTTPConnection(HOST, rig.http_port, timeout=20)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        assert response.status == 200
        assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        return response.read().decode()
    finally:
        connection.close()


def samples(text):
    """{(metric, meter or None, point or None): text of the value}"""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        labels = dict(LABEL.findall(labels or ""))
        found[name, labels.get("slot"), labels.get("point") or labels.get("reason")] = value
    return found


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    config = {
        "name": 'site "A" \\ east', "history": {"flash": True}, "posting": {"url": f"http://{HOST}:9/"},
        "mqtt": {"enabled": True, "host": HOST, "port": 9, "history": True},
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "data").mkdir()
    for name in ("posting", "mqtt_history"):
        store.save(str(folder / "data" / name), b"0 0 7 0")  # lost in an earlier boot
    with Rig(folder, config=config) as rig:
        rig.wait_polled()
        yield rig


def test_promtool_finds_nothing_wrong(rig):
    promtool = debian.unpack("prometheus") / "usr" / "bin" / "promtool"
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text_of(rig), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_each_reading_is_there_once_in_its_base_unit(rig):
    found = samples(text_of(rig))
    for meter in rig.get("/api/readings")["meters"]:
        for point in meter["points"]:
            own = [
                value for (_, slot, name), value in found.items() if (slot, name) == (str(meter["slot"]), point["name"])
            ]
            factor = JOULES if point["unit"].endswith("h") else 1
            assert [float(value) for value in own] == [pytest.approx(point["value"] * factor, rel=1e-9)], point
            if factor == JOULES:
                assert own == [str(point["value"] * JOULES)]  # all digits


def test_names_are_quoted_and_counters_agree_with_the_api(rig):
    text = text_of(rig)
    assert 'meterport_info{name="site \\"A\\" \\\\ east",' in text
    found, sockets = samples(text), rig.get("/api/sockets")
    assert int(found["meterport_sockets_limit", None, None]) == sockets["limit"]
    assert {k[2]: int(v) for k, v in found.items() if k[0] == "meterport_connections_closed_total"} == sockets[
        "evictions"
    ]
    assert found["meterport_meter_up", "0", None] == "1"
    assert found["meterport_history_lost_total", None, None] == "0"
    for name in ("posting", "mqtt_history"):
        assert found[f"meterport_{name}_lag_seconds", None, None] == "0"
        assert found[f"meterport_{name}_lost_total", None, None] == "0"
    assert [rig.status()[name]["lost"] for name in ("posting", "mqtt")] == [7, 7]
    assert found["meterport_posting_failures_total", None, None] == "0"


def test_a_silent_meter_is_down_and_its_readings_are_left_out(make_rig):
    rig = make_rig(meters=quick_to_fail(2))
    rig.wait_polled()
    rig.meter(2).silent = True
    wait_for(lambda: samples(text_of(rig))["meterport_meter_up", "1", None] == "0", what="the meter is down")
    found = samples(text_of(rig))
    assert ("meterport_frequency_hertz", "0", "frequency") in found
    assert ("meterport_frequency_hertz", "1", "frequency") not in found


def test_prometheus_scrapes_it_by_the_settings_of_the_documents(make_rig, tmp_path):
    rig = make_rig(meters=quick_to_fail(2))
    rig.wait_polled()
    with Prometheus(tmp_path / "prometheus", f"{HOST}:{rig.http_port}") as prometheus:
        wait_for(lambda: prometheus.query("meterport_meter_up"), SCRAPED_S, "samples")
        assert prometheus.query("up") == [({"__name__": "up", "instance": f"{HOST}:{rig.http_port}",
                                            "job": "meterport"}, 1.0)]  # fmt: skip
        ((labels, value),) = prometheus.query('meterport_voltage_volts{meter="main",point="voltage_l1"}')
        assert labels["slot"] == "0"
        assert value == pytest.approx(rig.meter(1).expected(1), rel=1e-5)
        ((_, joules),) = prometheus.query('meterport_energy_joules_total{meter="main",point="energy_import"}')
        assert joules == pytest.approx(JOULES * rig.meter(1).expected(32), rel=1e-12)
        rig.meter(2).silent = True
        wait_for(lambda: not prometheus.query('meterport_frequency_hertz{meter="feeder"}'), SCRAPED_S, "a series' end")
        assert prometheus.query('meterport_meter_up{meter="feeder"}')[0][1] == 0
    assert [slot["kind"] for slot in rig.sockets()["slots"]].count("http") <= 2  # its own, and the listener's

"""Records on flash by the whole firmware on real MicroPython: taken at the end of each interval, kept over restarts,
read back as JSON and CSV number by number."""

import http.client
import time

import pytest

from host_tests.system.rig import HOST, Rig, wait_for
from tools.device_api import Device

PASSWORD = "correct horse"
NOON = 1_800_014_400  # a multiple of a day and of the interval
INTERVAL_S = 300
SAMPLE_S = 10  # of power


@pytest.fixture
def rig(tmp_path):
    with Rig(tmp_path, config={"ntp": {"enabled": False}, "history": {"flash": True}}) as rig:
        rig.wait_polled()
        yield rig


def taken(rig):
    return rig.get("/api/history")["records"]["taken"]


def take_record(device, rig, slot):
    """Sets the clock shortly before the end of an interval, and waits for the record of it."""
    before = taken(rig)
    device.post("/api/time", {"unix_s": slot * INTERVAL_S - 2})
    wait_for(lambda: taken(rig) > before, 20, "a record")


def energies(rig):
    """The energies of a record as the virtual meters have them: firmware and meters know nothing of each other."""
    points = {meter.unit: rig.points(meter.unit) for meter in rig.line.meters}
    return [
        next(points[unit][number]["value"] for number in (32, 40) if number in points[unit]) for unit in sorted(points)
    ]


def test_records_outlive_restarts_and_say_what_the_meters_said(rig):
    slot = NOON // INTERVAL_S
    with Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)
        device.login(PASSWORD)
        take_record(device, rig, slot)
        time.sleep(SAMPLE_S)
        take_record(device, rig, slot + 7)
        wanted = energies(rig)
        status = rig.get("/api/history")["records"]
        assert (status["pending"], status["lost"], status["error"]) == (2, 0, None)
        device.reboot()
    rig.wait_polled()
    document = rig.get("/api/records?from=0")
    assert document["interval_s"] == INTERVAL_S
    assert [row[:2] for row in document["records"]] == [[slot * INTERVAL_S, None], [(slot + 7) * INTERVAL_S, None]]
    for row in document["records"]:
        assert row[2 : 2 + len(wanted)] == wanted
    for series, value in zip(document["series"], document["records"][1][2:], strict=True):
        assert value == pytest.approx(rig.points(series["id"] // 256 + 1)[series["id"] % 256]["value"], abs=0.5)
    connection = http.client.HTTPConnection(HOST, rig.http_port, timeout=20)
    connection.request("GET", "/api/records?from=0&format=csv&meter=0")
    lines = connection.getresponse().read().decode().split("\r\n")
    connection.close()
    assert lines[0] == 'time,uptime_s,quality,"main energy_import Wh","main active_power W"'
    at = time.gmtime(NOON + 7 * INTERVAL_S)
    assert lines[2].startswith(time.strftime("%Y-%m-%dT%H:%M:%SZ", at) + ",,good,")
    assert lines[3:] == [""]

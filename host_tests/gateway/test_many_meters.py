"""Many meters on one bus: pages, configuration and Modbus beside each other, on real MicroPython with all services on.

In 128 KiB as many as fit, in 160 KiB as many of the largest kind as a bus has: a Pico W has 188, an ESP32 as much."""

import contextlib
import json

import pytest

from host_tests.gateway.rig import HOST, Poller, Rig, wait_for, words
from tools.device_api import Device

PASSWORD = "correct horse"
CLIENTS = 8
# As a browser's page asks.
DOCUMENTS = (
    "/", "/api/session", "/api/history", "/api/readings", "/api/status", "/api/schema", "/api/profiles", "/api/config",
    "/api/bus", "/api/sockets", "/api/readings", "/api/status",
)  # fmt: skip
SMALL = ["eastron-sdm120"] * 10
KINDS = ["eastron-sdm630"] + ["eastron-sdm120", "pzem-004t-v3"] * 3 + ["eastron-sdm120"]
LARGE = ["eastron-sdm630"] * 32


def configured(kinds):
    return [
        {"slot": k, "name": f"meter {k + 1}", "unit": k + 1, "profile": kind, "interval_s": 2, "max_age_s": 60}
        for k, kind in enumerate(kinds)
    ]


@pytest.fixture(
    params=[(SMALL, "128K"), (KINDS, "128K"), (LARGE, "160K")],
    ids=["10 small ones", "8 of three kinds", "32 large ones, 160K"],
)
def rig(request, tmp_path):
    kinds, heap = request.param
    with Rig(tmp_path, meters=configured(kinds), heap=heap) as rig:
        # The time client's first question is over: until then its code is in the heap.
        wait_for(lambda: any("no time from" in line for line in rig.gateway.lines), 30, "the end of the first question")
        yield rig


@contextlib.contextmanager
def clients(rig):
    """Poll all blocks of all meters, each some of them; check() says that no poll was lost."""
    meters = [meter.unit for meter in rig.line.meters]
    with contextlib.ExitStack() as stack:
        pollers = []
        for first in range(CLIENTS):
            reads = []
            for unit in meters[first::CLIENTS]:
                meter = rig.meter(unit)
                for block in meter.profile.blocks(meter.profile.gap):
                    reads.append((unit, *block, words(meter.registers(*block))))
            pollers.append(stack.enter_context(Poller(rig.modbus_port, reads, 0.02)))

        def check():
            for poller in pollers:
                poller.check()

        yield check
        check()


def look_at_all(device):
    """As somebody who goes through the page. Nothing may be refused."""
    for path in DOCUMENTS:
        status, _, body = device.request("GET", path)
        assert status == 200, f"{path}: {body!r}"
    ids = json.loads(device.request("GET", "/api/history")[2])["points"]
    for point in ids[:3]:
        assert device.get(f"/api/history?point={point}")["id"] == point


def test_pages_and_configuration_work_beside_eight_clients(rig):
    count = len(rig.line.meters)
    with Device(HOST, rig.http_port) as device:
        with clients(rig) as check:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            for _ in range(2):
                look_at_all(device)
                check()
            config = device.config()
            assert len(config["meters"]) == count
            config["meters"][1]["name"] = "another name"
            config["meters"][-1]["unit"] = 200
            assert device.save(config) == ["configuration"]
            check()
            assert device.config() == config
            look_at_all(device)
            states = {meter["state"] for meter in device.get("/api/status")["meters"]}
            assert states == {"online"}
        device.reboot()
        status = device.get("/api/status")
        assert status["config"] == {"source": "file", "errors": []}
        assert [meter["name"] for meter in status["meters"]] == [meter["name"] for meter in config["meters"]]
        assert [meter["unit"] for meter in status["meters"]] == [meter["unit"] for meter in config["meters"]]

"""BACnet clients of npm read the gateway, and they and bacpypes3 write where the configuration allows it, with a
priority, on an Ethernet of their own with real broadcasts."""

import json
import re
import sys
from pathlib import Path

import pytest

from host_tests.interop.bacnet_network import CLIENT, GATEWAY, PORT, BacnetNetwork, run
from host_tests.system.rig import Rig
from tools import build
from tools.emulator import node

HERE = Path(__file__).resolve().parent
PACKAGES = HERE / "bacnet_clients"
INSTANCE = 1234
CONFIG = {
    "bacnet": {"enabled": True, "port": PORT, "instance": INSTANCE, "allow_writes": True},
    "finder": {"enabled": False},
    "posting": {"enabled": False},
}


@pytest.fixture(scope="module")
def network():
    with BacnetNetwork() as network:
        yield network


@pytest.fixture(scope="module")
def rig(network, tmp_path_factory):
    with network.gateway.running(Rig(tmp_path_factory.mktemp("bacnet"), config=CONFIG)) as rig:
        network.gateway.call(rig.wait_polled)
        yield rig


@pytest.fixture(scope="module", params=["node-bacnet", "@bacnet-js/client"])
def npm(network, rig, request):
    """(name of the package, what it found)."""
    modules = node.ensure_packages(cache=build.ROOT / "build" / "bacnet_clients", source=PACKAGES)
    program, _ = node.find()
    output = network.client.call(
        run, program, HERE / "npm_client.mjs", modules, request.param, CLIENT, GATEWAY, str(INSTANCE)
    )
    return request.param, json.loads(output.splitlines()[-1])


def test_a_client_of_npm_finds_the_gateway_and_reads_all_its_points(network, rig, npm):
    _, found = npm
    assert found["device"] == INSTANCE
    assert found["name"]
    assert found["objects"][0] == [8, INSTANCE]
    meters = network.gateway.call(rig.get, "/api/readings")["meters"]
    points = {point["id"]: (meter["name"], point) for meter in meters for point in meter["points"]}
    assert len(found["points"]) == len(found["objects"]) - 1 > 10
    for instance, name, value in found["points"]:
        meter, point = points[instance]
        assert name == f"{meter}.{point['name']}"
        expected = point["value"] / 1000 if point["unit"].endswith("h") else point["value"]
        assert value == pytest.approx(expected, rel=1e-4)
    assert found["one"] == pytest.approx(found["points"][0][2])


def test_a_client_of_npm_is_told_of_a_value(npm):
    _, found = npm
    assert found["notified"] == found["objects"][1][1]


def test_a_client_of_npm_writes_with_a_priority_and_without(npm):
    name, found = npm
    assert found["location"] == f"room of {name}"
    assert found["description"] == "written"
    assert re.search(r"\b40\b", found["refused"]), found["refused"]  # write-access-denied


def test_bacpypes3_writes_with_a_priority_and_without(network, rig, npm):
    identifier = f"analog-input,{npm[1]['objects'][1][1]}"
    output = network.client.call(
        run, sys.executable, HERE / "bacpypes3_write.py", f"{CLIENT}/24", GATEWAY, str(INSTANCE), identifier
    )
    assert json.loads(output.splitlines()[-1]) == {
        "location": "third floor",
        "object-name": "written by bacpypes3",
        "cov-increment": 2.5,
        "refused": {
            "present-value": "property: write-access-denied",
            "cov-increment": "property: value-out-of-range",
            "units": "property: write-access-denied",
        },
    }

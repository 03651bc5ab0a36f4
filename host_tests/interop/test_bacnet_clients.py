"""BACnet clients that others wrote, on an Ethernet of their own with real broadcasts: bacpypes3, BAC0, nmap's script.
tshark takes apart every packet that passed meanwhile."""

import json
import re
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from host_tests.interop.bacnet_network import CLIENT, GATEWAY, PORT, BacnetNetwork, Capture, run
from host_tests.system.rig import Rig
from tools import debian, gateway

HERE = Path(__file__).resolve().parent
INSTANCE = 1234
LIFETIME_S = 8
CONFIG = {
    "bacnet": {"enabled": True, "port": PORT, "instance": INSTANCE, "energy_in_wh": True},
    "finder": {"enabled": False},
    "posting": {"enabled": False},
}
UNITS = {"V": "volts", "A": "amperes", "W": "watts", "Hz": "hertz", "var": "volt-amperes-reactive",
         "VA": "volt-amperes", "Wh": "kilowatt-hours", "": "no-units"}  # fmt: skip


@pytest.fixture(scope="module")
def network():
    with BacnetNetwork() as network:
        yield network


@pytest.fixture(scope="module")
def rig(network, tmp_path_factory):
    rig = Rig(tmp_path_factory.mktemp("bacnet"), config=CONFIG, frozen=True, heap=gateway.FROZEN_HEAP)
    with network.gateway.running(rig):
        network.gateway.call(rig.wait_polled)
        yield rig


@pytest.fixture(scope="module")
def capture(network, rig, tmp_path_factory):
    """Of all that the other fixtures do."""
    with Capture(network, tmp_path_factory.mktemp("capture")) as capture:
        yield capture


@pytest.fixture(scope="module")
def points(network, rig):
    """{instance: (meter's name, point) of /api/readings} of what the gateway shows by BACnet."""
    meters = network.gateway.call(rig.get, "/api/readings")["meters"]
    return {point["id"]: (meter["name"], point) for meter in meters for point in meter["points"]}


@pytest.fixture(scope="module")
def bacpypes3(network, rig, capture):
    """What bacpypes3 found, while the power of the first meter changed each half second."""
    stopping = threading.Event()

    def change():
        power = 1000.0
        while not stopping.wait(0.5):
            power += 100
            for name in ("voltage_l1", "active_power"):
                rig.meter(1).set(name, power)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        output = network.client.call(
            run, sys.executable, HERE / "bacpypes3_client.py", f"{CLIENT}/24", GATEWAY, str(LIFETIME_S)
        )
    finally:
        stopping.set()
        changing.join()
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def bac0(network, rig, capture, bacpypes3, tmp_path_factory):
    """After bacpypes3, which has the same port."""
    command = (sys.executable, str(HERE / "bac0_client.py"), f"{CLIENT}/24", GATEWAY, str(INSTANCE))
    output = network.client.call(partial(run, *command, cwd=tmp_path_factory.mktemp("bac0")))
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def nmap(network, rig, capture, bac0):
    program = debian.ensure_packages({"nmap": "nmap"})["nmap"]
    return network.client.call(
        run, program, "-sU", "-Pn", "-n", "-p", str(PORT), "--script", "bacnet-info", GATEWAY
    )  # fmt: skip


def test_bacpypes3_finds_the_gateway_by_local_and_by_global_broadcast(bacpypes3):
    assert bacpypes3["local"] == [f"device,{INSTANCE}"]
    assert bacpypes3["global"] == f"device,{INSTANCE}"
    assert bacpypes3["vendor"] == 999
    assert bacpypes3["others"] == 0


def test_bacpypes3_finds_an_object_by_broadcast(bacpypes3):
    identifier, name = bacpypes3["have"][0]
    assert len(bacpypes3["have"]) == 1
    assert identifier == bacpypes3["objects"][1]
    assert name == bacpypes3["properties"][identifier]["object-name"]


def test_bacpypes3_lists_the_objects_at_once_and_by_index(bacpypes3):
    assert bacpypes3["objects"][0] == f"device,{INSTANCE}"
    assert bacpypes3["by index"] == bacpypes3["objects"]


def test_bacpypes3_reads_each_property_of_each_object(bacpypes3, points):
    energies = 0
    for identifier, properties in bacpypes3["properties"].items():
        kind, instance = identifier.split(",")
        assert properties["object-identifier"] == identifier
        assert properties["object-type"] == kind
        if kind == "device":
            assert properties["object-name"] == "test"
            assert properties["protocol-revision"] == "14"
            assert properties["system-status"] == "operational"
            continue
        meter, point = points[int(instance)]
        exact = kind == "large-analog-value"
        energies += exact
        assert properties["object-name"] == f"{meter}.{point['name']}" + exact * "_wh"
        assert properties["status-flags"] == ""
        assert properties["reliability"] == "no-fault-detected"
        if kind == "analog-input" and not point["name"].startswith("power_factor"):
            assert properties["units"] == UNITS[point["unit"]]
    assert energies


def test_bacpypes3_reads_all_of_an_object_with_one_request(bacpypes3):
    clock = {"local-time", "local-date", "present-value"}
    for identifier, properties in bacpypes3["properties"].items():
        some = {name: value for name, value in properties.items() if name not in clock}
        found = bacpypes3["all"][identifier]
        assert {name: value for name, value in found.items() if name not in clock} == some


def test_bacpypes3_understands_each_error(bacpypes3):
    assert bacpypes3["errors"] == [
        "object: unknown-object", "object: unknown-object", "property: unknown-property",
        "property: property-is-not-an-array", "property: invalid-array-index",
    ]  # fmt: skip
    assert bacpypes3["write"] == "property: write-access-denied"


def test_bacpypes3_is_told_of_changes_as_long_as_its_subscription_lives(bacpypes3):
    told = [(value, at_s) for name, value, at_s in bacpypes3["notified"] if name == "present-value"]
    assert len({value for value, _ in told}) > 3
    assert LIFETIME_S - 3 < max(at_s for _, at_s in told) < LIFETIME_S + 1.5
    assert bacpypes3["left"] == 0


def test_bac0_finds_the_gateway_and_reads_all_its_points(bac0, bacpypes3, points):
    assert bac0["name"] == "test"
    assert any(str(INSTANCE) in each for each in bac0["discovered"])
    assert len(bac0["points"]) == len(bacpypes3["objects"]) - 1
    for name, (kind, instance, value, description) in bac0["points"].items():
        meter, point = points[int(instance)]
        assert name.removesuffix("_wh") == f"{meter}.{point['name']}"
        assert f"unit {1 + (int(instance) >> 8)}" in description
        if meter != "main" and kind == "analog-input":
            expected = point["value"] / 1000 if point["unit"].endswith("h") else point["value"]
            assert float(value) == pytest.approx(expected, rel=1e-4, abs=1e-2)


def test_nmap_sees_what_it_is(nmap):
    assert re.search(rf"Object-identifier: {INSTANCE}\b", nmap), nmap
    assert re.search(r"Object Name: test\b", nmap), nmap
    assert re.search(r"Model Name: meterport", nmap), nmap
    assert re.search(r"Vendor ID: .*999", nmap), nmap


def test_tshark_finds_no_malformed_packet(nmap, capture):
    """Once all the others are done."""
    deadline = time.monotonic() + 10
    while len(capture.lines(f"bvlc && ip.src == {GATEWAY}")) < 300:
        assert time.monotonic() < deadline, capture.lines("udp")[-20:]
    assert capture.lines(f"_ws.malformed && ip.src == {GATEWAY}") == []
    assert capture.lines(f"ip.src == {GATEWAY} && udp && !bacapp && !bvlc") == []
    assert capture.lines(f'ip.src == {GATEWAY} && _ws.expert.severity == "Error"') == []

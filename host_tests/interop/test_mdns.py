"""python-zeroconf finds the gateway's servers by multicast DNS on an Ethernet of their own; tshark takes the packets
apart."""

import json
import sys
from pathlib import Path

import pytest

from host_tests.interop.bacnet_network import CLIENT, GATEWAY, BacnetNetwork, Capture, run
from host_tests.system.rig import Rig, wait_for

HERE = Path(__file__).resolve().parent
SECONDS = 20
NETWORK = {"dhcp": False, "address": GATEWAY, "netmask": "255.255.255.0", "hostname": "gate"}
CONFIG = {
    "name": "Main hall", "network": NETWORK, "finder": {"mdns": True}, "bacnet": {"enabled": True, "port": 47808},
    "posting": {"enabled": False},
}  # fmt: skip
TYPES = ("_http._tcp.local.", "_modbus._tcp.local.", "_bacnet._udp.local.")


@pytest.fixture(scope="module")
def network():
    with BacnetNetwork() as network:
        yield network


@pytest.fixture
def rig(network, tmp_path):
    with network.gateway.running(Rig(tmp_path, config=CONFIG, meters=())) as rig:
        yield rig


def test_zeroconf_finds_each_server(network, rig, tmp_path):
    ports = dict(zip(TYPES, (rig.http_port, rig.modbus_port, 47808), strict=True))
    with Capture(network, tmp_path) as capture:
        output = network.client.call(run, sys.executable, HERE / "zeroconf_client.py", CLIENT, str(SECONDS), *TYPES)
        found = json.loads(output)
        for kind, port in ports.items():
            name, host, found_port, addresses, told = found[kind]
            assert (name, host, found_port, addresses) == (f"Main hall.{kind}", "gate.local.", port, [GATEWAY])
            assert len(told["serial"]) == 12
            assert told["model"]
        wait_for(lambda: capture.lines(f"mdns && ip.src == {GATEWAY}"), SECONDS, "packets")
        assert capture.lines(f"_ws.malformed && ip.src == {GATEWAY}") == []

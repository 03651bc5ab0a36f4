"""What a request costs of the heap, on 32-bit MicroPython: nothing, when it repeats one from memory."""

import json
import os
import socket
import struct
import subprocess

import pytest

from host_tests.system.rig import HOST
from tools import build, sim
from tools.gateway import find_frozen, free_ports, write_config
from tools.virtual_line import VirtualLine
from tools.virtual_meters import default_meters

REQUESTS = 10000
# The once-a-second housekeeping allocates as well, for some seconds: far less than one word for each request.
HOUSEKEEPING = 4 * REQUESTS
SCRIPTS = build.ROOT / "host_tests" / "on_micropython"
SCRIPT = SCRIPTS / "heap_of_requests.py"
BACNET_REQUESTS = 100


def ask(port, requests):
    """Requests one after the other until the other side goes."""
    asked = 0
    with socket.create_connection((HOST, port), timeout=30) as connection, connection.makefile("rb") as replies:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            unit, function, first, count = requests[asked % len(requests)]
            asked += 1
            try:
                connection.sendall(struct.pack(">HHHBBHH", asked & 0xFFFF, 0, 6, unit, function, first, count))
                head = replies.read(9 + 2 * count)[:9]
            except ConnectionError:
                return
            if not head:
                return
            assert head == struct.pack(">HHHBBB", asked & 0xFFFF, 0, 3 + 2 * count, unit, function, 2 * count)


@pytest.mark.parametrize(
    "requests",
    [[(1, 4, 0, 10)], [(2, 3, 0x220, 40)], [(1, 4, 0, 36), (2, 3, 0x220, 40), (3, 4, 0, 10), (1, 4, 0, 2)]],
    ids=["10 registers", "40 registers", "four reads in turn"],
)
def test_a_repeated_read_from_memory_allocates_nothing(tmp_path, requests):
    (port, http, finder) = free_ports(3)
    still = [{**meter, "interval_s": 3600, "max_age_s": 3600} for meter in sim.DEFAULT_CONFIG["meters"]]
    config = {
        "modbus": {"port": port}, "http": {"port": http}, "finder": {"port": finder}, "meters": still,
        "buses": [{"uart": "bus0"}],
    }  # fmt: skip
    write_config(tmp_path, sim.merge(sim.DEFAULT_CONFIG, config))
    with VirtualLine(default_meters(), 9600, link=str(tmp_path / "bus0")):
        firmware = subprocess.Popen(
            [find_frozen(print), "-X", "heapsize=190K", str(SCRIPT), str(REQUESTS)],
            cwd=tmp_path,
            env={**os.environ, "MICROPYPATH": ".frozen"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for line in firmware.stdout:
                if line.startswith("asked for"):
                    ask(port, requests)
                elif line.startswith("{"):
                    found = json.loads(line)
            assert firmware.wait(30) == 0
        finally:
            firmware.kill()
            firmware.wait()
            firmware.stdout.close()
    assert found["requests"] >= REQUESTS
    assert found["bytes"] < HOUSEKEEPING, f"{found['bytes'] / found['requests']:.1f} bytes a request"
    print(found)


def test_a_bacnet_read_allocates_nothing(tmp_path):
    (modbus, http, finder, bacnet) = free_ports(4)
    config = {
        "modbus": {"port": modbus}, "http": {"port": http}, "finder": {"port": finder},
        "bacnet": {"enabled": True, "port": bacnet}, "buses": [{"uart": "bus0"}],
    }  # fmt: skip
    write_config(tmp_path, sim.merge(sim.DEFAULT_CONFIG, config))
    with VirtualLine(default_meters(), 9600, link=str(tmp_path / "bus0")):
        done = subprocess.run(
            [find_frozen(print), "-X", "heapsize=1M", SCRIPTS / "heap_of_bacnet.py", str(BACNET_REQUESTS)],
            cwd=tmp_path,
            env={**os.environ, "MICROPYPATH": ".frozen"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found == dict.fromkeys(("a device's vendor", "units", "present value", "20 present values"), 0)

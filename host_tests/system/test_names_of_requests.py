"""Nothing that a client sends is kept for good: MicroPython never forgets a text that it interned.

On the frozen 32-bit MicroPython, where interned names lie in the heap as on a chip.
"""

import json
import subprocess
from pathlib import Path

import pytest

from tools import gateway

SCRIPT = Path(__file__).resolve().parent.parent / "on_micropython" / "names_of_requests.py"
ROUNDS, SAVES = 100_000, 2_000
HEAP_TOLERANCE = 256  # bytes


@pytest.mark.timeout(900)
def test_100000_different_requests_by_every_door_leave_no_name_and_no_memory_behind(tmp_path):
    http_port, modbus_port, finder_port = gateway.free_ports(3)
    config = {
        "http": {"port": http_port, "public_status": True, "commissioning": True},
        "modbus": {"port": modbus_port}, "ntp": {"enabled": False},
        "finder": {"bind": "127.0.0.1", "port": finder_port}, "buses": [{"uart": "nowhere"}], "meters": [],
    }  # fmt: skip
    gateway.write_config(tmp_path, config)
    argv = [gateway.find_frozen(print), "-X", "heapsize=96K", SCRIPT, str(ROUNDS), str(SAVES)]
    done = subprocess.run(
        argv, cwd=tmp_path, env={"MICROPYPATH": ".frozen"}, capture_output=True, text=True, timeout=800
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    lines = done.stdout.splitlines()
    names = [line for line in lines if line.startswith("qstr pool:")]
    before, after = [json.loads(line) for line in lines if line.startswith("{")]
    print(names, before, after)
    assert names[0] == names[1], "a text that came in was interned"
    assert after["heap"] - before["heap"] <= HEAP_TOLERANCE
    assert sum(after["statuses"].values()) >= 4 * ROUNDS + 9 * SAVES
    assert set(after["statuses"]) >= {"200", "400", "403", "404", "405", "421", "422"}, "all doors were reached"
    assert "500" not in after["statuses"]
    assert "503" not in after["statuses"]

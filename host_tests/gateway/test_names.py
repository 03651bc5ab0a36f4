"""The names that MicroPython keeps for good: its table grows by half of itself at once, and the next step would take
nine of the 128 KiB."""

import os
import re
import subprocess

from tools import build, micropython, sim
from tools.gateway import free_ports, write_config

SCRIPT = build.ROOT / "host_tests" / "upy" / "names_of_modules.py"
ROOM = 1260  # of the pools of 20, 40, ... 640 names


def test_all_modules_loaded_once_leave_the_table_of_names_as_it_is(tmp_path):
    http_port, modbus_port = free_ports(2)
    ports = {"http": {"port": http_port}, "modbus": {"port": modbus_port}}
    write_config(tmp_path, sim.merge(sim.DEFAULT_CONFIG, ports))
    build.build(tmp_path / "device")
    (tmp_path / ".fw").symlink_to("device")
    done = subprocess.run(
        [str(micropython.ensure()), "-X", "heapsize=512K", str(SCRIPT)],
        cwd=tmp_path, env={**os.environ, "MICROPYPATH": ".fw:.fw/lib:.frozen"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    names = re.findall(r"^Q\((.*)\)$", done.stdout, re.MULTILINE)
    script = SCRIPT.read_text()
    sources = "".join(path.read_text() for top in ("firmware", "lib") for path in (build.ROOT / top).rglob("*.py"))
    ours = [name for name in names if name not in script or name in sources]
    assert 1000 < len(ours) <= ROOM, f"{len(ours)}: rename, make constants private, or use bytes for short texts"

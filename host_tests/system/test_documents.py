"""What README and docs tell a reader to type works: the commands that ask the simulated gateway, the example scripts,
and the tour of adding a meter, each on real MicroPython as `make sim` starts it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest

from host_tests.documents import CLI, ROOT, RUN_ON_THE_SIM, commands
from host_tests.system.rig import wait_for
from tools import debian
from tools.device_api import Device
from tools.gateway import free_ports

PASSWORD = "correct horse"
HOST = "127.0.0.1"


@contextmanager
def sim(*options):
    """`make sim` on free ports: (HTTP port, Modbus port), once its meters have been read."""
    command = [sys.executable, "-m", "tools.sim", "--http-port", "0", "--modbus-port", "0", *map(str, options)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        ready = re.fullmatch(r"ready http=127.0.0.1:(\d+) modbus=127.0.0.1:(\d+)\n", process.stdout.readline())
        assert ready, "the simulated gateway did not start"
        ports = int(ready[1]), int(ready[2])
        wait_for(lambda: all(meter["state"] == "online" for meter in readings(ports)), 20, "meters that are online")
        yield ports
    finally:
        process.terminate()
        process.communicate(timeout=30)


def readings(ports):
    with urllib.request.urlopen(f"http://{HOST}:{ports[0]}/api/readings", timeout=10) as response:
        return json.load(response)["meters"]


@pytest.fixture(scope="module")
def ports():
    with sim() as ports:
        yield ports


def run(command, **env):
    return subprocess.run(
        command, shell=isinstance(command, str), cwd=ROOT, check=True, capture_output=True, text=True, timeout=60,
        env={**os.environ, **env},
    ).stdout  # fmt: skip


ASKING = sorted({command for _, _, command in commands() if command.startswith(RUN_ON_THE_SIM[:2])})


def test_the_documents_ask_by_curl_and_by_mbpoll():
    assert {command.split()[0] for command in ASKING} == {"curl", "mbpoll"}


@pytest.mark.parametrize("command", ASKING)
def test_a_command_of_the_documents_gets_an_answer(ports, command):
    path = debian.ensure_packages({"curl": "curl", "mbpoll": "mbpoll"})[command.split()[0]]
    command = command.replace(":8080", f":{ports[0]}").replace("-p 1502", f"-p {ports[1]}")
    output = run(path + command[command.index(" ") :])
    if "mbpoll" in path:
        count = int(re.search(r"-c (\d+)", command)[1])
        assert len(re.findall(r"^\[\d+\]:\s+\S+", output, re.MULTILINE)) == count
    else:
        assert json.loads(output)


def test_mbpoll_of_the_readme_reads_the_voltages_that_the_page_shows(ports):
    (command,) = [command for command in ASKING if "-a 1 -t 3:float" in command]
    debian.ensure_packages({"mbpoll": "mbpoll"})
    output = run(command.replace("-p 1502", f"-p {ports[1]}"))
    voltages = [float(text) for text in re.findall(r"^\[\d+\]:\s+(\S+)", output, re.MULTILINE)]
    points = {point["name"]: point["value"] for point in readings(ports)[0]["points"]}
    assert voltages == pytest.approx([points[f"voltage_l{phase}"] for phase in (1, 2, 3)], abs=15)


def test_read_unit255_prints_health_and_points(ports):
    output = run(
        [sys.executable, "examples/read_unit255.py", HOST, "--port", str(ports[1]), "--slot", "0", "--slot", "2"]
    )
    assert "3 of 3 meters online" in output
    assert re.search(r"slot 0 voltage_l1 V: 2\d\d(\.\d+)?, \d s old, good", output)
    assert re.search(r"slot 2 energy_total Wh: \d+", output)


def test_backup_all_keeps_the_configuration_that_the_device_has(ports, tmp_path):
    with Device(HOST, ports[0]) as device:
        device.set_password(PASSWORD)
    script = [sys.executable, "examples/backup_all.py", str(tmp_path), f"{HOST}:{ports[0]}"]
    run(script, METERPORT_PASSWORD=PASSWORD)
    (kept,) = tmp_path.iterdir()
    assert [meter["name"] for meter in json.loads(kept.read_text())["meters"]] == ["main", "feeder", "socket"]


CLI_COMMANDS = [(page, command) for page, _, command in commands() if command.startswith(CLI)]


@pytest.mark.parametrize("page", sorted({page for page, _ in CLI_COMMANDS}))
def test_the_command_line_does_what_a_page_says(page, tmp_path):
    """One command after the other, on a gateway of the page's own."""
    (finder_port,) = free_ports(1)
    config = tmp_path / "finder.json"
    config.write_text(json.dumps({"finder": {"port": finder_port}}))
    with sim("--config", config) as ports:
        if "set-password" not in "".join(command for where, command in CLI_COMMANDS if where == page):
            with Device(HOST, ports[0]) as device:
                device.set_password(PASSWORD)
        for where, command in CLI_COMMANDS:
            if where == page:
                run_cli(command, ports, finder_port, tmp_path)


def run_cli(command, ports, finder_port, folder):
    words = shlex.split(command)[1:]
    words = [f"{HOST}:{ports[0]}:{ports[1]}" if word == "192.168.1.50" else word for word in words]
    words += ["--to", HOST, "--finder-port", str(finder_port)] if words[0] == "find" else []
    done = subprocess.run(
        [ROOT / "tools" / "meterport", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "METERPORT_PASSWORD": PASSWORD},
    )  # fmt: skip
    assert done.returncode == (3 if "diff" in words else 0), (command, done.stdout, done.stderr)
    assert done.stdout


def test_the_example_meter_is_read_by_its_own_profile(tmp_path):
    folder = tmp_path / "data" / "meters"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "profile-minimal.json", folder)
    with sim("--state", tmp_path, "--config", ROOT / "examples" / "config-sim-example-meter.json") as ports:
        example = readings(ports)[1]
        assert (example["name"], example["profile"]) == ("example", "profile-minimal")
        values = {point["name"]: (point["value"], point["quality"]) for point in example["points"]}
        assert set(values) == {"voltage_l1", "active_power", "energy_total"}
        assert values["voltage_l1"] == (pytest.approx(230, abs=30), "good")

"""What peers send stays no name of MicroPython's for good: DNS, NTP, batteries, BACnet, MQTT, on 32 bits, frozen."""

import re
import subprocess

from tools import build, gateway

ANSWERS = 100_000
CLIENTS = 2_000
SCRIPT = build.ROOT / "host_tests" / "on_micropython" / "names_of_answers.py"
_SLACK = 512  # bytes: the log's lines are of different lengths


def test_a_hundred_thousand_different_answers_leave_no_name_and_no_byte(tmp_path):
    (tmp_path / "data").mkdir()
    done = subprocess.run(
        [str(gateway.find_frozen(print)), "-X", "heapsize=128K", str(SCRIPT), str(ANSWERS), str(CLIENTS)],
        cwd=tmp_path, env={"MICROPYPATH": ".frozen"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    names = re.findall(r"qstr pool: (.*)", done.stdout)
    heap = [int(value) for value in re.findall(r"^heap (\d+)$", done.stdout, re.MULTILINE)]
    assert len(names) == len(heap) == 2, done.stdout
    assert names[1] == names[0]
    assert heap[1] - heap[0] <= _SLACK
    bacnet = re.search(r"^bacnet (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
    assert [int(count) > ANSWERS / 10 for count in bacnet.groups()] == [True, True, False, True], bacnet[0]
    births = re.search(r"^births (.*)$", done.stdout, re.MULTILINE)[1]
    assert [int(count) for count in births.split()] == [0, (ANSWERS + 100) // 4, 0, 0]  # only where they are asked for

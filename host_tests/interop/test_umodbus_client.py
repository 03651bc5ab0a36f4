"""A second Modbus TCP client that runs on MicroPython: umodbus (micropython-modbus), in a process of its own, reads the
meters of pymodbus's RTU server through the gateway. Neither end is ours."""

import json
import os
import subprocess

import pytest

from host_tests.interop import foreign_line as foreign
from host_tests.interop.foreign_line import GENERIC, PZEM, SDM630, WATTSON, ForeignLine
from host_tests.system.rig import HOST, Rig
from tools import micropython, umodbus
from tools.gateway import ROOT

SCRIPT = ROOT / "host_tests" / "on_micropython" / "umodbus_client.py"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with ForeignLine() as line:
        config = {"buses": [{"uart": line.path, "baud": foreign.BAUD, "framing": "8N1"}]}
        with Rig(tmp_path_factory.mktemp("umodbus"), config=config, virtual=()) as rig:
            rig.wait_polled()
            yield rig


@pytest.fixture(scope="module")
def library():
    """The folder that umodbus lies in."""
    return umodbus.ensure(lambda text: None).parent


@pytest.fixture(scope="module")
def read(rig, library):
    """read(*reads) gives what umodbus printed for each, over one connection."""
    interpreter = micropython.ensure(lambda text: None)

    def run(*reads):
        command = [interpreter, SCRIPT, HOST, str(rig.modbus_port), *(":".join(map(str, read)) for read in reads)]
        env = dict(os.environ, MICROPYPATH=f"{library}:.frozen")
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


# umodbus takes a reply with one recv(256): at most 123 registers
READS = [
    (SDM630, 4, 0x00, 36, foreign.SDM630_INPUTS),  # polled
    (SDM630, 4, 0x156, 16, foreign.SDM630_INPUTS),
    (WATTSON, 3, 0x200, 16, foreign.WATTSON_HOLDING),
    (WATTSON, 3, 0x220, 42, foreign.WATTSON_HOLDING),
    (PZEM, 4, 0, 10, foreign.PZEM_REGISTERS),
    (PZEM, 3, 1, 2, foreign.PZEM_HOLDING),  # passed through
    (WATTSON, 3, foreign.WATTSON_WORD_ORDER_TEST, 2, foreign.WATTSON_HOLDING),
    (GENERIC, 3, 0, 123, foreign.HOLDING),
    (GENERIC, 4, 77, 100, foreign.INPUTS),
]


def test_umodbus_reads_every_register_through_the_gateway(read):
    got = read(*(entry[:4] for entry in READS))
    for (unit, _, first, count, table), values in zip(READS, got, strict=True):
        assert values == table[first : first + count], unit


def lowest_bit_first(bits):
    """umodbus 2.3.7 lists each byte's bits from the highest; the specification counts from the lowest (Application
    Protocol V1.1b3, 6.1)."""
    return [bit for start in range(0, len(bits), 8) for bit in reversed(bits[start : start + 8])]


def test_umodbus_reads_coils_and_discrete_inputs(read):
    coils, inputs = read((GENERIC, 1, 0, 16), (GENERIC, 2, 8, 32))
    assert lowest_bit_first(coils) == [int(bit) for bit in foreign.COILS[:16]]
    assert lowest_bit_first(inputs) == [int(bit) for bit in foreign.DISCRETE_INPUTS[8:40]]


def test_umodbus_takes_an_exception_and_reads_on_over_the_connection(read):
    refused, value = read((GENERIC, 3, 5000, 1), (GENERIC, 3, 7, 1))
    assert "exception code" in refused["error"]
    assert value == [foreign.HOLDING[7]]


def test_umodbus_reads_the_gateway_itself(read):
    first, second = read((255, 3, 0, 2), (0, 3, 0, 1))
    assert first[0] == 0x4D50  # "MP"
    assert second == [0x4D50]

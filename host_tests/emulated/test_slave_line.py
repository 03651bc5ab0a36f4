"""The slave line on the emulated chip's second UART: a master reads served registers, each answer in time."""

import pytest
from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient

from host_tests.emulated.chip import ANSWER_S, Chip
from host_tests.system.rig import HOST, wait_for
from tools.emulator import build

pytestmark = pytest.mark.timeout(1200)

READS = 400  # the loop is late now and then, and a request that is cut by that is answered as any other
ANSWER_MS = 10
METER = {"slot": 0, "name": "main", "unit": 1, "profile": "eastron-sdm630", "bus": 1}
LINES = [{"uart": 1, "baud": 19200, "framing": "8N1", "role": "slave"}, {"uart": 2, "baud": 19200, "framing": "8N1"}]


def test_a_master_reads_what_is_in_memory_in_time(tmp_path):
    """The chip has no third UART, so its meter is never read: fixed registers are there, values are refused."""
    config = {"buses": LINES, "meters": [METER], "served": [{"unit": 100, "meters": "0", "as": "eastron-sdm630"}]}
    chip = Chip(tmp_path, build.OUR_PCBS, config)
    chip.emulator.meters = None  # the wire of its UART is the test's
    with chip:
        wait_for(lambda: chip.get("/api/status")["buses"][0]["open"], 60, "the line")
        port = chip.emulator.uart1_port
        with ModbusTcpClient(HOST, port=port, framer=FramerType.RTU, timeout=ANSWER_S, retries=0) as master:
            for _ in range(READS):
                assert master.read_holding_registers(40000, count=2, device_id=100).registers == [0x5375, 0x6E53]
            assert master.read_holding_registers(0xFC02, count=1, device_id=100).registers == [112]
            assert master.read_input_registers(0, count=2, device_id=100).exception_code == 0x0B
        bus = chip.get("/api/bus")["buses"][0]
        print(bus["answer_ms"])
        assert (bus["sent"], bus["answered"]) == (READS + 2, READS + 2)
        assert bus["answer_ms"]["mean"] <= ANSWER_MS
        assert bus["noise_bytes"] == 0
        assert chip.get("/api/status")["task_restarts"] == 0

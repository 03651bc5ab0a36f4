"""The slave line on real MicroPython: serial masters of others read served meters while Modbus TCP is busy and a meter
is silent."""

import struct
import time

import minimalmodbus
import pytest
from pymodbus.client import ModbusSerialClient
from pymodbus.client.mixin import ModbusClientMixin

from host_tests.interop.libmodbus_line import Wire
from host_tests.system.rig import BAUD, UART, Poller, wait_for

KINDS = ModbusClientMixin.DATATYPE
SERVED = [
    {"unit": 100, "meters": "0", "as": "eastron-sdm630", "sunspec": False},
    {"unit": 101, "meters": "1", "as": "carlo-gavazzi-em340", "sunspec": False},
]
ANSWER_S = 1  # what a master waits at least


@pytest.fixture(params=[9600, 115200])
def slave(make_rig, request):
    """(the rig, path of the master's serial device, baud rate). The line is as fast as its baud rate."""
    with Wire(request.param, "N") as wire:
        line = {"uart": wire.b, "baud": request.param, "framing": "8N1", "role": "slave"}
        rig = make_rig(config={"buses": [{"uart": UART, "baud": BAUD, "framing": "8N1"}, line], "served": SERVED})
        rig.wait_polled()
        yield rig, wire.a, request.param
        # The silence in front of an answer, and nobody speaks while another does.
        assert wire.least_gap_ms >= 3500 * 10 / request.param
        assert not wire.collisions


def counted(rig, answers):
    """The counters of the line once so many answers have gone out."""
    return wait_for(lambda: (bus := rig.status()["buses"][1])["answered"] == answers and bus, 5, f"{answers} answers")


def test_two_masters_read_while_clients_poll_and_a_meter_is_silent(slave):
    rig, device, baud = slave
    rig.meter(3).silent = True
    voltage, power = rig.meter(1).expected(1), rig.meter(2).expected(16)
    reads = [(1, 4, 0, 10, None)]
    pollers = [Poller(rig.modbus_port, reads, 0.05) for _ in range(10)]
    for poller in pollers:
        poller.__enter__()
    slowest_s = 0.0
    try:
        with ModbusSerialClient(device, baudrate=baud, timeout=ANSWER_S, retries=0) as master:
            for _ in range(50):
                begun = time.monotonic()
                registers = master.read_input_registers(0, count=2, device_id=100).registers
                slowest_s = max(slowest_s, time.monotonic() - begun)
                assert master.convert_from_registers(registers, KINDS.FLOAT32) == pytest.approx(voltage, rel=1e-6)
            assert master.read_input_registers(9000, count=2, device_id=100).exception_code == 2
            assert master.write_register(0, 1, device_id=100).exception_code == 1
        other = minimalmodbus.Instrument(device, 101)
        other.serial.baudrate, other.serial.timeout = baud, ANSWER_S
        for _ in range(20):
            assert other.read_long(0x28, 4, signed=True, byteorder=minimalmodbus.BYTEORDER_LITTLE_SWAP) == (
                pytest.approx(10 * power, abs=1)
            )
        other.serial.close()
    finally:
        for poller in pollers:
            poller.__exit__(None, None, None)
    assert [poller.error for poller in pollers] == [None] * len(pollers)
    assert all(poller.answers for poller in pollers)
    print(f"slowest answer at {baud} baud: {1000 * slowest_s:.0f} ms")
    bus = counted(rig, 72)
    assert (bus["role"], bus["sent"], bus["crc"], bus["exceptions"]) == ("slave", 72, 0, 2)


def test_frames_for_others_and_noise_are_not_answered(slave):
    rig, device, baud = slave
    with open(device, "r+b", buffering=0) as line:
        line.write(struct.pack(">BBHHH", 7, 3, 0, 2, 0xC5C4 ^ 1))
        time.sleep(0.2)
        line.write(bytes(range(200)))
        time.sleep(0.3)
    with ModbusSerialClient(device, baudrate=baud, timeout=ANSWER_S, retries=0) as master:
        assert not master.read_input_registers(0, count=2, device_id=100).isError()
    bus = counted(rig, 1)
    assert bus["sent"] == 1
    assert bus["noise_bytes"] > 0

"""The slave line on real MicroPython: serial masters of others read served meters while Modbus TCP is busy and a meter
is silent.

A request that the firmware takes up too late is left without an answer (firmware/bus/slave.py), which a busy machine
brings about, too: as masters do, these ask again then.
"""

import contextlib
import struct
import time

import minimalmodbus
import pytest
from pymodbus.client import ModbusSerialClient
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.exceptions import ModbusIOException

from host_tests.interop.libmodbus_line import Wire
from host_tests.system.rig import BAUD, UART, Poller, quick_to_fail, wait_for

KINDS = ModbusClientMixin.DATATYPE
SERVED = [
    {"unit": 100, "meters": "0", "as": "eastron-sdm630", "sunspec": False},
    {"unit": 101, "meters": "1", "as": "carlo-gavazzi-em340", "sunspec": False},
]
ANSWER_S = 3  # after that a master asks again,
TRIES = 5  # so often in all
NO_ANSWER = (ModbusIOException, minimalmodbus.NoResponseError)


@pytest.fixture(params=[9600, 115200])
def slave(make_rig, request):
    """(the rig, the Wire whose end `a` is the master's, baud rate). The line is as fast as its baud rate."""
    with Wire(request.param, "N") as wire:
        line = {"uart": wire.b, "baud": request.param, "framing": "8N1", "role": "slave"}
        buses = [{"uart": UART, "baud": BAUD, "framing": "8N1"}, line]
        rig = make_rig(config={"buses": buses, "served": SERVED}, meters=quick_to_fail(3))
        rig.wait_polled()
        yield rig, wire, request.param
        # The silence in front of an answer, and nobody speaks while another does.
        assert wire.least_gap_ms >= 3500 * 10 / request.param
        assert not wire.collisions


def asked(question, *given, **options):
    """The answer to question(*given, **options)."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(*NO_ANSWER):
            return question(*given, **options)
    return question(*given, **options)


def counted(rig, answers):
    """The counters of the line once so many answers have gone out, and each request has been answered or was too old
    for that."""

    def is_done(bus):
        return bus["answered"] >= answers and bus["sent"] == bus["answered"] + bus["timeouts"]

    return wait_for(lambda: is_done(bus := rig.status()["buses"][1]) and bus, 10, f"{answers} answers")


def test_two_masters_read_while_clients_poll_and_a_meter_is_silent(slave):
    rig, wire, baud = slave
    rig.meter(3).silent = True
    voltage, power = rig.meter(1).expected(1), rig.meter(2).expected(16)
    reads = [(1, 4, 0, 10, None)]
    pollers = [Poller(rig.modbus_port, reads, 0.05) for _ in range(10)]
    for poller in pollers:
        poller.__enter__()
    slowest_s = 0.0
    try:
        with ModbusSerialClient(wire.a, baudrate=baud, timeout=ANSWER_S, retries=0) as master:
            for _ in range(50):
                begun = time.monotonic()
                registers = asked(master.read_input_registers, 0, count=2, device_id=100).registers
                slowest_s = max(slowest_s, time.monotonic() - begun)
                assert master.convert_from_registers(registers, KINDS.FLOAT32) == pytest.approx(voltage, rel=1e-6)
            assert asked(master.read_input_registers, 9000, count=2, device_id=100).exception_code == 2
            assert asked(master.write_register, 0, 1, device_id=100).exception_code == 1
        other = minimalmodbus.Instrument(wire.a, 101)
        other.serial.baudrate, other.serial.timeout = baud, ANSWER_S
        for _ in range(20):
            found = asked(other.read_long, 0x28, 4, signed=True, byteorder=minimalmodbus.BYTEORDER_LITTLE_SWAP)
            assert found == pytest.approx(10 * power, abs=1)
        other.serial.close()
    finally:
        for poller in pollers:
            poller.__exit__(None, None, None)
    assert [poller.error for poller in pollers] == [None] * len(pollers)
    assert all(poller.answers for poller in pollers)
    print(f"slowest answer at {baud} baud: {1000 * slowest_s:.0f} ms")
    bus = counted(rig, 72)
    assert (bus["role"], bus["exceptions"]) == ("slave", 2)
    assert bus["crc"] <= wire.torn, "a request was cut that came in one piece"


def test_frames_for_others_and_noise_are_not_answered(slave):
    rig, wire, baud = slave

    def noise_bytes():
        return rig.status()["buses"][1]["noise_bytes"]

    with open(wire.a, "r+b", buffering=0) as line:
        for data in (struct.pack(">BBHHH", 7, 3, 0, 2, 0xC5C4 ^ 1), bytes(range(200))):
            before = noise_bytes()
            line.write(data)
            wait_for(lambda before=before: noise_bytes() > before, what="noise that is counted")
        with ModbusSerialClient(wire.a, baudrate=baud, timeout=ANSWER_S, retries=0) as master:
            assert not asked(master.read_input_registers, 0, count=2, device_id=100).isError()
        assert counted(rig, 1)["answered"] == 1

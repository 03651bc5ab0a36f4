"""Served meters on real MicroPython: what masters of other makers read is what the meter has, and no old value."""

import math
import struct

import pytest
import sunspec2.modbus.client
from pymodbus.client import ModbusTcpClient
from pymodbus.client.mixin import ModbusClientMixin

from host_tests.system.rig import ANSWER_S, HOST, Client, ModbusError, quick_to_fail, wait_for

SILENT_S = 30
SERVED = [
    {"unit": 100, "meters": "0", "as": "carlo-gavazzi-em340"},
    {"unit": 101, "meters": "1", "as": "eastron-sdm630", "stale": "nan", "sunspec": False},
    {"unit": 102, "meters": "0+1", "as": "schneider-iem3155", "sunspec": False},
    {"unit": 103, "meters": "2"},
]
# Rows written by hand from the makers' tables: (unit, function, address, type, word order, scale, source unit, point)
KINDS = ModbusClientMixin.DATATYPE
ROWS = (
    (100, 4, 0x0000, KINDS.INT32, "little", 0.1, 1, 1),  # EM340: V L1-N
    (100, 4, 0x000C, KINDS.INT32, "little", 0.001, 1, 9),  # A L1
    (100, 4, 0x0028, KINDS.INT32, "little", 0.1, 1, 16),  # kW sum, 0.1 W
    (100, 4, 0x0034, KINDS.INT32, "little", 100, 1, 32),  # kWh (+) total, 0.1 kWh
    (101, 4, 0x0000, KINDS.FLOAT32, "big", 1, 2, 1),  # SDM630: phase 1 line to neutral volts
    (101, 4, 0x0034, KINDS.FLOAT32, "big", 1, 2, 16),  # total system power, W
)


@pytest.fixture
def rig(make_rig):
    rig = make_rig(config={"served": SERVED}, meters=quick_to_fail(1, 2))
    rig.wait_polled()
    return rig


def test_foreign_masters_read_the_values_of_the_source(rig):
    with ModbusTcpClient(HOST, port=rig.modbus_port, timeout=ANSWER_S) as client:
        for unit, function, address, kind, order, scale, source, point in ROWS:
            read = client.read_input_registers if function == 4 else client.read_holding_registers
            registers = read(address, count=2, device_id=unit).registers
            value = client.convert_from_registers(registers, kind, word_order=order) * scale
            wanted = rig.meter(source).expected(point)
            assert value == pytest.approx(wanted, abs=scale / 2 + 1e-3, rel=1e-6), (unit, address)
        # iEM3155, active power total at 3060 (decimal, counted from 1), kW: the sum of two meters.
        registers = client.read_holding_registers(3059, count=2, device_id=102).registers
        wanted = rig.meter(1).expected(16) + rig.meter(2).expected(16)
        assert 1000 * client.convert_from_registers(registers, KINDS.FLOAT32) == pytest.approx(wanted, rel=1e-6)
        assert client.read_input_registers(0x000B, count=1, device_id=100).registers == [331]
        assert client.read_input_registers(0x7000, count=2, device_id=100).exception_code == 2
        assert client.write_register(0, 1, device_id=100).exception_code == 1
    served = {row["unit"]: row for row in rig.get("/api/served")}
    assert list(served) == [100, 101, 102, 103]
    assert served[100]["requests"] == 7  # four values, the code, and two that are refused
    assert served[100]["exceptions"] == 2


def test_a_sunspec_client_finds_models_and_values(rig):
    for unit, source in ((100, 1), (103, 3)):
        device = sunspec2.modbus.client.SunSpecModbusClientDeviceTCP(
            slave_id=unit, ipaddr=HOST, ipport=rig.modbus_port, timeout=ANSWER_S
        )
        device.scan()
        try:
            assert [model.model_id for model in device.model_list] == [1, 213, 203]
            meter = rig.meter(source)
            power = meter.expected("active_power")
            assert device.common[0].Mn.value == "meterport"
            floats, integers = device.models[213][0], device.models[203][0]
            assert floats.W.value == pytest.approx(power, rel=1e-6)
            assert integers.W.cvalue == pytest.approx(power, abs=5)
            assert integers.PhVphA.cvalue == pytest.approx(meter.expected(1), abs=0.051)
            assert integers.Hz.cvalue == pytest.approx(meter.expected(15), abs=0.0051)
            energy = meter.expected(32 if source == 1 else 40)
            assert integers.TotWhImp.cvalue == energy
            assert floats.TotWhImp.value == pytest.approx(energy, rel=1e-6)
            if source == 3:  # one phase only
                assert integers.PhVphB.value is None
                assert math.isnan(floats.PhVphB.value or math.nan)
        finally:
            device.close()


def test_an_old_reading_is_never_served_as_a_new_one(rig):
    with rig.client() as master, rig.client() as other:
        assert len(master.read(100, 4, 0, 2)) == 4
        rig.meter(1).silent = rig.meter(2).silent = True

        def is_refused():
            try:
                master.read(100, 4, 0, 2)
            except ModbusError as error:
                return error.code == 0x0B
            return False

        wait_for(is_refused, SILENT_S, "exception 0B")
        wait_for(
            lambda: math.isnan(struct.unpack(">f", other.read(101, 4, 0, 2))[0]), SILENT_S, "NaN where it is asked for"
        )
        assert master.read(100, 4, 0x000B, 1) == struct.pack(">H", 331)
        rig.meter(1).silent = rig.meter(2).silent = False
        wait_for(lambda: not is_refused(), SILENT_S, "fresh values")


def test_eight_masters_at_once_disturb_no_poll(rig):
    clients = [Client(rig.modbus_port) for _ in range(8)]
    try:
        for _ in range(50):
            for client in clients:
                client.read(100, 4, 0, 52)
            clients[0].read(1, 4, 0, 36)
        assert all(meter["state"] == "online" for meter in rig.status()["meters"])
    finally:
        for client in clients:
            client.close()

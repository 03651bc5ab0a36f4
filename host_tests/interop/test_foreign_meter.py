"""The gateway between strangers: pymodbus's RTU server plays the meters, mbpoll and pymodbus's TCP client read them
through the firmware on real MicroPython. Every number is compared, in the registers, in the web API and on unit 255."""

import re
import struct
import subprocess

import pytest
from pymodbus.client import ModbusTcpClient

from host_tests.interop import foreign_line as foreign
from host_tests.interop.foreign_line import GENERIC, PZEM, SDM630, WATTSON, ForeignLine
from host_tests.system.rig import HOST, Rig, wait_for
from tools import debian

ILLEGAL_FUNCTION = 1


@pytest.fixture(scope="module")
def line():
    with ForeignLine() as line:
        yield line


@pytest.fixture(scope="module")
def rig(line, tmp_path_factory):
    """Writes are not allowed, which is the default."""
    config = {"buses": [{"uart": line.path, "baud": foreign.BAUD, "framing": "8N1"}]}
    with Rig(tmp_path_factory.mktemp("foreign"), config=config, virtual=()) as rig:
        rig.wait_polled()
        yield rig


@pytest.fixture(scope="module")
def writable_line():
    with ForeignLine() as line:
        yield line


@pytest.fixture(scope="module")
def writable_rig(writable_line, tmp_path_factory):
    config = {
        "buses": [{"uart": writable_line.path, "baud": foreign.BAUD, "framing": "8N1"}],
        "modbus": {"allow_writes": True},
    }
    with Rig(tmp_path_factory.mktemp("writable"), config=config, virtual=()) as rig:
        rig.wait_polled()
        yield rig


def connect(rig):
    client = ModbusTcpClient(HOST, port=rig.modbus_port, timeout=5, retries=0)
    assert client.connect()
    return client


@pytest.fixture
def client(rig):
    with connect(rig) as client:
        yield client


@pytest.fixture
def writer(writable_rig):
    with connect(writable_rig) as client:
        yield client


@pytest.fixture(scope="session")
def mbpoll():
    """The command; a machine without it cannot run these tests, and says what to install."""
    try:
        return debian.ensure_packages({"mbpoll": "mbpoll"})["mbpoll"]
    except debian.MissingPackages as error:
        pytest.fail(str(error), pytrace=False)


def run_mbpoll(mbpoll, rig, unit, *options, values=()):
    """{address: text} of one poll; references are zero-based addresses."""
    command = [mbpoll, "-m", "tcp", "-p", str(rig.modbus_port), "-a", str(unit), "-0", "-1", "-o", "5", *options, HOST]
    done = subprocess.run([*command, *map(str, values)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return {int(address): text.strip() for address, text in re.findall(r"^\[(\d+)\]:\s+(.*)$", done.stdout, re.M)}


# What the meters measure: (unit, function, first register, count, all registers of that table)
POLLED = [
    (SDM630, 4, 0x00, 36, foreign.SDM630_INPUTS),
    (SDM630, 4, 0x34, 12, foreign.SDM630_INPUTS),
    (SDM630, 4, 0x48, 8, foreign.SDM630_INPUTS),
    (SDM630, 4, 0xC8, 6, foreign.SDM630_INPUTS),
    (SDM630, 4, 0x156, 16, foreign.SDM630_INPUTS),
    (WATTSON, 3, 0x200, 16, foreign.WATTSON_HOLDING),
    (WATTSON, 3, 0x220, 42, foreign.WATTSON_HOLDING),
    (WATTSON, 3, 0x1100, 2, foreign.WATTSON_HOLDING),
    (PZEM, 4, 0, 10, foreign.PZEM_REGISTERS),
]
NOT_POLLED = [
    (SDM630, 4, 0x100, 12, foreign.SDM630_INPUTS),
    (WATTSON, 3, foreign.WATTSON_WORD_ORDER_TEST, 2, foreign.WATTSON_HOLDING),
    (WATTSON, 3, 0x210, 60, foreign.WATTSON_HOLDING),
    (PZEM, 3, 1, 2, foreign.PZEM_HOLDING),
    (GENERIC, 3, 0, 125, foreign.HOLDING),
    (GENERIC, 4, 50, 100, foreign.INPUTS),
]


@pytest.mark.parametrize(("unit", "function", "first", "count", "table"), POLLED + NOT_POLLED)
def test_pymodbus_reads_every_register_through_the_gateway(rig, client, unit, function, first, count, table):
    before = rig.status()["modbus"]
    read = client.read_holding_registers if function == 3 else client.read_input_registers
    result = read(first, count=count, device_id=unit)
    assert not result.isError(), result
    assert result.registers == table[first : first + count]
    after = rig.status()["modbus"]
    # What the poller has read is answered from memory, everything else by the meter.
    from_memory = (unit, function, first, count, table) in POLLED
    assert after["cached"] - before["cached"] == int(from_memory)
    assert after["passed"] - before["passed"] == int(not from_memory)


@pytest.mark.parametrize(("unit", "function", "first", "count", "table"), POLLED + NOT_POLLED)
def test_mbpoll_reads_every_register_through_the_gateway(rig, mbpoll, unit, function, first, count, table):
    kind = {3: "4:hex", 4: "3:hex"}[function]
    got = run_mbpoll(mbpoll, rig, unit, "-t", kind, "-r", str(first), "-c", str(count))
    assert got == {first + k: f"0x{table[first + k]:04X}" for k in range(count)}


@pytest.mark.parametrize(
    ("unit", "kind", "first", "values"),
    [(SDM630, "3:float", first, foreign.SDM630_VALUES) for first in (0x00, 0x46, 0xC8, 0x156)]
    + [(WATTSON, "4:float", first, foreign.WATTSON_VALUES) for first in (0x200, 0x220, 0x1100)],
)
def test_mbpoll_shows_the_values_as_the_meter_has_them(rig, mbpoll, unit, kind, first, values):
    count = next(n for n in range(1, 99) if first + 2 * n not in values)
    got = run_mbpoll(mbpoll, rig, unit, "-t", kind, "-B", "-r", str(first), "-c", str(count))
    assert len(got) == count
    for address, text in got.items():
        assert float(text) == pytest.approx(values[address], rel=1e-5)  # mbpoll prints six digits


def points(rig, unit):
    return {point["name"]: point for point in rig.points(unit).values()}


@pytest.mark.parametrize(
    ("unit", "where", "values"),
    [
        (SDM630, foreign.SDM630_POINTS, foreign.SDM630_VALUES),
        (WATTSON, foreign.WATTSON_POINTS, foreign.WATTSON_VALUES),
    ],
    ids=["SDM630", "WattsOn-Mark II"],
)
def test_the_api_shows_every_value_of_a_float_meter(rig, unit, where, values):
    shown = points(rig, unit)
    assert set(shown) == set(where)  # every point of the profile, and no other
    for name, (address, factor) in where.items():
        single = struct.unpack(">f", struct.pack(">f", values[address]))[0]  # the meter has float32
        point = shown[name]
        assert point["quality"] == "good", name
        if point["unit"] in ("Wh", "varh", "VAh"):
            assert point["value"] == round(single * factor), name
        else:
            assert point["value"] == pytest.approx(single * factor, rel=5e-7), name


def test_the_api_shows_every_value_of_a_meter_with_its_low_word_first(rig):
    shown = points(rig, PZEM)
    assert {name: point["quality"] for name, point in shown.items()} == dict.fromkeys(foreign.PZEM_POINTS, "good")
    assert {name: point["value"] for name, point in shown.items()} == foreign.PZEM_POINTS


def test_unit_255_shows_every_value_as_float32(rig, client):
    for unit in (SDM630, WATTSON, PZEM):
        for point in rig.points(unit).values():
            result = client.read_input_registers(4 * point["id"], count=4, device_id=255)
            assert not result.isError(), point
            value, age_s, quality = struct.unpack(">fHH", struct.pack(">4H", *result.registers))
            assert value == pytest.approx(point["value"], rel=1e-6), point
            assert age_s <= 9  # polled each second, by a machine that may be busy
            assert quality == 0


def test_coils_and_discrete_inputs_pass_through(rig, client, mbpoll):
    result = client.read_coils(3, count=37, device_id=GENERIC)
    assert result.bits[:37] == foreign.COILS[3:40]
    result = client.read_discrete_inputs(0, count=64, device_id=GENERIC)
    assert result.bits == foreign.DISCRETE_INPUTS
    got = run_mbpoll(mbpoll, rig, GENERIC, "-t", "0", "-r", "5", "-c", "20")
    assert got == {5 + k: str(int(foreign.COILS[5 + k])) for k in range(20)}
    got = run_mbpoll(mbpoll, rig, GENERIC, "-t", "1", "-r", "0", "-c", "33")
    assert got == {k: str(int(foreign.DISCRETE_INPUTS[k])) for k in range(33)}


def test_an_exception_of_the_meter_comes_back_as_it_is(client):
    result = client.read_holding_registers(5000, count=1, device_id=GENERIC)
    assert result.isError()
    assert result.exception_code == 2


def test_the_gateway_gives_its_device_identification(client):
    result = client.read_device_information(read_code=1, object_id=0, device_id=255)
    assert not result.isError(), result
    assert result.information[0] == b"meterport"


# Writes: what is done, and what the server's memory must hold afterwards, (function of the table, address, values)
FLAGS = [True, True, False, True, False, False, True, True, True]
WRITES = {
    "05 write single coil": (
        lambda client: client.write_coil(1, True, device_id=GENERIC),
        (1, 1, [True]),
    ),
    "06 write single register": (
        lambda client: client.write_register(10, 0xBEEF, device_id=GENERIC),
        (3, 10, [0xBEEF]),
    ),
    "0F write multiple coils": (
        lambda client: client.write_coils(20, FLAGS, device_id=GENERIC),
        (1, 20, FLAGS),
    ),
    "10 write multiple registers": (
        lambda client: client.write_registers(30, list(range(500, 623)), device_id=GENERIC),  # 123, the most
        (3, 30, list(range(500, 623))),
    ),
    "16 mask write register": (
        lambda client: client.mask_write_register(address=160, and_mask=0x00F2, or_mask=0x0025, device_id=GENERIC),
        (3, 160, [(foreign.HOLDING[160] & 0x00F2) | (0x0025 & ~0x00F2)]),
    ),
    "17 read/write multiple registers": (
        lambda client: client.readwrite_registers(
            read_address=170, read_count=4, write_address=171, values=[9, 8], device_id=GENERIC
        ),
        (3, 170, [foreign.HOLDING[170], 9, 8, foreign.HOLDING[173]]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_a_write_reaches_the_meter_when_writes_are_allowed(writable_line, writer, name):
    write, (table, address, values) = WRITES[name]
    before = writable_line.registers(GENERIC, table, address, len(values))
    assert before != values
    result = write(writer)
    assert not result.isError(), result
    assert writable_line.registers(GENERIC, table, address, len(values)) == values
    if name.startswith("17"):
        assert result.registers == values  # the write comes first


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_is_not_allowed_does_not_reach_the_meter(line, client, name):
    write, (table, address, values) = WRITES[name]
    before = line.registers(GENERIC, table, address, len(values))
    requests = [request for request in line.requests if request[0] == GENERIC]
    result = write(client)
    assert result.isError()
    assert result.exception_code == ILLEGAL_FUNCTION
    assert line.registers(GENERIC, table, address, len(values)) == before
    assert [request for request in line.requests if request[0] == GENERIC] == requests


def test_mbpoll_writes_through_the_gateway(writable_line, writable_rig, mbpoll):
    run_mbpoll(mbpoll, writable_rig, GENERIC, "-t", "4", "-r", "180", values=(4711,))
    run_mbpoll(mbpoll, writable_rig, GENERIC, "-t", "4", "-r", "181", values=(1, 2, 3))
    run_mbpoll(mbpoll, writable_rig, GENERIC, "-t", "0", "-r", "40", values=(1, 0, 1, 1))
    assert writable_line.registers(GENERIC, 3, 180, 4) == [4711, 1, 2, 3]
    assert writable_line.registers(GENERIC, 1, 40, 4) == [True, False, True, True]


def test_a_write_to_a_polled_register_is_seen_by_the_next_read(writable_line, writable_rig, writer):
    value = struct.unpack(">HH", struct.pack(">f", 59.5))  # the WattsOn's frequency, which is cached
    assert not writer.write_registers(0x20E, list(value), device_id=WATTSON).isError()
    result = writer.read_holding_registers(0x20E, count=2, device_id=WATTSON)
    assert tuple(result.registers) == value  # not the one from memory
    wait_for(lambda: points(writable_rig, WATTSON)["frequency"]["value"] == 59.5, what="the poller's next round")

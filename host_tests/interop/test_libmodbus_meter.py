"""The gateway between strangers once more: libmodbus, in C, plays the meter on a wire with a baud rate; clients read
and write it through the firmware on real MicroPython. Half of the world's RTU devices and tools are made of
libmodbus."""

import itertools
import struct
import termios

import pytest

from host_tests.interop.libmodbus_line import LibmodbusLine
from host_tests.system.rig import (
    GATEWAY_TARGET_FAILED,
    ILLEGAL_DATA_ADDRESS,
    ILLEGAL_FUNCTION,
    Rig,
    read_pdu,
    wait_for,
    words,
)

UNIT = 17
STRANGER = 18  # nobody
TIMEOUT_MS = 800  # more than libmodbus is kept from its work on a busy machine
ACKNOWLEDGE, BUSY = 5, 6
BUSY_REGISTER, SILENT_REGISTER, SLOW_REGISTER = 0x7000, 0x7001, 0x7002
SETTINGS = {"19200 8E1": (19200, "8E1", termios.B19200), "9600 8N1": (9600, "8N1", termios.B9600)}

# libmodbus_server.c, fill()
HOLDING = [(40_000 + 7 * k) & 0xFFFF for k in range(400)]
INPUTS = [10_000 + 11 * k for k in range(400)]
COILS = [k % 3 == 0 for k in range(64)]
DISCRETE_INPUTS = [k % 5 in (1, 2) for k in range(64)]
VALUES = {
    "voltage_l1": 230.125, "current_l1": -12.3456, "frequency": 49.98, "energy_import": 1234567890,
    "active_power": -250.0, "energy_total": 9876543210123, "power_factor": -0.321, "voltage_l2": 1234.5,
}  # fmt: skip
PROFILE = {
    "columns": ["number", "name", "function", "address", "type", "scale", "unit", "kind"],
    "points": [
        [1, "voltage_l1", 4, 300, "float32", 1, "V", "instantaneous"],
        [9, "current_l1", 4, 302, "float32", 1, "A", "instantaneous"],
        [15, "frequency", 4, 304, "float32", 1, "Hz", "instantaneous"],
        [32, "energy_import", 4, 306, "uint32", 10, "Wh", "accumulating"],
        [16, "active_power", 4, 308, "int32", 0.1, "W", "instantaneous"],
        [40, "energy_total", 4, 310, "int64", 1, "Wh", "accumulating"],
        [28, "power_factor", 4, 314, "int16", 0.001, "", "instantaneous"],
        [2, "voltage_l2", 3, 300, "float32", 1, "V", "instantaneous"],
    ],
}


@pytest.fixture(scope="module", params=SETTINGS)
def line(request):
    baud, framing, _ = SETTINGS[request.param]
    with LibmodbusLine(baud, framing[1], UNIT) as line:
        line.setting = SETTINGS[request.param]
        yield line
        assert line.wire.collisions == 0, "somebody spoke while the other did"


@pytest.fixture(scope="module")
def rig(line, tmp_path_factory):
    baud, framing, _ = line.setting
    config = {
        "buses": [{"uart": line.path, "baud": baud, "framing": framing, "broadcast": True}],
        "modbus": {"allow_writes": True},
    }
    meter = {"slot": 0, "name": "it", "unit": UNIT, "profile": "libmodbus", "interval_s": 1, "timeout_ms": TIMEOUT_MS}
    folder = tmp_path_factory.mktemp("libmodbus")
    with Rig(folder, config=config, meters=[meter], virtual=(), profiles={"libmodbus": PROFILE}) as rig:
        rig.wait_polled()
        yield rig


@pytest.fixture
def client(rig):
    with rig.client(timeout=20) as client:  # longer than two tries and what may wait for them
        yield client


def bits(values):
    return bytes(sum(value << k for k, value in enumerate(values[at : at + 8])) for at in range(0, len(values), 8))


def test_every_number_of_the_polled_meter_is_what_libmodbus_wrote(rig):
    shown = {point["name"]: point for point in rig.points(UNIT).values()}
    assert {name: point["quality"] for name, point in shown.items()} == dict.fromkeys(VALUES, "good")
    for name, value in VALUES.items():
        exact = isinstance(value, int)
        assert shown[name]["value"] == (value if exact else pytest.approx(value, rel=1e-6)), name


def test_the_gateway_set_the_baud_rate_of_the_device(rig, line):
    with open(line.path, "rb", buffering=0) as device:
        attributes = termios.tcgetattr(device.fileno())
    assert attributes[4:6] == [line.setting[2]] * 2


@pytest.mark.parametrize(
    ("function", "first", "count", "table"),
    [(3, 0, 125, HOLDING), (3, 42, 1, HOLDING), (4, 0, 125, INPUTS), (4, 120, 60, INPUTS)],
)
def test_registers_are_read_through(client, function, first, count, table):
    assert client.read(UNIT, function, first, count) == words(table[first : first + count])


@pytest.mark.parametrize(("function", "table"), [(1, COILS), (2, DISCRETE_INPUTS)], ids=["coils", "inputs"])
def test_bits_are_read_through(client, function, table):
    for first, count in ((0, 64), (3, 37), (63, 1)):
        reply = client.request(UNIT, read_pdu(function, first, count))
        assert reply[2:] == bits(table[first : first + count])


WRITES = {  # name: (PDU, function of the table, first, values that it holds afterwards)
    "05 single coil": (b"\x05\x00\x01\xff\x00", 1, 1, [True]),
    "06 single register": (struct.pack(">BHH", 6, 10, 0xBEEF), 3, 10, [0xBEEF]),
    "0F coils": (struct.pack(">BHHB", 15, 20, 9, 2) + b"\xcb\x01", 1, 20, [1, 1, 0, 1, 0, 0, 1, 1, 1]),
    "10 registers, the most": (
        struct.pack(">BHHB123H", 16, 30, 123, 246, *range(500, 623)), 3, 30, list(range(500, 623)),
    ),
    "16 mask": (
        struct.pack(">BHHH", 22, 160, 0x00F2, 0x0025), 3, 160, [HOLDING[160] & 0x00F2 | 0x0025 & ~0x00F2],
    ),
    "17 read and write": (
        struct.pack(">BHHHHB2H", 23, 170, 4, 171, 2, 4, 9, 8), 3, 170, [HOLDING[170], 9, 8, HOLDING[173]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITES)
def test_a_write_reaches_libmodbus_and_is_confirmed_as_it_confirms_it(line, client, name):
    pdu, table, first, values = WRITES[name]
    look = line.holding if table == 3 else line.coils
    assert look(first, len(values)) != values
    reply = client.request(UNIT, pdu)
    assert look(first, len(values)) == values
    echoed = {5: pdu, 6: pdu, 15: pdu[:5], 16: pdu[:5], 22: pdu, 23: b"\x17\x08" + words(values)}
    assert reply == echoed[pdu[0]]
    assert pdu in line.pdus()


def test_a_write_to_what_is_polled_is_read_back_and_shown(rig, line, client):
    value = struct.pack(">f", 410.75)
    client.request(UNIT, struct.pack(">BHHB", 16, 300, 2, 4) + value)
    assert client.read(UNIT, 3, 300, 2) == value
    wait_for(lambda: rig.points(UNIT)[2]["value"] == 410.75, what="the poller's next round")


def test_a_broadcast_is_carried_out_by_libmodbus_without_an_answer(rig, line, client):
    timeouts = []
    for value in (4711, 4712, 4713):  # on a busy machine the meter may let another request time out beside one
        pdu = struct.pack(">BHH", 6, 200, value)
        before = rig.status()["buses"][0]["timeouts"]
        assert client.request(0, pdu) == pdu
        wait_for(lambda value=value: line.holding(200, 1) == [value], what="the broadcast at the meter")
        assert client.read(UNIT, 3, 200, 1) == words([value])
        timeouts.append(rig.status()["buses"][0]["timeouts"] - before)
    assert min(timeouts) == 0, timeouts


def test_exceptions_come_back_as_libmodbus_gives_them(client):
    assert client.exception(UNIT, read_pdu(3, 5000, 1)) == ILLEGAL_DATA_ADDRESS
    assert client.exception(UNIT, read_pdu(4, 399, 2)) == ILLEGAL_DATA_ADDRESS
    assert client.exception(UNIT, read_pdu(1, 60, 5)) == ILLEGAL_DATA_ADDRESS
    assert client.exception(UNIT, read_pdu(3, BUSY_REGISTER, 1)) == BUSY
    assert client.exception(UNIT, read_pdu(3, SLOW_REGISTER, 1)) == ACKNOWLEDGE


def test_report_server_id_passes_through_with_its_text(line, client):
    reply = client.request(UNIT, b"\x11")
    assert reply == bytes((17, len(reply) - 2, 0xB4, 0xFF)) + b"LMB" + line.version.encode()


@pytest.mark.parametrize("function", [11, 12, 0x41, 0x64], ids=lambda function: f"{function:02X}")
def test_a_function_that_libmodbus_does_not_know_is_its_exception_01(line, client, function):
    assert client.exception(UNIT, bytes((function,))) == ILLEGAL_FUNCTION
    assert bytes((function,)) in line.pdus()


@pytest.mark.parametrize(
    ("unit", "pdu"),
    [
        # libmodbus takes what comes next for the stranger's answer, and has to be asked twice.
        (STRANGER, read_pdu(3, 0, 1)),
        (UNIT, read_pdu(3, SILENT_REGISTER, 1)),
        (UNIT, b"\x08\x00\x00\x12\x34"),  # libmodbus cuts these two where they do not end
        (UNIT, b"\x2b\x0e\x01\x00"),
    ],
    ids=["another unit", "a silent register", "08", "2B/0E"],
)
def test_what_libmodbus_does_not_answer_is_0b_and_the_next_read_is_right(client, unit, pdu):
    assert client.exception(unit, pdu) == GATEWAY_TARGET_FAILED
    assert client.read(UNIT, 4, 7, 3) == words(INPUTS[7:10])


def test_many_reads_in_turn_are_each_their_own(rig, line):
    with rig.client() as one, rig.client() as other:
        for k, client in itertools.islice(enumerate(itertools.cycle((one, other))), 20):
            assert client.read(UNIT, 4, k, 1 + k % 5) == words(INPUTS[k : k + 1 + k % 5])


def test_silence_was_kept_before_every_request_and_nothing_was_damaged(rig, line, client):
    baud, framing, _ = line.setting
    client.read(UNIT, 3, 0, 125)  # the longest answer: the tests before may have run in another process
    assert line.wire.least_gap_ms >= 3500 * 11 / baud
    counters = rig.get("/api/bus")["buses"][0]
    longest_ms = 1000 * 255 * (10 + (framing[1] != "N")) / baud
    assert counters["answer_ms"]["max"] >= 0.9 * longest_ms
    assert counters["wrong"].pop("crc") <= line.wire.torn
    assert counters["wrong"] == dict.fromkeys(("unit", "function", "length", "content"), 0)
    assert counters["noise_bytes"] == 0

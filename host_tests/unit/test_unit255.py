"""Unit 255: every register of docs/reference/modbus.md, and what is answered outside of them."""

import struct

import pytest

from firmware import VERSION
from firmware.meters import profile_loader as profile_load
from firmware.meters import readings as readings_module
from firmware.meters.meter import ONLINE, Meter
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net.budget import SERVICES, Budget
from firmware.services.modbus_tcp.counters import Counters
from firmware.services.modbus_tcp.unit255 import Unit255
from host_tests.unit import the_schema as schema
from host_tests.unit.fake_gateway import FakeBus, FakeClock, FakeConfigStore, FakeDevice
from host_tests.unit.fakes import SIX, TICKS_PERIOD, Uptime, defaults, store
from host_tests.unit.profile_rows import transformers

COUNTERS_END = 122 + 2 * len(Counters.NAMES)  # behind the registers of sockets and requests
NAN = b"\x7f\xc0\x00\x00"


def make_meter(slot, unit):
    rows = [
        [1, "voltage_l1", 4, 0, "uint16", 0.1, "V", "instantaneous"],
        [16, "active_power", 4, 1, "float32", 1, "W", "instantaneous"],
        [40, "energy_total", 4, 3, "float32", 1000, "Wh", "accumulating"],
        [255, "last", 4, 500, "uint16", 1, "", "instantaneous"],
    ]
    given = defaults(schema.METER, slot=slot, name=f"m{unit}", unit=unit, profile="test")
    return Meter(given, profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows}))


class Bench:
    def __init__(self, events, buses=2, enabled=SIX):
        self.uptime = Uptime(1000)
        self.clock = FakeClock(self.uptime)
        self.store = FakeConfigStore()
        device = FakeDevice("running")
        self.services = device.services
        self.budget = Budget(16, 16, 16, list(enabled), {"http": 4}, self.uptime, events)
        self.meters = [make_meter(0, 1), make_meter(63, 2)]
        self.points = Meters(self.meters)
        self.buses = [FakeBus(k) for k in range(buses)]
        self.unit = Unit255(device, self.store, self.clock, self.budget, self.points, Readings(self.uptime), self.buses)
        self.counters = self.unit.counters

    def ask(self, pdu):
        """The answer's PDU, from a buffer in which it stands in the midst of other bytes."""
        buf = bytearray(b"\xa5" * 5 + pdu + b"\xa5" * 5)
        out = bytearray(b"\x5a" * 300)
        n = self.unit.answer(buf, 5, len(pdu), out, 7)
        assert out[:7] == b"\x5a" * 7
        assert n <= 253
        assert out[7 + 253 :] == b"\x5a" * 40, "written beyond the room for a PDU"
        return bytes(out[7 : 7 + n])

    def read(self, function, first, count):
        """The registers, or the exception code."""
        got = self.ask(struct.pack(">BHH", function, first, count))
        if got[0] == function | 0x80:
            assert len(got) == 2
            return got[1]
        assert got[:2] == bytes((function, 2 * count))
        return list(struct.unpack(f">{count}H", got[2:]))

    def holding(self, first, count=1):
        words = self.read(3, first, count)
        assert isinstance(words, list), f"exception {words}"
        return words[0] if count == 1 else words

    def long(self, first):
        high, low = self.holding(first, 2)
        return high << 16 | low

    def fill(self, meter, k, data):
        block = meter.blocks[k]
        store(block, data, self.uptime.now)


@pytest.fixture
def bench(events, clock):
    return Bench(events)


# -- points


def point(bench, point_id):
    got = bench.ask(struct.pack(">BHH", 4, 4 * point_id, 4))
    assert got[:2] == b"\x04\x08"
    return got[2:6], *struct.unpack(">HH", got[6:])


def test_a_point_is_value_age_and_quality_at_four_times_its_id(bench):
    for meter in bench.meters:
        bench.fill(meter, 0, struct.pack(">Hff", 2301, 1234.5, 2.5))
    bench.uptime.now += 7
    for slot in (0, 63):
        assert point(bench, slot * 256 + 1) == (struct.pack(">f", 230.1), 7, 0)
        assert point(bench, slot * 256 + 16) == (struct.pack(">f", 1234.5), 7, 0)
        assert point(bench, slot * 256 + 40) == (struct.pack(">f", 2500.0), 7, 0)


def test_a_point_behind_transformers_is_that_of_the_primary_side(bench):
    """The meter's own registers, on its own unit, stay what it said: they are not decoded at all."""
    meter = bench.meters[0]
    bench.fill(meter, 0, struct.pack(">Hff", 2301, 1234.5, 2.5))
    meter.ratios = profile_load.ratios(transformers(ct_primary=40, pt_primary=200))
    assert point(bench, 1)[0] == struct.pack(">f", 46020)
    assert point(bench, 16)[0] == struct.pack(">f", 9876000)
    assert point(bench, 40)[0] == struct.pack(">f", 20000000)
    assert bytes(meter.blocks[0].raw) == struct.pack(">Hff", 2301, 1234.5, 2.5)


def test_a_point_that_was_never_read_is_nan_with_age_65535(bench):
    assert point(bench, 1) == (NAN, 0xFFFF, 3)


@pytest.mark.parametrize(("age", "shown"), [(0, 0), (65534, 65534), (65535, 65535), (65536, 65535), (10**7, 65535)])
def test_an_age_stops_at_its_greatest(bench, age, shown):
    bench.fill(bench.meters[0], 0, bytes(10))
    bench.uptime.now += age
    assert point(bench, 1)[1] == shown


def test_stale_failed_and_no_value_are_told(bench):
    meter = bench.meters[0]
    bench.fill(meter, 0, struct.pack(">Hff", 2301, float("nan"), 2.5))
    assert point(bench, 16) == (NAN, 0, 4)
    bench.uptime.now += 16
    assert point(bench, 1) == (struct.pack(">f", 230.1), 16, 1)
    meter.blocks[0].failed = True
    assert point(bench, 1) == (struct.pack(">f", 230.1), 16, 2)
    meter.blocks[0].exception = 2
    assert point(bench, 1) == (NAN, 16, 4)


def test_a_counter_that_has_fallen_keeps_its_value_and_says_held(bench):
    meter = bench.meters[0]
    bench.fill(meter, 0, struct.pack(">Hff", 2301, 1.5, 2.5))
    meter.store(meter.blocks[0], struct.pack(">Hff", 2302, 1.5, 0), 0, 0, bench.uptime.now)
    assert point(bench, 40) == (struct.pack(">f", 2500), 0, 5)
    assert point(bench, 1) == (struct.pack(">f", 230.2), 0, 0)


def test_an_address_between_two_points_says_that_there_is_none(bench):
    bench.fill(bench.meters[0], 0, bytes(10))
    assert point(bench, 2) == (NAN, 0xFFFF, 255)
    assert point(bench, 0) == (NAN, 0xFFFF, 255)


def test_every_register_of_a_meter_can_be_read_in_any_piece(bench):
    bench.fill(bench.meters[0], 0, struct.pack(">Hff", 2301, 1234.5, 2.5))
    whole = []
    for first in range(0, 1024, 64):
        whole += bench.read(4, first, 64)
    for first in [*range(0, 20), *range(60, 72), *range(155, 170), *range(1010, 1024)]:
        for count in (1, 2, 3, 4, 5, 7, 8):
            if first + count <= 1024:
                assert bench.read(4, first, count) == whole[first : first + count]
    assert bench.read(4, 0, 125) == whole[:125]


@pytest.mark.parametrize("first", [1024, 1020 + 1, 63 * 1024 - 1, 40000])
def test_registers_of_a_slot_without_meter_are_02(bench, first):
    assert bench.read(4, first, 4) == 2


def test_the_last_register_of_all_is_a_meters(bench):
    assert bench.read(4, 65532, 4)[3] == 3
    assert bench.read(4, 65535, 1) == [3]
    assert bench.read(4, 65535, 2) == 2


@pytest.mark.parametrize("raw", [3.4028234e38, -3.4028234e38, 1e36, float("inf"), float("nan")])
def test_what_nothing_can_measure_is_nan_with_no_value(bench, raw):
    bench.fill(bench.meters[0], 0, struct.pack(">Hff", 2301, raw, raw))
    bench.uptime.now += 3
    assert point(bench, 40) == point(bench, 16) == (NAN, 3, 4)
    assert point(bench, 1) == (struct.pack(">f", 230.1), 3, 0)


@pytest.mark.parametrize("raw", [2.199023e12, -2.199023e12])
def test_the_largest_value_of_all_fits_into_float32(bench, raw):
    """With the largest ratios of transformers that a configuration can have."""
    meter = bench.meters[0]
    bench.fill(meter, 0, struct.pack(">Hff", 65535, raw, raw))
    meter.ratios = profile_load.ratios(transformers(ct_primary=1000000, pt_primary=1000000))
    for number, scale in ((16, 1), (40, 1000)):
        (value,) = struct.unpack(">f", point(bench, number)[0])
        assert value == pytest.approx(raw * scale * 1e12, rel=1e-6)


def test_unit_255_and_readings_agree_on_every_kind_of_value(bench):
    meter = bench.meters[0]
    block = meter.blocks[0]
    readings = Readings(bench.uptime)
    states = [(block.purge, ()), (block.refuse, (2,)), (lambda: None, ())]
    for power in (1.5, float("nan"), 3.4028234e38):
        for age_s in (0, 16, 70000):
            for change, arguments in states:
                bench.fill(meter, 0, struct.pack(">Hff", 2301, power, 2.5))
                bench.uptime.now += age_s
                change(*arguments)
                for i, number in enumerate(meter.profile.numbers):
                    value, age, quality = readings.read(meter, i)
                    shown = NAN if value is None else struct.pack(">f", value)
                    assert point(bench, number) == (shown, 0xFFFF if age is None else min(age, 0xFFFF), quality)
                    if value is None:
                        assert readings_module.QUALITIES[quality] in ("never", "no_value", "failed")


def test_without_meters_every_input_register_is_02(bench):
    bench.unit._meters = Meters([])
    assert bench.read(4, 0, 1) == 2


# -- identity and health


def test_identity_and_health(bench):
    bench.uptime.now = 0x12345
    bench.clock.unix = 1_800_000_000
    bench.store.errors = ["a", "b"]
    bench.meters[0].state = ONLINE
    assert bench.holding(0, 14) == [
        0x4D50, 1, VERSION[0] << 8 | VERSION[1], VERSION[2], 0x0001, 0x2345, 1_800_000_000 >> 16,
        1_800_000_000 & 0xFFFF, 0, 2, 2, 8, 1, 0,
    ]  # fmt: skip
    bench.store.due = ("bacnet",)
    assert bench.holding(8) == 1


@pytest.mark.parametrize("k", range(len(SERVICES)))
def test_services_without_memory_are_bits_in_the_order_of_their_kinds(bench, k):
    bench.services[k].state = "no_memory"
    assert bench.holding(13) == 1 << k
    for service in bench.services:
        service.state = "no_memory"
    assert bench.holding(13) == (1 << len(SERVICES)) - 1
    for service in bench.services:
        service.state = "no_room"
    assert bench.holding(13) == 0


def test_a_clock_that_is_not_set_is_zero(bench):
    assert bench.long(6) == 0


def test_a_time_after_2038_fits(bench):
    bench.clock.unix = 4_000_000_000
    assert bench.long(6) == 4_000_000_000


@pytest.mark.parametrize(("first", "count"), [(14, 1), (13, 2), (0, 15), (99, 1), (0, 101), (98, 4)])
def test_registers_behind_the_identity_are_02(bench, first, count):
    assert bench.read(3, first, count) == 2


# -- sockets and requests


class Held:
    def __init__(self, bench, kind, peer=("192.0.2.1", 50123)):
        self.bench = bench
        self.slot = bench.budget.open(kind, peer)
        self.slot.connection = self

    def close(self):
        self.bench.budget.release(self.slot)


def test_sockets_and_requests(bench):
    held = [Held(bench, "modbus") for _ in range(3)]
    held[0].close()
    budget = bench.budget
    budget.postponed, budget.failed_accepts = 0x10001, 5
    budget.evictions[:] = [11, 12, 13, 14, 0x20015]
    for k, name in enumerate(bench.counters.NAMES):
        setattr(bench.counters, name, 0x30000 * (k + 1) + k)
    assert bench.holding(100, 6) == [16, 6, 10, 2, 9, 0]
    assert [bench.long(a) for a in range(106, 122, 2)] == [3, 0x10001, 5, 11, 12, 13, 14, 0x20015]
    count = len(bench.counters.NAMES)
    assert [bench.long(122 + 2 * k) for k in range(count)] == [0x30000 * (k + 1) + k for k in range(count)]


def test_a_counter_wraps_at_32_bits(bench):
    bench.counters.requests = 2**32 + 5
    assert bench.long(122) == 5


@pytest.mark.parametrize(
    ("first", "count"),
    [(COUNTERS_END, 1), (COUNTERS_END - 1, 2), (199, 1), (199, 2), (100, COUNTERS_END - 99), (99, 2)],
)
def test_registers_behind_the_sockets_are_02(bench, first, count):
    assert bench.read(3, first, count) == 2


# -- the ledger


def test_the_ledger_has_a_row_for_every_slot_services_first(bench, clock):
    one, other = Held(bench, "modbus"), Held(bench, "http", ("10.20.30.255", 65535))
    bench.budget.served(one.slot)
    one.slot.received, one.slot.sent = 0x54321, 70000
    other.slot.busy = True
    clock.advance_ms(9_999)
    bench.uptime.now += 10
    rows = [bench.holding(200 + 16 * k, 16) for k in range(16)]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6, 0x102, 0x101] + [0] * 8
    assert [row[1] for row in rows[:8]] == [0] * 6 + [1, 3]
    assert [row[5] for row in rows[:8]] == [0xFFFF] * 6 + [9, 9]
    assert rows[6] == [0x102, 1, 0xC000, 0x0201, 50123, 9, 0, 10, 0, 1, 5, 0x4321, 1, 70000 - 65536, 0, 0]
    assert rows[7] == [0x101, 3, 0x0A14, 0x1EFF, 65535, 9, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0]
    assert rows[8:] == [[0] * 16] * 8


def test_a_full_ledger_fills_all_its_rows(bench):
    for _ in range(10):
        Held(bench, "modbus")
    assert all(bench.holding(200 + 16 * k) for k in range(16))


def test_the_ledger_can_be_read_across_its_rows(bench):
    Held(bench, "modbus")
    whole = [word for k in range(16) for word in bench.holding(200 + 16 * k, 16)]
    assert bench.holding(205, 120) == whole[5:125]
    assert bench.holding(200 + 131, 125) == whole[131:]


def test_the_ledger_stays_right_when_ticks_have_come_half_round(bench, clock):
    """After 6.2 days the difference of two ticks is negative."""
    slot = bench.budget.service_slot("modbus")
    slot.open, slot.requests = True, 5
    clock.us += (TICKS_PERIOD // 2 + 1000) * 1000
    bench.uptime.now += 537_000
    row = bench.holding(216, 16)
    assert row[5] == 0xFFFF
    assert bench.long(216 + 6) == 1000 + 537_000


@pytest.mark.parametrize(("first", "count"), [(456, 1), (455, 2), (199, 2), (599, 1), (599, 2), (500, 10)])
def test_registers_behind_the_ledger_are_02(bench, first, count):
    assert bench.read(3, first, count) == 2


# -- the buses


def test_each_bus_has_its_counters(bench):
    names = [
        "sent",
        "answered",
        "timeouts",
        "retries",
        "exceptions",
        "crc",
        "foreign",
        "noise_bytes",
        "stale_bytes",
        "busy_ms",
    ]
    for number, bus in enumerate(bench.buses):
        for k, name in enumerate(names):
            setattr(bus.counters, name, 0x10000 * (number + 1) + k)
        bus.queued = 3 + number
    bench.buses[1].line_error = OSError(5)
    for number in range(2):
        base = 600 + 32 * number
        assert bench.holding(base, 2) == [1 - number, 3 + number]
        assert [bench.long(base + 2 + 2 * k) for k in range(10)] == [0x10000 * (number + 1) + k for k in range(10)]
        assert bench.holding(base + 22, 10) == [0] * 10


@pytest.mark.parametrize(
    ("buses", "first", "count"), [(2, 664, 1), (2, 663, 2), (1, 632, 1), (0, 600, 1), (2, 65535, 1), (2, 60000, 5)]
)
def test_registers_behind_the_buses_are_02(events, clock, buses, first, count):
    assert Bench(events, buses).read(3, first, count) == 2


def test_every_holding_register_is_either_there_or_02(bench):
    there = [first for first in range(0, 1000) if isinstance(bench.read(3, first, 1), list)]
    assert there == [*range(14), *range(100, COUNTERS_END), *range(200, 456), *range(600, 664)]


# -- requests that are refused


@pytest.mark.parametrize("function", [1, 2, 5, 6, 7, 8, 15, 16, 17, 20, 22, 23, 24, 0x41, 0x7F])
def test_a_function_that_unit_255_does_not_have_is_01(bench, function):
    assert bench.ask(bytes((function, 0, 0, 0, 1))) == bytes((function | 0x80, 1))


@pytest.mark.parametrize("function", [3, 4])
@pytest.mark.parametrize(
    "rest",
    [b"", b"\x00\x00\x00", b"\x00\x00\x00\x00", b"\x00\x00\x00\x7e", b"\x00\x00\xff\xff", b"\x00\x00\x00\x01\x00"],
)
def test_a_wrong_quantity_or_length_is_03(bench, function, rest):
    assert bench.ask(bytes((function,)) + rest) == bytes((function | 0x80, 3))


@pytest.mark.parametrize("function", [3, 4])
def test_addresses_beyond_65535_are_02(bench, function):
    assert bench.ask(bytes((function, 0xFF, 0xFF, 0x00, 0x02))) == bytes((function | 0x80, 2))


# -- device identification

OBJECTS = [b"meterport", b"METERPORT", b"%d.%d.%d" % VERSION, b"", b"meterport Modbus gateway", b"", b"meterport"]


def objects_of(answer, code):
    assert answer[:3] == bytes((43, 0x0E, code))
    assert answer[3] & 0x80, "individual access works too"
    assert answer[4:6] == b"\x00\x00", "nothing more follows"
    found = {}
    at = 7
    for _ in range(answer[6]):
        found[answer[at]] = answer[at + 2 : at + 2 + answer[at + 1]]
        at += 2 + answer[at + 1]
    assert at == len(answer)
    return found


def test_basic_identification_has_the_three_mandatory_objects(bench):
    assert objects_of(bench.ask(b"\x2b\x0e\x01\x00"), 1) == dict(enumerate(OBJECTS[:3]))


@pytest.mark.parametrize("code", [2, 3])
def test_regular_and_extended_identification_have_all_objects(bench, code):
    assert objects_of(bench.ask(bytes((0x2B, 0x0E, code, 0))), code) == dict(enumerate(OBJECTS))


@pytest.mark.parametrize("number", range(7))
def test_each_object_can_be_had_alone(bench, number):
    assert objects_of(bench.ask(bytes((0x2B, 0x0E, 4, number))), 4) == {number: OBJECTS[number]}


def test_a_stream_can_begin_at_any_object(bench):
    assert objects_of(bench.ask(b"\x2b\x0e\x01\x02"), 1) == {2: OBJECTS[2]}
    assert list(objects_of(bench.ask(b"\x2b\x0e\x02\x05"), 2)) == [5, 6]


@pytest.mark.parametrize(("code", "number"), [(1, 3), (1, 0x80), (2, 7), (3, 255)])
def test_a_stream_from_an_unknown_object_starts_over(bench, code, number):
    assert min(objects_of(bench.ask(bytes((0x2B, 0x0E, code, number))), code)) == 0


@pytest.mark.parametrize("number", [7, 0x80, 255])
def test_an_unknown_object_alone_is_02(bench, number):
    assert bench.ask(bytes((0x2B, 0x0E, 4, number))) == b"\xab\x02"


@pytest.mark.parametrize("code", [0, 5, 255])
def test_an_unknown_kind_of_access_is_03(bench, code):
    assert bench.ask(bytes((0x2B, 0x0E, code, 0))) == b"\xab\x03"


@pytest.mark.parametrize("pdu", [b"\x2b\x0e", b"\x2b\x0e\x01", b"\x2b\x0e\x01\x00\x00", b"\x2b"])
def test_identification_of_a_wrong_length_is_03(bench, pdu):
    assert bench.ask(pdu) == b"\xab\x03"


@pytest.mark.parametrize("pdu", [b"\x2b\x0d\x01\x00", b"\x2b\x00", b"\x2b\x0f\x01\x00"])
def test_another_encapsulated_interface_is_01(bench, pdu):
    assert bench.ask(pdu) == b"\xab\x01"


@pytest.mark.parametrize("name", ["x", "n" * 32, "Zähler Süd " * 2, "\U0001f50c" * 32])
def test_the_longest_name_fits_its_answer(bench, name):
    bench.store.name = name
    answer = bench.ask(b"\x2b\x0e\x02\x00")
    assert len(answer) <= 253
    assert objects_of(answer, 2)[6] == name.encode()

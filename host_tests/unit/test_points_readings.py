"""Points and readings: permanent ids, and what age and quality say of a value."""

import struct

import pytest

from firmware.meters import meter as meters_meter
from firmware.meters import profile_loader as profile_load
from firmware.meters import readings
from firmware.meters.block import Block, Part
from firmware.meters.meter import Meter
from firmware.meters.meters import Meters
from host_tests.unit import the_schema as schema
from host_tests.unit.fakes import Uptime, defaults, is_good, store
from host_tests.unit.profile_rows import document, on_the_wire, row

CONFIG = defaults(schema.METER, slot=3, name="main", unit=17, profile="test")


def make_meter(**change):
    rows = [
        [16, "active_power", 4, 0, "float32", 1, "W", "instantaneous"],
        [1, "voltage_l1", 4, 2, "uint16", 0.1, "V", "instantaneous"],
        [40, "energy_total", 4, 500, "float32", 1000, "Wh", "accumulating"],
    ]
    parsed = profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows})
    return Meter({**CONFIG, **change}, parsed)


def index_of(meter, name):
    return [meter.profile.name_of(i) for i in range(len(meter.profile))].index(name)


POWER = struct.pack(">fH", 1234.5, 2301)


# -- points


def test_a_point_id_is_slot_times_256_plus_number():
    meter = make_meter()
    assert [meter.point_id(index_of(meter, n)) for n in ("active_power", "voltage_l1", "energy_total")] == [
        3 * 256 + 16, 3 * 256 + 1, 3 * 256 + 40,
    ]  # fmt: skip


@pytest.mark.parametrize("slot", [0, 63])
def test_ids_four_times_over_fit_the_addresses_of_unit_255(slot):
    meter = make_meter(slot=slot)
    ids = [meter.point_id(i) for i in range(len(meter.profile))]
    assert all(0 <= 4 * number <= 65532 for number in ids)


def test_a_meter_that_was_never_asked_is_unknown():
    assert meters_meter.STATES[make_meter().state] == "unknown"
    assert meters_meter.STATES[meters_meter.ONLINE] == "online"
    assert meters_meter.STATES[meters_meter.FAILING] == "failing"
    assert meters_meter.STATES[meters_meter.QUARANTINED] == "quarantined"


def test_find_gives_the_meter_and_the_point_of_an_id():
    meters = [make_meter(), make_meter(slot=0, unit=1)]
    table = Meters(meters)
    for meter in meters:
        for i in range(len(meter.profile)):
            assert table.find(meter.point_id(i)) == (meter, i)


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (["main", "pump"], ["main", "pump"]),
        (["pump", "main", "pump"], ["pump 0", "main", "pump 2"]),
        (["pump", "pump 1", "pump"], ["pump 0", "pump 1", "pump 2"]),
        (["pump", "pump", "pump 1"], ["pump 0", "pump 1 1", "pump 1 2"]),
        (["a/b", "a_b", "a#b", "a+c"], ["a/b 0", "a_b 1", "a#b 2", "a+c"]),
    ],
)
def test_meters_of_one_name_get_their_slot_behind_it(names, known):
    table = Meters([make_meter(slot=slot, name=name) for slot, name in enumerate(names)])
    assert [meter.name for meter in table.meters] == known


def test_a_number_that_the_profile_lacks_is_minus_one_and_a_slot_without_meter_none():
    meter = make_meter()
    table = Meters([meter])
    assert table.find(3 * 256 + 2) == (meter, -1)
    assert table.find(3 * 256) == (meter, -1)
    assert table.find(4 * 256 + 16) is None
    assert table.find(63 * 256 + 255) is None


def test_every_id_finds_its_own_point_or_none():
    meter = make_meter()
    table = Meters([meter])
    found = {n: table.find(n)[1] for n in range(3 * 256, 4 * 256) if table.find(n)[1] >= 0}
    assert found == {meter.point_id(i): i for i in range(3)}


def test_meters_are_found_by_slot_and_unit_and_all_points_counted():
    meters = [make_meter(), make_meter(slot=0, unit=1)]
    table = Meters(meters)
    assert table.in_slot(0) is meters[1]
    assert table.in_slot(1) is None
    assert table.in_slot(64) is None
    assert len(table) == 6


def test_two_meters_of_a_kind_share_the_profile_but_no_block():
    parsed = make_meter().profile
    one, other = Meter(CONFIG, parsed), Meter(CONFIG, parsed)
    one.blocks[0].raw[0] = 1
    assert other.blocks[0].raw[0] == 0
    assert one.profile is other.profile


def test_a_block_says_what_the_bus_has_noted_of_it():
    meter = make_meter()
    blocks = meter.blocks
    assert len(blocks) == 2

    def said(block):
        return block.seen, is_good(block), block.failed, block.exception, block.read_at_s

    assert [said(one) for one in blocks] == [(False, False, False, 0, None)] * 2
    blocks[1].store(b"..\x01\x02\x03\x04..", 2, 5000, 77)
    assert said(blocks[0]) == (False, False, False, 0, None)
    assert said(blocks[1]) == (True, True, False, 0, 77)
    assert (bytes(blocks[0].raw), bytes(blocks[1].raw)) == (bytes(6), b"\x01\x02\x03\x04")
    blocks[1].purge()
    assert said(blocks[1]) == (True, False, True, 0, 77)
    assert blocks[1].refuse(2) == 0, "it did not before"
    assert blocks[1].refuse(2) == 2
    assert said(blocks[1]) == (True, False, True, 2, 77)
    assert blocks[1].refuse(3) == 2, "another reason"
    blocks[1].store(bytes(4), 0, 5000, 78)
    assert said(blocks[1]) == (True, True, False, 0, 78)
    meter.purge()
    assert [said(one) for one in blocks] == [(False, False, True, 0, None), (True, False, True, 0, 78)]


def test_a_block_answers_for_its_own_registers_until_they_are_too_old():
    def ticks_diff(a, b):
        return a - b

    meter = make_meter()
    meter.blocks[1].store(b"\x01\x02\x03\x04", 0, 5000, 1)
    find = meter.find
    assert find(4, 500, 2) is find(4, 501, 1) is meter.blocks[1]
    assert find(3, 500, 2) is None, "another function"
    assert find(4, 499, 2) is find(4, 501, 2) is None, "not all of it"
    assert find(4, 0, 1) is None, "never read"
    out = bytearray(b".....")
    meter.blocks[1].copy_to(out, 2, 501, 1)
    assert out == b"..\x03\x04."
    meter.expire(5000, ticks_diff)
    assert is_good(meter.blocks[1])
    meter.expire(5001, ticks_diff)
    assert not is_good(meter.blocks[1])
    assert find(4, 500, 2) is None, "too old"


@pytest.mark.parametrize(
    ("first", "count", "is_left"), [(9, 1, True), (9, 2, False), (13, 1, False), (14, 1, True), (0, 0x10000, False)]
)
def test_what_is_written_may_not_answer_any_more(first, count, is_left):
    block = Block((4, 10, 4))
    block.store(bytes(8), 0, 5000, 1)
    block.written(first, count)
    assert is_good(block) == is_left


# -- readings


@pytest.fixture
def meter():
    return make_meter()


@pytest.fixture
def now():
    return Uptime(100)


@pytest.fixture
def all_of(now):
    return readings.Readings(now)


def quality(all_of, meter, i):
    return readings.QUALITIES[all_of.read(meter, i)[2]]


def test_a_point_that_was_never_read_has_no_value_no_age_and_says_so(all_of, meter):
    i = index_of(meter, "active_power")
    assert (all_of.read(meter, i)[0], all_of.read(meter, i)[1], quality(all_of, meter, i)) == (None, None, "never")


def test_a_point_that_failed_before_its_first_read_was_still_never_read(all_of, meter):
    meter.blocks[0].failed = True
    assert quality(all_of, meter, index_of(meter, "active_power")) == "never"


def test_a_fresh_point_is_good(all_of, meter, now):
    store(meter.blocks[0], POWER, 100)
    power, voltage = index_of(meter, "active_power"), index_of(meter, "voltage_l1")
    assert (all_of.read(meter, power)[0], all_of.read(meter, voltage)[0]) == (1234.5, 230.1)
    assert quality(all_of, meter, power) == quality(all_of, meter, voltage) == "good"
    assert all_of.read(meter, power)[1] == 0
    now.now = 104
    assert all_of.read(meter, power)[1] == 4


def test_blocks_age_each_for_itself(all_of, meter, now):
    store(meter.blocks[0], POWER, 100)
    now.now = 110
    store(meter.blocks[1], struct.pack(">f", 2.5), 110)
    assert all_of.read(meter, index_of(meter, "voltage_l1"))[1] == 10
    assert all_of.read(meter, index_of(meter, "energy_total"))[1] == 0


@pytest.mark.parametrize(
    ("interval_s", "age", "wanted"), [(5, 15, "good"), (5, 16, "stale"), (1, 3, "good"), (1, 4, "stale")]
)
def test_a_point_is_stale_after_three_intervals(all_of, now, interval_s, age, wanted):
    meter = make_meter(interval_s=interval_s)
    store(meter.blocks[0], POWER, 100)
    now.now = 100 + age
    assert quality(all_of, meter, 0) == wanted
    assert all_of.read(meter, 0)[0] == 1234.5, "the last value stays; its quality warns"


def test_a_failed_read_is_told_before_staleness_and_keeps_the_value(all_of, meter, now):
    store(meter.blocks[0], POWER, 100)
    meter.blocks[0].failed = True
    now.now = 1000
    i = index_of(meter, "active_power")
    assert (quality(all_of, meter, i), all_of.read(meter, i)[0], all_of.read(meter, i)[1]) == ("failed", 1234.5, 900)


def test_nan_is_no_value(all_of, meter):
    store(meter.blocks[0], struct.pack(">fH", float("nan"), 0), 100)
    i = index_of(meter, "active_power")
    assert (quality(all_of, meter, i), all_of.read(meter, i)[0]) == ("no_value", None)
    assert quality(all_of, meter, index_of(meter, "voltage_l1")) == "good", "its neighbour is not concerned"


def test_a_failed_read_of_a_point_without_value_is_failed(all_of, meter):
    store(meter.blocks[0], struct.pack(">fH", float("inf"), 0), 100)
    meter.blocks[0].failed = True
    assert quality(all_of, meter, index_of(meter, "active_power")) == "failed"


def test_registers_that_the_meter_refuses_have_no_value(all_of, meter, now):
    meter.blocks[0].exception = 2
    assert all_of.read(meter, index_of(meter, "active_power")) == (None, None, readings.QUALITIES.index("no_value"))
    assert quality(all_of, meter, index_of(meter, "energy_total")) == "never"
    store(meter.blocks[0], POWER, 100)
    meter.blocks[0].refuse(2)
    now.now = 104
    assert all_of.read(meter, index_of(meter, "active_power")) == (None, 4, readings.QUALITIES.index("no_value"))


# -- counters that fall


class Counter:
    """A meter whose energy (kWh, float32) is polled; `falls` are those that were confirmed."""

    def __init__(self, all_of, now, kind="float32", order="big", use="accumulating", **change):
        rows = [
            [40, "energy_total", 4, 0, kind, 1000, "Wh", use],
            [1, "voltage_l1", 4, 8, kind, 1, "V", "instantaneous"],
        ]
        profile = profile_load.parse("test", document(*rows, word_order=order, gap=8))
        config = {**CONFIG, "ct_primary": 1, "ct_secondary": 1, "pt_primary": 1, "pt_secondary": 1, **change}
        self.meter = Meter(config, profile, profile_load.ratios(config))
        self.kind, self.order, self.all_of, self.now = kind, order, all_of, now
        self.falls = []

    def poll(self, energy, voltage=230):
        frame = b"..."
        for value in (energy, voltage):
            frame += on_the_wire(self.kind, self.order, value).ljust(16, b"\0")
        self.now.now += 5
        block = self.meter.blocks[0]
        self.falls += self.meter.store(block, bytearray(frame + b".."), 3, 5000, self.now.now)
        return self.shown()

    def shown(self):
        value, _, quality = self.all_of.read(self.meter, 0)
        return value, readings.QUALITIES[quality]


@pytest.fixture(params=["float32 big", "float32 little", "uint32 big", "int32 little", "uint64 big"])
def counter(request, all_of, now):
    return Counter(all_of, now, *request.param.split())


def test_a_total_never_falls_when_a_meter_restarts_at_0_and_recovers(counter):
    assert counter.poll(5000) == (5000000, "good")
    assert counter.poll(0) == (5000000, "held")
    assert counter.poll(0) == (5000000, "held")
    assert counter.poll(0) == (5000000, "held")
    assert counter.poll(5001) == (5001000, "good")
    assert counter.poll(5002) == (5002000, "good")
    assert counter.falls == []


def test_a_total_that_says_less_at_a_fourth_poll_is_taken_as_a_reset(counter):
    counter.poll(5000)
    for value in (0, 1, 2):
        assert counter.poll(value) == (5000000, "held")
    assert counter.poll(3) == (3000, "good")
    assert counter.falls == [(0, 5000000, 3000)]
    assert counter.poll(4) == (4000, "good")
    assert counter.poll(1) == (4000, "held"), "the next fall is counted anew"
    assert counter.poll(4) == (4000, "good")
    assert counter.poll(1) == (4000, "held")
    assert counter.poll(1) == (4000, "held")
    assert counter.poll(1) == (4000, "held")
    assert len(counter.falls) == 1


def test_a_fall_behind_an_outage_is_held_and_what_fails_meanwhile_says_failed(counter):
    counter.poll(5000)
    counter.meter.purge()
    assert counter.shown() == (5000000, "failed")
    assert counter.poll(0) == (5000000, "held")
    counter.meter.purge()
    assert counter.shown() == (5000000, "failed")
    assert counter.poll(5000) == (5000000, "good")


def test_a_counter_that_is_0_at_first_has_no_value_for_three_polls(counter):
    for _ in range(3):
        assert counter.poll(0) == (None, "no_value")
    assert counter.poll(0) == (0, "good")
    assert counter.poll(7) == (7000, "good")
    assert counter.falls == []


def test_a_meter_that_started_with_the_gateway_says_its_total_after_a_0(counter):
    assert counter.poll(0) == (None, "no_value")
    assert counter.poll(5000) == (5000000, "good")
    assert not counter.meter.held
    assert counter.poll(5001) == (5001000, "good")
    assert counter.falls == []


def test_a_total_that_has_no_value_for_a_while_does_not_fall_behind_it(all_of, now):
    counter = Counter(all_of, now)
    assert counter.poll(float("nan")) == (None, "no_value")
    assert counter.poll(5000) == (5000000, "good")
    for _ in range(5):
        assert counter.poll(float("nan")) == (None, "no_value")
    assert counter.poll(0) == (5000000, "held")
    assert counter.poll(3.4028234e38) == (None, "no_value")
    assert counter.poll(5000) == (5000000, "good")
    assert counter.falls == []


def test_a_net_total_and_an_instantaneous_value_may_fall(all_of, now):
    counter = Counter(all_of, now, use="net")
    for value in (5000, 4999, -2):
        assert counter.poll(value, voltage=value) == (1000 * value, "good")
        assert all_of.read(counter.meter, 1)[0] == value
    assert counter.meter.held is None


def test_a_held_total_is_behind_its_transformers(all_of, now):
    counter = Counter(all_of, now, ct_primary=40)
    counter.poll(5000)
    assert counter.poll(1) == (200000000, "held")


def test_a_counter_is_held_in_a_part_of_a_block_too(all_of, now):
    """A meter that refuses a block is read in parts of it."""
    energy = row(40, "energy", address=1, kind="uint32", use="accumulating")
    meter = Meter(CONFIG, profile_load.parse("test", document(row(1, "voltage"), energy)))
    (whole,) = meter.blocks
    meter.blocks = [Part(whole, 0, 1), Part(whole, 1, 2)]
    meter.block_of = bytes((0, 1))
    for value, wanted in ((7, (7, "good")), (0, (7, "held")), (8, (8, "good"))):
        assert not meter.store(meter.blocks[1], struct.pack(">I", value), 0, 0, now.now)
        shown, _, held = all_of.read(meter, 1)
        assert (shown, readings.QUALITIES[held]) == wanted


def test_an_inverted_meters_counters_are_held_where_they_are_read(all_of):
    meter = transformed(inverted=True)
    said(all_of, meter)
    names = [meter.profile.name_of(i) for i in range(len(meter.profile))]
    (block,) = [block for block in meter.blocks if block.first == 500]
    assert not meter.store(block, struct.pack(">I", 0), 0, 0, 100)
    value, _, held = all_of.read(meter, names.index("energy_import"))
    assert (value, readings.QUALITIES[held]) == (700, "held")
    value, _, good = all_of.read(meter, names.index("energy_export"))
    assert (value, readings.QUALITIES[good]) == (100000, "good")


def test_energy_is_an_integer_of_watt_hours(all_of, meter):
    store(meter.blocks[1], struct.pack(">f", 12345.678), 100)
    value = all_of.read(meter, index_of(meter, "energy_total"))[0]
    assert isinstance(value, int)
    assert value == pytest.approx(12345678, abs=1)


# -- transformers


def transformed(**change):
    """A meter as the application makes it: with the profile and the ratios of its configuration."""
    rows = [
        [1, "voltage_l1", 4, 0, "uint16", 0.1, "V", "instantaneous"],
        [9, "current_l1", 4, 1, "uint32", 0.001, "A", "instantaneous"],
        [16, "active_power", 4, 3, "float32", 1, "W", "instantaneous"],
        [28, "power_factor", 4, 5, "int16", 0.001, "", "instantaneous"],
        [15, "frequency", 4, 6, "uint16", 0.01, "Hz", "instantaneous"],
        [32, "energy_import", 4, 7, "uint32", 100, "Wh", "accumulating"],
        [36, "energy_export", 4, 500, "uint32", 100, "Wh", "accumulating"],
    ]
    known = {"test": profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows})}
    config = {**CONFIG, **change}
    return Meter(config, profile_load.of_meter(config, known), profile_load.ratios(config))


def said(all_of, meter):
    store(meter.blocks[0], struct.pack(">HIfhHI", 2301, 1234, -50.5, -999, 4998, 1000), 100)
    store(meter.blocks[1], struct.pack(">I", 7), 100)
    return {meter.profile.name_of(i): all_of.read(meter, i)[0] for i in range(len(meter.profile))}


def test_values_without_transformers_are_what_the_meter_said(all_of):
    meter = transformed()
    assert meter.ratios is None
    assert said(all_of, meter) == {
        "voltage_l1": 230.1, "current_l1": 1.234, "active_power": -50.5, "power_factor": -0.999, "frequency": 49.98,
        "energy_import": 100000, "energy_export": 700,
    }  # fmt: skip


def test_values_behind_transformers_are_those_of_the_primary_side(all_of):
    meter = transformed(ct_primary=200, ct_secondary=5, pt_primary=20000, pt_secondary=100)
    assert said(all_of, meter) == {
        "voltage_l1": 46020, "current_l1": 49.36, "active_power": -404000, "power_factor": -0.999, "frequency": 49.98,
        "energy_import": 800000000, "energy_export": 5600000,
    }  # fmt: skip


def test_an_inverted_meter_turns_powers_and_swaps_import_and_export(all_of, now):
    meter = transformed(inverted=True, ct_primary=10)
    assert said(all_of, meter) == {
        "voltage_l1": 230.1, "current_l1": 12.34, "active_power": 505, "power_factor": 0.999, "frequency": 49.98,
        "energy_import": 7000, "energy_export": 1000000,
    }  # fmt: skip
    # Age and quality are those of the registers that the value comes from.
    meter.blocks[1].failed = True
    now.now = 107
    meter.blocks[0].read_at_s = 105
    names = [meter.profile.name_of(i) for i in range(len(meter.profile))]
    assert all_of.read(meter, names.index("energy_import"))[1] == 7
    assert all_of.read(meter, names.index("energy_export"))[1] == 2
    assert quality(all_of, meter, names.index("energy_import")) == "failed"
    assert quality(all_of, meter, names.index("energy_export")) == "good"


def test_the_registers_of_a_meter_stay_what_it_said(all_of):
    plain, changed = transformed(), transformed(inverted=True, ct_primary=10, pt_primary=3)
    said(all_of, plain)
    said(all_of, changed)
    assert [block.raw for block in changed.blocks] == [block.raw for block in plain.blocks]
    assert [changed.point_id(i) for i in range(7)] == [plain.point_id(i) for i in range(7)]
    assert changed.profile.plan == plain.profile.plan


def test_a_poll_decodes_no_counter_that_says_what_it_said_before(counter, monkeypatch):
    counter.poll(5000)
    decoded = []
    decode = counter.meter.profile.decode
    monkeypatch.setattr(
        counter.meter.profile, "decode", lambda i, *arguments: decoded.append(i) or decode(i, *arguments)
    )
    counter.shown = lambda: None
    counter.poll(5000, voltage=231)
    assert decoded == []
    counter.poll(5001)
    assert set(decoded) == {0}

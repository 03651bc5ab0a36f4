"""Served meters: the registers of one kind of meter with the values of others, decoded here by tools.profiles."""

import functools
import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.meters import profile_loader
from firmware.meters.encoder import encode
from host_tests.unit.served_bench import IDENTITY, Bench, read
from tools import profiles

KINDS = profiles.available()
OUT_OF_DATE = 0x0B
NO_SUCH_ADDRESS = 0x02


@functools.cache
def loaded(kind):
    """The profile as the tools and as the firmware have it."""
    return profiles.load(kind), profile_loader.load(kind)


def decoded(served, kind, number):
    """(raw value, value in its unit) of a point as a master of that kind of meter reads it."""
    profile = profiles.load(kind)
    point = profile.point(number)
    words = read(served, point.function, point.address, point.size)
    if words == OUT_OF_DATE:
        return None, None
    assert isinstance(words, list), (point.name, words)
    raw = profiles.decode(words, point.type, profile.word_order)
    return raw, point.scaled(raw)


def tolerance(point, value):
    """Half of what the last bit of the registers is worth."""
    if point.type == "float32":
        return abs(value) * 2.0**-24 + 1e-7 * float(point.scale) + (0.5 if point.accumulating else 0)
    if point.type == "float64":
        return 0.5
    return float(point.scale) / 2 + abs(value) * 5e-7  # floats of the source have seven digits


@pytest.mark.parametrize("kind", KINDS)
def test_a_master_finds_the_values_of_every_kind_of_source(kind):
    profile = profiles.load(kind)
    compared = 0
    for source in KINDS:
        bench = Bench(source)
        bench.poll()
        served = bench.serve(kind)
        for point in profile.points:
            if point.number >= 128 and source != kind:
                continue
            try:
                wanted = bench.virtual[0].expected(point.number)
            except KeyError:
                continue
            raw, value = decoded(served, kind, point.number)
            if raw is None:  # the registers cannot hold it, nor say so
                assert wanted < 0
                assert profile.no_value == "none"
                assert point.type.startswith("uint")
                continue
            if profile.tenfold_frequency and point.unit == "Hz":
                assert value < 100
            # What the registers cannot hold is no value, not another one.
            if isinstance(raw, float) and math.isnan(raw):
                assert abs(wanted / float(point.scale)) >= 2**41
                continue
            assert value == pytest.approx(wanted, abs=tolerance(point, wanted), rel=1e-6), (source, point.name)
            compared += 1
    assert compared > len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_read_of_all_of_a_block_is_what_its_points_are_one_by_one(kind):
    bench = Bench("eastron-sdm630")
    bench.poll()
    served = bench.serve(kind)
    profile = profiles.load(kind)
    for function, first, count in profile_loader.load(kind).plan:
        words = read(served, function, first, count)
        for point in profile.points:
            if point.function == function and first <= point.address < first + count:
                at = point.address - first
                assert words[at : at + point.size] == read(served, function, point.address, point.size)
                # A read may begin and end within a value.
                assert words[at : at + 1] == read(served, function, point.address, 1) or point.size == 1


def test_registers_between_points_are_zero_and_others_are_refused():
    bench = Bench("eastron-sdm630")
    bench.poll()
    served = bench.serve("eastron-sdm630")
    assert read(served, 4, 28, 30)[14:] != [0] * 16
    assert read(served, 4, 29, 1) == NO_SUCH_ADDRESS or read(served, 4, 28, 2)
    assert read(served, 4, 5000, 2) == NO_SUCH_ADDRESS
    assert read(served, 3, 0, 2) == NO_SUCH_ADDRESS
    assert read(served, 4, 0, 126) == 0x03
    assert read(served, 4, 0, 0) == 0x03
    assert read(served, 6, 0, 1) == 0x01


def test_the_code_of_the_kind_is_there_also_where_it_is_within_a_value():
    bench = Bench("eastron-sdm630")
    bench.poll()
    assert read(bench.serve("eastron-sdm630"), 3, 0xFC02, 1) == [112]
    served = bench.serve("carlo-gavazzi-em340")
    assert read(served, 4, 11, 1) == [331]
    volts = round(10 * bench.virtual[0].expected(7))
    assert read(served, 4, 10, 2) == [volts & 0xFFFF, volts >> 16]


def test_constants_of_a_profile_are_served(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "meters").mkdir(parents=True)
    document = (profiles.METERS_DIR / "pzem-004t-v3.json").read_text(encoding="utf-8")
    document = document.replace('"columns"', '"constants": [[3, 100, [1, 65535]], [3, 200, "SN7"]], "columns"', 1)
    (tmp_path / "data" / "meters" / "mine.json").write_text(document, encoding="utf-8")
    bench = Bench("pzem-004t-v3")
    bench.poll()
    served = bench.serve("mine")
    assert read(served, 3, 100, 2) == [1, 0xFFFF]
    assert read(served, 3, 99, 4) == [0, 1, 0xFFFF, 0]
    assert read(served, 3, 200, 2) == [0x534E, 0x3700]


@pytest.mark.parametrize(("constants", "where"), [
    ("1", "constants: must be"), ("[[3, 1]]", "constants[0].row"), ("[[5, 1, [1]]]", "constants[0].function"),
    ("[[3, 65536, [1]]]", "constants[0].address"), ("[[3, 1, [65536]]]", "constants[0].content"),
    ("[[3, 1, []]]", "constants[0].content"), ('[[3, 1, ""]]', "constants[0].content"),
    ("[[3, 65535, [1, 2]]]", "constants[0].address"), ('[[3, 1, "\u00e4"]]', "constants[0].content"),
])  # fmt: skip
def test_wrong_constants_are_refused_by_name(tmp_path, monkeypatch, constants, where):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "meters").mkdir(parents=True)
    document = (profiles.METERS_DIR / "pzem-004t-v3.json").read_text(encoding="utf-8")
    document = document.replace('"columns"', f'"constants": {constants}, "columns"', 1)
    (tmp_path / "data" / "meters" / "mine.json").write_text(document, encoding="utf-8")
    with pytest.raises(profile_loader.ProfileError) as error:
        profile_loader.load("mine")
    assert f"profile mine: {where}" in str(error.value)


# Sums


def test_meters_are_added_and_subtracted():
    bench = Bench("eastron-sdm630", "eastron-sdm630", "pzem-004t-v3")
    bench.poll()
    served = bench.serve("eastron-sdm630", meters="0+1")
    one, two = bench.virtual[0], bench.virtual[1]
    for number in (9, 16, 17, 20, 24, 32, 36):
        wanted = one.expected(number) + two.expected(number)
        assert decoded(served, "eastron-sdm630", number)[1] == pytest.approx(wanted, rel=1e-6, abs=1)
    assert decoded(served, "eastron-sdm630", 1)[1] == pytest.approx(one.expected(1), rel=1e-6)
    assert decoded(served, "eastron-sdm630", 28)[1] == 0  # power factors have no sum
    served = bench.serve("eastron-sdm630", meters="-0+1")
    wanted = two.expected(16) - one.expected(16)
    assert decoded(served, "eastron-sdm630", 16)[1] == pytest.approx(wanted, rel=1e-6, abs=1e-3)
    # What one imports the other has exported.
    for number, other in ((32, 36), (36, 32)):
        wanted = two.expected(number) + one.expected(other)
        assert decoded(served, "eastron-sdm630", number)[1] == pytest.approx(wanted, rel=1e-6)
    assert decoded(served, "eastron-sdm630", 9)[1] == 0  # currents without a sign
    # A sum of which a part is not measured is not known.
    assert decoded(bench.serve("eastron-sdm630", meters="0+2"), "eastron-sdm630", 18)[1] == 0


def test_one_meter_may_be_served_with_the_other_sign():
    bench = Bench("eastron-sdm630")
    bench.poll()
    served = bench.serve("eastron-sdm630", meters="-0")
    power = bench.virtual[0].expected(16)
    assert decoded(served, "eastron-sdm630", 16)[1] == pytest.approx(-power, rel=1e-6)
    assert decoded(served, "eastron-sdm630", 1)[1] > 200
    assert decoded(served, "eastron-sdm630", 9)[1] == pytest.approx(bench.virtual[0].expected(9), rel=1e-6)
    for number, other in ((32, 36), (37, 33), (44, 48), (40, 40)):
        wanted = bench.virtual[0].expected(other)
        assert decoded(served, "eastron-sdm630", number)[1] == pytest.approx(wanted, rel=1e-6), number


# What the source does not have as such


def test_a_meter_of_one_phase_is_phase_1():
    bench = Bench("pzem-004t-v3")
    bench.poll()
    served = bench.serve("eastron-sdm630")
    power, energy = bench.virtual[0].expected("active_power"), bench.virtual[0].expected("energy_total")
    assert decoded(served, "eastron-sdm630", 16)[1] == pytest.approx(power, rel=1e-6)
    assert decoded(served, "eastron-sdm630", 17)[1] == pytest.approx(power, rel=1e-6)
    assert decoded(served, "eastron-sdm630", 18)[1] == 0
    assert decoded(served, "eastron-sdm630", 32)[1] == energy  # it knows no direction
    assert decoded(served, "eastron-sdm630", 36)[1] == 0
    assert decoded(served, "eastron-sdm630", 2)[1] == 0


def test_a_total_that_is_not_measured_is_the_sum_of_the_phases():
    bench = Bench("schneider-iem3150")
    bench.poll()
    served = bench.serve("eastron-sdm630")
    meter = bench.virtual[0]
    assert decoded(served, "eastron-sdm630", 16)[1] == pytest.approx(meter.expected(16), rel=1e-5)
    bench = Bench("sunspec-213")
    bench.poll()
    served = bench.serve("eastron-sdm630")
    both = bench.virtual[0].expected(32) + bench.virtual[0].expected(36)
    assert decoded(served, "eastron-sdm630", 40)[1] == pytest.approx(both, rel=1e-6)


def test_a_gx_device_finds_the_meter_that_it_knows():
    """The reads of Victron's dbus-modbus-client, in its order, by function 3; those of mbmd go by function 4."""
    bench = Bench("pzem-004t-v3")
    bench.poll()
    served = bench.serve("carlo-gavazzi-em24-e1", unit=100)
    for address, registers in ((0x0B, [1648]), (0xA000, [7]), (0x0302, [0x101E]), (0x0304, [0x101E]), (0x1002, [0])):
        assert read(served, 3, address, 1) == registers
    assert struct.pack(">7H", *read(served, 3, 0x5000, 7)) == b"METERPORT00001"
    words = read(served, 3, 0, 80)
    assert words == read(served, 4, 0, 80)

    def value(at):
        return struct.unpack(">i", struct.pack(">HH", words[at + 1], words[at]))[0]

    meter = bench.virtual[0]
    assert value(0) == round(10 * meter.expected("voltage_l1"))
    assert value(0x28) == value(0x12) == round(10 * meter.expected("active_power"))
    assert value(0x34) == round(meter.expected("energy_total") / 100)
    assert value(2) == value(0x0E) == value(0x14) == value(0x42) == 0  # it has one phase
    assert words[0x33] == round(10 * meter.expected("frequency"))


def test_what_is_not_measured_reads_as_the_kind_says_it():
    bench = Bench("pzem-004t-v3")
    bench.poll()
    served = bench.serve("abb-b23")  # "maximum"
    for number, words in ((24, [0x7FFF, 0xFFFF]), (2, [0, 0])):  # apparent power; phase 2
        point = profiles.load("abb-b23").point(number)
        assert read(served, point.function, point.address, point.size) == words


def test_an_energy_that_is_not_counted_is_served_in_its_unit(tmp_path, monkeypatch):
    """A user's profile may call it instantaneous: then it is no integer, and plain_real() gives no kWh."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "meters").mkdir(parents=True)
    document = (profiles.METERS_DIR / "eastron-sdm72d-m.json").read_text(encoding="utf-8")
    document = document.replace('"Wh", "accumulating"', '"Wh", "instantaneous"')
    (tmp_path / "data" / "meters" / "mine.json").write_text(document, encoding="utf-8")
    bench = Bench("eastron-sdm72d-m")
    bench.poll()
    wanted = bench.virtual[0].expected(32) / 1000

    def served(kind):
        return struct.unpack(">f", struct.pack(">2H", *read(bench.serve(kind), 4, 72, 2)))[0]

    assert served("eastron-sdm72d-m") == served("mine") == pytest.approx(wanted, abs=0.0006)
    bench.meters[0].profile = profile_loader.load("mine")
    assert served("eastron-sdm72d-m") == pytest.approx(wanted, abs=0.0006)
    assert served("mine") == pytest.approx(wanted, abs=0.0006)


# Old readings


def test_an_old_reading_is_an_exception():
    bench = Bench("eastron-sdm630")
    served = bench.serve("eastron-sdm630")
    assert read(served, 4, 0, 2) == OUT_OF_DATE  # never read
    bench.poll()
    assert isinstance(read(served, 4, 0, 2), list)
    bench.now_s += 16
    assert read(served, 4, 0, 2) == OUT_OF_DATE
    assert read(served, 3, 0xFC02, 1) == [112]
    bench.poll()
    assert isinstance(read(served, 4, 0, 2), list)
    bench.meters[0].purge()
    bench.now_s += 1
    assert read(served, 4, 0, 2) == OUT_OF_DATE


def test_an_old_reading_is_nan_where_that_is_asked_for():
    bench = Bench("eastron-sdm630")
    served = bench.serve("eastron-sdm630", stale="nan")
    assert read(served, 4, 0, 2) == [0x7FC0, 0]
    served = bench.serve("pzem-004t-v3", stale="nan")  # which has no way to say so
    assert read(served, 4, 0, 2) == OUT_OF_DATE


def test_the_last_reading_serves_for_a_while():
    bench = Bench("eastron-sdm630")
    bench.poll()
    served = bench.serve("eastron-sdm630", stale="last", last_s=60)
    fresh = read(served, 4, 0, 2)
    bench.now_s += 60
    assert read(served, 4, 0, 2) == fresh
    bench.now_s += 1
    assert read(served, 4, 0, 2) == OUT_OF_DATE


def test_one_stale_meter_spoils_a_sum():
    bench = Bench("eastron-sdm630", "eastron-sdm630")
    bench.poll()
    served = bench.serve("eastron-sdm630", meters="0+1")
    assert isinstance(read(served, 4, 52, 2), list)
    bench.meters[1].purge()
    bench.now_s += 1
    assert read(served, 4, 52, 2) == OUT_OF_DATE
    assert isinstance(read(served, 4, 0, 2), list)  # the first meter's voltage


def test_a_counter_that_has_fallen_is_served_as_it_was():
    bench = Bench("eastron-sdm630")
    bench.poll()
    served = bench.serve("eastron-sdm630")
    before = decoded(served, "eastron-sdm630", 32)[1]
    bench.virtual[0].set("energy_import", 0)
    bench.poll()
    assert decoded(served, "eastron-sdm630", 32)[1] == before


# Values that do not fit


@pytest.mark.parametrize(("kind", "number", "value"), [
    ("pzem-004t-v3", 1, 6553.6), ("pzem-004t-v3", 1, -0.1), ("carlo-gavazzi-em340", 1, 2**31 / 10),
    ("abb-b23", 1, (2**32 - 1) / 10), ("schneider-iem3150", 32, 2**48), ("eastron-sdm630", 16, 2**41),
])  # fmt: skip
def test_a_value_that_the_registers_cannot_hold_is_not_another_one(kind, number, value):
    profile = profile_loader.load(kind)
    i = profile.index_of(number)
    assert not encode(profile, i, round(10 * value) << 4 | 1, bytearray(8))


@pytest.mark.parametrize("number", [0, 1, -1, 3, 10, 123456789012, -98765432109876, 2**53 + 1, 2**40 - 1])
@pytest.mark.parametrize("decimals", [0, 1, 7])
def test_floats_are_the_nearest(number, decimals):
    profile = profile_loader.load("siemens-pac2200")
    value = Fraction(number, 10**decimals)
    for name, code in (("energy_import", ">d"), ("active_power", ">f")):
        i = [profile.name_of(k) for k in range(len(profile))].index(name)
        out = bytearray(8)
        if abs(value) < 2**40:
            assert encode(profile, i, number << 4 | decimals, out)
            size = struct.calcsize(code)
            assert bytes(out[:size]) == struct.pack(code, float(value))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_value_comes_back_or_is_refused(kind, data):
    """By the decoder of tools.profiles: within half of the last bit, or encode() says that it does not fit."""
    facts, profile = loaded(kind)
    point = data.draw(st.sampled_from(facts.points))
    number = data.draw(st.integers(-(10**13), 10**13))
    decimals = 0 if point.accumulating else data.draw(st.integers(0, 7))
    i = profile.index_of(point.number)
    out = bytearray(8)
    value = Fraction(number, 10**decimals)
    if encode(profile, i, number << 4 | decimals, out):
        words = struct.unpack(f">{point.size}H", out[: 2 * point.size])
        raw = profiles.decode(words, point.type, facts.word_order)
        last_bit = Fraction(str(point.scale)) if "int" in point.type else abs(value) * Fraction(1, 2**23) + 1e-30
        assert abs(Fraction(raw) * Fraction(str(point.scale)) - value) <= last_bit / 2
    else:
        raw = value / Fraction(str(point.scale))
        bits = 16 * point.size
        least, most = (0, 2**bits) if point.type.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1))
        if bits == 64:
            least, most = max(least, -(2**48)), 2**48
        if point.type.startswith("float"):
            assert abs(raw) >= 2**41 - 2**17
        else:  # the ends may mean "no value"
            assert raw < least + 2 or raw >= most - 2


# The list


def test_units_without_meters_and_units_of_meters_are_left_out_and_named():
    bench = Bench("eastron-sdm630")
    assert bench.serve("eastron-sdm630", meters="0+7") is None
    assert bench.serve("eastron-sdm630", unit=1) is None
    assert bench.log.texts() == [
        "unit 200 is not served: a meter of 0+7 is missing", "unit 1 is not served: a meter has this unit",
    ]  # fmt: skip


# SunSpec


def walk(served):
    """{model: its registers} as a SunSpec client finds them."""
    assert read(served, 3, 40000, 2) == [0x5375, 0x6E53]
    models = {}
    at = 40002
    while True:
        number, length = read(served, 3, at, 2)
        if number == 0xFFFF:
            return models
        words = []
        while len(words) < length:
            words += read(served, 3, at + 2 + len(words), min(length - len(words), 125))
        models[number] = words
        at += 2 + length


def test_sunspec_masters_find_the_models():
    bench = Bench("eastron-sdm630")
    bench.poll()
    served = bench.serve(sunspec=True)
    models = walk(served)
    assert {number: len(words) for number, words in models.items()} == {1: 65, 213: 124, 203: 105}
    text = struct.pack(">65H", *models[1])
    assert [text[:32].rstrip(b"\0"), text[32:64].rstrip(b"\0"), text[96:128].rstrip(b"\0")] == [
        b"meterport", IDENTITY[0].encode(), IDENTITY[1].encode(),
    ]  # fmt: skip
    meter = bench.virtual[0]
    power = meter.expected(16)
    assert struct.unpack(">f", struct.pack(">2H", *models[213][26:28]))[0] == pytest.approx(power, rel=1e-6)
    scale = struct.unpack(">h", struct.pack(">H", models[203][20]))[0]
    raw = struct.unpack(">h", struct.pack(">H", models[203][16]))[0]
    assert raw * 10**scale == pytest.approx(power, abs=5)
    energy = models[203][44] << 16 | models[203][45]
    assert energy == meter.expected(32)
    # Apparent energies, which nobody measures.
    assert models[213][74:76] == [0x7FC0, 0]
    assert models[203][53:55] == [0, 0]


def test_what_sunspec_lacks_is_not_implemented():
    bench = Bench("pzem-004t-v3")
    bench.poll()
    models = walk(bench.serve(sunspec=True))
    assert models[203][7] == 0x8000  # voltage of phase 2
    assert models[213][12:14] == [0x7FC0, 0]
    assert models[203][38:40] == [0, 0]  # an energy counter

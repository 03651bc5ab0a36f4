"""GET /api/readings: the text of every value, compared with exact fractions."""

import json
import struct
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.meters import profile_loader, refusals
from firmware.meters.meter import Meter
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net import seam
from firmware.services.http.documents.readings import ReadingsDocument
from firmware.services.http.response import Refused
from firmware.services.http.response_writer import BLOCK, PIECE, ROOM
from host_tests.unit.fakes import Uptime, defaults, store
from host_tests.unit.profile_rows import FORMATS, SIZES, document, is_measurable, nearest, row, transformers
from host_tests.unit.the_schema import METER
from tools import profiles

WHOLE = SimpleNamespace(query=b"")  # a request


def meter_of(rows, slot=5, **change):
    given = defaults(METER, slot=slot, name="main", unit=7, profile="test", **change)
    profile = profile_loader.parse("test", document(*rows))
    return Meter(given, profile, profile_loader.ratios(transformers(**change)))


def text_of(*meters, now_s=100, query=b""):
    out = seam.Sink(1000)
    uptime_s = Uptime(now_s)
    buses = [SimpleNamespace(fault_text=lambda meter: "")]
    made = ReadingsDocument(out, SimpleNamespace(uptime_s=uptime_s), Meters(list(meters)), Readings(uptime_s), buses)
    for _ in made.get(SimpleNamespace(query=query)).body:
        pass
    return out.getvalue()


def points_of(*meters, now_s=100):
    """All points; numbers as texts."""
    found = json.loads(text_of(*meters, now_s=now_s), parse_float=str, parse_int=str)
    return [point for meter in found["meters"] for point in meter["points"]]


SEVEN_DIGITS = Fraction(5, 10**7)  # of a number that is rounded to seven digits: half of the last one, at worst


@pytest.mark.parametrize("kind", SIZES)
@given(
    data=st.data(),
    scale=st.sampled_from([1, 1000, 100, 0.1, 0.01, 0.001, 0.0001, 0.5, 0.3]),
    ct=st.sampled_from([1, 40, 3]),
)
@settings(max_examples=150, deadline=None)
def test_a_value_is_written_with_all_that_the_meter_said(kind, data, scale, ct):
    """The digits of a scaled integer, seven of a float (seven decimals when it is below 1), rounded as they should.
    Beside it stands what unit 255 shows: the same, as near as a float is."""
    size = 2 * SIZES[kind]
    if kind == "float32":
        number = st.one_of(
            st.floats(width=32), st.floats(-1e6, 1e6, width=32), st.sampled_from([0.0005, -0.0005, -0.0])
        )
        raw = struct.pack(">f", data.draw(number))
    else:
        raw = data.draw(st.integers(0, 256**size - 1)).to_bytes(size, "big")
    (value,) = struct.unpack(">" + FORMATS[kind], raw)
    meter = meter_of([row(9, "current", kind=kind, scale=scale, unit="A")], ct_primary=ct)
    store(meter.blocks[0], raw, 100)
    (point,) = points_of(meter)
    if not is_measurable(kind, value):
        assert (point["value"], point["quality"]) == (None, "no_value")
        return
    exact = Fraction(value) * Fraction(str(scale)) * ct
    written = Fraction(point["value"])
    if kind.startswith("float"):
        # What the meter said is rounded before it is scaled.
        half_of_seventh_decimal = max(1, Fraction(str(scale)) * ct) / (2 * 10**7)
        assert abs(written - exact) <= max(abs(exact) * SEVEN_DIGITS, half_of_seventh_decimal)
    else:
        assert written == exact
    decimals = len(point["value"].partition(".")[2])
    assert written == Fraction(nearest(exact * 10**decimals), 10**decimals)
    assert Readings(Uptime(100)).read(meter, 0)[0] == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-0.0, "0"), (230, "230"), (230.125, "230.1250"), (-230.125, "-230.1250"), (0.0625, "0.0625000"),
        (-0.0625, "-0.0625000"), (0.0004, "0.0004000"), (-0.0004, "-0.0004000"), (0.001, "0.0010000"),
        (-0.5, "-0.5000000"), (49.98, "49.98000"), (16777216, "16777216"), (2.0e12, "1999999991808"), (1e-40, "0"),
        (4e-8, "0"), (6e-8, "0.0000001"), (0.99999994, "0.9999999"), (1.005859375, "1.0058594"),
        (3.14159274, "3.141593"), (98765.43, "98765.43"), (131071.99, "131071.99"), (524287.9, "524287.9"),
        (1e6, "1000000"), (1234567.9, "1234567.9"),
    ],
)  # fmt: skip
def test_how_a_number_is_written(value, text):
    meter = meter_of([row(1, "voltage", kind="float32", unit="V")])
    store(meter.blocks[0], struct.pack(">f", value), 100)
    assert points_of(meter)[0]["value"] == text


@pytest.mark.parametrize("profile_name", profiles.available())
def test_no_piece_of_the_document_goes_beyond_the_room_of_the_sink(profile_name):
    given = defaults(METER, slot=63, name="m" * 32 + " 63", unit=247, profile=profile_name)
    meter = Meter(given, profile_loader.load(profile_name))
    for block in meter.blocks:
        block.store(bytes((0x4B, 0x12, 0x34, 0x56)) * 63, 0, 0, 0)
    reason = "refuses registers " + ", ".join(["12345 to 12346 of function 4"] * 3) + " and 10 more ranges"
    out = seam.Sink(1000)
    uptime_s = Uptime(99_999_999)
    buses = [SimpleNamespace(fault_text=lambda meter: reason)]
    made = ReadingsDocument(
        out, SimpleNamespace(uptime_s=uptime_s), SimpleNamespace(meters=[meter] * 20), Readings(uptime_s), buses
    )
    pieces = longest = 0
    for full in made.get(WHOLE).body:  # emptied as response_writer does it
        pieces += 1
        longest = max(longest, out.tell())
        if full is not None or out.tell() >= ROOM:
            rest = out.getvalue()[ROOM : out.tell()]
            out.seek(0)
            out.write(rest)
    assert pieces > 1
    assert max(longest, out.tell()) <= BLOCK + PIECE


def test_energies_stay_whole_beyond_31_bits():
    rows = [
        row(32, "import", kind="float32", scale=1000, unit="Wh", use="accumulating"),
        row(36, "export", address=2, kind="uint64", scale=10, unit="Wh", use="accumulating"),
    ]
    meter = meter_of(rows)
    store(meter.blocks[0], struct.pack(">fQ", 16777215, 2**48 - 1), 100)
    assert [point["value"] for point in points_of(meter)] == ["16777215000", str(10 * (2**48 - 1))]


@pytest.mark.parametrize("count", range(1, 8))
def test_points_of_any_number_are_json_with_their_own_name_id_and_unit(count):
    rows = [row(10 * k + 1, "n" * (k + 1), address=500 * k, unit=("V", "A", "")[k % 3]) for k in range(count)]
    meters = [meter_of(rows), meter_of(rows[:1], slot=6)]
    for block in meters[0].blocks[::2]:
        store(block, b"\x00\x07", 90)
    found = points_of(*meters)
    wanted = [
        {
            "id": str(5 * 256 + 10 * k + 1), "name": "n" * (k + 1), "value": None if k % 2 else "7",
            "unit": ("V", "A", "")[k % 3], "age_s": None if k % 2 else "10", "quality": "never" if k % 2 else "good",
        }
        for k in range(count)
    ]  # fmt: skip
    last = {"id": str(6 * 256 + 1), "name": "n", "value": None, "unit": "V", "age_s": None, "quality": "never"}
    assert found == [*wanted, last]


def test_points_without_a_value_and_held_ones_are_as_readings_decide():
    rows = [
        row(1, "voltage", kind="float32", unit="V"),
        row(32, "import", address=2, kind="float32", scale=1000, unit="Wh", use="accumulating"),
        row(2, "other", address=4, kind="float32", unit="V"),
    ]
    meter = meter_of(rows)
    (block,) = meter.blocks
    for value in (5, 1):
        meter.store(block, struct.pack(">fff", float("nan"), value, 1.5), 0, 0, 98)
    told = [(point["value"], point["age_s"], point["quality"]) for point in points_of(meter)]
    assert told == [(None, "2", "no_value"), ("5000", "2", "held"), ("1.5000000", "2", "good")]
    block.purge()
    told = [(point["value"], point["age_s"], point["quality"]) for point in points_of(meter)]
    assert told == [(None, "2", "failed"), ("5000", "2", "failed"), ("1.5000000", "2", "failed")]
    block.refuse(2)
    told = [(point["value"], point["age_s"], point["quality"]) for point in points_of(meter)]
    assert told == [(None, "2", "no_value")] * 3


def test_a_read_refused_while_the_document_is_written_changes_no_other_point():
    """Its plan of reads changes between two pieces; every value stays that of its own point."""
    rows = [row(k + 1, f"p{k}", address=k, unit="V") for k in range(40)]
    for change_at in range(20):
        meter = meter_of(rows)
        store(meter.blocks[0], b"".join(k.to_bytes(2, "big") for k in range(40)), 90)
        out = seam.Sink(1000)
        buses = [SimpleNamespace(fault_text=lambda meter: "")]
        clock = SimpleNamespace(uptime_s=Uptime(100))
        made = ReadingsDocument(out, clock, Meters([meter]), Readings(clock.uptime_s), buses)
        for pieces, _ in enumerate(made.get(WHOLE).body):
            if pieces == change_at:
                for _ in range(6):
                    refusals.note(meter, 0, 2)
                assert len(meter.blocks) > 1
        found = [point["value"] for point in json.loads(out.getvalue())["meters"][0]["points"]]
        assert [value for value in found if value is not None] == [k for k in range(40) if found[k] is not None]
        written = 2 * change_at + 1
        assert found[:written] == list(range(written))


@pytest.mark.parametrize("name", ["elkor-wattson-mcm", "eastron-sdm120", "pzem-004t-v3"])
@pytest.mark.parametrize("numbers", [[16], [1], [40, 1, 16], list(range(0, 256, 8)), [255], list(range(224, 256))])
def test_only_wanted_points_are_written_as_they_are_in_the_whole_document(name, numbers):
    meter = Meter(defaults(METER, slot=5, name="main", unit=7, profile=name), profile_loader.load(name), None)
    for block in meter.blocks:
        store(block, bytes(range(len(block.raw))), 90)
    whole = [point for point in points_of(meter) if int(point["id"]) & 255 in numbers]
    query = b"points=" + b",".join(b"%d" % number for number in numbers)
    found = json.loads(text_of(meter, query=query), parse_float=str, parse_int=str)["meters"][0]["points"]
    assert found == whole


def test_one_meter_alone_is_written_by_its_slot():
    meters = [meter_of([row(1, "voltage_l1")], slot=slot) for slot in (0, 5, 50)]
    found = json.loads(text_of(*meters, query=b"meter=5&points=1"))["meters"]
    assert [(meter["slot"], [point["id"] for point in meter["points"]]) for meter in found] == [(5, [0x501])]


@pytest.mark.parametrize(
    "query",
    [b"points=", b"points=256", b"points=1,", b"points=-1", b"points=one", b"points=" + b"1," * 32 + b"1", b"point=1"],
)
def test_a_wrong_query_is_refused_with_what_would_be_right(query):
    with pytest.raises(ValueError, match="such as 1,16,32|known are"):
        text_of(meter_of([row(1, "voltage_l1")]), query=query)


@pytest.mark.parametrize("slot", [b"6", b"05", b"-5", b"", b"x"])
def test_a_slot_that_no_meter_has_is_not_found(slot):
    with pytest.raises(Refused) as refused:
        text_of(meter_of([row(1, "voltage_l1")]), query=b"meter=" + slot)
    assert refused.value.status == 404

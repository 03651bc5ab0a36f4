"""Profiles: registers that mean "no value", and meters behind transformers or with these the wrong way round."""

import math
import struct
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.meters import profile
from firmware.meters import profile_loader as profile_load
from host_tests.unit.profile_rows import SIZES, document, is_measurable, nearest, on_the_wire, row, transformers
from tools import profiles

# -- no value

SIGNED, UNSIGNED = ("int16", "int32", "int64"), ("uint16", "uint32", "uint64")


def void_point(kind, no_value, order="big"):
    return profile_load.parse("test", document(row(kind=kind), no_value=no_value, word_order=order))


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("kind", SIGNED + UNSIGNED)
@pytest.mark.parametrize(("no_value", "signed"), [("maximum", 0x7F), ("sunspec", 0x80)])
def test_the_integer_that_means_no_value_is_none(kind, no_value, signed, order):
    bits = 16 * SIZES[kind]
    if kind in UNSIGNED:
        void = 2**bits - 1
    else:
        void = 2 ** (bits - 1) - 1 if signed == 0x7F else -(2 ** (bits - 1))
    parsed = void_point(kind, no_value, order)
    assert parsed.decode(0, bytearray(on_the_wire(kind, order, void))) is None
    assert parsed.decode(0, on_the_wire(kind, order, void)) is None
    kept = void if is_measurable(kind, void) else None
    assert void_point(kind, "none", order).decode(0, on_the_wire(kind, order, void)) == kept


@pytest.mark.parametrize("no_value", ["maximum", "sunspec"])
@pytest.mark.parametrize("kind", SIGNED + UNSIGNED)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_every_other_integer_is_a_value(kind, no_value, data):
    bits = 16 * SIZES[kind]
    low, high = (0, 2**bits - 2) if kind in UNSIGNED else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    low, high = max(low, -(2**48)), min(high, 2**48 - 1)
    value = data.draw(st.one_of(st.integers(low, high), st.sampled_from([low + 1, high - 1, 0])))
    if kind in SIGNED and bits < 64 and value == (high if no_value == "maximum" else low):
        return
    assert void_point(kind, no_value).decode(0, on_the_wire(kind, "big", value)) == value


# -- transformers

UNIT_CLASS = {"V": "pt", "A": "ct", "W": "both", "var": "both", "VA": "both", "Wh": "both", "varh": "both",
              "VAh": "both", "Hz": "none", "": "none"}  # fmt: skip


def test_every_unit_has_a_ratio():
    assert set(UNIT_CLASS) == set(profile.UNITS)


@pytest.mark.parametrize("unit", UNIT_CLASS)
@pytest.mark.parametrize("kind", SIZES)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_value_is_multiplied_with_the_ratios_of_its_unit(unit, kind, data):
    ratio = st.integers(1, 1000000)
    config = {key: data.draw(ratio) for key in ("ct_primary", "ct_secondary", "pt_primary", "pt_secondary")}
    ct = Fraction(config["ct_primary"], config["ct_secondary"])
    pt = Fraction(config["pt_primary"], config["pt_secondary"])
    factor = {"ct": ct, "pt": pt, "both": ct * pt, "none": Fraction(1)}[UNIT_CLASS[unit]]
    use = "accumulating" if unit.endswith("h") else "instantaneous"
    raw = data.draw(st.integers(0, 32767))
    parsed = profile_load.parse("test", document(row(kind=kind, scale=0.1, unit=unit, use=use)))
    got = parsed.decode(0, on_the_wire(kind, "big", raw), profile_load.ratios(config))
    exact = Fraction(raw, 10) * factor
    if use == "accumulating":
        assert got == nearest(exact)
        assert isinstance(got, int)
    else:
        assert got == pytest.approx(float(exact), rel=1e-9)


@given(bits=st.integers(0, 2**32 - 1), ct=st.integers(1, 10**6), pt=st.integers(1, 10**6), by=st.integers(1, 5000))
@settings(max_examples=200, deadline=None)
def test_float_energy_behind_transformers_is_exact(bits, ct, pt, by):
    raw = bits.to_bytes(4, "big")
    (value,) = struct.unpack(">f", raw)
    parsed = profile_load.parse("test", document(row(kind="float32", scale=1000, unit="Wh", use="accumulating")))
    ratios = profile_load.ratios(transformers(ct_primary=ct, ct_secondary=by, pt_primary=pt))
    got = parsed.decode(0, raw, ratios)
    if is_measurable("float32", value):
        assert got == nearest(Fraction(value) * 1000 * Fraction(ct, by) * pt)
    else:
        assert got is None


@pytest.mark.parametrize(
    "config", [{}, {"ct_primary": 5, "ct_secondary": 5}, {"ct_primary": 1}, {"inverted": True}, {"inverted": False}]
)
def test_a_meter_without_transformers_has_no_ratios(config):
    assert profile_load.ratios(transformers(**config)) is None


def test_ratios_are_in_lowest_terms():
    config = {"ct_primary": 600, "ct_secondary": 5, "pt_primary": 20000, "pt_secondary": 100}
    assert profile_load.ratios(config) == (1, 1, 200, 1, 120, 1, 24000, 1)


# -- inverted


def inverted_pair(*rows, **change):
    parsed = profile_load.parse("test", document(*rows, **change))
    return parsed, profile_load.inverted(parsed)


@pytest.mark.parametrize(
    ("number", "unit", "change", "turns"),
    [
        (16, "W", {}, True), (17, "W", {}, True), (23, "var", {}, True), (24, "VA", {}, False), (1, "V", {}, False),
        (9, "A", {}, False), (9, "A", {"signed_current": True}, True), (28, "", {}, True), (31, "", {}, True),
        (128, "", {}, False), (15, "Hz", {}, False), (130, "W", {}, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["int16", "int32", "float32"])
@pytest.mark.parametrize("scale", [1, 0.1, 1000])
def test_inverted_turns_the_sign_of_what_has_a_direction(number, unit, change, turns, kind, scale):
    plain, turned = inverted_pair(row(number, unit=unit, kind=kind, scale=scale), **change)
    for raw in (1234, -1234, 0):
        value = plain.decode(0, on_the_wire(kind, "big", raw))
        got = turned.decode(0, on_the_wire(kind, "big", raw))
        assert got == (-value if turns else value)
        assert math.copysign(1, got or 1) == math.copysign(1, got or 0.0), "no -0"


def test_inverted_import_and_export_change_places():
    def energy(number, address, unit="Wh", kind="uint32", scale=100):
        return row(number, f"n{number}", address=address, kind=kind, scale=scale, unit=unit, use="accumulating")

    plain, turned = inverted_pair(
        energy(32, 0), energy(36, 2), energy(33, 4), energy(37, 600), energy(44, 8, "varh"), energy(48, 10, "varh"),
        energy(34, 12), energy(38, 14, scale=10), energy(35, 16), energy(40, 18), energy(47, 20, "varh"),
        energy(51, 22, "varh"), row(1, "v", address=24, unit="V"), row(200, "own", address=25),
    )  # fmt: skip

    def all_of(parsed):
        data = [
            struct.pack(f">{count}H", *((first + k if k % 2 else 0) for k in range(count)))
            for _, first, count in parsed.plan
        ]
        return {number: parsed.decode(i, data[parsed.blocks[i]]) for i, number in enumerate(parsed.numbers)}

    was, now = all_of(plain), all_of(turned)
    swapped = {32: 36, 36: 32, 33: 37, 37: 33, 44: 48, 48: 44, 47: 51, 51: 47}
    assert len(set(was.values())) > 10
    for number, value in now.items():
        assert value == was[swapped.get(number, number)], number
    assert turned.names is plain.names
    assert turned.plan == plain.plan


@pytest.mark.parametrize("name", profiles.available())
def test_inverted_twice_is_as_before(name):
    plain = profile_load.load(name)
    twice = profile_load.inverted(profile_load.inverted(plain))
    assert (twice.offsets, twice.blocks, twice.encodings) == (plain.offsets, plain.blocks, plain.encodings)


def test_meters_of_a_kind_share_a_profile_and_inverted_ones_another():
    known = {}
    changes = ({}, {"inverted": False}, {"inverted": True}, {"inverted": True, "ct_primary": 7})
    made = [
        profile_load.of_meter({"profile": name, **transformers(**change)}, known)
        for name in ("eastron-sdm120", "chint-ddsu666")
        for change in changes
    ]
    assert made[0] is made[1] is not made[2]
    assert made[2] is made[3]
    assert made[4] is made[5] is not made[6]
    assert len({id(one) for one in made}) == 4
    assert made[2].names is made[0].names
    assert made[2].plan is made[0].plan

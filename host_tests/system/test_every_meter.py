"""Every profile that comes with the firmware, polled by the whole gateway, each with a virtual meter: all values, some
behind transformers, some the wrong way round."""

import math
import struct
from fractions import Fraction

import pytest

from host_tests.system.rig import PATIENT, Rig, wait_for, words
from host_tests.unit.profile_rows import nearest
from tools import profiles

CT = {"ct_primary": 600, "ct_secondary": 5}
PT = {"pt_primary": 20000, "pt_secondary": 100}
CHANGES = {
    "chint-dtsu666": CT,
    "janitza-umg96rm-e": {**CT, **PT},
    "abb-b23": {"inverted": True},
    "eastron-sdm630": {"inverted": True, **CT},
}
METERS = [
    {"slot": 2 * k, "name": name, "unit": k + 1, "profile": name, "interval_s": 1, **PATIENT, **CHANGES.get(name, {})}
    for k, name in enumerate(profiles.available())
]
GROUPS = [METERS[k::5] for k in range(5)]  # all at once would be more than the heap has room for
UNIT = {meter["profile"]: meter["unit"] for meter in METERS}
SLOT = {meter["profile"]: meter["slot"] for meter in METERS}


@pytest.fixture(scope="module", params=GROUPS, ids=lambda group: "+".join(meter["name"] for meter in group))
def rig(request, tmp_path_factory):
    with Rig(tmp_path_factory.mktemp("meters"), meters=request.param) as rig:
        rig.wait_polled()
        yield rig


def names(rig, among=UNIT):
    """Of the profiles of this group."""
    return [meter.profile.id for meter in rig.line.meters if meter.profile.id in among]


def mirrored(name):
    """energy_import_l1 -> energy_export_l1, and the other way round."""
    swap = {"import": "export", "export": "import"}
    return "_".join(swap.get(part, part) for part in name.split("_"))


def expected(meter, point):
    """What the gateway must show of a point, given what the virtual meter says."""
    change = CHANGES.get(meter.profile.id, {})
    ct = change.get("ct_primary", 1) // change.get("ct_secondary", 1)
    pt = change.get("pt_primary", 1) // change.get("pt_secondary", 1)
    raw = meter.raw(mirrored(point.name) if change.get("inverted") else point.name)
    exact = Fraction(raw) * Fraction(str(point.scale)) * {"V": pt, "A": ct, "Hz": 1, "": 1}.get(point.unit, ct * pt)
    if change.get("inverted") and (point.unit in ("W", "var") or point.name.startswith("power_factor")):
        exact = -exact
    return nearest(exact) if point.accumulating else float(exact)


def same(got, wanted, point):
    if point.accumulating:
        assert isinstance(got, int), point
        assert got == wanted, point
    else:
        # A float has seven digits, below 1 seven decimals before the scale (docs/reference/points.md).
        rounded = 5e-8 * max(point.scale, 1) if point.type.startswith("float") else 0
        assert got == pytest.approx(wanted, rel=1e-6, abs=max(1e-9, rounded)), point


def test_the_api_shows_every_value_of_every_kind_of_meter(rig):
    for name in names(rig):
        meter = rig.meter(UNIT[name])
        shown = rig.points(UNIT[name])
        assert sorted(shown) == sorted(point.number for point in meter.profile.points)
        for point in meter.profile.points:
            one = shown[point.number]
            assert (one["name"], one["unit"], one["quality"]) == (point.name, point.unit, "good")
            same(one["value"], expected(meter, point), point)


def test_unit_255_shows_every_value_of_every_kind_of_meter(rig):
    with rig.client() as client:
        for name in names(rig):
            meter = rig.meter(UNIT[name])
            for point in meter.profile.points:
                row = client.read(255, 4, 4 * (SLOT[name] << 8 | point.number), 4)
                value, _, quality = struct.unpack(">fHH", row)
                assert quality == 0
                assert value == pytest.approx(expected(meter, point), rel=1e-6, abs=1e-9), point


def test_the_meters_own_registers_stay_what_it_said(rig):
    with rig.client() as client:
        for name in names(rig):
            meter = rig.meter(UNIT[name])
            for block in meter.profile.blocks(meter.profile.gap):
                assert client.read(UNIT[name], *block) == words(meter.registers(*block))


def frequency_without_value(name):
    """The number of the frequency of that kind of meter if it can say that it has none, else None."""
    profile = profiles.load(name)
    for point in profile.points:
        if point.name == "frequency" and (point.type.startswith("float") or profile.no_value != "none"):
            return point.number
    return None


def test_a_meter_that_says_that_it_has_no_value_shows_none(rig):
    numbers = {name: number for name in names(rig) if (number := frequency_without_value(name))}
    assert numbers
    for name, number in list(numbers.items())[:2]:
        meter = rig.meter(UNIT[name])
        meter.set("frequency", math.nan)
        wait_for(lambda u=UNIT[name], n=number: rig.points(u)[n]["quality"] == "no_value", 10, "no value")
        assert rig.points(UNIT[name])[number]["value"] is None
        meter.set("frequency", None)
        wait_for(lambda u=UNIT[name], n=number: rig.points(u)[n]["quality"] == "good", 10, "a value again")

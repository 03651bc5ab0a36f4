"""Profiles: decoding against struct and exact arithmetic, and the plan of reads."""

import struct
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.meters import profile
from firmware.meters import profile_loader as profile_load
from host_tests.unit.profile_rows import (
    FORMATS,
    INTEGERS,
    SIZES,
    check_decimal,
    document,
    is_measurable,
    nearest,
    on_the_wire,
    one_point,
    row,
)  # fmt: skip
from tools import profiles

# -- decode


def check_real(point, raw, exact):
    """plain_real() writes the nearest of all floats: none of its neighbours is nearer, and of two the even one.
    Returns whether it did."""
    buf = bytearray(b"......")
    if not profile.plain_real(buf, 1, point, 0, raw):
        assert buf == b"......"
        return False
    assert buf[0:1] == buf[5:6] == b"."
    bits = int.from_bytes(buf[1:5], "big")
    magnitude = bits & 0x7FFFFFFF
    errors = [
        abs(abs(exact) - Fraction(struct.unpack(">f", near.to_bytes(4, "big"))[0]))
        for near in (magnitude, max(magnitude - 1, 0), magnitude + 1)
    ]
    assert errors[0] <= min(errors)
    assert magnitude & 1 == 0 or errors.count(errors[0]) == 1
    assert bits >> 31 == (exact < 0)
    return True


@pytest.mark.parametrize("scale", [1, 0.1, 0.01, 10, 0.001, 1000, 0.000001])
@pytest.mark.parametrize("kind", ["uint16", "int16", "uint32", "int32", "float32"])
@given(data=st.binary(min_size=4, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_real_is_the_float_nearest_to_the_value(kind, scale, data):
    raw = data[: 2 * SIZES[kind]]
    (value,) = struct.unpack(">" + FORMATS[kind], raw)
    scale_of_energy = max(scale, 1)
    point, energy = one_point(kind, scale=scale), one_point(kind, scale=scale_of_energy, use="accumulating")
    turned = profile_load.inverted(one_point(kind, scale=scale, number=28))
    if is_measurable(kind, value):
        done = check_real(point, raw, Fraction(value) * Fraction(str(scale)))
        assert done or abs(value) >= 2**29 / max(scale, 1) - 1 or 0 < abs(value) < 2**-62 or scale < 0.001
        assert check_real(turned, raw, -Fraction(value) * Fraction(str(scale))) == done
        done = check_real(energy, raw, Fraction(nearest(Fraction(value) * Fraction(str(scale_of_energy))), 1000))
        assert done or abs(value) >= 2**29 / scale_of_energy - 1 or 0 < abs(value) < 2**-62
    else:
        assert not check_real(point, raw, None)
        assert not check_real(energy, raw, None)


@pytest.mark.parametrize("value", [50.0, 99.99999, 100.0, 100.00001, 499.9, 5000.0, -500.0])
def test_a_real_of_a_frequency_that_is_ten_times_too_large_is_mended(value):
    rows = [row(15, kind="float32", unit="Hz")]
    point = profile_load.parse("test", document(*rows, tenfold_frequency=True))
    raw = struct.pack(">f", value)
    exact = Fraction(struct.unpack(">f", raw)[0])
    assert check_real(point, raw, exact / 10 if exact > 100 else exact)


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("kind", INTEGERS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_an_integer_of_every_type_and_word_order_is_what_struct_says(kind, order, data):
    bits = 16 * SIZES[kind]
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    value = data.draw(st.one_of(st.integers(low, high), st.integers(max(low, -(2**49)), min(high, 2**49))))
    raw = on_the_wire(kind, order, value)
    for use in ("instantaneous", "accumulating", "net"):
        got = one_point(kind, order, use=use).decode(0, raw)
        assert got == (value if is_measurable(kind, value) else None)
        assert isinstance(got, int) or got is None


@pytest.mark.parametrize("order", ["big", "little"])
@given(bits=st.integers(0, 2**32 - 1))
@settings(max_examples=300, deadline=None)
def test_a_float_of_every_bit_pattern_is_what_struct_says_or_no_value(order, bits):
    (value,) = struct.unpack(">f", bits.to_bytes(4, "big"))
    words = bits.to_bytes(4, "big")
    words = words if order == "big" else words[2:] + words[:2]
    got = one_point("float32", order).decode(0, words)
    energy = one_point("float32", order, scale=1000, use="accumulating").decode(0, words)
    if is_measurable("float32", value):
        assert got == value
        assert energy == nearest(Fraction(value) * 1000)
    else:
        assert got is None
        assert energy is None


_FLT_MAX = 0x7F7FFFFF


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("use", ["instantaneous", "accumulating", "net"])
@pytest.mark.parametrize("scale", [1, 0.001, 1000])
@pytest.mark.parametrize("sign", [0, 0x80000000])
@pytest.mark.parametrize(
    "bits", [_FLT_MAX, _FLT_MAX - 1, 0x7F800000, 0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0x54000000, 0x60AD78EC]
)
def test_nan_infinity_flt_max_and_what_nothing_measures_are_no_values(order, use, scale, sign, bits):
    raw = on_the_wire("uint32", order, bits | sign)
    assert one_point("float32", order, scale=scale, use=use).decode(0, raw) is None
    ratios = (1, 1, 1, 1000, 1, 1000, 1, 1000000)
    assert one_point("float32", order, scale=scale, use=use).decode(0, raw, ratios) is None


@pytest.mark.parametrize("bits", [0x53FFFFFF, 0xD3FFFFFF, 0x00000001, 0x80000001, 0])
def test_the_largest_and_smallest_floats_that_are_values(bits):
    (value,) = struct.unpack(">f", bits.to_bytes(4, "big"))
    assert one_point("float32").decode(0, on_the_wire("uint32", "big", bits)) == value


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("use", ["instantaneous", "accumulating"])
def test_a_profile_can_name_more_floats_that_mean_no_value(order, use):
    rows = [row(kind="float32", use=use), row(2, "b", address=2)]
    parsed = profile_load.parse("test", document(*rows, word_order=order, no_value_floats=[-9999.9, 1e9, 0.1]))
    for value, wanted in ((-9999.9, None), (1e9, None), (0.1, None), (-9999, -9999), (1e8, 1e8), (0, 0)):
        assert parsed.decode(0, on_the_wire("float32", order, value) + bytes(2)) == wanted
    assert parsed.decode(1, bytes(4) + on_the_wire("uint16", order, 7)) == 7


@pytest.mark.parametrize("kind", SIZES)
def test_a_point_is_decoded_from_its_own_place_in_the_block(kind):
    size = SIZES[kind]
    parsed = profile_load.parse(
        "test", document(row(1, address=100), row(2, "b", address=101, kind=kind), row(3, "c", address=101 + size))
    )
    assert parsed.plan == [(4, 100, size + 2)]
    data = on_the_wire("uint16", "big", 11) + on_the_wire(kind, "big", 77) + on_the_wire("uint16", "big", 33)
    assert [parsed.decode(i, data) for i in range(3)] == [11, 77, 33]


@pytest.mark.parametrize("order", ["big", "little"])
def test_one_register_has_no_word_order(order):
    assert one_point("uint16", order).decode(0, b"\x12\x34") == 0x1234


BITS = st.one_of(
    st.integers(0, 2**32 - 1),
    st.floats(-1e7, 1e7, width=32).map(lambda value: int.from_bytes(struct.pack(">f", value), "big")),
)
SCALES = [1, 2, 10, 100, 1000, 3600, 999999, 1000000, 1e9, 1e-9, 0.1, 0.01, 0.001, 0.0001, 0.5, 0.3, 12.5]


def check_float(kind, order, bits, scale):
    """A point that accumulates is the exact product, rounded, and any other the decimals that it should have."""
    size = 2 * SIZES[kind]
    (value,) = struct.unpack(">" + FORMATS[kind], bits.to_bytes(size, "big"))
    raw = on_the_wire("uint64" if size == 8 else "uint32", order, bits)
    exact = Fraction(value) * Fraction(str(scale)) if is_measurable(kind, value) else None
    whole = one_point(kind, order, scale=scale, use="accumulating")
    assert whole.decode(0, raw) == (None if exact is None else nearest(exact))
    assert whole.decode(0, raw, (1, 1) * 4) == whole.decode(0, raw)
    point = one_point(kind, order, scale=scale, number=28)
    check_decimal(point.decimal(0, raw), exact, kind, scale)
    check_decimal(point.decimal(0, raw, (1, 1) * 4), exact, kind, scale)
    check_decimal(profile_load.inverted(point).decimal(0, raw), None if exact is None else -exact, kind, scale)


@pytest.mark.parametrize("order", ["big", "little"])
@given(bits=BITS, scale=st.sampled_from(SCALES))
@settings(max_examples=1500, deadline=None)
def test_a_scaled_float_is_exact(order, bits, scale):
    check_float("float32", order, bits, scale)


@pytest.mark.parametrize("order", ["big", "little"])
@given(
    bits=st.one_of(
        st.integers(0, 2**64 - 1),
        st.floats(-1e12, 1e12).map(lambda value: int.from_bytes(struct.pack(">d", value), "big")),
    ),
    scale=st.sampled_from(SCALES),
)
@settings(max_examples=500, deadline=None)
def test_a_scaled_double_is_exact(order, bits, scale):
    check_float("float64", order, bits, scale)


@pytest.mark.parametrize("first", range(0, 256, 16))
@pytest.mark.parametrize("scale", [1, 1000, 1000000])
def test_a_scaled_float_is_exact_at_every_exponent(first, scale):
    for exponent in range(first, first + 16):
        for mantissa in (0, 1, 2, 0x7FFFFF, 0x7FFFFE, 0x400000, 0x0624DD, 0x1374BC, 0x555555, 0x000800, 0x7FF800):
            for sign in (0, 1):
                check_float("float32", "big", sign << 31 | exponent << 23 | mantissa, scale)


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("kind", INTEGERS)
@given(data=st.data(), scale=st.sampled_from([1, 10, 1000, 0.1, 0.01, 0.001, 0.0001, 0.5, 1.5, 0.3, 12.5]))
@settings(max_examples=60, deadline=None)
def test_a_scaled_integer_is_exact(kind, order, data, scale):
    bits = 16 * SIZES[kind]
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    value = data.draw(st.one_of(st.integers(low, high), st.integers(max(low, -(2**49)), min(high, 2**49))))
    raw = on_the_wire(kind, order, value)
    exact = Fraction(value) * Fraction(str(scale)) if is_measurable(kind, value) else None
    whole = one_point(kind, order, scale=scale, use="accumulating")
    assert whole.decode(0, raw) == (None if exact is None else nearest(exact))
    point = one_point(kind, order, scale=scale)
    check_decimal(point.decimal(0, raw), exact, kind)
    for ratios in ((1, 1, 1, 1, 3, 7, 3, 7), (1, 1, 1, 1, 40, 1, 40, 1)):
        behind = profile_load.parse("test", document(row(9, kind=kind, scale=scale, unit="A"), word_order=order))
        check_decimal(
            behind.decimal(0, raw, ratios), None if exact is None else exact * Fraction(ratios[4], ratios[5]), kind
        )


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize(("kind", "scale", "raw", "wanted"), [
    ("float32", 1, 500.2, 50.02), ("float32", 1, 50.02, 50.02), ("float32", 1, 100.0, 100.0),
    ("float64", 1, 599.5, 59.95), ("uint16", 0.1, 5003, 50.03), ("uint16", 0.1, 500, 50.0),
    ("uint16", 0.1, 1000, 100.0), ("uint32", 0.01, 60010, 60.01),
])  # fmt: skip
def test_a_frequency_that_is_ten_times_too_large_is_mended_where_the_profile_says_so(order, kind, scale, raw, wanted):
    rows = [row(15, kind=kind, scale=scale, unit="Hz"), row(1, address=8, kind=kind, scale=scale, unit="V")]
    made = profile_load.parse("test", document(*rows, word_order=order, tenfold_frequency=True))
    data = on_the_wire(kind, order, raw)
    assert made.decode(0, data) == pytest.approx(wanted, rel=1e-6)
    number = made.decimal(0, data)
    assert (number >> profile.DECIMALS_BITS) / 10 ** (number & profile.DECIMALS_MASK) == pytest.approx(wanted, rel=1e-6)
    assert made.decode(1, data) == pytest.approx(raw * scale, rel=1e-6)  # no other point is changed
    rows[0][2:3] = [4]
    as_it_is = profile_load.parse("test", document(*rows, word_order=order))
    assert as_it_is.decode(0, data) == pytest.approx(raw * scale, rel=1e-6)


def test_energy_beyond_24_bits_keeps_its_last_watt_hour():
    raw = struct.pack(">f", 12345.679)  # kWh, as an SDM630 says it
    exact = Fraction(struct.unpack(">f", raw)[0]) * 1000
    got = one_point("float32", scale=1000, use="accumulating").decode(0, raw)
    assert got == round(exact)
    assert abs(got - 12345679) <= 1


@pytest.mark.parametrize(
    ("kind", "scale", "raw", "text"),
    [
        ("uint16", 0.1, 2301, "230.1"),
        ("uint16", 0.1, 2303, "230.3"),
        ("int16", 0.01, -99, "-0.99"),
        ("uint32", 0.001, 5123, "5.123"),
        ("uint16", 0.01, 7, "0.07"),
        ("uint16", 0.1, 3, "0.3"),
        ("uint16", 0.5, 3, "1.5"),
        ("uint16", 0.02, 51, "1.02"),
        ("uint32", 10, 7, "70"),
        ("uint16", 1.5, 3, "4.5"),
    ],
)
def test_a_decimal_scale_gives_the_decimal_that_the_meter_meant(kind, scale, raw, text):
    assert repr(one_point(kind, scale=scale).decode(0, on_the_wire(kind, "big", raw))) == text


@given(raw=st.integers(0, 65535), scale=st.floats(1e-6, 1000))
@settings(max_examples=300, deadline=None)
def test_any_scale_is_the_one_that_was_given(raw, scale):
    got = one_point("uint16", scale=scale).decode(0, raw.to_bytes(2, "big"))
    assert got == pytest.approx(raw * scale, rel=2e-5)


@pytest.mark.parametrize("scale", [0.3, 0.75, 0.6, 0.15, 0.003, 0.9, 0.00035])
def test_a_scale_that_is_no_fraction_of_one_is_not_rounded_to_one(scale):
    assert one_point("uint16", scale=scale).decode(0, (1000).to_bytes(2, "big")) == pytest.approx(
        1000 * scale, rel=1e-6
    )


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("kind", INTEGERS)
@given(data=st.data(), scale=st.sampled_from([1, 10, 100, 1000, 0.1, 0.01, 0.001, 0.5, 1.5, 0.3, 12.5, 1000000]))
@settings(max_examples=40, deadline=None)
def test_accumulating_integers_are_scaled_in_integers(kind, order, data, scale):
    bits = 16 * SIZES[kind]
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    raw = data.draw(st.integers(max(low, -(2**48)), min(high, 2**48 - 1)))
    for use in ("accumulating", "net"):
        got = one_point(kind, order, scale=scale, use=use).decode(0, on_the_wire(kind, order, raw))
        assert got == nearest(Fraction(raw) * Fraction(str(scale)))
        assert isinstance(got, int)


@pytest.mark.parametrize(
    ("kind", "scale", "raw", "wh"),
    [
        ("int32", 100, 123456789, 12345678900),  # 0.1 kWh: beyond 2**31, far beyond 2**24
        ("uint64", 10, 2**40 + 1, 10 * (2**40 + 1)),  # 0.01 kWh
        ("uint64", 1000, 2**48 - 1, 1000 * (2**48 - 1)),
        ("int64", 1, -(2**48), -(2**48)),
        ("uint32", 1, 2**24 + 1, 2**24 + 1),
        ("uint32", 0.1, 2**31 + 5, 214748365),  # tenths: 214748365.3
        ("uint32", 0.1, 15, 2),  # halves up
        ("int32", 0.1, -15, -2),
    ],
)
def test_energy_keeps_its_last_watt_hour_at_every_scale(kind, scale, raw, wh):
    assert one_point(kind, scale=scale, use="accumulating").decode(0, on_the_wire(kind, "big", raw)) == wh


@pytest.mark.parametrize("scale", [1, 10, 0.1, 0.25, 0.3, 1.5, 1e-9, 1e9, 0.00035, 123.456, 1 / 3, 7e-5])
def test_a_scale_is_a_fraction_of_integers(scale):
    numerator, denominator = profile_load.fraction(scale)
    assert isinstance(numerator, int)
    assert isinstance(denominator, int)
    assert numerator / denominator == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize("name", profiles.available())
def test_every_scale_is_the_same_fraction_with_the_24_bits_of_a_chip(name):
    for point in profiles.load(name).points:
        if isinstance(point.scale, float):
            (parsed_there,) = struct.unpack(">f", struct.pack(">f", point.scale))
            assert profile_load.fraction(parsed_there) == profile_load.fraction(point.scale)
            assert Fraction(*profile_load.fraction(point.scale)) == Fraction(str(point.scale))


# -- the plan


def points_of(parsed):
    """(function, first register, end) of each point in the profile's order."""
    found = []
    for i in range(len(parsed)):
        function, start, _ = parsed.plan[parsed.blocks[i]]
        first = start + parsed.offsets[i] // 2
        kind = parsed.encodings[parsed.encoding_of[i]][0]
        found.append((function, first, first + SIZES[profile.TYPES[kind]]))
    return found


@st.composite
def layouts(draw, most_points=40, most_address=400, most_gap=64):
    """Points that do not overlap, in any order; and what the meter can take."""
    kinds = st.sampled_from(list(SIZES))
    taken = set()
    rows = []
    for number in range(1, draw(st.integers(1, most_points)) + 1):
        kind = draw(kinds)
        address = draw(st.integers(0, most_address))
        function = draw(st.sampled_from([3, 4]))
        cells = {(function, address + k) for k in range(SIZES[kind])}
        if cells & taken:
            continue
        taken |= cells
        rows.append(row(number, f"p{number}", function, address, kind))
    gap = draw(st.integers(0, most_gap))
    return rows, draw(st.integers(4, 125)), gap


@given(layout=layouts())
@settings(max_examples=200, deadline=None)
def test_every_point_lies_in_its_block_and_no_block_is_too_long(layout):
    rows, most, gap = layout
    wanted = sorted((r[2], r[3], r[3] + SIZES[r[4]]) for r in rows)
    parsed = profile_load.parse("test", document(*rows, max_registers=most, gap=gap))
    assert sorted(points_of(parsed)) == wanted
    for i, (function, first, end) in enumerate(points_of(parsed)):
        block = parsed.plan[parsed.blocks[i]]
        assert function == block[0]
        assert block[1] <= first
        assert end <= block[1] + block[2]
    assert all(0 < count <= most for _, _, count in parsed.plan)
    assert parsed.plan == sorted(parsed.plan)
    for (f1, first, count), (f2, after, _) in zip(parsed.plan, parsed.plan[1:], strict=False):
        assert f1 != f2 or first + count <= after
    for function, first, count in parsed.plan:
        inside = [p for p in wanted if p[0] == function and first <= p[1] < first + count]
        assert inside[0][1] == first, "a block begins with a point"
        assert max(p[2] for p in inside) == first + count, "and ends with one"
        for (_, _, end), (_, after, _) in zip(inside, inside[1:], strict=False):
            assert after - end <= gap


def fewest_blocks(points, most, gap):
    """The fewest blocks that hold the sorted points, found by trying every way of cutting them."""
    best = {len(points): 0}
    for i in range(len(points) - 1, -1, -1):
        counts = []
        for j in range(i, len(points)):
            same = points[j][0] == points[i][0] and points[j][2] - points[i][1] <= most
            near = j == i or points[j][1] - points[j - 1][2] <= gap
            if not (same and near):
                break
            counts.append(1 + best[j + 1])
        best[i] = min(counts)
    return best[0]


@given(layout=layouts(most_points=12, most_address=60, most_gap=12))
@settings(max_examples=300, deadline=None)
def test_no_plan_has_fewer_blocks(layout):
    rows, most, gap = layout
    parsed = profile_load.parse("test", document(*rows, max_registers=most, gap=gap))
    points = sorted((r[2], r[3], r[3] + SIZES[r[4]]) for r in rows)
    assert len(parsed.plan) == fewest_blocks(points, most, gap)


@pytest.mark.parametrize(("gap", "blocks"), [(0, 2), (7, 2), (8, 1)])
def test_registers_between_two_points_are_read_over_up_to_the_gap(gap, blocks):
    parsed = profile_load.parse("test", document(row(1), row(2, "b", address=9), gap=gap))
    assert len(parsed.plan) == blocks


def test_functions_never_share_a_block():
    parsed = profile_load.parse("test", document(row(1, function=3), row(2, "b", function=4), gap=64))
    assert parsed.plan == [(3, 0, 1), (4, 0, 1)]


def test_the_largest_profile_is_planned():
    rows = [row(n, f"p{n}", address=500 * n, kind="uint64") for n in range(1, 121)]
    parsed = profile_load.parse("test", document(*rows))
    assert len(parsed) == len(parsed.plan) == 120


def test_points_at_the_last_registers_are_read():
    parsed = profile_load.parse("test", document(row(1, address=65534, kind="float32")))
    assert parsed.plan == [(4, 65534, 2)]


def test_points_that_share_registers_are_both_decoded():
    parsed = profile_load.parse("test", document(row(1, kind="uint32"), row(2, "b", address=1)))
    assert parsed.plan == [(4, 0, 2)]
    assert sorted(parsed.decode(i, b"\x00\x01\x00\x02") for i in range(2)) == [2, 65538]

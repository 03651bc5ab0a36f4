"""Profiles: what is said about malformed ones, and where they are looked for."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.meters import profile
from firmware.meters import profile_loader as profile_load
from host_tests.unit.profile_rows import SIZES, document, row

_MALFORMED_COLUMNS = [
    ("number", 0, [0, 256, -1, "1", None, True, 1.0, []]),
    ("name", 1, ["", "x" * 33, "a\nb", 5, None, []]),
    ("function", 2, [1, 2, 5, 0, "3", None, True, 3.0, []]),
    ("address", 3, [-1, 65536, "0", None, True, 0.0, []]),
    ("type", 4, ["float", "uint8", "", None, 0, []]),
    ("scale", 5, [0, -1, -0.1, "1", None, [], True, math.nan, math.inf, 1e-320, 10**10]),
    ("unit", 6, ["kWh", "v", None, 0, []]),
    ("kind", 7, ["total", "", None, 1, []]),
]


@pytest.mark.parametrize(
    ("column", "at", "value"),
    [pytest.param(c, at, v, id=f"{c}={v!r:.20}") for c, at, values in _MALFORMED_COLUMNS for v in values],
)
def test_a_wrong_column_is_refused_with_profile_row_and_column(column, at, value):
    bad = row(2, "b")
    bad[at] = value
    with pytest.raises(profile_load.ProfileError) as caught:
        profile_load.parse("mine", document(row(1), bad))
    assert str(caught.value).startswith(f"profile mine: points[1].{column}: must be ")


@pytest.mark.parametrize("kind", SIZES)
def test_a_point_may_not_reach_past_the_last_register(kind):
    last = 65536 - SIZES[kind]
    assert profile_load.parse("mine", document(row(kind=kind, address=last)))
    with pytest.raises(profile_load.ProfileError, match=rf"points\[0\]\.address: must be 0 to {last}"):
        profile_load.parse("mine", document(row(kind=kind, address=last + 1)))


def test_a_number_may_stand_only_once():
    with pytest.raises(profile_load.ProfileError, match=r"points\[1\]\.number: must be .* once"):
        profile_load.parse("mine", document(row(7), row(7, "b")))


@pytest.mark.parametrize("bad", [[], [1, 2, 3], [*row(), "more"], None, 5, "x", {}])
def test_a_row_of_another_shape_is_refused(bad):
    with pytest.raises(profile_load.ProfileError, match=r"profile mine: points\[0\]\.row: must be 8 columns"):
        profile_load.parse("mine", {"columns": profile_load.COLUMNS, "points": [bad]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("max_registers", v) for v in (3, 126, 0, "10", None, True, 10.0, [])),
        *(("gap", v) for v in (-1, 65, "0", None, True, [])),
        *(("gap_ms", v) for v in (-1, 1001, "0", None, True, 1.0, [])),
        *(("word_order", v) for v in ("middle", "", None, 1, [])),
        *(("name", v) for v in ("", "x" * 41, None, 5, [])),
        *(("confidence", v) for v in (-1, 3, "2", None, True, 1.5)),
        *(("no_value", v) for v in ("nan", "", None, 0, True, [], {})),
        *(("no_value_floats", v) for v in (None, {}, "x", -1.0, ["1"], [None], [True], [math.nan], [1, 2, 3, 4, 5])),
        *(("signed_current", v) for v in (0, 1, "true", None, [])),
        *(("tenfold_frequency", v) for v in (0, 1, "true", None, [])),
        *(("unconfirmed", v) for v in (None, 1, "1", [2], ["1"], [True], [1, 2], {}, [[]])),
        *(("signature", v) for v in (None, {}, "x", 5, True, [[3, 0, "uint16", [1]]] * 9)),
        *(("columns", v) for v in (None, [], profile_load.COLUMNS[:-1], list(reversed(profile_load.COLUMNS)))),
        *(("points", v) for v in (None, [], {}, "x", 5, [row()] * 121)),
    ],
)
def test_a_wrong_head_is_refused_with_its_key(key, value):
    with pytest.raises(profile_load.ProfileError, match=f"profile mine: {key}: must be "):
        profile_load.parse("mine", document(row(), **{key: value}))


@pytest.mark.parametrize(
    ("test", "where"),
    [
        (None, "row"), ([], "row"), ([3, 0, "uint16"], "row"), ([3, 0, "uint16", 1, 2, 3], "row"), ("abcd", "row"),
        ([2, 0, "uint16", [1]], "function"), ([True, 0, "uint16", [1]], "function"),
        ([3, -1, "uint16", [1]], "address"), ([3, 65536, "uint16", [1]], "address"),
        ([3, 65535, "uint32", [1]], "address"), ([3, "0", "uint16", [1]], "address"),
        ([3, 0, "text", [1]], "type"), ([3, 0, None, [1]], "type"), ([3, 0, "uint16", 1], "test"),
        ([3, 0, "uint16", []], "test"), ([3, 0, "uint16", list(range(17))], "test"), ([3, 0, "uint16", ["1"]], "test"),
        ([3, 0, "uint16", [True]], "test"), ([3, 0, "uint16", [1.5]], "test"), ([3, 0, "float32", [50]], "test"),
        ([3, 0, "uint16", 2, 1], "test"), ([3, 0, "uint16", "1", 2], "test"), ([3, 0, "uint16", None, 2], "test"),
        ([3, 0, "uint16", True, 2], "test"), ([3, 0, "uint16", [1], 2], "test"),
        ([3, 0, "float32", math.nan, 2], "test"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_wrong_row_of_a_signature_is_refused_with_row_and_column(test, where):
    good = [4, 70, "float32", 45, 65]
    with pytest.raises(profile_load.ProfileError) as caught:
        profile_load.parse("mine", document(row(), signature=[good, test]))
    assert str(caught.value).startswith(f"profile mine: signature[1].{where}: must be ")


@pytest.mark.parametrize("key", ["vendor", "max_register", "no_values", "Gap", "", "point"])
def test_an_unknown_key_is_named_with_those_that_are_known(key):
    with pytest.raises(profile_load.ProfileError) as caught:
        profile_load.parse("mine", document(row(), **{key: 1}))
    assert str(caught.value).startswith(f"profile mine: {key}: unknown key; known are both_functions, ")
    assert "max_registers" in str(caught.value)


@pytest.mark.parametrize("raw", [None, [], "x", 5, True])
def test_a_profile_that_is_no_object_is_refused(raw):
    with pytest.raises(profile_load.ProfileError, match="profile mine: file: must be a JSON object"):
        profile_load.parse("mine", raw)


@given(
    raw=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=9) | st.dictionaries(st.sampled_from(["points", "columns", "gap"]), inner)
        ),
        max_leaves=20,
    )
)
@settings(max_examples=300, deadline=None)
def test_no_json_whatever_raises_anything_but_a_profile_error(raw):
    for candidate in (
        raw,
        {"columns": profile_load.COLUMNS, "points": [raw]},
        {"columns": profile_load.COLUMNS, "points": raw},
    ):
        try:
            profile_load.parse("mine", candidate)
        except profile_load.ProfileError as error:
            said = str(error)
        else:
            continue
        assert said.startswith("profile mine: ")


@given(
    values=st.lists(
        st.one_of(st.none(), st.integers(-2, 70000), st.floats(), st.sampled_from(profile.TYPES)),
        min_size=8,
        max_size=8,
    )
)
@settings(max_examples=300, deadline=None)
def test_a_row_that_passes_can_be_decoded(values):
    good = row()
    for k in range(8):
        candidate = list(good)
        candidate[k] = values[k]
        try:
            parsed = profile_load.parse("mine", document(candidate))
        except profile_load.ProfileError:
            continue
        function, start, count = parsed.plan[0]
        assert bytes((function, start >> 8, start & 255, count)), "what the bus puts into its request"
        parsed.decode(0, bytes(2 * count))
        parsed.decode(0, b"\x7f" * (2 * count))


# -- load


def test_a_users_profile_goes_before_one_that_came_with_the_firmware(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "meters").mkdir(parents=True)
    (tmp_path / "data" / "meters" / "pzem-004t-v3.json").write_text(json.dumps(document(row(200, "mine"), name="Mine")))
    assert profile_load.load("pzem-004t-v3").name_of(0) == "mine"
    assert b"mine" not in profile_load.load("eastron-sdm630").names


def test_a_profile_that_is_not_json_is_a_profile_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "meters").mkdir(parents=True)
    (tmp_path / "data" / "meters" / "mine.json").write_bytes(b'{"points": \xff')
    with pytest.raises(profile_load.ProfileError, match="profile mine: not JSON"):
        profile_load.load("mine")


def test_a_profile_that_is_nowhere_is_a_profile_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(profile_load.ProfileError, match=r"profile nope: there is no data/meters/nope\.json"):
        profile_load.load("nope")


def test_names_and_units_stay_with_their_points():
    parsed = profile_load.parse(
        "test",
        document(
            row(3, "third", address=20, unit="kW"[1:]),
            row(1, "first", address=10, unit="V"),
            row(2, "second", function=3, unit="Hz"),
        ),
    )
    assert [(parsed.name_of(i), parsed.numbers[i], parsed.unit(i)) for i in range(3)] == [
        ("second", 2, "Hz"), ("first", 1, "V"), ("third", 3, "W"),
    ]  # fmt: skip

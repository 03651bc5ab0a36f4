"""JSON files that people edit: read whole, or not at all."""

import json

import pytest
import strict_json
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(st.text(), _VALUES, max_size=5) | st.lists(_VALUES, max_size=5)


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@pytest.fixture
def load(tmp_path):
    def load(data):
        path = tmp_path / "file.json"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return strict_json.load(str(path))

    return load


@given(value=_DOCUMENTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_json_object_is_read_as_json_reads_it(load, value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if depth(value) <= 8:
        assert load(text.encode("utf-8", "surrogatepass") if ascii_only else _encodable(text)) == json.loads(
            text if ascii_only else _encodable(text)
        )
    else:
        with pytest.raises(ValueError, match="nested too deep"):
            load(_encodable(text))


def _encodable(text):
    return text.encode("utf-8", "replace")


@given(value=_DOCUMENTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_was_cut_off_anywhere_is_refused(load, value):
    data = json.dumps(value).encode()
    for n in range(len(data)):
        with pytest.raises(ValueError, match="cut off|not closed"):
            load(data[:n])


@pytest.mark.parametrize("pad", range(120, 136))
def test_brackets_and_texts_are_followed_across_the_pieces_in_which_the_file_is_read(load, pad):
    text = '{"' + "x" * pad + '": "a\\"}b\\\\", "y": [{"z": "]"}]}'
    assert load(text) == json.loads(text)
    for wrong in (text + "}", text[:-1] + "]", text.replace("[{", "{{"), text.replace("\\\\", "\\")):
        with pytest.raises(ValueError, match="byte|cut off"):
            load(wrong)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cut off after 0 bytes"),
        ("   \n", "cut off"),
        ("null", "byte 1: .*object"),
        ("5", "byte 1: .*object"),
        ('"text"', "byte 1: .*object"),
        ("\ufeff{}", "byte 1: .*object"),
        ("{} {}", "byte 4: .*object, and nothing else"),
        ("{}x", "byte 3: .*object"),
        ("]", "byte 1"),
        ("{]", r"byte 2: \] where } was expected"),
        ('{"a": [1}', r"byte 9: } where \] was expected"),
        ('{"a": "x\ny"}', "byte 9: a text is not closed"),
        ('{"a": "x}', "cut off after 9 bytes"),
        ("[" * 9 + "]" * 9, "byte 9: nested too deep"),
        ('{"a": tru}', ""),
        ('{"a": 1, "b"}', ""),
    ],
)
def test_what_is_wrong_is_told_with_its_place(load, text, reason):
    with pytest.raises(ValueError, match=reason or None):
        load(text)


def test_eight_levels_are_not_too_deep(load):
    assert load("[" * 8 + "]" * 8) == json.loads("[" * 8 + "]" * 8)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        strict_json.load(str(tmp_path / "nothing.json"))

"""The members of JSON in a file: each with its place, as the parser of Python finds them."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.config import json_file

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def found(text, at=0):
    f = io.BytesIO(text.encode())
    for key, begin, end in json_file.members(f, at):
        value = json_file.value(f, begin, end)
        f.seek(3)  # the caller may read elsewhere
        yield key, value


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=6), st.sampled_from([None, 1]), st.booleans())
def test_the_members_of_an_object_are_those_that_the_parser_finds(document, indent, ascii_only):
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    assert dict(found(text)) == document


@given(st.lists(VALUES, max_size=8), st.sampled_from([None, 1]))
def test_the_items_of_a_list_are_those_that_the_parser_finds(document, indent):
    assert [value for key, value in found(json.dumps(document, indent=indent))] == document


def test_the_items_of_a_list_within_an_object_are_found_from_its_place():
    text = '{"a": 1, "meters": [{"x": "]"}, {"y": [1, 2]}], "b": [3]}'
    f = io.BytesIO(text.encode())
    places = {key: begin for key, begin, _ in json_file.members(f)}
    assert [value for _, value in found(text, places["meters"])] == [{"x": "]"}, {"y": [1, 2]}]
    assert json_file.is_list(f, places["meters"], len(text))
    assert not json_file.is_list(f, places["a"], places["a"] + 1)


@pytest.mark.parametrize(
    "text",
    ['{"a":}', '{"a"}', "{1:2}", '{"a":1,}', "[1,]", "[,]", "{,}", "[1,,2]", '{"a":1', "[", "", "5",
      '{"a" 1}', "{:1}", '{"a":1:2}', "[1 2]"],
)  # fmt: skip
def test_what_is_no_json_is_an_error_with_its_place(text):
    with pytest.raises(ValueError, match="byte "):
        list(found(text))

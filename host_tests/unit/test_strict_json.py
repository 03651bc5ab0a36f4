"""JSON that people edit and tools upload: all of RFC 8259 within the bounds, and nothing else."""

import json
import math

import pytest
import strict_json
from hypothesis import given, settings
from hypothesis import strategies as st

_FLOATS = st.floats(allow_nan=False, allow_infinity=False)
_INTEGERS = st.integers(-(10**63) + 1, 10**64 - 1)  # of at most 64 letters
_VALUES = st.recursive(
    st.none() | st.booleans() | _INTEGERS | _FLOATS | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), _VALUES, max_size=5) | st.lists(
    _VALUES, max_size=5
)


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def by_cpython(data):
    """What CPython's parser makes of it, held to RFC 8259 and the bounds; ValueError where it is none of ours."""

    def no_constant(name):
        raise ValueError(name)

    def once(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key twice")
        return found

    def bounded(convert):
        def number(text):
            if len(text) > 64:
                raise ValueError("a long number")
            return convert(text)

        return number

    text = data.decode("utf-8-sig")
    value = json.loads(
        text, parse_int=bounded(int), parse_float=bounded(float), parse_constant=no_constant, object_pairs_hook=once
    )
    if not isinstance(value, (dict, list)) or depth(value) > 8:
        raise ValueError("bounds")
    json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError is a ValueError: half of a character
    return value


@given(value=_DOCUMENTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]), bom=st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_json_object_is_read_as_json_reads_it(value, ascii_only, indent, bom):
    data = b"\xef\xbb\xbf" * bom + json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    if depth(value) > 8:
        with pytest.raises(ValueError, match="nested too deep"):
            strict_json.loads(data)
        return
    for kind in (bytes, bytearray, memoryview):
        found = strict_json.loads(kind(data))
        assert found == value
        assert json.dumps(found) == json.dumps(value), "in the order of the document"


_PIECES = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', "\\", "\\u", "d83d", "\\ude00", "0", "1", "-", ".", "e", "E+", "true", "nul",
     "null", "false", " ", "\n", "\x00", "a", '"a"', '"a":', "\ud7ff", "\ufeff", "\U0001f600", "NaN", "\x7f"]
)  # fmt: skip


def test_one_byte_may_make_a_number_too_long_by_one_letter():
    same(b"[ %d]" % 10**63)
    same(b"[-%d]" % 10**63)
    same(b"[1%de9]" % 10**60)
    same(b"[1%de9]" % 10**61)


@given(pieces=st.lists(_PIECES, max_size=12), before=st.sampled_from(["", "[", '{"a":', "[1,", '["']))
@settings(max_examples=400, deadline=None)
def test_whatever_the_letters_it_takes_what_json_takes_and_no_more(pieces, before):
    data = (before + "".join(pieces) + {"": "", "[": "]", "{": "}"}.get(before[:1], "")).encode()
    same(data)


def same(data):
    try:
        expected = by_cpython(data)
    except ValueError:
        with pytest.raises(ValueError, match=r"^byte \d+: |^cut off after \d+ bytes$"):
            strict_json.loads(data)
    else:
        assert strict_json.loads(data) == expected


@given(value=_DOCUMENTS, at=st.integers(0, 10**6), byte=st.integers(0, 255), how=st.sampled_from("ird"))
@settings(max_examples=400, deadline=None)
def test_with_any_byte_changed_it_takes_what_json_takes_and_no_more(value, at, byte, how):
    data = json.dumps(value, ensure_ascii=False).encode()
    at %= len(data)
    same(data[:at] + (b"" if how == "d" else bytes((byte,))) + data[at + (how != "i") :])


@given(value=_DOCUMENTS, ascii_only=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_document_that_was_cut_off_anywhere_is_refused_with_its_length(value, ascii_only):
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    if depth(value) <= 8:
        for n in range(len(data)):
            with pytest.raises(ValueError, match=f"^cut off after {n} bytes$"):
                strict_json.loads(data[:n])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cut off after 0 bytes"),
        ("   \n", "cut off after 4 bytes"),
        ("\ufeff", "cut off after 3 bytes"),
        ("null", "byte 1: must be an object, and nothing else"),
        ("5", "byte 1: must be an object, and nothing else"),
        ('"text"', "byte 1: must be an object, and nothing else"),
        ("\ufeff\ufeff{}", "byte 4: must be an object, and nothing else"),
        (" \ufeff{}", "byte 2: must be an object, and nothing else"),
        ("\x0c{}", "byte 1: must be an object, and nothing else"),
        ("{} {}", "byte 4: must be an object, and nothing else"),
        ("{}x", "byte 3: must be an object, and nothing else"),
        ("]", "byte 1: must be an object, and nothing else"),
        ("{]", 'byte 2: ] where a key in "quotes" was expected'),
        ('{"a": [1}', "byte 9: } where ] was expected"),
        ('{"a": {"b": 1]', "byte 14: ] where } was expected"),
        ('{"a" 1}', "byte 6: 1 where : was expected"),
        ('{"a": 1 "b": 2}', 'byte 9: " where , or } was expected'),
        ("[1 2]", "byte 4: 2 where , or ] was expected"),
        ("[1 \x00]", "byte 4: 0x00 where , or ] was expected"),
        ('{"a": 1,}', 'byte 9: } where a key in "quotes" was expected'),
        ("{,}", 'byte 2: , where a key in "quotes" was expected'),
        ("{1: 2}", 'byte 2: 1 where a key in "quotes" was expected'),
        ("[1,]", "byte 4: ] where a value was expected"),
        ("[,]", "byte 2: , where a value was expected"),
        ('{"a":}', "byte 6: } where a value was expected"),
        ("['a']", "byte 2: ' where a value was expected"),
        ("[\u00e4]", "byte 2: 0xc3 where a value was expected"),
        ("[NaN]", "byte 2: N where a value was expected"),
        ("[+1]", "byte 2: + where a value was expected"),
        ("[.5]", "byte 2: . where a value was expected"),
        ("[tru]", "byte 2: must be true"),
        ("[nan]", "byte 2: must be null"),
        ("[True]", "byte 2: T where a value was expected"),
        ("[truely]", "byte 6: l where , or ] was expected"),
        ('{"a": "x\ny"}', "byte 9: a text is not closed"),
        ('{"a": "x\n}', "byte 9: a text is not closed"),
        ('["a\tb"]', r"byte 4: a control character: write it as \u0009"),
        ('{"a": "x}', "cut off after 9 bytes"),
        ('["\\x41"]', r"byte 3: no escape: \ itself is written \\"),
        ('["a\\\nb"]', "byte 4: no escape"),
        ('["\\u12"]', r"byte 3: \u wants four hexadecimal digits"),
        ('["\\u12g4"]', r"byte 3: \u wants four hexadecimal digits"),
        ('["\\u+123"]', r"byte 3: \u wants four hexadecimal digits"),
        ('["ab\\ud83d"]', r"byte 5: half of a character: \uD800 to \uDFFF come in pairs"),
        ('["\\ude00\\ud83d"]', "byte 3: half of a character"),
        ('["\\ud83d\\u0041"]', "byte 3: half of a character"),
        ('["\\ud83dxude00"]', "byte 3: half of a character"),
        ("[01]", "byte 2: a number does not begin with 0"),
        ("[-01]", "byte 3: a number does not begin with 0"),
        ("[-]", "byte 3: ] where a digit was expected"),
        ("[1.]", "byte 4: ] where a digit was expected"),
        ("[1.e5]", "byte 4: e where a digit was expected"),
        ("[1e]", "byte 4: ] where a digit was expected"),
        ("[0x10]", "byte 3: x where , or ] was expected"),
        ("[1_0]", "byte 3: _ where , or ] was expected"),
        ("[" + "1" * 65 + "]", "byte 2: a number of more than 64 letters"),
        ('{"a": 1, "b": {"a": 1}, "a": 2}', "byte 25: a is given twice"),
        ('{"a": 1, "\\u0061": 2}', "byte 10: a is given twice"),
        ('{"' + "k" * 50 + '": 1, "' + "k" * 50 + '": 2}', "byte 59: " + "k" * 40 + " is given twice"),
        ("[" * 9 + "]" * 9, "byte 9: nested too deep"),
        ('{"a":' * 9, "byte 41: nested too deep"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, reason):
    with pytest.raises(ValueError, match=r"^byte|^cut") as raised:
        strict_json.loads(text.encode())
    assert str(raised.value).startswith(reason)


@pytest.mark.parametrize(
    "raw",
    [b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xc2a", b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2\x82a", b"\xed\xa0\x80",
     b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xfe"],
)  # fmt: skip
def test_what_is_not_utf8_is_told_with_its_place(raw):
    for before in (b'["ab', b'{"ab'):
        with pytest.raises(ValueError, match="^byte 5: not UTF-8$"):
            strict_json.loads(before + raw + b'"]')


def test_every_character_is_read_as_it_is_and_as_an_escape():
    for code in [*range(0x20), 0x22, 0x5C, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]:
        text = "a" + chr(code) + "z"
        assert strict_json.loads(json.dumps([text]).encode()) == [text]
        if code >= 0x20 and code not in (0x22, 0x5C):
            assert strict_json.loads(('["' + text + '"]').encode()) == [text]
    assert strict_json.loads(rb'["\"\\\/\b\f\n\r\t\uABcd\uD83D\uDE00"]') == ['"\\/\b\f\n\r\t\uabcd\U0001f600']


def test_numbers_have_the_type_of_their_form():
    found = strict_json.loads(b"[0,-0,10,1.0,1e2,-1E-2,0.5e+1,1e999,123456789012345678901234567890]")
    assert found == [0, 0, 10, 1.0, 100.0, -0.01, 5.0, math.inf, 123456789012345678901234567890]
    assert [type(one) for one in found] == [int] * 3 + [float] * 5 + [int]


def test_eight_levels_are_not_too_deep():
    assert strict_json.loads(b"[" * 8 + b"]" * 8) == json.loads("[" * 8 + "]" * 8)
    assert depth(strict_json.loads(b'{"a":' * 7 + b"[1]" + b"}" * 7)) == 8

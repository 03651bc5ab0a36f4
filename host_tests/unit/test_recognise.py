"""Signatures: which profile fits a meter that answers, asked of every virtual meter."""

import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware import resources
from firmware.meters import catalog, profile, recognise
from tools import profiles
from tools.virtual_meters import ModbusException, VirtualMeter

# Meters that more than one profile fits, and why: the SDM230 has no code of its own, so each Eastron that measures the
# frequency fits it, after what its code says; 60 channels of a WattsOn-MCM include the first 24; one kind of DTSU666
# differs in the place of its energies only.
AMBIGUOUS = {
    "eastron-sdm120": {"eastron-sdm230"},
    "eastron-sdm630": {"eastron-sdm230"},
    "eastron-sdm72d-m-v2": {"eastron-sdm230"},
    "elkor-wattson-mcm-60": {"elkor-wattson-mcm"},
    "chint-dtsu666-401e": {"chint-dtsu666"},
}


@pytest.fixture(autouse=True)
def flash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "meters").mkdir(parents=True)
    return tmp_path / "data" / "meters"


def search(meter):
    """What a search over the bus finds: the names that fit, and the requests that it took."""
    asked = {}
    fits = []
    for name, tests in recognise.candidates():
        for test in tests:
            if test[:3] not in asked:
                asked[test[:3]] = answer(meter, *test[:3])
            if not recognise.matches(test, asked[test[:3]]):
                break
        else:
            fits.append((-len(tests), name))
    return [name for _, name in sorted(fits)], list(asked)


def answer(meter, function, address, count):
    try:
        return b"".join(word.to_bytes(2, "big") for word in meter.registers(function, address, count))
    except ModbusException:
        return None


@pytest.mark.parametrize("name", profiles.available())
@pytest.mark.parametrize("elapsed_s", [0, 1234.5])
def test_every_meter_is_recognised_as_itself_and_as_nothing_else(name, elapsed_s):
    now = [0.0]
    meter = VirtualMeter(1, name, clock=lambda: now[0])
    now[0] = elapsed_s
    fits, asked = search(meter)
    assert fits[0] == name
    assert set(fits) == {name} | AMBIGUOUS.get(name, set())
    assert len(asked) <= 24


@pytest.mark.parametrize("name", profiles.available())
def test_no_signature_fits_a_meter_that_gives_zeros_or_ones_everywhere(name):
    tests = dict(recognise.candidates())[name]
    for byte in (b"\x00", b"\xff"):
        assert not all(recognise.matches(test, byte * 2 * test[2]) for test in tests)


def test_a_wattson_with_swapped_words_is_not_taken_for_the_profiles():
    meter = VirtualMeter(2, "elkor-wattson-mk2")
    meter.holding[0x51A] = 1
    assert search(meter)[0] == []


def test_candidates_are_all_profiles_and_their_tests_those_of_the_files():
    found = dict(recognise.candidates())
    assert sorted(found) == profiles.available()
    for name, tests in found.items():
        one = profiles.load(name)
        assert len(tests) == len(one.signature)
        for test, row in zip(tests, one.signature, strict=True):
            assert test[:3] == (row[0], row[1], profiles.TYPES[row[2]])
            assert profile.TYPES[test[3]] == row[2]
            assert test[4] == (one.word_order == "little")
            assert test[5] == (row[3] if len(row) == 4 else (row[3], row[4]))


def write(folder, name, document):
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))


def test_a_users_profile_is_a_candidate_and_takes_the_place_of_one_of_the_firmware(flash):
    write(flash, "mine.json", {"points": [], "signature": [[3, 7, "uint16", [9]]], "word_order": "big"})
    write(flash, "abb-b23.json", {"signature": [[4, 8, "uint32", 1, 2]], "word_order": "little", "points": []})
    write(flash, "eastron-sdm120.json", {"points": []})
    write(flash, "notes.txt", {"signature": [[3, 7, "uint16", [9]]]})
    found = dict(recognise.candidates())
    assert list(found)[:2] == ["abb-b23", "mine"]
    assert found["mine"] == [(3, 7, 1, 0, False, [9])]
    assert found["abb-b23"] == [(4, 8, 2, 2, True, (1, 2))]
    assert "eastron-sdm120" not in found
    assert len(found) == len(profiles.available())


@pytest.mark.parametrize("name", profiles.available())
def test_a_title_is_told_without_the_points_of_a_profile(monkeypatch, name):
    """A board whose modules are files has no ten kilobytes in one piece."""
    read = resources.read

    def read_head(path, size=None):
        assert (size or 1025) <= 1024
        return read(path, size)

    monkeypatch.setattr(resources, "read", read_head)
    assert catalog.title(name) == (profiles.load(name).name, profiles.load(name).confidence)


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("padding", [0, 1, 100, 117, 118, 119, 127, 128, 129, 500])
def test_the_signature_is_found_wherever_it_stands_in_the_file(flash, padding, indent):
    rows = [[3, 7, "int32", [-9, 5]], [4, 1, "uint16", 0, 1]]
    document = {"name": "x" * padding, "points": [["[", 1]] * 50, "signature": rows, "z": 1}
    write(flash, "a.json", json.dumps(document, indent=indent))
    assert next(recognise.candidates()) == (
        "a", [(3, 7, 2, 3, False, [-9, 5]), (4, 1, 1, 0, False, (0, 1))],
    )  # fmt: skip
    write(flash, "a.json", json.dumps({"signature": rows}, indent=indent))
    assert len(next(recognise.candidates())[1]) == 2


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", '{"signature"', '{"signature":', '{"signature": [', '{"signature": [[3, 7, "uint16", [9]]',
        '{"signature": null}', '{"signature": 5}', '{"signature": "x"}', '{"signature": {}}', '{"signature": []}',
        '{"signature": [5]}', '{"signature": [[]]}', '{"signature": [[3, 7]]}', '{"signature": [[3, 7, "text", [9]]]}',
        '{"signature": [[3, 7, "uint16", 9]]}', '{"signature": [[3, 7, "uint16", ["a"]]]}',
        '{"signature": [[3, 7, "uint16", "a", "b"]]}', '{"signature": [[3, "7", "uint16", [9]]]}',
        '{"signature": [[5, 7, "uint16", [9]]]}', '{"signature": [[3, 65536, "uint16", [9]]]}',
        '{"signature": [[3, 7, "uint16", [9]]' + "," * 5000, '{"points": [[1, "signature", 3]]}', '"signature"',
        '{"signature": [[3, 7, "uint16", [9]]], "word_order": [}', "\x00" * 300,
    ],
)  # fmt: skip
def test_a_wrong_signature_is_no_candidate_and_harms_no_other(flash, text):
    write(flash, "a.json", text)
    assert [name for name, _ in recognise.candidates()] == profiles.available()


def test_a_file_that_is_not_text_harms_no_other(flash):
    (flash / "a.json").write_bytes(b'{"signature": [\xff\xfe], "word_order": "big"}')
    (flash / "b.json").mkdir()
    assert [name for name, _ in recognise.candidates()] == profiles.available()


FORMATS = {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f"}


@pytest.mark.parametrize("little", [False, True])
@pytest.mark.parametrize("kind", range(7))
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_test_compares_what_struct_says(kind, little, data):
    name = profile.TYPES[kind]
    size = 2 * profile.REGISTERS[kind]
    raw = data.draw(st.binary(min_size=size, max_size=size))
    (value,) = struct.unpack(">" + FORMATS[name], raw)
    if little:
        raw = b"".join(raw[k : k + 2] for k in range(size - 2, -1, -2))
    low, high = sorted((data.draw(st.integers(-(2**40), 2**40)), data.draw(st.integers(-(2**40), 2**40))))
    head = (3, 0, size // 2, kind, little)
    assert recognise.matches((*head, (low, high)), raw) == (low <= value <= high)
    assert recognise.matches((*head, [value, 7]), raw) or value != value
    assert recognise.matches((*head, [7]), bytearray(raw)) == (value == 7)


@pytest.mark.parametrize("registers", [None, b"", b"\x00", b"\x00\x01\x00", b"\x00\x01\x00\x01"])
def test_no_answer_and_one_of_another_length_match_nothing(registers):
    assert not recognise.matches((3, 0, 1, 0, False, (0, 65535)), registers)

"""The meter profiles of the tree, and what the validator says about wrong ones."""

import json

import pytest

from firmware.meters import profile_loader as profile_load
from tools import profiles


@pytest.fixture
def document():
    """The PZEM's profile as a JSON object that a test may spoil."""
    return json.loads((profiles.METERS_DIR / "pzem-004t-v3.json").read_text())


def parse(document):
    head = {key: value for key, value in document.items() if key != "points"}
    rows = ",\n".join(json.dumps(row) for row in document["points"])
    return profiles.parse(json.dumps(head)[:-1] + f', "points": [\n{rows}\n]}}', "spoilt")


@pytest.mark.parametrize("profile_id", profiles.available())
def test_every_profile_of_the_tree_is_valid(profile_id):
    assert profiles.load(profile_id).points


def test_the_names_of_the_profiles_are_permanent():
    """Configurations name them."""
    assert profiles.available() == [
        "abb-b23", "carlo-gavazzi-em112", "carlo-gavazzi-em24", "carlo-gavazzi-em24-e1", "carlo-gavazzi-em340",
        "chint-ddsu666", "chint-dtsu666", "chint-dtsu666-401e", "chint-dtsu666-h", "eastron-sdm120", "eastron-sdm230",
        "eastron-sdm630", "eastron-sdm72d-m", "eastron-sdm72d-m-v2", "elkor-wattson-1100", "elkor-wattson-mcm",
        "elkor-wattson-mcm-60", "elkor-wattson-mk2", "janitza-umg96rm-e", "orno-we-516", "pzem-004t-v3",
        "schneider-iem3150", "schneider-iem3155", "shelly-pro-3em", "siemens-pac2200", "sunspec-213",
    ]  # fmt: skip


@pytest.mark.parametrize("profile_id", profiles.available())
def test_every_profile_of_the_tree_can_be_recognised(profile_id):
    assert profiles.load(profile_id).signature


@pytest.mark.parametrize("profile_id", profiles.available())
def test_a_profile_of_the_tree_is_not_from_memory_and_a_wattson_not_more_certain_than_its_source(profile_id):
    """test_meter_facts.py counts the sources."""
    assert profiles.load(profile_id).confidence in ((1,) if "wattson" in profile_id else (1, 2))


@pytest.mark.parametrize(
    ("profile_id", "blocks"),
    [
        ("abb-b23", [(3, 20480, 20), (3, 21600, 24), (3, 23296, 45), (3, 23354, 4)]),
        ("carlo-gavazzi-em112", [(4, 0, 6), (4, 16, 2), (4, 32, 2)]),
        ("carlo-gavazzi-em24", [
            (4, 0, 10), (4, 10, 10), (4, 20, 10), (4, 30, 8), (4, 40, 6), (4, 50, 6), (4, 62, 4), (4, 70, 6),
            (4, 92, 4),
        ]),
        ("carlo-gavazzi-em24-e1", [(4, 0, 80)]),
        ("carlo-gavazzi-em340", [(4, 0, 50), (4, 51, 31)]),
        ("chint-ddsu666", [(3, 8192, 16), (3, 16384, 12)]),
        ("chint-dtsu666", [(3, 4126, 18), (3, 8192, 34), (3, 8234, 8), (3, 8260, 2)]),
        ("chint-dtsu666-401e", [(3, 8192, 50), (3, 8260, 2), (3, 16414, 12)]),
        ("chint-dtsu666-h", [(3, 2102, 74)]),
        ("eastron-sdm120", [(4, 0, 32), (4, 70, 10), (4, 342, 4)]),
        ("eastron-sdm230", [(4, 0, 32), (4, 70, 10), (4, 342, 4)]),
        ("eastron-sdm630", [(4, 0, 50), (4, 52, 30), (4, 200, 8), (4, 224, 2), (4, 342, 16)]),
        ("eastron-sdm72d-m", [(4, 52, 2), (4, 72, 4), (4, 342, 2)]),
        ("eastron-sdm72d-m-v2", [(4, 0, 36), (4, 48, 28), (4, 200, 6), (4, 224, 2), (4, 342, 4)]),
        ("elkor-wattson-1100", [(3, 770, 64), (3, 834, 54)]),
        ("elkor-wattson-mcm", [(3, 20736, 48), (3, 21248, 48)]),
        ("elkor-wattson-mcm-60", [(3, 20736, 64), (3, 20800, 56), (3, 21248, 64), (3, 21312, 56)]),
        ("elkor-wattson-mk2", [(3, 512, 16), (3, 544, 42), (3, 4352, 2)]),
        ("janitza-umg96rm-e", [(3, 19000, 86)]),
        ("orno-we-516", [(3, 14, 46), (3, 256, 48)]),
        ("pzem-004t-v3", [(4, 0, 10)]),
        ("schneider-iem3150", [(3, 2999, 62), (3, 3109, 2), (3, 3203, 4), (3, 3517, 12)]),
        ("schneider-iem3155", [(3, 2999, 112), (3, 3203, 24), (3, 3517, 12)]),
        ("shelly-pro-3em", [
            (4, 1007, 28), (4, 1040, 10), (4, 1060, 10), (4, 1162, 4), (4, 1182, 4), (4, 1202, 4), (4, 1222, 4),
        ]),
        ("sunspec-213", [(3, 40071, 74)]),
    ],
)  # fmt: skip
def test_points_join_into_few_blocks(profile_id, blocks):
    profile = profiles.load(profile_id)
    assert profile.blocks(profile.gap) == profile_load.load(profile_id).plan == blocks
    assert all(count <= profile.max_registers for _, _, count in blocks)


def test_numbers_and_names_are_permanent():
    """A changed number is another register and another BACnet object for everyone who reads it."""
    n = profiles.NUMBERS
    assert [n[i] for i in (1, 4, 5, 8, 9, 12, 13, 14, 15)] == [
        "voltage_l1", "voltage_ln_average", "voltage_l1_l2", "voltage_ll_average", "current_l1",
        "current_average", "current_neutral", "current_sum", "frequency",
    ]  # fmt: skip
    assert [n[i] for i in range(16, 56, 4)] == [
        "active_power", "reactive_power", "apparent_power", "power_factor", "energy_import", "energy_export",
        "energy_total", "reactive_energy_import", "reactive_energy_export", "reactive_energy_total",
    ]  # fmt: skip
    assert (n[19], n[35], n[56], n[128]) == (
        "active_power_l3",
        "energy_import_l3",
        "apparent_energy",
        "alarm",
    )
    assert len(n) == 57
    assert len(set(n.values())) == 57


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (0, 0, 0, "points[0].number: 0 is not one of 1..255"),
        (0, 0, 57, "own points begin at 129"),
        (0, 0, 2, "'voltage_l1' is not 'voltage_l2'"),
        (1, 0, 1, "'current_l1' is not 'voltage_l1'"),
        (0, 2, 5, "points[0].function: 5 is not 3 or 4"),
        (0, 3, -1, "points[0].address: -1 is not one of 0..65535"),
        (6, 3, 65536, "beyond 65536"),
        (1, 3, 0, "overlaps"),
        (0, 4, "uint24", "points[0].type: 'uint24' is not one of"),
        (0, 5, 0, "scale: 0 must be above 0"),
        (3, 5, "0.1", "scale: must be a number"),
        (0, 6, "kV", "'kV' is not 'V'"),
        (3, 7, "instantaneous", "must be accumulating"),
        (0, 7, "accumulating", "must not be accumulating"),
    ],
)
def test_a_wrong_row_is_named_with_what_is_allowed(document, row, column, value, message):
    document["points"][row][column] = value
    with pytest.raises(profiles.ProfileError) as error:
        parse(document)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("word_order", "middle", "word_order: 'middle' is not one of ('big', 'little')"),
        ("max_registers", 126, "max_registers: 126 is not one of 4..125"),
        ("max_registers", 3, "max_registers: 3 is not one of 4..125"),
        ("confidence", True, "confidence: True"),
        ("columns", ["number"], "columns: must be"),
        ("points", [], "at least one row"),
        ("vendor", "x", "keys: ['vendor'] unknown; known are ['both_functions', 'columns'"),
        ("unconfirmed", [1, 77], "unconfirmed: 77 is no point's number"),
        ("unconfirmed", 1, "must be a list"),
        ("no_value", "nan", "no_value: 'nan' is not one of ('none', 'maximum', 'sunspec')"),
        ("signed_current", 1, "signed_current: 1 is not true or false"),
        ("tenfold_frequency", 1, "tenfold_frequency: 1 is not true or false"),
        ("signature", {}, "signature: must be a list of at most 8 rows"),
        ("signature", [[4, 0, "uint16"]], "signature[0]: must be [function, address, type, ...]"),
        ("signature", [[4, 0, "uint16", [1]], [5, 0, "uint16", [1]]], "signature[1]: function 5 is not 3 or 4"),
        ("signature", [[4, 65535, "uint32", [1]]], "signature[0]: address 65535 is not one of 0..65534"),
        ("signature", [[4, 0, "uint16", [1.5]]], "is not a list of 1..16 integers"),
        ("signature", [[4, 0, "float32", [1]]], "is not a list of 1..16 integers"),
        ("signature", [[4, 0, "uint16", 2, 1]], "[2, 1] is not the lowest and the highest value"),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(document, key, value, message):
    document[key] = value
    with pytest.raises(profiles.ProfileError) as error:
        parse(document)
    assert message in str(error.value)


def test_a_missing_key_is_named(document):
    del document["columns"]
    with pytest.raises(profiles.ProfileError, match=r"keys: \['columns'\] missing"):
        parse(document)


def test_what_is_left_out_has_the_devices_default(document):
    for key in ("name", "confidence", "max_registers", "gap", "word_order"):
        document.pop(key, None)
    parsed = parse(document)
    device = profile_load.parse(parsed.id, document)
    assert parsed.name == device.name == parsed.id
    assert (parsed.confidence, parsed.word_order) == (0, "big")
    assert [tuple(block) for block in parsed.blocks(parsed.gap)] == [tuple(read) for read in device.plan]


def test_what_the_host_takes_the_device_takes_too(document):
    """Two checkers, one format."""
    document |= {"unconfirmed": [1], "no_value": "sunspec", "signed_current": True}
    document["signature"] = [[4, 0, "uint16", 1, 2]]
    assert len(parse(document).points) == len(profile_load.parse("mine", document))


def test_the_same_number_cannot_be_used_twice(document):
    document["points"].append([128, "alarm", 4, 10, "uint16", 1, "", "instantaneous"])
    with pytest.raises(profiles.ProfileError, match="number 128 is used twice"):
        parse(document)


def test_two_points_in_one_line_of_the_file_are_refused(document):
    with pytest.raises(profiles.ProfileError, match="one row a line"):
        profiles.parse(json.dumps(document), "spoilt")


def test_an_unknown_profile_says_which_there_are():
    with pytest.raises(profiles.ProfileError, match=r"there are .*eastron-sdm630"):
        profiles.load("eastron-sdm063")


@pytest.mark.parametrize(
    ("type_name", "scale", "raw", "value"),
    [
        ("uint32", 100, 2**31 + 1, 100 * (2**31 + 1)), ("uint32", 0.1, 25, 3), ("int32", 0.1, -25, -3),
        ("uint64", 10, 2**60 + 1, 10 * (2**60 + 1)), ("float32", 1000, 0.0625, 63),
    ],
)  # fmt: skip
def test_what_a_gateway_must_show_of_energy_is_exact(type_name, scale, raw, value):
    assert profiles.Point(32, "energy_import", 4, 0, type_name, scale, "Wh", "accumulating").scaled(raw) == value


@pytest.mark.parametrize(
    ("type_name", "raw", "order", "registers"),
    [
        ("uint16", 0xABCD, "little", [0xABCD]),
        ("int16", -2, "big", [0xFFFE]),
        ("uint32", 0x12345678, "big", [0x1234, 0x5678]),
        ("uint32", 0x12345678, "little", [0x5678, 0x1234]),
        ("int32", -1, "little", [0xFFFF, 0xFFFF]),
        ("uint64", 0x0001000200030004, "big", [1, 2, 3, 4]),
        ("int64", 0x0001000200030004, "little", [4, 3, 2, 1]),
        ("float32", 230.5, "big", [0x4366, 0x8000]),
        ("float32", 230.5, "little", [0x8000, 0x4366]),
    ],
)
def test_values_and_registers_convert_both_ways(type_name, raw, order, registers):
    assert profiles.encode(raw, type_name, order) == registers
    assert profiles.decode(registers, type_name, order) == raw

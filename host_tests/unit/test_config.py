"""Configuration: what is refused, and how it is said. What the device then runs by is in test_config_boot.py."""

import json

import pytest

from firmware.config import load as config
from firmware.net.budget import SERVICES
from host_tests.unit import the_schema as schema
from tools import profiles


@pytest.fixture(autouse=True)
def flash(tmp_path, monkeypatch):
    """The device's file system: an empty folder, which is where the firmware runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def meter(**change):
    return {"slot": 0, "name": "main", "unit": 1, "profile": "pzem-004t-v3", **change}


def whole(**change):
    """A configuration with one bus and one meter."""
    return {"buses": [{"uart": 1}], "meters": [meter()], "routes": [{"unit": 100}],
            "served": [{"unit": 99, "meters": "0", "as": "pzem-004t-v3"}], **change}  # fmt: skip


def errors_of(raw):
    return config.validate(raw)[1]


def keys(schema=schema.SCHEMA, path=()):
    """Every key of the schema: (path, spec); the steps of a path are names, and 0 for the first item of a list."""
    for key, spec in schema.items():
        if isinstance(spec, dict):
            yield from keys(spec, (*path, key))
        elif isinstance(spec, list):
            yield from keys(spec[0], (*path, key, 0))
        else:
            yield (*path, key), spec


def shown(path):
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def with_value(path, value):
    """A configuration that is right but for this value at this path."""
    raw = whole()
    place = raw
    for step in path[:-1]:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    place[path[-1]] = value
    return raw


WRONG = {
    "bool": [0, 1, "true", None, [], {}],
    "int": ["1", None, True, 1.5, [], {}],
    "text": [1, None, True, [], {}, "a\nb", "a\x00b", "\x7f"],
    "lines": [1, None, True, [], {}, "a\rb", "a\x00b", "\x7f"],
    "choice": ["none of these", None, True, 1, [], {}, [9600]],
    "pin": [-1, 49, "4", True, 1.5, [], {}],
    "uart": [-1, 3, None, True, 1.5, "", "x" * 81, [], {}],
    "names": [
        "",
        "a.example",
        None,
        True,
        {},
        [""],
        [1],
        ["a b"],
        ["http://a"],
        ["a:80"],
        ["\u00e4"],
        ["x" * 65],
        ["a"] * 5,
    ],
    "ips": ["", "192.0.2.1", None, True, {}, ["192.0.2"], [1], ["192.0.2.1"] * 9],
    "ip": [
        "",
        "1.2.3",
        "1.2.3.4.5",
        "256.0.0.1",
        "1.2.3.x",
        "-1.2.3.4",
        "1..2.3",
        "::1",
        "localhost",
        "1.2.3.\u00b2",
        " 1.2.3.4",
        1,
        None,
        [],
    ],
}


def wrong_values(spec):
    values = list(WRONG[spec[0]])
    if spec[0] == "int":
        values += [spec[2] - 1, spec[3] + 1, 10**12, float(spec[2])]
    if spec[0] == "choice" and isinstance(spec[1], int):
        values += [float(spec[1]), spec[1] + 1, str(spec[1])]
    if spec == ("ip", ""):
        values.remove("")
    if spec[0] in ("text", "lines"):
        values += ["x" * (spec[3] + 1)]
        if spec[2]:
            values += ["x" * (spec[2] - 1)]
    return values


def right_values(spec):
    """The ends of what is allowed, and something between."""
    kind = spec[0]
    if kind == "bool":
        return [True, False]
    if kind == "int":
        return [spec[2], spec[3], (spec[2] + spec[3]) // 2]
    if spec == schema.SCHEMA["posting"]["url"]:
        return ["", "http://x", "https://x/" + "x" * (spec[3] - 10)]
    if kind == "text":
        return ["a" * spec[2], "a" * spec[3]]  # hexadecimal digits too
    if kind == "lines":
        return ["x" * spec[2], "x" * spec[3], "a\nb\n"]
    if kind == "choice":
        return list(spec[2])
    if kind == "pin":
        return [0, 48, None]
    if kind == "uart":
        return [0, 2, "/dev/ttyUSB0", "x" * 80]
    if kind == "ips":
        return [[], ["192.168.1.2"], [f"192.0.2.{k}" for k in range(spec[2])]]
    if kind == "names":
        return [[], ["a"], ["x" * 64], [f"Meter-{k}.example.org." for k in range(spec[2])]]
    return ["0.0.0.0", "255.255.255.255", "192.168.1.2", spec[1]]


def allowed(spec):
    """What the message must say is allowed, in part."""
    kind = spec[0]
    if kind == "int":
        return [str(spec[2]), str(spec[3])]
    if kind in ("text", "lines"):
        return [str(spec[2]), str(spec[3]), "text"]
    if kind == "choice":
        return [str(choice) for choice in spec[2]]
    if kind == "ips":
        return ["list", str(spec[2]), "192.0.2.1"]
    if kind == "names":
        return ["list", str(spec[2]), "host names"]
    return {
        "bool": ["true", "false"], "pin": ["0", "48", "null"], "uart": ["0", "2", "path"], "ip": ["192.0.2.1"],
    }[kind]  # fmt: skip


def refuses_wrong_values(path, spec):
    """Each with its key, itself, and what is allowed."""
    for value in wrong_values(spec):
        errors = errors_of(with_value(path, value))
        assert len(errors) == 1, errors
        message = errors[0]
        assert message.startswith(shown(path) + ": ")
        given = "this" if path[-1].startswith("password") else json.dumps(value)  # errors are seen without a login
        assert (given if len(given) <= 40 else given[:37]) in message
        rest = message.split(" is not ", 1)[1]
        assert [word for word in allowed(spec) if word not in rest] == []


def takes_the_ends_of_its_range(path, spec):
    if path[-1] in ("profile", "bus", "count", "dhcp", "points", "board", "meters", "as") or path[0] == "routes":
        return  # those must also name something that exists, or want something else
    for value in right_values(spec):
        if path == ("served", 0, "unit") and value == 1:
            value = 2  # the meter has unit 1
        if value == "slave":
            continue  # the line has a meter
        got, errors = config.validate(with_value(path, value))
        assert errors == []
        for step in path:
            got = got[step]
        assert got == value
        assert type(got) is type(value)


def has_a_default_or_must_be_given(path, spec):
    raw = whole()
    place = raw
    for step in path[:-1]:
        place = place.setdefault(step, {}) if isinstance(place, dict) else place[step]
    place.pop(path[-1], None)
    got, errors = config.validate(raw)
    if spec[1] is None and spec[0] != "pin":
        assert errors == [f"{shown(path)}: missing"]
    else:
        assert errors == []
        for step in path:
            got = got[step]
        assert got == spec[1]


def has_a_default_within_its_range(path, spec):
    if spec[1] is not None:
        assert errors_of(with_value(path, spec[1])) == []


@pytest.mark.parametrize(("path", "spec"), list(keys()), ids=[shown(path) for path, _ in keys()])
def test_a_key_takes_what_its_schema_allows_and_refuses_the_rest_by_name(path, spec):
    refuses_wrong_values(path, spec)
    takes_the_ends_of_its_range(path, spec)
    has_a_default_or_must_be_given(path, spec)
    has_a_default_within_its_range(path, spec)


@pytest.mark.parametrize(
    "path",
    [(), ("network",), ("http",), ("ntp",), ("system",), ("buses", 0), ("meters", 0), ("routes", 0), ("served", 0)],
    ids=lambda p: shown(p) or "top",
)
def test_an_unknown_key_is_named_with_those_that_are_known(path):
    errors = errors_of(with_value((*path, "portt"), 1))
    assert len(errors) == 1
    assert errors[0].startswith(f"{shown((*path, 'portt'))}: unknown key; known are ")


def test_the_message_for_a_typo_lists_the_right_key():
    assert "public_status" in errors_of({"http": {"publik_status": True}})[0]


@pytest.mark.parametrize("key", [k for k, spec in schema.SCHEMA.items() if isinstance(spec, dict)])
def test_a_section_that_is_no_object_is_refused(key):
    for value in (None, 1, "x", [], True, 1.5):
        assert errors_of({key: value}) == [f"{key}: must be an object"]


@pytest.mark.parametrize("key", ["buses", "routes", "meters", "served"])
def test_a_list_that_is_none_is_refused(key):
    for value in (None, 1, "x", {}, True):
        errors = errors_of({key: value})
        assert len(errors) == 1
        assert errors[0].startswith(f"{key}: must be a list of at most ")


@pytest.mark.parametrize("value", [1, "x", [], True, 1.5])
def test_a_file_that_is_no_object_is_refused(value):
    assert errors_of(value) == ["configuration: must be an object"]


@pytest.mark.parametrize(("key", "item", "most"), [("buses", {"uart": 1}, 2), ("meters", meter(), 64)])
def test_a_list_that_is_too_long_is_refused(key, item, most):
    errors = errors_of({key: [item] * (most + 1)})
    assert f"{key}: must be a list of at most {most}" in errors


def test_an_item_that_is_no_object_is_named_by_its_place():
    errors = errors_of(whole(meters=[meter(), 5]))
    assert errors[0] == "meters[1]: must be an object"


def test_every_wrong_key_is_reported_not_only_the_first():
    errors = errors_of({"http": {"port": 0, "max_connections": 99}, "ntp": {"server": ""}})
    assert [error.split(":")[0] for error in errors] == ["http.port", "http.max_connections", "ntp.server"]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (0x00, "a control character"), (0x1F, "a control character"), (0x7F, "a control character"),
        (0x80, "a control character"), (0x9B, "a control character"), (0x9F, "a control character"),
        (0x061C, "a bidirectional mark"), (0x200E, "a bidirectional mark"), (0x200F, "a bidirectional mark"),
        (0x202A, "a bidirectional mark"), (0x202E, "a bidirectional mark"), (0x2066, "a bidirectional mark"),
        (0x2069, "a bidirectional mark"), (0x2028, "a line separator"), (0x2029, "a line separator"),
        (0xD800, "half of a character"), (0xDFFF, "half of a character"),
    ],
    ids=lambda value: f"U+{value:04X}" if isinstance(value, int) else value,
)  # fmt: skip
def test_a_character_that_changes_how_a_line_is_shown_is_refused_by_its_number(code, what):
    character = chr(code)
    name = f"pump \u00e4 {character} 3"
    for raw, place in (
        ({"name": name}, "name"), (whole(meters=[meter(name=name)]), "meters[0].name"),
        ({"network": {"ssid": name}}, "network.ssid"), ({"buses": [{"uart": name}]}, "buses[0].uart"),
        ({"ntp": {name: 1}}, "ntp"),
    ):  # fmt: skip
        (error,) = errors_of(raw)
        assert error.startswith(place)
        assert character not in error
        if place.endswith(("name", "ssid")):
            assert error.endswith(f"printable characters: U+{code:04X} is {what}")


@pytest.mark.parametrize(
    "name",
    [
        "\u00a0",
        "Z\u00e4hler 1",
        "\u05de\u05d5\u05e0\u05d4",
        "\u200c\u200d",
        "\u2030",
        "\u2065x",
        "\ue000",
        "\U0001f50c",
    ],
)
def test_letters_of_any_script_may_stand_in_a_name(name):
    assert errors_of({"name": name}) == []


def test_the_list_of_errors_is_bounded():
    assert len(errors_of({f"k{i}": 1 for i in range(100)})) == 12
    assert len(errors_of({"meters": [5] * 64})) == 12


def test_a_long_wrong_value_is_shortened():
    assert len(errors_of({"http": {"port": "9" * 5000}})[0]) < 200


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (whole(meters=[meter(), meter(unit=2)]), "meters[1].slot: 0 is used by another meter"),
        (whole(meters=[meter(), meter(slot=1)]), "meters[1].unit: 1 is used by another meter of bus 0"),
        (whole(routes=[{"unit": 200, "count": 56}]), "routes[0].count: 56 reaches unit 255, and 254 is the last"),
        (
            whole(routes=[{"unit": 1, "address": 254, "count": 2}]),
            "routes[0].count: 2 reaches unit 255, and 254 is the last",
        ),
        (whole(served=[{"unit": 1, "meters": "0"}]), "served[0].unit: 1 is the unit of a meter"),
        (whole(served=[{"unit": 9, "meters": "0"}] * 2), "served[1].unit: 9 is served already"),
        (
            whole(served=[{"unit": 9, "meters": "0+"}]),
            'served[0].meters: "0+" is not a slot such as "0", or a sum of slots such as "0+3-5"',
        ),
        (
            whole(served=[{"unit": 9, "meters": "64"}]),
            'served[0].meters: "64" is not a slot such as "0", or a sum of slots such as "0+3-5"',
        ),
        (whole(served=[{"unit": 9, "meters": "0", "sunspec": False}]), "served[0].as: a profile, or sunspec on"),
        (
            whole(served=[{"unit": 9, "meters": "0", "as": "../x"}]),
            'served[0].as: "../x": letters, digits, - _ . only',
        ),
        (
            whole(served=[{"unit": 9, "meters": "0", "as": "none"}]),
            "served[0].as: profile none: there is no data/meters/none.json and none came with the firmware",
        ),
        (whole(routes=[{"unit": 1, "bus": 1}]), "routes[0].bus: 1 is not one of the 1 in buses"),
        (whole(meters=[meter(slot=k, unit=k + 1) for k in range(33)]), "meters[32].bus: 0 has 32 meters already"),
        (
            whole(buses=[{"uart": 1, "role": "slave"}]),
            "meters[0].bus: 0 is a slave line, on which no meter can be asked",
        ),
        (whole(meters=[meter(bus=1)]), "meters[0].bus: 1 is not one of the 1 in buses"),
        (whole(buses=[], routes=[]), "meters[0].bus: 0 is not one of the 0 in buses"),
        ({"http": {"port": 502}}, "modbus.port: 502 is taken by http.port"),
        ({"modbus": {"rtu_over_tcp": 80}}, "modbus.rtu_over_tcp: 80 is taken by http.port"),
        ({"modbus": {"rtu_over_tcp": 502}}, "modbus.rtu_over_tcp: 502 is taken by modbus.port"),
    ],
)
def test_what_one_key_cannot_know_of_another_is_checked(raw, message):
    assert errors_of(raw) == [message]


def test_the_same_port_is_allowed_when_one_of_the_two_is_off():
    assert errors_of({"http": {"port": 502, "enabled": False}}) == []


@pytest.mark.parametrize("name", ["../secret", "a/b", "a b", "a\\b", "%2e"])
def test_a_profile_name_cannot_leave_its_folder(name):
    errors = errors_of(whole(meters=[meter(profile=name)]))
    assert len(errors) == 1
    assert errors[0].startswith("meters[0].profile: ")
    assert "letters, digits" in errors[0]


def test_a_profile_that_is_not_there_is_named():
    errors = errors_of(whole(meters=[meter(profile="sdm999")]))
    assert len(errors) == 1
    assert errors[0].startswith("meters[0].profile: ")
    assert "sdm999" in errors[0]


def test_a_broken_profile_is_the_configurations_error(flash):
    (flash / "data" / "meters").mkdir()
    (flash / "data" / "meters" / "mine.json").write_text('{"points": []}')
    errors = errors_of(whole(meters=[meter(profile="mine")]))
    assert len(errors) == 1
    assert "profile mine" in errors[0]


def test_transformers_that_are_given_are_kept():
    given = {"ct_primary": 600, "ct_secondary": 5, "pt_primary": 20000, "pt_secondary": 100, "inverted": True}
    got, errors = config.validate(whole(meters=[meter(**given)]))
    assert errors == []
    assert got["meters"][0].items() >= given.items()


@pytest.mark.parametrize("profile", profiles.available())
def test_the_profiles_that_come_with_the_firmware_are_found(profile):
    assert errors_of(whole(meters=[meter(profile=profile)])) == []


def test_a_new_device_has_the_services_that_need_nothing_else_and_no_meters():
    fresh = config.default()
    assert [name for name in SERVICES if not fresh[name]["enabled"]] == ["bacnet", "shelly", "mqtt"]
    assert fresh["sockets"]["limit"] == 16
    assert fresh["meters"] == []
    assert (fresh["http"]["port"], fresh["modbus"]["port"]) == (80, 502)
    assert fresh["http"]["public_status"] is False
    assert fresh["modbus"]["allow_writes"] is False


@pytest.mark.parametrize("points", ["16", "1,255", "32,16,1"])
def test_points_for_bacnet_are_numbers(points):
    assert errors_of({"bacnet": {"points": points}}) == []


@pytest.mark.parametrize("points", ["0", "256", "1,", ",1", "1;2", "a", "1, 2", "-1"])
def test_points_for_bacnet_that_are_no_numbers_are_named(points):
    (error,) = errors_of({"bacnet": {"points": points}})
    assert error == f'bacnet.points: "{points}" is not a list of point numbers such as "32,16,1"'


def test_validation_does_not_share_its_lists_with_the_schema():
    first = config.default()
    first["meters"].append("mine")
    first["http"]["port"] = 1
    assert config.default()["meters"] == []
    assert config.default()["http"]["port"] == 80


def test_two_buses_cannot_share_a_uart():
    _, errors = config.validate({"buses": [{"uart": 1}, {"uart": 1}]})
    assert errors == ["buses[1].uart: 1 is used by the other bus"]
    _, errors = config.validate({"buses": [{"uart": 1}, {"uart": 2}]})
    assert errors == []


@pytest.mark.parametrize("key", ["a" * 63, "g" * 64, " " + "a" * 63])
def test_a_release_key_is_64_hexadecimal_digits(key):
    [error] = config.validate({"system": {"release_key": key}})[1]
    assert error.startswith("system.release_key: 64 hexadecimal digits")


@pytest.mark.parametrize("section", ["posting", "mqtt"])
def test_who_is_trusted_is_checked_where_tls_is_used(section):
    used = {"posting": {"url": "https://server.example"}, "mqtt": {"tls": True}}[section]
    assert errors_of({section: used}) == []
    for name in ("ca.txt", "../ca.pem", ".p"):
        (error,) = errors_of({section: {**used, "ca_file": name}})
        assert error.startswith(section + ".ca_file: the name of a file in data/")
        assert errors_of({section: {"ca_file": name}}) == []
    for pin, count in (("", 1), ("ab" * 31, 1), ("gg" * 32, 1), ("AB" * 32, 0), (":".join(["ab"] * 32), 0)):
        wrong = errors_of({section: {**used, "trust": "pin", "pin_sha256": pin}})
        assert wrong == [section + '.pin_sha256: 64 hexadecimal digits for trust "pin"'] * count

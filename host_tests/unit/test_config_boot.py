"""By which configuration the device starts, whatever lies in its files: each part that is right by itself is used."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from firmware.config import load as config
from firmware.config import store
from host_tests.unit import the_schema as schema

PROFILES = Path(config.__file__).parent.parent / "meters" / "profiles"
ROWS = {"buses", "routes", "meters"}


@pytest.fixture(autouse=True)
def flash(tmp_path, monkeypatch):
    """The device's file system: an empty folder, which is where the firmware runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def meter(slot=0, **change):
    return {"slot": slot, "name": f"meter {slot}", "unit": slot + 1, "profile": "pzem-004t-v3", **change}


# Nothing in it is a default.
GOOD = {
    "name": "site 7",
    "network": {"ssid": "plant", "password": "geheim", "hostname": "site-7"},
    "http": {"port": 8080},
    "modbus": {"port": 1502},
    "ntp": {"server": "time.example"},
    "buses": [{"uart": 0, "baud": 19200}],
    "routes": [{"unit": 200}],
    "meters": [meter(0), meter(1), meter(2)],
}


def write(raw):
    data = raw if isinstance(raw, bytes) else (raw if isinstance(raw, str) else json.dumps(raw)).encode()
    with open(config.PATH, "wb") as f:
        f.write(data)


def boot(raw):
    """What load() finds with that file; complete and valid, and every profile is there, whatever it is."""
    write(raw)
    return loaded()


def loaded(**options):
    found = config.load(**options)
    assert list(found.config) == list(schema.SCHEMA)
    with_profiles = {**found.config, "meters": [{**one, "profile": "pzem-004t-v3"} for one in found.config["meters"]]}
    assert config.validate(json.loads(json.dumps(with_profiles)))[1] == []
    assert set(found.profiles) == {one["profile"] for one in found.config["meters"]}
    assert bool(found.errors) == (found.source != "file")
    if found.source == "file":
        config.save_last_good(found.profiles)  # as the device does once its page is up
    return found


def complete(raw):
    whole, errors = config.validate(raw)
    assert errors == []
    return whole


def slots(found):
    return [one["slot"] for one in found.config["meters"]]


@pytest.fixture
def good():
    """The device has run by GOOD."""
    assert boot(GOOD).source == "file"


@pytest.fixture
def mine(flash):
    """A profile that the user has added; mine(text) changes its file, mine(None) removes it."""
    folder = flash / "data" / "meters"
    folder.mkdir()
    path = folder / "mine.json"
    shutil.copy(PROFILES / "pzem-004t-v3.json", path)

    def change(text):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)

    return change


# -- the file is right, or is not there


def test_without_a_file_the_defaults_run_and_nothing_is_wrong():
    found = config.load()
    assert (found.source, found.errors) == ("default", [])
    assert found.config == config.default()


def test_a_good_file_runs_and_is_kept_as_the_last_good(good):
    found = loaded()
    assert (found.source, found.errors) == ("file", [])
    assert found.config == complete(GOOD)
    with open(config.PATH, "rb") as f:
        assert store.load(config.LAST_GOOD) == f.read()


def test_a_file_with_a_byte_order_mark_runs(good):
    found = boot(b"\xef\xbb\xbf" + json.dumps({**GOOD, "name": "site 8"}).encode())
    assert (found.source, found.config["name"]) == ("file", "site 8")
    write("{")
    assert loaded().config["name"] == "site 8"


def test_a_deleted_file_means_a_new_device(good):
    os.remove(config.PATH)
    found = config.load()
    assert (found.source, found.errors) == ("default", [])


def test_the_largest_file_runs_and_is_kept():
    meters = [meter(k, unit=k + 1, bus=k // 32, name="n" * 32) for k in range(64)]
    text = json.dumps({"buses": [{"uart": 1}, {"uart": 2}], "meters": meters, "routes": [{"unit": 200}] * 32})
    assert boot(text + " " * (12288 - len(text))).source == "file"
    write("{")
    assert slots(loaded()) == list(range(64))


# -- the file is of no use as a whole

USELESS = {
    "cut off": ('{"name": "x"', "configuration: not JSON: cut off after 12 bytes"),
    "empty": ("", "configuration: not JSON: cut off after 0 bytes"),
    "binary": ("\x00\x01", "configuration: not JSON: byte 1"),
    "a list": ("[]", "configuration: must be an object"),
    "null": ("null", "configuration: not JSON: byte 1: must be an object"),
    "too long": ('{"name": "x"}' + " " * 12288, "configuration: 12301 bytes are more than 12288"),
    "nested too deep": ('{"name": ' + "[" * 6000 + "]" * 6000 + "}", "nested too deep"),
    "NaN": ('{"http": {"port": NaN}}', "configuration: not JSON: byte 19: N where a value was expected"),
    "a key twice": (
        '{"network": {}, "network": {"ssid": "a"}}', "configuration: not JSON: byte 17: network is given twice",
    ),
    "a comma too many": ('{"name": "x",}', "not JSON: byte 14"),
    "not UTF-8": (b'{"name": "\xff\xfe"}', "not JSON: byte 11: not UTF-8"),
    "half of a character": (b'{"name": "\\ud83d"}', "not JSON: byte 11"),
}  # fmt: skip


@pytest.mark.parametrize("case", USELESS)
def test_with_a_file_of_no_use_the_last_good_runs_whole_and_the_errors_say_why(good, case):
    text, reason = USELESS[case]
    found = boot(text)
    assert found.source == "last good"
    assert found.config == complete(GOOD)
    assert len(found.errors) == 1
    assert reason in found.errors[0]
    with open(config.PATH, "rb") as f:
        assert f.read() == (text if isinstance(text, bytes) else text.encode()), "the user's file stays as it is"


@pytest.mark.parametrize("case", USELESS)
def test_with_a_file_of_no_use_and_no_last_good_the_defaults_run(case):
    text, reason = USELESS[case]
    found = boot(text)
    assert found.source == "default"
    assert found.config == config.default()
    assert reason in found.errors[0]


def test_a_folder_in_place_of_the_file_is_an_error_and_the_last_good_runs(good):
    os.remove(config.PATH)
    os.mkdir(config.PATH)
    found = loaded()
    assert (found.source, found.config["name"], len(found.errors)) == ("last good", "site 7", 1)


def test_a_file_that_cannot_be_read_is_an_error_and_the_last_good_runs(good, monkeypatch):
    def broken_open(path, *args):
        if str(path) == config.PATH:
            raise OSError(errno.EIO, "bad block")
        return open(path, *args)

    monkeypatch.setattr(store, "open", broken_open, raising=False)
    found = loaded()
    assert (found.source, found.config["name"]) == ("last good", "site 7")
    assert found.errors[0].startswith("data/config.json: cannot be read: ")


def test_a_last_good_copy_that_is_partly_wrong_runs_in_its_other_parts():
    store.save(config.LAST_GOOD, json.dumps({**GOOD, "http": {"port": 0}, "meters": [meter(0, unit=0)]}).encode())
    found = boot("{")
    assert found.source == "last good"
    assert found.config == complete({**GOOD, "http": {}, "meters": []})
    assert found.errors[1:] == [
        "last good copy: http.port: 0 is not 1 to 65535", "last good copy: meters[0].unit: 0 is not 1 to 247",
    ]  # fmt: skip


# -- the file is right, and the device could not bring up its page with it


def test_a_file_without_a_page_gives_way_to_the_last_good_copy(good):
    write({**GOOD, "name": "site 8", "meters": [meter(k) for k in range(9)]})
    found = loaded(has_failed=True)
    assert (found.source, found.config) == ("last good", complete(GOOD))
    assert found.errors == ["configuration: the device could not bring up its page with it"]
    assert found.digest is None, "a reboot is due for whatever is saved next"


def test_a_file_without_a_page_and_without_a_last_good_copy_runs_without_its_meters():
    write(GOOD)
    found = loaded(has_failed=True)
    assert (found.source, found.config) == ("partly", complete({**GOOD, "meters": []}))
    assert found.errors == ["meters: the device could not bring up its page with them"]
    assert found.digest is None


# -- parts of the file are wrong

WRONG_PARTS = {
    "name": ("", "name: "),
    "network": ({"ssid": 5}, "network.ssid: 5 is not a text"),
    "http": ({"port": 70000}, "http.port: 70000 is not 1 to 65535"),
    "modbus": ({"prot": 502}, "modbus.prot: unknown key; known are "),
    "ntp": ([], "ntp: must be an object"),
    "buses": ([{"uart": 0}, {"uart": 0}], "buses[1].uart: 0 is used by the other bus"),
    "routes": ([{"unit": 200}, {"unit": 254, "count": 2}], "routes[1].count: 2 reaches unit 255"),
    "meters": ({}, "meters: must be a list of at most 64"),
}


@pytest.mark.parametrize("name", WRONG_PARTS)
def test_only_a_wrong_part_is_taken_from_the_last_good_copy(good, name):
    value, text = WRONG_PARTS[name]
    new = {**GOOD, "name": "site 8", "history": {"bytes": 2048}, "meters": [meter(5)], "routes": [{"unit": 201}]}
    new |= {"network": {"ssid": "new"}, "http": {"port": 8081}, "modbus": {"port": 1503}, "ntp": {"port": 1}}
    new["buses"] = [{"uart": 0, "baud": 38400}]
    found = boot({**new, name: value})
    assert found.source == "partly"
    assert len(found.errors) == 1
    assert found.errors[0].startswith(text)
    assert found.config == complete({**new, name: GOOD[name]})


@pytest.mark.parametrize("name", WRONG_PARTS)
def test_a_part_that_is_wrong_has_its_default_without_a_last_good_copy(name):
    value, text = WRONG_PARTS[name]
    without = {key: part for key, part in GOOD.items() if key != name}
    found = boot({**without, name: value})
    assert found.source == "partly"
    assert len(found.errors) == 1
    assert found.errors[0].startswith(text)
    if name == "buses":  # nothing is said of those that have no line: that is not what is wrong
        without |= {"routes": [], "meters": []}
    assert found.config == complete(without)


def test_with_everything_wrong_the_last_good_runs(good):
    new = {name: value for name, (value, _) in WRONG_PARTS.items()}
    found = boot(new)
    assert (found.source, found.config) == ("partly", complete(GOOD))
    assert [error.split(":")[0].split(".")[0].split("[")[0] for error in found.errors] == list(WRONG_PARTS)


def test_a_part_whose_name_is_misspelt_is_the_last_good_one(good):
    found = boot({"netwrok": {"ssid": "new"}, "name": "site 8", "http": {"port": 8081}})
    assert len(found.errors) == 1
    assert found.errors[0].startswith("netwrok: unknown key; known are ")
    assert found.config == complete({**GOOD, "name": "site 8", "http": {"port": 8081}})


def test_a_key_that_is_not_known_costs_only_its_section(good):
    found = boot({**GOOD, "name": "site 8", "http": {"port": 8081, "publik_status": True}})
    assert found.config == complete({**GOOD, "name": "site 8"})


def test_the_number_of_errors_is_bounded_and_the_rest_runs(good):
    found = boot({**GOOD, "name": "site 8", "meters": [{"slot": k} for k in range(60)]})
    assert len(found.errors) == 12
    assert found.config["name"] == "site 8"
    assert slots(found) == [0, 1, 2]


# -- sections that are at odds


@pytest.mark.parametrize(
    ("new", "error", "ports"),
    [
        ({"http": {"port": 1502}, "modbus": {"port": 1502}}, True, (1502, 502)),  # the last good has 1502 too
        ({"http": {"port": 8081}, "modbus": {"port": 8081}}, True, (8081, 1502)),
        ({"http": {"port": 502}, "modbus": {"port": 502}}, True, (502, 1502)),
        ({"http": {"port": 502}}, True, (502, 1502)),
        ({"http": {"port": 0}, "modbus": {"port": 8080}}, False, (80, 8080)),  # replaced, and never a right one lost
        ({"http": {"port": 1502}, "modbus": {"port": 0}}, False, (1502, 502)),
    ],
)
def test_of_two_services_on_one_port_the_later_gives_way(good, new, error, ports):
    found = boot({"name": "site 8", **new})
    assert (f"modbus.port: {ports[0]} is taken by http.port" in found.errors) == error
    assert len(found.errors) == 1
    assert (found.config["http"]["port"], found.config["modbus"]["port"]) == ports
    assert found.config["http"]["enabled"]
    assert found.config["modbus"]["enabled"]


def test_where_there_is_no_other_port_the_later_service_is_off():
    found = boot({"http": {"port": 502}})
    assert found.errors == ["modbus.port: 502 is taken by http.port"]
    assert (found.config["http"]["port"], found.config["modbus"]["enabled"]) == (502, False)


def test_routes_to_a_bus_that_is_not_there_are_the_last_good_ones(good):
    found = boot({**GOOD, "routes": [{"unit": 1, "bus": 1}]})
    assert found.errors == ["routes[0].bus: 1 is not one of the 1 in buses"]
    assert [route["unit"] for route in found.config["routes"]] == [200]
    found = boot({**GOOD, "buses": [], "routes": [{"unit": 1}], "meters": []})
    assert (found.errors, found.config["routes"]) == (["routes[0].bus: 0 is not one of the 0 in buses"], [])


# -- meters

WRONG_METERS = {
    "a value": ({"unit": 300}, "unit: 300 is not 1 to 247"),
    "a key": ({"untit": 5}, "untit: unknown key"),
    "no profile": ({"profile": None}, "profile: null is not a text"),
    "its profile is misspelt": ({"profile": "pzem-004t-v33"}, "profile: profile pzem-004t-v33: there is no "),
    "its profile's name": ({"profile": "../config"}, 'profile: "../config": letters, digits, - _ . only'),
    "a bus that is not there": ({"bus": 1}, "bus: 1 is not one of the 1 in buses"),
    "a unit that is taken": ({"unit": 1}, "unit: 1 is used by another meter of bus 0"),
}


@pytest.mark.parametrize("case", WRONG_METERS)
def test_a_meter_that_is_wrong_is_the_last_good_one_of_its_slot_or_none(case):
    change, text = WRONG_METERS[case]
    new = {**GOOD, "name": "site 8", "meters": [meter(0, name="new"), meter(1, **change), meter(2, name="new")]}
    for slots_left, second in (([0, 2], None), ([0, 1, 2], meter(1))):
        found = boot(new)
        assert found.source == "partly"
        assert len(found.errors) == 1
        assert found.errors[0].startswith("meters[1]." + text)
        assert slots(found) == slots_left
        expected = [one for one in (new["meters"][0], second, new["meters"][2]) if one]
        assert found.config == complete({**new, "meters": expected})
        assert boot(GOOD).source == "file"


def test_a_meter_that_is_no_object_or_has_no_slot_is_left_out(good):
    found = boot({**GOOD, "meters": [5, meter(1), {"name": "x", "unit": 9, "profile": "pzem-004t-v3"}]})
    assert slots(found) == [1]
    assert found.errors[0] == "meters[0]: must be an object"
    assert found.errors[-1] == "meters[2].slot: missing"


def test_the_later_of_two_meters_in_a_slot_is_left_out(good):
    found = boot({**GOOD, "meters": [meter(1, name="first"), meter(1, name="second", unit=9), meter(5)]})
    assert found.errors == ["meters[1].slot: 1 is used by another meter"]
    assert [one["name"] for one in found.config["meters"]] == ["first", "meter 5"]


def test_a_last_good_meter_never_takes_the_place_of_one_that_is_right(good):
    """Its unit, or its bus, is another's now."""
    found = boot({**GOOD, "meters": [meter(0, interval_s=0), meter(1, unit=1)]})
    assert slots(found) == [1]
    found = boot({**GOOD, "meters": [meter(0, interval_s=0), *(meter(k, unit=k + 1) for k in range(1, 33))]})
    assert slots(found) == list(range(1, 33))
    assert len(found.errors) == 1


def test_meters_on_buses_that_are_wrong_run_where_the_last_good_buses_have_them(good):
    found = boot({**GOOD, "buses": [{"uart": 9}, {"uart": 1}], "meters": [meter(0), meter(1, bus=1), meter(7)]})
    assert found.errors == [
        "buses[0].uart: 9 is not a UART number (0 to 2), a line of the board, or the path of a serial device"
    ]
    assert [(one["slot"], one["bus"]) for one in found.config["meters"]] == [(0, 0), (1, 0), (7, 0)]


# -- profiles that a user has added

DAMAGED = {
    "cut off": ('{"columns":', "profile mine: not JSON: cut off after 11 bytes"),
    "wrong": ('{"points": []}', "profile mine: "),
    "missing": (None, "profile mine: there is no data/meters/mine.json and none came with the firmware"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_profile_that_is_damaged_costs_its_meter_and_nothing_else(mine, case):
    text, reason = DAMAGED[case]
    mine(text)
    new = {**GOOD, "meters": [meter(0, profile="mine"), meter(1), meter(2, profile="mine")]}
    found = boot(new)
    assert found.source == "partly"
    assert [error.split(": ")[0] for error in found.errors] == ["meters[0].profile", "meters[2].profile"]
    assert reason in found.errors[0]
    assert found.config == complete({**new, "meters": [meter(1)]})


@pytest.mark.parametrize("case", DAMAGED)
def test_a_profile_that_is_damaged_is_the_last_good_one_and_its_meters_run(mine, case):
    text, reason = DAMAGED[case]
    new = {**GOOD, "meters": [meter(0, profile="mine"), meter(1)]}
    assert boot(new).source == "file"
    whole, points = complete(new), loaded().profiles["mine"].names
    mine(text)
    for raw in (new, "{"):  # the last good configuration as a whole needs it too
        found = boot(raw)
        assert found.config == whole
        assert found.profiles["mine"].names == points
    assert found.source == "last good"
    assert len(found.errors) == 1
    found = boot(new)
    assert (found.source, len(found.errors)) == ("partly", 1)
    assert found.errors[0].startswith("meters[0].profile: ")
    assert reason in found.errors[0]


def test_the_last_good_profile_is_the_newest_that_was_right(mine, flash):
    new = {**GOOD, "meters": [meter(0, profile="mine")]}
    boot(new)
    shutil.copy(PROFILES / "eastron-sdm120.json", flash / "data" / "meters" / "mine.json")
    boot(new)
    mine("{")
    assert boot(new).profiles["mine"].name == "Eastron SDM120"


def test_the_copy_of_a_profile_goes_when_no_meter_needs_it(mine):
    boot({**GOOD, "meters": [meter(0, profile="mine")]})
    assert sorted(os.listdir("data/meters")) == ["mine.good.a", "mine.json"]
    mine("{")
    boot({**GOOD, "meters": [meter(0, profile="mine")], "http": 5})
    assert sorted(os.listdir("data/meters")) == ["mine.good.a", "mine.json"]
    boot(GOOD)
    assert os.listdir("data/meters") == ["mine.json"]


def test_profiles_of_the_firmware_are_not_kept(good, flash):
    assert not (flash / "data" / "meters").exists()


def test_a_profile_is_loaded_once_for_all_meters_of_its_kind(monkeypatch):
    names = []
    original = config.profile_loader.load
    monkeypatch.setattr(config.profile_loader, "load", lambda name: (names.append(name), original(name))[1])
    boot_meters = [meter(0), meter(1), meter(2, profile="none"), meter(3, profile="none")]
    write({**GOOD, "meters": boot_meters})
    found = config.load()
    assert names == ["pzem-004t-v3", "none"]
    assert slots(found) == [0, 1]


# -- the last good copy in flash


def _kept_files():
    return sorted(name for name in os.listdir("data") if name.startswith("config.good"))


@pytest.mark.parametrize("damage", ["flip", "truncate"])
def test_whatever_byte_of_the_only_last_good_copy_is_damaged_the_defaults_run(damage):
    boot({"name": "site 7", "buses": [{"uart": 1}]})
    (name,) = _kept_files()
    with open("data/" + name, "rb") as f:
        kept = f.read()
    write("{")
    for k in range(len(kept)):
        bad = kept[:k] if damage == "truncate" else kept[:k] + bytes((kept[k] ^ 1 << k % 8,)) + kept[k + 1 :]
        with open("data/" + name, "wb") as f:
            f.write(bad)
        found = config.load()
        assert found.source == "default", f"byte {k} damaged, and taken all the same"
    assert found.config == config.default()


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_when_the_newest_last_good_copy_is_damaged_the_one_before_runs(damage):
    boot({**GOOD, "name": "first"})
    before = {name: os.stat("data/" + name).st_mtime_ns for name in _kept_files()}
    boot({**GOOD, "name": "second"})
    (newest,) = [name for name in _kept_files() if name not in before]
    with open("data/" + newest, "rb") as f:
        kept = f.read()
    assert boot("{").config["name"] == "second"
    if damage == "remove":
        os.remove("data/" + newest)
        assert config.load().config["name"] == "first"
        return
    for k in range(0, len(kept), 61):
        bad = kept[:k] if damage == "truncate" else kept[:k] + bytes((kept[k] ^ 0x10,)) + kept[k + 1 :]
        with open("data/" + newest, "wb") as f:
            f.write(bad)
        found = config.load()
        assert (found.source, found.config["name"]) == ("last good", "first")


def test_only_a_file_that_is_wholly_right_is_kept(good):
    before = store.load(config.LAST_GOOD)
    boot({**GOOD, "name": "site 8", "http": {"port": 0}})
    assert store.load(config.LAST_GOOD) == before


def test_a_good_file_is_written_to_flash_once_not_on_every_boot(mine):
    def kept():
        return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in Path("data").rglob("*.good.*")}

    boot({**GOOD, "meters": [meter(0, profile="mine")]})
    before = kept()
    assert sorted(before) == ["config.good.a", "mine.good.a"]
    for _ in range(3):
        loaded()
    assert before == kept()


def test_a_profile_without_memory_costs_its_meters_and_nothing_else(flash, monkeypatch):
    def short(name):
        raise MemoryError

    write({**GOOD, "network": {"ssid": "plant"}})
    monkeypatch.setattr(config.profile_loader, "load", short)
    found = config.load()
    assert (found.source, found.config["network"]["ssid"], found.config["meters"]) == ("partly", "plant", [])
    assert all("no memory for it" in error for error in found.errors)


def test_no_error_shows_a_password(flash):
    for wrong in (12345678, "geheim\n", "x" * 64, ["geheim"]):
        write({**GOOD, "network": {"ssid": "plant", "password": wrong}})
        (error,) = config.load().errors
        assert error.startswith("network.password: this is not a text of")

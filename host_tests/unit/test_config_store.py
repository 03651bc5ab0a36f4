"""ConfigStore: what is saved, what is refused, secrets that are never shown, changes that wait for a reboot."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.config import config_store, load, store, trial
from firmware.config.config_store import ConfigStore
from tools import profiles

PROFILE = Path(load.__file__).parent.parent / "meters" / "profiles" / "pzem-004t-v3.json"
METER = {"slot": 0, "name": "main", "unit": 1, "profile": "pzem-004t-v3"}
GOOD = {"name": "gate", "network": {"ssid": "plant", "password": "geheim"}, "buses": [{"uart": 1}], "meters": [METER]}


@pytest.fixture(autouse=True)
def flash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


@pytest.fixture
def started(events):
    """started(file) is the ConfigStore of a device that has booted with that file (a dict, text, or None for none) and
    has brought up its page."""

    def start(raw=None):
        if raw is not None:
            overwrite(raw)
        config = ConfigStore(events)
        config.confirm()
        return config

    return start


def overwrite(raw):
    data = raw if isinstance(raw, bytes) else (raw if isinstance(raw, str) else json.dumps(raw)).encode()
    with open(load.PATH, "wb") as f:
        f.write(data)


def on_flash():
    with open(load.PATH) as f:
        return json.load(f)


def check(config, document):
    return config.check(document if isinstance(document, bytes) else json.dumps(document).encode())


def save(config, document):
    checked, errors = check(config, document)
    assert errors == []
    config.write(checked)
    return config.reboot_due()


def texts(events):
    return [line[2] for line in events.lines() if line[1] == "config"]


# -- at boot


def test_a_new_device_has_its_defaults_and_nothing_to_show(started, events):
    config = started()
    assert (config.source, config.errors, config.reboot_due()) == ("default", [], [])
    assert (config.name, config.hostname, config.public()) == ("meterport", "meterport", {})
    assert config.config == load.default()
    assert texts(events) == []


def test_what_is_wrong_at_boot_is_logged_and_by_what_the_device_runs(started, events):
    started({**GOOD, "http": {"port": 0}})
    assert texts(events) == ["http.port: 0 is not 1 to 65535", "running by the file where it is right"]
    started("{")
    assert texts(events)[2:] == [
        "configuration: not JSON: cut off after 1 bytes", "running by the default configuration",
    ]  # fmt: skip


# -- what is saved, and what of it is told


def test_what_is_saved_is_read_back_without_its_secrets(started):
    config = started()
    assert save(config, GOOD) == ["configuration"]
    assert on_flash() == GOOD
    assert config.public() == {**GOOD, "network": {"ssid": "plant"}}
    assert load.load().source == "file"


def test_the_file_has_a_line_for_each_section_and_item(started):
    save(started(), GOOD)
    with open(load.PATH) as f:
        assert f.read() == (
            '{"name":"gate",\n"network":{"ssid":"plant","password":"geheim"},\n"buses":[\n{"uart":1}],\n'
            '"meters":[\n{"slot":0,"name":"main","unit":1,"profile":"pzem-004t-v3"}]}\n'
        )


def test_a_backup_restores_to_the_same_with_the_secret_that_is_there(started):
    config = started(GOOD)
    backup = json.dumps(config.public()).encode()
    save(config, {"name": "other", "network": {"password": "new"}})
    save(config, backup)
    assert on_flash() == {**GOOD, "network": {"ssid": "plant", "password": "new"}}


def test_a_secret_stays_until_it_is_emptied(started):
    config = started(GOOD)
    save(config, {"name": "x"})
    assert on_flash() == {"name": "x", "network": {"password": "geheim"}}
    save(config, {"network": {"password": ""}})
    assert on_flash() == {"network": {"password": ""}}
    save(config, {})
    assert on_flash() == {}


def test_the_passwords_of_further_networks_are_secrets_too(started):
    more = {"ssid_2": "office", "password_2": "buero", "ssid_3": "yard", "password_3": "hof"}
    config = started({"network": more})
    assert config.public() == {"network": {"ssid_2": "office", "ssid_3": "yard"}}
    save(config, {"network": {"ssid_2": "office", "ssid_3": "yard", "password_3": ""}})
    assert on_flash() == {"network": {"ssid_2": "office", "password_2": "buero", "ssid_3": "yard", "password_3": ""}}


@pytest.mark.parametrize("file", ['{"network": ', {"network": 5}, {"network": {"password": 5}}, "[]"])
def test_the_secret_of_a_file_that_is_damaged_is_the_one_in_use(started, file):
    started(GOOD)
    config = started(file)
    save(config, {"name": "x"})
    assert on_flash()["network"] == {"password": "geheim"}


def test_the_secret_of_a_file_that_is_wrong_elsewhere_is_the_files(started):
    config = started({"network": {"password": "mine", "sssid": "x"}})
    save(config, {"name": "x"})
    assert on_flash()["network"] == {"password": "mine"}


@pytest.mark.parametrize("file", ['{"network": ', "[]", "x" * 13000])
def test_a_damaged_file_shows_the_last_good_one(started, file):
    started(GOOD)
    assert started(file).public() == {**GOOD, "network": {"ssid": "plant"}}


def test_without_a_last_good_one_a_damaged_file_shows_nothing(started):
    assert started("{").public() == {}


def test_a_file_that_is_wrong_in_parts_is_shown_as_it_is(started):
    wrong = {**GOOD, "http": {"port": 0}, "network": []}
    assert started(wrong).public() == wrong


# -- what is refused


@pytest.mark.parametrize(
    ("document", "places"),
    [
        ({**GOOD, "meters": [{**METER, "unit": 300}]}, ["meters[0].unit"]),
        ({**GOOD, "meters": [METER, METER]}, ["meters[1].slot", "meters[1].unit"]),
        ({**GOOD, "meters": [{**METER, "profile": "none-such"}]}, ["meters[0].profile"]),
        ({**GOOD, "meters": [{**METER, "profile": "../config"}]}, ["meters[0].profile"]),
        ({**GOOD, "meters": [{**METER, "profile": "\u0000"}]}, ["meters[0].profile"]),
        ({**GOOD, "meters": [{**METER, "bus": 1}]}, ["meters[0].bus"]),
        ({**GOOD, "meters": [5]}, ["meters[0]", *[f"meters[0].{key}" for key in ("slot", "name", "unit", "profile")]]),
        ({**GOOD, "meters": {}}, ["meters"]),
        ({"http": {"port": "80"}, "modbus": {"port": 0}}, ["http.port", "modbus.port"]),
        ({"http": {"port": 502}}, ["modbus.port"]),
        ({"http": 5}, ["http"]),
        ({"httpd": {}}, ["httpd"]),
        ({"network": 5}, ["network"]),
        ({"routes": [{"unit": 240, "count": 20}], "buses": [{"uart": 1}]}, ["routes[0].count"]),
        ({"network": {"dhcp": False}}, ["network.address", "network.netmask"]),
        ({"network": {"hostname": "a b"}}, ["network.hostname"]),
        ({"network": {"hostname": "\u00e4"}}, ["network.hostname"]),
        ({"network": {"dhcp": False, "address": "192.0.2.9", "netmask": "255.255.255.0", "gateway": "192.0.3.1"}},
         ["network.gateway"]),
        ({"network": {"dhcp": False, "address": "192.0.2.9", "netmask": "255.0.255.0"}}, ["network.netmask"]),
        ({"network": {"dhcp": False, "address": "192.0.2.0", "netmask": "255.255.255.0"}}, ["network.address"]),
        ({"network": {"dhcp": False, "address": "192.0.2.255", "netmask": "255.255.255.0"}}, ["network.address"]),
        (b"[]", ["configuration"]),
        (b"[{}]", ["configuration"]),
        (b"", ["configuration"]),
        (b'{"name": "a', ["configuration"]),
        (b'{"name": "a"} x', ["configuration"]),
        (b'{"name": "a",}', ["configuration"]),
        (b'{"name": \xff}', ["configuration"]),
        (b'{"name": "a", "name": "b"}', ["configuration"]),
        (b'{"name": ' + b"[" * 40 + b"]" * 40 + b"}", ["configuration"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_as_the_boot_tells_it(started, document, places):
    config = started(GOOD)
    with open(load.PATH, "rb") as f:
        before = f.read()
    checked, errors = check(config, document)
    assert checked is None
    assert [error.split(": ")[0] for error in errors] == places
    with open(load.PATH, "rb") as f:
        assert f.read() == before
    assert sorted(os.listdir("data")) == ["config.good.a", "config.json", "config.trial"]
    overwrite(document)
    assert load.load().errors == errors


def test_a_fixed_address_that_is_right_is_taken(started):
    network = {"dhcp": False, "address": "192.0.2.9", "netmask": "255.255.255.0", "gateway": "192.0.2.1", "dns": ""}
    save(started(), {"network": network})


def test_any_bytes_like_body_is_taken(started):
    config = started()
    body = b"\xef\xbb\xbf" + json.dumps(GOOD).encode()
    for kind in (bytes, bytearray, memoryview):
        checked, errors = config.check(kind(body))
        assert (checked, errors) == (GOOD, [])


def long_configuration(size):
    """A configuration that takes so many bytes as it is written to flash."""
    document = {"network": {"ssid": ""}, "buses": [{"uart": 0}], "meters": []}
    for k in range(64):
        document["meters"].append({**METER, "slot": k, "unit": 1 + k % 32, "bus": k // 32, "name": "n"})
    document["buses"].append({"uart": 1})
    extra = dict.fromkeys(("ct_primary", "pt_primary", "ct_secondary", "pt_secondary"), 1000000) | {"inverted": False}
    for meter in document["meters"]:
        for key, value in extra.items():
            if length(document) < size - 60:
                meter[key] = value
    left = size - length(document)
    for meter in document["meters"]:
        more = min(left, 31)
        meter["name"] += "n" * more
        left -= more
    assert length(document) == size
    return document


def length(document):
    return sum(map(len, config_store.json_pieces(document)))


def test_a_configuration_that_is_too_long_is_refused_by_itself_or_with_its_secret(started):
    config = started(GOOD)
    checked, errors = check(config, b"{" + b" " * 12287 + b"}")
    assert (checked, errors) == (None, ["configuration: 12289 bytes are more than 12288"])
    added = len(',"password":"geheim"')
    assert check(config, _compact(long_configuration(12288 - added)))[1] == []
    checked, errors = check(config, _compact(long_configuration(12288 - added + 1)))
    assert (checked, errors) == (None, ["configuration: 12289 bytes, with its secrets, are more than 12288"])


def _compact(document):
    return json.dumps(document, separators=(",", ":")).encode()


def test_the_longest_configuration_that_is_taken_boots(started):
    config = started()
    save(config, _compact(long_configuration(12288)))
    assert os.stat(load.PATH).st_size == 12288
    assert load.load().source == "file"


def test_an_error_of_the_flash_reaches_the_caller_and_the_old_file_stays(started, monkeypatch):
    config = started(GOOD)
    checked, _ = check(config, {"name": "new"})

    def no_rename(old, new):
        raise OSError(5, "bad block")

    monkeypatch.setattr(os, "rename", no_rename)
    with pytest.raises(OSError, match="bad block"):
        config.write(checked)
    assert on_flash() == GOOD
    assert config.reboot_due() == []


def test_a_save_needs_no_folder(started, flash):
    (flash / "data").rmdir()
    save(started(), GOOD)
    assert on_flash() == GOOD


def test_of_the_profiles_those_that_cannot_have_changed_are_not_loaded_again(started, flash, monkeypatch):
    names = []
    original = load.profile_loader.load
    (flash / "data" / "meters").mkdir()
    mine = flash / "data" / "meters" / "mine.json"
    shutil.copy(PROFILE, mine)
    document = {**GOOD, "meters": [METER, {**METER, "slot": 1, "unit": 2, "profile": "mine"}]}
    config = started(document)
    monkeypatch.setattr(load.profile_loader, "load", lambda name: (names.append(name), original(name))[1])
    assert check(config, document)[1] == []
    assert names == ["mine"]
    (flash / "data" / "meters" / "pzem-004t-v3.json").write_text("{")  # takes the place of the firmware's
    mine.unlink()
    assert [error.split(": ")[0] for error in check(config, document)[1]] == ["meters[0].profile", "meters[1].profile"]


# -- what this board has no room for


def meters_of(kinds, count):
    return [{"slot": k, "name": f"m{k}", "unit": k + 1, "profile": kinds[k % len(kinds)]} for k in range(count)]


def test_what_needs_more_heap_than_the_board_has_is_refused_with_how_much_is_missing(events):
    overwrite(GOOD)
    kinds = profiles.available()[:14]
    larger = {**GOOD, "meters": meters_of(kinds, 14), "history": {"bytes": 4096}}

    def answer(free):
        return check(ConfigStore(events, lambda: free), larger)[1]

    (error,) = answer(20000)
    told = re.fullmatch(r"configuration: needs (\d+) KB of heap more than this board has", error)
    needed = 20000 + 1024 * int(told[1])
    assert answer(needed) == []
    (error,) = answer(needed - 2048)
    assert error in (f"configuration: needs {k} KB of heap more than this board has" for k in (1, 2))
    assert answer(1) != []
    assert answer(0) == [], "a board that does not know what it has"


def test_what_needs_no_more_than_what_runs_is_never_refused_for_lack_of_room(events):
    overwrite({**GOOD, "meters": meters_of(["eastron-sdm630"], 3)})
    config = ConfigStore(events, lambda: 1)
    for change in ({"name": "x"}, {"meters": meters_of(["eastron-sdm630"], 2)}, {"ntp": {"enabled": False}}):
        document = {**GOOD, "meters": meters_of(["eastron-sdm630"], 3), **change}
        assert check(config, document)[1] == []
    for change in ({"meters": meters_of(["eastron-sdm630"], 4)}, {"history": {"bytes": 4096}}):
        document = {**GOOD, "meters": meters_of(["eastron-sdm630"], 3), **change}
        assert len(check(config, document)[1]) == 1


# -- on trial until the page is up


def test_a_saved_file_that_never_brings_up_the_page_gives_way_to_the_one_before(started, events):
    config = started(GOOD)
    save(config, {**GOOD, "name": "too much"})
    for _ in range(3):
        config = ConfigStore(events)
        assert (config.source, config.name, config.is_confirmed) == ("file", "too much", False)
    config = ConfigStore(events)
    assert (config.source, config.name, config.is_confirmed) == ("last good", "gate", True)
    assert config.errors == ["configuration: the device could not bring up its page with it"]
    assert texts(events)[-2:] == [*config.errors, "running by the last good configuration"]
    assert config.public()["name"] == "too much", "what the user has saved is there to be mended"
    assert ConfigStore(events).source == "last good"
    assert save(config, {**GOOD, "name": "less"}) == ["configuration"]
    assert (ConfigStore(events).source, ConfigStore(events).name) == ("file", "less")


def test_a_file_that_is_saved_again_as_it_was_is_tried_again(started, events):
    config = started(GOOD)
    save(config, {**GOOD, "name": "new"})
    config = ConfigStore(events)
    config.reject()
    config = ConfigStore(events)
    assert config.source == "last good"
    assert save(config, {**GOOD, "name": "new"}) == ["configuration"]
    assert ConfigStore(events).source == "file"


def test_a_first_file_that_never_brings_up_the_page_runs_without_its_meters(events):
    overwrite(GOOD)
    ConfigStore(events).reject()
    config = ConfigStore(events)
    assert (config.source, config.config["meters"], config.name) == ("partly", [], "gate")
    assert config.config["network"]["ssid"] == "plant"
    assert config.errors == ["meters: the device could not bring up its page with them"]


def test_a_file_whose_page_was_up_is_tried_no_more_and_nothing_is_written(started, events):
    for raw in (GOOD, {**GOOD, "http": {"port": 0}}):  # right, and wrong in part
        started(raw)
        before = {path: os.stat(f"data/{path}").st_mtime_ns for path in os.listdir("data")}
        for _ in range(5):
            config = ConfigStore(events)
            assert config.source == ("file" if raw is GOOD else "partly")
            assert config.is_confirmed
        assert before == {path: os.stat(f"data/{path}").st_mtime_ns for path in os.listdir("data")}


def test_the_last_good_file_is_not_tried_again(started, events):
    """After an update from a firmware that knew no trial, or when it was put back."""
    started(GOOD)
    os.remove(trial.PATH)
    for _ in range(5):
        assert ConfigStore(events).source == "file"
    assert not os.path.exists(trial.PATH)


def test_a_start_that_was_ended_on_purpose_does_not_count(events):
    overwrite(GOOD)
    for _ in range(5):
        config = ConfigStore(events)
        assert config.source == "file"
        config.uncount_start()


def test_what_was_saved_after_the_boot_is_not_taken_for_what_runs(started, events):
    config = started(GOOD)
    save(config, {**GOOD, "name": "second"})
    config = ConfigStore(events)
    save(config, {**GOOD, "name": "the third, which has not run"})
    config.confirm()
    assert json.loads(store.load(load.LAST_GOOD)) == GOOD
    config.reject()
    assert ConfigStore(events).name == "the third, which has not run"


@pytest.mark.parametrize("record", [b"", b"3", b"x y", b"99 0123", b" ", b"\xff" * 200])
def test_a_damaged_record_of_a_trial_is_none(started, events, record):
    started(GOOD)
    overwrite({**GOOD, "name": "new"})
    with open(trial.PATH, "wb") as f:
        f.write(record)
    for _ in range(3):
        assert ConfigStore(events).source == "file"
    assert ConfigStore(events).source == "last good"


def test_a_flash_that_cannot_be_written_does_not_stop_the_device(events, monkeypatch):
    overwrite(GOOD)

    def no_rename(old, new):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(os, "rename", no_rename)
    for _ in range(5):
        config = ConfigStore(events)
        assert (config.source, config.errors) == ("file", [])
    with pytest.raises(OSError, match="read-only"):
        config.confirm()
    assert config.is_confirmed, "it is not tried again and again"


# -- what waits for a reboot


def test_a_save_says_what_waits_for_a_reboot(started, events):
    config = started(GOOD)
    assert save(config, {**GOOD, "bacnet": {"enabled": True}, "name": "x"}) == ["bacnet"]
    assert save(config, {**GOOD, "posting": {"enabled": False}, "http": {"enabled": False}}) == ["http", "posting"]
    assert save(config, {**GOOD, "http": {"enabled": True, "port": 81}}) == ["configuration"]
    assert save(config, GOOD) == []
    assert texts(events) == [
        "a reboot is due for: bacnet", "a reboot is due for: http, posting", "a reboot is due for: configuration",
    ]  # fmt: skip


def test_the_same_configuration_in_other_letters_needs_no_reboot(started):
    config = started(json.dumps(GOOD, indent=4))
    reverse = dict(reversed(GOOD.items())) | {"network": {"password": "geheim", "ssid": "plant"}}
    assert save(config, json.dumps(reverse).encode()) == []
    assert save(config, config.public()) == []
    two = [METER, {**METER, "slot": 1, "unit": 2}]
    config = started({**GOOD, "meters": two})
    assert save(config, {**GOOD, "meters": two[::-1]}) == ["configuration"], "the order of meters counts"


@pytest.mark.parametrize("file", ["{", {"http": {"port": 0}}])
def test_a_right_configuration_in_place_of_a_wrong_one_waits_for_a_reboot(started, file):
    config = started(file)
    assert save(config, {}) == ["configuration"]


def test_a_new_device_that_is_given_an_empty_configuration_needs_no_reboot(started):
    assert save(started(), {}) == []


def touched(raw):
    """Written past the page, at another time."""
    overwrite(raw)
    touched.ns += 10**9
    os.utime(load.PATH, ns=(touched.ns, touched.ns))


touched.ns = 10**18


def test_a_file_that_was_changed_past_the_page_is_noticed(started, events):
    config = started(GOOD)
    config.notice_change()
    assert config.reboot_due() == []
    touched({**GOOD, "bacnet": {"enabled": True}})
    config.notice_change()
    assert config.reboot_due() == ["bacnet"]
    touched({**GOOD, "name": "x"})
    config.notice_change()
    assert config.reboot_due() == ["configuration"]
    touched(GOOD)
    config.notice_change()
    assert config.reboot_due() == []
    os.remove(load.PATH)
    config.notice_change()
    assert config.reboot_due() == ["configuration"]
    assert [(text, times) for _, _, text, times in events.lines()] == [
        ("a reboot is due for: bacnet", 1), ("a reboot is due for: configuration", 2),
    ]  # fmt: skip


def test_what_is_wrong_with_a_file_written_past_the_page_is_told_before_the_reboot(started, events):
    config = started(GOOD)
    for raw, text in (
        ('{"name": ', "not JSON: cut off after 9 bytes"),
        ({"http": {"port": 0, "x": 1}}, "http.x: unknown key"),
        ({"meters": [{**METER, "profile": "none"}], "buses": [{}]}, "meters[0].profile: profile none: there is no"),
        ("[]", "configuration: must be an object"),
    ):
        touched(raw)
        config.notice_change()
        assert config.reboot_due() == ["configuration"]
        told, due = texts(events)
        assert told.startswith("the new file is wrong: " + text), told
        assert due == "a reboot is due for: configuration"
        events.lines().clear()
    assert config.config["name"] == "gate"


def test_nothing_is_read_while_the_file_stays_as_it_is(started, monkeypatch):
    config = started(GOOD)
    save(config, {**GOOD, "name": "x"})
    monkeypatch.setattr(load, "read", None)
    config.notice_change()
    assert config.reboot_due() == ["configuration"]


def test_the_file_is_looked_at_each_minute_and_each_time_while_somebody_asks(started, monkeypatch):
    """By calls every five seconds."""
    config = started(GOOD)
    config.notice_change()
    looks = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path: looks.append(path) or stat(path))
    for _ in range(120):
        config.notice_change()
    assert len(looks) == 10
    for _ in range(10):
        config.reboot_due()
        config.notice_change()
    assert len(looks) == 20


# -- factory reset


SECRET = "geheim"


def secrets_in(folder):
    """Files below `folder` that hold a secret of these tests."""
    return [path.name for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def fill_with_secrets(flash):
    """Every file that a device writes, and one that no firmware knows yet, with a secret in it."""
    (flash / "data" / "meters").mkdir()
    shutil.copy(PROFILE, flash / "data" / "meters" / "mine.json")
    (flash / "data" / "history").mkdir()
    names = (
        "config.json.new", "config.good.a.new", "password.b.new", "config.upload", "posting.a", "crash.a",
        "authorities.der", "history/00000001.seg", "what-a-later-firmware-keeps",
    )  # fmt: skip
    for name in names:
        (flash / "data" / name).write_text(SECRET)
    for path in (config_store.PASSWORD, config_store.BACNET):
        for count in range(2):
            store.save(path, f"{SECRET} {count}".encode())


def test_a_factory_reset_leaves_no_secret_and_keeps_profiles(started, flash):
    fill_with_secrets(flash)
    config = started({**GOOD, "meters": [{**METER, "profile": "mine"}]})
    started({**GOOD, "name": "second", "meters": [{**METER, "profile": "mine"}]})
    assert {"config.json", "config.good.a", "config.good.b", "password.a"} <= set(secrets_in(flash))
    config.factory_reset()
    assert secrets_in(flash) == []
    assert [path.name for path in (flash / "data").rglob("*") if path.is_file()] == ["mine.json"]
    config.factory_reset()
    assert started().source == "default"


def test_a_factory_reset_that_was_cut_off_goes_on_at_the_next_start(started, flash, monkeypatch):
    fill_with_secrets(flash)
    config = started(GOOD)
    removed = []

    def remove(path):
        if len(removed) == 3:
            raise OSError(errno.EIO)
        removed.append(path)
        real_remove(path)

    real_remove = os.remove
    with monkeypatch.context() as cut:
        cut.setattr(os, "remove", remove)
        with pytest.raises(OSError, match=str(errno.EIO)):
            config.factory_reset()
    assert secrets_in(flash) != []
    assert started().source == "default"
    assert secrets_in(flash) == []
    assert not (flash / "data" / "resetting").exists()


# -- the same rules as at boot

_NAMES = st.sampled_from(["a", "b", "", "x" * 33, "\u00fc\n", "\u00fc"])
_INTS = st.integers(-1, 250) | st.sampled_from([None, "1", 1.5, True])
_PORTS = st.sampled_from([80, 502, 8080, 0, "1", None])
_METERS = st.fixed_dictionaries(
    {"slot": st.integers(0, 3), "name": _NAMES, "unit": st.integers(0, 3),
     "profile": st.sampled_from(["pzem-004t-v3", "pzem-004t-v3", "mine", "damaged", "none", "a/b"])},
    optional={"bus": st.integers(0, 2), "interval_s": _INTS, "what": _INTS},
)  # fmt: skip
_DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "name": _NAMES,
        "http": st.fixed_dictionaries({}, optional={"port": _PORTS, "enabled": st.booleans(), "x": _INTS}),
        "modbus": st.fixed_dictionaries({}, optional={"port": _PORTS, "enabled": st.booleans()}) | _INTS,
        "network": st.fixed_dictionaries(
            {}, optional={"dhcp": st.booleans(), "address": st.sampled_from(["", "1.2.3.4"]), "password": _NAMES}
        ),
        "buses": st.lists(st.fixed_dictionaries({"uart": st.integers(0, 2)}), max_size=3),
        "meters": st.lists(_METERS | _INTS, max_size=4) | _INTS,
        "routes": st.lists(st.fixed_dictionaries({"unit": st.integers(0, 247), "bus": st.integers(0, 1)}), max_size=2),
        "more": _INTS,
    },
)
_BODIES = _DOCUMENTS.map(lambda document: json.dumps(document, ensure_ascii=False)).flatmap(
    lambda text: (
        st.just(text.encode())
        | st.just(b"\xef\xbb\xbf" + text.encode())
        | st.integers(0, len(text)).map(lambda n: text.encode()[:n])
        | st.just(text.replace("}", ",}").encode())
        | st.just(text.encode("latin-1"))
    )
)


@given(body=_BODIES, last_good=st.sampled_from([None, GOOD]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_what_a_save_takes_boots_and_what_it_refuses_boots_with_the_same_errors(body, last_good, flash, events):
    folder = flash / "data" / "meters"
    folder.mkdir(exist_ok=True)
    (folder / "damaged.json").write_text('{"points"')
    shutil.copy(PROFILE, folder / "mine.json")
    store.remove(load.LAST_GOOD)
    (flash / "data" / "config.json").unlink(missing_ok=True)
    if last_good is not None:
        overwrite(last_good)
    config = ConfigStore(events)
    config.confirm()
    secret = config.config["network"]["password"]
    checked, errors = config.check(body)
    if checked is None:
        assert errors
        overwrite(body)
        found = load.load()
        assert found.errors == errors
        assert found.source == ("default" if last_good is None else "last good") or found.source == "partly"
    else:
        assert errors == []
        config.write(checked)
        found = load.load()
        assert (found.source, found.errors) == ("file", [])
        document = json.loads(body.decode("utf-8-sig"))
        given = document.get("network", {}).get("password", secret)
        assert found.config["network"].pop("password") == given
        whole, _ = load.validate(document)
        whole["network"].pop("password")
        assert found.config == whole
    rest = json.loads(json.dumps({**found.config, "meters": []}))
    assert load.validate(rest)[1] == [], "whatever it runs by is right"

"""Numbers and files on CPython and on real MicroPython alike: plain functions, run by test_on_micropython.py.

No pytest, nothing but the language and the firmware. Each function starts in an empty folder of its own.
"""

import json
import os
import struct

import strict_json

from firmware.config import load as config
from firmware.config import store
from firmware.config.config_store import ConfigStore
from firmware.meters import catalog, recognise
from firmware.meters import profile_loader as profile_load
from firmware.meters.meter import Meter
from firmware.meters.readings import Readings
from host_tests.on_micropython.config_boot import Log

# -- numbers: 32 bits, and whatever floats this interpreter has


def _exact(bits, scale):
    """round(float32 * scale), halves away from zero, in integers only."""
    exponent = bits >> 23 & 0xFF
    mantissa = bits & 0x7FFFFF
    if exponent == 255:
        return None
    if exponent:
        mantissa += 1 << 23
        exponent -= 1
    numerator = mantissa * scale * (1 << exponent)
    whole, rest = divmod(numerator, 1 << 149)
    if 2 * rest >= 1 << 149:
        whole += 1
    return -whole if bits >> 31 else whole


def test_scaled_integers_are_exact():
    patterns = [0, 1, 0x7FFFFF, 0x800000, 0x3F000000, 0x3EFFFFFF, 0x3F7FFFFF, 0x4B7FFFFF, 0x4B800000, 0x7F7FFFFF,
                0x7F800000, 0x7FC00000, 0x4640E6B7, 0x4640E6B8]  # fmt: skip
    points = []
    for scale in (1, 1000, 1000000):
        rows = [[32, "energy", 4, 0, "float32", scale, "Wh", "accumulating"]]
        points.append((profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows}), scale))
    number = 12345
    for _ in range(300):
        number = (number * 1103515245 + 12345) & 0x7FFFFFFF
        patterns.append(number)
    for bits in patterns:
        for sign in (0, 0x80000000):
            raw = struct.pack(">I", bits | sign)
            for point, scale in points:
                wanted = _exact(bits | sign, scale) if bits & 0x7F000000 <= 0x53000000 else None
                got = point.decode(0, raw)
                assert got == wanted, (bits, sign, scale, got, wanted)
                assert point.decode(0, raw, (1, 1) * 4) == wanted


def test_integers_of_every_size_are_decoded_without_loss():
    rows = []
    values = (65535, -32768, 0xFFFFFFFF, -0x80000000, 0xFFFFFFFFFFFF, -0x1000000000000, 0x40000000, 0x3FFFFFFF)
    kinds = ("uint16", "int16", "uint32", "int32", "uint64", "int64", "uint32", "uint32")
    address = 0
    data = b""
    for k, kind in enumerate(kinds):
        rows.append([k + 1, f"p{k}", 4, address, kind, 1, "Wh", "accumulating"])
        raw = struct.pack(
            ">" + {"uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q"}[kind],
            values[k],
        )
        address += len(raw) // 2
        data += raw
    profile = profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows})
    assert [profile.decode(i, bytearray(data)) for i in range(len(profile))] == list(values)


def test_decimal_scales_print_as_the_meter_meant():
    rows = [[1, "voltage", 4, 0, "uint16", 0.1, "V", "instantaneous"]]
    profile = profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows})
    for raw, text in ((2301, "230.1"), (2303, "230.3"), (3, "0.3"), (65535, "6553.5")):
        value = profile.decode(0, struct.pack(">H", raw))
        assert f"{value:.7g}" == text


def test_the_profiles_of_the_tree_load():
    names = catalog.names()
    assert len(names) >= 14
    for name in names:
        profile = profile_load.load(name)
        assert profile.name_of(len(profile) - 1)
        for i in range(len(profile)):
            _, _, count = profile.plan[profile.blocks[i]]
            assert profile.decode(i, bytearray(2 * count)) == 0


def test_energy_keeps_its_last_watt_hour_beyond_24_and_31_bits():
    """At scales above and below 1, behind transformers, and from a float32."""
    cases = (
        ("uint32", 1, 0x01000001, None, 16777217), ("uint32", 100, 0x7FFFFFFF, None, 214748364700),
        ("uint64", 10, 0x10000000001, None, 10995116277770),
        ("uint64", 0.1, 0xFFFFFFFFFFFF, None, 28147497671066),
        ("uint64", 1000, 0xFFFFFFFFFFFF, None, 281474976710655000),
        ("int64", 1, -0x1000000000000, None, -281474976710656), ("uint16", 0.5, 3, None, 2),
        ("uint32", 10, 0x01000001, (600, 5), 20132660400), ("uint16", 10, 1, (1, 3), 3),
        ("float32", 1000, 0x4B7FFFFF, None, 16777215000), ("float32", 1000, 0x4640E6B7, (600, 5), 1481481445),
        ("float32", 0.1, 0x4B7FFFFF, None, 1677722),
    )  # fmt: skip
    for kind, scale, raw, ct, wanted in cases:
        rows = [[32, "energy_import", 4, 0, kind, scale, "Wh", "accumulating"]]
        profile = profile_load.parse("test", {"columns": profile_load.COLUMNS, "points": rows})
        size = {"16": 2, "32": 4, "64": 8}[kind[-2:]]
        if raw < 0:
            raw += 1 << 8 * size
        data = bytes([raw >> 8 * k & 0xFF for k in range(size - 1, -1, -1)])
        ct_primary, ct_secondary = ct or (1, 1)
        config = {"ct_primary": ct_primary, "ct_secondary": ct_secondary, "pt_primary": 1, "pt_secondary": 1}
        got = profile.decode(0, bytearray(data), profile_load.ratios(config))
        assert isinstance(got, int)
        assert got == wanted, (kind, scale, raw, ct, got, wanted)


def test_what_nothing_can_measure_is_no_value():
    for kind, use in (("float32", "instantaneous"), ("float32", "accumulating")):
        for order in ("big", "little"):
            rows = [[32, "energy_import", 4, 0, kind, 1000, "Wh", use]]
            document = {"columns": profile_load.COLUMNS, "points": rows, "word_order": order, "no_value_floats": [0.1]}
            profile = profile_load.parse("test", document)
            for bits in (0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0x7FC00000, 0x54000000, 0x3DCCCCCD):
                words = struct.pack(">HH", bits >> 16, bits & 0xFFFF)
                words = words if order == "big" else words[2:] + words[:2]
                assert profile.decode(0, bytearray(words)) is None, (kind, use, order, bits)
                assert profile.decode(0, memoryview(words)) is None, (kind, use, order, bits)


def test_a_counter_that_falls_is_held_for_three_polls():
    config = {
        "slot": 0, "name": "m", "unit": 1, "bus": 0, "interval_s": 5, "max_age_s": 10, "timeout_ms": 500, "retries": 1,
        "auto_timeout": True, "profile": "test",
    }  # fmt: skip
    for kind in ("float32", "uint32", "uint64"):
        for order in ("big", "little"):
            for no_value in ("none", "maximum", "sunspec"):
                rows = [[32, "energy_import", 4, 0, kind, 1, "Wh", "accumulating"]]
                document = {"columns": profile_load.COLUMNS, "points": rows, "word_order": order, "no_value": no_value}
                meter = Meter(config, profile_load.parse("test", document))
                readings = Readings(lambda: 0)
                seen = []
                for value in (70000, 0, 0, 0, 70001, 2, 2, 2, 3):
                    raw = struct.pack({"float32": ">f", "uint32": ">I", "uint64": ">Q"}[kind], value)
                    words = [raw[k : k + 2] for k in range(0, len(raw), 2)]
                    raw = b"".join(words if order == "big" else words[::-1])
                    resets = meter.store(meter.blocks[0], bytearray(b"..." + raw), 3, 0, 0)
                    seen.append((readings.read(meter, 0)[0], len(resets)))
                falls = [(70000, 0)] * 4 + [(70001, 0)] * 4 + [(3, 1)]
                assert seen == falls, (kind, order, no_value, seen)


def test_the_signatures_of_the_tree_are_read():
    found = dict(recognise.candidates())
    assert len(found) >= 14
    (code, frequency) = found["eastron-sdm630"]
    assert code[:3] == (3, 0xFC02, 1)
    assert recognise.matches(code, b"\x00\x70")
    assert not recognise.matches(code, b"\x00\x71")
    assert not recognise.matches(code, None)
    assert recognise.matches(frequency, struct.pack(">f", 50))
    assert not recognise.matches(frequency, struct.pack(">f", 44.9))
    assert not recognise.matches(frequency, b"\x7f\xc0\x00\x00")
    (model,) = found["abb-b23"]
    assert recognise.matches(model, b"B23 ")
    assert recognise.matches(model, b"B24 ")
    assert not recognise.matches(model, b"B21 ")
    assert recognise.matches(found["schneider-iem3155"][0], b"iEM3")


def test_malformed_rows_are_profile_errors():
    good = [1, "a", 4, 0, "uint16", 1, "V", "instantaneous"]
    wrong = [
        (0, 0),
        (0, "1"),
        (1, ""),
        (1, "a\nb"),
        (2, 3.0),
        (2, 5),
        (3, -1),
        (3, 65536),
        (4, "float"),
        (5, 0),
        (5, "1"),
        (5, True),
        (6, "kV"),
        (7, ""),
    ]
    for at, value in wrong:
        row = list(good)
        row[at] = value
        try:
            profile_load.parse("mine", {"columns": profile_load.COLUMNS, "points": [row]})
        except profile_load.ProfileError as error:
            said = str(error)
        else:
            raise AssertionError((at, value))
        assert said.startswith("profile mine: points[0]."), said


# -- files


def _plain(value):
    """With dicts, for MicroPython's OrderedDict equals none."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in value}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def test_saves_alternate_and_survive_damage():
    for k in range(5):
        store.save("data/thing", b"body %d" % k)
        assert store.load("data/thing") == b"body %d" % k
    with open("data/thing.a", "rb") as f:
        good = f.read()
    for k in range(len(good)):
        bad = bytearray(good)
        bad[k] ^= 1
        _write("data/thing.a", bad)
        assert store.load("data/thing") == b"body 3", k
        _write("data/thing.a", good[:k])
        assert store.load("data/thing") == b"body 3", k
    os.rename("data/thing.b", "data/away")
    assert store.load("data/thing") is None


# (what it begins with, what is repeated, how often, how it ends)
USELESS = (
    (b"",), (b"{",), (b"null",), (b"[]",), (b"\xff\xfe",), (b'{"name": "\xed\xa0\x80"}',), (b'{"name": "\\ud800"}',),
    (b"{}", b" ", 12300), (b'{"name": ', b"[", 6000), (b'{"name": ', b"[", 300, b"]" * 300 + b"}"),
    (b'{"name": "x",}',), (b'{"name": "x", "name": "y"}',), (b'{"http": {"port": 080}}',),
    (b"", b"[", 12000), (b"", b'{"a": ', 2000), (b'"', b"x", 12000, b'"'), (b"{", b'"a":1,', 1500, b'"b":1}'),
)  # fmt: skip
# What of it is right runs.
WRONG = (
    (b'{"nmae": 1, "http": {"port": 8080}}',), (b'{"name": "site 7", "http": {"port": 70000}}',),
    (b'{"name": "site 7", "http": {"port": 1e999}}',), (b'{"name": "site 7", "http": {"port": 80.0}}',),
    (b'{"name": "\\u0000", "http": {"port": 8080}}',), (b'{"name": 5, "http": {"port": 8080}, "buses": {}}',),
    (b'{"name": "site 7", "http": {"port": 8080}, "meters": [', b'{"slot":1},', 60, b"{}]}"),
    (b'{"name": "site 7", "http": {"port": 8080}, "meters": [', b'{"slot":1},', 300, b"{}]}"),
    (b'{"name": "site 7", "http": {"port": 8080}, "x": [', b'"abc\xc3\xa4", "\\u00e4",', 200, b'"b"]}'),
)  # fmt: skip


def _break(begin, repeated=b"", times=0, end=b""):
    with open("data/config.json", "wb") as f:
        f.write(begin)
        for _ in range(times):
            f.write(repeated)
        f.write(end)


def test_whatever_the_file_says_the_device_starts_by_what_is_right_or_was():
    os.mkdir("data")
    _write("data/config.json", json.dumps({"name": "site 7", "http": {"port": 8080}}).encode())
    loaded = config.load()
    assert (loaded.source, loaded.errors) == ("file", [])
    config.save_last_good(loaded.profiles)
    for cases, source in ((USELESS, "last good"), (WRONG, "partly")):
        for parts in cases:
            _break(*parts)
            loaded = config.load()
            assert loaded.source == source, parts
            assert (loaded.config["name"], loaded.config["http"]["port"]) == ("site 7", 8080), (parts, loaded.config)
            assert loaded.errors, parts
    config.store.remove(config.LAST_GOOD)
    for cases, source in ((USELESS, "default"), (WRONG, "partly")):
        for parts in cases:
            _break(*parts)
            loaded = config.load()
            assert loaded.source == source, parts
            assert loaded.errors, parts
            assert loaded.config["http"]["port"] in (80, 8080)


def test_a_file_that_was_cut_off_anywhere_does_not_run():
    """An upload that was interrupted. MicroPython's own parser takes the end of the file for missing braces."""
    whole = json.dumps({"name": 'si}te " 7', "http": {"port": 8080}, "buses": [{"uart": 1}], "meters": []}).encode()
    os.mkdir("data")
    _break(whole)
    assert config.load().source == "file"
    config.save_last_good(())
    for n in range(len(whole)):
        _break(whole[:n])
        loaded = config.load()
        assert (loaded.source, loaded.config["http"]["port"]) == ("last good", 8080), whole[:n]
        assert loaded.errors == [f"configuration: not JSON: cut off after {n} bytes"]
    for wrong in (whole + b"}", whole + b"x", whole.replace(b"[]", b"[}"), whole.replace(b"[]", b"[")):
        _break(wrong)
        assert config.load().source == "last good", wrong


def test_meters_with_and_without_their_profiles():
    os.mkdir("data")
    os.mkdir("data/meters")
    meters = [
        {"slot": k, "name": f"m{k}", "unit": k + 1, "profile": name}
        for k, name in enumerate(("mine", "pzem-004t-v3", "mine"))
    ]
    rows = [[1, "a", 4, 0, "uint16", 1, "V", "instantaneous"]]
    profile = json.dumps({"columns": profile_load.COLUMNS, "points": rows}).encode()
    document = {"name": "site 7", "buses": [{"uart": 1}], "meters": meters}
    _write("data/config.json", json.dumps(document).encode())
    loaded = config.load()  # not there yet
    assert (loaded.source, [meter["slot"] for meter in loaded.config["meters"]]) == ("partly", [1])
    assert loaded.errors[0].startswith("meters[0].profile: profile mine: there is no ")
    _write("data/meters/mine.json", profile)
    loaded = config.load()
    assert (loaded.source, [meter["slot"] for meter in loaded.config["meters"]]) == ("file", [0, 1, 2])
    config.save_last_good(loaded.profiles)
    _write("data/meters/mine.json", profile[:-1])
    loaded = config.load()  # damaged: the last good one
    assert (loaded.source, [meter["slot"] for meter in loaded.config["meters"]]) == ("partly", [0, 1, 2])
    assert loaded.errors[0].startswith("meters[0].profile: profile mine: not JSON: cut off after ")
    assert sorted(loaded.profiles) == ["mine", "pzem-004t-v3"]


def test_a_configuration_is_saved_shown_and_forgotten():
    events = Log()
    store_of_device = ConfigStore(events)
    assert (store_of_device.source, store_of_device.public(), store_of_device.name) == ("default", {}, "meterport")
    body = b'\xef\xbb\xbf{"name": "s\\u00fcd", "network": {"ssid": "a b", "password": "geheim"}, '
    body += b'"ntp": {"enabled": false}}'
    for kind in (bytes, bytearray, memoryview):
        checked, errors = store_of_device.check(kind(body))
        assert errors == []
    store_of_device.write(checked)
    assert store_of_device.reboot_due() == ["ntp"]
    assert _plain(store_of_device.public()) == {
        "name": "s\u00fcd", "network": {"ssid": "a b"}, "ntp": {"enabled": False},
    }  # fmt: skip
    checked, errors = store_of_device.check(b'{"network": {"ssid": "c"}}')
    assert _plain(checked["network"]) == {"ssid": "c", "password": "geheim"}
    assert store_of_device.check(b'{"name": ""}') == (None, ['name: "" is not a text of 1 to 32 printable characters'])
    again = ConfigStore(events)
    assert (again.source, again.name, again.reboot_due()) == ("file", "s\u00fcd", [])
    _write("data/config.json", b'{"network": {"ssid": "changed"')
    again.notice_change()
    assert again.reboot_due() == ["configuration"]
    assert events.texts[-2] == "the new file is wrong: not JSON: cut off after 30 bytes"
    again.factory_reset()
    assert os.listdir("data") == []


def _refused(text):
    try:
        strict_json.loads(text)
    except ValueError as error:
        return str(error)
    raise AssertionError(text)


def test_strict_json_reads_all_forms():
    text = b' {"a":[1,2.5,-0,1e3,"x\\ud83d\\ude00\\n\\u00fc\xc3\xbc\\u20ac\\""],'
    text += b'"b" : {"c":[true,false,null],"":{}},"d":[]} '
    wanted = {
        "a": [1, 2.5, 0, 1000.0, 'x\U0001f600\n\u00fc\u00fc\u20ac"'], "b": {"c": [True, False, None], "": {}}, "d": [],
    }  # fmt: skip
    for kind in (bytes, bytearray, memoryview):
        found = strict_json.loads(kind(text))
        assert _plain(found) == wanted
        assert list(found) == ["a", "b", "d"]
    for n in range(1, len(text) - 1):
        assert _refused(text[:n]) == f"cut off after {n} bytes"
    for wrong in (
        b'["\xff"]', b'["\xed\xa0\x80"]', b'["\xc0\x80"]', b'["\\ud800"]', b"[1,]", b'{"a":1,"a":2}', b"[01]",
        b"{}{}", b'["\x01"]', b"[" * 9, b"[1.]", b"[tru]", b"[nan]",
    ):  # fmt: skip
        assert _refused(wrong).startswith("byte "), wrong


def test_a_profile_that_was_cut_off_is_a_profile_error():
    rows = [[1, "a", 4, 0, "uint16", 1, "V", "instantaneous"], [2, "b", 4, 1, "uint16", 1, "V", "instantaneous"]]
    whole = json.dumps({"columns": profile_load.COLUMNS, "points": rows})
    os.mkdir("data")
    os.mkdir("data/meters")
    for n in range(len(whole)):
        _write("data/meters/mine.json", whole[:n].encode())
        try:
            profile_load.load("mine")
        except profile_load.ProfileError:
            continue
        raise AssertionError(whole[:n])
    _write("data/meters/mine.json", whole.encode())
    assert len(profile_load.load("mine")) == 2


def test_a_folder_in_place_of_the_file_is_an_error():
    os.mkdir("data")
    os.mkdir("data/config.json")
    loaded = config.load()
    assert loaded.source == "default"
    assert loaded.errors

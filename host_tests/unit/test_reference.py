"""docs/reference and the code say the same: every table of the pages is read and compared."""

import asyncio
import inspect
import json
import re
import struct
from pathlib import Path
from types import SimpleNamespace

import pytest

from firmware import crash
from firmware.bus import bus as bus_module
from firmware.bus import poller
from firmware.config import load as config
from firmware.meters import profile as firmware_profile
from firmware.meters import profile_loader as profile_load
from firmware.meters import readings
from firmware.net import budget, listener
from firmware.services.http import gate
from firmware.services.http.response import call
from firmware.services.modbus_tcp import server as modbus_server
from host_tests.unit import contract_app
from host_tests.unit import the_schema as schema
from tools import profiles

_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"


def page(name):
    """The text of a page of docs/reference."""
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def tables(name, heading):
    """The tables of a page below a heading, up to the next heading: lists of rows of stripped cells."""
    _, text = re.split(rf"(?m)^#+ {re.escape(heading)}$", page(name), maxsplit=1)
    text = re.split(r"(?m)^#", text, maxsplit=1)[0]
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            found.append(rows[2:])
            rows = []
    return found


def code(cell):
    """The first `name` in a cell."""
    return re.match(r"`([^`]+)`", cell).group(1)


# -- points


def numbered_names():
    result = {}
    for cell, names, unit in tables("points", "Points")[0]:
        first, _, last = cell.partition("-")
        first, last = int(first), int(last or first)
        if first == 128:
            result[128] = ("alarm", unit)
            continue
        listed = re.findall(r"`([^`]+)`", names)
        if " .. " in names:
            stem = listed[0][:-1]
            listed = [f"{stem}{k + 1}" for k in range(last - first + 1)]
        assert len(listed) == last - first + 1, names
        result.update({first + k: (name, unit) for k, name in enumerate(listed)})
    return result


def test_point_numbers_and_names_are_those_of_the_profiles():
    documented = numbered_names()
    assert {number: name for number, (name, _) in documented.items()} == dict(profiles.NUMBERS) | {128: "alarm"}
    seen = 0
    for path in sorted((Path(config.__file__).parent.parent / "meters" / "profiles").glob("*.json")):
        for row in json.loads(path.read_text())["points"]:
            number, name, unit = row[0], row[1], row[6]
            if number < 128:
                assert documented[number] == (name, unit), f"{path.name}: {row}"
                seen += 1
    assert seen > 70


def test_qualities():
    rows = tables("points", "Quality")[0]
    words = {int(row[0]): row[1].strip("`") for row in rows}
    assert words.pop(255) == ""
    assert words == dict(enumerate(readings.QUALITIES))


# -- profiles


def test_every_profile_is_listed_with_its_confidence_size_and_plan():
    listed, doubts = tables("profiles", "Profiles of the firmware")
    rows = {}
    for name in profiles.available():
        one = profiles.load(name)
        plan = profile_load.load(name).plan
        rows[name] = [one.name, one.confidence, len(one.points), len(plan), one.max_registers, one.gap]
    assert {code(row[0]): [row[1], *map(int, row[2:])] for row in listed} == rows
    assert [code(row[0]) for row in doubts] == list(rows)


def test_keys_and_columns_of_a_profile():
    keys, columns = tables("profiles", "Keys")
    assert sorted(code(row[0]) for row in keys) == sorted(profile_load.KEYS)
    assert set(profile_load.KEYS) == profiles.REQUIRED | profiles.OPTIONAL
    assert [code(row[0]) for row in columns] == profile_load.COLUMNS == list(profiles.COLUMNS)
    said = {code(row[0]): re.findall(r"`([^`]+)`", row[1]) for row in columns}
    assert said["type"] == list(firmware_profile.TYPES)
    assert said["unit"] == [unit for unit in firmware_profile.UNITS if unit]
    assert said["kind"] == list(profile_load.KINDS)
    choices = next(row for row in keys if row[0] == "`no_value`")
    assert {f'"{name}"' for name in profile_load.NO_VALUE} == set(re.findall(r'`("[^`]+")`', " ".join(choices)))


def test_numbers_of_a_profiles_own():
    documented = {}
    for name, numbers, names, unit in tables("profiles", "Numbers from 128 on")[0]:
        first, _, last = numbers.partition("-")
        listed = [code(names)]
        if last:
            stem = re.fullmatch(r"`(\w+?)1` \.\. `\1(\d+)`", names)
            listed = [f"{stem[1]}{k + 1}" for k in range(int(stem[2]))]
            assert int(last) - int(first) + 1 == len(listed)
        documented.setdefault(code(name), {}).update({int(first) + k: (one, unit) for k, one in enumerate(listed)})
    for name in profiles.available():
        own = {point.number: (point.name, point.unit) for point in profiles.load(name).points if point.number >= 128}
        assert own.items() <= documented.get(name, {}).items()
        assert bool(own) == (name in documented)


# -- configuration


def leaves(schema, path=""):
    for key, spec in schema.items():
        where = f"{path}{key}"
        if isinstance(spec, dict):
            yield from leaves(spec, where + ".")
        elif isinstance(spec, list):
            yield from leaves(spec[0], where + "[].")
        else:
            yield where, spec


def allowed(spec):
    kind = spec[0]
    if kind == "int":
        return f"{spec[2]} to {spec[3]}"
    if kind in ("text", "lines"):
        return f"{spec[2]} to {spec[3]} characters"
    if kind == "choice":
        return ", ".join(str(choice) for choice in spec[2])
    if kind in ("ips", "names"):
        return f"at most {spec[2]}"
    return None  # said in words


def default_text(where, spec):
    value = spec[1]
    required = value is None and spec[0] != "pin"
    if required or value == "":
        return ""
    return f"`{value}`" if isinstance(value, str) else json.dumps(value)


def test_every_configuration_key_with_type_default_and_bounds():
    rows = {code(row[0]): row[1:] for row in tables("configuration", "Keys")[0]}
    assert list(rows) == [where for where, _ in leaves(schema.SCHEMA)]
    for where, spec in leaves(schema.SCHEMA):
        kind, default, bounds = rows[where]
        assert kind == spec[0], where
        assert default == default_text(where, spec), where
        if allowed(spec) is not None:
            assert bounds == allowed(spec), where


def test_where_a_configuration_comes_from():
    rows = tables("configuration", "A part that is wrong")[0]
    sources = {source for row in rows for source in re.findall("`([^`]+)`", row[2])}
    assert sources == {"file", "partly", "last good", "default"}
    (told,) = [row[1] for row in tables("http", "GET /api/status")[0] if row[0] == "`config.source`"]
    assert set(re.findall("`([^`]+)`", told)) == sources


def test_bounds_that_are_not_configured():
    bounds = {row[0]: row[1] for row in tables("configuration", "Bounds that are not configured")[0]}
    assert bounds["requests waiting for a bus"].startswith(f"{bus_module._QUEUE_MAX},")
    assert bounds["failed requests in a row until a meter is quarantined"] == str(bus_module._QUARANTINE_AFTER)
    waits = f"after {poller.RETRY_FIRST_MS // 1000} s, doubling up to {poller._RETRY_LAST_MS // 1000} s"
    assert bounds["probes of a quarantined meter"] == waits
    assert bounds["polls after a failed one"] == f"{waits}; after the meter's interval where that is shorter"
    assert bounds["answer of a meter that is not configured"].startswith(f"within {bus_module._TIMEOUT_MS} ms")
    assert f"{modbus_server._UNSERVED_MS // 1000} s (Modbus)" in bounds["connection that never asks"]
    assert bounds["peer that does not take our output"] == f"closed after {listener._OUTPUT_TIMEOUT_MS // 1000} s"
    assert f"at most {schema.SCHEMA['meters'][1]}" in page("configuration")
    assert f"`buses` holds at most {schema.SCHEMA['buses'][1]}" in page("configuration")


# -- unit 255


def read(app, function, first, count):
    """Registers of unit 255, or the exception code."""
    out = bytearray(260)
    n = app.gateway.answer(struct.pack(">BHH", function, first, count), 0, 5, out, 7)
    if out[7] & 0x80:
        return out[8]
    assert n == 2 + 2 * count
    assert out[8] == 2 * count
    return list(struct.unpack(f">{count}H", out[9 : 9 + 2 * count]))


def number(words):
    return words[0] if len(words) == 1 else words[0] << 16 | words[1]


@pytest.fixture
def app():
    """An application with a value of its own in every field, so that a swapped pair shows."""

    async def make():
        return contract_app.make()

    return asyncio.run(make())


@pytest.mark.parametrize(
    ("heading", "base"),
    [
        ("Holding registers (FC 03), identity and health", 0),
        ("Holding registers (FC 03), sockets and requests", 0),
        ("Holding registers (FC 03), the ledger", 200),
        ("Holding registers (FC 03), the buses", 600),
    ],
)
def test_holding_registers_hold_what_the_table_says(app, heading, base):
    expected = app.expected[heading]
    rows = tables("modbus", heading)[0]
    names = []
    for address, size, content in rows:
        address, size = base + int(address), int(size)
        words = read(app, 3, address, size)
        if content == "0":
            assert words == [0] * size
            continue
        name = code(content)
        names.append(name)
        assert number(words) == expected[name], name
    assert names == list(expected)


def test_the_ledger_row_of_a_connection(app):
    base = 200 + 6 * 16  # behind the six services
    for address, size, content in tables("modbus", "Holding registers (FC 03), the ledger")[0]:
        words = read(app, 3, base + int(address), int(size))
        if content != "0":
            assert number(words) == app.connection_row[code(content)], content
    assert read(app, 3, base + 16, 16) == [0] * 16


def test_what_is_in_no_table_is_refused(app):
    counters_end = 122 + 2 * len(app.gateway.counters.NAMES)
    for first, count in (
        (14, 1),
        (13, 2),
        (99, 1),
        (counters_end, 1),
        (counters_end - 1, 2),
        (199, 2),
        (456, 1),
        (455, 2),
        (632, 1),
    ):
        assert read(app, 3, first, count) == 2, (first, count)
    assert read(app, 3, 0, 14) != 2
    assert read(app, 3, 100, counters_end - 100) != 2
    assert len(read(app, 3, 200, 125)) == 125


def test_input_registers_of_points(app):
    meter = app.meter
    for i in range(len(meter.profile)):
        address = 4 * meter.point_id(i)
        words = read(app, 4, address, 4)
        value = struct.unpack(">f", struct.pack(">HH", *words[:2]))[0]
        assert value == pytest.approx(app.readings.read(meter, i)[0], rel=1e-6)
        assert words[2:] == [app.readings.read(meter, i)[1], 0]
    missing = 4 * (meter.slot << 8 | 200)
    assert read(app, 4, missing, 4) == [0x7FC0, 0, 0xFFFF, 255]
    assert read(app, 4, 4 * (meter.slot + 1 << 8), 1) == 2


def test_identification_objects(app):
    rows = tables("modbus", "Device identification (FC 43/14)")[0]
    for row in rows:
        wanted = int(row[0])
        out = bytearray(260)
        n = app.gateway.answer(bytes((43, 14, 4, wanted)), 0, 4, out, 7)
        body = bytes(out[7 : 7 + n])
        assert body[:2] == b"\x2b\x0e"
        assert body[7] == wanted
        text = body[9:].decode()
        assert len(text) == body[8]
        said = row[1].partition(": ")[2]
        if said.startswith("`") and "configuration" not in said:
            assert text == said.strip("`")
        elif said == "empty":
            assert text == ""
    assert len(rows) == 7


# -- HTTP


def fields(value, path=""):
    """Paths of every scalar in a JSON document, as the tables write them."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from fields(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        if not value:
            yield path + "[]"
        for inner in value:
            yield from fields(inner, path + "[]")
    else:
        yield path


@pytest.mark.parametrize(
    "path", ["/api/status", "/api/readings", "/api/sockets", "/api/bus", "/api/scan", "/api/history", "/api/posting"]
)
def test_every_field_of_the_api_is_in_its_table_and_the_other_way_round(app, path):
    documented = [code(row[0]) for row in tables("http", f"GET {path}")[0]]
    handler = gate.find_route(path.encode())[2]
    response = call(handler, app.http, SimpleNamespace(path=path.encode(), method=b"GET", query=b""), None)
    for _ in response.body:
        continue
    document = json.loads(app.http.out.getvalue())
    assert list(dict.fromkeys(fields(document))) == documented


def test_every_field_of_the_record_of_a_crash_is_in_its_table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crash.keep("a reason", (1, 2), 3)
    assert list(json.loads(crash.last())) == [code(row[0]) for row in tables("http", "GET /api/crash")[0]]


def test_all_documents_are_in_the_tables():
    paths = re.findall(r'path == b"(/[^"]+)":', inspect.getsource(gate.find_route))
    told = [path for path in paths if gate.find_route(path.encode())[2] is not None]
    assert len(told) > 10
    assert sorted(re.findall(r"## GET (\S+)", page("http"))) == sorted(told)


def test_service_and_slot_kinds_are_numbered_in_the_order_of_the_services(app):
    text = tables("modbus", "Holding registers (FC 03), the ledger")[0][0][2]
    assert re.findall(r"(\d) (\w+)", text)[: len(budget.SERVICES)] == [
        (str(k + 1), name) for k, name in enumerate(budget.SERVICES)
    ]

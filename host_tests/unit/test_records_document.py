"""GET /api/records: records of the flash as JSON and CSV, compared with what the virtual meters had."""

import csv
import io
import json
from types import SimpleNamespace

import pytest
import segment
from hypothesis import given
from hypothesis import strategies as st

from firmware.net.seam import Sink
from firmware.services.http.documents.records import RecordsDocument
from firmware.services.http.response import Refused
from host_tests.unit.history_bench import INTERVAL_S, NOON, Rig


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path, meters=2, commit_s=300)
    for slot, meter in enumerate(rig.meters):
        meter.name = ("main", 'a "quoted", one')[slot]
        meter.profile.name_of = ("energy_import", "active_power").__getitem__
    rig.live(6000)
    rig.meters[1].quality = 9
    rig.live(600)
    return rig


def get(rig, query=b"", daily=None):
    out = Sink(64)
    document = RecordsDocument(out, SimpleNamespace(records=rig.recorder, daily=daily), rig.clock)
    response = document.get(SimpleNamespace(query=query))
    out.seek(0)
    for _ in response.body:
        pass
    size = out.tell()
    out.seek(0)
    return response, out.read(size).decode()


def test_json_has_the_series_and_a_row_for_each_record(rig):
    _, text = get(rig)
    document = json.loads(text)
    assert document["interval_s"] == INTERVAL_S
    assert [(one["id"], one["meter"], one["point"], one["unit"]) for one in document["series"]] == [
        (32, "main", "energy_import", "Wh"),
        (256 + 32, 'a "quoted", one', "energy_import", "Wh"),
        (16, "main", "active_power", "W"),
        (256 + 16, 'a "quoted", one', "active_power", "W"),
    ]
    assert [row[0] for row in document["records"]] == [NOON + INTERVAL_S * k for k in range(1, 23)]
    assert [[row[0], row[1], *row[2:]] for row in document["records"]] == [[a, b, *c] for a, b, c in rig.records()]
    assert document["records"][-1][3] is None


def test_csv_has_iso_times_a_quality_and_an_empty_field_for_what_is_unknown(rig):
    response, text = get(rig, b"format=csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert response.type.startswith("text/csv")
    assert rows[0] == [
        "time", "uptime_s", "quality",
        "main energy_import Wh", 'a "quoted", one energy_import Wh',
        "main active_power W", 'a "quoted", one active_power W',
    ]  # fmt: skip
    assert rows[1][0].endswith("T12:05:00Z")
    assert {row[2] for row in rows[1:-2]} == {"good"}
    assert [row[2] for row in rows[-2:]] == ["gaps", "gaps"]
    assert rows[-1][4] == ""
    assert [row[3] for row in rows[1:]] == [str(values[0]) for _, _, values in rig.records()]


def test_one_meter_and_a_time_can_be_asked_for(rig):
    query = b"meter=1&from=%d&to=%d" % (NOON + 600, NOON + 1200)
    document = json.loads(get(rig, query)[1])
    assert [one["id"] for one in document["series"]] == [256 + 32, 256 + 16]
    assert [row[0] for row in document["records"]] == [NOON + 600, NOON + 900]


def test_times_can_be_dates(rig):
    day = get(rig, b"format=csv")[1].splitlines()[1][:10].encode()
    assert len(json.loads(get(rig, b"from=" + day)[1])["records"]) == 22
    assert json.loads(get(rig, b"to=" + day)[1])["records"] == []
    wanted = json.loads(get(rig, b"from=%sT12:10:00Z&to=%sT12%%3A15:00Z" % (day, day))[1])["records"]
    assert [row[0] for row in wanted] == [NOON + 600]


def test_a_step_has_the_mean_of_a_power_and_the_last_value_of_an_energy(rig):
    rig.meters[0].power_w = 161.0
    rig.live(900)  # the meter that is unknown was known for a part of the second step
    each = json.loads(get(rig, b"from=%d" % NOON)[1])["records"]
    document = json.loads(get(rig, b"every=3600&from=%d" % NOON)[1])
    assert document["interval_s"] == 3600
    steps = document["records"]
    assert [row[:2] for row in steps] == [[NOON + 3600 * k, None] for k in (1, 2, 3)]
    for k, row in enumerate(steps):
        inside = each[12 * k : 12 * (k + 1)]
        for column in (2, 3, 4, 5):
            known = [one[column] for one in inside if one[column] is not None]
            wanted = (known[-1] if column < 4 else int(sum(known) / len(known) + 0.5)) if known else None
            assert row[column] == wanted
    assert steps[2][3] is None
    qualities = [row[2] for row in csv.reader(io.StringIO(get(rig, b"format=csv&every=3600")[1]))]
    assert qualities == ["quality", "good", "gaps", "gaps"]


def test_one_meter_of_many_is_read_without_decoding_the_others(tmp_path):
    rig = Rig(tmp_path, meters=9, commit_s=300)
    for meter in rig.meters:
        meter.name = "m"
        meter.profile.names = lambda: [b"e", b"p"]
        meter.energy_wh = 10**12 * meter.slot
    rig.live(3000)
    rig.meters[4].quality = 9
    rig.live(600)
    whole = json.loads(get(rig)[1])["records"]
    for slot in range(9):
        one = json.loads(get(rig, b"meter=%d" % slot)[1])["records"]
        assert one == [[*row[:2], row[2 + slot], row[11 + slot]] for row in whole]


def test_a_step_has_no_record_without_a_time(tmp_path):
    rig = Rig(tmp_path, unix_s=None, commit_s=300)
    for meter in rig.meters:
        meter.name = "m"
        meter.profile.names = lambda: [b"e", b"p"]
    rig.run(700)
    assert json.loads(get(rig, b"every=600")[1])["records"] == []


def test_without_a_time_the_last_day_is_given(rig):
    rig.live(2 * 86400)
    document = json.loads(get(rig)[1])
    assert document["records"][0][0] >= rig.clock.unix_s() - 86400
    assert len(document["records"]) in (288, 289)


def test_records_of_other_series_are_read_by_their_ids(rig):
    rig.recorder.commit()
    rig.series = [(rig.meters[1], 1), (rig.meters[0], 0)]
    rig.meters[1].quality = 0
    rig.restart(NOON + 6600)
    rig.live(600)
    rig.recorder.commit()
    records = json.loads(get(rig, b"from=%d" % NOON)[1])["records"]
    assert records[0][2:] == [200, records[0][3]]
    assert [row[0] for row in records] == [NOON + INTERVAL_S * k for k in range(1, 25)]
    assert records[-1][2:] == [200, rig.meters[0].energy_wh]


def test_undated_records_have_their_uptime(tmp_path):
    rig = Rig(tmp_path, unix_s=None, commit_s=300)
    for meter in rig.meters:
        meter.name = "m"
        meter.profile.name_of = "ep".__getitem__
    rig.run(700)
    rows = get(rig, b"format=csv")[1].splitlines()
    assert rows[1].startswith(",300,good,")
    assert json.loads(get(rig)[1])["records"][0][:2] == [None, 300]


@pytest.mark.parametrize(
    "query",
    [
        b"fromm=1",
        b"from=yesterday",
        b"from=2026-02-30",
        b"from=12345678901",
        b"to=",
        b"every=hour",
        b"every=0",
        b"every=86401",
        b"format=xml",
    ],  # fmt: skip
)
def test_a_wrong_parameter_is_an_error(rig, query):
    with pytest.raises(ValueError, match="known are|a time is|no such"):
        get(rig, query)


@pytest.mark.parametrize("query", [b"meter=9", b"meter=x", b"meter=", b"every=day", b"meter=001"])
def test_what_is_not_kept_is_404(rig, query):
    with pytest.raises(Refused) as caught:
        get(rig, query)
    assert caught.value.status == 404


@given(st.integers(-(1 << 53), 1 << 53), st.integers(0, 6))
def test_numbers_are_exact(value, decimals):
    text = segment.number(value, decimals).decode()
    assert int(text.replace(".", "")) == value
    assert len(text.partition(".")[2]) == decimals

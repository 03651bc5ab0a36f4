"""Posting: what is posted in each format, what becomes of a batch by the answer, and that no record is lost unseen."""

import csv
import email
import email.policy
import gzip
import io
import json
import random
import urllib.parse
from types import SimpleNamespace

import pytest
from line_protocol_parser import parse_line

from host_tests.line_protocol_reader import read_line
from host_tests.unit.posting_bench import HOST, INTERVAL_S, NOON, Bench, Server

QUARTER_S = 900
DAY_S = 86400


@pytest.fixture
def make(tmp_path, monkeypatch):
    def make(answer=None, **options):
        return Bench(tmp_path, monkeypatch, Server(answer), **options)

    return make


def records_of(request):
    """[(time, [{slot, meter, energy, power}, ...]), ...] of a JSON body."""
    return [(record["time"], record["meters"]) for record in json.loads(request.body)["records"]]


def times(bench):
    return [time for request in bench.server.requests for time, _ in records_of(request)]


# Formats


def test_json_has_the_values_of_each_meter_at_the_begin_of_their_interval(make):
    bench = make()
    bench.run(3 * INTERVAL_S)
    posted = [record for request in bench.server.requests for record in records_of(request)]
    assert [time for time, _ in posted] == sorted(bench.wanted)
    for time, meters in posted:
        assert [meter["energy_import_wh"] for meter in meters] == bench.wanted[time]
        assert [(meter["slot"], meter["meter"], meter["active_power_w"]) for meter in meters] == [
            (0, "main", 100), (1, "east wing", 200),
        ]  # fmt: skip
    request = bench.server.requests[0]
    document = json.loads(request.body)
    assert (document["serial"], document["name"]) == ("0242ac110002", "gateway")
    assert (request.method, request.target, request.fields["host"]) == ("POST", "/in", HOST)
    assert request.fields["content-type"] == "application/json"


def test_the_line_protocol_has_a_line_for_each_meter(make):
    bench = make(format="influx", url=f"http://{HOST}:8086/write?db=energy")
    bench.run(2 * INTERVAL_S)
    request = bench.server.requests[0]
    assert request.target == "/write?db=energy&precision=s"
    assert request.fields["host"] == HOST + ":8086"
    lines = [read_line(line) for line in request.body.splitlines()]
    time = min(bench.wanted)
    assert lines == [
        (
            b"meterport", {b"gw": b"0242ac110002", b"meter": name},
            {b"energy_import_wh": b"%di" % energy, b"active_power_w": power}, time,
        )
        for name, energy, power in zip((b"main", b"east wing"), bench.wanted[time], (b"100", b"200"), strict=True)
    ]  # fmt: skip
    assert [parse_line(line) for line in request.body.decode().splitlines()] == [
        {
            "measurement": "meterport", "tags": {"gw": "0242ac110002", "meter": name},
            "fields": {"energy_import_wh": energy, "active_power_w": power}, "time": time,
        }
        for name, energy, power in zip(("main", "east wing"), bench.wanted[time], (100, 200), strict=True)
    ]  # fmt: skip


def test_csv_has_a_column_for_each_series(make):
    bench = make(format="csv")
    bench.run(2 * INTERVAL_S)
    head, row = csv.reader(io.StringIO(bench.server.requests[0].body.decode()))
    assert head == [
        "time", "main energy_import_wh", "main active_power_w", "east wing energy_import_wh",
        "east wing active_power_w",
    ]  # fmt: skip
    energies = bench.wanted[min(bench.wanted)]
    assert row == ["2027-01-15T12:00:00Z", str(energies[0]), "100", str(energies[1]), "200"]


def test_emoncms_has_a_node_for_each_meter_and_wants_ok(make):
    answers = [(200, b"ok"), (200, b"Invalid API key"), (200, b'"ok"\n')]
    bench = make(lambda request: answers[min(len(bench.server.requests) - 1, 2)], format="emoncms",
                 auth="bearer", password="f00d", url="http://emoncms.example/input/bulk")  # fmt: skip
    bench.run(2 * INTERVAL_S)
    request = bench.server.requests[0]
    assert request.fields["authorization"] == "Bearer f00d"
    form = urllib.parse.parse_qs(request.body.decode(), strict_parsing=True)
    assert form["time"] == ["0"]
    time = min(bench.wanted)
    assert json.loads(form["data"][0]) == [
        [time, "main", {"energy_import_wh": bench.wanted[time][0], "active_power_w": 100}],
        [time, "east wing", {"energy_import_wh": bench.wanted[time][1], "active_power_w": 200}],
    ]
    assert bench.posting.status()["state"] == "waiting"
    bench.run(INTERVAL_S)
    assert bench.posting.failures == 1
    assert bench.server.requests[1].body == bench.server.requests[2].body
    assert bench.posting.error is None


class AcquiSuiteReceiver:
    """Refuses what real ones refuse: a wrong mode or size, a file that is not gzip, lines that are no log lines."""

    def __init__(self):
        self.rows = {}  # (device, time): values
        self.fails = 0

    def __call__(self, request):
        head = b"Content-Type: " + request.fields["content-type"].encode() + b"\r\n\r\n"
        parts = list(email.message_from_bytes(head + request.body, policy=email.policy.HTTP).iter_parts())
        fields = {}
        for part in parts[:-1]:
            fields[part.get_param("name", header="content-disposition")] = part.get_payload(decode=True).decode()
        file = parts[-1]
        boundary = request.fields["content-type"].partition("boundary=")[2].encode()
        data = request.body.partition(b"x-gzip\r\n\r\n")[2].rpartition(b"\r\n--" + boundary)[0]
        if fields["MODE"] != "LOGFILEUPLOAD" or not file.get_filename().endswith(".log.gz"):
            return 406, b"FAILURE: mode\n"
        if int(fields["FILESIZE"]) != len(data):
            return 406, b"FAILURE: size\n"
        if self.fails:
            self.fails -= 1
            return 200, b"<pre>\nFAILURE: database\n"
        for line in gzip.decompress(data).decode().splitlines():
            time, error, low, high, *values = line.split(",")
            assert time[0] == time[-1] == "'"
            assert (low, high) == ("0", "0")
            self.rows[int(fields["MODBUSDEVICE"]), time[1:-1]] = int(error), values
        self.fields = fields
        return 200, b"<pre>\nSUCCESS\n</pre>"


def test_acquisuite_uploads_a_log_file_of_each_meter(make):
    receiver = AcquiSuiteReceiver()
    bench = make(receiver, format="acquisuite", user="0242ac110002", password="secret", auth="basic")
    bench.meters[1].quality = 9
    bench.run(2 * INTERVAL_S)
    energy = bench.wanted[NOON][0]
    assert receiver.rows == {
        (1, "2027-01-15 12:00:00"): (0, [str(energy), "100"]),
        (2, "2027-01-15 12:00:00"): (139, ["", ""]),
    }
    assert receiver.fields["SERIALNUMBER"] == "0242ac110002"
    assert (receiver.fields["USERNAME"], receiver.fields["PASSWORD"]) == ("0242ac110002", "secret")
    assert bench.server.requests[0].fields["authorization"].startswith("Basic ")


def test_an_upload_without_the_line_success_is_sent_again(make):
    receiver = AcquiSuiteReceiver()
    receiver.fails = 3
    bench = make(receiver, format="acquisuite")
    bench.take(100)
    bench.run(2 * INTERVAL_S)
    assert bench.posting.failures == 3
    assert len(receiver.rows) == 2 * len(bench.wanted)
    assert bench.posting.status()["waiting"] == 0


def test_a_long_log_file_is_gzip_of_stored_blocks(make):
    receiver = AcquiSuiteReceiver()
    bench = make(receiver, format="acquisuite", meters=3)
    bench.take(600)
    bench.run(INTERVAL_S)
    assert {row[0] for row in receiver.rows} == {1, 2, 3}
    assert len(receiver.rows) == 3 * len(bench.wanted)
    assert max(len(request.body) for request in bench.server.requests) > 10 * 1024
    assert bench.client.largest <= 2048


def test_a_day_is_put_as_one_file_that_grows(make):
    bench = make(format="daily_csv", url="http://files.example/$serial/$date.csv?sig=$$", unix_s=NOON + 12 * 3600 - 900)
    bench.run(6 * INTERVAL_S)
    files = {}
    for request in bench.server.requests:
        assert request.method == "PUT"
        files[request.target] = list(csv.reader(io.StringIO(request.body.decode())))
    days = {}
    for time in bench.wanted:
        days.setdefault("16" if time >= NOON + 12 * 3600 else "15", []).append(time)
    assert set(files) == {f"/0242ac110002/2027-01-{day}.csv?sig=$$" for day in days}
    for target, rows in files.items():
        assert len(rows) == 1 + len(days[target.partition(".csv")[0][-2:]]), target


def test_the_users_template_is_posted_once_for_each_record(make):
    template = '{"at":"$iso",\n"m":[$[{"$slot":"$meter","wh":$energy_import_wh,"v":$voltage}$,$]]}'
    bench = make(format="template", template=template)
    bench.take(2)
    bench.run(INTERVAL_S)
    assert len(bench.server.requests) == len(bench.wanted)
    document = json.loads(bench.server.requests[0].body)
    energies = bench.wanted[min(bench.wanted)]
    assert document == {
        "at": "2027-01-15T12:00:00Z",
        "m": [{"0": "main", "wh": energies[0], "v": None}, {"1": "east wing", "wh": energies[1], "v": None}],
    }


def test_the_template_that_comes_with_the_firmware_is_json(make):
    bench = make(format="template")
    bench.run(2 * INTERVAL_S)
    document = json.loads(bench.server.requests[0].body)
    assert [meter["meter"] for meter in document["meters"]] == ["main", "east wing"]
    assert bench.server.requests[0].fields["content-type"] == "application/json"


@pytest.mark.parametrize("name", ["json", "csv", "influx", "emoncms", "template"])
def test_what_is_unknown_is_missing_and_never_zero(make, name):
    bench = make(lambda request: (200, b"ok"), format=name)
    bench.meters[0].quality = 9
    bench.run(2 * INTERVAL_S)
    body = bench.server.requests[0].body.decode()
    assert str(bench.wanted[min(bench.wanted)][1]) in urllib.parse.unquote(body)
    if name == "json":
        assert json.loads(body)["records"][0]["meters"][0] == {"slot": 0, "meter": "main"}
    elif name == "csv":
        assert body.splitlines()[1].split(",")[1:3] == ["", ""]
    elif name == "template":
        assert json.loads(body)["meters"][0] == {"meter": "main", "energy_import_wh": None, "active_power_w": None}
    else:
        assert "main" not in body


@pytest.mark.parametrize("name", ["influx", "emoncms"])
def test_records_that_say_nothing_are_passed_over(make, name):
    bench = make(lambda request: (200, b"ok"), format=name)
    for meter in bench.meters:
        meter.quality = 9
    bench.take(5)
    bench.run(INTERVAL_S)
    assert bench.server.requests == []
    assert bench.posting.status()["waiting"] == 0
    assert bench.posting.status()["lost"] == 0


def test_fields_of_the_users_own_come_with_every_request(make):
    headers = "X-Site: a: b\nContent-Type: text/x-own\n"
    bench = make(headers=headers, auth="field", user="X-Api-Key", password="k")
    bench.run(2 * INTERVAL_S)
    fields = bench.server.requests[0].fields
    assert (fields["x-site"], fields["content-type"], fields["x-api-key"]) == ("a: b", "text/x-own", "k")


def test_token_is_that_of_influxdb(make):
    bench = make(auth="token", password="abc==")
    bench.run(2 * INTERVAL_S)
    assert bench.server.requests[0].fields["authorization"] == "Token abc=="


# When


def test_records_are_posted_each_interval_at_an_offset_of_the_device_s_own(make):
    bench = make()
    at = []
    bench.server.answer = lambda request: at.append(bench.time.unix_s()) or 204
    bench.run(5 * INTERVAL_S)
    offset = bench.posting._offset_s
    assert 0 < offset < INTERVAL_S
    assert [time % INTERVAL_S for time in at] == [offset] * len(at)
    assert len(at) >= 4
    # The newest record is there as soon as its interval has ended, not when it is committed to flash.
    assert bench.recorder.segments.next_record == 0
    assert times(bench)[-1] == at[-1] // INTERVAL_S * INTERVAL_S - INTERVAL_S


def test_nothing_is_posted_before_the_time_is_known_and_then_everything(make):
    bench = make(unix_s=None)
    bench.run(4 * INTERVAL_S)
    assert bench.posting.status()["state"] == "no_time"
    assert bench.client.opened == []
    bench.set_time(NOON)
    bench.run(3 * INTERVAL_S)
    assert bench.posting.error is None
    assert len(times(bench)) == bench.recorder.taken
    assert len(set(times(bench))) == bench.recorder.taken


def test_records_of_a_boot_that_never_knew_the_time_are_counted(make):
    bench = make(unix_s=None, commit_s=300)
    bench.run(3 * INTERVAL_S)
    written = bench.recorder.segments.next_record
    assert written > 0
    bench.start()
    bench.set_time(NOON)
    bench.run(4 * INTERVAL_S)
    assert bench.posting.status()["undated"] == written
    assert bench.posting.status()["lost"] == 0
    assert times(bench)


def test_without_network_nothing_is_tried(make):
    bench = make()
    bench.is_up = False
    bench.run(3 * INTERVAL_S)
    assert bench.posting.status()["state"] == "no_link"
    assert bench.client.opened == []
    bench.is_up = True
    bench.run(2 * INTERVAL_S)
    assert bench.posting.status()["waiting"] == 0


def test_post_now_does_not_wait_for_the_next_time(make):
    bench = make()
    bench.take(1)
    bench.take(1)

    async def ask():
        bench.posting.post_now()

    bench.posting._due_s = bench.time.uptime_s() + 3000
    bench.run(20, ask)
    assert len(bench.server.requests) == 1
    assert bench.posting.status()["waiting"] == 0


# What becomes of a batch


def test_a_backlog_is_posted_oldest_first_in_bounded_bodies_over_one_connection(make):
    bench = make(meters=8)
    bench.take(2000)
    bench.run(INTERVAL_S)
    assert times(bench) == sorted(bench.wanted)
    assert max(len(request.body) for request in bench.server.requests) < 40_000
    assert len(bench.server.requests) > 10
    assert bench.server.connects == 1
    assert bench.client.largest < 2048


def test_between_two_batches_the_turn_at_tls_is_given_to_who_waits_and_nothing_is_lost(make):
    bench = make(meters=8)
    bench.posting.tls = SimpleNamespace(is_wanted=lambda: len(bench.server.requests) in (2, 4), longest_stall_ms=0)
    bench.take(2000)
    bench.run(INTERVAL_S)
    assert times(bench) == sorted(bench.wanted)
    assert bench.server.connects == 3
    assert bench.posting.failures == 0


def test_a_connection_that_the_server_closed_meanwhile_is_opened_again(make):
    bench = make(meters=8)
    bench.server.closes = True
    bench.take(500)
    bench.run(INTERVAL_S)
    assert times(bench) == sorted(bench.wanted)
    assert bench.posting.failures == 0
    assert bench.server.connects == len(bench.server.requests) > 2


@pytest.mark.parametrize("status", [400, 422])
def test_the_one_record_that_is_refused_is_set_aside_and_the_rest_goes_on(make, status):
    bench = make()
    bench.take(100)
    wrong = sorted(bench.wanted)[37]
    delivered = set()

    def answer(request):
        posted = [time for time, _ in records_of(request)]
        if wrong in posted:
            return status, b'{"error":"partial write"}'
        delivered.update(posted)
        return 204

    bench.server.answer = answer
    bench.run(INTERVAL_S)
    state = bench.posting.status()
    assert delivered == set(bench.wanted) - {wrong}
    assert (state["set_aside"], state["lost"], state["waiting"], state["state"]) == (1, 0, 0, "waiting")
    assert len(bench.server.requests) < 20
    assert bench.posting.details()["refused"] == [
        {"unix_s": wrong, "status": status, "answer": '{"error":"partial write"}'}
    ]
    assert any(f"record of {wrong} set aside: {status} " in text for text in bench.log.texts())


def test_a_server_that_refuses_every_record_does_not_get_them_all(make):
    bench = make(lambda request: (400, b"no such field"))
    bench.take(200)
    bench.run(INTERVAL_S)
    state = bench.posting.status()
    assert (state["set_aside"], state["state"]) == (10, "refused")
    assert state["waiting"] >= 190
    bench.run(3600)
    assert [one["unix_s"] for one in bench.posting.details()["refused"]] == sorted(bench.wanted)[:15][
        bench.posting.status()["set_aside"] - 5 : bench.posting.status()["set_aside"]
    ]
    assert 12 <= bench.posting.status()["set_aside"] <= 15
    bench.server.answer = lambda request: 204
    bench.run(QUARTER_S + 60)
    assert bench.posting.status()["waiting"] <= 1


def test_a_body_that_is_too_large_makes_all_later_ones_smaller(make):
    bench = make(lambda request: 413 if len(request.body) > 3000 else 204)
    bench.take(200)
    bench.run(INTERVAL_S)
    assert sorted(set(times(bench))) == sorted(bench.wanted)
    too_large = [request for request in bench.server.requests if len(request.body) > 3000]
    assert len(too_large) < 8
    assert too_large == bench.server.requests[: len(too_large)]
    assert bench.posting.status()["set_aside"] == 0


@pytest.mark.parametrize("status", [301, 401, 403, 404, 405])
def test_a_server_that_wants_something_else_is_asked_each_quarter_of_an_hour(make, status):
    bench = make(lambda request: (status, b"no"))
    bench.take(10)
    bench.run(3600)
    state = bench.posting.status()
    assert (state["state"], state["error"]) == ("refused", f"{HOST}: {status}")
    assert 3 <= len(bench.server.requests) <= 5
    assert state["waiting"] >= 20
    assert (state["set_aside"], state["lost"], state["delivered"]) == (0, 0, 0)
    bench.server.answer = lambda request: 204
    bench.run(1000)
    assert bench.posting.status()["waiting"] <= 1
    assert len([text for text in bench.log.texts() if text == f"{HOST}: {status}"]) == 1
    assert f"{HOST} takes records again" in bench.log.texts()


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(make, status):
    at = []
    bench = make(lambda request: at.append(bench.time.unix_s()) or (status, b"", "Retry-After: 77\r\n"))
    bench.run(1000)
    steps = [b - a for a, b in zip(at, at[1:], strict=False)]
    assert len(steps) >= 5
    assert set(steps) <= {77, 78}


def test_without_an_answer_attempts_become_rare(make):
    bench = make()
    bench.server.is_down = True
    at = []
    connect = bench.client.connect

    async def watched(*args):
        at.append(bench.time.unix_s())
        await connect(*args)

    bench.client.connect = watched
    bench.run(3 * 3600)
    steps = [b - a for a, b in zip(at, at[1:], strict=False)]
    assert [round(step, -1) for step in steps[:7]] == [10, 20, 40, 80, 160, 320, 640]
    assert set(steps[7:]) <= {900, 901}
    bench.posting._random_bytes = lambda n: b"\xff" * n
    assert 450 <= bench.posting._wait_s() < 460
    bench.server.is_down = False
    bench.run(1000)
    assert set(times(bench)) >= set(sorted(bench.wanted)[:-1])
    assert bench.posting._back_off_s == 10


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", b"", b"\xff" * 3000]
)
def test_what_is_no_answer_delivers_nothing(make, answer):
    bench = make(lambda request: answer)
    bench.run(3 * INTERVAL_S)
    state = bench.posting.status()
    assert (state["state"], state["delivered"]) == ("retrying", 0)
    assert state["waiting"] == bench.recorder.taken


# The durable cursor


def test_a_planned_restart_posts_nothing_twice(make):
    bench = make()
    bench.run(7 * INTERVAL_S)
    bench.recorder.commit()
    bench.posting.close()
    bench.start()
    bench.run(5 * INTERVAL_S)
    assert len(times(bench)) == len(set(times(bench)))
    assert sorted(set(times(bench)) | {max(bench.wanted)}) == sorted(bench.wanted)


def test_after_a_power_cut_records_with_numbers_that_are_given_again_are_posted(make):
    bench = make()
    bench.run(5 * INTERVAL_S)
    bench.posting.keep()  # all of it is delivered, and none of it on flash yet
    assert bench.recorder.segments.next_record == 0
    bench.start()
    bench.wanted.clear()
    bench.run(5 * INTERVAL_S)
    assert set(bench.wanted) - {max(bench.wanted)} <= set(times(bench))


def test_the_cursor_is_written_seldom_and_while_the_buses_rest(make, monkeypatch):
    bench = make(commit_s=300)
    saves = []
    monkeypatch.setattr(bench.posting.records, "keep", lambda: saves.append(bench.buses.paused))
    bench.run(3600)
    assert 4 <= len(saves) <= 6
    assert set(saves) == {True}


def test_buses_that_never_rest_are_not_kept_waiting(make):
    bench = make(commit_s=300)
    bench.run(900)
    bench.buses.is_late = True
    bench.run(3600)
    assert bench.buses.resumed > 0


def test_what_was_removed_for_want_of_room_is_counted(make):
    bench = make(meters=20, limit_bytes=3 * 16384)
    bench.server.is_down = True
    rng = random.Random(1)
    for _ in range(2500):
        for meter in bench.meters:
            meter.power_w = float(rng.randrange(9000))
            meter.energy_wh += rng.randrange(5000)
        bench.take(1)
    bench.server.is_down = False
    bench.run(2 * INTERVAL_S)
    state = bench.posting.status()
    assert state["lost"] == bench.recorder.segments.removed > 0
    assert state["delivered"] + state["lost"] == bench.recorder.next_record
    assert times(bench) == sorted(bench.wanted)[state["lost"] :]


def test_a_history_that_was_removed_is_begun_anew(make, tmp_path):
    bench = make(commit_s=300)
    bench.run(7 * INTERVAL_S)
    bench.recorder.commit()
    bench.posting.close()
    for path in (tmp_path / "history").iterdir():
        path.unlink()
    bench.start()
    bench.server.requests.clear()
    bench.wanted.clear()
    bench.run(3 * INTERVAL_S)
    assert set(times(bench)) >= set(sorted(bench.wanted)[:-1])


# Without records


def test_without_records_the_present_readings_are_posted(make):
    bench = make(is_flash=False)
    bench.run(3 * INTERVAL_S)
    assert any("history.flash is off" in text for text in bench.log.texts())
    assert len(bench.server.requests) >= 2
    posted = [records_of(request) for request in bench.server.requests]
    assert all(len(records) == 1 and records[0][0] % INTERVAL_S == 0 for records in posted)
    energies = [records[0][1][0]["energy_import_wh"] for records in posted]
    assert energies == sorted(set(energies))


def test_without_records_nothing_is_kept_while_the_server_is_away(make):
    bench = make(is_flash=False)
    bench.server.is_down = True
    bench.run(3 * INTERVAL_S)
    assert bench.posting.status()["state"] == "retrying"
    bench.server.is_down = False
    bench.run(3 * INTERVAL_S)
    first = records_of(bench.server.requests[0])
    assert first[0][0] >= NOON + 3 * INTERVAL_S - INTERVAL_S
    assert len(first) == 1


def test_a_meter_that_is_silent_is_missing_from_present_readings(make):
    bench = make(is_flash=False)
    bench.meters[0].quality = 9
    bench.run(2 * INTERVAL_S)
    assert records_of(bench.server.requests[0])[0][1][0] == {"slot": 0, "meter": "main"}


def test_a_lack_of_memory_is_a_post_that_failed_and_loses_nothing(make):
    bench = make()
    lacks = [True, True]
    send = bench.client.send

    async def send_or_fail(*args):
        if lacks:
            lacks.pop()
            raise MemoryError
        return await send(*args)

    bench.client.send = send_or_fail
    bench.run(3 * INTERVAL_S)
    assert not lacks
    assert bench.posting.failures == 2
    assert "no memory for it now" in bench.log.texts()
    assert sorted(times(bench)) == sorted(bench.wanted)

"""The history by Sparkplug: what is in a message, that the cursor waits for the broker, and what becomes of it all
while the primary host or a meter is away."""

import random

import mqtt
import pytest
from pysparkplug._protobuf import Payload

from firmware.history.segments import SEGMENT_BYTES
from firmware.meters.meter import ONLINE, QUARANTINED, UNKNOWN
from firmware.meters.profile import pack_names
from host_tests.unit import history_bench, mqtt_bench, test_mqtt_history
from host_tests.unit.history_bench import NOON

STATE = b"spBv1.0/STATE/scada"
ENERGY, POWER = 32, 16
INT64, FLOAT = 4, 9


class Profile(mqtt_bench.FakeProfile):
    names = pack_names(["energy_import", "active_power"])
    numbers = bytes((ENERGY, POWER))
    units = (7, 3)
    counters = (0,)

    def index_of(self, number):
        return self.numbers.find(bytes((number,)))


class Broker(mqtt_bench.FakeClient):
    """Answers the ping of that number in the connection as `answer(number)` says: "pong", "nothing", "close". What came
    behind the last ping that it has answered may be lost: the test takes it as lost.

    heard: [(kind, device, Payload)] of all connections; kept: the same of what it has for certain; deaths: payloads of
    NDEATH that were published; connects: how often."""

    def __init__(self, bench, answer):
        super().__init__(bench)
        self.answer = answer
        self.heard, self.kept, self.subscribed = [], [], []
        self.connects = []
        self.state = None  # retained

    async def connect(self, *args, **options):
        await super().connect(*args, **options)
        self.incoming = [mqtt_bench.CONNACK]
        self.reader = mqtt.Reader(1 << 16)
        self.pings = 0
        self.certain = len(self.heard)

    def say(self, online, timestamp):
        self.state = b'{"online": %s, "timestamp": %d}' % (b"true" if online else b"false", timestamp)
        if STATE in self.subscribed:
            self.incoming.append(mqtt.publish(STATE, self.state, False, 9))

    async def send(self, buf, n, timeout_ms=0):
        data = memoryview(bytes(buf[:n]))
        while len(data):
            used = self.reader.next(data)
            data = data[abs(used) :]
            if used > 0:
                self.take(self.reader.kind, self.reader.flags, self.reader.body)

    def take(self, kind, flags, body):
        size = (body[0] << 8 | body[1]) if len(body) > 1 else 0
        topic, rest = body[2 : 2 + size], body[2 + size :]
        if kind == 1:
            self.connects.append(body)
            self.subscribed = []
        elif kind == 8:
            size = body[2] << 8 | body[3]
            self.subscribed.append(body[4 : 4 + size])
            if self.subscribed[-1] == STATE and self.state:
                self.incoming.append(mqtt.publish(STATE, self.state, True, 9))
        elif kind == mqtt.PUBLISH:
            assert flags == 0  # QoS 0, not retained: Sparkplug has no other
            _, group, word, node, *device = topic.decode().split("/")
            assert (group, node) == ("meterport", "hall")
            self.heard.append((word, "".join(device), Payload.FromString(rest)))
        elif kind == 12:
            self.pings += 1
            answer = self.answer(self.pings)
            if answer == "pong":
                self.incoming.append(b"\xd0\x00")
                self.kept += self.heard[self.certain :]
                self.certain = len(self.heard)
            elif answer == "close":
                self.incoming.append(b"")


@pytest.fixture
def make(tmp_path, monkeypatch):
    """make(answer, records, **options): a recorder with that many records, and the service with a Broker. `boot`: what
    happened before, with the recorder of options `flash`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(history_bench.Meter, "profile", Profile())

    def begin(answer=lambda number: "pong", records=60, boot=lambda rig: None, flash=None, **options):
        rig = test_mqtt_history.Rig(tmp_path, **(flash or {}))
        for meter in rig.meters:
            meter.state, meter.profile_name = ONLINE, "kind"
            meter.block_of, meter.blocks = (0, 0), (mqtt_bench.SimpleNamespace(raw=b""),)
            meter.ratios = meter.held = None
        boot(rig)
        rig.take(records)
        bench = mqtt_bench.Bench(
            monkeypatch, history=rig.recorder, client=lambda bench: Broker(bench, answer),
            **{"meters": rig.meters, "payload": "sparkplug", "interval_s": 3600, "seconds": 20, **options},
        )  # fmt: skip
        bench.rig = rig
        bench.readings.values = {0: 99_000_000_001, 1: 1234.5}
        return bench

    return begin


def values(heard):
    """{(meter, unix time): {energy or power: value}} of the historical metrics, none of which comes twice in it."""
    found = {}
    for kind, device, payload in heard:
        for metric in payload.metrics:
            if metric.is_historical:
                assert kind == "DDATA"
                assert not metric.HasField("name")
                assert metric.timestamp % 1000 == 0
                number = metric.alias & 255
                assert metric.datatype == (INT64 if number == ENERGY else FLOAT)
                row = found.setdefault((device.encode(), metric.timestamp // 1000), {})
                value = metric.long_value if number == ENERGY else metric.float_value
                assert row.setdefault(number, value) == value
    return found


def wanted(bench):
    return {key: int(fields[b"energy_import_wh"].rstrip(b"i")) for key, fields in bench.rig.wanted.items()}


def energies(heard):
    return {key: row[ENERGY] for key, row in values(heard).items()}


def check_sessions(heard):
    """From each NBIRTH on numbers follow each other, and a device has data only between its birth and its death."""
    expected, alive = None, set()
    for kind, device, payload in heard:
        if kind == "NDEATH":
            continue
        expected = 0 if kind == "NBIRTH" else (expected + 1) % 256
        assert payload.seq == expected
        if kind == "NBIRTH":
            alive = set()
        elif kind == "DBIRTH":
            alive.add(device)
        elif kind == "DDEATH":
            alive.remove(device)
        elif kind == "DDATA":
            assert device in alive


def status(bench):
    found = bench.service.status()
    return tuple(found[key] for key in ("waiting", "delivered", "lost", "undated"))


def test_each_record_arrives_as_historical_values_with_its_time_and_follows_the_births(make):
    bench = make()
    bench.live()
    heard = bench.client.heard
    assert energies(heard) == wanted(bench)
    assert {row[POWER] for key, row in values(heard).items() if key[0] == b"main"} == {100.0}
    assert [kind for kind, _, _ in heard[:4]] == ["NBIRTH", "DBIRTH", "DBIRTH", "NDATA"]
    check_sessions(heard)
    assert status(bench) == (0, 60, 0, 0)
    assert all(connect[7] & 0x02 for connect in bench.client.connects)  # a clean session
    times = [payload.metrics[0].timestamp for kind, _, payload in heard if kind == "DDATA"]
    assert times == sorted(times)


def test_a_batch_is_bounded_and_the_cursor_moves_with_the_answer_to_its_ping(make):
    bench = make(lambda number: "pong" if number < 3 else "nothing", records=500, seconds=5)
    bench.live()
    waiting, delivered, _, _ = status(bench)
    assert 0 < delivered < 300
    assert waiting == 500 - delivered
    kept = energies(bench.client.kept)
    assert len(kept) == 2 * delivered
    assert len(energies(bench.client.heard)) > len(kept)  # the third is on its way
    sizes = [payload.ByteSize() for kind, _, payload in bench.client.heard if kind == "DDATA"]
    assert sum(sizes) < 3 * (4096 + 1024)


def test_an_unanswered_ping_ends_the_connection_and_the_batch_comes_again(make):
    seen = []
    bench = make(lambda number: "nothing" if len(seen) < 1 and not seen.append(number) else "pong", seconds=60)
    bench.live()
    assert len(bench.client.connects) == 2
    assert energies(bench.client.kept) == wanted(bench)
    check_sessions(bench.client.heard)
    assert status(bench) == (0, 60, 0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_every_record_arrives_whatever_becomes_of_connections(make, seed):
    rng = random.Random(seed)
    answers = [rng.choice(("pong", "pong", "nothing", "close")) for _ in range(12)]
    bench = make(lambda number: answers.pop() if answers else "pong", records=400, seconds=4000)
    bench.live()
    assert energies(bench.client.kept) == wanted(bench)
    assert status(bench) == (0, 400, 0, 0)
    check_sessions(bench.client.heard)


def test_a_record_that_is_taken_later_follows_and_nothing_is_read_meanwhile(make):
    bench = make(records=3, seconds=40)
    opened = []
    whole = bench.service.history.records.open
    bench.service.history.records.open = lambda number: opened.append(number) or whole(number)
    bench.at[30] = lambda: bench.rig.take(1)
    bench.live()
    assert energies(bench.client.kept) == wanted(bench)
    assert opened == [0, 3]


def test_records_of_a_boot_that_never_knew_the_time_are_counted(make):
    def boot(rig):
        rig.take(20)
        rig.recorder.commit()
        rig.restart(NOON)

    bench = make(boot=boot, flash={"unix_s": None}, records=100)
    bench.live()
    assert energies(bench.client.kept) == wanted(bench)
    assert status(bench) == (0, 100, 0, 20)


def test_what_was_removed_for_want_of_room_is_counted(make):
    bench = make(records=9000, flash={"limit_bytes": 3 * SEGMENT_BYTES}, seconds=600)
    bench.live()
    waiting, delivered, lost, _ = status(bench)
    assert (waiting, delivered + lost) == (0, 9000)
    assert 0 < lost < 9000
    assert len(energies(bench.client.kept)) == 2 * delivered
    assert energies(bench.client.kept).items() <= wanted(bench).items()


def test_a_meter_that_has_gone_is_born_for_its_past_and_dies_after_it(make):
    bench = make(records=300)
    bench.rig.meters[0].state = QUARANTINED
    bench.live()
    heard = bench.client.heard
    assert energies(heard) == wanted(bench)
    check_sessions(heard)
    of_main = [kind for kind, device, _ in heard if device == "main"]
    assert (of_main.count("DBIRTH"), of_main.count("DDEATH")) == (1, 1)
    assert of_main[0] == "DBIRTH"
    assert of_main[-1] == "DDEATH"
    assert [payload.metrics[0].int_value for kind, _, payload in heard if kind == "NDATA"] == [1]


def test_a_meter_that_was_revived_for_its_past_is_born_anew_when_it_is_back(make):
    bench = make(records=5, seconds=30)
    bench.rig.meters[0].state = UNKNOWN
    bench.at[10] = lambda: setattr(bench.rig.meters[0], "state", ONLINE)
    bench.live()
    of_main = [kind for kind, device, _ in bench.client.heard if device == "main" and kind != "DDATA"]
    assert of_main == ["DBIRTH", "DDEATH", "DBIRTH"]
    check_sessions(bench.client.heard)


# -- the primary host


def test_nothing_is_told_before_the_primary_host_is_online(make):
    bench = make(primary_host="scada", seconds=60)
    seen = []
    bench.at[10] = lambda: seen.append((bench.service.state, len(bench.client.heard)))
    bench.at[20] = lambda: bench.client.say(False, 100)
    bench.at[30] = lambda: seen.append((bench.service.state, len(bench.client.heard)))
    bench.at[40] = lambda: bench.client.say(True, 100)
    bench.live()
    assert seen == [("no_host", 0), ("no_host", 0)]
    assert bench.service.state == "connected"
    assert energies(bench.client.kept) == wanted(bench)
    assert len(bench.client.connects) == 1
    assert bench.client.subscribed == [b"spBv1.0/meterport/NCMD/hall", STATE]
    assert bench.log.texts()[-1] == "the primary host is online"


def test_a_primary_host_that_goes_ends_the_session_and_what_was_taken_meanwhile_follows(make):
    bench = make(primary_host="scada", records=10, seconds=120)
    bench.at[2] = lambda: bench.client.say(True, 1000)
    bench.at[20] = lambda: bench.client.say(False, 1000)
    bench.at[30] = lambda: bench.rig.take(40)
    counts = []
    bench.at[60] = lambda: counts.append((len(bench.client.heard), bench.service.state, status(bench)))
    bench.at[80] = lambda: bench.client.say(True, 2000)
    bench.live()
    [(count, state, at_60)] = counts
    assert state == "no_host"
    assert at_60 == (40, 10, 0, 0)
    assert bench.client.heard[count - 1][0] == "NDEATH"
    assert bench.client.heard[count][0] == "NBIRTH"
    assert len(bench.client.connects) == 2
    of_node = [payload for kind, _, payload in bench.client.heard if kind in ("NBIRTH", "NDEATH")]
    assert [payload.metrics[0].long_value for payload in of_node] == [0, 0, 1]
    assert energies(bench.client.kept) == wanted(bench)
    check_sessions(bench.client.heard)


def test_an_older_state_of_the_primary_host_counts_for_nothing(make):
    """As the will of a connection that it has replaced by another."""
    bench = make(primary_host="scada", seconds=60)
    bench.at[2] = lambda: bench.client.say(True, 2000)
    bench.at[20] = lambda: bench.client.say(False, 1000)
    others = b"OFFLINE", b"", b'{"online":false}', b'{"online":1,"timestamp":5000}', b'{"timestamp":5000}'
    for at_s, payload in enumerate(others, 25):
        bench.at[at_s] = lambda payload=payload: bench.client.incoming.append(mqtt.publish(STATE, payload))
    bench.live()
    assert len(bench.client.connects) == 1
    assert bench.service.state == "connected"


def test_without_a_primary_host_nobody_is_waited_for(make):
    bench = make(seconds=5)
    bench.live()
    assert bench.client.subscribed == [b"spBv1.0/meterport/NCMD/hall"]
    assert bench.service.state == "connected"

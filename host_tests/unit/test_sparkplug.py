"""The MQTT service with payloads of Sparkplug B, and a fake connection: pysparkplug's protobuf reads what it sends."""

from types import SimpleNamespace

import mqtt
import pytest
from pysparkplug._protobuf import Payload  # it has the properties, which pysparkplug's own classes leave out

from firmware.meters.meter import FAILING, ONLINE, QUARANTINED, UNKNOWN
from firmware.meters.profile import pack_names
from firmware.meters.readings import GOOD, QUALITIES
from firmware.services.mqtt.sparkplug import Sparkplug
from host_tests.unit.mqtt_bench import UNIX_MS, Bench, FakeClient, FakeProfile, FakeReadings
from host_tests.unit.test_mqtt import GATEWAY, answered, described

NODE = "hall"
NCMD = b"spBv1.0/meterport/NCMD/hall"
INT64, FLOAT = 4, 9
POWER, ENERGY = 0x210, 0x220  # aliases


class MovingReadings(FakeReadings):
    """Each value is one more each second."""

    def __init__(self, uptime):
        super().__init__()
        self.uptime = uptime

    def read(self, meter, i):
        value, age_s, quality = super().read(meter, i)
        return value + self.uptime.now, age_s, quality


@pytest.fixture
def make(monkeypatch, tmp_path):
    """make(is_moving, **options): a bench whose values move, or stand still."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()

    def begin(is_moving=False, **options):
        bench = Bench(monkeypatch, **({"payload": "sparkplug"} | options))
        if is_moving:
            bench.readings = bench.service._sparkplug._readings = MovingReadings(bench.uptime)
        return bench

    return begin


def read(messages):
    """[(kind and what follows the node, payload)]"""
    found = []
    for topic, payload in messages:
        space, group, kind, node, *device = topic.decode().split("/")
        assert (space, group, node) == ("spBv1.0", "meterport", NODE)
        found.append(("/".join([kind, *device]), Payload.FromString(payload)))
    return found


def kinds(found):
    return [kind for kind, _ in found]


def by_name(payload):
    return {metric.name: metric for metric in payload.metrics}


def quality(metric):
    values = dict(zip(metric.properties.keys, metric.properties.values, strict=True))
    return values["Quality"].int_value if "Quality" in values else None


def command(is_true=True, qos=0, name="Node Control/Rebirth", more=0):
    payload = Payload()
    payload.timestamp = UNIX_MS
    metric = payload.metrics.add()
    metric.name, metric.timestamp, metric.datatype, metric.boolean_value = name, UNIX_MS, 11, is_true
    payload.body = bytes(more)
    return mqtt.publish(NCMD, payload.SerializeToString(), False, 7 if qos else 0)


def receive(bench, at_s, packet):
    """The broker sends that packet then, in pieces as long as the service reads."""
    pieces = [packet[k : k + 200] for k in range(0, len(packet), 200)]
    bench.at[at_s] = lambda: bench.client.incoming.extend(pieces)


def test_a_connection_begins_with_a_will_a_subscription_and_births(make):
    bench = make(seconds=0)
    connect, subscribe, *births = bench.run()
    assert connect[2][7] == 0x0E  # a clean session, a will of QoS 1 that is not retained
    assert subscribe == (8, 2, mqtt.subscribe(1, NCMD, 1)[2:])
    assert {flags for _, flags, _ in births} == {0}
    [topic, will] = [b"spBv1.0/meterport/NDEATH/hall", connect[2].partition(b"/NDEATH/hall")[2][2:]]
    assert topic in connect[2]
    death = Payload.FromString(will)
    assert [metric.name for metric in death.metrics] == ["bdSeq"]
    assert not death.HasField("seq")
    found = read(make(seconds=0).messages())
    assert kinds(found) == ["NBIRTH", "DBIRTH/ma_in", "NDATA"]
    assert [payload.seq for _, payload in found] == [0, 1, 2]
    assert {payload.timestamp for _, payload in found} == {death.timestamp} == {UNIX_MS}
    node = by_name(found[0][1])
    assert node["bdSeq"] == death.metrics[0]
    assert (node["bdSeq"].datatype, node["bdSeq"].long_value) == (INT64, 0)
    assert node["bdSeq"].WhichOneof("value") == "long_value"
    assert node["Node Control/Rebirth"].WhichOneof("value") == "boolean_value"
    assert not node["Node Control/Rebirth"].boolean_value
    assert not node["Node Control/Rebirth"].HasField("alias")
    assert node["serial_number"].string_value == "e661"
    [online] = found[2][1].metrics
    assert (online.alias, online.int_value) == (node["meters_online"].alias, 1)


def test_a_birth_has_name_alias_type_unit_and_value_of_each_point(make):
    points = by_name(read(make(seconds=0).messages())[1][1])
    power, energy = points["active_power"], points["energy_import"]
    assert (power.alias, power.datatype, power.float_value) == (POWER, FLOAT, 1234.5)
    assert (energy.alias, energy.datatype, energy.long_value) == (ENERGY, INT64, 99_000_000_001)
    for point, unit in ((power, "W"), (energy, "Wh")):
        assert list(point.properties.keys) == ["engUnit"]
        assert [(value.type, value.string_value) for value in point.properties.values] == [(12, unit)]
        assert point.timestamp == UNIX_MS


def test_values_follow_at_the_interval_by_their_aliases(make):
    found = read(make(seconds=7, is_moving=True).messages())
    assert kinds(found)[3:] == ["DDATA/ma_in"] * 3  # at 2, 4 and 6 s
    assert [payload.seq for _, payload in found] == [0, 1, 2, 3, 4, 5]
    assert [payload.timestamp - UNIX_MS for _, payload in found[3:]] == [2000, 4000, 6000]
    for metric in found[3][1].metrics:
        assert not metric.HasField("name") | metric.HasField("properties")
        assert metric.datatype == (INT64 if metric.alias == ENERGY else FLOAT)
    assert [metric.alias for metric in found[3][1].metrics] == [POWER, ENERGY]


def test_what_has_not_changed_is_not_sent_again(make):
    bench = make(seconds=12)
    bench.at[3] = lambda: bench.readings.values.update({0: 7.5})
    bench.at[7] = lambda: bench.readings.values.update({1: 99_000_000_002})
    found = read(bench.messages())[3:]
    assert [(kind, [metric.alias for metric in payload.metrics]) for kind, payload in found] == [
        ("DDATA/ma_in", [POWER]), ("DDATA/ma_in", [ENERGY]),
    ]  # fmt: skip
    assert [payload.timestamp - UNIX_MS for _, payload in found] == [4000, 8000]
    assert [payload.seq for _, payload in found] == [3, 4]
    assert found[1][1].metrics[0].long_value == 99_000_000_002


def test_a_value_that_gets_old_is_told_once_and_so_is_one_that_is_fresh_again(make):
    bench = make(seconds=16)
    for at_s, name in ((3, "stale"), (9, "good")):
        bench.at[at_s] = lambda name=name: setattr(bench.readings, "quality", QUALITIES.index(name))
    found = read(bench.messages())[3:]
    assert [payload.timestamp - UNIX_MS for _, payload in found] == [4000, 10000]
    old, fresh = (payload.metrics for _, payload in found)
    assert [quality(metric) for metric in old] == [500, 500]
    assert [metric.HasField("properties") for metric in fresh] == [False, False]


def test_data_after_a_rebirth_is_compared_with_the_birth(make):
    bench = make(seconds=14, interval_s=4)
    bench.at[5] = lambda: bench.readings.values.update({0: 7.5})
    receive(bench, 6, command())
    found = read(bench.messages())
    assert kinds(found) == ["NBIRTH", "DBIRTH/ma_in", "NDATA"] * 2
    assert by_name(found[4][1])["active_power"].float_value == 7.5


def test_sequence_numbers_go_from_255_to_0(make):
    found = read(make(seconds=300, interval_s=1, keep_alive_s=3600, is_moving=True).messages())
    assert [payload.seq for _, payload in found] == [k & 255 for k in range(len(found))]
    assert len(found) > 256


def test_each_connection_has_the_next_number_of_birth_and_death():
    clock = SimpleNamespace(unix_ms=lambda: UNIX_MS)
    sparkplug = Sparkplug(b"g", b"n", str.encode, "", clock, b"", None, None, None, None)
    numbers = [Payload.FromString(sparkplug.will()[1]).metrics[0].long_value for _ in range(258)]
    assert numbers == [*range(256), 0, 1]


@pytest.mark.parametrize("name", QUALITIES)
@pytest.mark.parametrize("value", [-2.5, None])
def test_what_is_not_fresh_says_so_and_what_has_no_value_is_null(make, name, value):
    born, told = make(seconds=0), make(seconds=2)
    told.at[1] = lambda: now_reads(told)

    def now_reads(bench):
        bench.readings.quality = QUALITIES.index(name)
        bench.readings.values = {0: value, 1: -2}

    now_reads(born)
    for payload in (read(born.messages())[1][1], read(told.messages())[3][1]):
        power, energy = payload.metrics
        assert power.is_null == (value is None)
        assert power.WhichOneof("value") == (None if value is None else "float_value")
        assert quality(power) == (0 if value is None else None if name == "good" else 500)
        assert quality(energy) == (None if name == "good" else 500)
        assert energy.long_value == 2**64 - 2  # in two's complement


def test_a_value_has_the_time_at_which_it_was_read(make):
    bench = make(seconds=0)
    bench.readings.of_block = lambda meter, block: (17, GOOD)
    found = read(bench.messages())
    assert {metric.timestamp for metric in found[1][1].metrics} == {UNIX_MS - 17_000}
    assert found[1][1].timestamp == UNIX_MS


def test_a_meter_that_goes_dies_and_is_born_again_when_it_is_back(make):
    bench = make(seconds=12, interval_s=1, is_moving=True)
    for at_s, state in ((2, FAILING), (4, QUARANTINED), (6, FAILING), (8, ONLINE)):
        bench.at[at_s] = lambda state=state: setattr(bench.meter, "state", state)
    found = read(bench.messages())
    data = "DDATA/ma_in"
    assert kinds(found)[:3] == ["NBIRTH", "DBIRTH/ma_in", "NDATA"]
    rest = kinds(found)[3:]
    death, birth = rest.index("DDEATH/ma_in"), rest.index("DBIRTH/ma_in")
    assert rest[:death] == [data] * 3  # while it is failing, too
    assert rest[death : birth + 2] == ["DDEATH/ma_in", "NDATA", "DBIRTH/ma_in", "NDATA"]
    assert set(rest[birth + 2 :]) == {data}
    assert [payload.metrics[0].int_value for kind, payload in found if kind == "NDATA"] == [1, 0, 1]
    dead = found[3 + death][1]
    assert (len(dead.metrics), dead.seq) == (0, 6)


def test_a_meter_that_was_never_there_is_not_born(make):
    bench = make(seconds=5)
    bench.meter.state = UNKNOWN
    assert kinds(read(bench.messages())) == ["NBIRTH"]


def test_births_come_again_when_a_host_asks_for_them(make):
    bench = make(seconds=8, interval_s=3600)
    receive(bench, 6, command())
    found = read(bench.messages())
    assert kinds(found) == ["NBIRTH", "DBIRTH/ma_in", "NDATA"] * 2
    assert [payload.seq for _, payload in found] == [0, 1, 2] * 2
    assert found[3][1].metrics[0].long_value == 0  # bdSeq: it is the same connection


def test_hosts_that_go_on_asking_get_births_each_five_seconds_and_no_values_meanwhile(make):
    bench = make(seconds=21, interval_s=1)
    for at_s in range(2, 20):
        receive(bench, at_s, command())
    times = [payload.timestamp - UNIX_MS for kind, payload in read(bench.messages()) if kind == "NBIRTH"]
    assert times == [0, 5000, 10000, 15000, 20000]


@pytest.mark.parametrize(
    ("packet", "is_born"),
    [
        (command(is_true=False), False),
        (command(name="Node Control/Reboot"), False),
        (mqtt.publish(NCMD, b"\xff\xff"), False),
        (mqtt.publish(NCMD, b""), False),
        (command(more=100), True),
        (command(is_true=False, more=2000), True),  # what was not kept may ask for it
    ],
)
def test_commands_that_ask_for_something_else_change_nothing(make, packet, is_born):
    bench = make(seconds=8, interval_s=3600)
    receive(bench, 6, packet)
    assert kinds(read(bench.messages())).count("NBIRTH") == 1 + is_born
    assert len(bench.attempts) == 1


def test_a_command_with_an_identifier_is_acknowledged(make):
    bench = make(seconds=8, interval_s=3600)
    receive(bench, 6, command(qos=1))
    packets = bench.run()
    assert [body for kind, _, body in packets if kind == mqtt.PUBACK] == [b"\x00\x07"]
    assert len([kind for kind, _, body in packets if b"/NBIRTH/" in body]) == 2


class LargeProfile(FakeProfile):
    """120 points, of which each second one counts."""

    names = pack_names([f"energy_or_power_of_channel_{i}" for i in range(120)])
    numbers = bytes(range(1, 121))
    units = (3, 7) * 60
    counters = tuple(range(1, 120, 2))

    def __len__(self):
        return 120


class ChangingClient(FakeClient):
    """The meter is read again, or fails, whenever the service waits."""

    async def send(self, buf, n, timeout_ms=0):
        await super().send(buf, n)
        readings = self.bench.readings
        readings.quality = (readings.quality + 1) % len(QUALITIES)
        readings.values = {i: None if i % 3 == 0 else 2**40 >> readings.quality for i in range(120)}


def test_a_message_of_many_points_is_sent_in_pieces_and_its_values_are_of_one_moment(make):
    bench = make(seconds=4, client=ChangingClient)
    bench.meter.profile = LargeProfile()
    bench.meter.point_id = lambda i: 2 << 8 | LargeProfile.numbers[i]
    bench.meter.block_of = (0,) * 120
    bench.readings.values = dict.fromkeys(range(120), 5)
    found = read(bench.messages())
    births = [payload for kind, payload in found if kind.startswith("DBIRTH")]
    data = [payload for kind, payload in found if kind.startswith("DDATA")]
    assert births[0].ByteSize() > 5000
    assert len(data) == 2
    assert data[0].ByteSize() > 1500
    for payload in births + data:
        assert len(payload.metrics) == (120 if payload in births else 80)  # a third stays without a value
        counted = {metric.long_value for metric in payload.metrics if metric.HasField("long_value")}
        assert len(counted) == 1
        assert len({quality(metric) for metric in payload.metrics if not metric.is_null}) == 1


def test_nothing_is_sent_before_the_time_is_known(make):
    bench = make(seconds=9)
    bench.clock.is_set = False
    states = []
    bench.at[4] = lambda: states.append(bench.service.state)
    bench.at[5] = lambda: setattr(bench.clock, "is_set", True)
    found = read(bench.messages())
    assert states == ["no_time"]
    assert found[0][1].timestamp == UNIX_MS + 5000


def test_home_assistant_is_not_told_anything(make):
    read(make(seconds=9, homeassistant=True).messages())


def test_home_assistant_loses_the_entities_when_the_payload_is_changed(make):
    found, _ = described(answered(make(payload="plain", homeassistant=True)))
    assert described(answered(make(homeassistant=True))) == (set(), found)
    assert GATEWAY in found
    assert described(answered(make(homeassistant=True))) == (set(), set())

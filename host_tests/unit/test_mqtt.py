"""The MQTT service with a fake connection: what it sends and when, and what it does with what comes."""

import functools
import json
from types import SimpleNamespace

import mqtt
import pysparkplug
import pytest

from firmware.config import store
from firmware.meters import profile_loader
from firmware.meters.meter import QUARANTINED, Meter
from firmware.meters.profile import pack_names
from firmware.meters.readings import QUALITIES
from firmware.services.mqtt import discovery
from firmware.services.mqtt.service import level
from host_tests.unit.mqtt_bench import CONNACK, ROOT, Bench, FakeClient, FakeProfile
from host_tests.unit.profile_rows import document, row


@pytest.fixture
def make(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return lambda **options: Bench(monkeypatch, **options)


def test_a_connection_begins_with_will_state_and_values(make):
    bench = make(seconds=0, user="gate", password="secret")
    packets = bench.run()
    assert packets[0][0] == 1
    assert packets[0][2] == mqtt.connect(b"meterport-e661", 60, b"gate", b"secret", ROOT + b"/status", b"offline")[2:]
    bench = make(seconds=0)
    assert bench.published() == [
        (ROOT + b"/status", b"online", True),
        (ROOT + b"/ma_in/status", b"online", True),
        (ROOT + b"/ma_in/active_power", b"1234.5", False),
        (ROOT + b"/ma_in/energy_import", b"99000000001", False),
    ]


@pytest.mark.parametrize("payload", ["plain", "sparkplug"])
def test_the_longest_connect_is_bounded(monkeypatch, tmp_path, payload):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    longest = {"user": 64, "password": 128, "prefix": 32}
    section = {key: "\U0001f50c" * most for key, most in longest.items()}
    bench = Bench(monkeypatch, seconds=0, name="\U0001f50c" * 32, payload=payload, **section)
    packets = bench.run()
    assert 1024 < len(packets[0][2]) + 3 <= 1200
    for _, _, body in packets[1:]:
        assert len(body) <= 1021


def test_values_come_at_the_interval_and_a_state_when_it_changes(make):
    bench = make(seconds=7)
    bench.at[3] = lambda: setattr(bench.meter, "state", QUARANTINED)
    published = bench.published()
    assert [topic for topic, _, _ in published].count(ROOT + b"/ma_in/active_power") == 4  # at 0, 2, 4 and 6 s
    assert [payload for topic, payload, _ in published if topic == ROOT + b"/ma_in/status"] == [b"online", b"offline"]


@pytest.mark.parametrize("quality", QUALITIES)
def test_only_fresh_and_held_values_are_published(make, quality):
    bench = make(seconds=0)
    bench.readings.quality = QUALITIES.index(quality)
    if quality == "held":
        bench.meter.held = {1: (98_000_000_000, 1)}
    found = {topic: payload for topic, payload, _ in bench.published()}
    wanted = {"good": b"99000000001", "held": b"98000000000"}
    assert found.get(ROOT + b"/ma_in/energy_import") == wanted.get(quality)


def test_a_quiet_connection_is_pinged_and_one_without_an_answer_is_given_up(make):
    bench = make(seconds=70, interval_s=3600, keep_alive_s=20)
    packets = bench.run()
    assert [kind for kind, _, _ in packets].count(12) >= 1  # PINGREQ
    assert "broker:1883: no answer to a ping" in bench.log.texts()
    assert len(bench.attempts) > 1
    answered = make(seconds=70, interval_s=3600, keep_alive_s=20)
    for at in range(1, 70):
        answered.at[at] = lambda: answered.client.incoming.append(b"\xd0\x00")
    assert [kind for kind, _, _ in answered.run()].count(12) >= 5
    assert len(answered.attempts) == 1


def test_a_broker_that_is_gone_is_noticed_while_values_go_out(make):
    bench = make(seconds=25, interval_s=1, keep_alive_s=20)
    bench.run()
    assert "broker:1883: no answer to a ping" in bench.log.texts()


def test_it_tries_again_for_ever_at_growing_times(make):
    bench = make(seconds=4000)
    bench.client.refusals = ["refused"] * 1000
    bench.run()
    waits = [ms for ms in bench.slept_ms if ms >= 1000]
    assert waits[:4] == [ms - ms * 3 // 512 for ms in (2000, 4000, 8000, 16000)]
    assert set(waits[9:]) == {300_000 - 300_000 * 3 // 512}
    assert bench.log.texts() == ["broker:1883: refused"]  # once
    assert (bench.service.state, bench.service.error) == ("retrying", "refused")


@pytest.mark.parametrize(
    ("incoming", "error"),
    [
        ([b"\x20\x02\x00\x05"], "refused: not authorized"),
        ([b"HTTP/1.1 400 Bad Request\r\n"], "the broker does not answer as one"),
        ([b""], "closed by the broker"),
        ([b"\x20\xff\xff\x03"], "the broker does not answer as one"),  # and takes hours for its CONNACK
        ([CONNACK, b""], "closed by the broker"),
        ([CONNACK, b"\x00\x00"], "no packet: type 0"),
        ([CONNACK, b"\x30\xff\xff\xff\xff"], "no packet: its length has no end"),
    ],
)
def test_a_broker_that_says_anything_else_is_left_and_asked_again(make, incoming, error):
    bench = make(seconds=1)
    bench.client.incoming = list(incoming)
    bench.run()
    assert f"broker:1883: {error}" in bench.log.texts()
    assert bench.client.closed >= 1


def test_what_comes_in_one_piece_with_the_connack_is_read(make):
    bench = make(seconds=15, homeassistant=True)
    birth = mqtt.publish(b"homeassistant/status", b"online")
    bench.client.incoming = [CONNACK + birth[:5], birth[5:], b"\xd0\x00"]
    bench.live()
    assert bench.client.sent.count(b"homeassistant/binary_sensor") == 2
    assert len(bench.attempts) == 1


@pytest.mark.parametrize("options", [{}, {"payload": "sparkplug"}, {"payload": "sparkplug", "primary_host": "scada"}])
def test_a_subscription_that_the_broker_refuses_is_said(make, options):
    bench = make(seconds=5, homeassistant=True, **options)
    bench.client.incoming += [b"\x90\x03\x00\x01\x80"]
    if "primary_host" in options:
        bench.client.incoming += [b"\x90\x03\x00\x02\x80"]
    bench.live()
    topic = "spBv1.0/meterport/NCMD/hall" if options else "homeassistant/status"
    said = "the broker refuses to be asked for "
    found = [text for text in bench.log.texts() if text.startswith(said)]
    state = [said + "spBv1.0/STATE/scada"] if "primary_host" in options else []
    assert found == [said + topic, *state]
    assert len(bench.attempts) == 1
    assert (bench.service.state, bench.service.error) == (("no_host", *state) if state else ("connected", None))


def test_a_subscription_that_the_broker_takes_is_not_spoken_of(make):
    bench = make(seconds=5, homeassistant=True)
    bench.client.incoming += [b"\x90\x03\x00\x01\x00"]
    bench.live()
    assert bench.log.texts() == ["connected to broker", "described 1 meters to Home Assistant"]


def test_a_suback_that_is_none_ends_the_connection(make):
    bench = make(seconds=5, homeassistant=True)
    bench.client.incoming += [b"\x90\x02\x00\x01"]
    bench.live()
    assert "broker:1883: no SUBACK: 2 bytes" in bench.log.texts()


def test_an_answer_that_came_while_much_was_published_counts(make, monkeypatch):
    """A Pico takes longer for a thousand documents than a broker may take for its answer to a ping."""
    bench = make(seconds=60, homeassistant=True, keep_alive_s=10, interval_s=3600)
    publish_values = bench.service._publish_values

    async def publish_slowly():
        await publish_values()
        bench.service._pings = 1
        bench.pass_s(40)
        bench.client.incoming.append(b"\xd0\x00")

    monkeypatch.setattr(bench.service, "_publish_values", publish_slowly)
    for at in range(41, 60):
        bench.at[at] = lambda: bench.client.incoming.append(b"\xd0\x00")
    bench.live()
    assert len(bench.attempts) == 1
    assert "broker:1883: no answer to a ping" not in bench.log.texts()


def test_the_longest_step_of_a_handshake_is_said(make):
    assert make().service.status()["tls_stall_ms"] is None
    bench = with_tls(make)
    bench.service.tls.longest_stall_ms = 1234
    assert bench.service.status()["tls_stall_ms"] == 1234


def test_without_a_link_it_waits(make):
    bench = make(seconds=5)
    bench.is_up = False
    assert bench.run() == []
    assert (bench.attempts, bench.service.state) == ([], "no_link")


def test_home_assistant_is_told_at_connect_and_after_its_birth(make):
    bench = make(seconds=20, homeassistant=True)
    bench.at[5] = lambda: bench.client.incoming.append(mqtt.publish(b"homeassistant/status", b"online"))
    bench.at[6] = lambda: bench.client.incoming.append(mqtt.publish(b"homeassistant/status", b"offline"))
    published = bench.published()
    topic = b"homeassistant/sensor/meterport_e661/2-32/config"
    documents = [payload for name, payload, retain in published if name == topic and retain]
    assert len(documents) == 2
    found = json.loads(documents[0])
    assert found["stat_t"] == "meterport/hall/ma_in/energy_import"
    assert (found["dev_cla"], found["stat_cla"], found["unit_of_meas"]) == ("energy", "total_increasing", "Wh")
    assert found["uniq_id"] == "meterport_e661_2_32"
    assert found["exp_aft"] == 6
    assert found["dev"] == {
        "ids": ["meterport_e661_2"], "name": "ma/in", "mdl": "kind", "via_device": "meterport_e661",
    }  # fmt: skip
    assert len(documents[0]) < 900
    assert b"homeassistant/binary_sensor/meterport_e661/status/config" in [name for name, _, _ in published]


def test_home_assistant_makes_the_ids_of_entities_itself_from_two_names(make):
    """Its releases since 2025.10 warn of object_id in each document, and those since 2026.4 pass it over."""
    bench = make(homeassistant=True)
    found = [json.loads(payload) for payload in bench.payloads_of(b"/config")]
    assert not any(key in document for document in found for key in ("obj_id", "object_id"))
    assert [(document["dev"]["name"], document["name"]) for document in found] == [
        ("hall", "connection"), ("ma/in", "active power"), ("ma/in", "energy import"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "use", "state_class"),
    [
        ("Wh", "accumulating", "total_increasing"), ("varh", "accumulating", "total_increasing"),
        ("", "accumulating", "total_increasing"),
        ("Wh", "net", "total"), ("varh", "net", "total"), ("", "net", "total"),
        ("Wh", "instantaneous", "total"), ("varh", "instantaneous", "total"), ("VAh", "instantaneous", "total"),
        ("W", "instantaneous", "measurement"), ("", "instantaneous", "measurement"),
    ],
)  # fmt: skip
def test_home_assistant_is_told_what_only_rises_and_which_energies_may_fall(unit, use, state_class):
    rows = document(row(1), row(130, "b", address=2, kind="int32", unit=unit, use=use))
    meter = SimpleNamespace(slot=2, name="main", profile=profile_loader.parse("kind", rows), profile_name="kind")
    found = json.loads(discovery.document("e661", ROOT, ROOT + b"/main", meter, 1, 6, "http://192.0.2.9/"))
    assert found["stat_cla"] == state_class


def test_a_document_that_takes_more_than_a_buffer_is_sent_whole(make):
    name = 32 * "\N{SLIGHTLY SMILING FACE}"  # the longest name in UTF-8
    bench = make(homeassistant=True, name=name, page_port=8080)
    bench.meter.name = name
    found = {topic: payload for topic, payload, _ in bench.published() if topic.endswith(b"/config")}
    assert len(found) == 3
    assert max(map(len, found.values())) > 1024
    documents = [json.loads(payload) for payload in found.values()]
    assert {document["dev"]["name"] for document in documents} == {name}
    assert [document["o"]["url"] for document in documents if "url" in document["o"]] == 2 * ["http://192.0.2.9:8080/"]


def test_without_a_page_home_assistant_is_told_of_none(make):
    bench = make(homeassistant=True, page_port=0)
    documents = [payload for topic, payload, _ in bench.published() if topic.endswith(b"/config")]
    assert len(documents) == 3
    assert not [payload for payload in documents if b"http:" in payload]


def test_a_name_is_one_level_of_a_topic():
    assert level("a/b+c#d é") == "a_b_c_d é".encode()


CONFIG = b"homeassistant/sensor/meterport_e661/%s/config"
GATEWAY = b"homeassistant/binary_sensor/meterport_e661/status/config"
PINGRESP = b"\xd0\x00"


def described(bench):
    """(topics of documents, topics of empty ones); one that is in both was removed and described again."""
    found = [(topic, payload) for topic, payload, _ in bench.published() if topic.startswith(b"homeassistant/")]
    return {topic for topic, payload in found if payload}, {topic for topic, payload in found if not payload}


def answered(bench):
    """With answers to the ping behind states that were removed, and to that behind documents."""
    bench.at[1] = lambda: bench.client.incoming.append(2 * PINGRESP)
    return bench


def test_entities_of_a_meter_that_has_gone_are_removed_once(make):
    both = {CONFIG % b"2-16", CONFIG % b"2-32"}
    assert described(answered(make(homeassistant=True))) == (both | {GATEWAY}, set())
    assert described(answered(make(homeassistant=True))) == (both | {GATEWAY}, set())
    assert described(answered(make(homeassistant=True, meters=[]))) == ({GATEWAY}, both)
    assert described(answered(make(homeassistant=True, meters=[]))) == ({GATEWAY}, set())


def test_only_the_points_that_another_profile_lacks_are_removed(make):
    described(answered(make(homeassistant=True)))
    bench = answered(make(homeassistant=True))
    bench.meter.profile.numbers = bytes((16, 200))
    assert described(bench) == ({CONFIG % b"2-16", CONFIG % b"2-200", GATEWAY}, {CONFIG % b"2-32"})


def test_all_entities_are_removed_when_home_assistant_is_switched_off(make):
    described(answered(make(homeassistant=True)))
    assert described(answered(make())) == (set(), {CONFIG % b"2-16", CONFIG % b"2-32", GATEWAY})
    assert described(answered(make())) == (set(), set())


def test_a_removal_is_repeated_until_the_broker_has_answered_behind_it(make):
    described(answered(make(homeassistant=True)))
    for _ in range(2):
        assert described(make(homeassistant=True, meters=[]))[1]  # no PINGRESP
    assert described(answered(make(homeassistant=True, meters=[])))[1]
    assert not described(answered(make(homeassistant=True, meters=[])))[1]


STATUS = b"meterport/%s/status"


def removed(bench):
    """Topics of empty retained messages."""
    return [topic for topic, payload, retained in bench.published() if retained and not payload]


def test_the_state_of_a_meter_that_has_another_name_is_removed_once(make):
    def rename(bench):
        bench.meter.name = "feeder"
        return bench

    assert removed(answered(make())) == []
    assert removed(answered(rename(make()))) == [STATUS % b"hall/ma_in"]
    assert removed(answered(rename(make()))) == []


def test_states_under_a_former_name_are_removed_and_all_with_sparkplug(make):
    removed(answered(make()))
    assert removed(answered(make(name="cellar"))) == [STATUS % b"hall", STATUS % b"hall/ma_in"]
    former = [STATUS % b"cellar", STATUS % b"cellar/ma_in"]
    assert removed(answered(make(name="cellar", payload="sparkplug"))) == former
    assert removed(answered(make(name="cellar", payload="sparkplug"))) == []


def test_a_state_is_removed_again_until_the_broker_has_answered_behind_it(make):
    removed(answered(make()))
    for _ in range(2):
        assert removed(make(meters=[])) == [STATUS % b"hall/ma_in"]  # no PINGRESP
    assert removed(answered(make(meters=[])))
    assert not removed(answered(make(meters=[])))


def test_what_was_described_is_kept_while_the_buses_rest(make):
    bench = answered(make(homeassistant=True, seconds=4))
    bench.buses.is_busy = True
    bench.at[3] = lambda: setattr(bench.buses, "is_busy", False)
    described(bench)
    assert (bench.buses.pauses, bench.buses.resumes) == (2, 1)  # at 2 and at 3 s
    assert store.load("data/mqtt")


def test_a_full_flash_is_said_once_and_ends_nothing(make, monkeypatch):
    def refuse(path, body):
        raise OSError(28)

    monkeypatch.setattr(store, "save", refuse)
    bench = answered(make(homeassistant=True, interval_s=1))
    assert bench.published()[-1][0] == ROOT + b"/ma_in/energy_import"
    assert [text for text in bench.log.texts() if "cannot be kept" in text] == [
        "what the broker was told cannot be kept: OSError(28)"
    ]
    assert bench.buses.resumes == 1


# -- JSON


def test_all_values_of_a_meter_come_as_one_object(make):
    bench = make(seconds=3, payload="json")
    found = [one for one in bench.published() if not one[0].endswith(b"/status")]
    assert found == [(ROOT + b"/ma_in/values", b'{"active_power":1234.5,"energy_import":99000000001}', False)] * 2
    assert bench.service.published == 4


def test_what_has_no_fresh_value_is_null_and_a_counter_that_is_held_has_the_one_before(make):
    bench = make(seconds=0, payload="json")
    bench.meter.held = {1: (7, 1)}
    bench.meter.profile.decimal = lambda i, raw, ratios: None if i == 0 else 5 << 4
    assert bench.payloads_of(b"/values") == [b'{"active_power":null,"energy_import":7}']


@pytest.mark.parametrize("name", [name for name in QUALITIES if name not in ("good", "held")])
def test_a_meter_without_a_fresh_value_has_no_object(make, name):
    bench = make(seconds=0, payload="json")
    bench.readings.quality = QUALITIES.index(name)
    assert bench.payloads_of(b"/values") == []


class LongClient(FakeClient):
    """Takes what is longer than a packet."""

    async def send(self, buf, n, timeout_ms=0):
        assert n <= 8192
        self.sent += bytes(buf[:n])


@pytest.mark.parametrize("points", [1, 3, 5, 60, 120])
def test_an_object_is_whole_whatever_its_length(make, points):
    class Profile(FakeProfile):
        names = pack_names([f"p{i}" for i in range(points)])

        def __len__(self):
            return points

        def decimal(self, i, raw, ratios):
            return ((1 << 109) - i) << 4 if points == 120 else i << 4 | 1

    meter = SimpleNamespace(
        name="m", slot=0, state="online", profile=Profile(), profile_name="kind", block_of=bytes(points),
        blocks=(SimpleNamespace(raw=b""),), ratios=None, held=None,
    )  # fmt: skip
    meter.decimal = functools.partial(Meter.decimal, meter)
    [payload] = make(seconds=0, payload="json", meters=[meter], client=LongClient).payloads_of(b"/values")
    found = json.loads(payload)
    assert list(found) == [f"p{i}" for i in range(points)]
    wanted = [(1 << 109) - i if points == 120 else i / 10 for i in range(points)]
    assert list(found.values()) == wanted


def test_home_assistant_finds_a_value_in_the_object(make):
    [text] = make(seconds=0, homeassistant=True, payload="json").payloads_of(b"/2-16/config")
    power = json.loads(text)
    assert power["stat_t"] == "meterport/hall/ma_in/values"
    assert power["val_tpl"] == "{{ value_json.active_power }}"


# -- TLS


class Turns:
    """As firmware.net.tls.Tls: another waits from `wanted_at` of the uptime on, until a connection has ended."""

    def __init__(self, wanted_at):
        self.wanted_at = wanted_at
        self.bench = None

    def is_wanted(self):
        if self.bench.uptime.now < self.wanted_at:
            return False
        self.wanted_at = 1 << 30
        return True


def with_tls(make, wanted_at=1 << 30, **options):
    turns = Turns(wanted_at)
    turns.bench = make(tls=turns, **options)
    return turns.bench


@pytest.mark.parametrize(("is_tls", "port", "used"), [
    (False, 0, 1883), (True, 0, 8883), (False, 8883, 8883), (True, 443, 443),
])  # fmt: skip
def test_the_port_is_that_of_mqtt_with_or_without_tls_unless_it_is_given(make, is_tls, port, used):
    bench = make(tls=Turns(1 << 30), port=port) if is_tls else make(port=port)
    if is_tls:
        bench.service.tls.bench = bench
    bench.live()
    assert bench.attempts == [("broker", used)]


def test_a_broker_whose_certificate_is_not_checked_is_said(make):
    said = "the broker's certificate is not checked"
    assert any(said in text for text in with_tls(make, trust="none").log.texts())
    assert not any(said in text for text in with_tls(make).log.texts())
    assert not any(said in text for text in make(trust="none").log.texts())


def test_a_connection_gives_way_without_its_will_and_is_back_at_once(make):
    bench = with_tls(make, 4, seconds=9, homeassistant=True)
    packets = bench.run()
    kinds = [kind for kind, _, _ in packets]
    assert kinds.count(14) == 1  # DISCONNECT: the broker says nothing of it
    first, second = packets[: kinds.index(14)], packets[kinds.index(14) + 1 :]
    assert second[0][0] == 1
    assert len(bench.attempts) == 2
    assert all(ms < 1000 for ms in bench.slept_ms)  # nothing is waited for
    assert any(b"homeassistant" in body for kind, _, body in first if kind == mqtt.PUBLISH)
    assert not any(b"homeassistant" in body for kind, _, body in second if kind == mqtt.PUBLISH)
    assert any(b"active_power" in body for kind, _, body in second if kind == mqtt.PUBLISH)
    assert bench.log.texts().count("connected to broker") == 1
    assert bench.service.state == "connected"


def test_what_fails_after_giving_way_waits_and_begins_anew(make):
    bench = with_tls(make, 3, seconds=10, homeassistant=True)
    bench.at[3] = lambda: bench.client.refusals.append("no answer")
    bench.live()
    assert len(bench.attempts) == 3
    assert [ms for ms in bench.slept_ms if ms >= 1000]
    assert bench.client.sent.count(b"homeassistant/binary_sensor") == 2
    assert bench.log.texts().count("connected to broker") == 2


def test_sparkplug_gives_way_with_the_death_that_its_will_has(make):
    packets = with_tls(make, 4, seconds=9, payload="sparkplug").run()
    kinds = [kind for kind, _, _ in packets]
    assert kinds.count(1) == 2
    at = kinds.index(14)
    assert kinds[at + 1] == 1
    _, flags, body = packets[at - 1]
    topic = b"spBv1.0/meterport/NDEATH/hall"
    assert flags == 0
    assert body[2:].startswith(topic)
    assert pysparkplug.NDeath.decode(body[2 + len(topic) :]).bd_seq_metric.value == 0

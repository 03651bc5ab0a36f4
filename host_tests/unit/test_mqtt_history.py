"""The history by MQTT: what is in a packet, the window, and that no record is lost unseen whatever the broker does."""

import asyncio
import random

import pytest

from firmware.history.records import FlashRecords, offset_s
from firmware.history.segments import SEGMENT_BYTES
from firmware.meters.readings import GOOD
from firmware.services.mqtt.history import CURSOR, HistorySender
from host_tests.line_protocol_reader import read_line
from host_tests.unit import history_bench, mqtt_bench, posting_bench
from host_tests.unit.history_bench import INTERVAL_S, NOON

TOPIC = b"meterport/hall/history"
PACKET = 1024
WINDOW = 4


class Message:
    """A PUBLISH of QoS 1, read as section 3.3 says: `values` {(meter, time): fields}."""

    def __init__(self, packet):
        assert len(packet) <= PACKET
        assert packet[0] in (0x32, 0x3A)  # not retained
        self.is_again = packet[0] == 0x3A
        at = 2 if packet[1] < 128 else 3
        length = packet[1] if at == 2 else packet[1] & 0x7F | packet[2] << 7
        assert at + length == len(packet)
        size = packet[at] << 8 | packet[at + 1]
        assert packet[at + 2 : at + 2 + size] == TOPIC
        at += 2 + size
        self.identifier = packet[at] << 8 | packet[at + 1]
        self.payload = packet[at + 2 :]
        assert self.payload.endswith(b"\n")
        self.values = {}
        for line in self.payload[:-1].split(b"\n"):
            measurement, tags, fields, time = read_line(line)
            assert (measurement, tags[b"gw"]) == (b"meterport", b"gw")
            assert (tags[b"meter"], time) not in self.values
            self.values[tags[b"meter"], time] = fields


class Rig(history_bench.Rig):
    """A recorder of meters that count, what sends its records, and a broker that remembers what it got.

    wanted, got: {(meter, begin of the interval): fields}"""

    def __init__(self, folder, names=("main", "east wing"), **options):
        self.names = names
        self.wanted = {}
        self.got = {}
        self.repeated = 0
        self.random = random.Random(1)
        super().__init__(folder, meters=len(names), **options)

    def start(self):
        for meter, name in zip(self.meters, self.names, strict=True):
            meter.name = name
        super().start()
        self.records = FlashRecords(self.recorder, CURSOR)
        self.sender = HistorySender(self.records, TOPIC, b"gw")

    def take(self, count):
        """Takes that many records."""
        for _ in range(count):
            for meter in self.meters:
                meter.energy_wh += self.random.randrange(1, 5000)
            taken = self.recorder.taken
            while self.recorder.taken == taken:
                self.clock.seconds += 100 - self.clock.seconds % 100  # power is sampled then, too
                self.recorder.tick(self.clock.seconds)
            at = self.clock.unix_s() // INTERVAL_S * INTERVAL_S - INTERVAL_S
            for meter in self.meters:
                if self.clock.is_set and meter.quality == GOOD:
                    key = meter.name.encode(), at
                    self.wanted[key] = {b"energy_import_wh": b"%di" % meter.energy_wh}

    def next(self):
        packet = asyncio.run(self.sender.next())
        return packet and Message(packet)

    def sent(self):
        """All messages that may be sent now."""
        return list(iter(self.next, None))

    def take_in(self, message):
        """The broker has it."""
        for key, fields in message.values.items():
            energy = {name: value for name, value in fields.items() if b"energy" in name}
            assert energy == self.wanted[key]
            if key in self.got:
                self.repeated += 1
                assert self.got[key] == fields
            self.got[key] = fields

    def deliver(self):
        """Sends and acknowledges until nothing is left."""
        messages = []
        while found := self.sent():
            messages += found
            for message in found:
                self.take_in(message)
                self.sender.acknowledge(message.identifier)
        return messages

    def check_all_arrived(self):
        assert set(self.got) == set(self.wanted)
        assert self.records.waiting == 0


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(history_bench.Meter, "profile", posting_bench.Profile())
    return lambda *names, **options: Rig(tmp_path, *([names] if names else []), **options)


def test_every_record_arrives_in_its_order_in_packets_of_a_kibibyte(make):
    rig = make()
    rig.take(100)
    messages = rig.deliver()
    rig.check_all_arrived()
    times = [time for message in messages for _, time in message.values]
    assert times == sorted(times)
    assert rig.repeated == 0
    assert not any(message.is_again for message in messages)
    assert all(len(message.payload) > PACKET - 200 for message in messages[:-1])
    assert (rig.sender.delivered, rig.records.cursor, rig.records.lost) == (100, 100, 0)
    assert len({message.identifier for message in messages}) == len(messages)


def test_a_record_that_is_taken_later_follows(make):
    rig = make()
    for count in (1, 1, 15, 1):  # from memory, and from flash
        rig.take(count)
        rig.deliver()
        rig.check_all_arrived()
        assert rig.sent() == []


def test_no_more_than_four_packets_wait_for_their_puback(make):
    rig = make()
    rig.take(100)
    messages = rig.sent()
    assert len(messages) == WINDOW == rig.sender.in_flight
    rig.sender.acknowledge(messages[0].identifier)
    more = rig.sent()
    assert len(more) == 1
    assert min(more[0].values) not in messages[-1].values


def test_the_cursor_waits_for_the_oldest_puback(make):
    rig = make()
    rig.take(100)
    messages = rig.sent()
    for message in messages[1:]:
        rig.sender.acknowledge(message.identifier)
    assert (rig.records.cursor, rig.sender.delivered, rig.sent()) == (0, 0, [])
    rig.sender.acknowledge(messages[0].identifier)
    whole = {time for message in messages for _, time in message.values}
    assert rig.records.cursor in (len(whole), len(whole) - 1)  # the last one may be in two packets
    assert len(rig.sent()) == WINDOW


def test_the_first_puback_of_a_connection_is_an_answer(make):
    rig = make()
    rig.take(100)
    messages = rig.sent()
    for message in messages[:2]:
        assert rig.sender.has_answer is (message is messages[1])
        rig.sender.acknowledge(message.identifier)
    rig.sender.begin()
    assert not rig.sender.has_answer


def test_where_nothing_was_found_nothing_is_looked_for_until_another_record_is_taken(make):
    rig = make(unix_s=None)
    rig.take(3)  # they have no time
    opened = []
    open_records = rig.records.open
    rig.records.open = lambda number: opened.append(number) or open_records(number)
    assert rig.sent() == rig.sent() == []
    assert len(opened) == 1
    rig.take(1)
    assert rig.sent() == rig.sent() == []
    assert len(opened) == 2


def test_a_puback_that_is_not_awaited_changes_nothing(make):
    rig = make()
    rig.take(100)
    messages = rig.sent()
    for identifier in (0, 1, 77, 65535):
        rig.sender.acknowledge(identifier)
    assert (rig.records.cursor, rig.sent()) == (0, [])
    rig.sender.acknowledge(messages[0].identifier)
    cursor = rig.records.cursor
    rig.sender.acknowledge(messages[0].identifier)
    assert rig.records.cursor == cursor > 0


def test_after_a_reconnect_what_is_not_acknowledged_comes_again_and_first(make):
    rig = make()
    rig.take(100)
    messages = rig.sent()
    for message in messages:
        rig.take_in(message)
    rig.sender.acknowledge(messages[1].identifier)
    rig.sender.begin()
    again = rig.sent()
    assert [(one.identifier, one.payload, one.is_again) for one in again] == [
        (one.identifier, one.payload, True) for one in (messages[0], messages[2], messages[3])
    ]
    for message in again:
        rig.take_in(message)
        rig.sender.acknowledge(message.identifier)
    assert not any(message.is_again for message in rig.deliver())
    rig.check_all_arrived()
    assert rig.sender.delivered == 100


def test_what_comes_again_is_as_it_was_when_more_records_have_come(make):
    rig = make()
    rig.take(2)
    [message] = rig.sent()
    rig.take(1)
    rig.sender.begin()
    again, new = rig.sent()
    assert (again.payload, again.is_again, new.is_again) == (message.payload, True, False)
    for one in (again, new):
        rig.take_in(one)
        rig.sender.acknowledge(one.identifier)
    rig.check_all_arrived()


def test_a_record_that_is_longer_than_a_packet_is_split_between_meters(make):
    rig = make(*[f"meter number {k:02d} of this house" for k in range(32)])
    rig.take(1)
    parts = rig.sent()
    assert len(parts) == WINDOW
    assert len({key for part in parts for key in part.values}) == sum(len(part.values) for part in parts)
    for part in parts[:-1]:
        rig.take_in(part)
        rig.sender.acknowledge(part.identifier)
    assert rig.records.cursor == 0
    rig.sender.begin()
    rig.take(1)
    rig.deliver()
    rig.check_all_arrived()
    assert rig.repeated == 0
    assert (rig.sender.delivered, rig.records.lost) == (2, 0)


def test_a_record_of_which_a_part_was_delivered_comes_whole_after_a_restart(make):
    rig = make(*[f"meter number {k:02d} of this house" for k in range(32)], commit_s=300)
    rig.take(2)
    for part in rig.sent():
        rig.take_in(part)
        rig.sender.acknowledge(part.identifier)
    rig.recorder.commit()
    rig.records.keep()
    rig.start()
    rig.deliver()
    rig.check_all_arrived()


@pytest.mark.parametrize("name", ["=" * 32, "\U0001f50c" * 32, ", " * 16])
def test_the_longest_names_have_room_in_a_packet(make, name):
    rig = make(name + " 63")  # behind names of which there are two
    topic = "/".join(["\U0001f50c" * 32, "\U0001f50c" * 32, "history"])  # the prefix and the device's name are as long
    rig.sender = HistorySender(rig.records, topic.encode(), b"g" * 32)
    rig.take(1)
    packet = asyncio.run(rig.sender.next())
    assert len(packet) <= PACKET
    assert packet.endswith(b"\n")


def test_records_that_say_nothing_are_passed_over(make):
    rig = make()
    rig.take(3)
    for meter in rig.meters:
        meter.quality = GOOD + 1
    rig.take(300)
    for meter in rig.meters:
        meter.quality = GOOD
    rig.take(3)
    rig.deliver()
    for _ in range(5):
        rig.deliver()
    rig.check_all_arrived()
    assert (rig.records.cursor, rig.records.lost) == (306, 0)


@pytest.mark.parametrize("is_again", [False, True])
def test_records_of_a_boot_that_never_knew_the_time_are_counted(make, is_again):
    rig = make(unix_s=None)
    rig.take(20)
    rig.recorder.commit()
    rig.restart(NOON)
    rig.take(100)
    if is_again:
        rig.sent()
        rig.sender.begin()
    rig.deliver()
    rig.check_all_arrived()
    assert (rig.records.undated, rig.records.lost, rig.sender.delivered) == (20, 0, 100)


def test_what_was_removed_for_want_of_room_is_counted(make):
    rig = make(*[f"m{k}" for k in range(20)], limit_bytes=3 * SEGMENT_BYTES)
    rig.take(30)
    assert len(rig.sent()) == WINDOW  # in flight when the broker goes, for weeks
    rig.take(1500)
    removed = rig.segments.removed
    assert removed > 100
    rig.sender.begin()
    rig.deliver()
    assert rig.records.lost == removed
    assert rig.sender.delivered + rig.records.lost == rig.recorder.next_record
    first = min(time for _, time in rig.got)
    assert set(rig.got) == {key for key in rig.wanted if key[1] >= first}


def test_after_a_power_cut_the_cursor_is_where_it_was_kept(make):
    rig = make(commit_s=300)
    rig.take(40)
    rig.recorder.commit()
    for message in rig.sent():
        rig.take_in(message)
        rig.sender.acknowledge(message.identifier)
    assert rig.records.is_to_keep()
    rig.records.keep()
    kept = rig.records.cursor
    rig.deliver()
    rig.start()
    assert rig.records.cursor == kept
    rig.deliver()
    rig.check_all_arrived()
    assert rig.repeated > 0


def test_identifiers_begin_anew_at_their_end_and_never_are_that_of_subscribe(make):
    rig = make()
    rig.sender._last.identifier = 65533
    rig.take(100)
    assert [message.identifier for message in rig.sent()] == [65534, 65535, 2, 3]


@pytest.mark.parametrize("seed", range(16))
def test_nothing_is_missing_whatever_happens(make, seed):
    """Records, acknowledgements in any order, ends of the connection, commits, planned restarts and power cuts."""
    chance = random.Random(seed)
    names = [f"a meter with number {k}" for k in range(chance.choice((1, 3, 25)))]
    rig = make(*names, commit_s=300)
    unanswered = []
    for _ in range(200):
        what = chance.randrange(12)
        if what < 4:
            rig.take(chance.randrange(1, 6))
        elif what < 7:
            for message in rig.sent():
                assert (message.identifier in [one.identifier for one in unanswered]) <= message.is_again
                rig.take_in(message)
                unanswered.append(message)
        elif what < 10:
            chance.shuffle(unanswered)
            for message in unanswered[chance.randrange(len(unanswered) + 1) :]:
                rig.sender.acknowledge(message.identifier)
                unanswered.remove(message)
        elif what == 10:
            rig.sender.begin()
        else:
            rig.recorder.commit()
            if chance.randrange(2):
                rig.records.keep()
            rig.start()
        if what >= 10:
            unanswered.clear()
            assert rig.records.cursor <= rig.recorder.next_record
        assert rig.sender.in_flight <= WINDOW
    rig.sender.begin()
    rig.deliver()
    rig.check_all_arrived()
    assert (rig.records.lost, rig.records.undated, rig.records.set_aside) == (0, 0, 0)


# Of the service


class Broker(mqtt_bench.FakeClient):
    """Takes history as `answer` says of its number in the connection: "ack", "nothing", "close"."""

    def __init__(self, bench, answer):
        super().__init__(bench)
        self.answer = answer
        self.messages = []  # of each connection
        self.connects = []  # packets

    async def connect(self, *args, **options):
        await super().connect(*args, **options)
        self.incoming = [mqtt_bench.CONNACK]
        self.messages.append([])

    async def send(self, buf, n, timeout_ms=0):
        data = bytes(buf[:n])
        if data[0] == 0x10:
            self.connects.append(data)
        while data:
            at = 2 if data[1] < 128 else 3
            n = at + (data[1] if at == 2 else data[1] & 0x7F | data[2] << 7)
            if data[0] in (0x32, 0x3A):
                self.take(data[:n])
            elif data[0] == 0xC0:
                self.incoming.append(b"\xd0\x00")
            data = data[n:]

    def take(self, packet):
        message = Message(packet)
        self.messages[-1].append(message)
        answer = self.answer(len(self.messages[-1]))
        if answer == "ack":
            self.incoming.append(b"\x40\x02" + message.identifier.to_bytes(2, "big"))
        elif answer == "close":
            self.incoming.append(b"")


@pytest.fixture
def make_service(make, monkeypatch):
    """A rig with records on flash, and the service with a Broker."""

    def make_service(answer=lambda number: "ack", records=60, **options):
        rig = make()
        rig.take(records)
        bench = mqtt_bench.Bench(monkeypatch, history=rig.recorder, client=lambda bench: Broker(bench, answer),
                                 **{"meters": [], "serial": "gw", **options})  # fmt: skip
        return rig, bench

    return make_service


def test_all_of_it_goes_out_once_the_time_is_known(make_service):
    rig, bench = make_service(seconds=20)
    bench.clock.is_set = False
    bench.at[10] = lambda: setattr(bench.clock, "is_set", True)
    bench.live()
    [messages] = bench.client.messages
    for message in messages:
        rig.take_in(message)
    assert set(rig.got) == set(rig.wanted)
    status = bench.service.status()
    assert (status["waiting"], status["delivered"], status["lost"], status["undated"]) == (0, 60, 0, 0)
    assert bench.client.connects[0][9] & 0x02 == 0  # the session goes on with the next connection


def test_nothing_goes_out_before_the_time_is_known(make_service):
    _, bench = make_service()
    bench.clock.is_set = False
    bench.live()
    assert bench.client.messages == [[]]
    assert bench.service.status()["waiting"] == 60


def test_the_newest_record_waits_for_the_offset_that_is_the_gateway_s_own(make_service):
    _, bench = make_service(records=1, seconds=INTERVAL_S, interval_s=3600)
    bench.unix_s = 0
    sent = []
    pass_s = bench.pass_s

    def pass_second(seconds):
        if bench.client.messages[-1]:
            sent.append(bench.unix_s)
        bench.unix_s += seconds
        pass_s(seconds)

    bench.pass_s = pass_second
    bench.live()
    assert [len(messages) for messages in bench.client.messages] == [1]
    assert 0 < sent[0] == offset_s(b"gw", INTERVAL_S - 5)


def test_a_backlog_does_not_wait_for_the_offset(make_service):
    rig, bench = make_service(records=2)
    bench.unix_s = 0
    bench.live()
    [messages] = bench.client.messages
    for message in messages:
        rig.take_in(message)
    assert set(rig.got) == set(rig.wanted)


def test_offsets_are_spread_over_the_whole_width():
    counts = [0] * 55
    for number in range(10_000):
        counts[offset_s(b"%012x" % number, 55)] += 1
    assert min(counts) > 100
    assert max(counts) < 300


def test_a_broker_without_puback_is_left_and_gets_it_again(make_service):
    rig, bench = make_service(lambda number: "nothing", seconds=50)
    bench.live()
    assert "broker:1883: no answer to the history" in bench.log.texts()
    first, second = bench.client.messages[:2]
    assert [one.identifier for one in first] == [one.identifier for one in second]
    assert [one.payload for one in first] == [one.payload for one in second]
    assert (len(first), {one.is_again for one in first}, {one.is_again for one in second}) == (4, {False}, {True})
    assert bench.service.status()["delivered"] == 0


REFUSED = "no history was acknowledged in 3 connections: values only, tried again each hour"


@pytest.mark.parametrize("answer", ["close", "nothing"])
def test_a_broker_that_refuses_the_history_gets_values_and_is_asked_again_each_hour(make_service, answer):
    _, bench = make_service(lambda number: answer, seconds=7500, interval_s=60, meters=None)
    counts = []
    bench.at[3500] = lambda: counts.append(bench.service.published)
    bench.live()
    assert len(bench.attempts) == 3 + 2 + 1  # until it is refused; after an hour; after two; and the last one goes on
    assert [len(messages) > 0 for messages in bench.client.messages] == [True, True, True, True, True, False]
    assert bench.log.texts().count(REFUSED) == 1
    assert counts[0] > 3500 // 60
    status = bench.service.status()
    assert (status["refused"], status["state"], status["waiting"], status["delivered"]) == (True, "connected", 60, 0)


def test_a_broker_that_takes_the_history_again_gets_all_of_it(make_service):
    rig, bench = make_service(lambda number: answers[0], seconds=4000)
    answers = ["close"]
    bench.at[1000] = lambda: answers.insert(0, "ack")
    bench.live()
    for messages in bench.client.messages:
        for message in messages:
            rig.take_in(message)
    assert set(rig.got) == set(rig.wanted)
    assert bench.log.texts()[-1] == "the broker takes the history"
    status = bench.service.status()
    assert (status["refused"], status["waiting"], status["delivered"]) == (False, 0, 60)


def test_connections_that_end_while_the_history_is_taken_are_no_refusals(make_service):
    _, bench = make_service(lambda number: "ack" if number < 2 else "close", seconds=200, records=2000)
    bench.live()
    assert len(bench.attempts) > 3
    assert REFUSED not in bench.log.texts()
    assert bench.service.status()["refused"] is False


def test_a_broker_that_cannot_be_reached_does_not_count_as_one_that_refuses(make_service):
    _, bench = make_service(lambda number: "close", seconds=3000)
    bench.at[1] = lambda: setattr(bench.client, "refusals", ["refused"] * 9)
    bench.live()
    assert len(bench.attempts) == 1 + 9 + 3
    assert [len(messages) > 0 for messages in bench.client.messages] == [True, True, True, False]


def test_a_puback_that_is_none_ends_the_connection(make_service):
    _, bench = make_service(seconds=3)
    bench.at[1] = lambda: bench.client.incoming.append(b"\x40\x03\x00\x02\x00")
    bench.live()
    assert "broker:1883: no PUBACK: 3 bytes" in bench.log.texts()


def test_the_cursor_is_kept_before_a_planned_restart_and_each_ten_minutes(make_service):
    rig, bench = make_service(seconds=5)
    rig.recorder.commit()
    bench.live()
    bench.service.tick()
    assert FlashRecords(rig.recorder, CURSOR).cursor == 0  # ten minutes have not passed
    bench.service.keep()
    assert FlashRecords(rig.recorder, CURSOR).cursor == 60
    rig.take(20)
    rig.recorder.commit()
    bench.left_s = 700
    bench.live()
    pauses = bench.buses.pauses
    bench.service.tick()
    assert FlashRecords(rig.recorder, CURSOR).cursor == 80
    assert bench.buses.pauses == bench.buses.resumes == pauses + 1


def test_without_records_on_flash_it_says_so_and_sends_the_values(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    bench = mqtt_bench.Bench(monkeypatch, seconds=0, **{"history": None, "is_history": True})
    assert len(bench.published()) == 4
    assert "history.flash is off: no history is sent" in bench.log.texts()
    status = bench.service.status()
    assert (status["waiting"], status["delivered"], status["lost"], status["undated"]) == (None,) * 4
    bench.service.keep()
    bench.service.tick()

"""What clients change at the BACnet server, and what it tells them by itself: COV, writing, passwords, time, BBMD."""

import math
import struct

import pytest

from firmware.services.bacnet import subscriptions as subscriptions_module
from host_tests.unit.bacnet_bench import (
    ANALOG_INPUT,
    CLIENT,
    DEVICE,
    INSTANCE,
    LARGE_ANALOG_VALUE,
    OTHER,
    Bench,
    context,
    datagram,
    decoded,
    meter,
    object_id,
    set_values,
    uint,
    unpacked,
)  # fmt: skip

WRITE_DENIED, INVALID_TYPE, OUT_OF_RANGE, DUPLICATE_NAME = (2, 40), (2, 9), (2, 37), (2, 48)
PASSWORD_FAILURE = (4, 26)
OTHER_ROUTE = bytes.fromhex("0005 01 07")


@pytest.fixture
def make(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def make(*meters, **config):
        bench = Bench(monkeypatch, meters or [meter()], **config)
        bench.tick(10)  # it has said who is here
        return bench

    return make


def subscribe(instance, confirmed=False, lifetime=300, process=18, kind=ANALOG_INPUT):
    """The request; `confirmed` None cancels."""
    data = b"\x00\x02\x0f\x05" + context(0, uint(process)) + context(1, object_id(kind, instance))
    if confirmed is not None:
        data += context(2, bytes([confirmed]))
    return data if lifetime is None else data + context(3, uint(lifetime))


ACK = bytes.fromhex("200f05")


def error(answer):
    assert answer[0] == 0x50, answer.hex()
    return tuple(decoded(answer[3:]))


# SubscribeCOV, 13.14, and notifications, 13.1, as in Annex F.1


def test_a_subscription_is_acknowledged_and_its_first_notification_follows(make):
    bench = make(meter(active_power=65.0))
    assert bench.ask(bytes.fromhex("00020f05 0912 1c00000010 2901 3900")) == ACK
    ((told, where),) = bench.tick()
    assert where == CLIENT
    assert unpacked(told) == bytes.fromhex(
        "00000101 0912 1c020004d2 2c00000010 3900 4e 0955 2e 4442820000 2f 096f 2e 820400 2f 4f"
    )
    assert told[5] == 4, "expecting reply"
    assert bench.send(datagram(bytes.fromhex("200101"))) == []
    assert bench.tick(20) == []


def test_an_unconfirmed_notification_is_told_once(make):
    bench = make(meter(active_power=65.0))
    assert bench.ask(subscribe(16)) == ACK
    ((told, _),) = bench.tick(20)
    assert unpacked(told) == bytes.fromhex(
        "1002 0912 1c020004d2 2c00000010 3a012b 4e 0955 2e 4442820000 2f 096f 2e 820400 2f 4f"
    )


def test_a_value_is_told_when_it_has_changed_by_the_increment_or_has_a_fault(make):
    one = meter(active_power=1000.0)
    bench = make(one)
    bench.ask(subscribe(16))
    assert len(bench.tick()) == 1
    set_values(one, bench.uptime.now, active_power=1009.0)
    assert bench.tick() == []
    set_values(one, bench.uptime.now, active_power=1010.0)
    ((told, _),) = bench.tick(3)
    assert struct.pack(">f", 1010.0) in told
    set_values(one, bench.uptime.now, active_power=1001.0)
    assert bench.tick() == []
    for block in one.blocks:
        block.purge()
    ((told, _),) = bench.tick(3)
    assert told.endswith(bytes.fromhex("096f 2e 820440 2f 4f"))
    for block in one.blocks:
        block.read_at_s = None
    assert bench.tick(3) == [], "still a fault, and no value"


def test_the_exact_energy_is_told_in_wh(make):
    one = meter(energy_import=16777216000.0)
    bench = make(one, energy_in_wh=True)
    assert bench.ask(subscribe(32, kind=LARGE_ANALOG_VALUE)) == ACK
    ((told, _),) = bench.tick()
    assert struct.pack(">d", 16777216000.0) in told
    set_values(one, bench.uptime.now, energy_import=16777220000.0)
    ((told, _),) = bench.tick()
    assert struct.pack(">d", 16777220096.0) in told


def test_a_subscription_ends_with_its_lifetime_and_can_be_renewed_or_cancelled(make):
    one = meter()
    bench = make(one)
    listed = bench.service._subscriptions.items
    bench.ask(subscribe(16, lifetime=5))
    bench.tick(4)
    assert bench.ask(subscribe(16, lifetime=5)) == ACK
    assert len(listed) == 1, "renewed"
    assert len(bench.tick(4)) == 1, "with a notification of its own"
    assert len(listed) == 1
    bench.tick()
    assert not listed
    bench.ask(subscribe(16, lifetime=None))
    bench.tick(100_000)
    assert len(listed) == 1, "for good"
    assert bench.ask(subscribe(16, None, None, process=19)) == ACK
    assert bench.ask(subscribe(16, None, None), OTHER) == ACK
    assert len(listed) == 1, "those were of others"
    assert bench.ask(subscribe(16, None, None)) == ACK
    assert not listed
    assert bench.ask(subscribe(16, None, None)) == ACK, "as often as one likes"


@pytest.mark.parametrize("lifetime", [1, 28800, 0])
def test_the_lifetimes_of_the_tests_of_btl_are_taken(make, lifetime):
    """BTL 8.25."""
    bench = make()
    assert bench.ask(subscribe(16, lifetime=lifetime)) == ACK
    assert decoded(unpacked(bench.tick()[0][0])[2:])[3] == ("context", 3, uint(max(lifetime - 1, lifetime and 1)))


def test_sixteen_subscriptions_are_taken_and_the_next_refused(make):
    bench = make()
    for process in range(16):
        assert bench.ask(subscribe(16, process=process)) == ACK
    assert error(bench.ask(subscribe(16, process=16))) == (3, 19)
    assert bench.ask(subscribe(16, process=3)) == ACK, "renewed"
    assert [len(bench.tick()) for _ in range(5)] == [4, 4, 4, 4, 0], "some a second"
    assert bench.service.status()["subscriptions"] == 16


def test_each_subscription_gets_its_turn(make):
    one = meter()
    bench = make(one)
    for process in range(16):
        bench.ask(subscribe(16, process=process))
    told = []
    for k in range(8):
        set_values(one, bench.uptime.now, active_power=1000.0 * k)
        told += [decoded(unpacked(data)[2:])[0][2][0] for data, _ in bench.tick()]
    assert sorted(told) == sorted([*range(16)] * 2)


def test_what_cannot_be_subscribed_to_is_an_error(make):
    bench = make()
    assert error(bench.ask(subscribe(99))) == (1, 31)
    assert error(bench.ask(subscribe(INSTANCE, kind=DEVICE))) == (1, 45)
    assert error(bench.ask(subscribe(16, lifetime=0xFFFFFFFF))) == (5, 37)
    assert bench.ask(subscribe(16, None, 300)) == bytes.fromhex("600f05"), "a lifetime without the other"


def test_a_client_that_acknowledges_nothing_is_dropped_after_three_repetitions(make, monkeypatch):
    now = [0]
    monkeypatch.setattr(subscriptions_module, "ticks_ms", lambda: now[0])
    bench = make()
    bench.ask(subscribe(16, True, None))
    tries = []
    for _ in range(20):
        tries += bench.tick()
        now[0] += 1000
    assert len(tries) == 4
    assert len(set(tries)) == 1, "the same invoke id"
    assert bench.service.status()["subscriptions"] == 0
    assert bench.service.status()["unacknowledged"] == 1
    assert bench.log.texts()[-1] == "a client that does not acknowledge is told no more"


@pytest.mark.parametrize("answer", ["200101", "500101 9101 911f", "600109", "710100"])
def test_any_answer_of_the_client_itself_acknowledges(make, monkeypatch, answer):
    now = [0]
    monkeypatch.setattr(subscriptions_module, "ticks_ms", lambda: now[0])
    bench = make()
    bench.ask(subscribe(16, True, None))
    assert len(bench.tick()) == 1
    bench.send(datagram(bytes.fromhex(answer)), OTHER)
    now[0] += 3000
    assert len(bench.tick()) == 1, "another client's answer is none"
    bench.send(datagram(bytes.fromhex(answer)))
    now[0] += 3000
    assert bench.tick() == []


def test_a_subscription_through_a_router_is_told_the_same_way(make):
    bench = make()
    assert bench.ask(subscribe(16, True), route=OTHER_ROUTE) == ACK
    ((told, where),) = bench.tick()
    assert where == CLIENT
    assert unpacked(told, OTHER_ROUTE)[:4] == bytes.fromhex("00000101")


def test_the_device_lists_its_subscriptions(make):
    bench = make()
    assert bench.read(DEVICE, INSTANCE, 152) == []
    bench.ask(subscribe(16, lifetime=200))
    bench.ask(subscribe(5, True, None, process=70000), OTHER, OTHER_ROUTE)
    assert bench.read(DEVICE, INSTANCE, 152) == [
        ("opening", 0), ("opening", 0), ("opening", 1), 0, bytes.fromhex("c0000209bac0"), ("closing", 1),
        ("closing", 0), ("context", 1, b"\x12"), ("closing", 0), ("opening", 1), ("context", 0, object_id(0, 16)),
        ("context", 1, b"\x55"), ("closing", 1), ("context", 2, b"\0"), ("context", 3, uint(200)),
        ("opening", 0), ("opening", 0), ("opening", 1), 5, b"\x07", ("closing", 1), ("closing", 0),
        ("context", 1, uint(70000)), ("closing", 0), ("opening", 1), ("context", 0, object_id(0, 5)),
        ("context", 1, b"\x55"), ("closing", 1), ("context", 2, b"\1"), ("context", 3, b"\0"),
    ]  # fmt: skip


# WriteProperty, 15.9


def write(kind, instance, number, value, priority=None, index=None):
    data = b"\x00\x04\x59\x0f" + context(0, object_id(kind, instance)) + context(1, uint(number))
    if index is not None:
        data += context(2, uint(index))
    return data + b"\x3e" + value + b"\x3f" + (b"" if priority is None else context(4, uint(priority)))


def real(number):
    return b"\x44" + struct.pack(">f", number)


def text(characters, charset=0):
    data = bytes([charset]) + characters
    return bytes([0x75, len(data)]) + data


WRITTEN = bytes.fromhex("20590f")


def test_nothing_is_written_unless_it_is_allowed(make):
    bench = make()
    for number in (77, 28, 58, 62, 75):
        assert error(bench.ask(write(DEVICE, INSTANCE, number, text(b"x")))) == WRITE_DENIED
    assert error(bench.ask(write(ANALOG_INPUT, 16, 22, real(5.0)))) == WRITE_DENIED


def test_texts_of_the_device_are_written_and_kept(make):
    bench = make(allow_writes=True)
    revision = bench.one(DEVICE, INSTANCE, 155)
    for number, name in ((77, "Zähler 1"), (28, "meters of the hall"), (58, "room 5")):
        assert bench.ask(write(DEVICE, INSTANCE, number, text(name.encode()))) == WRITTEN
        assert bench.one(DEVICE, INSTANCE, number) == name
    assert bench.one(DEVICE, INSTANCE, 155) == revision + 1, "the name is part of the database"
    assert bench.ask(write(DEVICE, INSTANCE, 58, b"\x71\x00", priority=16)) == WRITTEN
    assert bench.one(DEVICE, INSTANCE, 58) == ""
    bench.buses.is_free = False
    bench.tick(30)
    assert bench.buses.pauses == 0
    bench.buses.is_free = True
    bench.tick(2)
    assert bench.buses.pauses == 1
    again = make(allow_writes=True)
    assert [again.one(DEVICE, INSTANCE, number) for number in (77, 28, 58)] == ["Zähler 1", "meters of the hall", ""]
    assert again.one(DEVICE, INSTANCE, 155) == revision + 1, "the same objects, the same revision"


def test_the_increment_of_an_input_is_written_kept_and_used(make):
    one = meter(active_power=100.0)
    bench = make(one, allow_writes=True, energy_in_wh=True)
    assert bench.one(ANALOG_INPUT, 16, 22) == 10.0
    assert bench.ask(write(ANALOG_INPUT, 16, 22, real(0.5))) == WRITTEN
    assert bench.one(ANALOG_INPUT, 16, 22) == 0.5
    double = b"\x55\x08" + struct.pack(">d", 2500.0)
    assert bench.ask(write(LARGE_ANALOG_VALUE, 32, 22, double)) == WRITTEN
    assert (bench.one(LARGE_ANALOG_VALUE, 32, 22), bench.one(ANALOG_INPUT, 32, 22)) == (2500.0, 2.5)
    bench.ask(subscribe(16))
    bench.tick()
    set_values(one, bench.uptime.now, active_power=100.5)
    assert len(bench.tick()) == 1
    bench.service.close()
    assert make(one).one(ANALOG_INPUT, 16, 22) == 0.5


@pytest.mark.parametrize(("request_", "expected"), [
    (write(ANALOG_INPUT, 99, 22, real(1.0)), (1, 31)), (write(ANALOG_INPUT, 16, 1, real(1.0)), (2, 32)),
    (write(ANALOG_INPUT, 16, 85, real(1.0)), WRITE_DENIED), (write(DEVICE, INSTANCE, 62, b"\x21\x01"), WRITE_DENIED),
    (write(DEVICE, INSTANCE, 76, b"\xc4\0\0\0\0", index=1), WRITE_DENIED),
    (write(DEVICE, INSTANCE, 77, text(b"x"), index=1), (2, 50)), (write(DEVICE, INSTANCE, 77, real(1.0)), INVALID_TYPE),
    (write(ANALOG_INPUT, 16, 22, b"\x21\x01"), INVALID_TYPE), (write(ANALOG_INPUT, 16, 22, b"\x00"), INVALID_TYPE),
    (write(ANALOG_INPUT, 16, 22, real(-1.0)), OUT_OF_RANGE),
    (write(ANALOG_INPUT, 16, 22, real(math.nan)), OUT_OF_RANGE),
    (write(ANALOG_INPUT, 16, 22, real(math.inf)), OUT_OF_RANGE), (write(DEVICE, INSTANCE, 77, text(b"")), OUT_OF_RANGE),
    (write(DEVICE, INSTANCE, 77, text(b"\xff\xfe")), OUT_OF_RANGE),
    (write(DEVICE, INSTANCE, 28, text(65 * b"x")), (3, 20)), (write(DEVICE, INSTANCE, 77, text(b"\0x", 4)), (2, 41)),
    (write(DEVICE, INSTANCE, 77, text(b"main.active_power")), DUPLICATE_NAME),
])  # fmt: skip
def test_what_cannot_be_written_is_an_error_that_says_why(make, request_, expected):
    bench = make(allow_writes=True)
    assert error(bench.ask(request_)) == expected
    assert (bench.one(DEVICE, INSTANCE, 77), bench.one(ANALOG_INPUT, 16, 22)) == ("gateway", 10.0)


@pytest.mark.parametrize(("request_", "reason"), [
    (write(DEVICE, INSTANCE, 77, text(b"x"), priority=17), 6), (write(DEVICE, INSTANCE, 77, text(b"x") + b"\x21\1"), 4),
    (write(DEVICE, INSTANCE, 77, text(b"x"))[:-1], 5), (b"\x00\x04\x59\x0f", 5),
    (write(ANALOG_INPUT, 16, 22, b"\x42\0\0"), 4),
])  # fmt: skip
def test_a_write_that_is_wrong_is_rejected(make, request_, reason):
    assert make(allow_writes=True).ask(request_) == bytes([0x60, 0x59, reason])


def test_other_objects_than_at_the_last_start_raise_the_revision(make):
    assert make().one(DEVICE, INSTANCE, 155) == 1
    assert make().one(DEVICE, INSTANCE, 155) == 1
    assert make(points_per_meter=3).one(DEVICE, INSTANCE, 155) == 2
    assert make(meter(name="other"), points_per_meter=3).one(DEVICE, INSTANCE, 155) == 3


@pytest.mark.parametrize("damaged", [b"[]", b"{", b'{"name": 5}', b'{"increments": {"a": 1}}'])
def test_a_damaged_file_is_named_and_costs_nothing_else(make, damaged):
    from firmware.config import store

    store.save("data/bacnet", damaged)
    bench = make()
    assert bench.one(DEVICE, INSTANCE, 77) == "gateway"
    assert bench.log.texts()[0].startswith("data/bacnet cannot be read")


# DeviceCommunicationControl 16.1, ReinitializeDevice 16.4, as in Annex F.4

DISABLE = bytes.fromhex("00040511 0905 1901 2d08002365676264 6621")
ENABLE = bytes.fromhex("00040511 1900 2d0800236567626466 21")
READ = b"\x00\x05\x07\x0c" + context(0, object_id(ANALOG_INPUT, 5)) + b"\x19\x55"


def test_communication_is_switched_off_for_a_time_and_on_again(make):
    bench = make(password="#egbdf!")
    bench.ask(subscribe(16, lifetime=1000))
    assert bench.ask(DISABLE) == bytes.fromhex("200511")
    assert bench.ask(READ) is None
    assert bench.ask(b"\x10\x08") is None
    assert bench.tick(299) == []
    assert bench.ask(READ) is None
    assert len(bench.tick(2)) == 1, "the notification that waits"
    assert bench.ask(READ)[0] == 0x30
    bench.ask(DISABLE)
    assert bench.ask(READ) is None
    assert bench.ask(ENABLE) == bytes.fromhex("200511")
    assert bench.ask(READ)[0] == 0x30


def test_with_initiation_switched_off_only_what_is_asked_is_answered(make):
    bench = make(password="#egbdf!")
    bench.ask(subscribe(16))
    assert bench.ask(bytes.fromhex("00040511 1902 2d0800236567626466 21")) == bytes.fromhex("200511")
    assert bench.tick(100) == []
    assert bench.ask(READ)[0] == 0x30
    assert bench.ask(b"\x10\x08") is not None


RESTART = bytes.fromhex("00010214 0901 1d09004162436445664768")


def test_the_device_restarts_for_who_knows_the_password(make):
    bench = make(password="AbCdEfGh")
    assert bench.ask(RESTART) == bytes.fromhex("200214")
    assert bench.device.reboots == 1
    assert error(bench.ask(RESTART.replace(b"\x09\x01", b"\x09\x02"))) == (5, 45), "a backup"
    assert bench.ask(RESTART.replace(b"\x09\x01", b"\x09\x08")) == bytes.fromhex("600208")
    assert bench.device.reboots == 1


@pytest.mark.parametrize("password", ["", "another"])
def test_without_the_password_nothing_happens(make, password):
    bench = make(password=password)
    for request in (RESTART, RESTART[:6], DISABLE, bytes.fromhex("00040511 1901"), RESTART[:6] + b"\x19\x00"):
        assert error(bench.ask(request)) == PASSWORD_FAILURE
    assert bench.device.reboots == 0
    assert bench.ask(READ)[0] == 0x30


# TimeSynchronization, 16.7, as in Annex F.4.7


@pytest.mark.parametrize("request_hex", ["00050711 1901 11", "00050714 0901 11"])
def test_what_is_no_text_in_place_of_a_password_is_rejected(make, request_hex):
    """A boolean has no content, and here nothing follows it."""
    bench = make(password="#egbdf!")
    assert bench.ask(bytes.fromhex(request_hex))[:2] == b"\x60\x07"
    assert not [text for text in bench.log.texts() if "not served" in text]


def test_the_clock_is_set_only_where_it_is_allowed(make):
    at = bytes.fromhex("a47e0b1903 b40c0a2d32")  # 2026-11-25 12:10:45.50
    for service in (b"\x10\x06", b"\x10\x09"):
        bench = make()
        assert bench.send(datagram(service + at)) == []
        assert bench.told == []
        bench = make(accept_time=True)
        bench.send(datagram(service + at, b"", 0x0B))
        assert bench.told == [1795608645]
        assert [k for k, bit in enumerate(bench.one(DEVICE, INSTANCE, 97)) if bit == "1"][-4:] == [32, 33, 34, 36]


@pytest.mark.parametrize("at", [
    "a45c0b1102 b4162d1e46", "a47eff1903 b40c0a2d32", "a47e0b1903 b4ff0a2d32", "a47e0b1903", "a37e0b19 b40c0a2d32",
    "a47e021e07 b40c0a2d32", "b40c0a2d32 a47e0b1903",
])  # fmt: skip
def test_what_is_no_time_of_these_years_is_not_taken(make, at):
    bench = make(accept_time=True)
    assert bench.send(datagram(b"\x10\x06" + bytes.fromhex(at))) == []
    assert bench.told == []


# A foreign device, Annex J.5


BBMD = ("192.0.2.50", 47808)


def test_it_registers_as_a_foreign_device_and_again_at_half_of_the_time(make):
    bench = make(bbmd="192.0.2.50", bbmd_ttl_s=60)
    register = bytes.fromhex("81050006003c")
    assert bench.stream.sent[0] == (register, BBMD)
    assert [data for data, where in bench.tick(60) if where == BBMD and data[1] == 5] == [register] * 2
    assert bench.service.status()["bbmd"] == "no answer"
    bench.send(bytes.fromhex("810000060030"), BBMD)
    assert bench.service.status()["bbmd"] == "refused"
    bench.send(bytes.fromhex("810000060000"), OTHER)
    assert bench.service.status()["bbmd"] == "refused", "not from the BBMD"
    bench.send(bytes.fromhex("810000060000"), BBMD)
    assert bench.service.status()["bbmd"] == "registered"
    assert bench.log.texts() == [f"as a foreign device at 192.0.2.50: {word}" for word in ("refused", "registered")]


def test_what_it_broadcasts_goes_to_its_subnet_and_to_the_bbmd(make):
    bench = make(bbmd="192.0.2.50")
    bench.send(bytes.fromhex("810000060000"), BBMD)
    sent = bench.tick(2)
    for number in range(0, len(sent), 2):
        (here, subnet), (there, bbmd) = sent[number : number + 2]
        assert (subnet, bbmd) == (("192.0.2.255", 47808), BBMD)
        assert (here[1], there[1]) == (0x0B, 0x09)
        assert here[2:] == there[2:]
    assert len(sent) == 4


def test_without_a_bbmd_a_result_is_nobodys(make):
    bench = make()
    bench.send(bytes.fromhex("810000060000"), BBMD)
    assert bench.service.status()["bbmd"] is None
    assert bench.service.status()["malformed"] == 1

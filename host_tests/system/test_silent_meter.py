"""Meters that say nothing, or say it too late: an error for their own clients, nothing for anybody else's, and never
an answer to another question: "after one time-out every read returns the previous answer" is what users of gateways
complain about most."""

import random
import threading
import time

import pytest

from host_tests.system.rig import (
    GATEWAY_TARGET_FAILED,
    METERS,
    AddressMeter,
    ModbusError,
    Poller,
    address_words,
    read_pdu,
    wait_for,
    words,
)
from tools.virtual_meters import VirtualMeter

TIMEOUT_MS = 200
RETRIES = 1
TRIES_S = (1 + RETRIES) * TIMEOUT_MS / 1000
SILENT = 2
QUARANTINE_AFTER = 3  # failures in a row, docs/reference/configuration.md
PROBE_FIRST_S = 2
LATE_S = 1.0  # for so long after a time-out a late answer is expected, docs/reference/configuration.md
SLOW_S = 3.0  # what a busy test machine may take on top


@pytest.fixture
def rig(make_rig):
    times = {"timeout_ms": TIMEOUT_MS, "retries": RETRIES}
    rig = make_rig(meters=[meter | (times if meter["unit"] == SILENT else {}) for meter in METERS])
    rig.wait_polled()
    return rig


def timed_exception(client, unit, pdu):
    begin = time.monotonic()
    code = client.exception(unit, pdu)
    return code, time.monotonic() - begin


@pytest.mark.timed
def test_a_silent_meter_fails_for_its_clients_only_and_comes_back(rig):
    silent = rig.meter(SILENT)
    cached = (SILENT, 3, 0x200, 16)
    passed = read_pdu(3, 0x51D, 1)
    others = [
        (1, 4, 0, 36, words(rig.meter(1).registers(4, 0, 36))),
        (3, 3, 1, 1, words(rig.meter(3).registers(3, 1, 1))),  # passed through, each time
    ]
    with Poller(rig.modbus_port, others, pause_s=0.02) as poller, rig.client() as client:
        value = client.read(*cached)
        silent.silent = True

        # While it fails: 0B within its time-out and retries, and no longer than the rest of somebody else's turn.
        code, took_s = timed_exception(client, SILENT, passed)
        assert code == GATEWAY_TARGET_FAILED
        assert took_s < 2 * TRIES_S + SLOW_S
        # What it said before is not passed on as if it were current.
        assert client.exception(*cached[:1], read_pdu(*cached[1:])) == GATEWAY_TARGET_FAILED
        assert {point["quality"] for point in rig.points(SILENT).values()} == {"failed"}
        poller.check()

        # Quarantined: 0B at once, and the meter is left alone between two probes.
        wait_for(lambda: rig.state_of(SILENT) == "quarantined", what="quarantine")
        rig.wait_event("meter feeder (unit 2): silent, quarantined")
        asked = silent.requests
        took = [timed_exception(client, SILENT, passed) for _ in range(10)]
        assert {code for code, _ in took} == {GATEWAY_TARGET_FAILED}
        assert sorted(seconds for _, seconds in took)[5] < TIMEOUT_MS / 1000 / 2
        assert silent.requests - asked <= 1  # at most the poller's probe
        poller.check()

        # The others are polled as before: their readings stay young.
        for unit in (1, 3):
            points = rig.points(unit).values()
            assert {point["quality"] for point in points} == {"good"}
            assert max(point["age_s"] for point in points) <= 1 + SLOW_S

        # Back: the next probe finds it, and everything is as it was.
        silent.silent = False
        wait_for(lambda: rig.state_of(SILENT) == "online", 4 * PROBE_FIRST_S + SLOW_S, "the meter's return")
        rig.wait_event("meter feeder (unit 2) answers")
        assert client.exception(SILENT, passed) == 0
        wait_for(lambda: {point["quality"] for point in rig.points(SILENT).values()} == {"good"}, what="readings")
        assert client.read(*cached) == value
        poller.check()


@pytest.mark.timed
def test_probes_of_a_silent_meter_become_rarer(rig):
    silent = rig.meter(SILENT)
    silent.silent = True
    wait_for(lambda: rig.state_of(SILENT) == "quarantined", what="quarantine")
    times = [time.monotonic()]
    for _ in range(2):
        asked = silent.requests
        rig.line.wait_for(lambda asked=asked: silent.requests > asked, 10)
        times.append(time.monotonic())
        assert silent.requests == asked + 1  # a probe is not repeated
    assert times[2] - times[1] > 1.3 * (times[1] - times[0])


@pytest.mark.timed
def test_clients_that_wait_for_a_quarantined_meter_are_answered_soon(rig):
    # Different requests, all in the queue before the meter is known to be silent.
    silent = rig.meter(SILENT)
    silent.silent = True
    took = []

    def ask(k):
        with rig.client(timeout=20) as client:
            took.append(timed_exception(client, SILENT, read_pdu(3, 0x300 + k, 1)))

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [code for code, _ in took] == [GATEWAY_TARGET_FAILED] * 8
    # The poller may have a turn in progress, and the first few failures must happen on the line, each after the time
    # in which the one before could still be answered. All eight on the line would take more than eleven seconds.
    assert max(seconds for _, seconds in took) < (QUARANTINE_AFTER + 1) * TRIES_S + QUARANTINE_AFTER * LATE_S + SLOW_S


# Late answers. Registers hold their own address, so an answer to another request is seen at once.

LATE = 9
LATE_TIMEOUT_MS = 100


@pytest.fixture(params=[0, 1], ids=["no retries", "one retry"])
def late_rig(make_rig, request):
    meter = {
        "slot": 7, "name": "late", "unit": LATE, "profile": "pzem-004t-v3", "interval_s": 3600, "max_age_s": 0,
        "timeout_ms": LATE_TIMEOUT_MS, "retries": request.param,
    }  # fmt: skip
    late = AddressMeter(LATE)
    rig = make_rig(meters=[METERS[2], meter], virtual=[VirtualMeter(3, "pzem-004t-v3"), late])
    wait_for(lambda: {point["quality"] for point in rig.points(3).values()} == {"good"}, what="readings of the other")
    wait_for(lambda: late.requests, what="the only poll of the late one")
    with rig.client() as client:
        read_again(client, 1, 1)
    return rig


def read_or_fail(client, address, count, function=4):
    """True when the meter's registers came, False for 0B. Any other exception, and any other register, is an error."""
    try:
        got = client.read(LATE, function, address, count)
    except ModbusError as error:
        if error.code != GATEWAY_TARGET_FAILED:
            raise
        return False
    assert got == address_words(address, count), f"{count} at {address}: got those at {int.from_bytes(got[:2])}"
    return True


def read_again(client, address, count):
    """Reads a meter that answers in time; this machine may be the one that is late, even so often that the meter is
    quarantined, but not for long."""
    wait_for(lambda: read_or_fail(client, address, count), 60, "an answer of the meter")


@pytest.mark.parametrize("lateness", [(1.05, 1.4), (1.4, 1.95)], ids=lambda pair: f"up to {pair[1]}")
def test_an_answer_after_the_time_out_is_never_taken_for_a_later_one(late_rig, lateness):
    check_lateness(late_rig, lateness)


@pytest.mark.parametrize("lateness", [(2.2, 3.8)], ids=lambda pair: f"up to {pair[1]}")
def test_an_answer_long_after_the_time_out_is_never_taken_for_a_later_one(late_rig, lateness):
    check_lateness(late_rig, lateness)


def check_lateness(rig, lateness, rounds=5):
    meter = rig.meter(LATE)
    rng = random.Random(f"{lateness}")
    answered = 0
    with rig.client() as client:
        for k in range(rounds):
            # This one is answered late, its retry too; the ones after it, which look the same, in time.
            late = {"delay_ms": LATE_TIMEOUT_MS * rng.uniform(*lateness)}
            meter.fail(*[late] * rng.choice((1, 2)))
            for j in range(3):
                answered += read_or_fail(client, 1000 * k + 100 * j, 5)
            meter.faults.clear()
            if rig.state_of(LATE) == "quarantined":  # the third too was late: this machine was busy elsewhere
                wait_for(lambda: rig.state_of(LATE) == "online", 30, "the meter comes back")
    assert answered > rounds  # late answers are not the end of the meter


@pytest.mark.timed
def test_a_late_answer_does_not_get_past_another_meter_s_turn(late_rig):
    # The late answer of one meter arrives after another one was asked in between.
    meter = late_rig.meter(LATE)
    other = words(late_rig.meter(3).registers(3, 1, 1))
    took = []
    with late_rig.client() as client:
        for k in range(4):
            meter.fail({"delay_ms": LATE_TIMEOUT_MS * 1.5}, {"delay_ms": LATE_TIMEOUT_MS * 1.5})
            read_or_fail(client, 1000 * k, 5)
            begin = time.monotonic()
            assert client.read(3, 3, 1, 1) == other
            took.append(time.monotonic() - begin)
            read_or_fail(client, 1000 * k + 500, 5)
            meter.faults.clear()
            read_again(client, 1000 * k + 700, 5)
    # Nobody else waits for what may still come from the late one. This machine is not each time the one that is late.
    assert sorted(took)[1] < 0.4


def test_a_late_exception_is_not_taken_for_the_answer_to_another_request(late_rig):
    # An exception response has five bytes whatever was asked for.
    meter = late_rig.meter(LATE)
    with late_rig.client() as client:
        for k in range(4):
            late = {"delay_ms": LATE_TIMEOUT_MS * 1.5, "exception": 2}
            meter.fail(late, late)
            assert client.exception(LATE, read_pdu(4, 1000 * k, 5)) in (2, GATEWAY_TARGET_FAILED)
            meter.faults.clear()
            read_again(client, 1000 * k + 10, 7)


def test_a_meter_that_is_always_late_mixes_nothing_up(late_rig):
    meter = late_rig.meter(LATE)
    meter.delay_ms = 1.4 * LATE_TIMEOUT_MS
    with late_rig.client() as client:
        for k in range(7):
            read_or_fail(client, 31 * k, 4)
    meter.delay_ms = 1
    wait_for(lambda: late_rig.state_of(LATE) != "quarantined", 10 * PROBE_FIRST_S, "the meter's return")
    with late_rig.client() as client:
        wait_for(lambda: read_or_fail(client, 5000, 4), what="an answer")
        for k in range(5):
            read_again(client, 31 * k, 4)

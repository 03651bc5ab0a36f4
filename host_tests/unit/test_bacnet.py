"""The BACnet server: what each service answers, byte for byte where the standard (ASHRAE 135-2012, Annex F) says so."""

import math
import re
import struct
from pathlib import Path

import pytest

from firmware.services.bacnet import objects as objects_module
from firmware.services.bacnet import service as service_module
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
    profile,
    uint,
    unpacked,
)  # fmt: skip
from tools import bacnet_pics
from tools.build import ROOT

UNKNOWN_OBJECT, UNKNOWN_PROPERTY, INVALID_INDEX, NOT_AN_ARRAY = (1, 31), (2, 32), (2, 42), (2, 50)
WHO_IS = b"\x10\x08"
I_AM = bytes.fromhex("1000 c4020004d2 2205a0 9101 2203e7")  # device 1234, 1440 bytes, segmented-transmit, vendor 999


@pytest.fixture
def make(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *meters, **config: Bench(monkeypatch, meters or [meter()], **config)


# ReadProperty, 15.5


def test_read_property_is_answered_as_in_annex_f(make):
    bench = make(meter(voltage_l1_l2=72.3))
    answer = bench.ask(bytes.fromhex("0000010c 0c00000005 1955"))
    assert answer == bytes.fromhex("30010c 0c00000005 1955 3e 444290999a 3f")


def test_read_property_multiple_is_answered_as_in_annex_f(make):
    bench = make(meter(active_power=72.3))
    answer = bench.ask(bytes.fromhex("0004f10e 0c00000010 1e 0955 0967 1f"))
    assert answer == bytes.fromhex("30f10e 0c00000010 1e 2955 4e 444290999a 4f 2967 4e 9100 4f 1f")


def test_present_values_by_the_short_way_are_those_by_the_long_one(make):
    """By a router, and beside another property, a request is taken apart; alone it is recognised as a whole."""
    names = ("voltage_l1_l2", "active_power", "power_factor", "energy_import", "reactive_energy_import", "temperature")
    fresh = meter(**dict(zip(names, (231.7, -1.5e6, -0.25, 123456789.0, 4.4e9, 1e-30), strict=True)))
    silent, refused, never, held = (meter(slot, active_power=slot / 7) for slot in (1, 2, 3, 4))
    silent.blocks[0].purge()
    refused.blocks[0].refuse(2)
    never.blocks[0].read_at_s = None
    held.held = {held.profile.index_of(32): (5000, 1)}
    bench = make(fresh, silent, refused, never, held)
    wanted = [instance for kind, instance in bench.read(DEVICE, INSTANCE, 76) if kind == ANALOG_INPUT]
    assert len(wanted) == 30
    inside = b""
    for instance in wanted:
        read = b"\x00\x05\x07\x0c" + context(0, object_id(ANALOG_INPUT, instance)) + b"\x19\x55"
        short = bench.ask(read)
        long = bench.ask(read, route=b"\x00\x05\x01\x07")
        assert short == long
        assert short.startswith(b"\x30\x07\x0c")
        assert len(short) == 17
        inside += context(0, object_id(ANALOG_INPUT, instance)) + b"\x1e\x29\x55\x4e" + short[11:16] + b"\x4f\x1f"
    assert bench.service.status()["requests"] == 1 + 2 * len(wanted)
    request = b"".join(context(0, object_id(ANALOG_INPUT, one)) + b"\x1e\x09\x55\x1f" for one in wanted)
    assert bench.ask(b"\x00\x05\x07\x0e" + request) == b"\x30\x07\x0e" + inside
    device = b"\x0c\x02\x00\x04\xd2\x1e\x09\x4b\x1f"
    device_read = bytes.fromhex("0c020004d2 1e 294b 4e c4020004d2 4f 1f")
    assert bench.ask(b"\x00\x05\x07\x0e" + device + request + device) == (
        b"\x30\x07\x0e" + device_read + inside + device_read
    )


def test_objects_that_there_are_not_have_an_error_in_their_place(make):
    """Annex F.3.7, the second example."""
    bench = make(meter(voltage_l1_l2=42.3), meter(1, "other", voltage_l1_l2=435.7))
    answer = bench.ask(bytes.fromhex("0004020e 0c00000005 1e0955 1f 0c00000032 1e0955 1f 0c00000105 1e0955 1f"))
    assert answer == bytes.fromhex(
        "30020e 0c00000005 1e 2955 4e 4442293333 4f 1f"
        "0c00000032 1e 2955 5e 9101 911f 5f 1f 0c00000105 1e 2955 4e 4443d9d99a 4f 1f"
    )


def test_each_object_has_each_of_its_properties(make):
    bench = make(energy_in_wh=True)
    objects = bench.read(DEVICE, INSTANCE, 76)
    assert len(objects) == 1 + 6 + 2
    for kind, instance in objects:
        numbers = bench.read(kind, instance, 371)
        assert len(numbers) == len(set(numbers))
        for number in [75, 77, 79, *numbers]:
            bench.read(kind, instance, number)
        assert bench.one(kind, instance, 75) == (kind, instance)
        assert bench.one(kind, instance, 79) == kind
        assert not {75, 77, 79, 371} & set(numbers)


def test_an_array_is_read_whole_by_index_and_by_its_length(make):
    bench = make()
    for number in (76, 371):
        whole = bench.read(DEVICE, INSTANCE, number)
        assert bench.one(DEVICE, INSTANCE, number, 0) == len(whole)
        assert [bench.one(DEVICE, INSTANCE, number, k + 1) for k in range(len(whole))] == whole
        assert bench.read(DEVICE, INSTANCE, number, len(whole) + 1) == INVALID_INDEX
        assert bench.read(DEVICE, INSTANCE, number, 0xFFFFFFFF) == INVALID_INDEX
    assert bench.read(DEVICE, INSTANCE, 77, 1) == NOT_AN_ARRAY
    assert bench.read(ANALOG_INPUT, 5, 85, 0) == NOT_AN_ARRAY


def test_what_there_is_not_is_an_error(make):
    bench = make()
    for kind, instance in ((ANALOG_INPUT, 6), (ANALOG_INPUT, 0x105), (LARGE_ANALOG_VALUE, 32), (2, 5), (DEVICE, 1235)):
        assert bench.read(kind, instance, 77) == UNKNOWN_OBJECT
    assert bench.read(ANALOG_INPUT, 5, 76) == UNKNOWN_PROPERTY
    assert bench.read(DEVICE, INSTANCE, 85) == UNKNOWN_PROPERTY
    assert bench.read(DEVICE, INSTANCE, 4194303) == UNKNOWN_PROPERTY


def test_any_device_is_this_one(make):
    """BTL 3.6: instance 4194303 stands for the device that is asked, which answers with its own."""
    bench = make()
    answer = bench.ask(bytes.fromhex("0005070c 0c023fffff 194b"))
    assert answer == bytes.fromhex("30070c 0c020004d2 194b 3e c4020004d2 3f")
    answer = bench.ask(bytes.fromhex("0005070e 0c023fffff 1e 094b 1f"))
    assert answer == bytes.fromhex("30070e 0c020004d2 1e 294b 4e c4020004d2 4f 1f")


# What the objects say


def test_names_are_those_of_meter_and_point(make):
    bench = make(meter(1, "Küche"), meter(2, "same"), meter(3, "same"), energy_in_wh=True)
    assert bench.one(ANALOG_INPUT, 0x110, 77) == "Küche.active_power"
    assert bench.one(ANALOG_INPUT, 0x120, 77) == "Küche.energy_import"
    assert bench.one(LARGE_ANALOG_VALUE, 0x120, 77) == "Küche.energy_import_wh"
    assert bench.one(ANALOG_INPUT, 0x210, 77) == "same 2.active_power"
    assert bench.one(ANALOG_INPUT, 0x310, 77) == "same 3.active_power"
    names = [bench.one(kind, instance, 77) for kind, instance in bench.read(DEVICE, INSTANCE, 76)]
    assert len(names) == len(set(names))
    assert bench.one(ANALOG_INPUT, 0x110, 28) == "active power, Test meter, unit 2"


def test_energy_is_an_input_in_kwh_and_by_choice_exact_in_wh(make):
    bench = make(meter(energy_import=16777216000.0, reactive_energy_import=1500.0), energy_in_wh=True)
    assert bench.one(ANALOG_INPUT, 32, 85) == 16777216.0
    assert (bench.one(ANALOG_INPUT, 32, 117), bench.one(LARGE_ANALOG_VALUE, 32, 117)) == (19, 18)
    assert bench.one(LARGE_ANALOG_VALUE, 32, 85) == 16777216000.0
    assert bench.one(ANALOG_INPUT, 44, 85) == 1.5
    assert (bench.one(ANALOG_INPUT, 44, 117), bench.one(LARGE_ANALOG_VALUE, 44, 117)) == (204, 203)
    assert bench.read(LARGE_ANALOG_VALUE, 16, 85) == UNKNOWN_OBJECT, "no energy"


def test_units_are_those_of_the_standard(make):
    bench = make()
    assert [bench.one(ANALOG_INPUT, number, 117) for number in (5, 16, 28, 130)] == [5, 47, 15, 95]


def test_a_silent_meter_keeps_its_last_value_and_has_a_fault(make):
    one = meter(active_power=1234.5)
    bench = make(one)
    assert bench.one(ANALOG_INPUT, 16, 111) == "0000"
    for block in one.blocks:
        block.purge()
    assert bench.one(ANALOG_INPUT, 16, 85) == 1234.5
    assert bench.one(ANALOG_INPUT, 16, 111) == "0100"
    assert bench.one(ANALOG_INPUT, 16, 103) == 12
    assert bench.one(ANALOG_INPUT, 16, 36) == 0
    assert bench.one(ANALOG_INPUT, 16, 81) is False


def test_a_meter_that_was_never_read_has_no_number(make):
    one = meter()
    for block in one.blocks:
        block.read_at_s = None
    bench = make(one, energy_in_wh=True)
    assert math.isnan(bench.one(ANALOG_INPUT, 16, 85))
    assert math.isnan(bench.one(LARGE_ANALOG_VALUE, 32, 85))
    assert (bench.one(ANALOG_INPUT, 16, 111), bench.one(ANALOG_INPUT, 16, 103)) == ("0100", 12)


def test_an_old_value_is_unreliable(make):
    bench = make(meter(active_power=5.0))
    bench.uptime.now += 20_000
    assert (bench.one(ANALOG_INPUT, 16, 85), bench.one(ANALOG_INPUT, 16, 103)) == (5.0, 7)


def test_the_device_says_what_it_is(make):
    bench = make()
    assert bench.one(DEVICE, INSTANCE, 77) == "gateway"
    assert bench.one(DEVICE, INSTANCE, 70) == "meterport unix"
    assert bench.one(DEVICE, INSTANCE, 372) == "28:cd:c1:0a:0b:0c"
    assert (bench.one(DEVICE, INSTANCE, 98), bench.one(DEVICE, INSTANCE, 139)) == (1, 14)
    assert (bench.one(DEVICE, INSTANCE, 62), bench.one(DEVICE, INSTANCE, 107)) == (1440, 1)
    services = bench.one(DEVICE, INSTANCE, 97)
    assert len(services) == 41
    assert [k for k, bit in enumerate(services) if bit == "1"] == [5, 12, 14, 15, 17, 20, 33, 34]
    types = bench.one(DEVICE, INSTANCE, 96)
    assert len(types) == 55
    assert [k for k, bit in enumerate(types) if bit == "1"] == [0, 8]
    assert bench.read(DEVICE, INSTANCE, 30) == []


def test_the_time_is_told_once_it_is_known(make):
    bench = make()
    assert bench.one(DEVICE, INSTANCE, 56) == ("date", 255, 255, 255, 255)
    assert bench.one(DEVICE, INSTANCE, 57) == ("time", 255, 255, 255, 255)
    bench.clock.set_ms(1_795_608_645_000)  # Wednesday 2026-11-25 12:10:45
    assert bench.one(DEVICE, INSTANCE, 56) == ("date", 126, 11, 25, 3)
    assert bench.one(DEVICE, INSTANCE, 57)[:3] == ("time", 12, 10)
    assert (bench.one(DEVICE, INSTANCE, 119), bench.one(DEVICE, INSTANCE, 24)) == (0, False)


def test_a_few_points_of_each_meter_are_shown_or_those_that_are_listed(make):
    assert len(make(meter(), meter(1)).read(DEVICE, INSTANCE, 76)) == 13
    shown = make(points_per_meter=2).read(DEVICE, INSTANCE, 76)
    assert shown == [(DEVICE, INSTANCE), (ANALOG_INPUT, 16), (ANALOG_INPUT, 32)]
    shown = make(points="130,7,5").read(DEVICE, INSTANCE, 76)
    assert shown == [(DEVICE, INSTANCE), (ANALOG_INPUT, 5), (ANALOG_INPUT, 130)]


def test_the_instance_comes_from_the_configuration_or_the_mac_address(make):
    assert make().service.status()["instance"] == INSTANCE
    assert make(instance=4194303).service.status()["instance"] == 1_000_000 + (0x0A0B0C & 0x1FFFFF)


# ReadPropertyMultiple, 15.7


def multiple(bench, kind, instance, *numbers):
    """{property: values, or ("error", class, code)} in the order of the answer."""
    request = b"\x02\x75\x07\x0e" + context(0, object_id(kind, instance)) + b"\x1e"
    request += b"".join(context(0, uint(number)) for number in numbers) + b"\x1f"
    answer = bench.ask(request)
    assert answer[:3] == b"\x30\x07\x0e", answer.hex()
    results = {}
    values = None
    for item in decoded(answer[3:])[2:-1]:
        if isinstance(item, tuple) and item[0] == "context":
            values = results[int.from_bytes(item[2], "big")] = []
        elif item == ("opening", 5):
            values.append("error")
        elif not (isinstance(item, tuple) and item[0] in ("opening", "closing")):
            values.append(item)
    return results


def test_all_is_required_and_optional_without_the_list_of_properties(make):
    bench = make(energy_in_wh=True)
    for kind, instance in ((DEVICE, INSTANCE), (ANALOG_INPUT, 32), (LARGE_ANALOG_VALUE, 32)):
        listed = bench.read(kind, instance, 371)
        every = multiple(bench, kind, instance, 8)
        assert list(every) == [75, 77, 79, *listed]
        assert list(multiple(bench, kind, instance, 105)) + list(multiple(bench, kind, instance, 80)) == list(every)
        for number, values in every.items():
            assert values == bench.read(kind, instance, number)


def test_what_fails_is_an_error_among_the_results(make):
    """BTL 8.20: also where all fail."""
    bench = make()
    assert multiple(bench, ANALOG_INPUT, 5, 1, 85, 371, 3) == {
        1: ["error", *UNKNOWN_PROPERTY], 85: [0.0], 371: bench.read(ANALOG_INPUT, 5, 371),
        3: ["error", *UNKNOWN_PROPERTY],
    }  # fmt: skip
    assert multiple(bench, ANALOG_INPUT, 99, 8) == {8: ["error", *UNKNOWN_OBJECT]}


# What does not fit


def big(make, **config):
    """A gateway with 32 meters of eight points each: 257 objects."""
    parsed = profile(*[(k + 1, f"point_{k + 1}", "W") for k in range(8)])
    return make(*[meter(k, f"m{k}", parsed) for k in range(32)], **config)


def test_the_objects_of_32_meters_fit_one_answer(make):
    bench = big(make)
    assert len(bench.read(DEVICE, INSTANCE, 76)) == 257


def test_an_answer_that_does_not_fit_is_an_abort(make):
    bench = big(make)
    request = bytes.fromhex("070c 0c020004d2 194c")
    for code, size in enumerate((50, 128, 206, 480, 1024)):
        answer = bench.ask(bytes([0x00, code]) + request)
        assert answer == bytes.fromhex("710704"), "segmentation-not-supported"
        assert size < 1292
    assert bench.service.status()["aborts"] == 5
    assert len(bench.ask(bytes([0x00, 5]) + request)) == 3 + 5 + 2 + 2 + 5 * 257


def test_no_answer_is_longer_than_its_client_takes(make):
    bench = big(make)
    for code, size in enumerate((50, 128, 206, 480, 1024, 1440)):
        for count in range(1, 40):
            request = b"".join(bytes.fromhex("0c00000001 1e 0955 1f") for _ in range(count))
            answer = bench.ask(bytes([0x00, code, 7, 14]) + request)
            assert len(answer) <= size
            if answer[0] == 0x71:
                break
        else:
            assert size > 480


def segments(bench, request, window=4, peer=CLIENT):
    """The content of a segmented answer, as a client puts it together, and the lengths of its segments."""
    content, sizes, number = b"", [], 0
    incoming = bench.send(datagram(request), peer)
    while True:
        for answer, where in incoming:
            assert where == peer
            part = unpacked(answer)
            assert part[0] & 0xF8 == 0x38
            assert part[1:3] == bytes([request[2], number])
            assert part[4] == request[3]
            content += part[5:]
            sizes.append(len(part))
            number += 1
        if not part[0] & 4:
            assert bench.send(datagram(bytes([0x40, request[2], number - 1, window])), peer) == []
            return content, sizes
        incoming = bench.send(datagram(bytes([0x40, request[2], number - 1, window])), peer)


def test_a_client_that_takes_segments_gets_what_does_not_fit_in_segments(make):
    bench = big(make)
    whole = bench.ask(bytes.fromhex("0005070c 0c020004d2 194c"))[3:]
    for code, size in ((3, 480), (4, 1024)):
        for window in (1, 2, 4, 100):
            content, sizes = segments(bench, bytes([0x02, 0x70 | code]) + bytes.fromhex("070c 0c020004d2 194c"), window)
            assert content == whole
            assert max(sizes) == size
    assert not bench.service._segments.is_busy()


def test_a_client_gets_no_more_segments_than_it_takes(make):
    bench = big(make)
    request = bytes.fromhex("070c 0c020004d2 194c")
    assert bench.ask(bytes([0x02, 0x10 | 3]) + request) == bytes.fromhex("710701"), "two: buffer-overflow"
    content, _ = segments(bench, bytes([0x02, 0x20 | 3]) + request)
    assert len(content) == 5 + 2 + 2 + 5 * 257


def test_only_one_segmented_answer_is_sent_at_a_time(make):
    bench = big(make)
    request = bytes.fromhex("0273070c 0c020004d2 194c")
    assert bench.send(datagram(request))
    assert bench.ask(request, OTHER) == bytes.fromhex("710709"), "out-of-resources"
    assert bench.send(datagram(bytes.fromhex("700700"))) == [], "the client gives up"
    assert bench.ask(request, OTHER)[0] == 0x3C


def test_a_segment_that_is_lost_is_sent_again_and_then_given_up(make, monkeypatch):
    bench = big(make)
    bench.link.is_up = False  # so that it does not say who is here
    now = [0]
    monkeypatch.setattr("firmware.services.bacnet.segments.ticks_ms", lambda: now[0])
    request = bytes.fromhex("0273070c 0c020004d2 194c")
    (first,) = bench.send(datagram(request))
    for _ in range(3):
        now[0] += 2999
        bench.service.tick()
        assert bench.stream.sent[-1] == first
        count = len(bench.stream.sent)
        now[0] += 1
        bench.service.tick()
        assert bench.stream.sent[count:] == [first]
    now[0] += 3000
    bench.service.tick()
    assert len(bench.stream.sent) == count + 1
    assert not bench.service._segments.is_busy()


def test_a_negative_acknowledgement_gets_the_lost_segments_again(make):
    bench = big(make)
    request = bytes.fromhex("0273070c 0c020004d2 194c")
    bench.send(datagram(request))
    window = bench.send(datagram(bytes.fromhex("40070004")))
    assert len(window) == 2
    assert bench.send(datagram(bytes.fromhex("42070004"))) == window, "the window after segment 0 once more"
    assert bench.send(datagram(bytes.fromhex("40070004")), OTHER) == [], "not from the client"
    assert bench.send(datagram(bytes.fromhex("40080004"))) == [], "of another request"


def test_a_segmented_request_is_aborted(make):
    assert make().ask(bytes.fromhex("0c0501 0004 0f 0c00800001")) == bytes.fromhex("710104")


# What is wrong


@pytest.mark.parametrize(("request_hex", "reason"), [
    ("0005070c", 5), ("0005070c 0c00000005", 5), ("0005070c 1955", 4), ("0005070c 0c00000005 1955 1955", 7),
    ("0005070c 0c00000005 1d0500000000", 4), ("0005070c 0c00000005 1d050000000001", 6), ("0005070c 0b000005 1955", 4),
    ("0005070e", 5), ("0005070e 0c00000005", 5), ("0005070e 0c00000005 1e 1f", 4), ("0005070e 0c00000005 1e 0955", 5),
    ("00050710", 9), ("00050700", 9), ("000507ff", 9),
])  # fmt: skip
def test_a_request_that_is_wrong_is_rejected_with_the_reason(make, request_hex, reason):
    assert make().ask(bytes.fromhex(request_hex)) == bytes([0x60, 7, reason])


def test_what_is_no_request_gets_no_answer(make):
    bench = make()
    for data in (
        b"", b"\x81", b"\x81\x0a\x00\x04", b"hello", bytes.fromhex("810a0006 0100"), datagram(b"\x00\x05\x07"),
        datagram(b"\x30\x07\x0c\x0c"), datagram(b"\x90\x00\x00\x00"), datagram(b"\x00\x05\x07\x0c", b"\x80"),
        datagram(WHO_IS, b"\x20\x00\x05\x00\xff"), bytes.fromhex("8100000600 30"), datagram(b"\x10\x08\x09"),
        datagram(b"\x10\x08\x1e"), datagram(b"\x10\x07"), datagram(b"\x10\x63\x00"), datagram(b"\x10\x00\xc4\x02"),
    ):  # fmt: skip
        assert bench.send(data) == []
    assert bench.ask(WHO_IS) == I_AM


def test_what_only_a_bbmd_serves_is_refused(make):
    bench = make()
    for function, code in ((1, 0x10), (2, 0x20), (5, 0x30), (6, 0x40), (8, 0x50), (9, 0x60)):
        refusal = struct.pack(">BBHH", 0x81, 0, 6, code)
        assert bench.send(struct.pack(">BBHH", 0x81, function, 6, 60)) == [(refusal, CLIENT)]


# Finding it: Who-Is 16.10, Who-Has 16.9


def test_who_is_is_answered_to_who_asks(make):
    bench = make()
    assert bench.ask(WHO_IS, function=0x0B) == I_AM
    assert bench.ask(bytes.fromhex("1008 0a04d2 1a04d2"), OTHER) == I_AM
    for limits in ("0900 1a04d1", "0a04d3 1b3fffff", "0a04d3 1a04d1"):
        assert bench.ask(bytes.fromhex("1008" + limits), ("192.0.2.11", 1)) is None
    assert bench.ask(bytes.fromhex("1008 0900 1b3fffff"), ("192.0.2.11", 1)) == I_AM


def test_who_is_to_all_networks_is_answered_the_way_that_it_came(make):
    bench = make()
    route = bytes.fromhex("0005 06 c0000207bac0")
    answers = bench.send(datagram(WHO_IS, b"\x28\xff\xff\x00" + route + b"\xfe", 0x0B))
    assert [unpacked(answer, route) for answer, _ in answers] == [I_AM]
    assert bench.one(ANALOG_INPUT, 5, 85, route=route) == 0.0


def test_what_a_bbmd_forwards_is_answered_to_its_origin(make):
    bench = make()
    data = bytes.fromhex("81040012 c0000263bac1 0120ffff00ff 1008")
    ((answer, where),) = bench.send(data)
    assert where == ("192.0.2.99", 0xBAC1)
    assert unpacked(answer) == I_AM


def test_the_same_asker_is_answered_twice_a_second_and_all_together_20_times(make, monkeypatch):
    bench = make()
    now = [1000]
    monkeypatch.setattr(service_module.seam, "ticks_ms", lambda: now[0])
    assert bench.ask(WHO_IS) == I_AM
    now[0] += 499
    assert bench.ask(WHO_IS) is None
    now[0] += 1
    assert bench.ask(WHO_IS) == I_AM
    answered = sum(bench.ask(WHO_IS, (f"192.0.2.{k}", 1)) == I_AM for k in range(10, 100))
    assert answered == 17
    assert bench.ask(bytes.fromhex("1007 2c00000005")) is None
    bench.service.tick()
    assert bench.ask(bytes.fromhex("1007 2c00000005")) is not None
    assert bench.service.status()["limited"] == 75


def test_who_has_is_answered_for_an_object_and_for_a_name(make):
    bench = make(meter(3, "main"), energy_in_wh=True)
    have = bytes.fromhex("1001 c4020004d2 c400000310") + b"\x75\x12\x00main.active_power"
    assert bench.ask(bytes.fromhex("1007 2c00000310")) == have
    assert bench.ask(b"\x10\x07\x3d\x12\x00main.active_power") == have
    assert bench.ask(b"\x10\x07" + bytes.fromhex("0a04d2 1a04d2") + b"\x3d\x12\x00main.active_power") == have
    assert bench.ask(b"\x10\x07" + bytes.fromhex("0901 1902") + b"\x3d\x12\x00main.active_power") is None
    assert bench.ask(b"\x10\x07\x3d\x08\x00gateway")[2:12] == bytes.fromhex("c4020004d2 c4020004d2")
    assert bench.ask(b"\x10\x07" + context(3, b"\0main.energy_import_wh"))[7:12] == bytes.fromhex("c40b800320")
    for name in (b"main.active_powe", b"main.", b"other.active_power", b"", b"main"):
        assert bench.ask(b"\x10\x07" + context(3, b"\0" + name)) is None
    assert bench.ask(bytes.fromhex("1007 2c00000311")) is None
    assert bench.ask(b"\x10\x07" + context(3, b"\x04\0m")) is None, "in UCS-2"


def test_it_says_once_who_is_here_when_the_network_is_up(make):
    bench = make()
    bench.link.is_up = False
    for _ in range(10):
        bench.service.tick()
    assert bench.stream.sent == []
    bench.link.is_up = True
    for _ in range(10):
        bench.service.tick()
    (asked, where), (told, _) = bench.stream.sent
    assert where == ("192.0.2.255", 47808)
    assert asked[:2] == told[:2] == b"\x81\x0b"
    assert asked[4:9] == told[4:9] == bytes.fromhex("0120ffff00")
    assert asked[10:] == bytes.fromhex("1008 0a04d2 1a04d2")
    assert told[10:] == I_AM


def test_without_an_address_the_broadcast_goes_to_all(make):
    bench = make()
    bench.link.known = (None,) * 6
    for _ in range(10):
        bench.service.tick()
    assert {where for _, where in bench.stream.sent} == {("255.255.255.255", 47808)}


def test_another_device_of_the_same_instance_is_named_once(make):
    bench = make()
    for _ in range(6):
        bench.service.tick()
    own = bench.stream.sent[-1][0]
    bench.send(own, ("192.0.2.1", 47808))
    assert bench.service.status()["conflict"] is None, "the own broadcast"
    bench.send(datagram(bytes.fromhex("1000 c4020004d3 2205c4 9103 2163")), OTHER)
    assert bench.service.status()["conflict"] is None, "another instance"
    for _ in range(3):
        bench.send(datagram(bytes.fromhex("1000 c4020004d2 2205c4 9103 2163")), OTHER)
    assert bench.service.status()["conflict"] == "instance 1234 is also that of the BACnet device at 192.0.2.10:47808"
    assert bench.log.texts() == ["instance 1234 is also that of the BACnet device at 192.0.2.10:47808"]


def test_only_the_clients_that_are_listed_are_answered(make):
    bench = make(clients=["192.0.2.10"])
    assert bench.ask(WHO_IS) is None
    assert bench.ask(WHO_IS, OTHER) == I_AM
    assert bench.service.status()["limited"] == 1


def test_without_memory_for_the_longest_datagram_short_ones_are_served(make):
    bench = make()
    receive = bench.stream.recvfrom

    def recvfrom(most):
        if most > 64:
            raise MemoryError
        return receive(most)

    bench.stream.recvfrom = recvfrom
    assert bench.ask(WHO_IS) == I_AM
    assert bench.ask(b"\x00\x05\x07\x0e" + 10 * bytes.fromhex("0c00000005 1e 0955 1f")) is None
    assert bench.stream.incoming == []
    assert bench.service.status()["malformed"] == 1


def test_the_socket_is_given_back(make):
    bench = make()
    slot = bench.budget.service_slot("bacnet")
    assert slot.open
    bench.ask(WHO_IS)
    assert (slot.received, slot.sent) == (8, 6 + len(I_AM))
    bench.service.close()
    assert bench.stream.is_closed
    assert not slot.open


# What documents say of it


def test_the_pics_is_made_of_the_tables():
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "bacnet.md").read_text(encoding="utf-8")
    assert page.endswith(bacnet_pics.pics())


def test_each_building_block_that_is_claimed_has_its_tests():
    sources = "".join(path.read_text() for path in (ROOT / "host_tests").rglob("test_bacnet*.py"))
    for name, _, tests in bacnet_pics.BIBBS:
        assert tests, name
        for test in tests:
            assert f"\ndef {test}(" in sources, f"{name}: {test}"


def test_the_page_names_the_points_in_the_order_of_the_firmware(make):
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "bacnet.md").read_text(encoding="utf-8")
    listed = re.search(r"has are shown: ([\d,\s]+), then its others", page)[1]
    assert bytes(map(int, listed.split(","))) == objects_module._POINTS


def test_the_status_has_what_is_documented(make):
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
    assert list(make().service.status()) == re.findall(r"(?m)^\| `bacnet\.(\w+)` \|", page)

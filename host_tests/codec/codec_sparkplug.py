"""sparkplug: payloads written out by hand after sparkplug_b.proto (Eclipse Sparkplug 3.0.0, 6.4), and commands that are
no payloads."""

import mqtt
import sparkplug
from expect import prefixes, raises

TIME = sparkplug.timestamp(300)
# Node Control/Rebirth = true, as hosts write it: name, timestamp, datatype, boolean_value
REBIRTH = b"\x12\x1c\x0a\x14Node Control/Rebirth\x18\x01\x20\x0b\x70\x01"


def test_numbers_have_seven_bits_a_byte():
    for value, written in ((0, b"\x00"), (1, b"\x01"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")):
        assert sparkplug.varint(value) == written
    assert sparkplug.varint(0xFFFFFFFFFFFFFFFF) == b"\xff" * 9 + b"\x01"
    assert sparkplug.begin(1_749_945_600_123) == b"\x08\xfb\x90\x8b\x87\xf7\x32"


def test_values_of_each_type():
    assert sparkplug.integer(99_000_000_001) == b"\x58\x81\xbc\xf0\xe6\xf0\x02"
    assert sparkplug.integer(-2) == b"\x58\xfe" + b"\xff" * 8 + b"\x01"  # two's complement of 64 bits
    assert sparkplug.integer(3, sparkplug.INT32) == b"\x50\x03"
    assert sparkplug.single(230.5) == b"\x65\x00\x80\x66\x43"
    assert sparkplug.single(-1) == b"\x65\x00\x00\x80\xbf"
    assert (sparkplug.boolean(True), sparkplug.boolean(False)) == (b"\x70\x01", b"\x70\x00")
    assert sparkplug.text(b"1.2") == b"\x7a\x031.2"


def test_a_metric_of_a_birth_has_name_alias_type_and_unit():
    unit = sparkplug.properties(b"V", None)
    assert unit == b"\x4a\x10\x0a\x07engUnit\x12\x05\x08\x0c\x42\x01V"
    found = sparkplug.metric(0x210, TIME, sparkplug.FLOAT, sparkplug.single(230.5), unit, b"v1")
    parts = b"\x0a\x02v1", b"\x10\x90\x04", b"\x18\xac\x02", b"\x20\x09", unit, b"\x65\x00\x80\x66\x43"
    assert found == b"\x12\x23" + b"".join(parts)


def test_a_metric_that_follows_has_alias_time_type_and_value():
    found = sparkplug.metric(1, TIME, sparkplug.INT64, sparkplug.integer(5))
    assert found == b"\x12\x09\x10\x01\x18\xac\x02\x20\x04\x58\x05"
    bad = sparkplug.properties(b"", sparkplug.BAD)
    assert bad == b"\x4a\x0f\x0a\x07Quality\x12\x04\x08\x03\x18\x00"
    found = sparkplug.metric(1, TIME, sparkplug.FLOAT, sparkplug.NULL, bad)
    assert found == b"\x12\x1a\x10\x01\x18\xac\x02\x20\x09" + bad + b"\x38\x01"


def test_unit_and_quality_are_two_keys_and_two_values():
    both = sparkplug.properties(b"Wh", sparkplug.STALE)
    assert both == b"\x4a\x21\x0a\x07engUnit\x0a\x07Quality\x12\x06\x08\x0c\x42\x02Wh\x12\x05\x08\x03\x18\xf4\x03"
    assert sparkplug.properties(b"", None) == b""


def test_the_length_of_a_metric_is_known_before():
    for alias in (0, 1, 127, 128, 16383, 16384):
        for name in (b"", b"n", b"n" * 127, b"n" * 128):
            for value in (sparkplug.NULL, sparkplug.single(1), sparkplug.integer(-1)):
                for unit in (b"", b"varh"):
                    properties = sparkplug.properties(unit, sparkplug.STALE)
                    found = sparkplug.metric(alias, TIME, sparkplug.FLOAT, value, properties, name)
                    others = len(TIME) + len(value) + len(properties)
                    assert sparkplug.metric_size(alias, others, len(name)) == len(found)


def test_a_request_of_births_is_found_among_others():
    assert sparkplug.asks_rebirth(REBIRTH)
    head = b"\x08\xfb\x90\x8b\x87\xf7\x32"
    other = b"\x12\x0c\x0a\x01x\x69" + bytes(8)
    assert sparkplug.asks_rebirth(head + other + REBIRTH + b"\x18\x05")
    assert sparkplug.asks_rebirth(memoryview(head + REBIRTH))
    assert not sparkplug.asks_rebirth(REBIRTH[:-1] + b"\x00")
    assert not sparkplug.asks_rebirth(REBIRTH.replace(b"Rebirth", b"Restart"))
    assert not sparkplug.asks_rebirth(head + other)
    # The name in one metric, true in another one
    assert not sparkplug.asks_rebirth(b"\x12\x16\x0a\x14Node Control/Rebirth" + b"\x12\x02\x70\x01")


def test_what_is_no_payload_asks_for_nothing():
    for data in prefixes(REBIRTH):
        assert not sparkplug.asks_rebirth(data)
    for data in (b"\xff" * 20, b"\x0b", b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x65\x00", b"\x08", b"{}"):
        assert not sparkplug.asks_rebirth(data)


def test_a_publish_that_was_received_is_taken_apart():
    assert mqtt.published(0, b"\x00\x03a/bhi") == (0, 5)
    assert mqtt.published(2, b"\x00\x03a/b\x00\x0ahi") == (10, 7)
    for flags, body in ((0, b""), (0, b"\x00"), (0, b"\x00\x03a/"), (2, b"\x00\x03a/b\x00"), (4, b"\x00\x01a\x00\x01")):
        raises(mqtt.MqttError, mqtt.published, flags, body)


def test_its_puback_and_a_subscription_of_that_quality():
    assert mqtt.puback(0x1234) == b"\x40\x02\x12\x34"
    assert mqtt.subscribe(1, b"a", 1) == b"\x82\x06\x00\x01\x00\x01a\x01"


def test_the_head_of_a_long_message_is_that_of_a_whole_one():
    whole = mqtt.publish(b"a/b", bytes(3000))
    assert mqtt.publish_head(b"a/b", 3000) + bytes(3000) == whole


def test_a_will_may_be_one_that_is_not_retained():
    assert mqtt.connect(b"gate", 60, b"", b"", b"w", b"x", True, False)[9] == 0x0E


def test_a_state_of_a_host_is_a_small_object_of_json():
    for text, found in (
        (b'{"online":true,"timestamp":1749945600123}', (True, 1749945600123)),
        (b'{ "timestamp" : 7 ,\r\n\t"online" : false }', (False, 7)),
        (b'{"online":true,"timestamp":1234567890123456789}', (True, 123456789012345)),  # no time: but bounded
        (b"ONLINE", None),
        (b"", None),
        (b'{"online":"true","timestamp":7}', None),
        (b'{"online":true}', None),
        (b'{"online":true,"timestamp":-7}', None),
        (b'{"online":true,"timestamp":"7"}', None),
    ):
        assert sparkplug.state(text) == found
        assert sparkplug.state(memoryview(text)) == found


def test_a_historical_value_says_so_before_it():
    found = sparkplug.metric(1, TIME, sparkplug.INT64, sparkplug.HISTORICAL + sparkplug.integer(5))
    assert found == b"\x12\x0b\x10\x01\x18\xac\x02\x20\x04\x28\x01\x58\x05"

"""mqtt: packets as the standard (MQTT 3.1.1) shows them, and a reader of whatever comes in whatever pieces."""

import mqtt
from expect import raises

CONNECT = b"\x10\x2a\x00\x04MQTT\x04\xee\x00\x3c\x00\x04gate\x00\x01w\x00\x07offline\x00\x04user\x00\x06secret"


def packets(data, step):
    """[(kind, flags, size, body)] of a stream that comes in pieces of `step` bytes."""
    reader = mqtt.Reader()
    found = []
    for at in range(0, len(data), step):
        piece = memoryview(data[at : at + step])
        while len(piece):
            n = reader.next(piece)
            if n > 0:
                found.append((reader.kind, reader.flags, reader.size, reader.body))
            piece = piece[abs(n) :]
    return found


def test_connect_has_will_user_and_password():
    # 3.1: clean session, will of QoS 1 that is retained, user, password; keep-alive of 60 s
    assert mqtt.connect(b"gate", 60, b"user", b"secret", b"w", b"offline") == CONNECT
    without = mqtt.connect(b"gate", 60, b"", b"secret", b"w", b"offline")
    assert without[9] == 0x2E
    assert without.endswith(b"\x00\x07offline")
    assert mqtt.connect(b"gate", 60, b"user", b"", b"w", b"x")[9] == 0xAE
    assert mqtt.connect(b"gate", 60, b"user", b"", b"w", b"x", False)[9] == 0xAC  # the session goes on


def test_publish_of_both_qualities():
    assert mqtt.publish(b"a/b", b"hi") == b"\x30\x07\x00\x03a/bhi"
    assert mqtt.publish(b"a/b", b"hi", True) == b"\x31\x07\x00\x03a/bhi"
    assert mqtt.publish(b"a/b", b"hi", True, 10) == b"\x33\x09\x00\x03a/b\x00\x0ahi"  # figure 3.11: identifier 10


def test_what_is_sent_again_has_dup():
    assert mqtt.publish(b"a/b", b"hi", False, 10, True) == b"\x3a\x09\x00\x03a/b\x00\x0ahi"  # figure 3.10: bit 3


def test_lengths_are_those_of_table_2_4():
    for size, written in ((127, b"\x7f"), (128, b"\x80\x01"), (16383, b"\xff\x7f"), (16384, b"\x80\x80\x01")):
        packet = mqtt.publish(b"t", bytes(size - 3))
        assert packet[1 : 1 + len(written)] == written
        assert len(packet) == 1 + len(written) + size


def test_subscribe():
    assert mqtt.subscribe(10, b"a/b") == b"\x82\x08\x00\x0a\x00\x03a/b\x00"


def test_a_text_that_is_too_long_is_refused():
    assert "65535" in str(raises(ValueError, lambda: mqtt.publish(bytes(65536), b"")))


def test_packets_are_read_however_they_come():
    stream = b"\x20\x02\x01\x00" + b"\xd0\x00" + b"\x40\x02\x00\x07" + mqtt.publish(b"ha/status", b"online")
    wanted = [
        (mqtt.CONNACK, 0, 2, b"\x01\x00"), (mqtt.PINGRESP, 0, 0, b""), (mqtt.PUBACK, 0, 2, b"\x00\x07"),
        (mqtt.PUBLISH, 0, 17, b"\x00\x09ha/statusonline"),
    ]  # fmt: skip
    for step in (1, 2, 3, 5, 100):
        assert packets(stream, step) == wanted


def test_of_a_long_packet_the_beginning_is_kept():
    long = mqtt.publish(b"t", bytes(5000))
    for step in (1, 7, 1000, 6000):
        [first, second] = packets(long + b"\xd0\x00", step)
        assert (first[2], len(first[3])) == (5003, mqtt.KEPT)
        assert first[3] == (b"\x00\x01t" + bytes(5000))[: mqtt.KEPT]
        assert second[0] == mqtt.PINGRESP


def test_what_is_no_packet_is_refused():
    assert "type 0" in str(raises(ValueError, lambda: packets(b"\x00\x00", 1)))
    assert "type 15" in str(raises(ValueError, lambda: packets(b"\xf0\x00", 1)))
    assert "no end" in str(raises(ValueError, lambda: packets(b"\x30\xff\xff\xff\xff", 1)))


def test_refusals_have_texts():
    assert mqtt.refusal(0) == ""
    assert mqtt.refusal(4) == "user or password"
    assert mqtt.refusal(200) == "return code 200"

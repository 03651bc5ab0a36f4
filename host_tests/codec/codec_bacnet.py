"""bacnet: virtual link, network and application headers, tags. Examples are those of ASHRAE 135-2012, Annex F."""

from bacnet import apdu, bvlc, npdu
from bacnet.tags import (
    BITS,
    BOOLEAN,
    CHARACTERS,
    CLOSING,
    CONTEXT,
    DATE,
    DOUBLE,
    END,
    ENUMERATED,
    OBJECT,
    OPENING,
    REAL,
    SIGNED,
    TIME,
    UNSIGNED,
    Malformed,
    Reader,
    TooLong,
    Writer,
)  # fmt: skip
from expect import passes_or_raises, prefixes, raises

WHO_IS = b"\x81\x0b\x00\x0c\x01\x20\xff\xff\x00\xff\x10\x08"


def hex_of(text):
    return bytes([int(byte, 16) for byte in text.split()])


def tag(number, kind=CONTEXT):
    return number << 4 | kind


def reader(data, at=0):
    r = Reader()
    r.start(data, at)
    return r


def written(write, size=64):
    """What write(writer) writes."""
    buf = bytearray(b"\xa5" * (size + 2))
    out = Writer(buf)
    out.start(1, 0, size, size)
    write(out)
    assert buf[0] == 0xA5
    assert buf[1 + out.length] == 0xA5
    return bytes(buf[1 : 1 + out.length])


# Virtual link


def test_a_datagram_has_the_length_that_it_says():
    assert bvlc.parse(WHO_IS) == bvlc.BROADCAST
    for data in prefixes(WHO_IS):
        assert bvlc.parse(data) == -1
    assert bvlc.parse(WHO_IS + b"\0") == -1
    assert bvlc.parse(b"\x82" + WHO_IS[1:]) == -1


def test_a_forwarded_npdu_names_its_origin():
    data = hex_of("81 04 00 0e c0 00 02 07 ba c1 01 00 10 08")
    assert bvlc.parse(data) == bvlc.FORWARDED_NPDU
    assert bvlc.npdu_at(bvlc.FORWARDED_NPDU) == 10
    assert bvlc.origin(data) == ("192.0.2.7", 47809)
    assert bvlc.parse(hex_of("81 04 00 06 c0 00")) == -1


def test_only_what_a_bbmd_serves_is_refused_each_with_its_own_code():
    codes = [bvlc.refusal(function) for function in range(256)]
    assert codes[:12] == [0, 0x10, 0x20, 0, 0, 0x30, 0x40, 0, 0x50, 0x60, 0, 0]
    assert not any(codes[10:])


def test_a_result_and_a_registration_say_a_number():
    buf = bytearray(8)
    assert bytes(buf[: bvlc.write_number(buf, bvlc.RESULT, 0x30)]) == hex_of("81 00 00 06 00 30")
    assert bytes(buf[: bvlc.write_number(buf, bvlc.REGISTER_FOREIGN_DEVICE, 300)]) == hex_of("81 05 00 06 01 2c")
    assert bvlc.result(hex_of("81 00 00 06 00 30")) == 0x30
    assert bvlc.result(hex_of("81 00 00 05 00")) == -1


# Network layer


def parsed(text):
    """(where the APDU begins, route) of an NPDU, or None."""
    n = npdu.Npdu()
    return (n.apdu_at, n.route) if n.parse(hex_of(text), 0) else None


def test_the_apdu_follows_the_header_whatever_addresses_it_has():
    assert parsed("01 04 10 08") == (2, b"")
    assert parsed("01 20 ff ff 00 ff 10 08") == (6, b"")
    assert parsed("01 08 00 05 01 07 10 08") == (6, hex_of("00 05 01 07"))
    assert parsed("01 28 ff ff 00 00 05 06 c0 00 02 07 ba c0 ff 10 08") == (15, hex_of("00 05 06 c0 00 02 07 ba c0"))


def test_what_is_not_for_this_device_has_no_apdu():
    assert parsed("02 00 10 08") is None, "another version"
    assert parsed("01 80 00 00") is None, "a message between routers"
    assert parsed("01 20 00 05 00 ff 10 08") is None, "for network 5"
    assert parsed("01 08 ff ff 01 07 10 08") is None, "a source is no broadcast"
    assert parsed("01 08 00 00 01 07 10 08") is None, "nor network 0"
    assert parsed("01 08 00 05 00 10 08") is None, "nor all nodes of a network"
    assert parsed("01 08 00 05 13 " + "07 " * 19 + "10 08") is None, "no data link has such addresses"


def test_a_network_header_that_is_cut_short_has_no_apdu():
    data = hex_of("01 28 ff ff 00 00 05 06 c0 00 02 07 ba c0 ff 10")
    n = npdu.Npdu()
    assert n.parse(data, 0)
    for begin in prefixes(data):
        assert not n.parse(begin, 0)


def test_an_answer_goes_back_the_way_that_the_request_came():
    buf = bytearray(16)
    assert npdu.write_header(buf, 1, b"") == 3
    assert bytes(buf[:3]) == b"\0\x01\x00"
    end = npdu.write_header(buf, 0, hex_of("00 05 01 07"), True)
    assert bytes(buf[:end]) == hex_of("01 24 00 05 01 07 ff")


# APDU headers


def header(text):
    a = apdu.Apdu()
    return a if a.parse(hex_of(text), 0) else None


def test_a_confirmed_request_says_what_answers_its_client_takes():
    a = header("00 04 f1 0e 0c")
    assert (a.kind, a.invoke_id, a.service, a.content_at) == (apdu.CONFIRMED_REQUEST, 241, 14, 4)
    assert (a.max_apdu, a.takes_segments, a.is_segmented) == (1024, False, False)
    a = header("02 75 01 0c")
    assert (a.max_apdu, a.takes_segments, a.max_segments) == (1476, True, 128)
    assert header("02 05 01 0c").max_segments == 2
    assert header("00 0f 01 0c").max_apdu == 1476
    assert [header("00 %02x 01 0c" % code).max_apdu for code in range(6)] == [50, 128, 206, 480, 1024, 1476]


def test_a_segment_of_a_request_has_its_service_behind_its_number():
    a = header("0c 04 01 00 04 0f 0c")
    assert (a.is_segmented, a.service, a.content_at) == (True, 15, 6)
    assert header("0c 04 01 00 04") is None


def test_what_servers_say_to_clients_is_read_as_far_as_it_concerns_a_server():
    a = header("40 05 02 04")
    assert (a.kind, a.invoke_id, a.sequence, a.window, a.is_negative) == (apdu.SEGMENT_ACK, 5, 2, 4, False)
    assert header("42 05 02 04").is_negative
    assert header("41 05 02 04") is None, "from a server"
    assert header("20 0f 01").kind == apdu.SIMPLE_ACK
    assert header("50 0f 01 91 01 91 1f").service == 1
    assert header("70 0f 04").invoke_id == 15
    assert header("80 00 00 00") is None
    assert header("30 01 0c 0c") is None


def test_a_header_that_is_cut_short_is_none():
    for whole in ("00 04 01 0c", "0c 04 01 00 04 0f", "10 08", "20 01 0c", "40 01 00 04", "50 01 0c", "70 01 04"):
        data = hex_of(whole)
        a = apdu.Apdu()
        assert a.parse(data, 0)
        for begin in prefixes(data):
            assert not a.parse(begin, 0)


def test_headers_are_written_as_the_standard_has_them():
    buf = bytearray(8)
    assert bytes(buf[: apdu.write_short(buf, 0, apdu.COMPLEX_ACK, 1, 12)]) == hex_of("30 01 0c")
    assert bytes(buf[: apdu.write_short(buf, 0, apdu.ABORT, 1, 4)]) == hex_of("71 01 04")
    assert bytes(buf[: apdu.write_unconfirmed(buf, 0, apdu.I_AM)]) == hex_of("10 00")
    assert bytes(buf[: apdu.write_confirmed(buf, 0, 15, 1)]) == hex_of("00 00 0f 01")
    assert bytes(buf[: apdu.write_segment(buf, 0, 5, 12, 257, 4, False)]) == hex_of("3c 05 01 04 0c")
    assert bytes(buf[: apdu.write_segment(buf, 0, 5, 12, 2, 4, True)]) == hex_of("38 05 02 04 0c")


# Tags: each value there and back


def test_read_property_of_annex_f_is_read():
    r = reader(hex_of("0c 00 00 00 05 19 55"))
    r.take(tag(0))
    r.object()
    assert (r.type, r.instance) == (0, 5)
    r.take(tag(1))
    assert r.unsigned() == 85
    assert r.next() == END
    r.finish()


def test_the_answer_of_annex_f_is_written():
    def write(out):
        out.object(tag(0), 0, 5)
        out.unsigned(tag(1), 85)
        out.mark(tag(3, OPENING))
        out.real(REAL, 72.3)
        out.mark(tag(3, CLOSING))

    assert written(write) == hex_of("0c 00 00 00 05 19 55 3e 44 42 90 99 9a 3f")


def test_i_am_and_i_have_of_annex_f_are_written():
    def i_am(out):
        out.object(OBJECT, 8, 3)
        out.unsigned(UNSIGNED, 1024)
        out.unsigned(ENUMERATED, 3)
        out.unsigned(UNSIGNED, 99)

    def i_have(out):
        out.object(OBJECT, 8, 8)
        out.object(OBJECT, 0, 3)
        out.text(CHARACTERS, b"OATemp")

    assert written(i_am) == hex_of("c4 02 00 00 03 22 04 00 91 03 21 63")
    assert written(i_have) == hex_of("c4 02 00 00 08 c4 00 00 00 03 75 07 00 4f 41 54 65 6d 70")


def test_the_time_of_annex_f_is_written_and_read():
    def write(out):
        out.four(DATE, 92, 11, 17, 2)
        out.four(TIME, 22, 45, 30, 70)

    data = hex_of("a4 5c 0b 11 02 b4 16 2d 1e 46")
    assert written(write) == data
    r = reader(data)
    r.take(DATE)
    assert r.octets() == b"\x5c\x0b\x11\x02"
    r.take(TIME)
    assert r.octets() == b"\x16\x2d\x1e\x46"


def test_the_password_of_annex_f_is_read():
    r = reader(hex_of("09 05 19 01 2d 08 00 23 65 67 62 64 66 21"))
    assert r.skips(tag(0))
    assert not r.skips(tag(0))
    r.take(tag(1))
    assert r.unsigned() == 1
    r.take(tag(2))
    assert r.text() == b"#egbdf!"


def test_the_examples_of_clause_20_are_written():
    assert written(lambda out: out.mark(BOOLEAN | 1)) == hex_of("11")
    assert written(lambda out: out.unsigned(UNSIGNED, 72)) == hex_of("21 48")
    assert written(lambda out: out.unsigned(SIGNED, 72)) == hex_of("31 48")
    assert written(lambda out: out.real(REAL, 72.0)) == hex_of("44 42 90 00 00")
    assert written(lambda out: out.double(DOUBLE, 72)) == hex_of("55 08 40 52 00 00 00 00 00 00")
    text = b"This is a BACnet string!"
    assert written(lambda out: out.text(CHARACTERS, text)) == hex_of("75 19 00") + text
    assert written(lambda out: out.octets(BITS, b"\x03", b"\xa8")) == hex_of("82 03 a8")
    assert written(lambda out: out.unsigned(ENUMERATED, 0)) == hex_of("91 00")
    assert written(lambda out: out.object(OBJECT, 3, 15)) == hex_of("c4 00 c0 00 0f")


def test_numbers_take_as_few_bytes_as_they_need():
    for number, data in (
        (0, "21 00"), (255, "21 ff"), (256, "22 01 00"), (65535, "22 ff ff"), (65536, "23 01 00 00"),
        (0x1000000, "24 01 00 00 00"), (0xFFFFFFFF, "24 ff ff ff ff"),
    ):  # fmt: skip
        assert written(lambda out: out.unsigned(UNSIGNED, number)) == hex_of(data)  # noqa: B023
        r = reader(hex_of(data))
        r.take(UNSIGNED)
        assert r.unsigned() == number


def test_energies_are_doubles_to_the_last_watt_hour():
    for number, data in (
        (0, "00 00 00 00 00 00 00 00"), (1, "3f f0 00 00 00 00 00 00"), (-1, "bf f0 00 00 00 00 00 00"),
        (16777217, "41 70 00 00 10 00 00 00"), (9007199254740991, "43 3f ff ff ff ff ff ff"),
        (None, "7f f8 00 00 00 00 00 00"),
    ):  # fmt: skip
        assert written(lambda out: out.double(DOUBLE, number)) == hex_of("55 08 " + data)  # noqa: B023


def test_long_strings_have_a_length_of_their_own():
    for size in (2, 3, 4, 5, 252, 253, 254, 300):
        text = b"x" * size
        data = written(lambda out: out.text(CHARACTERS, text), 400)  # noqa: B023
        r = reader(data)
        r.take(CHARACTERS)
        assert r.text() == text
        assert r.next() == END


def test_a_text_in_another_character_set_is_none():
    r = reader(hex_of("73 04 00 41"))  # UCS-2
    r.take(CHARACTERS)
    assert r.text() is None


def test_tags_with_numbers_above_14_are_read_whole():
    r = reader(hex_of("f9 63 07 21 01"))
    assert r.next() == 0x63F8
    assert r.unsigned() == 7
    assert r.next() == UNSIGNED


def test_what_is_malformed_has_the_reason_of_its_reject():
    for data, reason in (
        ("", apdu.MISSING_REQUIRED_PARAMETER), ("19 01", apdu.INVALID_TAG), ("0c 00 00 00", apdu.INVALID_TAG),
        ("0d", apdu.INVALID_TAG), ("0d 05 00", apdu.INVALID_TAG), ("0d ff 00 00 00 01 00", apdu.INVALID_TAG),
        ("0d fe 00", apdu.INVALID_TAG), ("26 00", apdu.INVALID_TAG), ("f9", apdu.INVALID_TAG),
    ):  # fmt: skip
        assert raises(Malformed, reader(hex_of(data)).take, tag(0)).reason == reason
    r = reader(hex_of("0d 05 01 02 03 04 05"))
    r.take(tag(0))
    assert raises(Malformed, r.unsigned).reason == apdu.PARAMETER_OUT_OF_RANGE
    assert raises(Malformed, r.object).reason == apdu.INVALID_TAG
    r = reader(hex_of("09 01 09 02"))
    r.take(tag(0))
    assert raises(Malformed, r.finish).reason == apdu.TOO_MANY_ARGUMENTS


# The window


def content(out):
    for number in range(40):
        out.unsigned(UNSIGNED, number * 1000)
        out.text(CHARACTERS, b"abcdefgh"[: number % 9])
        out.double(DOUBLE, number)


def test_the_windows_of_all_segments_together_are_the_whole():
    whole = written(content, 1000)
    for room in (1, 2, 7, 50, 333, len(whole), len(whole) + 1):
        got = b""
        for first in range(0, len(whole), room):
            buf = bytearray(b"\xa5" * (room + 2))
            out = Writer(buf)
            out.start(1, first, room, len(whole))
            content(out)
            assert out.length == len(whole)
            assert (buf[0], buf[-1]) == (0xA5, 0xA5)
            got += bytes(buf[1 : 1 + min(room, len(whole) - first)])
        assert got == whole


def test_what_lies_before_the_window_need_not_be_written():
    out = Writer(bytearray(10))
    out.start(0, 10, 10, 100)
    assert out.is_before(5)
    assert out.is_before(5)
    assert not out.is_before(5)
    assert out.length == 10


def test_no_more_is_written_than_may_be():
    out = Writer(bytearray(10))
    out.start(0, 0, 10, 9)
    out.object(OBJECT, 0, 1)
    raises(TooLong, out.object, OBJECT, 0, 2)


def test_any_bytes_are_tags_or_malformed():
    """Each byte pair, with what may follow it, to the end; and the reader always gets on."""

    def walk(data):
        r = reader(data)
        for _ in range(len(data) + 1):
            if r.next() == END:
                return
            r.octets()
        raise AssertionError("the reader stands still")

    for first in range(256):
        for second in (0, 1, 4, 5, 253, 254, 255):
            for rest in (b"", b"\0", b"\xff\xff\xff\xff", b"\x0e\x0f\x55\xfe\0"):
                passes_or_raises(Malformed, walk, bytes((first, second)) + rest)

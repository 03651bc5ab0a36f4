"""mdns: what a query asks of our names, what an answer says, every reason to distrust a packet (RFC 6762, RFC 6763)."""

import struct

from expect import passes_or_raises, prefixes, raises

import mdns

SERVICES = [(b"_http._tcp", 80), (b"_modbus._tcp", 502)]
ADDRESS = b"\xc0\x00\x02\x01"
HOST = b"\x04gate\x05local\0"
HTTP = b"\x05_http\x04_tcp\x05local\0"
INSTANCE = b"\x04Main" + HTTP
ENUMERATION = b"\x09_services\x07_dns-sd\x04_udp\x05local\0"
A, PTR, TXT, SRV, ANY = 1, 12, 16, 33, 255
POINTER, SERVER, TEXT = [mdns.of_service(kind, 0) for kind in (mdns.POINTER, mdns.SERVER, mdns.TEXT)]


def names():
    return mdns.Names(b"gate", b"Main", SERVICES, [b"serial=1"])


def query(*questions, known=(), flags=0, id=0):
    head = struct.pack(">HHHHHH", id, flags, len(questions), len(known), 0, 0)
    return (
        head + b"".join([name + struct.pack(">HH", kind, class_) for name, kind, class_ in questions]) + b"".join(known)
    )


def record(name, kind, data, ttl_s=4500, class_=1):
    return name + struct.pack(">HHIH", kind, class_, ttl_s, len(data)) + data


def response(*records):
    return struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def test_a_query_asks_for_the_records_of_its_names_and_types():
    for name, kind, records in (
        (HOST, A, mdns.ADDRESS),
        (HOST, ANY, mdns.ADDRESS),
        (HOST, TXT, 0),
        (ENUMERATION, PTR, mdns.TYPES),
        (HTTP, PTR, POINTER),
        (HTTP, SRV, 0),
        (INSTANCE, SRV, SERVER),
        (INSTANCE, TXT, TEXT),
        (INSTANCE, ANY, SERVER | TEXT),
        (b"\x04GATE\x05LOCAL\0", A, mdns.ADDRESS),
        (b"\x05other\x05local\0", A, 0),
    ):
        assert names().wanted(query((name, kind, 1))) == records, (name, kind)
    assert names().wanted(query((HOST, A, 1), (HTTP, PTR, 255))) == mdns.ADDRESS | POINTER
    assert names().wanted(query((HOST, A, 3))) == 0  # of another class


def test_a_name_may_be_compressed():
    data = query((HTTP, PTR, 1), (b"\x04Main\xc0\x0c", SRV, 1))
    assert names().wanted(data) == POINTER | SERVER


def test_all_questions_must_ask_for_a_unicast_answer():
    n = names()
    n.wanted(query((HOST, A, 0x8001)))
    assert n.may_be_unicast
    n.wanted(query((HOST, A, 0x8001), (HTTP, PTR, 1)))
    assert not n.may_be_unicast


def test_what_the_asker_knows_for_half_of_its_time_is_not_sent_again():
    pointer = record(HTTP, PTR, INSTANCE)
    asked = (HTTP, PTR, 1)
    assert names().wanted(query(asked, known=[pointer])) == 0
    assert names().wanted(query(asked, known=[record(HTTP, PTR, INSTANCE, 2000)])) == POINTER
    assert names().wanted(query(asked, known=[record(HTTP, PTR, b"\x05other" + HTTP)])) == POINTER


def test_responses_and_other_operations_ask_for_nothing():
    assert names().wanted(query((HOST, A, 1), flags=0x8400)) == 0
    assert names().wanted(query((HOST, A, 1), flags=0x2800)) == 0


def test_an_answer_has_the_records_with_their_times():
    n = names()
    buf = bytearray(1400)
    length = n.write(buf, POINTER | SERVER | TEXT | mdns.ADDRESS, ADDRESS)
    instance_at = 12 + len(HTTP) + 10
    pointed = bytes((0xC0, instance_at))
    assert bytes(buf[:length]) == (
        struct.pack(">HHHHHH", 0, 0x8400, 0, 4, 0, 0)
        + record(HTTP, PTR, INSTANCE)
        + record(pointed, SRV, b"\0\0\0\0\0\x50" + HOST, 120, 0x8001)
        + record(pointed, TXT, b"\x08serial=1", 4500, 0x8001)
        + record(HOST, A, ADDRESS, 120, 0x8001)
    )


def test_a_goodbye_has_no_time_left():
    buf = bytearray(1400)
    length = names().write(buf, mdns.ADDRESS, ADDRESS, True)
    assert bytes(buf[12:length]) == record(HOST, A, ADDRESS, 0, 0x8001)


def test_an_answer_to_another_port_repeats_the_question_and_is_short_lived():
    n = names()
    asked = query((HOST, A, 0x8001), id=0x1234)
    records = n.wanted(asked)
    buf = bytearray(1400)
    length = n.write(buf, records, ADDRESS, False, asked)
    head = struct.pack(">HHHHHH", 0x1234, 0x8400, 1, 1, 0, 0)
    assert bytes(buf[:length]) == head + HOST + b"\0\x01\0\x01" + record(HOST, A, ADDRESS, 10)


def test_a_probe_asks_for_each_name_that_must_be_ours_alone():
    buf = bytearray(1400)
    length = names().write_probe(buf)
    assert bytes(buf[:length]) == query(
        (HOST, ANY, 1), (INSTANCE, ANY, 1), (b"\x04Main\x07_modbus\x04_tcp\x05local\0", ANY, 1)
    )


def test_another_hosts_record_of_our_name_contradicts_us_and_our_own_does_not():
    n = names()
    for records, is_contradicted in (
        ([record(HOST, A, ADDRESS)], False),
        ([record(HOST, A, b"\xc0\x00\x02\x02")], True),
        ([record(HOST, A, b"\xc0\x00\x02\x02", 0)], False),  # a goodbye
        ([record(INSTANCE, SRV, b"\0\0\0\0\0\x50" + HOST)], False),
        ([record(INSTANCE, SRV, b"\0\0\0\0\0\x50\x05other\x05local\0")], True),
        ([record(b"\x05other\x05local\0", A, b"\xc0\x00\x02\x02")], False),
    ):
        assert n.is_contradicted(response(*records), ADDRESS) == is_contradicted, records
    assert not n.is_contradicted(query((HOST, A, 1)), ADDRESS)


def test_long_names_are_cut_at_a_whole_character():
    assert mdns.label(b"x" * 70) == b"\x3f" + b"x" * 63
    assert mdns.label(b"x" * 62 + "ä".encode()) == b"\x3e" + b"x" * 62


def test_the_longest_answer_fits_into_1400_bytes():
    services = [(b"_http._tcp", 80), (b"_modbus._tcp", 502), (b"_bacnet._udp", 47808)]
    n = mdns.Names(b"h" * 32, b"i" * 63, services, [b"t" * 63] * 3)
    assert n.write(bytearray(1400), n.all, ADDRESS) < 1400


def test_a_packet_that_ends_early_or_lies_about_itself_raises_nothing_but_value_error():
    n = names()
    whole = [
        query((HTTP, PTR, 1), (HOST, A, 1), known=[record(HTTP, PTR, INSTANCE)]),
        response(record(HOST, A, ADDRESS), record(INSTANCE, SRV, b"\0\0\0\0\0\x50" + HOST)),
    ]
    for data in whole:
        for part in prefixes(data):
            passes_or_raises(ValueError, n.wanted, part)
            passes_or_raises(ValueError, n.is_contradicted, part, ADDRESS)
        for at in range(len(data)):
            for value in (0, 1, 0x3F, 0x40, 0xC0, 0xFF):
                changed = data[:at] + bytes((value,)) + data[at + 1 :]
                passes_or_raises(ValueError, n.wanted, changed)
                passes_or_raises(ValueError, n.is_contradicted, changed, ADDRESS)


def test_compression_that_does_not_lead_backwards_is_refused():
    for pointer in (b"\xc0\x0c", b"\xc0\x0e", b"\xc0\xff", b"\x01x\xc0\x0c"):
        raises(ValueError, names().wanted, query((pointer, A, 1)))

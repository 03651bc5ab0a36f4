"""dns: queries, replies with compression and CNAMEs, every reason to distrust one (RFC 1035)."""

import struct

from expect import passes_or_raises, prefixes, raises

import dns

ID = 0x1234
NAME = "time.example.org"
WIRE = b"\x04time\x07example\x03org\0"
A_IN = b"\0\x01\0\x01"
QUESTION = WIRE + A_IN
TO_QUESTION = b"\xc0\x0c"  # compression pointer to the question's name


def head(flags=0x8180, questions=1, answers=1, id=ID):
    return struct.pack(">HHHHHH", id, flags, questions, answers, 0, 0)


def record(owner, kind, data, ttl_s=300, class_=1):
    return owner + struct.pack(">HHIH", kind, class_, ttl_s, len(data)) + data


def a(owner=TO_QUESTION, address=b"\xc0\x00\x02\x01", ttl_s=300, class_=1):
    return record(owner, 1, address, ttl_s, class_)


def cname(owner, target, ttl_s=300):
    return record(owner, 5, target, ttl_s)


def reply(*records):
    return head(answers=len(records)) + QUESTION + b"".join(records)


def parse(packet, name=NAME):
    return dns.parse(packet, len(packet), ID, name)


def reason(packet, foreign=False):
    e = raises(dns.DnsError, parse, packet)
    assert e.foreign is foreign, e.reason
    return e.reason


def test_a_query_asks_for_one_a_record_with_recursion():
    buf = bytearray(b"\xa5" * 64)
    n = dns.query(buf, ID, NAME)
    assert buf[:n] == b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0" + QUESTION
    assert buf[n:] == b"\xa5" * (64 - n)


def test_a_trailing_dot_changes_nothing():
    one, two = bytearray(64), bytearray(64)
    assert dns.query(one, ID, NAME) == dns.query(two, ID, NAME + ".")
    assert one == two
    assert parse(reply(a()), NAME + ".") == ("192.0.2.1", 300)


def test_the_longest_name_fits_in_271_bytes():
    name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(name) == 253
    buf = bytearray(271)
    assert dns.query(buf, 0xFFFF, name) == 271
    raises(ValueError, dns.query, bytearray(270), 0, name)
    raises(ValueError, dns.query, bytearray(300), 0, name + "d")


def test_names_that_are_none_are_refused_with_a_text_that_says_why():
    for name, text in (
        ("", "0 characters"),
        (".", "0 characters"),
        ("a..b", "0 characters"),
        (".a", "0 characters"),
        ("a..", "0 characters"),
        ("a" * 64 + ".b", "64 characters"),
        ("a b.c", "' '"),
        ("http://a", "':'"),
        ("a.b:80", "':'"),
        ("a\0b", "not a letter"),
        ("ä.b", "not a letter"),
        ("-a.b", "'-a'"),
        ("a-.b", "'a-'"),
    ):
        assert text in str(raises(ValueError, dns.query, bytearray(300), ID, name)), name


def test_names_that_are_in_use_are_taken():
    for name in ("a", "pool.ntp.org", "0.de.pool.ntp.org", "_ntp._udp.local", "A-Z-b-9.x", "xn--zhler-gra.de"):
        assert dns.query(bytearray(300), 0, name) == 12 + len(name) + 2 + 4


def test_ids_outside_16_bits_are_refused():
    for id in (-1, 0x10000):
        raises(ValueError, dns.query, bytearray(64), id, NAME)


def test_an_address_is_found_through_compression_and_without():
    assert parse(reply(a())) == ("192.0.2.1", 300)
    assert parse(reply(a(WIRE))) == ("192.0.2.1", 300)
    assert parse(reply(a(b"\x04time" + b"\xc0\x11"))) == ("192.0.2.1", 300)


def test_bytes_behind_the_reply_do_not_matter():
    packet = reply(a())
    for tail in (b"\0", b"\xff" * 20, packet):
        assert parse(packet + tail) == ("192.0.2.1", 300)
        assert dns.parse(bytearray(packet + tail), len(packet), ID, NAME) == ("192.0.2.1", 300)


def test_no_case_is_told_apart():
    assert parse(reply(a()), "TIME.Example.ORG") == ("192.0.2.1", 300)
    upper = WIRE.replace(b"time", b"TiMe")
    assert parse(head() + upper + A_IN + a(WIRE.replace(b"org", b"ORG"))) == ("192.0.2.1", 300)


def test_the_first_address_of_several_is_taken():
    assert parse(reply(a(), a(address=b"\x01\x01\x01\x01"))) == ("192.0.2.1", 300)


def test_cnames_are_followed_in_any_order_with_the_shortest_time():
    first = cname(TO_QUESTION, b"\x01b\xc0\x11", 60)
    second = cname(b"\x01b\xc0\x11", b"\x01c\x03net\0", 900)
    address = a(b"\x01C\x03net\0", b"\x0a\x00\x00\x07", 1200)
    for records in ((first, second, address), (address, second, first), (second, address, first)):
        assert parse(reply(*records)) == ("10.0.0.7", 60)


def test_a_time_with_the_top_bit_set_is_none():
    assert parse(reply(a(ttl_s=0x80000000))) == ("192.0.2.1", 0)
    assert parse(reply(a(ttl_s=0x7FFFFFFF))) == ("192.0.2.1", 0x7FFFFFFF)
    assert parse(reply(a(ttl_s=0))) == ("192.0.2.1", 0)


def test_records_of_other_names_types_and_classes_are_passed_over():
    others = (
        a(b"\x05other\xc0\x11", b"\x09\x09\x09\x09"),
        record(TO_QUESTION, 28, b"\0" * 16),
        record(TO_QUESTION, 16, b"\x03txt"),
        record(b"\x3f" + b"a" * 63 + TO_QUESTION, 16, b""),
        a(address=b"\x08\x08\x08\x08", class_=3),
    )
    assert parse(reply(*others, a())) == ("192.0.2.1", 300)
    assert parse(reply(a(), *others)) == ("192.0.2.1", 300)
    assert parse(reply(a(), record(b"\0", 10, b""))) == ("192.0.2.1", 300)  # no data, up to the last byte
    assert reason(reply(*others)) == "no A record"


def test_what_is_no_answer_to_our_query_is_foreign():
    for packet in (
        head(id=0x1235) + QUESTION + a(),
        head(flags=0x0100) + QUESTION + a(),
        head(flags=0x8980) + QUESTION + a(),  # opcode 1
        head() + b"\x04timf" + QUESTION[5:] + a(),
        head() + WIRE + b"\0\x1c\0\x01" + a(),
        head() + WIRE + b"\0\x01\0\x03" + a(),
        head(questions=0) + a(WIRE),
        head(questions=2) + QUESTION + QUESTION + a(),
        head() + b"\xc0\x0c" + A_IN + a(WIRE),
        head(flags=0x8183) + b"\x05other\0" + A_IN,
        b"",
    ):
        reason(packet, True)


def test_the_servers_refusal_is_named():
    names = ("FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "rcode 6", "rcode 7", "rcode 8", "rcode 9")
    for rcode, name in [(1 + i, name) for i, name in enumerate(names)] + [(15, "rcode 15")]:
        assert reason(head(flags=0x8180 | rcode, answers=0) + QUESTION) == name
        assert reason(head(flags=0x8180 | rcode, questions=0, answers=0)) == name


def test_a_truncated_reply_is_refused():
    assert reason(head(flags=0x8380) + QUESTION + a()) == "truncated"


def test_a_reply_without_an_address_is_refused():
    assert reason(reply()) == "no A record"
    assert reason(reply(cname(TO_QUESTION, b"\x01b\0"))) == "no A record"


def test_circles_of_cnames_and_long_chains_end():
    assert "CNAME" in reason(reply(cname(TO_QUESTION, TO_QUESTION)))
    assert "CNAME" in reason(reply(cname(TO_QUESTION, b"\x01b\0"), cname(b"\x01b\0", TO_QUESTION)))
    names = [TO_QUESTION] + [b"\x01" + bytes((98 + i,)) + b"\0" for i in range(9)]
    chain = [cname(names[i], names[i + 1]) for i in range(9)]
    assert parse(reply(*chain[:8], a(names[8]))) == ("192.0.2.1", 300)
    assert "CNAME" in reason(reply(*chain, a(names[9])))


def test_compression_that_does_not_lead_backwards_is_refused():
    at = 12 + len(QUESTION)  # where the first answer's name stands
    for owner in (
        struct.pack(">H", 0xC000 | at),  # to itself
        struct.pack(">H", 0xC000 | at + 2),  # forwards
        b"\x01a" + struct.pack(">H", 0xC000 | at),  # to its own beginning
        struct.pack(">H", 0xFFFF),
    ):
        assert "compression" in reason(reply(a(owner)))
    # Two pointers that lead to each other: the second, in the CNAME's data, may lead to the first, not back again.
    loop = struct.pack(">H", 0xC000 | at + 12)
    assert "compression" in reason(reply(cname(loop, struct.pack(">H", 0xC000 | at))))


def test_a_name_may_not_grow_beyond_255_bytes():
    # Each record's owner is one label of 60 bytes before the last record's owner.
    records = []
    at = 12 + len(QUESTION)
    before = TO_QUESTION
    for _ in range(4):
        owner = b"\x3c" + b"a" * 60 + before
        records.append(a(owner))
        before = struct.pack(">H", 0xC000 | at)
        at += len(records[-1])
    assert reason(reply(*records[:3])) == "no A record"  # 3 x 61 + 18 = 201
    assert "255" in reason(reply(*records))
    for last, text in ((55, "no A record"), (56, "255")):  # 18 + 3 x 61 is 201; 201 + 54 is 255
        owner = bytes((last - 2,)) + b"a" * (last - 2) + struct.pack(">H", 0xC000 | _third(records))
        assert text in reason(reply(*records[:3], a(owner))), last


def _third(records):
    """Where the third record's owner stands."""
    return 12 + len(QUESTION) + len(records[0]) + len(records[1])


def test_reserved_label_types_are_refused():
    for first in (0x40, 0x80, 0xBF):
        assert "label" in reason(reply(a(bytes((first,)) + b"a" * 63 + b"\0")))


def test_records_that_lie_about_their_size_are_refused():
    assert "past the end" in reason(head(answers=2) + QUESTION + a())
    assert "past the end" in reason(head(answers=0xFFFF) + QUESTION + a())
    assert "past the end" in reason(reply(TO_QUESTION + struct.pack(">HHIH", 1, 1, 0, 5) + b"\1\2\3\4"))
    assert "4 bytes" in reason(reply(a(address=b"\1\2\3")))
    assert "4 bytes" in reason(reply(a(address=b"\1\2\3\4\5")))
    assert "CNAME" in reason(reply(cname(TO_QUESTION, b"\x01b\0x")))
    assert "CNAME" in reason(reply(record(TO_QUESTION, 5, b"")[:-2] + b"\0\x01" + b"\x01b\0"))


def test_every_prefix_of_every_reply_is_refused_with_a_dns_error():
    longest = reply(cname(TO_QUESTION, b"\x01b\xc0\x11"), record(TO_QUESTION, 16, b"\x03txt"), a(b"\x01b\xc0\x11"))
    assert parse(longest) == ("192.0.2.1", 300)
    two = reply(a(b"\x3c" + b"a" * 60 + TO_QUESTION), a())
    for packet in (longest, two, reply(a()), head(flags=0x8183) + QUESTION):
        for part in prefixes(packet):
            raises(dns.DnsError, parse, part)


def test_every_single_byte_changed_gives_an_address_or_a_dns_error():
    packet = reply(cname(TO_QUESTION, b"\x01b\xc0\x11"), a(b"\x01b\xc0\x11"))
    refused = 0
    for i in range(len(packet)):
        for value in (0, 1, 0x3F, 0x40, 0xC0, 0xFF):
            broken = bytearray(packet)
            broken[i] = value
            refused += not passes_or_raises(dns.DnsError, parse, broken)
    assert refused > len(packet) * 3


def test_dotted_quads_are_told_from_names():
    for text in ("0.0.0.0", "1.2.3.4", "255.255.255.255", "192.168.1.40", "10.0.0.0"):
        assert dns.is_ipv4(text), text
    for text in (
        "",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.",
        ".1.2.3",
        "1..2.3",
        "1.2.3.256",
        "1.2.3.04",
        "00.1.2.3",
        "1.2.3.-4",
        "1.2.3.+4",
        "1.2.3. 4",
        "1.2.3.4 ",
        "1.2.3.4\n",
        "1.2.3.0x4",
        "1.2.3.1_0",
        "1.2.3.4444",
        "1.2.3.\u0664",
        "1.2.3.²",
        "a.b.c.d",
        "time.example.org",
    ):
        assert not dns.is_ipv4(text), text


# A server with one address for all names


def answered(kind=1, class_=1, flags=0x0100, wire=WIRE, rest=b""):
    query = head(flags, 1, 0) + wire + struct.pack(">HH", kind, class_) + rest
    return dns.answer(query, "192.168.4.1")


def test_any_name_has_the_one_address():
    for wire in (WIRE, b"\x01a\0", b"\x3f" + b"x" * 63 + b"\0"):
        packet = answered(wire=wire)
        assert packet[:12] == head(0x8580, 1, 1)
        assert packet[12:] == wire + A_IN + TO_QUESTION + b"\0\x01\0\x01\0\0\0\0\0\x04\xc0\xa8\x04\x01"
    assert dns.parse(answered(), len(answered()), ID, NAME) == ("192.168.4.1", 0)


def test_a_query_with_edns_is_answered_without():
    assert answered(rest=b"\0\0\x29\x10\0\0\0\0\0\0\0") == answered()


def test_other_records_than_a_are_not_there():
    for kind in (28, 65, 15):
        assert answered(kind) == head(0x8580, 1, 0) + WIRE + struct.pack(">HH", kind, 1)
    assert answered(class_=3)[6:8] == b"\0\0"


def test_what_is_no_query_of_one_name_is_not_answered():
    whole = head(0x0100, 1, 0) + QUESTION
    for packet in prefixes(whole):
        assert dns.answer(packet, "192.168.4.1") == b""
    for flags in (0x8100, 0x2800):
        assert answered(flags=flags) == b""
    assert dns.answer(head(0x0100, 2, 0) + QUESTION, "192.168.4.1") == b""
    for wire in (b"\xc0\x0c", b"\x40" + b"x" * 64 + b"\0", (b"\x3f" + b"x" * 63) * 5 + b"\0", b"\x04time\xc0\x0c"):
        assert answered(wire=wire) == b"", wire

"""ntp: requests, replies, every reason to distrust one (RFC 5905, RFC 4330)."""

import struct

from expect import prefixes, raises

import ntp

NONCE = b"\x01\x02\x03\x04\xfa\xfb\xfc\xfd"
ERA_0_S = 2208988800  # unix time 0 in NTP seconds
T_2026_S = 1767225600  # 2026-01-01 00:00:00 UTC


def reply(
    receive_s=T_2026_S + ERA_0_S,
    receive_fraction=0,
    transmit_s=T_2026_S + ERA_0_S,
    transmit_fraction=0,
    first=0x24,  # leap 0, version 4, mode 4
    stratum=2,
    delay=0x8000,
    dispersion=0x0100,
    refid=b"\xc0\xa8\x01\x01",
    nonce=NONCE,
):
    """A server's packet; times in NTP seconds and 2**-32 s, delays in 2**-16 s."""
    return (
        bytes((first, stratum, 6, 0xE9))
        + struct.pack(">II", delay, dispersion)
        + refid
        + struct.pack(">II", receive_s - 20, 0)  # reference timestamp
        + nonce
        + struct.pack(">IIII", receive_s, receive_fraction, transmit_s, transmit_fraction)
    )


def parse(packet):
    return ntp.parse(packet, len(packet), NONCE)


def error(packet):
    return raises(ntp.NtpError, parse, packet)


def test_a_request_is_a_client_packet_with_nothing_but_the_nonce():
    buf = bytearray(b"\xa5" * 50)
    ntp.request(buf, NONCE)
    assert buf == b"\x23" + b"\0" * 39 + NONCE + b"\xa5\xa5"


def test_a_request_fits_in_48_bytes():
    buf = bytearray(48)
    ntp.request(buf, NONCE)
    assert buf[40:] == NONCE


def test_a_request_needs_room_and_a_nonce_of_eight_bytes_that_is_not_zero():
    for size, nonce in ((47, NONCE), (48, NONCE[:7]), (48, NONCE + b"x"), (48, b"\0" * 8), (48, b"")):
        raises(ValueError, ntp.request, bytearray(size), nonce)


def test_a_reply_gives_the_time_and_what_it_is_worth():
    r = parse(reply(receive_fraction=0x40000000, transmit_fraction=0x80000000, first=0x64))
    assert (r.leap, r.stratum, r.refid) == (1, 2, b"\xc0\xa8\x01\x01")
    assert (r.receive_ms, r.transmit_ms) == (T_2026_S * 1000 + 250, T_2026_S * 1000 + 500)
    assert (r.seconds_unix, r.fraction_ms) == (T_2026_S, 500)
    assert (r.root_delay_ms, r.root_dispersion_ms) == (500, 3)


def test_a_recorded_packet_is_read():
    # RFC 5905 layout as a stratum-1 server fills it in; 2024-06-12 21:37:01.953 UTC received and sent.
    packet = (
        b"\x24\x01\x00\xe9\x00\x00\x00\x00\x00\x00\x00\x0aPTB\x00\xea\x14\x09\xcd\x00\x00\x00\x00"
        + NONCE
        + b"\xea\x14\x09\xcd\xf4\x00\x00\x00\xea\x14\x09\xcd\xf4\x10\x00\x00"
    )
    r = parse(packet)
    assert (r.stratum, r.refid) == (1, b"PTB\0")
    assert (r.seconds_unix, r.fraction_ms) == (0xEA1409CD - ERA_0_S, 953)


def test_the_buffer_may_be_longer_than_the_packet_and_the_nonce_any_kind_of_bytes():
    buf = bytearray(reply() + b"\xa5" * 20)
    assert ntp.parse(buf, 48, bytearray(NONCE)).seconds_unix == T_2026_S
    assert ntp.parse(buf, 68, NONCE).seconds_unix == T_2026_S  # extension fields are not looked at
    assert ntp.parse(memoryview(buf), 48, NONCE).seconds_unix == T_2026_S


def test_every_prefix_is_too_short():
    for part in prefixes(reply()):
        e = error(part)
        assert e.foreign
        assert "short" in e.reason
    assert raises(ntp.NtpError, ntp.parse, bytearray(reply()), 47, NONCE).foreign


def test_only_mode_4_is_an_answer():
    for mode in (0, 1, 2, 3, 5, 6, 7):
        assert error(reply(first=0x20 | mode)).foreign, mode


def test_only_versions_1_to_4_are_taken():
    for version in range(8):
        packet = reply(first=version << 3 | 4)
        if 1 <= version <= 4:
            assert parse(packet).seconds_unix == T_2026_S
        else:
            assert error(packet).foreign, version


def test_an_answer_to_another_request_is_foreign():
    for nonce in (b"\0" * 8, NONCE[:7] + b"\xff", b"\xff" + NONCE[1:]):
        e = error(reply(nonce=nonce))
        assert (e.foreign, e.kiss) == (True, None), nonce


def test_kiss_o_death_carries_its_code():
    for code in (b"RATE", b"DENY", b"RSTR", b"\xff\0\0\0"):
        e = error(reply(stratum=0, refid=code))
        assert e.kiss == code
        assert not e.foreign
    # As servers send it: leap 3 and no times.
    assert error(b"\xe4\0\0\0" + b"\0" * 8 + b"RATE" + b"\0" * 8 + NONCE + b"\0" * 16).kiss == b"RATE"


def test_a_kiss_o_death_that_is_not_ours_is_only_foreign():
    e = error(reply(stratum=0, refid=b"DENY", nonce=b"\x09" * 8))
    assert e.foreign
    assert e.kiss is None


def test_strata_1_to_15_are_taken_and_those_above_refused():
    for stratum in range(1, 16):
        assert parse(reply(stratum=stratum)).stratum == stratum
    for stratum in (16, 17, 255):
        e = error(reply(stratum=stratum))
        assert "stratum" in e.reason
        assert not e.foreign


def test_an_unsynchronised_server_is_refused():
    assert "synchronised" in error(reply(first=0xE4)).reason
    for leap in (0, 1, 2):
        assert parse(reply(first=leap << 6 | 0x24)).leap == leap


def test_missing_timestamps_are_refused():
    good = reply()
    for packet in (good[:40] + b"\0" * 8, good[:32] + b"\0" * 8 + good[40:], good[:32] + b"\0" * 16):
        assert "missing" in error(packet).reason
        assert not error(packet).foreign


def test_times_before_2024_are_refused():
    first = 1704067200 + ERA_0_S
    assert parse(reply(receive_s=first, transmit_s=first)).seconds_unix == 1704067200
    for seconds in (first - 1, 0x80000000, ERA_0_S):
        assert "2024" in error(reply(receive_s=seconds, transmit_s=seconds)).reason, seconds


def test_the_era_rolls_over_in_2036():
    for ntp_s, unix_s in ((0xFFFFFFFF, 2085978495), (0, 2085978496), (1, 2085978497), (0x7FFFFFFF, 4233462143)):
        packet = reply()[:32] + struct.pack(">IIII", ntp_s, 1, ntp_s, 1)
        r = parse(packet)
        assert (r.seconds_unix, r.fraction_ms) == (unix_s, 0), ntp_s
    # Received in one era, sent in the next.
    r = parse(reply()[:32] + struct.pack(">IIII", 0xFFFFFFFF, 0xFFFFFFFF, 0, 0x80000000))
    assert r.transmit_ms - r.receive_ms == 501


def test_the_last_fraction_is_still_999_ms():
    r = parse(reply(transmit_fraction=0xFFFFFFFF))
    assert (r.seconds_unix, r.fraction_ms) == (T_2026_S, 999)


def test_a_packet_sent_before_it_was_received_is_refused():
    assert "before received" in error(reply(receive_fraction=0x80000000)).reason


def test_a_server_too_far_from_its_clock_is_refused():
    r = parse(reply(delay=10 << 16, dispersion=10 << 16))
    assert (r.root_delay_ms, r.root_dispersion_ms) == (10000, 10000)
    for delay, dispersion in ((0, 16 << 16), (32 << 16, 0), (0xFFFFFFFF, 0xFFFFFFFF), (16 << 16, 8 << 16)):
        assert "too far" in error(reply(delay=delay, dispersion=dispersion)).reason


def test_offset_and_round_trip_take_out_the_servers_own_time():
    # The clock is 1000 ms behind, 30 ms there, 5 ms in the server, 50 ms back.
    times = (10000, 11030, 11035, 10085)
    assert ntp.offset_ms(*times) == 990  # off by half of the asymmetry
    assert ntp.round_trip_ms(*times) == 80
    assert ntp.offset_ms(10000, 9020, 9020, 10040) == -1000
    assert ntp.offset_ms(0, 1, 1, 1) == 0  # rounded down
    assert ntp.round_trip_ms(100, 0, 0, 90) == -10


def test_without_a_clock_the_offset_is_the_time_of_asking():
    r = parse(reply(transmit_fraction=0))
    assert ntp.offset_ms(0, r.receive_ms, r.transmit_ms, 40) == T_2026_S * 1000 - 20

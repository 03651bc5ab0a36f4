"""Modbus codecs: known vectors, whole, byte by byte and with trailing bytes; limits; every reason not to match."""

from modbus import pdu, rtu, tcp
from modbus.crc import crc16

# Frames with their CRC from published examples: the Modicon guide's read of unit 17 and its answer, and PZEM-004T's.
READ_17 = bytes((0x11, 0x03, 0x00, 0x6B, 0x00, 0x03, 0x76, 0x87))
ANSWER_17 = bytes((0x11, 0x03, 0x06, 0xAE, 0x41, 0x56, 0x52, 0x43, 0x40, 0x49, 0xAD))
PZEM_RESET = bytes((0x01, 0x42, 0x80, 0x11))


def frame(*body):
    """A serial frame with its CRC."""
    buf = bytearray(bytes(body) + b"\0\0")
    rtu.append_crc(buf, len(body))
    return bytes(buf)


def place(at, n):
    return at << 16 | n


# Request, its answer. Each answer is also fed byte by byte and with bytes behind it.
EXCHANGES = (
    (READ_17, ANSWER_17),
    (frame(1, 1, 0, 0x13, 0, 0x25), frame(1, 1, 5, 0xCD, 0x6B, 0xB2, 0x0E, 0x1B)),
    (frame(1, 2, 0, 0xC4, 0, 0x16), frame(1, 2, 3, 0xAC, 0xDB, 0x35)),
    (frame(2, 4, 0, 8, 0, 1), frame(2, 4, 2, 0, 10)),
    (frame(1, 5, 0, 0xAC, 0xFF, 0), frame(1, 5, 0, 0xAC, 0xFF, 0)),
    (frame(1, 6, 0, 1, 0, 3), frame(1, 6, 0, 1, 0, 3)),
    (frame(1, 7), frame(1, 7, 0x6D)),
    (frame(1, 8, 0, 0, 0xA5, 0x37), frame(1, 8, 0, 0, 0xA5, 0x37)),
    (frame(1, 11), frame(1, 11, 0xFF, 0xFF, 1, 8)),
    (frame(1, 12), frame(1, 12, 8, 0, 0, 1, 8, 1, 0x21, 0x20, 0)),
    (frame(1, 15, 0, 0x13, 0, 10, 2, 0xCD, 1), frame(1, 15, 0, 0x13, 0, 10)),
    (frame(1, 16, 0, 1, 0, 2, 4, 0, 10, 1, 2), frame(1, 16, 0, 1, 0, 2)),
    (frame(1, 17), frame(1, 17, 3, 0x42, 0x42, 0xFF)),
    (frame(1, 20, 7, 6, 0, 4, 0, 1, 0, 2), frame(1, 20, 6, 5, 6, 0x0D, 0xFE, 0, 0x20)),
    (frame(1, 22, 0, 4, 0, 0xF2, 0, 0x25), frame(1, 22, 0, 4, 0, 0xF2, 0, 0x25)),
    (frame(1, 23, 0, 3, 0, 2, 0, 14, 0, 1, 2, 0, 0xFF), frame(1, 23, 4, 0, 0xFE, 0x0A, 0xCD)),
    (frame(1, 24, 4, 0xDE), frame(1, 24, 0, 6, 0, 2, 1, 0xB8, 0x12, 0x84)),
    (
        frame(1, 43, 14, 1, 0),
        frame(1, 43, 14, 1, 1, 0, 0, 3, 0, 2, 0x41, 0x42, 1, 1, 0x43, 2, 3, 0x31, 0x2E, 0x30),
    ),
    (frame(1, 3, 0, 0, 0, 2), frame(1, 0x83, 2)),
)


def test_crc_of_known_frames():
    assert crc16(b"123456789", 9, 0) == 0x4B37  # the check value of CRC-16/MODBUS in the catalogues
    assert crc16(b"", 0, 0) == 0xFFFF
    for known in (READ_17, ANSWER_17, PZEM_RESET):
        assert crc16(known, len(known), 0) == 0
        assert crc16(b"xy" + known, len(known) + 2, 2) == 0
        assert crc16(known, len(known) - 2, 0) == known[-2] | known[-1] << 8


def test_crc_sees_every_flipped_bit():
    for i in range(len(ANSWER_17)):
        for bit in range(8):
            damaged = bytearray(ANSWER_17)
            damaged[i] ^= 1 << bit
            assert crc16(damaged, len(damaged), 0) != 0


def test_build_makes_the_known_frames():
    out = bytearray(16)
    assert rtu.build(out, 0x11, b"??" + READ_17[1:6], 2, 5) == 8
    assert bytes(out[:8]) == READ_17
    assert rtu.build(out, 1, b"\x42", 0, 1) == 4
    assert bytes(out[:4]) == PZEM_RESET


def test_every_answer_is_found_whole():
    for request, answer in EXCHANGES:
        n = len(answer)
        assert rtu.answer_length(answer, 0, n, len(request)) == n, request
        assert rtu.mismatch(answer, 0, n, request, len(request)) == rtu.MATCH, request
        assert rtu.find_answer(answer, n, request, len(request), False) == place(0, n), request


def test_every_answer_is_found_byte_by_byte_and_not_before_its_last_byte():
    for request, answer in EXCHANGES:
        buf = bytearray(256)
        for n in range(len(answer)):
            buf[n] = answer[n]
            length = rtu.answer_length(buf, 0, n + 1, len(request))
            assert length == rtu.MORE or length == len(answer), request
            if n + 1 < len(answer):
                assert rtu.find_answer(buf, n + 1, request, len(request), True) == 0, request
        assert rtu.find_answer(buf, len(answer), request, len(request), False) == place(0, len(answer))


def test_the_short_check_of_a_read_says_what_the_long_one_says():
    for request, answer in EXCHANGES:
        wants = request[1] in (3, 4) and answer[1] in (3, 4)
        assert rtu.is_read_answer(answer, len(answer), request) == wants, request
        assert not rtu.is_read_answer(answer, len(answer) - 1, request)
        for i in range(len(answer)):
            damaged = bytearray(answer)
            damaged[i] ^= 1
            sealed = bytearray(damaged)
            rtu.append_crc(sealed, len(sealed) - 2)
            for other in (damaged, sealed):
                match = rtu.mismatch(other, 0, len(other), request, len(request)) == rtu.MATCH
                assert rtu.is_read_answer(other, len(other), request) == (wants and match), (request, i)


def test_bytes_behind_an_answer_do_not_matter():
    for request, answer in EXCHANGES:
        for tail in (b"\0", b"\xff\xff", answer, request):
            buf = answer + tail
            assert rtu.find_answer(buf, len(buf), request, len(request), False) == place(0, len(answer)), request


def test_an_answer_is_found_behind_noise_and_behind_foreign_frames():
    foreign = frame(9, 3, 2, 1, 1)
    for request, answer in EXCHANGES:
        for noise in (b"\0", b"\xff\0\x55", foreign, b"\0" + foreign):
            buf = noise + answer
            assert rtu.find_answer(buf, len(buf), request, len(request), False) == place(len(noise), len(answer))


def test_the_echo_of_a_read_is_not_its_answer():
    buf = READ_17 + ANSWER_17
    assert rtu.find_answer(READ_17, len(READ_17), READ_17, len(READ_17), True) == 0
    assert rtu.find_answer(buf, len(buf), READ_17, len(READ_17), False) == place(len(READ_17), len(ANSWER_17))


def test_each_reason_not_to_match_has_its_name():
    request = frame(1, 3, 0, 0, 0, 2)
    cases = (
        (frame(1, 3, 4, 0, 1, 0, 2), rtu.MATCH),
        (frame(2, 3, 4, 0, 1, 0, 2), rtu.OTHER_UNIT),
        (frame(1, 4, 4, 0, 1, 0, 2), rtu.OTHER_FUNCTION),
        (frame(1, 0x84, 2), rtu.OTHER_FUNCTION),
        (frame(1, 3, 2, 0, 1), rtu.OTHER_LENGTH),
        (frame(1, 3, 6, 0, 1, 0, 2), rtu.OTHER_LENGTH),
        (frame(1, 3, 4, 0, 1, 0, 2)[:-1] + b"\0", rtu.BAD_CRC),
        (b"\x01\x03\x04", rtu.OTHER_LENGTH),
        (frame(1, 0x83, 2), rtu.MATCH),
        (frame(1, 0x83, 2, 2), rtu.OTHER_LENGTH),
    )
    for answer, reason in cases:
        assert rtu.mismatch(answer, 0, len(answer), request, len(request)) == reason, rtu.REASONS[reason]


def test_writes_must_be_echoed():
    for request, other in (
        (frame(1, 6, 0, 1, 0, 3), frame(1, 6, 0, 1, 0, 4)),
        (frame(1, 5, 0, 1, 0xFF, 0), frame(1, 5, 0, 2, 0xFF, 0)),
        (frame(1, 16, 0, 1, 0, 1, 2, 0, 10), frame(1, 16, 0, 1, 0, 2)),
        (frame(1, 22, 0, 4, 0, 0xF2, 0, 0x25), frame(1, 22, 0, 4, 0, 0xF2, 0, 0x26)),
    ):
        assert rtu.mismatch(other, 0, len(other), request, len(request)) == rtu.OTHER_CONTENT


def test_a_vendor_function_ends_with_silence():
    answer = frame(1, 0x42)
    assert rtu.answer_length(answer, 0, 4, 4) == rtu.SILENCE
    assert rtu.find_answer(answer, 4, PZEM_RESET, 4, False) == 0
    assert rtu.find_answer(answer, 4, PZEM_RESET, 4, True) == place(0, 4)
    assert rtu.find_answer(answer[:3], 3, PZEM_RESET, 4, True) == 0


def test_a_frame_of_zeros_is_no_answer():
    zeros = bytes(64)
    for request, _ in EXCHANGES:
        assert rtu.find_answer(zeros, 64, request, len(request), True) == 0


def request_code(*body):
    body = bytes(body)
    return pdu.check_request(b"??" + body, 2, len(body))


def test_limits_of_requests():
    value, address, function = pdu.ILLEGAL_DATA_VALUE, pdu.ILLEGAL_DATA_ADDRESS, pdu.ILLEGAL_FUNCTION
    for code, body in (
        (0, (3, 0, 0, 0, 1)),
        (0, (3, 0, 0, 0, 125)),
        (value, (3, 0, 0, 0, 126)),
        (value, (4, 0, 0, 0, 0)),
        (value, (3, 0, 0, 1, 1)),
        (value, (3, 0, 0, 0)),
        (value, (3, 0, 0, 0, 1, 0)),
        (0, (1, 0, 0, 7, 0xD0)),
        (value, (2, 0, 0, 7, 0xD1)),
        (0, (4, 0xFF, 0xFF, 0, 1)),
        (address, (4, 0xFF, 0xFF, 0, 2)),
        (0, (5, 0, 0, 0xFF, 0)),
        (0, (5, 0, 0, 0, 0)),
        (value, (5, 0, 0, 1, 0)),
        (value, (5, 0, 0, 0xFF, 1)),
        (0, (6, 0, 0, 1, 2)),
        (value, (6, 0, 0, 1)),
        (0, (15, 0, 0, 0, 9, 2, 1, 1)),
        (value, (15, 0, 0, 0, 9, 1, 1)),
        (0, (16, 0, 0, 0, 1, 2, 0, 0)),
        (value, (16, 0, 0, 0, 1, 2, 0)),
        (value, (16, 0, 0, 0, 2, 2, 0, 0)),
        (value, (16, 0, 0, 0, 0, 0)),
        (address, (16, 0xFF, 0xFF, 0, 2, 4, 0, 0, 0, 0)),
        (0, (22, 0, 4, 0, 0xF2, 0, 0x25)),
        (value, (22, 0, 4, 0, 0xF2, 0)),
        (0, (23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0)),
        (value, (23, 0, 0, 0, 126, 0, 0, 0, 1, 2, 0, 0)),
        (value, (23, 0, 0, 0, 1, 0, 0, 0, 122, 244) + (0,) * 243),
        (0, (24, 0, 0)),
        (0, (7,)),
        (value, (7, 0)),
        (0, (43, 14, 1, 0)),
        (value, (43,)),
        (0, (0x42,)),
        (0, (0x65, 1, 2, 3)),
        (function, (0,)),
        (function, (0x83, 1)),
    ):
        assert request_code(*body) == code, body
    assert request_code() == function
    assert request_code(*((16, 0, 0, 0, 123, 246) + (0,) * 246)) == 0
    assert pdu.check_request(bytes((0x41,)) + bytes(253), 0, 254) == function


def test_only_the_known_reads_are_reads():
    reads = [code for code in range(1, 128) if pdu.is_read(bytes((code, 0)), 0, 2)]
    assert reads == [1, 2, 3, 4, 7, 11, 12, 17, 20, 24]
    assert pdu.is_read(bytes((43, 14, 1, 0)), 0, 4)
    assert not pdu.is_read(bytes((43, 13)), 0, 2)
    assert not pdu.is_read(bytes((43,)), 0, 1)


def test_exception_pdu():
    assert pdu.exception(3, pdu.GATEWAY_TARGET_FAILED) == b"\x83\x0b"


def adu(unit, *body, tid=0x1234, pid=0):
    n = len(body) + 1
    return bytes((tid >> 8, tid & 255, pid >> 8, pid & 255, n >> 8, n & 255, unit) + body)


def test_an_adu_is_cut_whole_byte_by_byte_and_with_trailing_bytes():
    one = adu(1, 3, 0, 0, 0, 2)
    for n in range(len(one)):
        assert tcp.adu_length(one, 0, n) == 0
    assert tcp.adu_length(one, 0, len(one)) == 12
    two = one + adu(2, 4, 0, 0, 0, 1)
    for n in range(12, 24):
        assert tcp.adu_length(two, 0, n) == 12
        assert tcp.adu_length(two, 12, n) == 0
    assert tcp.adu_length(two, 12, 24) == 12


def test_impossible_lengths_are_told_as_soon_as_they_are_read():
    for length, good in ((0, False), (1, False), (2, True), (254, True), (255, False), (65535, False)):
        head = bytes((0, 1, 0, 0, length >> 8, length & 255))
        assert tcp.adu_length(head, 0, 5) == 0
        assert (tcp.adu_length(head, 0, 6) == 0) == good
        assert (tcp.adu_length(head, 0, 6) == -1) == (not good)
    assert tcp.adu_length(bytes((0, 1, 0, 0, 0, 254)) + bytes(254), 0, 260) == tcp.ADU_MAX


def test_protocol_id_is_read_whole():
    assert tcp.protocol_id(adu(1, 3), 0) == 0
    assert tcp.protocol_id(b"?" + adu(1, 3, pid=1), 1) == 1
    assert tcp.protocol_id(adu(1, 3, pid=0x0100), 0) == 0x0100


def test_the_reply_has_the_requests_transaction_and_unit():
    out = bytearray(b"\xee" * 260)
    request = b"??" + adu(17, 3, 0, 0, 0, 125, tid=0xFFFE)
    assert tcp.put_header(out, request, 2, 252) == 259
    assert bytes(out[:7]) == bytes((0xFF, 0xFE, 0, 0, 0, 253, 17))
    assert out[7] == 0xEE

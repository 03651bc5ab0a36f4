"""Modbus TCP connections: framing of the stream, order of replies, where a request goes, and every exception."""

import asyncio
import socket
import struct
from types import SimpleNamespace

import pytest

from firmware.bus import OK, Router
from firmware.net import seam
from firmware.net.budget import Budget
from firmware.services.modbus_tcp.server import ModbusServer
from host_tests.unit import the_schema as schema
from host_tests.unit.fakes import SIX, FakeStream, Uptime, crc16, defaults, fake_seam, frame, registers
from host_tests.unit.modbus_bench import CONFIG, Bench, FakeBus, FakeUnit255, adu, block, read, split


@pytest.fixture
def make(monkeypatch, events, clock):
    fake_seam(monkeypatch, clock)
    monkeypatch.setattr(seam, "tcp_listen", lambda *args: FakeStream())
    return lambda **options: Bench(events, **options)


READ_1 = read(0x1234, 1, 3, 100, 2)
ANSWER_1 = registers(1, 3, 0x1111, 0x2222)
REPLY_1 = adu(0x1234, 1, ANSWER_1[1:-2])


# -- framing


@pytest.mark.parametrize("cut", range(len(READ_1) + 1))
def test_a_request_split_anywhere_is_answered_once(make, cut):
    bench = make()
    peer = bench.connect()
    for piece in (READ_1[:cut], READ_1[cut:]):
        if piece:
            peer.feed(piece)
    assert bench.bus.sent() == frame(1, 3, b"\x00\x64\x00\x02")
    assert peer.take() == b"", "no reply before the meter's"
    bench.bus.end(ANSWER_1)
    assert peer.take() == REPLY_1
    assert peer.slot.busy is False


def test_a_request_byte_by_byte_is_answered_once(make):
    bench = make()
    peer = bench.connect()
    for k in range(len(READ_1)):
        assert bench.bus.requests == []
        peer.feed(READ_1[k : k + 1])
    bench.bus.end(ANSWER_1)
    assert peer.take() == REPLY_1


def test_the_largest_request_fits(make):
    bench = make(allow_writes=True)
    peer = bench.connect()
    pdu = bytes((16, 0, 0, 0, 123, 246)) + bytes(246)
    peer.feed(adu(1, 1, pdu))
    assert bench.bus.sent() == frame(1, pdu)
    vendor = bytes((0x65,)) + bytes(range(252))
    bench.bus.end(frame(1, 16, b"\x00\x00\x00\x7b"))
    peer.take()
    peer.feed(adu(2, 1, vendor))
    assert bench.bus.sent() == frame(1, vendor)
    bench.bus.end(frame(1, vendor))
    assert peer.take() == adu(2, 1, vendor), "and so does the largest reply"


def test_requests_merged_into_one_piece_are_answered_in_their_order(make):
    bench = make()
    peer = bench.connect()
    peer.feed(b"".join(read(tid, 255, 3, tid, 1) for tid in range(1, 6)))
    assert split(peer.take()) == [adu(tid, 255, bytes((3, 1, tid))) for tid in range(1, 6)]


def test_pipelined_requests_to_the_bus_go_one_at_a_time_and_in_their_order(make):
    bench = make()
    peer = bench.connect()
    peer.feed(b"".join(read(tid, 1, 3, tid, 1) for tid in range(1, 31)))
    for tid in range(1, 31):
        assert len(bench.bus.requests) == 1, "never more than one in any queue"
        assert bench.bus.sent() == frame(1, 3, struct.pack(">HH", tid, 1))
        bench.bus.end(registers(1, 3, tid))
        peer.settle()
    assert split(peer.take()) == [adu(tid, 1, registers(1, 3, tid)[1:-2]) for tid in range(1, 31)]


def test_replies_keep_their_order_when_fast_ones_come_behind_slow_ones(make):
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, 1, 3, 0, 1) + read(2, 255, 3, 0, 1) + read(3, 250, 3, 0, 1) + read(4, 1, 3, 5, 1))
    assert peer.take() == b""
    bench.bus.end(registers(1, 3, 7))
    peer.settle()
    assert [reply[:2] for reply in split(peer.take())] == [b"\x00\x01", b"\x00\x02", b"\x00\x03"]
    bench.bus.end(registers(1, 3, 8))
    assert split(peer.take()) == [adu(4, 1, registers(1, 3, 8)[1:-2])]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 11, 13, 64, 259, 260, 261, 1000])
def test_any_cutting_of_a_long_stream_gives_the_same_replies(make, size):
    bench = make()
    peer = bench.connect()
    wanted = []
    stream = b""
    for tid in range(40):
        kind = tid % 4
        if kind == 0:
            stream += read(tid, 255, 3, 0, 1)
            wanted.append(adu(tid, 255, bytes((3, 1, len(wanted) // 3 + 1))))
        elif kind == 1:
            stream += read(tid, 248, 3, 0, 1)
            wanted.append(adu(tid, 248, 0x83, 0x0A))
        elif kind == 2:
            stream += read(tid, 1, 4, tid, 2)
            wanted.append(adu(tid, 1, registers(1, 4, tid, tid)[1:-2]))
        else:
            stream += adu(tid, 9, b"\x03" + bytes(tid % 5 + 1), protocol=7)
    for k in range(0, len(stream), size):
        peer.inbox += stream[k : k + size]
        peer.settle()
        while bench.bus.requests:
            first = struct.unpack(">H", bench.bus.sent()[2:4])[0]
            bench.bus.end(registers(1, 4, first, first))
            peer.settle()
    assert split(peer.take()) == wanted
    assert bench.counters.discarded == 10
    assert not peer.closed


def test_another_protocol_is_discarded_and_the_stream_goes_on(make, events):
    bench = make()
    peer = bench.connect()
    peer.feed(adu(1, 1, b"whatever", protocol=0x0100) + read(2, 255, 3, 0, 1))
    assert [reply[:2] for reply in split(peer.take())] == [b"\x00\x02"]
    assert (bench.counters.discarded, bench.counters.requests) == (1, 1)
    assert events.texts() == ["ADU with protocol id 256 discarded"]


@pytest.mark.parametrize("length", [0, 1, 255, 256, 1000, 65535])
def test_an_impossible_length_closes_the_connection(make, events, length):
    bench = make()
    peer, other = bench.connect(), bench.connect()
    peer.feed(struct.pack(">HHHBB", 1, 0, length, 1, 3))
    assert peer.closed
    assert peer.take() == b""
    assert bench.counters.malformed == 1
    assert events.texts() == [f"connection closed: impossible MBAP length {length}"]
    other.feed(read(2, 255, 3, 0, 1))
    assert len(split(other.take())) == 1
    assert bench.budget.in_use() == 7


def test_what_was_asked_before_an_impossible_length_is_still_answered(make):
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, 255, 3, 0, 1) + b"\x00\x02\x00\x00\xff\xff")
    assert len(split(peer.take())) == 1
    assert peer.closed


@pytest.mark.parametrize(
    "rubbish", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", bytes(300), b"\xff" * 300]
)
def test_bytes_that_are_not_modbus_are_never_answered(make, rubbish):
    bench = make()
    peer = bench.connect()
    peer.feed(rubbish)
    assert peer.take() == b""
    assert bench.bus.requests == []


@pytest.mark.parametrize(("tid", "unit"), [(0, 1), (0xFFFF, 247), (0x00FF, 2), (0xFF00, 255)])
def test_a_reply_has_the_requests_transaction_and_unit(make, tid, unit):
    bench = make()
    peer = bench.connect()
    peer.feed(read(tid, unit, 3, 0, 1))
    for bus in (bench.bus, bench.other_bus):
        if bus.requests:
            bus.end(registers(unit, 3, 5))
    assert peer.take()[:7] == struct.pack(">HHHB", tid, 0, 5 if unit != 255 else 4, unit)


# -- where a request goes


def route(**values):
    return defaults(schema.ROUTE, **values)


def test_a_reply_over_a_route_names_the_unit_that_was_asked(make):
    bench = make(routes=[route(unit=100, bus=1, address=7), route(unit=101, closed=True)])
    peer = bench.connect()
    peer.feed(read(9, 100, 3, 5, 1))
    assert bench.other_bus.sent() == frame(7, 3, 0, 5, 0, 1)
    bench.other_bus.end(registers(7, 3, 77))
    assert peer.take() == adu(9, 100, 3, 2, 0, 77)
    peer.feed(read(10, 101, 3, 5, 1))
    assert peer.take() == adu(10, 101, 0x83, 0x0A)


WRITE_6 = bytes((6, 0, 1, 0, 9))


@pytest.mark.parametrize(
    ("writers", "allow", "taken"),
    [((), True, True), (["192.0.2.1"], True, True), (["192.0.2.2"], True, False), (["192.0.2.1"], False, False)],
)
def test_writes_are_for_the_clients_that_may(make, writers, allow, taken):
    bench = make(config={"allow_writes": allow, "writers": list(writers)})
    peer = bench.connect()
    peer.feed(adu(1, 1, WRITE_6))
    assert len(bench.bus.requests) == taken
    if not taken:
        assert peer.take() == adu(1, 1, 0x86, 1)


@pytest.mark.parametrize("priority", [[], ["192.0.2.1"]])
def test_the_requests_of_a_client_with_priority_say_so(make, priority):
    bench = make(config={"priority": priority})
    bench.connect().feed(READ_1)
    assert bench.bus.requests[0].has_priority == bool(priority)


# -- broadcasts


@pytest.mark.parametrize(
    ("pdu", "echo"),
    [
        (WRITE_6, WRITE_6),
        (b"\x05\x00\x01\xff\x00", b"\x05\x00\x01\xff\x00"),
        (b"\x10\x00\x01\x00\x01\x02\x12\x34", b"\x10\x00\x01\x00\x01"),
        (b"\x0f\x00\x01\x00\x03\x01\x05", b"\x0f\x00\x01\x00\x03"),
        (b"\x16\x00\x01\x00\xff\x12\x34", b"\x16\x00\x01\x00\xff\x12\x34"),
    ],
)
def test_a_broadcast_goes_to_the_buses_that_allow_it_and_is_echoed_at_once(make, pdu, echo):
    bench = make(broadcast=True, config={"allow_writes": True})
    peer = bench.connect()
    peer.feed(adu(3, 0, pdu))
    assert peer.take() == adu(3, 0, echo)
    assert bench.bus.broadcasts == [pdu]
    assert bench.other_bus.broadcasts == []


@pytest.mark.parametrize(
    ("options", "pdu", "code"),
    [
        ({"config": {"allow_writes": False}}, WRITE_6, 1),
        ({"config": {"allow_writes": True, "writers": ["192.0.2.9"]}}, WRITE_6, 1),
        ({"config": {"allow_writes": True}}, b"\x42", 1),
        ({"config": {"allow_writes": True}}, b"\x06\x00\x01\x00", 3),
        ({"config": {"allow_writes": True}, "code": 6}, WRITE_6, 6),
    ],
)
def test_a_broadcast_that_cannot_be_is_an_exception_and_goes_nowhere(make, options, pdu, code):
    bench = make(broadcast=True, config=options["config"])
    bench.bus.code = options.get("code", OK)
    peer = bench.connect()
    peer.feed(adu(3, 0, pdu))
    assert peer.take() == adu(3, 0, pdu[0] | 0x80, code)
    assert bench.bus.broadcasts == []


def test_reads_of_unit_0_are_the_gateways_own_with_broadcasts_too(make):
    bench = make(broadcast=True, config={"allow_writes": True})
    bench.connect().feed(read(1, 0, 3, 7, 1))
    assert bench.gateway.asked == [b"\x03\x00\x07\x00\x01"]


def test_requests_go_to_the_bus_of_the_unit(make):
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, 2, 3, 0, 1))
    assert bench.bus.requests == []
    assert len(bench.other_bus.requests) == 1


@pytest.mark.parametrize("unit", [0, 255])
def test_units_0_and_255_are_the_gateway_itself(make, unit):
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, unit, 3, 7, 1))
    assert bench.gateway.asked == [b"\x03\x00\x07\x00\x01"]
    assert peer.take() == adu(1, unit, bytes((3, 1, 1)))


@pytest.mark.parametrize("unit", [248, 250, 254])
def test_a_reserved_unit_is_0a(make, unit):
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, unit, 3, 0, 1))
    assert peer.take() == adu(1, unit, 0x83, 0x0A)


def test_without_a_bus_a_meter_is_0a(make):
    bench = make()
    bench.server.router = Router([], [])
    peer = bench.connect()
    peer.feed(READ_1)
    assert peer.take() == adu(0x1234, 1, 0x83, 0x0A)


@pytest.mark.parametrize(
    "request_adu",
    [
        *(read(7, unit, 3, 100, 2) for unit in (0, 1, 2, 9, 30, 40, 247, 248, 250, 255)),
        *(read(8, 1, function, 5, 9) for function in (1, 2, 3, 4, 5, 6, 0x14, 0x80, 0x83)),
        *(read(9, 1, 4, 0, count) for count in (0, 1, 125, 126, 0xFFFF)),
        *(read(10, 1, 3, first, 2) for first in (0xFFFE, 0xFFFF)),
        *(read(11, unit, 4, 103, 5) for unit in (1, 2)),  # cached for one of them
        read(12, 1, 3, 1, 1)[:-1],
        read(13, 1, 3, 1, 1) + read(14, 2, 3, 1, 1),
        adu(15, 1, b"\x03\x00\x01\x00", protocol=0),
        adu(16, 1, b"\x03\x00\x01\x00\x01", protocol=1),
        adu(17, 1, b"\x03\x00\x01\x00\x01\x00"),
    ],
    ids=bytes.hex,
)
def test_a_connection_that_has_passed_a_read_on_treats_all_that_follows_alike(make, request_adu):
    """A read of registers goes a shorter way then."""
    seen = []
    for begin in ((), (READ_1, READ_1)):
        bench = make(
            routes=[defaults(schema.ROUTE, unit=30, bus=1, address=7), defaults(schema.ROUTE, unit=40, closed=True)]
        )
        bench.bus.blocks.append((1, block()))
        peer = bench.connect()
        peer.feed(read(1, 255, 3, 7, 1))
        for one in begin:
            peer.feed(one)
            bench.bus.end(ANSWER_1)
            assert peer.take()[-len(REPLY_1) :] == REPLY_1
        peer.take()
        before = {name: getattr(bench.counters, name) for name in bench.counters.NAMES}
        received = peer.slot.received
        peer.feed(request_adu)
        buses = [bench.bus, bench.other_bus]
        asked = [[(one.unit, one.only_reads, bus.sent(k)) for k, one in enumerate(bus.requests)] for bus in buses]
        counted = {name: getattr(bench.counters, name) - before[name] for name in before}
        seen.append((peer.take(), peer.closed, peer.slot.received - received, asked, counted, bench.gateway.asked))
        for bus in buses:
            while bus.requests:
                bus.end(frame(bus.requests[0].frame[0], 0x83, 2))
        seen[-1] += (peer.take(),)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("code", [0x06, 0x0A, 0x0B])
def test_a_bus_that_does_not_take_a_request_is_the_exception_it_says(make, code):
    bench = make()
    bench.bus.code = code
    peer = bench.connect()
    peer.feed(READ_1 + read(2, 255, 3, 0, 1))
    assert split(peer.take()) == [adu(0x1234, 1, 0x83, code), adu(2, 255, bytes((3, 1, 1)))]
    assert bench.counters.passed == 0


@pytest.mark.parametrize("code", [0x04, 0x0A, 0x0B])
def test_a_request_that_ends_without_an_answer_is_the_exception_it_says(make, code):
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    bench.bus.end(code=code)
    assert peer.take() == adu(0x1234, 1, 0x83, code)
    peer.feed(READ_1)
    bench.bus.end(ANSWER_1)
    assert peer.take() == REPLY_1


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6])
def test_an_exception_of_the_meter_is_passed_on_and_counted(make, code):
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    bench.bus.end(frame(1, 0x83, code))
    assert peer.take() == adu(0x1234, 1, 0x83, code)
    assert bench.counters.exceptions == 1


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (b"\x00", 1), (b"\x80\x00", 1), (b"\x83\x02", 1), (b"\xff", 1),
        (b"\x03\x00\x00\x00\x00", 3), (b"\x03\x00\x00\x00\x7e", 3), (b"\x03\x00\x00\xff\xff", 3), (b"\x03", 3),
        (b"\x03\x00\x00\x00", 3), (b"\x03\x00\x00\x00\x01\x00", 3), (b"\x04\x00\x00\x00\x7e", 3),
        (b"\x01\x00\x00\x07\xd1", 3), (b"\x02\x00\x00\x00\x00", 3),
        (b"\x03\xff\xff\x00\x02", 2), (b"\x04\xff\x84\x00\x7d", 2), (b"\x01\xff\xff\x00\x02", 2),
    ],
)  # fmt: skip
def test_a_malformed_request_is_an_exception_and_never_reaches_the_bus(make, pdu, code):
    bench = make(allow_writes=True)
    peer = bench.connect()
    peer.feed(adu(9, 1, pdu))
    assert peer.take() == adu(9, 1, pdu[0] | 0x80, code)
    assert bench.bus.requests == []
    assert not peer.closed


WRITES = [
    b"\x05\x00\x01\xff\x00", b"\x06\x00\x01\x00\x05", b"\x0f\x00\x00\x00\x01\x01\x01",
    b"\x10\x00\x00\x00\x01\x02\x00\x01", b"\x15\x07\x06\x00\x04\x00\x07\x00\x00", b"\x16\x00\x04\x00\xf2\x00\x25",
    b"\x17\x00\x00\x00\x01\x00\x00\x00\x01\x02\x00\x01",
    b"\x08\x00\x01\x00\x00", b"\x2b\x0d\x00", b"\x41\x00", b"\x42", b"\x65abc",
]  # fmt: skip


@pytest.mark.parametrize("pdu", WRITES)
def test_a_write_is_refused_unless_it_is_allowed(make, pdu):
    bench = make()
    peer = bench.connect()
    peer.feed(adu(1, 1, pdu))
    assert peer.take() == adu(1, 1, pdu[0] | 0x80, 1)
    assert bench.bus.requests == []
    allowed = make(allow_writes=True)
    peer = allowed.connect()
    peer.feed(adu(1, 1, pdu))
    assert allowed.bus.sent() == frame(1, pdu)


@pytest.mark.parametrize(
    "pdu",
    [
        b"\x01\x00\x00\x00\x08",
        b"\x02\x00\x00\x00\x08",
        b"\x07",
        b"\x0b",
        b"\x0c",
        b"\x11",
        b"\x14\x07\x06\x00\x04\x00\x01\x00\x02",
        b"\x18\x00\x01",
        b"\x2b\x0e\x01\x00",
    ],
)
def test_every_function_that_only_reads_is_passed_on(make, pdu):
    bench = make()
    peer = bench.connect()
    peer.feed(adu(1, 1, pdu))
    assert bench.bus.sent() == frame(1, pdu)
    assert bench.bus.requests[0].only_reads


# -- reads from memory


def test_a_read_inside_a_fresh_block_is_answered_from_memory_bit_for_bit(make):
    bench = make()
    cached = block()
    bench.bus.blocks.append((1, cached))
    peer = bench.connect()
    for first in range(98, 112):
        for count in range(1, 12):
            peer.feed(read(5, 1, 4, first, count))
            if first >= 100 and first + count <= 110:
                words = cached.raw[2 * (first - 100) : 2 * (first - 100 + count)]
                assert peer.take() == adu(5, 1, 4, 2 * count, words)
            else:
                assert peer.take() == b""
                bench.bus.end(registers(1, 4, *range(count)))
                peer.take()
    assert bench.counters.cached == 55
    assert bench.counters.passed == bench.counters.requests - 55


def test_the_largest_block_fits_one_reply(make):
    bench = make()
    bench.bus.blocks.append((1, block(3, 0, 125)))
    peer = bench.connect()
    peer.feed(read(5, 1, 3, 0, 125))
    (reply,) = split(peer.take())
    assert reply[9:] == bench.bus.blocks[0][1].raw


def test_another_function_or_unit_is_not_answered_from_memory(make):
    bench = make()
    bench.bus.blocks.append((1, block(4)))
    for unit, function in ((1, 3), (3, 4)):
        peer = bench.connect()
        peer.feed(read(5, unit, function, 100, 1))
        assert peer.take() == b""
    assert len(bench.bus.requests) == 2


# -- peers that go away, and peers that do not read


@pytest.mark.parametrize("way", ["ended", "reset"])
def test_a_peer_that_goes_away_frees_its_slot(make, way):
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, 255, 3, 0, 1)[:5])
    setattr(peer, way, True)
    peer.settle()
    assert peer.closed
    assert bench.budget.in_use() == 6


def test_closing_a_connection_withdraws_its_request_from_the_bus(make):
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    (request,) = bench.bus.requests
    peer.connection.close()
    assert bench.bus.withdrawn == [request]
    assert bench.budget.in_use() == 6
    peer.connection.close()
    assert bench.bus.withdrawn == [request], "once"


def test_a_hang_up_while_a_request_is_on_the_bus_withdraws_it(make):
    """The seam calls for a hang-up even when nothing is to be read."""
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    assert peer.slot.busy
    peer.reset = True
    peer.connection.on_ready(16)
    assert peer.closed
    assert len(bench.bus.withdrawn) == 1


def test_a_client_that_ends_meanwhile_is_not_polled_before_the_answer(make):
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    peer.ended = True
    assert peer.turn()
    assert peer.events == 0
    assert not peer.turn()
    bench.bus.end(ANSWER_1)
    peer.settle()
    assert peer.closed


def test_an_answer_for_a_peer_that_is_gone_is_no_fault(make, events):
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    peer.reset = True
    bench.bus.end(ANSWER_1)
    assert peer.closed
    assert bench.budget.in_use() == 6
    assert events.texts() == []


def test_while_a_request_is_on_the_bus_nothing_more_is_read(make):
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    peer.feed(bytes(100_000))
    assert len(peer.inbox) == 100_000
    bench.bus.end(ANSWER_1)
    assert peer.take() == REPLY_1


@pytest.mark.parametrize("step", [1, 2, 5, 9, 12, 100])
def test_replies_leave_whole_and_in_order_however_little_the_peer_takes(make, step):
    bench = make()
    peer = bench.connect(room=0)
    wanted = []
    for tid in range(1, 21):
        if tid % 2:
            peer.inbox += read(tid, 1, 3, tid, 1)
            wanted.append(adu(tid, 1, registers(1, 3, tid)[1:-2]))
        else:
            peer.inbox += read(tid, 255, 3, 0, 1)
            wanted.append(adu(tid, 255, bytes((3, 1, tid // 2))))
    for _ in range(2000):
        peer.settle()
        if bench.bus.requests:
            first = struct.unpack(">H", bench.bus.sent()[2:4])[0]
            bench.bus.end(registers(1, 3, first))
        peer.room += step
        peer.settle()
        if len(peer.out) == sum(len(reply) for reply in wanted):
            break
    assert split(peer.take()) == wanted
    assert not peer.closed
    assert peer.slot.sent == sum(len(reply) for reply in wanted)


def test_a_peer_that_does_not_read_cannot_make_us_buffer_or_ask_the_meters(make):
    bench = make()
    peer = bench.connect(room=5)
    peer.inbox += b"".join(read(tid, 255, 3, 0, 1) for tid in range(1, 1000))
    peer.settle()
    assert len(bench.gateway.asked) == 1
    assert len(peer.connection._unsent) < 260


def test_books_are_kept_of_requests_and_bytes(make):
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, 255, 3, 0, 1) * 3)
    assert (peer.slot.requests, peer.slot.received, peer.slot.sent) == (3, 36, 30)


def test_a_request_is_served_when_it_is_answered_not_when_it_comes(make, clock):
    bench = make()
    peer = bench.connect()
    clock.advance_ms(5000)
    peer.feed(READ_1)
    assert (peer.slot.requests, peer.slot.idle_ms(), peer.slot.busy) == (0, 5000, True)
    bench.bus.end(ANSWER_1)
    assert (peer.slot.requests, peer.slot.idle_ms(), peer.slot.busy) == (1, 0, False)


def test_the_crc_never_travels_over_tcp(make):
    bench = make()
    peer = bench.connect()
    peer.feed(READ_1)
    bench.bus.end(ANSWER_1)
    assert crc16(ANSWER_1[:-2]) not in peer.take()


# -- over loopback


def test_over_a_real_socket_a_client_is_served_and_its_going_is_noticed(events):
    async def test():
        budget = Budget(16, 16, 16, list(SIX), {"http": 4}, Uptime(), events)
        bus = FakeBus()
        buses = SimpleNamespace(router=Router([bus], []))
        server = ModbusServer(CONFIG | {"bind": "127.0.0.1"}, budget, events, buses, FakeUnit255())
        server.start()
        loop = asyncio.get_running_loop()
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", server.listener._stream.sock.getsockname()[1]))
        await loop.sock_sendall(client, READ_1 + read(2, 255, 3, 0, 1))
        while not bus.requests:
            await asyncio.sleep(0.001)
        bus.end(ANSWER_1)
        got = b""
        while len(split_whole(got)) < 2:
            got += await loop.sock_recv(client, 1000)
        assert split_whole(got) == [REPLY_1, adu(2, 255, bytes((3, 1, 1)))]
        client.close()
        while budget.connections:
            await asyncio.sleep(0.001)
        server.close()

    seam.install()
    seam.run(asyncio.wait_for(test(), 20))


def split_whole(data):
    """The whole ADUs at the front of `data`."""
    found = []
    while len(data) >= 6 and len(data) >= 6 + struct.unpack(">H", data[4:6])[0]:
        n = 6 + struct.unpack(">H", data[4:6])[0]
        found.append(data[:n])
        data = data[n:]
    return found


def test_any_unit_from_1_to_247_can_be_asked_configured_or_not(make):
    bench = make()
    for unit in (1, 77, 247):
        peer = bench.connect()
        peer.feed(read(1, unit, 3, 0, 1))
        bench.bus.end(registers(unit, 3, 9))
        assert peer.take() == adu(1, unit, registers(unit, 3, 9)[1:-2])

"""RTU frames over TCP: told from Modbus TCP by their CRC, and served at a port of their own."""

import struct

import pytest

from firmware.net import seam
from firmware.net.budget import Budget
from firmware.services.modbus_tcp.rtu_over_tcp import RtuConnection
from host_tests.unit.fakes import SIX, FakeStream, Uptime, fake_seam, frame, registers
from host_tests.unit.modbus_bench import Bench, adu, block, read, split
from modbus import rtu


@pytest.fixture
def make(monkeypatch, events, clock):
    fake_seam(monkeypatch, clock)
    monkeypatch.setattr(seam, "tcp_listen", lambda *args: FakeStream())
    return lambda **options: Bench(events, **options)


def read_frame(unit, function, first, count):
    return frame(unit, function, struct.pack(">HH", first, count))


WRITE_5 = frame(1, 16, struct.pack(">HHB5H", 7, 5, 10, *range(5)))
FRAMES = [
    *(read_frame(1, function, 0, 2) for function in (1, 2, 3, 4)),
    *(read_frame(17, 4, 0x5B00, count) for count in (1, 2, 6, 40, 125)),
    frame(1, 5, b"\x00\x01\xff\x00"), frame(1, 6, b"\x00\x01\x00\x05"), WRITE_5,
    frame(1, 15, struct.pack(">HHBB", 0, 8, 1, 0xFF)), frame(1, 22, bytes(6)),
    frame(1, 23, struct.pack(">HHHHBH", 0, 2, 9, 1, 2, 7)),
]  # fmt: skip


# -- at the port of Modbus TCP


@pytest.mark.parametrize("request_frame", FRAMES)
def test_rtu_frames_are_recognised_named_in_the_log_and_closed(make, events, request_frame):
    bench = make()
    peer = bench.connect()
    peer.feed(request_frame)
    assert peer.closed
    assert peer.take() == b""
    assert events.texts() == ["192.0.2.1 sends RTU frames: set it to Modbus TCP, or see modbus.rtu_over_tcp"]
    assert (bench.counters.rtu_frames, bench.counters.requests) == (1, 0)
    assert bench.bus.requests == []
    assert bench.budget.in_use() == len(SIX)


def test_rtu_frames_in_pieces_are_recognised(make):
    bench = make()
    peer = bench.connect()
    for byte in read_frame(1, 3, 0, 1):
        peer.feed(bytes((byte,)))
    assert peer.closed
    assert bench.counters.rtu_frames == 1


@pytest.mark.parametrize("tid", [0, 1, 3, 4, 0x0103, 0x0203, 0x1104, 0xFFFF])
@pytest.mark.parametrize("pdu", [b"\x03\x00\x00\x00\x02", b"\x11", b"\x07", b"\x06\x00\x01\x00\x02"])
def test_modbus_tcp_is_never_taken_for_rtu(make, tid, pdu):
    bench = make(allow_writes=True)
    peer = bench.connect()
    peer.feed(adu(tid, 255, pdu))
    assert not peer.closed
    assert [reply[:2] for reply in split(peer.take())] == [struct.pack(">H", tid)]
    assert bench.counters.rtu_frames == 0


def test_only_the_first_request_is_looked_at(make):
    """Bytes of a running connection may have a right CRC by chance."""
    bench = make()
    peer = bench.connect()
    peer.feed(read(1, 255, 3, 0, 1))
    lone = read_frame(1, 3, 0, 2)  # as Modbus TCP: a whole ADU of 8 bytes, function 0B of unit C4
    peer.feed(lone)
    assert bench.counters.rtu_frames == 0
    assert not peer.closed


def test_a_wrong_crc_is_not_rtu(make, events):
    bench = make()
    peer = bench.connect()
    peer.feed(read_frame(1, 3, 0, 1)[:-1] + b"\x00")
    assert peer.closed, "its length is impossible"
    assert bench.counters.rtu_frames == 0
    assert events.texts() == ["connection closed: impossible MBAP length 1"]


# -- at a port of its own


def test_a_request_goes_to_the_bus_and_its_answer_is_a_frame(make):
    bench = make()
    peer = bench.connect(kind=RtuConnection)
    peer.feed(read_frame(1, 3, 100, 2))
    assert bench.bus.sent() == read_frame(1, 3, 100, 2)
    bench.bus.end(registers(1, 3, 0x1111, 0x2222))
    assert peer.take() == registers(1, 3, 0x1111, 0x2222)
    assert (bench.counters.requests, bench.counters.passed) == (1, 1)
    assert peer.slot.requests == 1


@pytest.mark.parametrize("request_frame", FRAMES)
def test_every_function_passes_as_it_is(make, request_frame):
    bench = make(allow_writes=True)
    peer = bench.connect(kind=RtuConnection)
    peer.feed(request_frame)
    assert bench.bus.sent() == request_frame
    bench.bus.end(frame(request_frame[0], request_frame[1] | 0x80, 2))
    assert peer.take() == frame(request_frame[0], request_frame[1] | 0x80, 2)


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_frame_split_anywhere_is_answered_once(make, cut):
    bench = make()
    peer = bench.connect(kind=RtuConnection)
    whole = read_frame(1, 3, 100, 2)
    peer.feed(whole[:cut])
    assert bench.bus.requests == []
    peer.feed(whole[cut:])
    bench.bus.end(registers(1, 3, 5, 6))
    assert peer.take() == registers(1, 3, 5, 6)


def test_frames_in_one_piece_are_answered_in_their_order(make):
    bench = make()
    peer = bench.connect(kind=RtuConnection)
    peer.feed(b"".join(read_frame(1, 3, k, 1) for k in range(6)) + read_frame(255, 3, 0, 1))
    for k in range(6):
        assert len(bench.bus.requests) == 1
        assert bench.bus.sent() == read_frame(1, 3, k, 1)
        bench.bus.end(registers(1, 3, k))
        peer.settle()
    assert peer.take() == b"".join(registers(1, 3, k) for k in range(6)) + frame(255, 3, b"\x01\x01")


def test_reads_from_memory_share_the_kept_reply_with_modbus_tcp(make):
    bench = make()
    bench.bus.blocks.append((1, block(4, 100, 10)))
    rtu_peer, tcp_peer = bench.connect(kind=RtuConnection), bench.connect()
    wanted = bytes(bench.bus.blocks[0][1].raw[4:12])
    for tid in range(1, 5):
        rtu_peer.feed(read_frame(1, 4, 102, 4))
        assert rtu_peer.take() == frame(1, 4, 8, wanted)
        tcp_peer.feed(read(tid, 1, 4, 102, 4))
        assert tcp_peer.take() == adu(tid, 1, 4, 8, wanted)
    assert bench.counters.cached == 8
    assert bench.bus.requests == []


def test_exceptions_of_the_gateway_are_frames(make):
    bench = make()
    peer = bench.connect(kind=RtuConnection)
    peer.feed(frame(1, 6, b"\x00\x01\x00\x05"))
    assert peer.take() == frame(1, 0x86, 1), "writes are not allowed"
    peer.feed(read_frame(250, 3, 0, 1))
    assert peer.take() == frame(250, 0x83, 0x0A)
    peer.feed(read_frame(1, 3, 0, 126))
    assert peer.take() == frame(1, 0x83, 3)
    assert bench.counters.exceptions == 3


def test_the_longest_frame_fits_both_ways(make):
    bench = make(allow_writes=True)
    peer = bench.connect(kind=RtuConnection)
    longest = frame(1, 16, struct.pack(">HHB", 0, 123, 246) + bytes(range(246)))
    vendor = frame(1, 0x65, bytes(range(252)))
    for whole in (longest, vendor):
        assert len(whole) <= rtu.ADU_MAX
        peer.feed(whole)
        assert bench.bus.sent() == whole
        bench.bus.end(whole)
        assert peer.take() == whole


@pytest.mark.parametrize(
    "rubbish",
    [
        read_frame(1, 3, 0, 1)[:-1] + b"\x00", b"GET / HTTP/1.1\r\n\r\n", bytes(300), b"\xff" * 300,
        b"\x01\x10" + b"\xff" * 9, read(1, 1, 3, 0, 1), b"\x01\x41\x00",
    ],
)  # fmt: skip
def test_what_is_no_frame_closes_the_connection(make, events, rubbish):
    bench = make()
    peer, other = bench.connect(kind=RtuConnection), bench.connect(kind=RtuConnection)
    peer.feed(rubbish)
    assert peer.closed
    assert peer.take() == b""
    assert bench.counters.malformed == 1
    assert "RTU over TCP: connection closed" in events.texts()[0]
    other.feed(read_frame(255, 3, 0, 1))
    assert other.take() == frame(255, 3, b"\x01\x01")


def test_a_peer_that_takes_little_gets_whole_frames(make):
    bench = make()
    peer = bench.connect(room=3, kind=RtuConnection)
    peer.feed(read_frame(1, 3, 0, 4) + read_frame(255, 3, 0, 1))
    bench.bus.end(registers(1, 3, 1, 2, 3, 4))
    wanted = registers(1, 3, 1, 2, 3, 4) + frame(255, 3, b"\x01\x01")
    got = b""
    while len(got) < len(wanted):
        peer.room += 3
        peer.settle()
        got += peer.take()
    assert got == wanted


# -- the listener


def test_the_second_listener_holds_a_socket_of_its_own(events):
    budget = Budget(16, 16, 16, [*SIX, "modbus"], {"http": 4}, Uptime(), events)
    assert (len(budget.services), budget.general) == (7, 9)
    first, second = budget.service_slot("modbus"), budget.service_slot("modbus", 1)
    assert first is not second
    assert [slot.kind for slot in budget.services] == ["http", "modbus", "modbus", "bacnet", "finder", "ntp", "posting"]
    assert budget.service_slot("modbus", 2) is budget.service_slot("http", 1) is None


def test_a_board_without_a_socket_for_the_second_listener_has_the_first(events):
    budget = Budget(3, 16, 16, ["http", "modbus", "modbus"], {"http": 4}, Uptime(), events)
    assert budget.service_slot("modbus") is not None
    assert budget.service_slot("modbus", 1) is None
    assert budget.refused_services == []
    assert events.texts() == ["modbus has one socket only: this board has no other"]


def test_the_server_listens_at_both_ports_and_gives_both_back(make, monkeypatch, events):
    opened = []

    def listen(bind, port, backlog):
        opened.append((port, FakeStream()))
        return opened[-1][1]

    monkeypatch.setattr(seam, "tcp_listen", listen)
    bench = make(config={"rtu_over_tcp": 1503, "port": 1502})
    bench.server.budget = Budget(16, 16, 16, [*SIX, "modbus"], {"http": 4}, Uptime(), events)
    bench.server.start()
    assert [port for port, _ in opened] == [1502, 1503]
    bench.server.tick()
    bench.server.close()
    assert all(stream.closed for _, stream in opened)


def test_without_a_port_for_it_there_is_one_listener(make, monkeypatch):
    opened = []
    monkeypatch.setattr(seam, "tcp_listen", lambda bind, port, backlog: opened.append(port) or FakeStream())
    bench = make()
    bench.server.start()
    assert opened == [0]

"""Reads that a client repeats: the reply that stands ready is what the block holds now, and takes little room."""

import errno
import struct

import pytest

from firmware.net import seam
from firmware.services.modbus_tcp import reply_cache
from host_tests.unit.fakes import fake_seam, registers, store
from host_tests.unit.modbus_bench import Bench, FakeStream, adu, block, read, split

KEPT = 12  # replies, of at most
BYTES = 2048


@pytest.fixture
def bench(monkeypatch, events, clock):
    fake_seam(monkeypatch, clock)
    monkeypatch.setattr(seam, "tcp_listen", lambda *args: FakeStream())
    made = Bench(events)
    made.asked = 0
    cached = made.bus.cached

    def counted(*args):
        made.asked += 1
        return cached(*args)

    made.bus.cached = counted
    return made


@pytest.fixture
def cached(bench, clock):
    one = block(4, 100, 125)
    bench.bus.blocks.append((1, one))
    return one


def reply(tid, one, first=100, count=10):
    begin = 2 * (first - one.first)
    return adu(tid, 1, 4, 2 * count, one.raw[begin : begin + 2 * count])


def ready_client(bench, one, first=100, count=10):
    """A client whose read is answered by a reply that stands ready: its third one."""
    peer = bench.connect()
    for tid in (1, 2, 3):
        peer.feed(read(tid, 1, 4, first, count))
        assert peer.take() == reply(tid, one, first, count)
    return peer


def test_from_the_third_time_on_the_bus_is_not_even_asked_for_its_block(bench, cached):
    ready_client(bench, cached)
    assert bench.asked == 2
    assert (bench.counters.requests, bench.counters.cached, bench.counters.passed) == (3, 3, 0)


def test_ledger_and_order_of_use_are_those_of_any_request(bench, cached, clock):
    peer = ready_client(bench, cached)
    other = ready_client(bench, cached)
    clock.us += 5_000_000
    peer.feed(read(4, 1, 4, 100, 10))
    slot = peer.slot
    assert (slot.requests, slot.received, slot.sent, slot.idle_ms()) == (4, 48, 4 * 29, 0)
    assert other.slot.idle_ms() == 5000
    assert bench.budget._victim(None) is other.slot


def test_each_client_has_its_own_transaction_id_and_all_the_same_reply(bench, cached):
    peers = [ready_client(bench, cached) for _ in range(3)]
    for tid, peer in enumerate(peers, 0xFFFD):
        peer.feed(read(tid, 1, 4, 100, 10))
    assert [peer.take() for peer in peers] == [reply(tid, cached) for tid in (0xFFFD, 0xFFFE, 0xFFFF)]
    assert bench.asked == 2, "the first one's reply serves them all"


def test_what_was_read_again_is_in_the_very_next_reply(bench, cached, clock):
    peer = ready_client(bench, cached)
    for value in range(5):
        clock.us += 1_000_000
        store(cached, bytes([value]) * 250)
        peer.feed(read(9, 1, 4, 100, 10))
        assert peer.take() == adu(9, 1, 4, 20, bytes([value]) * 20)


def test_what_may_not_answer_any_more_goes_to_the_bus(bench, cached):
    peer = ready_client(bench, cached)
    bench.bus.blocks.clear()
    cached.fresh_until_ms = -1  # a time-out, or a write
    peer.feed(read(4, 1, 4, 100, 10))
    assert peer.take() == b""
    bench.bus.end(registers(1, 4, *range(10)))
    assert peer.take() == adu(4, 1, registers(1, 4, *range(10))[1:-2])


def test_what_is_too_old_goes_to_the_bus_on_the_millisecond(bench, cached, clock):
    peer = ready_client(bench, cached)
    clock.us = 1000 * cached.fresh_until_ms
    peer.feed(read(4, 1, 4, 100, 10))
    assert peer.take() == reply(4, cached)
    bench.bus.blocks.clear()
    clock.us += 1000
    peer.feed(read(5, 1, 4, 100, 10))
    assert peer.take() == b""
    assert len(bench.bus.requests) == 1


@pytest.mark.parametrize("changed", range(2, 12))
def test_a_request_that_differs_in_one_byte_is_another_one(bench, cached, changed):
    """Protocol id, length, unit, function, first register, quantity."""
    peer = ready_client(bench, cached)
    request = bytearray(read(4, 1, 4, 100, 10))
    request[changed] ^= 1
    peer.feed(bytes(request) + bytes(2))
    assert reply(4, cached) not in peer.take()


@pytest.mark.parametrize("size", [1, 5, 11, 12, 13, 24, 30, 1000])
def test_any_cutting_of_repeated_and_other_requests_gives_the_same_replies(bench, cached, size):
    peer = ready_client(bench, cached)
    stream, wanted = b"", []
    for tid in range(60):
        if tid % 3:
            stream += read(tid, 1, 4, 100, 10)
            wanted.append(reply(tid, cached))
        else:
            stream += read(tid, 248, 4, 100, 10)
            wanted.append(adu(tid, 248, 0x84, 0x0A))
    for k in range(0, len(stream), size):
        peer.feed(stream[k : k + size])
    assert split(peer.take()) == wanted


def test_a_client_that_does_not_read_gets_the_reply_of_its_time(bench, cached, clock):
    """The reply is shared: what one client has not taken yet must not change under it."""
    peer = ready_client(bench, cached)
    other = ready_client(bench, cached)
    peer.room = 5
    peer.feed(read(4, 1, 4, 100, 10) + read(5, 1, 4, 100, 10))
    then = reply(4, cached)
    clock.us += 1_000_000
    store(cached, bytes([7]) * 250)
    other.feed(read(0x7777, 1, 4, 100, 10))
    peer.room = None
    peer.settle()
    assert split(peer.take()) == [then, reply(5, cached)]


def test_a_port_that_is_short_of_memory_has_the_reply_in_its_queue(bench, cached, monkeypatch):
    """lwIP says ENOMEM when it has taken the bytes and could not send them just now."""
    peer = ready_client(bench, cached)

    def short(buf, n):
        raise OSError(errno.ENOMEM, "out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(peer, "write", short)
        peer.feed(read(4, 1, 4, 100, 10))
    assert not peer.closed
    assert "short of memory" in str(list(bench.events.lines()))
    peer.feed(read(5, 1, 4, 100, 10))
    assert peer.take() == reply(5, cached)


@pytest.mark.parametrize("room", range(29))
def test_the_bytes_of_a_reply_that_is_taken_in_two_parts_are_counted_once(bench, cached, room):
    peer = ready_client(bench, cached)
    before = peer.slot.sent
    peer.room = room
    peer.feed(read(4, 1, 4, 100, 10))
    assert peer.slot.sent - before == room
    peer.room = None
    peer.settle()
    assert peer.slot.sent - before == 29
    assert peer.take() == reply(4, cached)


def test_a_client_that_goes_through_all_registers_once_leaves_nothing(bench, cached):
    peer = bench.connect()
    for count in (1, 2, 10):
        for first in range(100, 200):
            peer.feed(read(1, 1, 4, first, count))
    assert bench.server.replies._replies == []


def test_twelve_reads_in_turn_all_stand_ready(bench, cached):
    peer = bench.connect()
    for _ in range(2):
        for k in range(12):
            peer.feed(read(k, 1, 4, 100 + 10 * k, 5))
            assert peer.take() == reply(k, cached, 100 + 10 * k, 5)
    before = bench.asked
    for k in range(12):
        peer.feed(read(k, 1, 4, 100 + 10 * k, 5))
        assert peer.take() == reply(k, cached, 100 + 10 * k, 5)
    assert bench.asked == before


@pytest.mark.parametrize("count", [1, 10, 100, 125])
def test_kept_replies_are_bounded_and_make_room_after_a_minute(bench, cached, count):
    peer = bench.connect()
    replies = bench.server.replies

    def ask(firsts):
        for first in firsts:
            for _ in range(3):
                peer.feed(read(1, 1, 4, first, count))
                assert peer.take() == reply(1, cached, first, count)
            assert len(replies._replies) == len(replies._keys) <= KEPT
            assert replies._bytes == sum(len(one.adu) for one in replies._replies) <= BYTES

    ask(range(100, 226 - count))
    kept = [key[6:] for key in replies._keys]
    assert kept == [struct.pack(">HH", 100 + k, count) for k in range(len(kept))], "the first ones"
    room = len(kept) < KEPT and replies._bytes + 9 + 2 * count <= BYTES
    for _ in range(60):
        assert len(replies._keys) == len(kept)
        bench.server.tick()
    assert len(replies._keys) == (len(kept) if room else 0)
    first = 225 - count
    ask([first])
    assert replies._keys[-1][6:] == struct.pack(">HH", first, count)


def test_no_request_equals_the_reply_of_a_connection_without_one():
    replies = reply_cache.ReplyCache(bytearray(260))
    assert replies.find() is reply_cache.NO_REPLY
    assert replies.key != reply_cache.NO_REPLY.key

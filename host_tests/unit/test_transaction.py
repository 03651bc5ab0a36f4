"""One transaction on the wire: what is taken for the answer, what is not, and when the line may be used."""

import asyncio
import struct

import pytest

from firmware.bus import transaction
from firmware.bus.bus_stats import BusStats
from firmware.bus.late_replies import LateReplies
from firmware.bus.transaction import ANSWERED, LINE_DOWN, TIMED_OUT, WRONG, Transaction
from host_tests.unit import fakes
from host_tests.unit.fakes import FakeLine, frame, read_frame, registers
from host_tests.unit.the_schema import BUS

READ_2 = read_frame(7, 3, 100, 2)
ANSWER = registers(7, 3, 0x1234, 0x5678)
RESULTS = {ANSWERED: "answered", TIMED_OUT: "timed out", WRONG: "wrong", LINE_DOWN: "line down"}


class Wire:
    """A Transaction on a fake line, on virtual time. `answers`: what the other end does with each request in turn,
    a function of the wire and the request, or the bytes of an answer that comes 5 ms later."""

    def __init__(self, monkeypatch, events, *answers, baud=9600, jitter_ms=0, config=None):
        self.clock = fakes.Clock()
        fakes.fake_seam(monkeypatch, self.clock)
        self.line = FakeLine(self.clock, self._on_send)
        self.line.jitter_ms = jitter_ms
        self.baud = baud
        self.events = events
        self.counters = BusStats()
        self.answers = list(answers)
        config = fakes.defaults(BUS, baud=baud, **(config or {}))
        self.transaction = Transaction(self.line, config, self.counters, LateReplies(), events)

    def _on_send(self, request):
        if self.answers:
            answer = self.answers.pop(0)
            if callable(answer):
                answer(self, request)
            elif answer is not None:
                self.line.deliver(answer, self.after(request, 5))

    def after(self, request, ms):
        """Milliseconds from the first bit of the request to `ms` after its last."""
        return len(request) * 10_000 / self.baud + ms  # 8N1

    async def ask(self, request=READ_2, timeout_ms=200):
        """(result, answer or None) of one exchange."""
        wire = self.transaction
        result = await wire.exchange(bytearray(request), len(request), timeout_ms)
        got = bytes(wire.rx[wire.at : wire.at + wire.n]) if result == ANSWERED else None
        return RESULTS[result], got

    def run(self, test):
        return fakes.run_virtual(self.clock, test)


@pytest.fixture
def make(monkeypatch, events):
    def make(*answers, **options):
        return Wire(monkeypatch, events, *answers, **options)

    return make


def ask_once(wire, request=READ_2, timeout_ms=200):
    return wire.run(wire.ask(request, timeout_ms))


def slowly(data, after_ms=5, byte_ms=1.15):
    return lambda wire, request: wire.line.deliver(data, wire.after(request, after_ms), byte_ms)


# -- what is taken


@pytest.mark.parametrize("baud", [1200, 9600, 19200])
@pytest.mark.parametrize("count", [10, 36, 125])
def test_the_line_is_not_looked_at_for_each_byte_of_a_long_answer(make, baud, count):
    long = registers(7, 3, *range(count))
    byte_ms = 10000 / baud
    wire = make(slowly(long, byte_ms=byte_ms), baud=baud)
    assert ask_once(wire, read_frame(7, 3, 0, count)) == ("answered", long)
    assert wire.line.looks <= 12
    # From the last byte on it takes no longer for that.
    end_ms = len(READ_2) * byte_ms + 5 + (len(long) - 1) * byte_ms
    begun_us, _ = wire.line.sent[0]
    assert wire.clock.ms - begun_us / 1000 <= end_ms + 2


@pytest.mark.parametrize("missing", range(1, 20))
def test_reading_goes_on_after_a_pause_for_an_answer_that_breaks_off(make, missing):
    long = registers(7, 3, *range(20))

    async def twice(wire):
        first = await wire.ask(read_frame(7, 3, 0, 20))
        assert wire.line.events
        return first[0], await wire.ask(read_frame(7, 3, 0, 20))

    wire = make(slowly(long[:-missing]), slowly(long))
    assert wire.run(twice(wire)) == ("wrong", ("answered", long))


def test_a_line_that_goes_while_nobody_looks_is_found_gone(make):
    long = registers(7, 3, *range(125))

    def break_off(wire, request):
        wire.line.deliver(long, wire.after(request, 5), 1.15)
        asyncio.get_running_loop().call_later(0.1, wire.line.unplug)

    wire = make(break_off)
    assert ask_once(wire, read_frame(7, 3, 0, 125))[0] == "line down"


def test_a_whole_answer_is_taken(make):
    wire = make(ANSWER)
    assert ask_once(wire) == ("answered", ANSWER)
    assert wire.line.frames() == [READ_2]
    counters = wire.counters
    assert (counters.sent, counters.answered, counters.exceptions, counters.noise_bytes) == (1, 1, 0, 0)


def test_finish_is_called_once_and_turn_ms_before_the_last_bit(make):
    wire = make(ANSWER)
    wire.line.turn_ms = 1
    assert ask_once(wire) == ("answered", ANSWER)
    [finished_us] = wire.line.finished_us
    begun_us, _ = wire.line.sent[0]
    early_us = begun_us + 1000 * wire.after(READ_2, 0) - finished_us
    assert 1000 <= early_us < 2000


def test_without_a_direction_pin_the_task_does_not_wake_at_the_last_bit(make):
    wire = make(ANSWER)
    waits = []
    wait_ms = wire.transaction.waker.wait_ms

    def count(ms):
        waits.append(ms)
        return wait_ms(ms)

    wire.transaction.waker.wait_ms = count
    assert ask_once(wire) == ("answered", ANSWER)
    assert wire.line.finished_us == []
    assert len(waits) <= 2, "the silence before the request, and the answer"


@pytest.mark.parametrize("jitter_ms", [0, 20])
@pytest.mark.parametrize("byte_ms", [0.09, 1.15, 3, 9.2])
def test_an_answer_byte_by_byte_is_taken(make, byte_ms, jitter_ms):
    wire = make(slowly(ANSWER, byte_ms=byte_ms), jitter_ms=jitter_ms)
    assert ask_once(wire) == ("answered", ANSWER)


@pytest.mark.parametrize("cut", range(1, len(ANSWER)))
def test_an_answer_in_two_pieces_is_taken(make, cut):
    def pieces(wire, request):
        wire.line.deliver(ANSWER[:cut], wire.after(request, 5))
        wire.line.deliver(ANSWER[cut:], wire.after(request, 35))

    assert ask_once(make(pieces)) == ("answered", ANSWER)


@pytest.mark.parametrize(
    "noise", [b"\x00", b"\xff\x00", b"\x07", b"\x07\x03", b"\x07\x03\xff", b"\x07\x03\x04\x12", bytes(60)]
)
@pytest.mark.parametrize("byte_ms", [None, 1.15])
def test_noise_in_front_of_an_answer_is_passed_over(make, noise, byte_ms):
    wire = make(lambda w, r: w.line.deliver(noise + ANSWER, w.after(r, 5), byte_ms))
    assert ask_once(wire) == ("answered", ANSWER)
    assert wire.counters.noise_bytes == len(noise)


@pytest.mark.parametrize("byte_ms", [None, 1.15])
def test_an_echo_of_the_request_is_passed_over(make, byte_ms):
    def echo(wire, request):
        wire.line.deliver(request, 0.5, byte_ms)
        wire.line.deliver(ANSWER, wire.after(request, 20), byte_ms)

    assert ask_once(make(echo)) == ("answered", ANSWER)


@pytest.mark.parametrize(
    "foreign",
    [registers(8, 3, 1, 2), registers(7, 4, 1, 2), registers(7, 3, 1), registers(7, 3, 1, 2, 3), frame(8, 0x83, 2)],
    ids=["unit", "function", "shorter", "longer", "exception of another unit"],
)
def test_a_foreign_frame_is_no_answer_but_the_answer_behind_it_is(make, foreign):
    wire = make(lambda w, r: w.line.deliver(foreign, w.after(r, 5)))
    assert ask_once(wire)[0] == "wrong"
    assert (wire.counters.foreign, wire.counters.answered) == (1, 0)

    def both(wire, request):
        wire.line.deliver(foreign, wire.after(request, 5))
        wire.line.deliver(ANSWER, wire.after(request, 60))

    assert ask_once(make(both)) == ("answered", ANSWER)


@pytest.mark.parametrize("k", range(len(ANSWER)))
def test_a_flipped_bit_anywhere_is_no_answer(make, k):
    bad = bytearray(ANSWER)
    bad[k] ^= 0x10
    wire = make(bytes(bad))
    assert ask_once(wire)[0] == "wrong"
    assert wire.counters.answered == 0


def test_a_wrong_crc_is_counted_as_such_and_logged(make, events):
    wire = make(ANSWER[:-1] + bytes((ANSWER[-1] ^ 1,)))
    assert ask_once(wire)[0] == "wrong"
    assert (wire.counters.crc, wire.counters.foreign, wire.counters.timeouts) == (1, 0, 0)
    assert len(events.texts()) == 1
    assert "crc" in events.texts()[0]


@pytest.mark.parametrize("n", range(1, len(ANSWER)))
def test_a_truncated_answer_is_none_and_the_wait_is_bounded(make, n):
    wire = make(ANSWER[:n])
    begin = wire.clock.ms
    assert ask_once(wire)[0] == "wrong"
    assert 200 <= wire.clock.ms - begin < 200 + 256 * 11_000 / 9600 + 60


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 10, 11])
def test_an_exception_of_the_meter_is_an_answer(make, code):
    answer = frame(7, 0x83, code)
    wire = make(answer)
    assert ask_once(wire) == ("answered", answer)
    assert wire.counters.exceptions == 1


@pytest.mark.parametrize("timeout_ms", [20, 200, 5000])
def test_silence_ends_with_the_time_out_counted_from_the_last_bit(make, timeout_ms):
    wire = make()
    begin = wire.clock.ms
    assert ask_once(wire, timeout_ms=timeout_ms) == ("timed out", None)
    before = 8 * 10_000 / 9600 + transaction.gap_us(9600) / 1000
    assert timeout_ms - 1 <= wire.clock.ms - begin - before < timeout_ms + 5
    assert (wire.counters.timeouts, wire.counters.crc, wire.counters.foreign) == (1, 0, 0)


def test_an_answer_that_begins_in_time_is_heard_to_its_end(make):
    """125 registers at 1200 baud take 2.3 s; the time-out is for the meter, not for the wire."""
    long = registers(7, 3, *range(125))
    wire = make(slowly(long, after_ms=450, byte_ms=9.17), baud=1200)
    assert ask_once(wire, read_frame(7, 3, 0, 125), timeout_ms=500) == ("answered", long)


@pytest.mark.parametrize("seen", [0, 4])
def test_what_a_late_loop_has_not_read_yet_is_no_silence(make, seen):
    """At the time-out the rest of the answer, or all of it, waits in the UART's buffer."""
    answer = registers(7, 3, 1, 2)

    def on_send(wire, request):
        if seen:
            wire.line.deliver(answer[:seen], wire.after(request, 5))
        later_s = wire.after(request, 7) / 1000
        asyncio.get_running_loop().call_later(later_s, wire.line.inbox.extend, answer[seen:])

    wire = make(on_send)
    assert ask_once(wire) == ("answered", answer)
    assert wire.counters.timeouts == 0


def test_bytes_without_end_do_not_hold_the_line_for_ever(make):
    wire = make(slowly(bytes(20_000), byte_ms=1))
    begin = wire.clock.ms
    assert ask_once(wire)[0] == "wrong"
    assert wire.clock.ms - begin < 2000


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (frame(7, 5, b"\x00\x01\xff\x00"), frame(7, 5, b"\x00\x01\xff\x00")),
        (frame(7, 6, b"\x00\x01\x00\x05"), frame(7, 6, b"\x00\x01\x00\x05")),
        (frame(7, 16, b"\x00\x01\x00\x01\x02\x00\x05"), frame(7, 16, b"\x00\x01\x00\x01")),
        (frame(7, 1, b"\x00\x00\x00\x09"), frame(7, 1, 2, b"\xff\x01")),
        (frame(7, 17), frame(7, 17, 3, b"abc")),
        (frame(7, 7), frame(7, 7, 5)),
        (frame(7, 22, b"\x00\x04\x00\xf2\x00\x25"), frame(7, 22, b"\x00\x04\x00\xf2\x00\x25")),
        (frame(7, 43, b"\x0e\x01\x00"), frame(7, 43, b"\x0e\x01\x81\x00\x00\x01\x00\x02ab")),
        (frame(7, 0x41), frame(7, 0x41)),
        (frame(7, 0x42), frame(7, 0x42)),
        (frame(7, 0x65, b"abc"), frame(7, 0x65, b"whatever the vendor says")),
    ],
    ids=["5", "6", "16", "1", "17", "7", "22", "43", "0x41", "0x42 reset of a PZEM", "0x65 vendor"],
)
@pytest.mark.parametrize("byte_ms", [None, 1.15])
def test_every_kind_of_answer_is_cut_where_it_ends(make, request_, answer, byte_ms):
    wire = make(lambda w, r: w.line.deliver(answer, w.after(r, 5), byte_ms))
    begin = wire.clock.ms
    assert ask_once(wire, request_, timeout_ms=1000) == ("answered", answer)
    assert wire.clock.ms - begin < 100, "it is not waited for longer than it takes"


@pytest.mark.parametrize("echoed", [frame(7, 6, b"\x00\x02\x00\x05"), frame(7, 6, b"\x00\x01\x00\x06")])
def test_a_write_is_confirmed_by_its_own_address_and_value_only(make, echoed):
    assert ask_once(make(echoed), frame(7, 6, b"\x00\x01\x00\x05"))[0] == "wrong"


# -- late answers


def test_what_came_before_the_request_is_thrown_away_and_counted(make):
    wire = make(ANSWER)

    async def test():
        wire.line.deliver(registers(7, 3, 9, 9), 1)
        await asyncio.sleep(0.5)
        return await wire.ask()

    assert wire.run(test()) == ("answered", ANSWER)
    assert wire.counters.stale_bytes == len(registers(7, 3, 9, 9))


def late(data, ms):
    """The answer comes so long after the request's last bit."""
    return lambda wire, request: wire.line.deliver(data, wire.after(request, ms))


B = read_frame(7, 3, 300, 2)
ANSWER_B = registers(7, 3, 0xBBBB, 0xBBBB)


@pytest.mark.parametrize("late_ms", [201, 210, 250, 300, 399])
def test_a_late_answer_is_never_the_next_requests(make, late_ms):
    """After one time-out every read returned the previous answer: the complaint about cheap gateways."""
    wire = make(late(ANSWER, late_ms), late(ANSWER_B, 5))

    async def test():
        assert await wire.ask() == ("timed out", None)
        assert await wire.ask(B) == ("answered", ANSWER_B)

    wire.run(test())


def test_a_late_exception_is_never_the_next_requests_either(make):
    longer = read_frame(7, 3, 300, 5)
    answer = registers(7, 3, 1, 2, 3, 4, 5)
    wire = make(late(frame(7, 0x83, 4), 230), late(answer, 50))

    async def test():
        assert await wire.ask() == ("timed out", None)
        assert await wire.ask(longer) == ("answered", answer)

    wire.run(test())


def test_a_meter_that_is_always_late_never_gives_a_wrong_answer(make):
    """The retry is answered by the late first answer, and then its own is still under way."""
    wire = make(late(ANSWER, 220), late(ANSWER, 220), late(ANSWER_B, 100))

    async def test():
        assert await wire.ask() == ("timed out", None)
        assert await wire.ask() == ("answered", ANSWER), "the same request: its late answer is as good as a new one"
        assert await wire.ask(B) == ("answered", ANSWER_B)

    wire.run(test())


def test_another_meters_time_out_does_not_make_forget_a_late_answer(make):
    other = read_frame(9, 3, 0, 2)
    wire = make(late(ANSWER, 700), None, late(ANSWER_B, 100))

    async def test():
        assert await wire.ask(timeout_ms=500) == ("timed out", None)
        assert await wire.ask(other, timeout_ms=50) == ("timed out", None)
        assert await wire.ask(B, timeout_ms=500) == ("answered", ANSWER_B)

    wire.run(test())


@pytest.mark.parametrize("late_ms", [210, 250, 390])
def test_a_late_answer_is_never_the_next_requests_on_a_line_that_echoes(make, late_ms):
    def echoing(answer, ms):
        def play(wire, request):
            wire.line.deliver(request, 1)
            wire.line.deliver(answer, wire.after(request, ms))

        return play

    wire = make(echoing(ANSWER, late_ms), echoing(ANSWER_B, 150))

    async def test():
        assert (await wire.ask())[1] is None
        assert await wire.ask(B) == ("answered", ANSWER_B)

    wire.run(test())


def test_other_meters_do_not_wait_for_a_late_answer(make):
    other = read_frame(9, 3, 0, 2)
    wire = make(None, registers(9, 3, 1, 2))

    async def test():
        assert await wire.ask(timeout_ms=5000) == ("timed out", None)
        begin = wire.clock.ms
        assert (await wire.ask(other))[0] == "answered"
        assert wire.clock.ms - begin < 50

    wire.run(test())


def test_a_late_answer_from_weeks_ago_holds_nobody_up(make):
    """Ticks differ by half their period only: a moment long past looks as if it were to come."""
    for days in (5, 7, 9, 12, 13):
        wire = make(None, ANSWER_B)

        async def test(wire=wire, days=days):
            assert await wire.ask() == ("timed out", None)
            wire.clock.advance_ms(days * 86_400_000)
            begin = wire.clock.ms
            assert await wire.ask(B) == ("answered", ANSWER_B)
            assert wire.clock.ms - begin < 1000, f"after {days} days"

        fakes.run_virtual(wire.clock, test(), limit_s=20 * 86400)


# -- the silence between frames


WRITE = frame(7, 6, 0, 1, 0, 9)
BITS = read_frame(7, 1, 0x0300, 20)  # its answer has 8 bytes and may begin as the request does


@pytest.mark.parametrize("request_", [READ_2, WRITE, BITS], ids=["read", "write", "bits"])
def test_on_a_line_that_repeats_what_is_sent_the_echo_is_never_the_answer(make, request_):
    answer = {READ_2: ANSWER, WRITE: WRITE, BITS: frame(7, 1, 3, 0, 0, 0)}[request_]

    def echo_then_answer(wire, request):
        wire.line.deliver(request, wire.after(request, 0))
        wire.line.deliver(answer, wire.after(request, 30))

    def echo_only(wire, request):
        wire.line.deliver(request, wire.after(request, 0))

    wire = make(echo_then_answer, echo_only, config={"echo": True})

    async def test():
        assert await wire.ask(request_) == ("answered", answer)
        assert wire.transaction.answer_ms >= 25, "of the answer, not of the echo"
        assert await wire.ask(request_) == ("timed out", None)

    wire.run(test())
    assert (wire.counters.echoes, wire.counters.timeouts, wire.counters.noise_bytes) == (2, 1, 0)


def test_without_its_echo_the_answer_is_taken_all_the_same(make):
    wire = make(ANSWER, config={"echo": True})

    async def test():
        assert await wire.ask() == ("answered", ANSWER)

    wire.run(test())


def test_a_gap_that_is_asked_for_lies_before_each_request(make):
    wire = make(ANSWER, ANSWER, config={"gap_ms": 80})
    times = []

    async def test():
        await wire.ask()
        times.append(wire.clock.ms)
        await wire.ask()

    wire.run(test())
    assert 80 <= wire.line.sent[1][0] / 1000 - times[0] <= 84


@pytest.mark.parametrize(
    ("baud", "gap_us"),
    [(1200, 32_083), (2400, 16_042), (4800, 8_021), (9600, 4_010), (19200, 2_005), (38400, 1_750), (115200, 1_750)],
)
def test_t35_is_three_and_a_half_characters_and_fixed_above_19200(baud, gap_us):
    assert transaction.gap_us(baud) == pytest.approx(gap_us, abs=1)


@pytest.mark.parametrize("baud", [1200, 9600, 19200, 115200])
def test_the_line_is_silent_for_t35_before_every_request(make, baud):
    wire = make(*[ANSWER] * 5, baud=baud)
    ends = []

    async def test():
        for _ in range(5):
            assert (await wire.ask())[0] == "answered"
            ends.append(wire.clock.us)

    begin = wire.clock.us
    wire.run(test())
    starts = [at for at, _ in wire.line.sent]
    for silent_since, start in zip([begin, *ends], starts, strict=False):
        assert start - silent_since >= transaction.gap_us(baud)
        assert start - silent_since < transaction.gap_us(baud) + 2000


def test_foreign_traffic_on_the_line_is_waited_out(make):
    wire = make(ANSWER)

    async def test():
        wire.line.deliver(bytes(30), 0, byte_ms=1.15)
        await asyncio.sleep(0.010)
        assert (await wire.ask())[0] == "answered"

    begin = wire.clock.us
    wire.run(test())
    assert wire.line.sent[0][0] - begin >= 29 * 1150 + transaction.gap_us(9600)


def test_a_line_that_never_falls_silent_does_not_hold_a_request_for_ever(make):
    wire = make()

    async def test():
        wire.line.deliver(bytes(60_000), 0, byte_ms=1)
        await asyncio.sleep(0.010)
        return await asyncio.wait_for(wire.ask(), 10)

    result, _ = wire.run(test())
    assert result in ("wrong", "timed out")


@pytest.mark.parametrize("quiet_s", [0.001, 1, 300, 536, 540, 900, 1073, 1080])
def test_the_gap_is_short_however_long_the_line_was_quiet(make, quiet_s):
    """ticks_us wrap after 18 minutes."""
    wire = make(ANSWER)

    async def test():
        wire.clock.us += int(quiet_s * 1e6)
        begin = wire.clock.ms
        assert (await wire.ask())[0] == "answered"
        assert wire.clock.ms - begin < 40

    wire.run(test())


# -- the line itself


@pytest.mark.parametrize("when_ms", [0, 5, 100])
def test_a_line_that_dies_ends_the_exchange_at_once_and_is_closed(make, when_ms):
    wire = make(lambda w, r: asyncio.get_running_loop().call_later(when_ms / 1000, w.line.unplug))
    begin = wire.clock.ms
    assert ask_once(wire, timeout_ms=5000)[0] == "line down"
    assert wire.clock.ms - begin < when_ms + 30
    assert wire.line.closed
    assert wire.transaction.line_error is wire.line.error


def test_a_line_that_cannot_send_is_down_and_closed(make):
    wire = make()
    wire.line.error = OSError(5, "gone")
    assert ask_once(wire)[0] == "line down"
    assert wire.line.closed
    assert ask_once(wire)[0] == "line down"


def test_a_line_that_died_while_nobody_asked_is_down(make):
    wire = make()

    async def test():
        wire.line.unplug()
        return await wire.ask()

    assert wire.run(test())[0] == "line down"
    assert wire.line.closed


def test_a_line_that_dies_during_the_gap_is_down(make):
    wire = make(baud=1200)

    async def test():
        asyncio.get_running_loop().call_later(0.005, wire.line.unplug)
        return await wire.ask()

    assert wire.run(test())[0] == "line down"
    assert wire.line.sent == []


def test_time_on_the_wire_is_counted(make):
    wire = make(ANSWER)
    begin = wire.clock.ms
    ask_once(wire)
    assert wire.counters.busy_ms == pytest.approx(wire.clock.ms - begin, abs=2)


def test_no_answer_goes_to_the_wrong_request_in_a_long_mix_of_faults(make):
    """Each answer carries the address that was asked; the meter is slow, noisy, silent or wrong by turns."""
    import random

    for seed in range(8):
        luck = random.Random(seed)
        wire = make()

        def answer(w, request, luck=luck):
            first, count = struct.unpack(">HH", request[2:6])
            data = registers(request[0], request[1], *[first + k for k in range(count)])
            what = luck.random()
            if what < 0.25:
                data = None
            elif what < 0.35:
                data = frame(request[0], request[1] | 0x80, first & 0xFF)
            elif what < 0.45:
                data = data[:-1] + b"?"
            elif what < 0.5:
                data = b"\x00" + data
            if data:
                ms = luck.choice([1, 5, 40, 95, 105, 130, 180])
                w.line.deliver(data, w.after(request, ms), luck.choice([None, None, 0.5]))

        async def life(wire=wire, luck=luck):
            answered = 0
            for _ in range(150):
                unit, first, count = luck.choice([7, 7, 9]), luck.randint(0, 9), luck.choice([1, 1, 2])
                result, got = await wire.ask(read_frame(unit, 3, first, count), timeout_ms=100)
                if result == "answered":
                    answered += 1
                    good = registers(unit, 3, *[first + k for k in range(count)])
                    assert got in (good, frame(unit, 0x83, first & 0xFF)), f"asked for {first}"
            return answered

        wire.answers = [answer] * 1000
        assert wire.run(life()) > 30


# -- stray bytes


@pytest.mark.parametrize("before", [b"", b"\0", b"\xff\x07"])
def test_a_write_is_not_confirmed_by_its_own_echo_behind_a_stray_byte(make, before):
    def repeat(wire, request):
        wire.line.deliver(before + request, wire.after(request, 1))

    wire = make(repeat, config={"echo": True})
    assert ask_once(wire, WRITE) == ("timed out", None)
    assert (wire.counters.echoes, wire.counters.noise_bytes) == (1, len(before))


@pytest.mark.parametrize("before", [b"", b"\0", b"\xff\x07"])
@pytest.mark.parametrize("between", [b"", b"\0"])
def test_behind_its_echo_the_confirmation_of_a_write_is_found(make, before, between):
    def answer(wire, request):
        wire.line.deliver(before + request, wire.after(request, 1))
        wire.line.deliver(between + request, wire.after(request, 20))

    wire = make(answer, config={"echo": True})
    assert ask_once(wire, WRITE) == ("answered", WRITE)
    assert (wire.counters.echoes, wire.counters.noise_bytes) == (1, len(before) + len(between))


@pytest.mark.parametrize("stray", [b"\0", b"\x07\x03", b"\xa5" * 4])
def test_an_answer_long_after_a_stray_byte_is_taken_when_it_comes(make, stray):
    def answer(wire, request):
        wire.line.deliver(stray, wire.after(request, 1))
        wire.line.deliver(ANSWER, wire.after(request, 60))

    wire = make(answer)
    assert ask_once(wire, timeout_ms=1000) == ("answered", ANSWER)
    begun_us, _ = wire.line.sent[0]
    assert wire.clock.ms - begun_us / 1000 < wire.after(READ_2, 60) + 20

"""Whatever clients ask of a bus and whatever comes over its line: every request ends once, with its own answer or with
a code; the queue keeps its bound; nobody waits for ever.

Each answer of a meter is made of unit, function, address and the number of the transmission that it answers, so that an
answer that was meant for somebody else is found out. hypothesis chooses what happens; the same examples every time.
"""

import asyncio
import random
import struct
import zlib
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware.bus import OK
from host_tests.unit import fakes
from host_tests.unit.bus_bench import BUSY, NO_ANSWER, NO_PATH, Bench, Client, make_meter
from host_tests.unit.fakes import frame, registers

_settings = settings(
    derandomize=True, max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)

UNITS = (1, 2, 3)  # the last is not configured
TIMEOUT_MS = {1: 100, 2: 1000, 3: 1000}  # as configured; the second meter's is automatic
QUEUE_MAX = 16
VENDORS = 0x41  # a function of a vendor's own
BYTE_MS = 10 / 9.6
ANSWER_MS = 5  # from the last bit of the request
CALIBRATED_S = 12  # after so many seconds of polls an automatic time-out is a short one
LATE = 3.7  # time-outs: the gateway reckons with four
# As long as all who wait, and each of them held up by another one's late answer.
WAIT_S = 20 * (4 + 3) * max(TIMEOUT_MS.values()) / 1000


@dataclass
class Sent:
    """A request that went out."""

    frame: bytes
    at_us: int
    answer: bytes
    done_us: int | None = None  # when the answer had come, undamaged


def right_answer(number, request):
    """What a meter says to the request that went out as the number-th."""
    unit, function = request[0], request[1]
    if function in (3, 4):
        first, count = struct.unpack(">HH", request[2:6])
        seeds = [struct.pack(">BBHI", unit, function, first + k, number) for k in range(count)]
        return registers(unit, function, *[zlib.crc32(seed) & 0xFFFF for seed in seeds])
    if function == 6:
        return bytes(request)
    if function == 16:
        return frame(bytes(request[:6]))
    if function == 17:
        return frame(unit, function, 6, unit, 0xFF, struct.pack(">I", number))
    return frame(unit, function, request[2:-2], struct.pack(">I", number))  # of a vendor: ends with silence


def foreign(request, x):
    """A whole frame that answers something else."""
    unit, function = request[0], request[1]
    return registers(unit % 247 + 1, 3, x) if x & 1 else registers(unit, 4 if function != 4 else 3, x, x)


def noise(x):
    return random.Random(x).randbytes(1 + x % 7)


def another_length(request, right):
    if right[1] in (3, 4):
        return frame(right[:2], right[2] + 2, right[3:-2], 0, 0)
    return frame(right[:-3]) if right[1] != VENDORS else right[:-1]  # whose lengths nobody knows


# name: (answer, request, 0..255, time-out) -> pieces of (ms after the request's last bit, bytes), and with which of
# them the answer is there (None: it never is)
HARMLESS = {
    "good": lambda right, request, x, late: ([(ANSWER_MS, right)], 0),
    "noise before": lambda right, request, x, late: ([(ANSWER_MS, noise(x) + right)], 0),
    "noise after": lambda right, request, x, late: ([(ANSWER_MS, right + noise(x))], 0),
    "glued before": lambda right, request, x, late: ([(ANSWER_MS, foreign(request, x) + right)], 0),
    "glued after": lambda right, request, x, late: ([(ANSWER_MS, right + foreign(request, x))], 0),
    "stray before": lambda right, request, x, late: ([(1, b"\0"), (2 + x % 30, right)], 1),
    # A zero right behind a frame leaves its CRC right: where nobody knows the length it must keep t3.5. It comes before
    # the next answer, or even its echo, could: in the midst of one it would do harm.
    "stray after": lambda right, request, x, late: (
        [(ANSWER_MS, right), (ANSWER_MS + (6 + x % 5 if right[1] == VENDORS else x % 11), b"\0")], 0,
    ),
    # Not at the same moment: what the loop does first then is not said.
    "pieces": lambda right, request, x, late: (
        [(ANSWER_MS, right[: 1 + x % (len(right) - 1)]), (ANSWER_MS + 1 + x % 39, right[1 + x % (len(right) - 1) :])],
        1,
    ),
}  # fmt: skip
HARMFUL = {
    "silent": lambda right, request, x, late: ([], None),
    "late": lambda right, request, x, late: ([(late, right)], 0),
    "late in pieces": lambda right, request, x, late: ([(late, right[:3]), (late + 2, right[3:])], 1),
    "wrong unit": lambda right, request, x, late: ([(ANSWER_MS, frame(right[0] % 247 + 1, right[1:-2]))], None),
    "wrong function": lambda right, request, x, late: (
        [(ANSWER_MS, frame(right[0], {3: 4, 4: 3}.get(right[1], right[1] + 1), right[2:-2]))], None,
    ),
    "wrong length": lambda right, request, x, late: ([(ANSWER_MS, another_length(request, right))], None),
    "wrong CRC": lambda right, request, x, late: ([(ANSWER_MS, right[:-1] + bytes((right[-1] ^ (x | 1),)))], None),
    "cut short": lambda right, request, x, late: ([(ANSWER_MS, right[: 1 + x % (len(right) - 1)])], None),
    "noise alone": lambda right, request, x, late: ([(ANSWER_MS, b"\xff" + noise(x))], None),
    "exception": lambda right, request, x, late: (
        [(ANSWER_MS, frame(right[0], right[1] | 0x80, 1 + x % 11))], 0,
    ),
}  # fmt: skip


class FaultyBench(Bench):
    """A Bench whose meters do with each request what the next of `faults` says, and answer well when there are no
    more."""

    def __init__(self, monkeypatch, echo):
        meters = (
            make_meter(0, 1, interval_s=1, timeout_ms=TIMEOUT_MS[1], retries=1),
            make_meter(1, 2, ((3, 0, 4), (4, 0, 2)), interval_s=1, timeout_ms=TIMEOUT_MS[2], auto_timeout=True),
        )
        super().__init__(monkeypatch, fakes.Log(), fakes.Uptime(), *meters, echo=echo)
        self.faults = iter(())
        self.echo = echo
        self.transmissions = []

    def _on_send(self, line, request):
        number = len(self.transmissions)
        sent = Sent(bytes(request), self.clock.us, b"" if not request[0] else right_answer(number, request))
        self.transmissions.append(sent)
        wire_ms = len(request) * BYTE_MS
        if self.echo:
            self._arrive(wire_ms, sent.frame)
        if not request[0]:
            return
        kind, x = next(self.faults, ("good", 0))
        late_ms = TIMEOUT_MS[request[0]] * (1 + (LATE - 1) * x / 255)
        pieces, whole = (HARMLESS | HARMFUL)[kind](sent.answer, request, x, late_ms)
        if kind == "exception":
            sent.answer = pieces[0][1]
        for k, (after_ms, data) in enumerate(pieces):
            self._arrive(wire_ms + after_ms, data, sent if k == whole else None)

    def _arrive(self, after_ms, data, sent=None):
        """The bytes reach whatever line is open then: a line that was opened again hangs on the same wire."""

        def arrive():
            if sent is not None:
                sent.done_us = self.clock.us
            self.line._arrive(data)

        asyncio.get_running_loop().call_later(after_ms / 1000, arrive)


class Asker(Client):
    """A Client that knows when it asked, and whether it has gone away meanwhile."""

    def __init__(self, bench, number, unit, function, address, count):
        if function == 6:
            pdu = struct.pack(">BHH", function, address, number)
        elif function == 16:
            pdu = struct.pack(">BHHB", function, address, count, 2 * count) + struct.pack(">H", number) * count
        elif function in (3, 4):
            pdu = struct.pack(">BHH", function, address, count)
        else:
            pdu = bytes((function,)) if function == 17 else bytes((function, count))
        super().__init__(bench, unit, pdu)
        self.refused = None  # the code, where submit() gave one
        self.gone = False

    def ask_it(self, first=False):
        self.request.has_priority = first
        self.at_us = self.bench.clock.us
        code = self.submit()
        if code != OK:
            self.refused = code
        assert self.bench.bus.waiting() <= QUEUE_MAX

    def on_answer(self, code, buf, at, n):
        assert not self.gone, "told after it was withdrawn"
        super().on_answer(code, buf, at, n)

    def go(self):
        self.gone = True
        self.bench.bus.withdraw(self.request)

    @property
    def over(self):
        return self.gone or self.refused is not None or bool(self.ends)

    def check(self):
        """Exactly one end; and an answer is that of this very request, come while it waited."""
        assert not self.failed
        assert len(self.ends) + (self.refused is not None) <= 1
        if not self.ends:
            return
        end_ms, code, answer = self.ends[0]
        if code != OK:
            assert code in (BUSY, NO_PATH, NO_ANSWER)
            assert answer == b""
            return
        wanted = bytes(self.request.frame[: self.request.length])
        own = [
            sent
            for sent in self.bench.transmissions
            if sent.frame == wanted and sent.answer == answer and sent.done_us is not None
            and self.at_us <= sent.done_us <= 1000 * end_ms + 1
        ]  # fmt: skip
        assert own, f"{wanted.hex()} was answered with {answer.hex()}, which no meter had said to it"


class Guest:
    """Somebody who has the line to himself for a while."""

    name = "a guest"

    def __init__(self, ms):
        self.ms = ms

    async def run(self, open_line):
        await asyncio.sleep(self.ms / 1000)

    def abort(self, error):
        """The line cannot be had."""


questions = st.tuples(
    st.sampled_from(UNITS),
    st.sampled_from((3, 3, 4, 6, 16, 17, VENDORS)),
    st.sampled_from((100, 101)),
    st.integers(1, 2),
)
similar = st.tuples(st.sampled_from((1, 2)), st.sampled_from((3, 16)), st.integers(100, 105), st.just(1))
delays_ms = st.one_of(st.just(0), st.integers(0, 60), st.integers(0, 1500))
deeds = st.one_of(
    st.tuples(st.just("ask"), questions, st.booleans()),
    st.tuples(st.just("ask"), questions, st.booleans()),
    st.tuples(st.just("go"), st.integers(0, 40)),
    st.tuples(st.just("broadcast"), st.integers(0, 65535)),
    st.tuples(st.just("crowd"), st.integers(2, 20), questions),
)
breaks = st.one_of(
    st.tuples(st.just("guest"), st.sampled_from((0, 1, 30, 700))),
    st.tuples(st.just("unplug"), st.sampled_from((0, 700))),
)


def question_of(deed):
    return {"ask": deed[1], "crowd": deed[-1]}.get(deed[0], ())


def faults(kinds):
    return st.lists(st.tuples(st.sampled_from(sorted(kinds)), st.integers(0, 255)), max_size=40)


def plans(*kinds):
    return st.lists(st.tuples(delays_ms, st.one_of(*kinds)), min_size=1, max_size=14)


def play(plan, faults, echo=False, repeated=(), calibrated=False, polls=True):
    """Does all that, and waits until everybody is served; gives the Askers. `repeated`: what is asked again and again
    all the while; `calibrated`: time-outs have been found before; `polls`: whether the poller goes on then."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        bench = FaultyBench(monkeypatch, echo)
        askers = []

        def ask(question, first=False):
            askers.append(Asker(bench, len(askers), *question))
            askers[-1].ask_it(first)

        async def ask_again(question):
            while True:
                ask(question)
                one = askers[-1]
                if one.refused is None:
                    await one.event.wait()
                await asyncio.sleep(0.05 if one.refused is None else 0.5)

        def do(deed):
            kind, *rest = deed
            if kind == "ask":
                ask(*rest)
            elif kind == "crowd":
                for k in range(rest[0]):
                    ask((*rest[1][:2], 100 + k % 8, rest[1][3]))
            elif kind == "go" and rest[0] < len(askers):
                askers[rest[0]].go()
            elif kind == "broadcast":
                bench.bus.broadcast(struct.pack(">BHH", 6, 1, rest[0]), 0, 5)
            elif kind == "guest":
                bench.bus.lease_line(Guest(rest[0]))
            elif kind == "unplug" and bench.lines and not bench.line.closed:
                if rest[0]:
                    bench.open_error = OSError(19, "unplugged")
                    asyncio.get_running_loop().call_later(rest[0] / 1000, setattr, bench, "open_error", None)
                bench.line.unplug()

        async def all_of_it():
            if calibrated:
                await asyncio.sleep(CALIBRATED_S)
                assert bench.bus.timeout_ms(bench.meters[1]) < TIMEOUT_MS[2]
            bench.faults = iter(faults)
            if not polls:
                bench.hold_polls()
            again = [asyncio.ensure_future(ask_again(question)) for question in repeated]
            for delay_ms, deed in plan:
                await asyncio.sleep(delay_ms / 1000)
                do(deed)
            waiting = [one for one in askers if not one.over]
            end_us = bench.clock.us + int(1e6 * WAIT_S)
            while waiting and bench.clock.us < end_us:
                await asyncio.sleep(0.1)
                waiting = [one for one in waiting if not one.over]
            for task in again:
                task.cancel()
            assert not waiting, f"{len(waiting)} wait after {WAIT_S} s, {waiting[0].request.frame[:8].hex()} first"
            await asyncio.sleep(5)  # for whoever is told twice

        bench.run(all_of_it)
        for one in askers:
            one.check()
        return askers


@_settings
@given(plans(deeds), faults(HARMLESS), st.booleans())
def test_noise_and_strange_frames_around_answers_cost_nobody_his_answer(plan, faults, echo):
    # The answer to a function of a vendor's own has no known length: it cannot be told from what follows at once.
    plan = [(delay_ms, deed) for delay_ms, deed in plan if VENDORS not in question_of(deed)]
    for one in play(plan, faults, echo):
        assert one.gone or one.refused == BUSY or one.ends[0][1] == OK


@_settings
@given(plans(deeds), faults(HARMLESS | HARMFUL), st.booleans(), st.booleans())
def test_every_request_ends_once_with_its_own_answer_or_a_code(plan, faults, echo, calibrated):
    assert all(one.over for one in play(plan, faults, echo, calibrated=calibrated))


@_settings
@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.tuples(st.just("ask"), similar, st.just(False))), min_size=2, max_size=8
    ),
    faults(("late", "late in pieces", "silent")),
    st.booleans(),
)
def test_late_answers_are_never_taken_for_those_to_similar_requests(plan, faults, calibrated):
    play(plan, faults, calibrated=calibrated)


@pytest.mark.parametrize("x", range(0, 256, 15))
def test_an_automatic_time_out_makes_no_answer_come_late_unexpected(x):
    """What ends sooner is the wait for an answer; the meter may still be as slow as it was configured."""
    similar = [(150, ("ask", (2, 3, 100 + k, 1), False)) for k in range(8)]
    play(similar, [("late", x)] + 8 * [("silent", 0)], calibrated=True, polls=False)


@_settings
@given(plans(deeds), faults(HARMFUL), st.lists(questions, min_size=1, max_size=2))
def test_a_client_that_repeats_one_read_does_not_starve_the_others(plan, faults, repeated):
    play(plan, faults, repeated=repeated)


@_settings
@given(plans(deeds, breaks), faults(HARMLESS | HARMFUL))
def test_a_line_that_goes_away_or_is_lent_changes_nothing_of_that(plan, faults):
    play(plan, faults)

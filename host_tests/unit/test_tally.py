"""Exceptions by code and answer times of a meter or a bus."""

from firmware.bus import tally


def test_times_are_the_shortest_the_mean_and_the_longest():
    counts = tally.new()
    assert tally.times_ms(counts) is None
    for ms in (40, 10, 25):
        tally.answer(counts, ms)
    assert tally.times_ms(counts) == (10, 25, 40)
    assert (tally.answers(counts), tally.longest_ms(counts)) == (3, 40)


def test_an_answer_of_no_time_at_all_is_the_shortest():
    counts = tally.new()
    tally.answer(counts, 7)
    tally.answer(counts, 0)
    assert tally.times_ms(counts) == (0, 3, 7)


def test_the_mean_survives_years():
    counts = tally.new()
    for _ in range(300_000):
        tally.answer(counts, 10_000)
    shortest, mean, longest = tally.times_ms(counts)
    assert (shortest, longest) == (10_000, 10_000)
    assert 9_999 <= mean <= 10_001
    assert max(counts) < 1 << 30


def test_exceptions_are_counted_by_code_and_unknown_ones_together():
    counts = {}
    for code in (2, 2, 11, 12, 255, 0):
        tally.exception(counts, 7, code)
    tally.exception(counts, 0, 3)
    assert tally.exceptions(counts, 7) == [(0, 3), (2, 2), (11, 1)]
    assert tally.exceptions(counts, 0) == [(3, 1)]
    assert tally.exceptions(counts, 8) == []

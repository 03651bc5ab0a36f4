"""Exceptions by code and answer times of a meter or a bus."""

from firmware.bus.bus_stats import AnswerTimes, BusStats


def test_times_are_the_shortest_the_mean_and_the_longest():
    times = AnswerTimes()
    assert times.summary_ms() is None
    for ms in (40, 10, 25):
        times.add(ms)
    assert times.summary_ms() == (10, 25, 40)
    assert (times.count, times.max_ms) == (3, 40)


def test_an_answer_of_no_time_at_all_is_the_shortest():
    times = AnswerTimes()
    times.add(7)
    times.add(0)
    assert times.summary_ms() == (0, 3, 7)


def test_the_mean_survives_years():
    times = AnswerTimes()
    for _ in range(300_000):
        times.add(10_000)
        assert max(vars(times).values()) < 1 << 30
    shortest, mean, longest = times.summary_ms()
    assert (shortest, longest) == (10_000, 10_000)
    assert 9_999 <= mean <= 10_001


def test_exceptions_are_counted_by_code_and_unknown_ones_together():
    stats = BusStats()
    for code in (2, 2, 11, 12, 255, 0):
        stats.add_exception(7, code)
    stats.add_exception(0, 3)
    assert stats.exceptions_of(7) == [(0, 3), (2, 2), (11, 1)]
    assert stats.exceptions_of(0) == [(3, 1)]
    assert stats.exceptions_of(8) == []


def test_every_name_that_is_shown_is_a_counter():
    stats = BusStats()
    assert {name for name in stats.NAMES if getattr(stats, name) != 0} == set()

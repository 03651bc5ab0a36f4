"""Clock: seconds since boot across wraps of the ticks. Event log: bounded, repeats counted."""

import pytest

from firmware.events import Events
from firmware.net import clock as firmware_clock
from host_tests.unit.fakes import TICKS_PERIOD, Clock, Uptime

DAY_MS = 86_400_000


def test_ticks_of_the_seam_wrap_as_on_the_chips():
    from firmware.net import seam

    last = TICKS_PERIOD - 1
    assert seam.ticks_add(last, 1) == 0
    assert seam.ticks_diff(0, last) == 1
    assert seam.ticks_diff(last, 0) == -1
    assert seam.ticks_diff(TICKS_PERIOD // 2 - 1, 0) == TICKS_PERIOD // 2 - 1
    assert 0 <= seam.ticks_ms() < TICKS_PERIOD
    assert 0 <= seam.ticks_us() < TICKS_PERIOD


@pytest.mark.parametrize("start_us", [0, 1, (TICKS_PERIOD - 1) * 1000, (TICKS_PERIOD - 500) * 1000 + 7])
def test_uptime_begins_at_zero_whatever_the_ticks_say(monkeypatch, start_us):
    Clock(start_us).install(monkeypatch)
    boot = firmware_clock.Clock()
    assert (boot.uptime_s(), boot.uptime_ms()) == (0, 0)


@pytest.mark.parametrize("step_ms", [1000, 1007, 999, 3_600_000, DAY_MS])
def test_uptime_goes_on_across_wraps_of_the_ticks(clock, step_ms):
    boot = firmware_clock.Clock()
    begin_us = clock.us
    for _ in range(max(40, 3 * TICKS_PERIOD // step_ms) if step_ms >= 3_600_000 else 3000):
        clock.advance_ms(step_ms)
        assert boot.uptime_s() == (clock.us - begin_us) // 1_000_000
    assert boot.uptime_ms() == (clock.us - begin_us) // 1000


def test_uptime_loses_nothing_however_often_it_is_asked(monkeypatch):
    clock = Clock((TICKS_PERIOD - 3000) * 1000).install(monkeypatch)
    boot = firmware_clock.Clock()
    for _ in range(10_000):
        clock.advance_ms(1)
        boot.uptime_s()
    assert boot.uptime_ms() == 10_000


def test_uptime_in_ms_never_goes_back(monkeypatch):
    clock = Clock((TICKS_PERIOD - 50) * 1000).install(monkeypatch)
    boot = firmware_clock.Clock()
    last = 0
    for _ in range(400):
        clock.advance_ms(13)
        now = boot.uptime_ms()
        assert now == last + 13
        last = now


def test_the_time_of_day_is_unknown_until_somebody_tells_it(clock):
    boot = firmware_clock.Clock()
    assert (boot.is_set, boot.unix_ms(), boot.unix_s()) == (False, None, 0)


def test_the_time_of_day_goes_on_with_the_ticks_and_the_board_is_told(clock):
    told = []
    boot = firmware_clock.Clock(told.append)
    clock.advance_ms(5500)
    boot.set_ms(1_800_000_000_250)
    assert told == [1_800_000_000]
    assert boot.is_set
    for _ in range(20):
        clock.advance_ms(DAY_MS)
        boot.uptime_s()
    assert boot.unix_ms() == 1_800_000_000_250 + 20 * DAY_MS
    assert boot.unix_s() == (1_800_000_000_250 + 20 * DAY_MS) // 1000


def test_setting_the_time_does_not_touch_uptime(clock):
    boot = firmware_clock.Clock()
    clock.advance_ms(9000)
    boot.set_ms(1_800_000_000_000)
    boot.set_ms(1_700_000_000_000)
    assert boot.uptime_s() == 9
    assert boot.unix_s() == 1_700_000_000


# -- events


@pytest.fixture
def console():
    return []


@pytest.fixture
def log(uptime, console):
    return Events(uptime, console.append)


def test_a_line_is_kept_with_its_time_and_goes_to_the_console(log, uptime, console):
    uptime.now = 12
    log.add("bus", "meter main answers")
    assert [tuple(line) for line in log.lines()] == [(12, "bus", "meter main answers", 1)]
    assert console == ["[12] bus: meter main answers"]


def test_the_log_is_bounded_and_the_oldest_goes(log):
    for k in range(200):
        log.add("x", str(k))
    texts = [line[2] for line in log.lines()]
    assert len(texts) <= 64
    assert texts == [str(k) for k in range(200 - len(texts), 200)]
    assert log.dropped == 200 - len(texts)


def test_a_long_line_is_cut(log):
    log.add("x", "y" * 10_000)
    assert len(log.lines()[0][2]) == 120
    assert log.lines()[0][2].endswith("...")
    log.add("x", "z" * 120)
    assert log.lines()[1][2] == "z" * 120


def test_a_repeated_line_is_counted_not_added(log, uptime, console):
    log.add("a", "first")
    for k in range(1000):
        uptime.now = k
        log.add("bus", "line lost")
    assert [line[2] for line in log.lines()] == ["first", "line lost"]
    assert log.lines()[-1][3] == 1000
    assert log.lines()[-1][0] == 999, "the time of the latest"
    assert 2 <= len(console) <= 10, "a fault in a loop must not flood the console"


def test_a_long_line_that_repeats_is_counted_too(log):
    for _ in range(5):
        log.add("x", "y" * 500)
    assert len(log.lines()) == 1
    assert log.lines()[0][3] == 5


def test_the_same_text_of_another_source_is_another_line(log):
    log.add("http", "not started")
    log.add("modbus", "not started")
    assert [line[1] for line in log.lines()] == ["http", "modbus"]


def test_the_default_console_is_print(capsys):
    Events(Uptime(3)).add("app", "hello")
    assert capsys.readouterr().out == "[3] app: hello\n"

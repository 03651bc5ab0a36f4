"""The record of the last crash: what it says, its bounds, and that writing it never stands in the way of a restart."""

import json

import pytest

from firmware import crash
from firmware.config import store

HEAP = (1000, 2000)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def nested(depth):
    if depth:
        return nested(depth - 1)
    raise ValueError("the deepest" + 500 * "!")


def test_without_a_crash_there_is_no_record():
    assert crash.last() is None
    assert crash.reason() == ""


def test_the_record_says_why_and_where_and_has_bounds():
    with pytest.raises(ValueError, match="the deepest") as caught:
        nested(40)
    crash.keep(repr(caught.value), HEAP, 77, caught.value)
    record = json.loads(crash.last())
    assert record["reason"].startswith("ValueError('the deepest")
    assert len(record["reason"]) == 160
    assert len(record["traceback"]) == 1000
    assert record["traceback"].rstrip().endswith("!")
    assert (record["uptime_s"], record["heap_free"], record["heap_used"]) == (77, 1000, 2000)
    assert crash.reason() == record["reason"]


def test_the_last_crash_takes_the_place_of_the_one_before():
    for number in range(5):
        crash.keep(f"crash {number}", HEAP, number)
    assert crash.reason() == "crash 4"


@pytest.mark.parametrize("error", [OSError(28), MemoryError()])
def test_a_record_that_cannot_be_written_stops_nothing(monkeypatch, capsys, error):
    def fails(path, body):
        raise error

    monkeypatch.setattr(store, "save", fails)
    crash.keep("x", HEAP, None)
    assert "not recorded" in capsys.readouterr().out

"""Which lines of a gateway's log are new."""

from typing import NamedTuple


class Event(NamedTuple):
    """A line, as in /api/status; one that repeats has the time of the last, and `times`."""

    uptime_s: int
    source: str
    text: str
    times: int


def new_events(before: list[Event], now: list[Event]) -> list[Event]:
    """Those of `now` that `before`, an earlier look, does not have; a line that has been repeated since is new. After a
    restart all are."""
    if not before:
        return now
    newest = before[-1]
    for k in range(len(now) - 1, -1, -1):
        if now[k] == newest:
            return now[k + 1 :]
        if now[k][1:3] == newest[1:3] and now[k].uptime_s > newest.uptime_s and now[k].times > newest.times:
            return now[k:]
    return now

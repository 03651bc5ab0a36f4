"""Counts of one meter or one bus that would be too many attributes: exceptions by code, and how long answers took.

A tally is an array of 16 numbers of 32 bits, for a board may have 64 meters: 0 to 11 are exceptions by code (what has
none of the codes of Application Protocol 7 is counted at 0), then the answer times in ms from the request's last bit:
shortest, longest, their sum and their number (sum and number are halved together before the sum would overflow).
"""

from array import array

from micropython import const

CODES = const(12)
_MIN = const(12)
_MAX = const(13)
_SUM = const(14)
_COUNT = const(15)
_SUM_MAX = const(0x3FFFFFFF)  # a small integer on 32 bits


def new():
    return array("L", [0] * 16)


def exception(tally, code):
    tally[code if code < CODES else 0] += 1


def answer(tally, ms):
    """An answer came `ms` after its request."""
    if not tally[_COUNT] or ms < tally[_MIN]:
        tally[_MIN] = ms
    if ms > tally[_MAX]:
        tally[_MAX] = ms
    if tally[_SUM] + ms > _SUM_MAX:
        tally[_SUM] >>= 1
        tally[_COUNT] >>= 1
    tally[_SUM] += ms
    tally[_COUNT] += 1


def answers(tally):
    """Number of answers that the mean is made of."""
    return tally[_COUNT]


def times_ms(tally):
    """(shortest, mean, longest), or None before the first answer."""
    count = tally[_COUNT]
    return (tally[_MIN], tally[_SUM] // count, tally[_MAX]) if count else None


def longest_ms(tally):
    return tally[_MAX]

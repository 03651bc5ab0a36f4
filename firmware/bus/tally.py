"""Counts of one meter or one bus that would be too many attributes: how long answers took, and exceptions by code.

Answer times are the first four numbers of an array of 32 bits, in ms from the request's last bit: shortest, longest,
their sum and their number (sum and number are halved together before the sum would overflow).

Exceptions are counted in one dict for all of a bus, by unit (0: all of the bus) and code, for most meters never give
any. What has none of the codes of Application Protocol 7 is counted at 0.
"""

from array import array

from micropython import const

CODES = const(12)
_MIN = const(0)
_MAX = const(1)
_SUM = const(2)
_COUNT = const(3)
_SUM_MAX = const(0x3FFFFFFF)  # a small integer on 32 bits
_UNIT = const(4)  # bits in front of which the unit stands


def new():
    return array("i", [0] * 4)


def exception(codes, unit, code):
    """`unit`: one of the meters, or 0, so that there is no end of different ones."""
    key = unit << _UNIT | (code if code < CODES else 0)
    codes[key] = codes.get(key, 0) + 1 & _SUM_MAX


def exceptions(codes, unit):
    """[(code, times)] of those that have come."""
    counted = [(code, codes.get(unit << _UNIT | code, 0)) for code in range(CODES)]
    return [one for one in counted if one[1]]


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

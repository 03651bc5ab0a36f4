"""Times of day as text: ISO 8601 (RFC 3339), in UTC, whole seconds, 1970 to 2105. Codec only: no clock.

Unix seconds are integers. The calendar is counted in years that begin in March, so that a leap day is their last.
"""

from micropython import const

_DAY_S = const(86400)
_FROM_MARCH_0 = const(719468)  # days from 0000-03-01 to 1970-01-01
_FOUR_CENTURIES = const(146097)  # days


def format(unix_s: int) -> bytes:
    """b"2026-11-26T03:51:07Z"."""
    days = unix_s // _DAY_S
    seconds = unix_s % _DAY_S
    days += _FROM_MARCH_0
    era = days // _FOUR_CENTURIES
    days %= _FOUR_CENTURIES
    year = (days - days // 1460 + days // 36524 - days // 146096) // 365
    days -= 365 * year + year // 4 - year // 100
    month = (5 * days + 2) // 153  # 0 is March
    day = days - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += 400 * era + (month <= 2)
    return b"%04d-%02d-%02dT%02d:%02d:%02dZ" % (
        year, month, day, seconds // 3600, seconds // 60 % 60, seconds % 60,
    )  # fmt: skip


def parse(text: bytes) -> int:
    """Unix seconds of b"2026-11-26T03:51:07Z", or of b"2026-11-26": its midnight. Raises ValueError."""
    if len(text) == 10:
        text = text + b"T00:00:00Z"
    marks = text[4:5] + text[7:8] + text[10:11] + text[13:14] + text[16:17] + text[19:]
    parts = (text[:4], text[5:7], text[8:10], text[11:13], text[14:16], text[17:19])
    if len(text) != 20 or marks != b"--T::Z" or not b"".join(parts).isdigit():
        raise ValueError("a time is 2026-11-26T03:51:07Z, a day 2026-11-26, in UTC")
    year, month, day, hour, minute, second = [int(part) for part in parts]
    if not (1970 <= year <= 2105 and 1 <= month <= 12 and 1 <= day <= 31) or hour > 23 or minute > 59 or second > 59:
        raise ValueError("no such time")
    from_march = (month + 9) % 12
    year -= month <= 2
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * from_march + 2) // 5 + day - 1
    unix_s = (days - _FROM_MARCH_0) * _DAY_S + 3600 * hour + 60 * minute + second
    if format(unix_s) != text:  # the 31st of a month with 30 days
        raise ValueError("no such day")
    return unix_s

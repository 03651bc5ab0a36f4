"""iso8601: dates of the calendar both ways, and nothing else taken for one."""

import iso8601
from expect import raises

# From the Unix time standard and common tables of it.
KNOWN = (
    (0, b"1970-01-01T00:00:00Z"),
    (951782399, b"2000-02-28T23:59:59Z"),
    (951782400, b"2000-02-29T00:00:00Z"),
    (951868800, b"2000-03-01T00:00:00Z"),
    (1000000000, b"2001-09-09T01:46:40Z"),
    (1709164800, b"2024-02-29T00:00:00Z"),
    (2147483648, b"2038-01-19T03:14:08Z"),
    (4102444799, b"2099-12-31T23:59:59Z"),
    (4107542400, b"2100-03-01T00:00:00Z"),
    (4294967295, b"2106-02-07T06:28:15Z"),
)


def test_known_times_are_formatted():
    for unix_s, text in KNOWN:
        assert iso8601.format(unix_s) == text


def test_known_times_are_parsed():
    for unix_s, text in KNOWN[:-1]:
        assert iso8601.parse(text) == unix_s


def test_every_day_until_2105_comes_back():
    for day in range(0, 49670, 7):
        text = iso8601.format(86400 * day)
        assert text[11:] == b"00:00:00Z"
        assert iso8601.parse(text) == iso8601.parse(text[:10]) == 86400 * day


def test_days_that_do_not_exist_are_refused():
    for text in (
        b"2023-02-29", b"2100-02-29", b"2024-04-31", b"2024-00-10", b"2024-13-10", b"2024-01-00", b"2024-01-32",
        b"1969-12-31", b"2106-01-01", b"2024-01-01T24:00:00Z", b"2024-01-01T00:60:00Z", b"2024-01-01T00:00:60Z",
    ):  # fmt: skip
        raises(ValueError, iso8601.parse, text)


def test_other_texts_are_refused():
    for text in (b"", b"2024", b"20240101", b"2024-01-01T00:00:00", b"2024-01-01 00:00:00Z", b"2024-01-01T00:00:00z",
                 b"2024/01/01", b"2024-1-01T00:00:00ZZ", b"-024-01-01", b"2024-01-01T00:00:0xZ", b"\xff" * 20,
                 b"\xff" * 10):  # fmt: skip
        raises(ValueError, iso8601.parse, text)

"""Decimal numbers as text: every number of digits on both sides of the point, and of the heap's limits."""

from firmware.meters.decimal_text import TEXT_MAX, decimal_text, write_decimal


def wanted(number, decimals):
    digits = str(abs(number))
    digits = "0" * (decimals + 1 - len(digits)) + digits
    text = digits[: len(digits) - decimals] + ("." + digits[len(digits) - decimals :] if decimals else "")
    return ("-" if number < 0 else "") + text


def test_every_length_and_every_place_of_the_point():
    for exponent in range(0, 28):
        for number in (10**exponent - 1, 10**exponent, 10**exponent + 1, 7 * 10**exponent + 1234567):
            for decimals in range(10):
                for signed in (number, -number):
                    assert decimal_text(signed << 4 | decimals) == wanted(signed, decimals).encode()


def test_numbers_beside_those_that_are_objects():
    for exponent in (29, 30, 31, 32, 62, 63, 64):
        for number in range(2**exponent - 2, 2**exponent + 3):
            assert decimal_text(number << 4) == b"%d" % number
            assert decimal_text(-number << 4 | 3) == wanted(-number, 3).encode()


def test_only_the_text_is_written():
    buf = bytearray(b"#" * 40)
    assert write_decimal(buf, 20, -12345 << 4 | 2) == 13
    assert buf == b"#" * 13 + b"-123.45" + b"#" * 20
    assert len(decimal_text(-(2**110) << 4 | 7)) <= TEXT_MAX

"""Writes decimal numbers (Profile.decimal) as text without a float: those of a chip have seven digits."""

from micropython import const

from firmware.meters.profile import DECIMALS_BITS, DECIMALS_MASK

TEXT_MAX = const(36)  # bytes: a sign, the digits of 2**110, a point
_SMALL_MOST = const(0x3FFFFFFF)  # a larger integer is an object in the heap, and so is each that is made of it
_EIGHT_DIGITS = const(100000000)


def decimal_text(decimal: int) -> bytes:
    """The number in ASCII, with the decimals that it has."""
    text = bytearray(TEXT_MAX)
    return bytes(text[write_decimal(text, TEXT_MAX, decimal) :])


def write_decimal(buf: bytearray, end: int, decimal: int) -> int:
    """Writes the same so that it ends before buf[end]; returns where it begins, at most TEXT_MAX before. Allocates
    nothing for a number of up to 30 bits with its decimals."""
    number = abs(decimal >> DECIMALS_BITS)
    decimals = decimal & DECIMALS_MASK
    low = digits = 0
    while number or digits or decimals >= 0:
        if not digits and number > _SMALL_MOST:
            low = number % _EIGHT_DIGITS
            number //= _EIGHT_DIGITS
            digits = 8
        end -= 1
        if digits:
            digits -= 1
            buf[end] = 48 + low % 10
            low //= 10
        else:
            buf[end] = 48 + number % 10
            number //= 10
        decimals -= 1
        if not decimals:
            end -= 1
            buf[end] = 46
    if decimal < 0:
        end -= 1
        buf[end] = 45
    return end


try:
    from firmware.meters.decimal_text_machine import write_decimal  # type: ignore
except ImportError:  # only images for the RP2 have machine code
    pass

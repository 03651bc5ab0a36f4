"""Writes decimal numbers (Profile.decimal) as text without a float: those of a chip have seven digits."""

from firmware.meters.profile import DECIMALS_BITS, DECIMALS_MASK


def decimal_text(decimal: int) -> bytes:
    """The number in ASCII, with the decimals that it has."""
    digits = "%d" % abs(decimal >> DECIMALS_BITS)
    decimals = decimal & DECIMALS_MASK
    while len(digits) <= decimals:
        digits = "0" + digits
    if decimals:
        digits = digits[:-decimals] + "." + digits[-decimals:]
    return (b"-" if decimal < 0 else b"") + digits.encode()

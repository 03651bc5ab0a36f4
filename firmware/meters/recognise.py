"""Recognises a meter that answers: finds the profiles whose signatures fit it.

for name, tests in candidates():
    for test in tests:
        read test[:3] = (function, address, count) from the meter, once however many candidates ask for it
        unless matches(test, registers), the profile does not fit
"""

import struct

from micropython import const

from firmware.meters import catalog
from firmware.meters.profile import CODES, REGISTERS, TYPES, swapped

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator
    from typing import TypeAlias

    # function, address, count, index into TYPES, low word first, [exact values] or (lowest, highest)
    Test: TypeAlias = tuple[int, int, int, int, bool, list[int] | tuple[float, float]]

_KEYS = const(("signature", "word_order"))  # that are read of a profile


def candidates() -> "Iterator[tuple[str, list[Test]]]":
    """Yields (name of a profile as the configuration has it, its tests). Leaves out profiles without a signature, or
    with a wrong one. Reads one file after the other: all of them at once would take tens of kilobytes."""
    for name in catalog.names():
        try:
            tests = _tests(catalog.read(name, _KEYS))
        except (OSError, ValueError, TypeError, IndexError, AttributeError):
            continue
        if tests:
            yield name, tests


def matches(test: "Test", registers: "bytes | bytearray | None") -> bool:
    """True when `registers`, the bytes that the meter gave for `test`, hold what meters of the profile have there.
    False for None or another number of bytes, as after an exception."""
    _, _, count, kind, is_little, accepted = test
    if registers is None or len(registers) != 2 * count:
        return False
    raw = swapped(bytes(registers)) if is_little else registers
    value = struct.unpack(CODES[kind], raw)[0]
    if isinstance(accepted, tuple):
        return accepted[0] <= value <= accepted[1]  # False for NaN
    return value in accepted


def _tests(document):
    """Makes a Test of each row of the signature in a profile's document. Raises one of the errors that candidates()
    catches if the signature is wrong."""
    is_little = document.get("word_order") == "little"
    tests = []
    for row in document.get("signature") or ():
        kind = TYPES.index(row[2])
        accepted = row[3] if isinstance(row[3], list) else (row[3], row[4])
        are_numbers = all([isinstance(value, (int, float)) for value in accepted])
        if row[0] not in (3, 4) or not are_numbers or not 0 <= row[1] <= 0x10000 - REGISTERS[kind]:
            raise ValueError("signature")
        tests.append((row[0], row[1], REGISTERS[kind], kind, is_little, accepted))
    return tests

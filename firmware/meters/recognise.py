"""Which profile fits a meter that answers: the tests by which a meter is known, from the profiles' signatures.

for name, tests in candidates():
    for test in tests:
        read test[:3] = (function, address, count) from the meter, once however many candidates ask for it
        matches(test, registers) tells whether the candidate is still one
"""

import struct

from firmware.meters import catalog
from firmware.meters.profile import CODES, REGISTERS, TYPES, swapped

_SIGNATURE = ("signature", "word_order")  # what is read of a profile


def candidates():
    """Yields (profile's name as the configuration has it, its tests). Profiles without a signature, or with a wrong
    one, are no candidates. Reads one file after the other: all of them at once would take tens of kilobytes."""
    for name in catalog.names():
        try:
            tests = _tests(catalog.read(name, _SIGNATURE))
        except (OSError, ValueError, TypeError, IndexError, AttributeError):
            continue
        if tests:
            yield name, tests


def matches(test, registers):
    """True when the bytes of the registers that were read for `test` are what its profile's meters have there.
    None or another number of bytes, as after an exception, is False."""
    _, _, count, kind, is_little, accepted = test
    if registers is None or len(registers) != 2 * count:
        return False
    raw = swapped(bytes(registers)) if is_little else registers
    value = struct.unpack(CODES[kind], raw)[0]
    if isinstance(accepted, tuple):
        return accepted[0] <= value <= accepted[1]  # False for NaN
    return value in accepted


def _tests(document):
    """(function, address, count, index into TYPES, low word first, [exact values] or (lowest, highest)) for each row of
    the signature in a profile's document. Raises what comes of a wrong one."""
    is_little = document.get("word_order") == "little"
    tests = []
    for row in document.get("signature") or ():
        kind = TYPES.index(row[2])
        accepted = row[3] if isinstance(row[3], list) else (row[3], row[4])
        numbers = all([isinstance(one, (int, float)) for one in accepted])
        if row[0] not in (3, 4) or not numbers or not 0 <= row[1] <= 0x10000 - REGISTERS[kind]:
            raise ValueError("signature")
        tests.append((row[0], row[1], REGISTERS[kind], kind, is_little, accepted))
    return tests

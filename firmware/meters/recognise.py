"""Which profile fits a meter that answers: the tests by which a meter is known, read from the profile files.

Imported by a search for meters only, and given back to the heap after it. No profile is parsed: a file is read in small
pieces up to its `signature`, so that all of them cost less than a kilobyte at a time.

    for name, tests in candidates():
        for test in tests:
            read test[:3] = (function, address, count) from the meter, once however many candidates ask for it
            matches(test, registers) tells whether the candidate is still one
"""

import json
import struct

from micropython import const

from firmware.meters import catalog as profile_files
from firmware.meters.profile import REGISTERS, TYPES

_PIECE = const(64)
_VALUE_MAX = const(768)  # of a signature's text


def candidates():
    """Yields (profile's name as the configuration has it, its tests). Profiles without a signature, or with a wrong
    one, are no candidates."""
    for name, path in profile_files.items():
        try:
            tests = _tests(path)
        except (OSError, ValueError, TypeError, IndexError):
            continue
        if tests:
            yield name, tests


def matches(test, registers):
    """True when the bytes of the registers that were read for `test` are what its profile's meters have there.
    None or another number of bytes, as after an exception, is False."""
    _, _, count, kind, little, accepted = test
    if registers is None or len(registers) != 2 * count:
        return False
    raw = bytes(registers)
    if little:
        raw = b"".join([raw[k : k + 2] for k in range(len(raw) - 2, -1, -2)])
    value = struct.unpack(">" + "HhIiQqf"[kind], raw)[0]
    if isinstance(accepted, tuple):
        return accepted[0] <= value <= accepted[1]  # False for NaN
    return value in accepted


def _tests(path):
    """(function, address, count, index into TYPES, low word first, [exact values] or (lowest, highest)) for each row of
    the signature in a profile's file."""
    rows = _value(path, b'"signature"')
    little = _value(path, b'"word_order"') == "little"
    tests = []
    for row in rows or ():
        kind = TYPES.index(row[2])
        accepted = row[3] if isinstance(row[3], list) else (row[3], row[4])
        numbers = all([isinstance(one, (int, float)) for one in accepted])
        if row[0] not in (3, 4) or not numbers or not 0 <= row[1] <= 0x10000 - REGISTERS[kind]:
            raise ValueError("%s: signature" % path)
        tests.append((row[0], row[1], REGISTERS[kind], kind, little, accepted))
    return tests


def _value(path, key):
    """The value of a key, a text or a list, of the object in a JSON file; None when it is not there."""
    with open(path, "rb") as f:
        text = b""
        while key not in text:
            piece = f.read(_PIECE)
            if not piece:
                return None
            text = text[-len(key) :] + piece
        text = text[text.find(key) + len(key) :]
        depth = k = 0
        while k < _VALUE_MAX:
            if k == len(text):
                piece = f.read(_PIECE)
                if not piece:
                    break
                text += piece
            if text[k] == 0x5B:
                depth += 1
            elif text[k] == 0x5D:
                depth -= 1
            elif text[k] in b",}" and not depth:
                return json.loads(text[text.find(b":") + 1 : k])
            k += 1
    raise ValueError("%s: %s is cut off" % (path, key.decode()))

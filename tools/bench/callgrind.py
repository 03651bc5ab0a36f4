"""Callgrind's files (Valgrind's manual, 'Callgrind Format Specification'): what each function took by itself and in
all, and how often it was called.

In:  the text of one file, with one event (Ir: instructions). Out: a Profile. Raises ValueError when it is none.
"""

import collections
import re
from typing import NamedTuple

_NAME = re.compile(r"(c?)fn=\((\d+)\)(?: (.*))?")
_RECURSION = re.compile(r"'\d+$")  # one function at different depths


class Profile(NamedTuple):
    """By the function's name, which for a stripped program is its address in it."""

    total: int
    own: collections.Counter[str]  # instructions
    calls: collections.Counter[str]
    inclusive: collections.Counter[str]  # instructions, those of what it called among them; of no use with recursion


def read(text: str) -> Profile:
    """The whole file."""
    names: dict[str, str] = {}
    own: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    inclusive: collections.Counter[str] = collections.Counter()
    total = None
    here = called = ""
    of_a_call = False  # the next line of costs is, and not the function's own
    for line in text.splitlines():
        if found := _NAME.fullmatch(line):
            callee, number, name = found.groups()
            if name is not None:
                names[number] = _RECURSION.sub("", name)
            if callee:
                called = names[number]
            else:
                here = names[number]
        elif line.startswith("calls="):
            calls[called] += int(line[6:].split()[0])
            of_a_call = True
        elif line.startswith("totals:"):
            total = int(line.split()[1])
        elif line[:1] in "+-*0123456789" and line:
            if of_a_call:
                inclusive[called] += int(line.split()[1])
            else:
                own[here] += int(line.split()[1])
            of_a_call = False
    if total is None:
        raise ValueError("no file of Callgrind's: it has no totals")
    return Profile(total, own, calls, inclusive)

"""Copying registers as machine code, since slices are objects in the heap; and looking for counters that have changed.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

from firmware.meters.profile import REGISTERS as _REGISTERS

_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def copy(out, at: int, source, begin: int, size: int):
    """As firmware.meters.block.copy(). Raises IndexError beyond the end of one of the two."""
    if at < 0 or begin < 0 or size < 0 or int(_len(out)) < at + size or int(_len(source)) < begin + size:
        raise IndexError
    target = ptr8(int(ptr8(out)) + at)
    data = ptr8(int(ptr8(source)) + begin)
    k = 0
    while k < size:
        target[k] = data[k]
        k += 1


@micropython.viper
def next_changed(profile, block_of, number: int, raw, frame, begin: int, k: int) -> int:
    """As firmware.meters.meter.next_changed(). Raises IndexError beyond the end of one of them."""
    counters = profile.counters
    count = int(_len(counters))
    offsets = profile.offsets
    points = int(_len(offsets))
    if k < 0 or int(_len(block_of)) < points or int(_len(profile.encoding_of)) < points:
        raise IndexError
    encodings = profile.encodings
    index_of = ptr8(counters)
    encoding_of = ptr8(profile.encoding_of)
    registers = ptr8(_REGISTERS)
    blocks = ptr8(block_of)
    offset_of = ptr8(offsets)
    before = ptr8(raw)
    before_end = int(_len(raw))
    after = ptr8(frame)
    after_end = int(_len(frame))
    while k < count:
        i = index_of[k]
        if i >= points:
            raise IndexError
        if blocks[i] == number:
            at = offset_of[i]
            end = at + 2 * registers[int(encodings[encoding_of[i]][0])]
            if end > before_end or begin + at < 0 or begin + end > after_end:
                raise IndexError
            while at < end and before[at] == after[begin + at]:
                at += 1
            if at < end:
                return k
        k += 1
    return -1

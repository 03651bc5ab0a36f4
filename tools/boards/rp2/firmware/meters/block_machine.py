"""Copying registers as machine code: slices are objects in the heap.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

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

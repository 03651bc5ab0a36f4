"""Copying a PDU as machine code: slices are objects in the heap.

Only images of the rp2 port have it (tools/build.py, frozen_manifest).
"""

import micropython

_len = len  # a name of the module is found in a fifth of the time of a builtin one


@micropython.viper
def put_pdu(out, frame, at: int, n: int) -> int:
    """As modbus.tcp.put_pdu(). Raises IndexError where one of the two is too short."""
    length = n - 3
    if at < 0 or length < 0 or int(_len(out)) < 7 + length or int(_len(frame)) < at + n:
        raise IndexError
    source = ptr8(int(ptr8(frame)) + at)
    target = ptr8(out)
    k = 0
    while k < length:
        target[7 + k] = source[1 + k]
        k += 1
    return length

"""Names of Python functions on the chip, read from its memory (py/qstr.h and py/bc.h of MicroPython 1.25).

In: read(address, size) -> bytes, symbols of the firmware. Out: "server.py:_answer" for the address of bytecode.
"""

import struct
from collections.abc import Callable

from tools.bench.elf import Symbols

_POOLS_MAX = 64
_POOL = struct.Struct("<IIIIII")  # prev, total_prev_len and is_sorted, alloc, len, hashes, lengths; then the strings
_PREV_MASK = 0x7FFFFFFF
_STATE_BYTES = 1024  # of mp_state_ctx, and more
_RAM = range(0x20000000, 0x20042000)
_PRELUDE_MAX = 32


class Names:
    """Looks names up; each function once."""

    def __init__(self, read: Callable[[int, int], bytes], symbols: Symbols) -> None:
        self._read, self._symbols = read, symbols
        self._known: dict[int, str] = {}
        self._pool = self._find_pool()

    def _find_pool(self) -> int:
        """The newest pool of interned strings: the word of MicroPython's state from which a chain of pools on the heap
        leads to the newest that came with the program."""
        built_in = "mp_qstr_frozen_const_pool" if "mp_qstr_frozen_const_pool" in self._symbols else "mp_qstr_const_pool"
        first = self._symbols.address(built_in)
        state = self._read(self._symbols.address("mp_state_ctx"), _STATE_BYTES)
        for (address,) in struct.iter_unpack("<I", state):
            pool, steps = address, 0
            while pool in _RAM and pool % 4 == 0 and steps < _POOLS_MAX:
                pool, steps = struct.unpack("<I", self._read(pool, 4))[0], steps + 1
            if pool == first and steps:
                return int(address)
        return first

    def _string(self, number: int) -> str:
        pool = self._pool
        for _ in range(_POOLS_MAX):
            prev, before, _, count, _, lengths = _POOL.unpack(self._read(pool, _POOL.size))
            before &= _PREV_MASK
            if number >= before:
                if number - before >= count:
                    break
                index = number - before
                (text,) = struct.unpack("<I", self._read(pool + _POOL.size + 4 * index, 4))
                return self._read(text, self._read(lengths + index, 1)[0]).decode(errors="replace")
            if not prev:
                break
            pool = prev
        return f"qstr {number}"

    def function(self, code: int, context: int) -> str:
        """file:name of the bytecode at this address, of the module with this context."""
        if code not in self._known:
            prelude = self._read(code, _PRELUDE_MAX)
            (table,) = struct.unpack("<I", self._read(context + 8, 4))
            name = simple_name(prelude)
            file, own = (self._string(struct.unpack("<H", self._read(table + 2 * index, 2))[0]) for index in (0, name))
            self._known[code] = f"{file}:{own}"
        return self._known[code]


def simple_name(prelude: bytes) -> int:
    """The index of the function's name, behind signature and sizes, each of bytes that continue with bit 7."""
    at = 0
    for _ in range(2):
        while prelude[at] & 0x80:
            at += 1
        at += 1
    value = 0
    while True:
        value = value << 7 | prelude[at] & 0x7F
        if not prelude[at] & 0x80:
            return value
        at += 1

"""The heap of MicroPython on the RP2040, looked at from outside (py/gc.c of MicroPython 1.25).

The linker says where it lies; what gc_setup_area makes of that is computed here: an allocation table of two bits for
each block, a finaliser table of one, a gap byte, the blocks.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tools.bench.elf import Symbols

_BLOCK = 16  # bytes: MICROPY_BYTES_PER_GC_BLOCK, four words
_PER_BYTE = 4  # blocks in a byte of the allocation table


class Table(NamedTuple):
    """The allocation table."""

    address: int
    size: int

    @property
    def heap_bytes(self) -> int:
        """All blocks."""
        return in_bytes(self.size * _PER_BYTE)


def in_bytes(blocks: int) -> int:
    """The size of this many blocks."""
    return blocks * _BLOCK


def table(symbols: Symbols) -> Table:
    """Raises elf.ElfError when this is no MicroPython of the rp2 port."""
    start, end = symbols.address("__GcHeapStart"), symbols.address("__GcHeapEnd") & ~(_BLOCK - 1)
    # All in eighths of a byte: a byte of this table, its share of the finalisers', its blocks.
    return Table(start, (end - start - 1) * 8 // (8 + 8 * _PER_BYTE // 8 + 8 * _PER_BYTE * _BLOCK))


def allocated(used_before: int, used_after: int, sweeps: Sequence[tuple[int, int, int]]) -> int:
    """Bytes by which the heap grew between two moments, collections (cycles, before, after) between them apart."""
    total = 0
    for _, before, after in sweeps:
        total += before - used_before
        used_before = after
    return total + used_after - used_before

"""Symbols of a 32-bit little-endian ELF file (Tool Interface Standard, ELF 1.2), as the firmware's linker writes it."""

import bisect
import pathlib
import struct
from typing import NamedTuple

_SYMTAB = 2  # section type
_FUNCTION = 2  # symbol type


class ElfError(ValueError):
    """Not an ELF file that can be read here, or a symbol is missing in it."""


class Symbol(NamedTuple):
    """`size` is 0 for what the linker script or assembly code names."""

    address: int
    size: int
    function: bool


class Symbols:
    """The symbol table of a file: addresses by name, and functions by address. Raises ElfError, OSError."""

    def __init__(self, path: pathlib.Path) -> None:
        data = path.read_bytes()
        if data[:6] != b"\x7fELF\x01\x01":
            raise ElfError(f"{path}: not a 32-bit little-endian ELF file")
        self._path = path
        self.by_name: dict[str, Symbol] = {}
        at, size, count = struct.unpack("<I10xHH", data[0x20:0x32])
        sections = [struct.unpack("<10I", data[at + n * size : at + n * size + 40]) for n in range(count)]
        for section in sections:
            if section[1] == _SYMTAB:
                strings = sections[section[6]]
                self._read(data[section[4] : section[4] + section[5]], data[strings[4] : strings[4] + strings[5]])
        if not self.by_name:
            raise ElfError(f"{path}: has no symbols")
        named = sorted((symbol.address, name) for name, symbol in self.by_name.items() if symbol.function)
        self._addresses = [address for address, _ in named]
        self._names = [name for _, name in named]

    def _read(self, table: bytes, strings: bytes) -> None:
        for name_at, value, size, info, _, section in struct.iter_unpack("<IIIBBH", table):
            name = strings[name_at : strings.index(b"\0", name_at)].decode()
            # Mapping symbols ($t, $d) and files are no places.
            if name and section and not name.startswith("$") and info & 15 < 3:
                function = info & 15 == _FUNCTION
                self.by_name.setdefault(name, Symbol(value & ~1 if function else value, size, function))

    def __contains__(self, name: str) -> bool:
        return name in self.by_name

    def address(self, name: str) -> int:
        """Where this symbol lies. Raises ElfError."""
        if name not in self.by_name:
            raise ElfError(f"{self._path}: has no symbol {name!r}")
        return self.by_name[name].address

    def function_at(self, address: int) -> str:
        """The function in which an address lies, "" before the first."""
        found = bisect.bisect_right(self._addresses, address) - 1
        return self._names[found] if found >= 0 else ""

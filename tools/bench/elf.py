"""Symbols of the firmware's ELF file, read with pyelftools: addresses by name, functions by address."""

import bisect
import pathlib
from typing import NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

_PLACES = ("STT_NOTYPE", "STT_OBJECT", "STT_FUNC")


class ElfError(ValueError):
    """Not an ELF file that can be read here, or a symbol is missing in it."""


class Symbol(NamedTuple):
    """`size` is 0 for what the linker script or assembly code names."""

    address: int
    size: int
    function: bool


class Symbols:
    """The symbol table of a file. Raises ElfError, OSError."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self.by_name: dict[str, Symbol] = {}
        try:
            with open(path, "rb") as file:
                for section in ELFFile(file).iter_sections():
                    if isinstance(section, SymbolTableSection):
                        self._read(section)
        except ELFError as error:
            raise ElfError(f"{path}: {error}") from error
        if not self.by_name:
            raise ElfError(f"{path}: has no symbols")
        named = sorted((symbol.address, name) for name, symbol in self.by_name.items() if symbol.function)
        self._addresses = [address for address, _ in named]
        self._names = [name for _, name in named]

    def _read(self, section: SymbolTableSection) -> None:
        for symbol in section.iter_symbols():
            kind = symbol["st_info"]["type"]
            # Mapping symbols ($t, $d) and files are no places.
            if symbol.name and symbol["st_shndx"] != "SHN_UNDEF" and symbol.name[0] != "$" and kind in _PLACES:
                function = kind == "STT_FUNC"
                address = symbol["st_value"] & ~1 if function else symbol["st_value"]  # bit 0 says Thumb
                self.by_name.setdefault(symbol.name, Symbol(address, symbol["st_size"], function))

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

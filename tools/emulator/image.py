"""The flash of the emulated Pico as a file: MicroPython at its beginning, a littlefs with the firmware's tree at
1.5 MiB.

In:  firmware.bin (tools/emulator/build.py), a tree (tools/build.py), a configuration.
Out: a file of 4 MiB, as the emulated chip reads and writes it; and what lies in such a file, for tests that look at it.

The file system is one that MicroPython's rp2 port mounts (ports/rp2/modules/_boot.py; tools/littlefs_files.py).

A journal of every operation on the flash (machine/flash.mjs) tells what a power cut leaves, whenever it comes.
"""

import json
import pathlib
import random
from typing import Any, NamedTuple

from tools import littlefs_files

FLASH_BYTES = 4 * 1024 * 1024
STORAGE_AT = 1536 * 1024  # the rest is MICROPY_HW_FLASH_STORAGE_BYTES of the board


class ImageError(ValueError):
    """What does not fit into the flash, or is not a flash image."""


def make_storage(files: dict[str, bytes]) -> bytes:
    """A littlefs with these files ("data/config.json"). Raises ImageError when they do not fit."""
    try:
        return littlefs_files.make(files, FLASH_BYTES - STORAGE_AT)
    except littlefs_files.FileSystemError as error:
        raise ImageError(str(error)) from error


def tree_files(tree: pathlib.Path) -> dict[str, bytes]:
    """The files of a tree by their names in it."""
    paths = sorted(path for path in tree.rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in paths}


def make(target: pathlib.Path, firmware: pathlib.Path, files: dict[str, bytes]) -> None:
    """Writes a flash image. Raises ImageError."""
    program = firmware.read_bytes()
    if len(program) > STORAGE_AT:
        raise ImageError(f"{firmware}: {len(program)} bytes, {STORAGE_AT} have room")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(program.ljust(STORAGE_AT, b"\xff") + make_storage(files))


def config_file(config: dict[str, Any]) -> bytes:
    """data/config.json."""
    return json.dumps(config).encode()


def read(flash: pathlib.Path) -> dict[str, bytes]:
    """Every file in the littlefs of a flash image, by its name. The chip must not be running. Raises ImageError."""
    data = flash.read_bytes()
    if len(data) != FLASH_BYTES:
        raise ImageError(f"{flash}: {len(data)} bytes instead of {FLASH_BYTES}")
    try:
        return littlefs_files.read(data[STORAGE_AT:])
    except littlefs_files.FileSystemError as error:
        raise ImageError(f"{flash}: at {STORAGE_AT:#x}: {error}") from error


# Power cuts

# What the operation under way has done when the power goes: nothing, its first half, or some bits of every byte.
TEARS = ("nothing", "half", "bits")


class Operation(NamedTuple):
    """One operation on the flash: from `offset` on it then holds `data`."""

    name: str  # "erase" a sector, or "program" a page
    offset: int
    data: bytes

    def apply(self, flash: bytearray) -> None:
        flash[self.offset : self.offset + len(self.data)] = self.data

    def tear(self, flash: bytearray, how: str) -> None:
        """Does what a power cut leaves of it: one of TEARS."""
        size = len(self.data)
        before = flash[self.offset : self.offset + size]
        if how == "half":
            flash[self.offset : self.offset + size // 2] = self.data[: size // 2]
        elif how == "bits":
            done = random.Random(self.offset).randbytes(size)
            mixed = (old & ~mask | new & mask for old, new, mask in zip(before, self.data, done, strict=True))
            flash[self.offset : self.offset + size] = bytes(mixed)


def keep_journal(flash: pathlib.Path) -> None:
    """From its next start on, the chip with this flash keeps a journal of all that it writes."""
    _journal(flash).touch()


def read_journal(flash: pathlib.Path) -> list[Operation]:
    """Every operation since keep_journal(). The chip may be running."""
    operations = []
    for line in _journal(flash).read_text(encoding="ascii").splitlines(keepends=True):
        if line.endswith("\n"):  # the last one may be on its way
            entry = json.loads(line)
            name = "erase" if "erase" in entry else "program"
            data = b"\xff" * littlefs_files.BLOCK if name == "erase" else bytes.fromhex(entry["data"])
            operations.append(Operation(name, entry[name], data))
    return operations


def _journal(flash: pathlib.Path) -> pathlib.Path:
    return flash.with_name(flash.name + ".journal")

"""The flash of the emulated Pico as a file: MicroPython at its beginning, a littlefs with the firmware's tree at 1 MiB.

In:  firmware.bin (tools/emulator/build.py), a tree (tools/build.py), a configuration.
Out: a file of 2 MiB, as the emulated chip reads and writes it; and what lies in such a file, for tests that look at it.

The file system is what MicroPython's rp2 port makes and mounts (ports/rp2/modules/_boot.py): littlefs 2, blocks of 4096
bytes, programmed in 256.
"""

import json
import pathlib
from typing import Any

import littlefs

FLASH_BYTES = 2 * 1024 * 1024
STORAGE_AT = 1024 * 1024  # MICROPY_HW_FLASH_STORAGE_BYTES of the board: the upper half
_BLOCK = 4096
_BLOCKS = (FLASH_BYTES - STORAGE_AT) // _BLOCK
_PROGRAM = 256
_READ = 32


class ImageError(ValueError):
    """What does not fit into the flash, or is not a flash image."""


def _file_system(mount: bool) -> littlefs.LittleFS:
    return littlefs.LittleFS(
        block_size=_BLOCK, block_count=_BLOCKS, read_size=_READ, prog_size=_PROGRAM, cache_size=_PROGRAM, mount=mount
    )


def make_storage(files: dict[str, bytes]) -> bytes:
    """A littlefs of 1 MiB with these files ("data/config.json"). Raises ImageError when they do not fit."""
    system = _file_system(mount=True)
    try:
        for name, content in sorted(files.items()):
            folder = name.strip("/").rpartition("/")[0]
            if folder:
                system.makedirs(folder, exist_ok=True)
            with system.open(name, "wb") as file:
                file.write(content)
    except littlefs.LittleFSError as error:
        raise ImageError(f"{sum(map(len, files.values()))} bytes in {len(files)} files do not fit: {error}") from error
    system.unmount()
    return bytes(system.context.buffer)


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
    system = _file_system(mount=False)
    system.context.buffer[:] = data[STORAGE_AT:]
    try:
        system.mount()
    except littlefs.LittleFSError as error:
        raise ImageError(f"{flash}: no littlefs at {STORAGE_AT:#x}: {error}") from error
    files = {}
    for folder, _, names in system.walk("/"):
        for name in names:
            path = f"{folder.strip('/')}/{name}".strip("/")
            with system.open(path, "rb") as file:
                files[path] = file.read()
    return files

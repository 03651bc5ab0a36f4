"""A UF2 image onto an RP2040 or RP2350 (make flash). Source: the UF2 specification."""

import os
import shutil
import struct
from pathlib import Path

from tools.device import configuration
from tools.device.port import UsageError, confirmed

_UF2 = struct.Struct("<IIIIIIII")
_UF2_MAGIC = (0x0A324655, 0x9E5D5157)
_UF2_HAS_FAMILY = 0x2000
FAMILIES = {0xE48BFF56: "RP2040", 0xE48BFF59: "RP2350"}
_BOARD_IDS = {"RPI-RP2": "RP2040", "RP2350": "RP2350"}  # Board-ID in INFO_UF2.TXT begins or ends with it


def uf2_chip(image: bytes) -> str:
    """The chip that a UF2 image is for. Raises UsageError."""
    if len(image) < 512 or len(image) % 512:
        raise UsageError("no whole UF2 image: its length is not a multiple of 512 bytes")
    magic, second, flags, _, _, _, count, family = _UF2.unpack_from(image)
    if (magic, second) != _UF2_MAGIC or not flags & _UF2_HAS_FAMILY or family not in FAMILIES:
        # The RP2350's images begin with a block for another family (errata E10): the second one tells.
        family = _UF2.unpack_from(image, 512)[7] if len(image) >= 1024 and (magic, second) == _UF2_MAGIC else 0
    if family not in FAMILIES:
        raise UsageError("no UF2 image for an RP2040 or RP2350")
    if len(image) // 512 < count:
        raise UsageError(f"the UF2 image is cut: {len(image) // 512} of {count} blocks")
    return FAMILIES[family]


def find_drives(roots: "tuple[Path, ...]") -> "dict[Path, str]":
    """{folder: chip} of the drives of boards in BOOTSEL below these folders, by their INFO_UF2.TXT."""
    found = {}
    for root in roots:
        for info in sorted(root.glob("INFO_UF2.TXT")) + sorted(root.glob("*/INFO_UF2.TXT")):
            text = info.read_text(encoding="ascii", errors="replace")
            for line in text.splitlines():
                key, _, value = line.partition(":")
                if key.strip() == "Board-ID":
                    chip = next((chip for name, chip in _BOARD_IDS.items() if name in value), "")
                    if chip:
                        found[info.parent] = chip
    return found


def copy_uf2(image: Path, chip: str, drives: "dict[Path, str]") -> Path:
    """Copies the image to the only drive of that chip; the drive. Raises UsageError."""
    fitting = [drive for drive, found in drives.items() if found == chip]
    if not fitting:
        seen = ", ".join(f"{drive} ({found})" for drive, found in drives.items()) or "none"
        raise UsageError(f"no {chip} in BOOTSEL: hold the button while connecting the board. Drives seen: {seen}")
    if len(fitting) > 1:
        raise UsageError(f"several boards are in BOOTSEL: {', '.join(map(str, fitting))}; leave one")
    shutil.copyfile(image, fitting[0] / image.name)
    return fitting[0]


def flash_uf2(image, board="", drives=(), yes=False, dry_run=False, say=print):
    """Copies a UF2 image to the drive of the one board in BOOTSEL that has its chip. Raises UsageError."""
    chip = uf2_chip(Path(image).read_bytes())
    if board:
        configuration.check_board(board, chip)
    say(f"{image} is copied to the {chip} in BOOTSEL; its file system and configuration stay")
    if dry_run:
        return
    found = find_drives(tuple(drives) or _drive_roots())
    if not yes and not confirmed():
        raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
    say(f"done: {copy_uf2(Path(image), chip, found)}; the board restarts by itself")


def _drive_roots():
    user = os.environ.get("USER", "")
    return tuple(Path(root) for root in (f"/media/{user}", f"/run/media/{user}", "/Volumes", "/mnt"))

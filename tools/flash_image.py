"""What is written on a board beside its image: the configuration given on the command line as a littlefs file system,
an ESP Web Tools page; and what is looked at before: partition table, UF2 family, the drive of a board in BOOTSEL.

Sources: ESP-IDF's partition table format; MicroPython's ports/esp32 (file systems of 4096-byte blocks, littlefs 2);
the UF2 specification; ESP Web Tools' manifest.
"""

import getpass
import json
import shutil
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from littlefs import LittleFS
from littlefs.errors import LittleFSError

BLOCK = 4096
CONFIG = "data/config.json"
_TABLE_AT = 0x8000  # in flash, the default of ESP-IDF
_TABLE_LENGTH = 0xC00
_ROW = struct.Struct("<HBBII16sI")
_ROW_MAGIC = 0x50AA
_DATA = 1
_VFS = ("vfs", "ffat")  # the labels that MicroPython mounts
_LITTLEFS_DISK_VERSION = 0x00020000  # which every MicroPython with littlefs 2 mounts
_UF2 = struct.Struct("<IIIIIIII")
_UF2_MAGIC = (0x0A324655, 0x9E5D5157)
_UF2_HAS_FAMILY = 0x2000
FAMILIES = {0xE48BFF56: "RP2040", 0xE48BFF59: "RP2350"}
_BOARD_IDS = {"RPI-RP2": "RP2040", "RP2350": "RP2350"}  # Board-ID in INFO_UF2.TXT begins or ends with it
_WEB_FAMILIES = {"esp32": "ESP32", "esp32s2": "ESP32-S2", "esp32s3": "ESP32-S3", "esp32c3": "ESP32-C3",
                 "esp32c6": "ESP32-C6"}  # fmt: skip
_WEB_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Install {name}</title>
<script type="module" src="esp-web-tools/install-button.js"></script>
<h1>{name} {version}</h1>
<p>Connect the board by USB; Chrome or Edge, over https or from localhost. Everything on the board is erased.</p>
<esp-web-install-button manifest="manifest.json"></esp-web-install-button>
"""


class FlashError(ValueError):
    """What is wrong with an image or an option, and what would be right."""


class Partition(NamedTuple):
    """A row of a partition table: label, offset in flash, bytes."""

    label: str
    offset: int
    size: int


# ESP32


def data_partition(image: bytes, offset: int) -> Partition:
    """The file system's partition by the table within an image that is written at `offset`. Raises FlashError."""
    at = _TABLE_AT - offset
    table = image[at : at + _TABLE_LENGTH]
    for begin in range(0, len(table) - _ROW.size + 1, _ROW.size):
        magic, kind, _, place, size, label, _ = _ROW.unpack_from(table, begin)
        if magic != _ROW_MAGIC:
            break
        name = label.rstrip(b"\0").decode("ascii", "replace")
        if kind == _DATA and name in _VFS:
            if size % BLOCK or place % BLOCK or not size:
                raise FlashError(f"the partition {name} of the image is not made of whole blocks of {BLOCK} bytes")
            return Partition(name, place, size)
    raise FlashError(
        "the image's partition table has no file system (vfs): MicroPython 1.26 and later makes it at the first start. "
        "Flash without a configuration, then copy it: mpremote mkdir :data + cp config.json :data/config.json"
    )


def file_system(files: "dict[str, bytes]", size: int) -> bytes:
    """A littlefs of `size` bytes with these files, {path: content}. Raises FlashError when they do not fit."""
    disk = LittleFS(block_size=BLOCK, block_count=size // BLOCK, disk_version=_LITTLEFS_DISK_VERSION)
    try:
        for path, content in files.items():
            folder = path.rpartition("/")[0]
            if folder:
                disk.makedirs(folder, exist_ok=True)
            with disk.open(path, "wb") as file:
                file.write(content)
    except (OSError, LittleFSError) as error:
        raise FlashError(f"the files do not fit into {size:,} bytes: {error}") from None
    return bytes(disk.context.buffer)


# The configuration


def ask_password(ssid: str) -> str:
    """The password of a Wi-Fi network: asked at a terminal, else a line of standard input; never an argument, which
    others see and a shell keeps. Raises FlashError."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {ssid} (nothing is shown): ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if password and not 8 <= len(password.encode()) <= 63:
        raise FlashError("a Wi-Fi password has 8 to 63 characters; none at all for an open network")
    return password


def configuration(document: dict, board: str = "", ssid: str = "", password: str = "") -> bytes:
    """The text of data/config.json: `document` with board and Wi-Fi network. Raises FlashError."""
    document = dict(document)
    if board:
        document["board"] = board
    if ssid:
        if len(ssid.encode()) > 32:
            raise FlashError("the name of a Wi-Fi network has 32 bytes at most")
        network = {**document.get("network", {}), "link": "wifi", "ssid": ssid, "password": password}
        document["network"] = network
    return json.dumps(document, indent=1).encode()


# RP2


def uf2_chip(image: bytes) -> str:
    """The chip that a UF2 image is for. Raises FlashError."""
    if len(image) < 512 or len(image) % 512:
        raise FlashError("no whole UF2 image: its length is not a multiple of 512 bytes")
    magic, second, flags, _, _, _, count, family = _UF2.unpack_from(image)
    if (magic, second) != _UF2_MAGIC or not flags & _UF2_HAS_FAMILY or family not in FAMILIES:
        # The RP2350's images begin with a block for another family (errata E10): the second one tells.
        family = _UF2.unpack_from(image, 512)[7] if len(image) >= 1024 and (magic, second) == _UF2_MAGIC else 0
    if family not in FAMILIES:
        raise FlashError("no UF2 image for an RP2040 or RP2350")
    if len(image) // 512 < count:
        raise FlashError(f"the UF2 image is cut: {len(image) // 512} of {count} blocks")
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
    """Copies the image to the only drive of that chip; the drive. Raises FlashError."""
    fitting = [drive for drive, found in drives.items() if found == chip]
    if not fitting:
        seen = ", ".join(f"{drive} ({found})" for drive, found in drives.items()) or "none"
        raise FlashError(f"no {chip} in BOOTSEL: hold the button while connecting the board. Drives seen: {seen}")
    if len(fitting) > 1:
        raise FlashError(f"several boards are in BOOTSEL: {', '.join(map(str, fitting))}; leave one")
    shutil.copyfile(image, fitting[0] / image.name)
    return fitting[0]


# ESP Web Tools


def write_web_installer(
    images: "list[tuple[Path, str, int]]", folder: Path, name: str, version: str, scripts: Path
) -> None:
    """Writes a folder that a user can host: page, manifest.json, images, and ESP Web Tools, whose built files are in
    `scripts`. `images`: (path, chip, offset). Raises FlashError."""
    builds = []
    for path, chip, offset in images:
        family = _WEB_FAMILIES.get(chip)
        if family is None:
            raise FlashError(f"{path}: ESP Web Tools knows no {chip}")
        if any(build["chipFamily"] == family for build in builds):
            raise FlashError(f"{path}: there is another image for {family}; ESP Web Tools takes one for each chip")
        builds.append({"chipFamily": family, "parts": [{"path": path.name, "offset": offset}]})
    if not builds:
        raise FlashError("no image of an ESP32 is given")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(scripts, folder / "esp-web-tools", dirs_exist_ok=True)
    for path, _, _ in images:
        shutil.copyfile(path, folder / path.name)
    manifest = {
        "name": name, "version": version, "new_install_prompt_erase": True, "new_install_improv_wait_time": 20,
        "builds": builds,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    (folder / "index.html").write_text(_WEB_PAGE.format(name=name, version=version), encoding="utf-8")

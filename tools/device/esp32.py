"""An image onto an ESP32, by esptool (make flash).

Chip and flash size are looked at first. With a configuration the file system is written, too, as a whole; esptool reads
every part back as MD5. A flash that broke off is done again from the start.
Sources: ESP-IDF's image and partition table formats; MicroPython's ports/esp32 (file systems of 4096-byte blocks,
littlefs 2).
"""

import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tools.device import configuration
from tools.device.deploy import deploy
from tools.device.port import CALL_TIMEOUT_S, DeviceError, UsageError, call, confirmed, mpremote, show

# Flash offset of the bootloader, at which MicroPython's image begins: boards/*/board.json of its ESP32 port.
OFFSETS = {
    "esp32": 0x1000, "esp32s2": 0x1000, "esp32s3": 0, "esp32c3": 0, "esp32c2": 0, "esp32c6": 0, "esp32h2": 0,
    "esp32c5": 0x2000, "esp32p4": 0x2000,
}  # fmt: skip
# fmt: skip
# Chip id in an image's header, bytes 12 and 13 (ESP-IDF, esp_app_format.h).
CHIP_IDS = {0: "esp32", 2: "esp32s2", 5: "esp32c3", 9: "esp32s3", 12: "esp32c2", 13: "esp32c6", 16: "esp32h2",
            18: "esp32p4", 23: "esp32c5"}  # fmt: skip
# fmt: skip
_IMAGE_MAGIC = 0xE9
_APP_DESCRIPTION = bytes.fromhex("3254CDAB")  # at 32 in an application without bootloader (esp_app_desc.h)
_HEADER_LENGTH = 36
_FROZEN_NAME = b"\0firmware/app.py\0"  # in MicroPython's list of frozen modules
_BOOT_TIMEOUT_S = 60  # the first start makes the file system
_TABLE_AT = 0x8000  # in flash, the default of ESP-IDF
_TABLE_LENGTH = 0xC00
_ROW = struct.Struct("<HBBII16sI")
_ROW_MAGIC = 0x50AA
_DATA = 1
_VFS = ("vfs", "ffat")  # the labels that MicroPython mounts


class Partition(NamedTuple):
    """A row of a partition table: label, offset in flash, bytes."""

    label: str
    offset: int
    size: int


def check_image(path, chip):
    """(chip, flash offset) for a MicroPython image. Raises UsageError with what to do instead."""
    if not path:
        raise UsageError("no image is given: --micropython-bin FILE, a .bin for your board")
    try:
        with open(path, "rb") as stream:
            header = stream.read(_HEADER_LENGTH)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if header[:4] == b"UF2\n":
        raise UsageError(
            f"{path} is a UF2 image (RP2040): hold BOOTSEL while connecting the board, copy the file to the drive "
            f"that appears, then run: make deploy PORT=..."
        )
    if header[:4] == b"\x7fELF":
        raise UsageError(f"{path} is an ELF file, for a debugger: take the .bin of the same build")
    if len(header) < _HEADER_LENGTH or header[0] != _IMAGE_MAGIC:
        raise UsageError(f"{path} is no ESP32 image: it must begin with the byte E9, not {header[:1].hex() or 'end'}")
    if header[32:36] == _APP_DESCRIPTION:
        raise UsageError(f"{path} is an application without bootloader (.app-bin): take the .bin of the same build")
    found = CHIP_IDS.get(int.from_bytes(header[12:14], "little"))
    if found is None and chip == "auto":
        raise UsageError(f"{path} does not say for which chip it is: give --chip, one of {', '.join(OFFSETS)}")
    if chip not in ("auto", found) and found is not None:
        raise UsageError(f"{path} is for {found}, not for {chip}")
    chip = found or chip
    return chip, OFFSETS[chip]


def has_firmware(image):
    """Whether the firmware is frozen into it (make image): files beside it would hide it."""
    return _FROZEN_NAME in Path(image).read_bytes()


def data_partition(image: bytes, offset: int) -> Partition:
    """The file system's partition by the table within an image that is written at `offset`. Raises UsageError."""
    at = _TABLE_AT - offset
    table = image[at : at + _TABLE_LENGTH]
    for begin in range(0, len(table) - _ROW.size + 1, _ROW.size):
        magic, kind, _, place, size, label, _ = _ROW.unpack_from(table, begin)
        if magic != _ROW_MAGIC:
            break
        name = label.rstrip(b"\0").decode("ascii", "replace")
        if kind == _DATA and name in _VFS:
            block = configuration.BLOCK
            if size % block or place % block or not size:
                raise UsageError(f"the partition {name} of the image is not made of whole blocks of {block} bytes")
            return Partition(name, place, size)
    raise UsageError(
        "the image's partition table has no file system (vfs): MicroPython 1.26 and later makes it at the first start. "
        "Flash without a configuration, then copy it: mpremote mkdir :data + cp config.json :data/config.json"
    )


def flash_commands(port, image, chip, offset, baud, data=None, options=()):
    """The esptool commands that erase the flash and write the image; with `data` = (offset, file) those that write both
    in place of what was there. `options`: further ones of esptool."""
    esptool = [sys.executable, "-m", "esptool", "--chip", chip, "--port", port, *options]
    write = [*esptool, "--baud", str(baud), "write-flash", hex(offset), str(image)]
    if data:
        return [[*write, hex(data[0]), str(data[1])]]
    return [[*esptool, "erase-flash"], write]


def read_chip(port, options=()):
    """(chip, bytes of flash) that esptool finds at the port. Raises DeviceError."""
    text = call([sys.executable, "-m", "esptool", "--port", port, *options, "flash-id"], capture=True)
    found = re.search(r"Connected to (ESP32(?:-[A-Z]\d+)?) on", text)
    size = re.search(r"Detected flash size: (\d+)MB", text)
    if not found or not size:
        raise DeviceError(f"esptool does not say which chip and flash there is:\n{text.strip()}")
    return found[1].lower().replace("-", ""), int(size[1]) << 20


def check_chip(port, chip, ends, options=()):
    """Raises UsageError when another chip is at the port, or its flash ends before `ends`."""
    found, size = read_chip(port, options)
    if found != chip:
        raise UsageError(f"the board at {port} has an {found}, and the image is for {chip}: nothing was written")
    if ends > size:
        raise UsageError(
            f"the board at {port} has {size:,} bytes of flash, and {ends:,} are needed: nothing was written"
        )
    return size


def flash(port, image, chip="auto", baud=460800, yes=False, dry_run=False, reset=True, say=print):
    """Erases the board, writes MicroPython and deploys the firmware, unless it is within the image. Raises UsageError,
    DeviceError."""
    chip, offset = check_image(image, chip)
    commands = flash_commands(port, image, chip, offset, baud)
    within = has_firmware(image)
    then = "which has the firmware within" if within else "then the firmware is copied"
    say(f"the {chip} at {port}: everything on it is erased, its configuration too;")
    say(f"then {image} ({os.path.getsize(image):,} bytes) is written at {offset:#x}, {then}")
    if dry_run:
        for command in commands:
            say(f"  {show(command)}")
        if not within:
            deploy(port, reset=reset, dry_run=True, say=say)
        return
    if not yes and not confirmed():
        raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
    for command in commands:
        say(show(command))
        call(command)
    if within:
        say("done: the board starts with the firmware")
        return
    _wait_for_micropython(port, say)
    deploy(port, reset=reset, say=say)


def flash_whole(
    port, image, config, chip="auto", board="", baud=460800, yes=False, dry_run=False, options=(), say=print
):
    """Writes an image and a file system with `config`, bytes of data/config.json. Raises UsageError, DeviceError."""
    chip, offset = check_image(image, chip)
    if board:
        configuration.check_board(board, chip)
    if not has_firmware(image):
        raise UsageError(f"{image} has no firmware within (make image): flash it without a configuration, then deploy")
    content = Path(image).read_bytes()
    partition = data_partition(content, offset)
    files = {configuration.PATH: config}
    ends = max(offset + len(content), partition.offset + partition.size)
    say(f"the {chip} at {port}: {image} ({len(content):,} bytes) is written at {offset:#x};")
    place = f"{partition.size:,} bytes at {partition.offset:#x}"
    say(f"the file system ({place}) is replaced by one with {', '.join(files)}")
    with tempfile.TemporaryDirectory(prefix="meterport-flash-") as folder:
        data = Path(folder) / "data.littlefs"
        data.write_bytes(configuration.file_system(files, partition.size))
        commands = flash_commands(port, image, chip, offset, baud, (partition.offset, data), options)
        if dry_run:
            for command in commands:
                say(f"  {show(command)}")
            return
        check_chip(port, chip, ends, options)
        if not yes and not confirmed():
            raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
        for command in commands:
            say(show(command))
            try:
                call(command)
            except DeviceError as error:
                raise DeviceError(f"{error}\nthe board is not whole now: run the same again") from None
    say("done and compared by MD5: the board starts with the firmware and this configuration")


def _wait_for_micropython(port, say):
    """After a reset the port may be away for a while, and the first start makes the file system."""
    say("waiting for MicroPython to start")
    command = mpremote(port, "exec", "print('up')")
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_TIMEOUT_S, check=False)
        if done.returncode == 0 and "up" in done.stdout:
            return
        if time.monotonic() > deadline:
            raise DeviceError(f"MicroPython does not answer at {port}:\n{(done.stderr or done.stdout).strip()}")
        time.sleep(1)

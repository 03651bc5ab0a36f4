"""An image onto an ESP32, by esptool (make flash).

Chip and flash size are looked at first. With a configuration the file system is written, too, as a whole; esptool reads
every part back as MD5. A flash that broke off is done again from the start.
Sources: ESP-IDF's image and partition table formats; MicroPython's ports/esp32 (file systems of 4096-byte blocks,
littlefs 2).
"""

import contextlib
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from firmware import VERSION
from tools import littlefs_files, partition_table
from tools.device import configuration, damage, versions
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
_BOOT_TIMEOUT_S = 60  # the first start makes the file system
_VFS = ("vfs", "ffat")  # the labels that MicroPython mounts


def check_image(path, chip):
    """(chip, flash offset) for a MicroPython image. Raises UsageError with what to do instead."""
    if not path:
        raise UsageError("no image is given: --image FILE, a .bin for your board")
    try:
        with open(path, "rb") as stream:
            header = stream.read(_HEADER_LENGTH)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if header[:4] == b"UF2\n":
        raise UsageError(
            f"{path} is a UF2 image, for an RP2: hold BOOTSEL while connecting the board and copy it to the drive that "
            "appears, or: make flash IMAGE=..."
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


def data_partition(image: bytes, offset: int) -> configuration.Partition:
    """The file system's partition by the table within an image that is written at `offset`. Raises UsageError."""
    at = partition_table.AT - offset
    for row in partition_table.rows(image[at : at + partition_table.LENGTH]):
        if row.type == partition_table.DATA and row.label in _VFS:
            block = littlefs_files.BLOCK
            if row.size % block or row.offset % block or not row.size:
                raise UsageError(f"the partition {row.label} of the image is not made of whole blocks of {block} bytes")
            return configuration.Partition(row.label, row.offset, row.size)
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


def flash(
    port, image, files=None, chip="auto", baud=460800, is_agreed=confirmed, dry_run=False, reset=True, options=(),
    may_be_older=False, say=print,
):  # fmt: skip
    """Writes an image: with `files`, {path: content}, those become the file system; without them everything on the
    board is erased, and when the image has no firmware within, that is deployed. `options`: further ones of esptool.
    Raises UsageError, DeviceError."""
    chip, offset = check_image(image, chip)
    content = Path(image).read_bytes()
    damage.check_esp_image(image, content, chip, offset)
    within = versions.has_firmware(content)
    ends = offset + len(content)
    place = None
    if files is not None:
        configuration.check(files, chip)
        if not within:
            raise UsageError(
                f"{image} has no firmware within (make image): flash it without a configuration, then deploy"
            )
        place = data_partition(content, offset)
        ends = max(ends, place.offset + place.size)
        say(f"the {chip} at {port}: {image} ({len(content):,} bytes) is written at {offset:#x};")
        where = f"{place.size:,} bytes at {place.offset:#x}"
        say(f"the file system ({where}) is replaced by one with {', '.join(files)}")
        say(versions.LABEL_STAYS)
    else:
        then = "which has the firmware within" if within else "then the firmware is copied"
        say(f"the {chip} at {port}: everything on it is erased, configuration and the label's password too;")
        say(f"then {image} ({len(content):,} bytes) is written at {offset:#x}, {then}")
    with tempfile.TemporaryDirectory(prefix="meterport-flash-") as folder:
        data = (place.offset, Path(folder) / "data.littlefs") if place else None
        commands = flash_commands(port, image, chip, offset, baud, data, options)
        if dry_run:
            for command in commands:
                say(f"  {show(command)}")
            if not within:
                deploy(port, reset=reset, dry_run=True, say=say)
            return
        board = versions.on_board(port, say)
        with versions.started_again_on_failure(port, say) if board.version else contextlib.nullcontext():
            versions.check(board.version, versions.in_image(content) if within else VERSION, may_be_older, say)
            if place and data:
                data[1].write_bytes(configuration.file_system(files | board.files, place.size))
            check_chip(port, chip, ends, options)
            if not is_agreed():
                raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
        for command in commands:
            say(show(command))
            try:
                call(command)
            except DeviceError as error:
                raise DeviceError(f"{error}\nthe board is not whole now: run the same again") from None
    if not within:
        _wait_for_micropython(port, say)
        deploy(port, reset=reset, say=say)
    elif place:
        say("done and compared by MD5: the board starts with the firmware and this configuration")
    else:
        say("done: the board starts with the firmware")


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

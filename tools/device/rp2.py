"""A UF2 image onto an RP2040 or RP2350, with a configuration when one is given (make flash).

An image says itself where its file system lies: MicroPython declares its block device in the binary info, from the same
numbers as its driver uses. So the file system that is put beside it cannot be at another place, whatever board the
image was built for.
Sources: the UF2 specification; pico-sdk's binary_info/defs.h and structure.h; MicroPython's ports/rp2/rp2_flash.c;
RP2350 errata E10 (images begin with a block of another family); picotool's help.
"""

import contextlib
import os
import re
import shutil
import struct
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tools import littlefs_files
from tools.device import configuration, damage, versions
from tools.device.port import DeviceError, UsageError, call, confirmed, mpremote, show

_BLOCK = 512
_HEAD = struct.Struct("<IIIIIIII")  # two magics, flags, address, bytes, number, count, family
_MAGICS = (0x0A324655, 0x9E5D5157)
_END_AT, _END = 508, 0x0AB16F30
_NOT_MAIN_FLASH, _HAS_FAMILY = 0x0001, 0x2000
FAMILIES = {0xE48BFF56: "RP2040", 0xE48BFF59: "RP2350"}
_ABSOLUTE = 0xE48BFF57  # of the block that E10 asks for: erased, and not counted with the others
_PAYLOAD = 256  # the only size that the boot ROM takes
_FLASH = 0x10000000
_BOARD_IDS = {"RPI-RP2": "RP2040", "RP2350": "RP2350"}  # Board-ID in INFO_UF2.TXT begins or ends with it
_INFO_WITHIN = 4096  # bytes at the beginning of a program
_INFO = struct.Struct("<IIIII")  # magic, first and end of the array of pointers, copies, magic
_INFO_MAGICS = (0x7188EBF2, 0xE71AA390)
_POINTER = struct.Struct("<I")
_BLOCK_DEVICE = struct.Struct("<4sIIIIH")  # type and tag, name, address, size, extra, flags
_BLOCK_DEVICE_OF_MICROPYTHON = b"\x07\0MP"  # BINARY_INFO_TYPE_BLOCK_DEVICE, BINARY_INFO_TAG_MICROPYTHON
# In what `picotool info -d` shows of each board in BOOTSEL.
_CHIP = re.compile(r"^ *type: +(RP\d+)", re.MULTILINE)
_FLASH_SIZE = re.compile(r"^ *flash size: +(\d+)K", re.MULTILINE)
_IN_BOOTSEL = (
    "the board may wait in BOOTSEL now: mount its drive or install picotool, and run the same without PORT. Plugged in "
    "anew it starts as before, unless writing had begun"
)
_BOOTSEL_S = 20  # from mpremote's command until the drive is mounted


class Block(NamedTuple):
    """A UF2 block: address in the chip's memory, up to 476 bytes of data."""

    address: int
    data: bytes
    number: int
    of: int  # blocks
    family: int


def is_uf2(path: str) -> bool:
    """Whether a file begins as a UF2 image, whatever its name; False for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == _MAGICS[0].to_bytes(4, "little")
    except OSError:
        return False


def read_blocks(image: bytes) -> "list[Block]":
    """The blocks of a UF2 file that are meant for the chip's memory. Raises UsageError when the file is damaged."""
    if len(image) < _BLOCK or len(image) % _BLOCK:
        raise UsageError("no whole UF2 image: its length is not a multiple of 512 bytes")
    blocks = []
    for at in range(0, len(image), _BLOCK):
        first, second, flags, address, size, number, count, family = _HEAD.unpack_from(image, at)
        end = int.from_bytes(image[at + _END_AT : at + _BLOCK], "little")
        if (first, second, end) != (*_MAGICS, _END) or size > _END_AT - _HEAD.size:
            raise UsageError(f"no UF2 image: the block at byte {at} is none")
        if not flags & _NOT_MAIN_FLASH:
            data = image[at + _HEAD.size : at + _HEAD.size + size]
            blocks.append(Block(address, data, number, count, family if flags & _HAS_FAMILY else 0))
    return blocks


def program_blocks(image: bytes) -> "list[Block]":
    """The blocks of the program: all but those of errata E10. Raises UsageError unless they are whole, and for one chip
    that is known."""
    blocks = [block for block in read_blocks(image) if block.family != _ABSOLUTE]
    families = {block.family for block in blocks}
    if len(families) != 1 or not families <= set(FAMILIES):
        raise UsageError("no UF2 image for an RP2040 or RP2350")
    if [block.number for block in blocks] != list(range(len(blocks))) or blocks[0].of != len(blocks):
        raise UsageError(f"the UF2 image is cut: {len(blocks)} of {blocks[0].of} blocks")
    return blocks


def uf2_chip(image: bytes) -> str:
    """The chip that a UF2 image is for. Raises UsageError."""
    return FAMILIES[program_blocks(image)[0].family]


def program(image: bytes) -> bytes:
    """What lies in flash from its first byte on. Raises UsageError."""
    flash = bytearray()
    for block in program_blocks(image):
        begin = block.address - _FLASH
        if not 0 <= begin < 16 << 20:
            raise UsageError(f"the UF2 image writes at {block.address:#x}, where no flash is")
        flash.extend(b"\xff" * (begin + len(block.data) - len(flash)))
        flash[begin : begin + len(block.data)] = block.data
    return bytes(flash)


def file_system_place(flash: bytes) -> configuration.Partition:
    """Where the program in `flash` has its file system, by its binary info. Raises UsageError."""

    for at in range(0, min(_INFO_WITHIN, len(flash)) - _INFO.size, 4):
        magic, first, end, _, last = _INFO.unpack_from(flash, at)
        if (magic, last) == _INFO_MAGICS and _FLASH <= first <= end <= _FLASH + len(flash):
            for (address,) in _POINTER.iter_unpack(flash[first - _FLASH : end - _FLASH]):
                row = flash[max(address - _FLASH, 0) :][: _BLOCK_DEVICE.size]
                if row[:4] == _BLOCK_DEVICE_OF_MICROPYTHON and len(row) == _BLOCK_DEVICE.size:
                    _, _, place, size, _, _ = _BLOCK_DEVICE.unpack(row)
                    offset = place - _FLASH
                    if offset < len(flash) or offset % littlefs_files.BLOCK or size % littlefs_files.BLOCK or not size:
                        raise UsageError(f"the image has its file system at {place:#x}, where it cannot be")
                    return configuration.Partition("MicroPython", offset, size)
    raise UsageError(
        "the image does not say where its file system lies, so it is no MicroPython of an RP2. Flash it without a "
        "configuration, then copy that: mpremote mkdir :data + cp config.json :data/config.json"
    )


def with_files(image: bytes, files: "dict[str, bytes]") -> bytes:
    """The UF2 image of a firmware with its file system replaced by one with `files`. Blocks of 4096 bytes that this
    file system has not used yet are left as they are on the board. Raises UsageError."""
    flash = program(image)
    if not versions.has_firmware(flash):
        raise UsageError(
            "the image has no firmware within (make image), which would read the configuration. Flash it without one, "
            "then: make deploy PORT=... and mpremote mkdir :data + cp config.json :data/config.json"
        )
    place = file_system_place(flash)
    content = configuration.file_system(files, place.size)
    unused = b"\xff" * littlefs_files.BLOCK
    pieces = [(block.address, block.data) for block in program_blocks(image)]
    for begin in range(0, place.size, littlefs_files.BLOCK):
        if content[begin : begin + littlefs_files.BLOCK] != unused:
            for at in range(begin, begin + littlefs_files.BLOCK, _PAYLOAD):
                pieces.append((_FLASH + place.offset + at, content[at : at + _PAYLOAD]))
    before = len(image) - _BLOCK * len(program_blocks(image))  # the block of errata E10
    return image[:before] + make_uf2(pieces, program_blocks(image)[0].family)


def make_uf2(pieces: "list[tuple[int, bytes]]", family: int) -> bytes:
    """A UF2 file that writes `pieces`, (address, up to 256 bytes)."""
    blocks = []
    for number, (address, data) in enumerate(pieces):
        head = _HEAD.pack(*_MAGICS, _HAS_FAMILY, address, _PAYLOAD, number, len(pieces), family)
        blocks.append((head + data).ljust(_END_AT, b"\0") + _END.to_bytes(4, "little"))
    return b"".join(blocks)


# Onto the board


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


def _drive_roots():
    user = os.environ.get("USER", "")
    return tuple(Path(root) for root in (f"/media/{user}", f"/run/media/{user}", "/Volumes", "/mnt"))


def copy_uf2(content: bytes, name: str, chip: str, drives: "dict[Path, str]") -> Path:
    """Copies the image to the only drive of that chip; the drive. Raises UsageError, OSError."""
    fitting = [drive for drive, found in drives.items() if found == chip]
    if not fitting:
        seen = ", ".join(f"{drive} ({found})" for drive, found in drives.items()) or "none"
        raise UsageError(f"no {chip} in BOOTSEL: hold the button while connecting the board. Drives seen: {seen}")
    if len(fitting) > 1:
        raise UsageError(f"several boards are in BOOTSEL: {', '.join(map(str, fitting))}; leave one")
    with open(fitting[0] / name, "wb") as file:
        file.write(content)
        file.flush()
        with contextlib.suppress(OSError):  # with the last block the board restarts, and its drive is gone
            os.fsync(file.fileno())
    return fitting[0]


def end_of_use(flash: bytes) -> int:
    """How many bytes of flash the program in `flash` needs, its file system included where it says that it has one."""
    try:
        place = file_system_place(flash)
    except UsageError:
        return len(flash)
    return max(len(flash), place.offset + place.size)


def check_flash_size(chip: str, needed: int, say) -> None:
    """Compares the flash of the board in BOOTSEL with what an image needs: a board with less has the end lie over the
    beginning. Only picotool can tell; where it cannot, that is said. Raises UsageError; the board starts again then."""
    shown = ""
    with contextlib.suppress(DeviceError):
        shown = call(["picotool", "info", "-d"], capture=True) if shutil.which("picotool") else ""
    sizes = [int(size) << 10 for size in _FLASH_SIZE.findall(shown)]
    if _CHIP.findall(shown) != [chip] or len(sizes) != 1:
        say(f"the image needs {needed:,} bytes of flash; whether the board has them, only picotool could tell")
    elif sizes[0] < needed:
        with contextlib.suppress(DeviceError):
            call(["picotool", "reboot"])
        raise UsageError(f"the board has {sizes[0]:,} bytes of flash, and {needed:,} are needed: nothing was written")


def load_by_picotool(content: bytes, chip: str, say) -> None:
    """Has picotool write, verify and start the image on the only board in BOOTSEL. Raises UsageError when that has
    another chip, DeviceError."""
    found = _CHIP.findall(call(["picotool", "info", "-d"], capture=True))
    if found != [chip]:
        raise UsageError(f"picotool finds {', '.join(found) or 'no chip'} in BOOTSEL, and the image is for one {chip}")
    with tempfile.TemporaryDirectory(prefix="meterport-flash-") as folder:
        path = Path(folder) / "image.uf2"
        path.write_bytes(content)
        command = picotool_load(path)
        say(show(command))
        call(command)


def picotool_load(path):
    """The command that writes, verifies and starts a UF2 image."""
    return ["picotool", "load", "-v", "-x", str(path)]


def is_in_bootsel(image):
    """Whether a board with the chip of this UF2 file waits for it: by its drive, or picotool finds it. Raises
    UsageError, OSError."""
    chip = uf2_chip(Path(image).read_bytes())
    return chip in find_drives(_drive_roots()).values() or _picotool_finds(chip)


def flash_uf2(image, files=None, port="", drives=(), is_agreed=confirmed, dry_run=False, may_be_older=False, say=print):
    """Writes a UF2 image, with a file system that has `files` when they are given, onto the one board in BOOTSEL that
    has its chip: by its drive, else by picotool where that is installed. With a port the board there is asked for its
    version and put into BOOTSEL. Raises UsageError, DeviceError, OSError."""
    path = Path(image)
    original = content = path.read_bytes()
    chip = uf2_chip(content)
    damage.check_sum(path, content)
    flash = program(content)
    then = "its file system and configuration stay"
    if files is not None:
        configuration.check(files, chip, flash)
        content = with_files(content, files)
        place = file_system_place(flash)
        then = f"its file system ({place.size:,} bytes at {place.offset:#x}) is replaced by one with {', '.join(files)}"
    say(f"{image} is written to the {chip} in BOOTSEL; {then}")
    if files is not None:
        say(versions.LABEL_STAYS)
    into_bootsel = mpremote(port, "resume", "bootloader")
    if dry_run:
        if port:
            say(f"  {show(into_bootsel)}")
        say(f"  copied to its drive, or: {show(picotool_load(path.name))}")
        return
    board = versions.on_board(port, say) if port else versions.OnBoard()
    with versions.started_again_on_failure(port, say) if board.version else contextlib.nullcontext():
        configuration.check_machine(board.machine, chip, flash)
        versions.check(board.version, versions.in_image(flash), may_be_older, say)
        if files is not None:
            content = with_files(original, files | board.files)
        if not is_agreed():
            raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
    roots = tuple(drives) or _drive_roots()
    if port:
        say(show(into_bootsel))
        call(into_bootsel)
        _wait_for_bootsel(chip, roots)
    try:
        check_flash_size(chip, end_of_use(flash), say)
        found = find_drives(roots)
        if chip not in found.values() and shutil.which("picotool"):
            load_by_picotool(content, chip, say)
            say("done and verified by picotool: the board starts")
        else:
            say(f"done: {copy_uf2(content, path.name, chip, found)}; the board restarts by itself")
    except (UsageError, DeviceError, OSError):
        if port:
            say(_IN_BOOTSEL)
        raise


def _wait_for_bootsel(chip, roots):
    deadline = time.monotonic() + _BOOTSEL_S
    while chip not in find_drives(roots).values():
        if time.monotonic() > deadline or _picotool_finds(chip):
            return
        time.sleep(0.5)


def _picotool_finds(chip):
    try:
        return bool(shutil.which("picotool")) and chip in call(["picotool", "info", "-d"], capture=True)
    except DeviceError:
        return False

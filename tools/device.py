"""A board on a serial port: flash an image, deploy the firmware, the prompt, the log, a copy of the data (make flash,
deploy, repl, logs, backup); a page that flashes (make web-installer).

In:  a port in any form that mpremote takes (/dev/ttyUSB0, rfc2217://host:port, socket://host:port, id:SERIAL),
     for flash an image with or without the firmware within, and the configuration that it is to have.
Out: commands of esptool 5 and mpremote, said before they run; with --dry-run said only.
Ends with 0, with 1 when a command failed, with 2 when an argument is wrong.

deploy compares sizes and SHA-256 sums on the board with the tree in build/device, copies what differs, removes what
the build no longer has under /firmware and /lib, looks again, and resets the board. It never touches anything else,
so /data with the configuration stays. A deploy that broke off is taken up by the next one.

flash looks at chip and flash size first. With a configuration (--board, --wifi, --config) it also writes the file
system, as a whole; esptool reads every part back as MD5. A flash that broke off is done again from the start.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a program: "tools" must be found, and tools/micropython.py must hide nothing
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tools import build, flash_image
from tools.emulator import node
from tools.flash_image import FlashError

ROOT = Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "tools" / "device_inventory.py"
TREES = ("/firmware", "/lib")  # the only places where files are removed
DATA = "/data"  # made, and never looked into by deploy
BOARDS = ROOT / "firmware" / "board" / "boards.json"
STARTERS = ("/boot.py", "/main.py")  # copied last: a half-copied firmware is not started by a new main.py

# Flash offset of the bootloader, at which MicroPython's image begins: boards/*/board.json of its ESP32 port.
OFFSETS = {
    "esp32": 0x1000, "esp32s2": 0x1000, "esp32s3": 0, "esp32c3": 0, "esp32c2": 0, "esp32c6": 0, "esp32h2": 0,
    "esp32c5": 0x2000, "esp32p4": 0x2000,
}  # fmt: skip
# Chip id in an image's header, bytes 12 and 13 (ESP-IDF, esp_app_format.h).
CHIP_IDS = {0: "esp32", 2: "esp32s2", 5: "esp32c3", 9: "esp32s3", 12: "esp32c2", 13: "esp32c6", 16: "esp32h2",
            18: "esp32p4", 23: "esp32c5"}  # fmt: skip
_IMAGE_MAGIC = 0xE9
_APP_DESCRIPTION = bytes.fromhex("3254CDAB")  # at 32 in an application without bootloader (esp_app_desc.h)
_HEADER_LENGTH = 36
_FROZEN_NAME = b"\0firmware/app.py\0"  # in MicroPython's list of frozen modules

_FILES_A_CALL = 12  # copied by one call of mpremote, so that something is seen to happen
_REPL_BAUD = 115200
_CALL_TIMEOUT_S = 600
_LOOKS = 3  # attempts to reach a board that may be restarting
_BOOT_TIMEOUT_S = 60  # the first start makes the file system
_BLOCK = 4096  # littlefs gives a file whole blocks


class DeviceError(RuntimeError):
    """Something on the way to the board failed; the text says what and what to do."""


class UsageError(ValueError):
    """An argument is wrong; the text says which and what would be right."""


# The port


def serial_ports():
    """["/dev/ttyUSB0 (description)"] of the serial ports that there are."""
    from serial.tools import list_ports  # slow to import, and wanted in two messages only

    return [f"{port.device} ({port.description})" for port in sorted(list_ports.comports())]


def check_port(port, example):
    """Raises UsageError when no port is given or its device does not exist."""
    if port and not (port.startswith("/") and not os.path.exists(port)):
        return
    what = f"there is no {port}" if port else "no port is given"
    found = "\n".join(f"  {line}" for line in serial_ports()) or "  none: is the board connected?"
    raise UsageError(f"{what}; for example: {example}\nserial ports found:\n{found}")


def mpremote(port, *words):
    """The command line of mpremote for a port."""
    return [sys.executable, "-m", "mpremote", "connect", port, *(str(word) for word in words)]


def show(command):
    """A command line as a user would type it."""
    words = [str(word) for word in command]
    if words[:2] == [sys.executable, "-m"]:
        words = ["python", *words[1:]]
    return shlex.join([os.path.relpath(word) if word.startswith(str(ROOT)) else word for word in words])


def call(command, capture=False):
    """Runs a command; its standard output when captured. Raises DeviceError."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE if capture else None, text=True, timeout=_CALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"no end after {_CALL_TIMEOUT_S} s: {show(command)}") from None
    if done.returncode:
        output = f"\n{done.stdout.strip()}" if capture and done.stdout.strip() else ""
        raise DeviceError(f"failed with code {done.returncode}: {show(command)}{output}")
    return done.stdout


# deploy


@dataclass(frozen=True)
class Inventory:
    """What lies on the board: {path: (size, SHA-256 in hex)}, directories, free bytes."""

    files: dict
    directories: tuple
    free: int


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order."""

    remove: tuple
    rmdir: tuple
    mkdir: tuple
    copy: tuple

    def __bool__(self):
        return bool(self.remove or self.rmdir or self.mkdir or self.copy)


def parse_inventory(text):
    """The Inventory in the output of tools/device_inventory.py. Raises DeviceError when it is not whole."""
    files, directories, free = {}, [], None
    lines = [line.strip() for line in text.splitlines()]
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "F" and rest.count(" ") >= 2:
            size, digest, path = rest.split(" ", 2)
            files[path] = (int(size), digest)
        elif kind == "D":
            directories.append(rest)
        elif kind == "S":
            free = int(rest)
    if free is None or "end" not in lines:
        raise DeviceError(f"the board did not tell what it holds, but:\n{text.strip() or '(nothing)'}")
    return Inventory(files, tuple(directories), free)


def local_files(tree):
    """{path on the board: (size, SHA-256 in hex)} of a built tree. Raises DeviceError."""
    files = {}
    for path in sorted(Path(tree).rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            files["/" + path.relative_to(tree).as_posix()] = (len(data), hashlib.sha256(data).hexdigest())
    for name in files:
        if name not in STARTERS and not name.startswith(tuple(f"{top}/" for top in TREES)):
            raise DeviceError(f"{name} in {tree} is not for a board: only {', '.join(STARTERS + TREES)} are")
    missing = [path for path in STARTERS if path not in files]
    if missing:
        raise DeviceError(f"{tree} has no {' and no '.join(missing)}: it is not a built firmware")
    return files


def make_plan(wanted, board):
    """The Plan that makes the board hold the files `wanted`, and a folder for its configuration. Nothing outside TREES
    is ever removed."""
    directories = {str(parent) for path in wanted for parent in Path(path).parents if str(parent) != "/"}
    directories.add(DATA)
    changed = [path for path in wanted if board.files.get(path) != wanted[path]]
    return Plan(
        remove=tuple(sorted(p for p in board.files if p not in wanted and p.startswith(tuple(f"{t}/" for t in TREES)))),
        rmdir=tuple(sorted((d for d in board.directories if d not in directories and d not in TREES), reverse=True)),
        mkdir=tuple(sorted(directories - set(board.directories))),
        copy=tuple(sorted(changed, key=lambda path: (path in STARTERS, path))),
    )


def plan_commands(plan, port, tree):
    """The mpremote commands of a plan."""
    commands = []
    for operation, paths in (("rm", plan.remove), ("rmdir", plan.rmdir), ("mkdir", plan.mkdir)):
        for paths_of_call in _batches(paths):
            words = [["+", operation, f":{path}"] for path in paths_of_call]
            commands.append(mpremote(port, "resume", *sum(words, [])[1:]))
    for paths_of_call in _batches(plan.copy):
        words = [["+", "cp", "--force", Path(tree) / path[1:], f":{path}"] for path in paths_of_call]
        commands.append(mpremote(port, "resume", *sum(words, [])[1:]))
    return commands


def _batches(paths):
    return [paths[index : index + _FILES_A_CALL] for index in range(0, len(paths), _FILES_A_CALL)]


def check_space(plan, wanted, board):
    """Raises DeviceError when the files will not fit."""

    def blocks(paths, sizes):
        return sum(-(-sizes[path][0] // _BLOCK) * _BLOCK for path in paths if path in sizes)

    needed = blocks(plan.copy, wanted) - blocks((*plan.copy, *plan.remove), board.files)
    if needed > max(board.free, 0):  # littlefs may count a block twice
        raise DeviceError(f"the firmware needs {needed:,} more bytes on the board, and {board.free:,} are free")


def deploy(port, tree=build.OUT, reset=True, dry_run=False, source=False, say=print):
    """Builds, makes the board hold the build, resets it. Raises DeviceError, build.BuildError."""
    if dry_run and Path(tree).is_dir():
        say(f"would bring {os.path.relpath(tree)} up to date first")
    else:
        say(f"{os.path.relpath(tree)}: {build.build(tree, source, say)}")
    wanted = local_files(tree)
    look = mpremote(port, "run", INVENTORY)
    if dry_run:
        say("would look at what the board holds, then, for what it does not hold already:")
        everything = make_plan(wanted, Inventory({}, (), 0))
        commands = [look, *plan_commands(everything, port, tree), look]
        for command in [*commands, mpremote(port, "resume", "reset")] if reset else commands:
            say(f"  {show(command)}")
        return

    say(f"looking at what the board at {port} holds (a running firmware is interrupted)")
    board = _look(look, say)
    plan = make_plan(wanted, board)
    check_space(plan, wanted, board)
    size = sum(wanted[path][0] for path in plan.copy)
    say(f"{len(plan.copy)} of {len(wanted)} files to copy ({size:,} bytes), {len(plan.remove)} to remove")
    for path in plan.remove:
        say(f"  removes {path}")
    begun, commands = time.monotonic(), plan_commands(plan, port, tree)
    for number, command in enumerate(commands, 1):
        say(f"step {number} of {len(commands)}")
        call(command)
    if plan:
        left = make_plan(wanted, _look(look, say))
        if left:
            names = ", ".join([*left.copy, *left.remove, *left.mkdir, *left.rmdir])
            raise DeviceError(f"not as it should be on the board after copying: {names}; deploy again")
        say(f"the board holds the build, compared by SHA-256 ({time.monotonic() - begun:.0f} s)")
    if reset:
        say("resetting the board")
        call(mpremote(port, "resume", "reset"))


def _look(command, say):
    """The board's Inventory; a board that is just restarting is asked again."""
    for attempt in range(1, _LOOKS + 1):
        try:
            return parse_inventory(call(command, capture=True))
        except DeviceError as error:
            if attempt == _LOOKS:
                raise
            say(f"{error}\ntrying again")


# flash


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


def check_board(name, chip):
    """Raises UsageError when there is no such board file, or it is of another port than the chip's."""
    boards = json.loads(BOARDS.read_text(encoding="utf-8"))
    if name not in boards["names"]:
        raise UsageError(f"there is no board {name}; the boards are {', '.join(boards['names'])}")
    port = boards[name]["port"]
    if chip.startswith("esp32") != (port == "esp32"):
        raise UsageError(f"{name} is a board of {port}, and the image is for {chip}")


def flash_whole(
    port, image, config, chip="auto", board="", baud=460800, yes=False, dry_run=False, options=(), say=print
):
    """Writes an image and a file system with `config`, bytes of data/config.json. Raises UsageError, DeviceError,
    FlashError."""
    chip, offset = check_image(image, chip)
    if board:
        check_board(board, chip)
    if not has_firmware(image):
        raise UsageError(f"{image} has no firmware within (make image): flash it without a configuration, then deploy")
    content = Path(image).read_bytes()
    partition = flash_image.data_partition(content, offset)
    files = {flash_image.CONFIG: config}
    ends = max(offset + len(content), partition.offset + partition.size)
    say(f"the {chip} at {port}: {image} ({len(content):,} bytes) is written at {offset:#x};")
    place = f"{partition.size:,} bytes at {partition.offset:#x}"
    say(f"the file system ({place}) is replaced by one with {', '.join(files)}")
    with tempfile.TemporaryDirectory(prefix="meterport-flash-") as folder:
        data = Path(folder) / "data.littlefs"
        data.write_bytes(flash_image.file_system(files, partition.size))
        commands = flash_commands(port, image, chip, offset, baud, (partition.offset, data), options)
        if dry_run:
            for command in commands:
                say(f"  {show(command)}")
            return
        check_chip(port, chip, ends, options)
        if not yes and not _confirmed():
            raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
        for command in commands:
            say(show(command))
            try:
                call(command)
            except DeviceError as error:
                raise DeviceError(f"{error}\nthe board is not whole now: run the same again") from None
    say("done and compared by MD5: the board starts with the firmware and this configuration")


def flash_uf2(image, board="", drives=(), yes=False, dry_run=False, say=print):
    """Copies a UF2 image to the drive of the one board in BOOTSEL that has its chip. Raises UsageError, FlashError."""
    chip = flash_image.uf2_chip(Path(image).read_bytes())
    if board:
        check_board(board, chip)
    say(f"{image} is copied to the {chip} in BOOTSEL; its file system and configuration stay")
    if dry_run:
        return
    found = flash_image.find_drives(tuple(drives) or _drive_roots())
    if not yes and not _confirmed():
        raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
    say(f"done: {flash_image.copy_uf2(Path(image), chip, found)}; the board restarts by itself")


def _drive_roots():
    user = os.environ.get("USER", "")
    return tuple(Path(root) for root in (f"/media/{user}", f"/run/media/{user}", "/Volumes", "/mnt"))


def logs(port, seconds=None, dry_run=False, say=print):
    """Shows what the board says, and sends it nothing: the firmware runs on. Ends with Ctrl-C, or after `seconds`."""
    say(f"the console of the board at {port}; Ctrl-C ends this and not the firmware")
    if dry_run:
        return
    import serial

    line = serial.serial_for_url(port, _REPL_BAUD, timeout=0.2, do_not_open=True)
    if "://" not in port:
        line.dtr = line.rts = False  # on an ESP32 they are reset and BOOT
    line.open()
    end = None if seconds is None else time.monotonic() + seconds
    with line:
        while end is None or time.monotonic() < end:
            try:
                text = line.read(max(1, line.in_waiting))
            except serial.SerialException as error:
                raise DeviceError(f"the port {port} is gone: {error}") from None
            if text:
                sys.stdout.write(text.decode("utf-8", "replace"))
                sys.stdout.flush()


def backup(port, folder, dry_run=False, say=print):
    """Copies /data of the board, passwords included, to a new folder that only the user may read. Raises UsageError,
    DeviceError."""
    folder = Path(folder)
    if folder.exists():
        raise UsageError(f"{folder} is there already: name a new folder (--out)")
    say(
        f"copies /data of the board at {port} to {folder}: with all passwords; the gateway is interrupted and restarted"
    )
    commands = [mpremote(port, "cp", "--recursive", f":{DATA}", str(folder)), mpremote(port, "resume", "reset")]
    if dry_run:
        for command in commands:
            say(f"  {show(command)}")
        return
    folder.mkdir(mode=0o700, parents=True)
    for command in commands:
        call(command)


def web_installer(images, folder, say=print):
    """Writes the folder of an ESP Web Tools page for images with the firmware within. Raises UsageError, FlashError."""
    from firmware import VERSION

    rows = []
    for image in images:
        chip, offset = check_image(image, "auto")
        if not has_firmware(image):
            raise UsageError(f"{image} has no firmware within: make image")
        rows.append((Path(image), chip, offset))
    try:
        modules = node.ensure_packages(say, build.ROOT / "build" / "web-tools", build.ROOT / "tools" / "web_installer")
    except node.NodeError as error:
        raise UsageError(f"ESP Web Tools cannot be got: {error}") from error
    scripts = modules / "esp-web-tools" / "dist" / "web"
    flash_image.write_web_installer(rows, Path(folder), "meterport", ".".join(map(str, VERSION)), scripts)
    say(f"{folder}: index.html, manifest.json and {len(rows)} image(s); serve it by https, or from localhost")


def has_firmware(image):
    """Whether the firmware is frozen into it (make image): files beside it would hide it."""
    return _FROZEN_NAME in Path(image).read_bytes()


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
    if not yes and not _confirmed():
        raise UsageError("not confirmed, nothing was done (--yes asks nothing)")
    for command in commands:
        say(show(command))
        call(command)
    if within:
        say("done: the board starts with the firmware")
        return
    _wait_for_micropython(port, say)
    deploy(port, reset=reset, say=say)


def _confirmed():
    if not sys.stdin.isatty():
        return False
    return input("go on? [y/N] ").strip().lower() in ("y", "yes")


def _wait_for_micropython(port, say):
    """After a reset the port may be away for a while, and the first start makes the file system."""
    say("waiting for MicroPython to start")
    command = mpremote(port, "exec", "print('up')")
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while True:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CALL_TIMEOUT_S, check=False)
        if done.returncode == 0 and "up" in done.stdout:
            return
        if time.monotonic() > deadline:
            raise DeviceError(f"MicroPython does not answer at {port}:\n{(done.stderr or done.stdout).strip()}")
        time.sleep(1)


def repl(port, dry_run=False, say=print):
    """The board's prompt; the firmware, if it runs, goes on until Ctrl-C. Raises DeviceError."""
    command = mpremote(port, "resume", "repl")
    leaves = "Ctrl-] or Ctrl-X leaves"
    if "://" in port:  # mpremote's console wants a file descriptor, which pyserial's URLs do not have
        command = [sys.executable, "-m", "serial.tools.miniterm", "--raw", "--eol", "CR", port, str(_REPL_BAUD)]
        leaves = "Ctrl-] leaves"
    if dry_run:
        say(show(command))
        return
    say(f"the prompt of the board at {port}: Ctrl-C interrupts the firmware, {leaves}")
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise DeviceError(f"failed with code {done.returncode}: {show(command)}")


def parse(arguments=None):
    """The options. Ends the program with 2 when one is wrong."""
    parser = argparse.ArgumentParser(prog="device.py", description=__doc__.partition("\n")[0])
    subparsers = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("flash", "erase the board, write a MicroPython image with esptool, deploy"),
        ("deploy", "build the firmware and make the board hold it"),
        ("repl", "open the board's prompt"),
        ("logs", "show the board's console, and send nothing"),
        ("backup", "copy the board's data, passwords included"),
        ("web-installer", "write a page that flashes an ESP32 from a browser"),
    ):
        sub = subparsers.add_parser(name, help=text, description=text)
        sub.add_argument("--port", default="", help="serial device or any other port string of mpremote")
        sub.add_argument("--dry-run", action="store_true", help="print the commands and do nothing")
        if name in ("flash", "deploy"):
            sub.add_argument("--no-reset", dest="reset", action="store_false", help="do not reset the board at the end")
        if name == "deploy":
            sub.add_argument("--source", action="store_true", help="copy .py files instead of .mpy")
        if name == "backup":
            sub.add_argument("--out", default="backup", metavar="DIR", help="a new folder; default %(default)s")
        if name == "web-installer":
            sub.add_argument("--image", dest="images", action="append", default=[], metavar="FILE",
                             help="an image of an ESP32 (make image); one for each chip")  # fmt: skip
            sub.add_argument("--out", default=str(build.OUT.with_name("web-installer")), metavar="DIR")
        if name == "flash":
            sub.add_argument("--image", "--micropython-bin", "--firmware", dest="image", metavar="FILE", default="",
                             help="a .bin with the bootloader, or a .uf2; with or without the firmware")  # fmt: skip
            sub.add_argument(
                "--board", default="", help="a board file (docs/reference/boards.md), for the configuration"
            )
            sub.add_argument(
                "--wifi", default="", metavar="SSID", help="for the configuration; the password is asked for"
            )
            sub.add_argument("--config", default="", metavar="FILE", help="a configuration that the board is to have")
            sub.add_argument("--drive", action="append", default=[], metavar="DIR", help="of a board in BOOTSEL")
            sub.add_argument("--esptool", action="append", default=[], metavar="OPTION",
                             help="a further option of esptool, as in --esptool=--no-stub")  # fmt: skip
            sub.add_argument("--chip", choices=["auto", *OFFSETS], default="auto",
                             help="default: what the image says")  # fmt: skip
            sub.add_argument("--baud", type=int, default=460800, help="while writing; default %(default)s")
            sub.add_argument("--yes", action="store_true", help="ask nothing (make does not ask either)")
    return parser.parse_args(arguments)


def _is_agreed(options):
    return options.yes or "MAKELEVEL" in os.environ


def _configuration(options):
    """The bytes of data/config.json that the options ask for; the device checks it at its start. Raises UsageError."""
    document = {}
    if options.config:
        try:
            document = json.loads(Path(options.config).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{options.config}: {error}") from None
        if not isinstance(document, dict):
            raise UsageError(f"{options.config}: must be a JSON object")
    password = flash_image.ask_password(options.wifi) if options.wifi and not options.dry_run else ""
    return flash_image.configuration(document, options.board, options.wifi, password)


def _main_uf2(options, say):
    if options.wifi or options.config:
        raise UsageError(
            "an RP2 takes its configuration after the image: flash without WIFI and --config, then "
            "mpremote mkdir :data + cp config.json :data/config.json"
        )
    drives = tuple(Path(drive) for drive in options.drive)
    flash_uf2(options.image, options.board, drives, _is_agreed(options), options.dry_run, say)
    return 0


def main(arguments=None):
    """One action on a board; returns the exit code."""
    options = parse(arguments)

    def say(text):
        print(text, flush=True)

    try:
        example = f"make {options.action} PORT=/dev/ttyUSB0"
        if options.action == "web-installer":
            web_installer(options.images, options.out, say)
            return 0
        if options.action == "flash":
            if options.image.endswith(".uf2") and Path(options.image).is_file():
                return _main_uf2(options, say)
            check_image(options.image, options.chip)
            example += " IMAGE=meterport.bin"
        check_port(options.port, f"{example}, or --port /dev/ttyACM0, or --port socket://127.0.0.1:7000")
        if options.action == "repl":
            repl(options.port, options.dry_run, say)
        elif options.action == "deploy":
            tree = build.OUT.with_name("device-source") if options.source else build.OUT
            deploy(options.port, tree, options.reset, options.dry_run, options.source, say)
        elif options.action == "logs":
            logs(options.port, dry_run=options.dry_run, say=say)
        elif options.action == "backup":
            backup(options.port, options.out, options.dry_run, say)
        elif options.wifi or options.board or options.config:
            config = _configuration(options)
            flash_whole(
                options.port, options.image, config, options.chip, options.board, options.baud, _is_agreed(options),
                options.dry_run, options.esptool, say,
            )  # fmt: skip
        else:
            yes = _is_agreed(options)
            flash(options.port, options.image, options.chip, options.baud, yes, options.dry_run, options.reset, say)
    except (UsageError, FlashError) as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 2
    except (DeviceError, build.BuildError, OSError) as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{options.action}: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Images for a board: MicroPython with the firmware frozen into it (make image; docs/images.md).

In:  a board definition of tools/boards, a checkout of MicroPython that the user names, the firmware's modules by the
     manifest of tools/build.py. With --in docker the same build runs in a container, with both folders mounted.
Out: build/images/meterport-BOARD-VERSION.uf2, or .bin and .app-bin (for updates over the network), beside each .sha256
     in the form of sha256sum. VERSION is the firmware's. The build itself lies in build/images/work, its output in a
     .log there.
Ends with 0, with 1 when a build failed, with 2 when an argument or the checkout is wrong.

Which releases of MicroPython are taken, and why, is in PORTS below. The build is the port's own: mpy-cross, then
`make -C ports/PORT`. In the checkout it writes mpy-cross/build; for an ESP32, ESP-IDF fetches its components to
ports/esp32/managed_components.
"""

import argparse
import hashlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

if not __package__:  # run as a program
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

import firmware
from tools import build, partition_table

ROOT = pathlib.Path(__file__).resolve().parent.parent
BOARDS_DIR = ROOT / "tools" / "boards"
OUT = ROOT / "build" / "images"
UPSTREAM = "https://github.com/micropython/micropython"
DEFAULT_RELEASE = "1.28"
_LIMIT_S = 3600
_LOG_TAIL = 30  # lines
_LARGEST_STEP = 8  # of the percents of a build with hundreds of files
_APPLICATION = "micropython.bin"  # of an ESP32: without boot loader and partition table, for an update over the network
_UF2_BLOCK, _UF2_PAYLOAD = 512, 256  # UF2 specification; pico-sdk fills 256 bytes of each block
_RP2040, _RP2350 = 0xE48BFF56, 0xE48BFF59  # MicroPython's tools/uf2families.json; RP2350: its Arm cores
_FLASH_BEGIN = 0x10000000  # of both

Progress = Callable[[str], object]


class UsageError(ValueError):
    """An argument or the checkout is wrong; the text says what is and what would be right."""


class ImageError(RuntimeError):
    """The build failed; the text says which step and ends with its output."""


class Board(NamedTuple):
    """A definition in tools/boards."""

    title: str  # one line for the list
    port: str
    submodules: tuple[str, ...]  # what it needs beside those of its port
    room: int | None = None  # bytes of flash for the image; None: the partition table says
    family: int = 0  # of its UF2
    variants: tuple[str, ...] = ()


_WIFI, _WIRED = ("lib/cyw43-driver",), ("lib/wiznet5k",)
_KIB = 1024

BOARDS = {
    "METERPORT_PICO2_W": Board(
        "Pico 2 W (RP2350), Wi-Fi: the one to take, with twice the memory of a Pico W",
        "rp2", _WIFI, 1536 * _KIB, _RP2350,
    ),
    "METERPORT_PICO_W": Board(
        "Pico W (RP2040), Wi-Fi: the cheapest",
        "rp2", _WIFI, 1400 * _KIB, _RP2040,
    ),
    "METERPORT_W5500_EVB_PICO2": Board(
        "WIZnet W5500-EVB-Pico2 (RP2350), Ethernet",
        "rp2", _WIRED, 1536 * _KIB, _RP2350,
    ),
    "METERPORT_W5500_EVB_PICO": Board(
        "WIZnet W5500-EVB-Pico (RP2040), Ethernet",
        "rp2", _WIRED, 1400 * _KIB, _RP2040,
    ),
    "METERPORT_ESP32": Board(
        "ESP32 without PSRAM (DevKit, WT32-ETH01, ESP32-POE): Wi-Fi, or Ethernet by its MAC",
        "esp32", (),
    ),
    "METERPORT_ESP32_S3": Board(
        "ESP32-S3 with octal PSRAM (VARIANT=QUAD: quad) and 8 MB of flash: Wi-Fi, or Ethernet by a W5500",
        "esp32", (), variants=("QUAD",),
    ),
}  # fmt: skip


class Port(NamedTuple):
    """A port of MicroPython, and what its build needs and makes."""

    image: str  # in the build's folder
    suffix: str
    submodules: tuple[str, ...]
    commands: dict[str, str]  # command: Debian package that has it
    releases: dict[str, str]  # MicroPython: version of ESP-IDF that it is built with, "" without one
    why: str  # others are refused


PORTS = {
    "rp2": Port(
        "firmware.uf2",
        ".uf2",
        ("lib/pico-sdk", "lib/tinyusb", "lib/mbedtls", "lib/lwip", "lib/micropython-lib"),
        {"arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib",
         "cmake": "cmake", "make": "make", "g++": "g++", "python3": "python3"},
        {"1.28": "", "1.25": ""},
        "in 1.26 and 1.27 lwIP's timers can stop while the link is down, and no name is resolved any more (micropython "
        "issue #18797, mended in 1.28); others were not compared with the definitions",
    ),
    "esp32": Port(
        "firmware.bin",
        ".bin",
        ("lib/berkeley-db-1.xx", "lib/tinyusb", "lib/micropython-lib"),
        {"idf.py": "", "make": "make", "gcc": "gcc", "python3": "python3"},
        {"1.28": "5.5.1", "1.25": "5.2.2"},
        "the definitions were compared with the sources of these two and of the ESP-IDF that they are built with, "
        "5.5.1 and 5.2.2; options change their names from one ESP-IDF to the next",
    ),
}  # fmt: skip

# rp2 in a container: Debian's own, with the packages above. ESP-IDF has official ones with the compiler within.
_DEBIAN_IMAGE = "debian:trixie-slim"
_RP2_TAG = "meterport-image-rp2"
_RP2_PACKAGES = "ca-certificates git"


class Plan(NamedTuple):
    """One image that is to be made."""

    name: str
    board: Board
    port: Port
    variant: str
    checkout: pathlib.Path
    release: str  # "1.28"
    docker: bool
    out: pathlib.Path

    @property
    def target(self) -> pathlib.Path:
        version = ".".join(str(number) for number in firmware.VERSION)
        parts = ("meterport", self.name, *([self.variant] if self.variant else ()), version)
        return self.out / ("-".join(parts) + self.port.suffix)

    @property
    def work(self) -> pathlib.Path:
        """The folder of the build: another one for each checkout, or CMake would refuse it."""
        key = f"{self.checkout} {self.release} {self.variant} {self.docker}".encode()
        return self.out / "work" / f"{self.name}-{hashlib.sha256(key).hexdigest()[:8]}"

    @property
    def log(self) -> pathlib.Path:
        return self.work.with_suffix(".log")

    @property
    def manifest(self) -> pathlib.Path:
        return self.work.with_suffix(".manifest.py")

    @property
    def container(self) -> str:
        """The container's image."""
        idf = self.port.releases.get(self.release, "") or PORTS["esp32"].releases[DEFAULT_RELEASE]
        return f"espressif/idf:v{idf}" if self.board.port == "esp32" else _RP2_TAG


class Step(NamedTuple):
    """A command, what it does in words, and what it reads."""

    what: str
    command: list[str]
    text: str = ""


# The checkout


def clone_help(board: Board) -> str:
    """How to get a checkout that has everything."""
    folders = " ".join(PORTS[board.port].submodules + board.submodules)
    return (
        f"  git clone --depth 1 --branch v{DEFAULT_RELEASE}.0 {UPSTREAM}\n"
        f"  git -C micropython submodule update --init --depth 1 {folders}"
    )


def read_release(checkout: pathlib.Path) -> tuple[str, bool]:
    """("1.28", whether it is a preview of it) of a checkout. Raises UsageError when it is none."""
    header = checkout / "py" / "mpconfig.h"
    if not header.is_file():
        raise UsageError(f"{checkout}: no checkout of MicroPython, py/mpconfig.h is missing")
    text = header.read_text(encoding="utf-8")
    numbers = {name: int(value) for name, value in re.findall(r"#define MICROPY_VERSION_(\w+) (\d+)", text)}
    if not {"MAJOR", "MINOR"} <= numbers.keys():
        raise UsageError(f"{header}: has no version")
    return f"{numbers['MAJOR']}.{numbers['MINOR']}", bool(numbers.get("PRERELEASE"))


def check_release(name: str, board: Board, release: str, preview: bool) -> None:
    """Raises UsageError for one that this board is not built with."""
    port = PORTS[board.port]
    if release in port.releases and not preview:
        return
    taken = " or ".join(port.releases)
    raise UsageError(
        f"MicroPython {release}{'-preview' if preview else ''} is not one of {taken}, which {name} is built with.\n"
        f"Why: {port.why}.\nGet {DEFAULT_RELEASE}:\n{clone_help(board)}\n"
        "or build with this one all the same: ARGS=--any-version"
    )


def check_submodules(board: Board, checkout: pathlib.Path) -> None:
    """Raises UsageError, with the command that gets what is missing."""
    folders = PORTS[board.port].submodules + board.submodules
    missing = [name for name in folders if not (checkout / name).is_dir() or not any((checkout / name).iterdir())]
    if missing:
        command = shlex.join(["git", "-C", str(checkout), "submodule", "update", "--init", "--depth", "1", *missing])
        raise UsageError(f"{checkout}: submodules are missing: {', '.join(missing)}. Get them:\n  {command}")


def check_tools(plan: Plan) -> None:
    """Raises UsageError when a command of the build is missing here."""
    if plan.docker:
        check_docker()
        return
    missing = [name for name in plan.port.commands if not shutil.which(name)]
    if "idf.py" in missing:
        idf = plan.port.releases.get(plan.release) or plan.port.releases[DEFAULT_RELEASE]
        raise UsageError(
            f"idf.py is missing: install ESP-IDF {idf} and run `. esp-idf/export.sh` in this shell,\n"
            "or use its container: IMAGE_IN=docker"
        )
    if missing:
        packages = " ".join(plan.port.commands[name] for name in missing)
        raise UsageError(
            f"missing: {', '.join(missing)}. On Debian: apt-get install {packages}\nor use a container: IMAGE_IN=docker"
        )


def check_docker() -> None:
    """Raises UsageError when there is no docker, or no engine behind it."""
    if not shutil.which("docker"):
        raise UsageError("docker is missing; install Docker or podman-docker, or build without IMAGE_IN=docker")
    asked = subprocess.run(
        ["docker", "version", "--format", "{{.Server.Version}}"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if asked.returncode:
        said = (asked.stderr or asked.stdout).strip().splitlines()
        raise UsageError(f"docker has no engine that runs: {said[-1] if said else 'it says nothing'}")


def check_idf(plan: Plan) -> None:
    """Raises UsageError when IDF_PATH is another ESP-IDF than this release is built with."""
    wanted = plan.port.releases.get(plan.release)
    file = pathlib.Path(os.environ.get("IDF_PATH", "")) / "tools" / "cmake" / "version.cmake"
    if plan.docker or not wanted or not os.environ.get("IDF_PATH") or not file.is_file():
        return
    found = re.findall(r"IDF_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", file.read_text(encoding="utf-8"))
    if found[:2] != wanted.split(".")[:2]:
        raise UsageError(
            f"ESP-IDF {'.'.join(found)} is not {wanted}, which MicroPython {plan.release} is built with; use its "
            "container (IMAGE_IN=docker), or this one all the same: ARGS=--any-version"
        )


# The steps


def _make(plan: Plan) -> tuple[Step, Step]:
    """What is run, here or in the container. The folders have the same names there."""
    jobs = f"-j{os.cpu_count() or 2}"
    words = [f"BOARD={plan.name}", f"BOARD_DIR={BOARDS_DIR / plan.name}"]
    words += [f"BOARD_VARIANT={plan.variant}"] if plan.variant else []
    words += [f"FROZEN_MANIFEST={plan.manifest}", f"BUILD={plan.work}"]
    port = plan.checkout / "ports" / plan.board.port
    return (
        Step("mpy-cross", ["make", jobs, "-C", str(plan.checkout / "mpy-cross")]),
        Step("MicroPython with the firmware", ["make", jobs, "-C", str(port), *words]),
    )


def _docker_run(plan: Plan, command: list[str]) -> list[str]:
    mounts = dict.fromkeys((ROOT, plan.out, plan.checkout))
    words = ["docker", "run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}", "--env", "HOME=/tmp"]
    for name, value in sorted(_FIXED.items()):
        words += ["--env", f"{name}={value}"]
    for folder in mounts:
        words += ["--volume", f"{folder}:{folder}"]
    return [*words, "--workdir", str(plan.checkout), plan.container, *command]


def steps(plan: Plan) -> list[Step]:
    """The commands that make the image, in turn."""
    made = list(_make(plan))
    if not plan.docker:
        return made
    first = []
    if plan.container == _RP2_TAG:
        packages = " ".join((_RP2_PACKAGES, *plan.port.commands.values()))
        text = f"FROM {_DEBIAN_IMAGE}\nRUN apt-get update && apt-get install -y --no-install-recommends {packages}\n"
        first = [Step("a container with the compiler", ["docker", "build", "--tag", _RP2_TAG, "-"], text)]
    return first + [Step(f"{step.what}, in {plan.container}", _docker_run(plan, step.command)) for step in made]


# The same image from the same sources: the order of two names of one pin came from Python's random hashes.
_FIXED = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}


def _environment() -> dict[str, str]:
    """Without what the make that runs us would say to another one."""
    ours = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "BOARD", "BOARD_DIR", "BOARD_VARIANT", "BUILD")
    return {name: value for name, value in os.environ.items() if name not in ours} | _FIXED


class Percent:
    """Reads a build's output: every tenth of "[ 42%]" (make) or "[420/1000]" (ninja) is told, once.

    Smaller builds within it say such things too: those of make by large steps (pico-sdk's tools), those of ninja of a
    smaller total (the bootloader of an ESP32)."""

    def __init__(self) -> None:
        self._total = 0
        self._now = 0
        self._told = 0

    def read(self, line: str) -> int | None:
        """Percent that a line says, when there is news in it."""
        found = re.match(r"\[ *(\d+)(?:%|/(\d+))\]", line)
        if not found:
            return None
        total = int(found[2] or 100)
        if total > self._total:
            self._total = total
            self._now = self._told = 0
        percent = 100 * int(found[1]) // total
        if total < self._total or (not found[2] and percent > self._now + _LARGEST_STEP):
            return None
        self._now = max(self._now, percent)
        if percent < self._told + 10:
            return None
        self._told = percent - percent % 10
        return self._told


def run(plan: Plan, step: Step, progress: Progress) -> None:
    """Runs a step, its output in the log. Raises ImageError with the end of it."""
    begin = time.monotonic()
    progress(f"image: {step.what} ...")
    percent = Percent()
    with open(plan.log, "a", encoding="utf-8") as log:
        log.write(f"$ {shlex.join(step.command)}\n")
        log.flush()
        with subprocess.Popen(
            step.command,
            env=_environment(),
            stdin=subprocess.PIPE if step.text else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process:
            if step.text:
                assert process.stdin  # it is a pipe
                process.stdin.write(step.text)
                process.stdin.close()
            assert process.stdout
            for line in process.stdout:
                log.write(line)
                told = percent.read(line)
                if told:
                    progress(f"image: {told} %, {time.monotonic() - begin:.0f} s")
                if time.monotonic() - begin > _LIMIT_S:
                    process.kill()
    if process.returncode:
        tail = "\n".join(plan.log.read_text(encoding="utf-8").splitlines()[-_LOG_TAIL:])
        raise ImageError(f"{step.what} failed with code {process.returncode}; its output is in {plan.log}:\n{tail}")


# The result


def _uf2(plan: Plan) -> list[Step]:
    """What makes the UF2 where pico-sdk was told to do without picotool (CMAKE_ARGS=-DPICO_NO_PICOTOOL=1)."""
    image, flat = plan.work / plan.port.image, plan.work / "firmware.bin"
    if image.is_file() or plan.board.room is None or not flat.is_file():
        return []
    tool = plan.checkout / "tools" / "uf2conv.py"
    options = ["--convert", "--base", hex(_FLASH_BEGIN), "--family", hex(plan.board.family), "--output", str(image)]
    return [Step("UF2", [sys.executable, str(tool), *options, str(flat)])]


def partitions(name: str) -> list[partition_table.Row]:
    """The partition table of a definition for an ESP32."""
    return list(partition_table.rows_of_csv((BOARDS_DIR / name / "partitions.csv").read_text(encoding="utf-8")))


def measure(plan: Plan) -> tuple[int, int]:
    """(bytes of flash that the image takes, bytes that it may take). Raises ImageError when the build made none."""
    image = plan.work / plan.port.image
    if not image.is_file():
        raise ImageError(f"the build made no {image}; its output is in {plan.log}")
    if plan.board.room is not None:
        return image.stat().st_size // _UF2_BLOCK * _UF2_PAYLOAD, plan.board.room
    table = list(partition_table.rows((plan.work / "partition_table" / "partition-table.bin").read_bytes()))
    if table != partitions(plan.name):
        raise ImageError(f"the build did not take the partition table of {plan.name}, but one with {table}")
    return (plan.work / _APPLICATION).stat().st_size, min(row.size for row in table if row.type == partition_table.APP)


def make(plan: Plan, progress: Progress = print) -> pathlib.Path:
    """Builds the image; its path. Raises ImageError, or build.BuildError when the firmware does not compile."""
    begin = time.monotonic()
    plan.work.parent.mkdir(parents=True, exist_ok=True)
    plan.log.write_text("", encoding="utf-8")
    plan.manifest.write_text(build.frozen_manifest(machine_code=plan.board.port == "rp2")[0], encoding="utf-8")
    # MicroPython's build goes by the age of what it compiled, which says nothing when a checkout was changed.
    shutil.rmtree(plan.work / "frozen_mpy", ignore_errors=True)
    (plan.work / plan.port.image).unlink(missing_ok=True)
    for step in steps(plan):
        run(plan, step, progress)
    for step in _uf2(plan):
        run(plan, step, progress)
    size, room = measure(plan)
    if size > room:
        raise ImageError(f"the image takes {size:,} bytes of flash, {size - room:,} more than lie before the files")
    if plan.board.port == "esp32":
        _publish(plan.work / _APPLICATION, plan.target.with_suffix(".app-bin"))
    digest = _publish(plan.work / plan.port.image, plan.target)
    progress(f"image: {plan.target}, made in {time.monotonic() - begin:.0f} s")
    progress(f"image: {size:,} bytes of flash, {room - size:,} are left; SHA-256 {digest}")
    return plan.target


def _publish(made: pathlib.Path, target: pathlib.Path) -> str:
    """Copies a result of the build, and writes its sum beside it; the sum."""
    shutil.copyfile(made, target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    target.with_name(target.name + ".sha256").write_text(f"{digest}  {target.name}\n", encoding="utf-8")
    return digest


def explain(plan: Plan, progress: Progress) -> None:
    """Says what make() will do."""
    progress(f"image: {plan.name}{'-' + plan.variant if plan.variant else ''}: {plan.board.title}")
    progress(f"image: MicroPython {plan.release} of {plan.checkout}{', in containers' if plan.docker else ''}")
    for number, step in enumerate(steps(plan), 1):
        progress(f"image: {number}. {step.what}:\n  {shlex.join(step.command)}")
        for line in step.text.splitlines():
            progress(f"    {line}")
    progress(f"image: result: {plan.target} and .sha256")


# The command line


def list_boards() -> str:
    width = max(map(len, BOARDS))
    return "\n".join(f"  {name:{width}}  {board.title}" for name, board in BOARDS.items())


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools.image", description="Makes an image: MicroPython and the firmware.")
    parser.add_argument("--board", help="one of tools/boards; without it they are listed")
    parser.add_argument("--variant", default="", help="of a board that has some")
    parser.add_argument("--micropython", type=pathlib.Path, help="a checkout of MicroPython with its submodules")
    parser.add_argument("--in", dest="where", choices=("here", "docker"), default="here", help="default: here")
    parser.add_argument("--out", type=pathlib.Path, default=OUT, help="folder of the result, default build/images")
    parser.add_argument("--any-version", action="store_true", help="take a release that is refused otherwise")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    return parser.parse_args(arguments)


def planned(options: argparse.Namespace) -> Plan:
    """What the options ask for, checked. Raises UsageError."""
    board = BOARDS.get(options.board)
    if board is None:
        raise UsageError(f"there is no board {options.board}; the boards are:\n{list_boards()}")
    if options.variant and options.variant not in board.variants:
        known = ", ".join(board.variants) or "none"
        raise UsageError(f"{options.board} has no variant {options.variant}; it has: {known}")
    if options.micropython is None:
        raise UsageError(f"MICROPYTHON=path is missing, a checkout of MicroPython. Get one:\n{clone_help(board)}")
    checkout = options.micropython.resolve()
    try:
        release, preview = read_release(checkout)
    except UsageError as error:
        raise UsageError(f"{error}. Get one:\n{clone_help(board)}") from None
    port = PORTS[board.port]
    docker = options.where == "docker"
    plan = Plan(options.board, board, port, options.variant, checkout, release, docker, options.out.resolve())
    if not options.any_version:
        check_release(options.board, board, release, preview)
        check_idf(plan)
    check_submodules(board, checkout)
    return plan


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if not options.board:
        print(f"make image BOARD=... MICROPYTHON=path [IMAGE_IN=docker]; the boards are:\n{list_boards()}")
        return 0

    def progress(text: str) -> None:
        print(text, flush=True)

    try:
        plan = planned(options)
        explain(plan, progress)
        if options.dry_run:
            return 0
        check_tools(plan)
        make(plan, progress)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except (ImageError, build.BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""MicroPython for the emulated RP2040, made from Debian's source packages: real lwIP, PPP on a UART, no Wi-Fi.

In:  a Variant, the board definition beside this file, lwIP's options of tools/boards, the firmware's modules when they
     are to be frozen, the port's linker script.
Out: build/emulator/firmware-HASH/firmware.bin, the image of the chip's flash from its first byte on. The hash is over
     everything that goes in: packages, board definition, variant, compiler, frozen modules. What is there already is
     not made again.

All variants of a release are built in one directory, build/emulator/work-HASH, where little is compiled again. It has
copies of the definitions, so it does not matter where the checkout lies. Its file `whole` is gone while a build runs:
after a build that failed or was killed, or in a cache that was moved, the next one begins anew. The compiler is the
machine's. Neither UF2 nor picotool is needed.
"""

import argparse
import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

from tools import build as device
from tools import debian, sources, steps
from tools.emulator import variant
from tools.emulator.variant import OUR_PCBS, STOCK_PCBS, Variant
from tools.steps import BuildError

__all__ = ["OUR_PCBS", "STOCK_PCBS", "BuildError", "Variant", "ensure_firmware", "ensure_slirp", "ensure_tools"]

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "build" / "emulator"
BOARD = "EMULATED_PICO"
_BOARD_DIR = HERE / "board" / BOARD
_LWIP_BEFORE = HERE.parent / "boards" / "lwip_for_16_sockets.h"
_LWIP_BEHIND = HERE.parent / "boards" / "lwip" / "lwipopts.h"
_INTERPRETER = HERE.parent / "boards" / "interpreter.cmake"
_LWIP_STOCK = '#include_next "lwipopts.h"\n'

_COMMANDS = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "cmake": "cmake",
    "make": "make",
    "gcc": "gcc",
    "g++": "g++",
}
_LIBRARIES = {
    "libc_nano.a": "libnewlib-arm-none-eabi",
    "libstdc++_nano.a": "libstdc++-arm-none-eabi-newlib",
}
_LINKER_SCRIPT = "memmap_mp_rp2040.ld"
_THUMB = ("-mcpu=cortex-m0plus", "-mthumb")
_CMAKE = ("-DPICO_NO_PICOTOOL=1",)
_PROBE_LIMIT_S = 60
_KEEP = 8  # firmware builds of 7 MB; older ones are removed
_KEEP_WORK = 2  # build directories of 100 MB
_PLAIN_MANIFEST = 'include("$(BOARD_DIR)/manifest.py")\n'

Progress = Callable[[str], object]


def ensure_tools(progress: Progress = print) -> None:
    """The compiler and what it needs, from Debian packages where they are missing and we are root.

    Raises debian.MissingPackages, whose message names the packages.
    """
    debian.ensure_packages(_COMMANDS, progress)
    missing = [package for name, package in _LIBRARIES.items() if not _arm_library(name)]
    if missing:
        _install(missing, "the ARM compiler's libraries are missing", progress)


def ensure_slirp(progress: Progress = print) -> None:
    """libslirp, from Debian's libslirp0 where it is missing and we are root. Raises debian.MissingPackages."""
    try:
        ctypes.CDLL("libslirp.so.0")
    except OSError:
        _install(["libslirp0"], "libslirp.so.0 is missing", progress)


def _arm_library(name: str) -> bool:
    """Whether the ARM compiler finds this library (it prints a bare name where it does not)."""
    command = ["arm-none-eabi-gcc", *_THUMB, f"-print-file-name={name}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PROBE_LIMIT_S)
    return os.path.isabs(found.stdout.strip())


def _install(packages: list[str], why: str, progress: Progress) -> None:
    text = f"{why}; on Debian: apt-get install {' '.join(packages)}"
    if not debian.is_debian() or os.geteuid() != 0:
        raise debian.MissingPackages(text)
    progress(f"apt-get update, then install {' '.join(packages)} ...")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        steps.run(f"apt-get {arguments[0]}", ["apt-get", "-q", *arguments], pathlib.Path.cwd())


def _compiler_version() -> bytes:
    command = ["arm-none-eabi-gcc", "--version"]
    return subprocess.run(command, capture_output=True, check=True, timeout=_PROBE_LIMIT_S).stdout.splitlines()[0]


def _work_name(wanted: Variant) -> str:
    """Of the directory where this variant is built: what it has in common with others, as a hash."""
    paths = sorted(path for path in _BOARD_DIR.rglob("*") if path.is_file())
    files = [part for path in paths for part in (path.relative_to(_BOARD_DIR).as_posix().encode(), path.read_bytes())]
    files.append(_INTERPRETER.read_bytes())
    release = sources.RELEASES[wanted.micropython]
    options = " ".join((release.epoch, *_CMAKE)).encode()
    return "work-" + steps.digest(release.name.encode(), _compiler_version(), options, *files)


def firmware_name(wanted: Variant) -> str:
    """Of the directory of a build: everything that goes into it, as a hash. The compiler must be there."""
    parts = [_work_name(wanted).encode(), wanted.header.encode(), _LWIP_BEFORE.read_bytes(), _LWIP_BEHIND.read_bytes()]
    parts.append(repr(wanted.regions).encode())
    if wanted.frozen:
        text, files = device.frozen_manifest(machine_code=True)
        parts += [text.replace(str(device.ROOT), "").encode(), *(path.read_bytes() for path in files)]
    return "firmware-" + steps.digest(*parts)


def ensure_firmware(
    wanted: Variant | int = OUR_PCBS, progress: Progress = print, cache: pathlib.Path = CACHE
) -> pathlib.Path:
    """Path of firmware.bin of a variant (a bare number: of TCP connections), built if need be: a minute or two for the
    first, a quarter of a minute for another.

    Raises ValueError, BuildError or debian.MissingPackages.
    """
    wanted = Variant.of(wanted)
    ensure_tools(progress)
    cache = cache.resolve()
    target = cache / firmware_name(wanted) / "firmware.bin"
    if not target.is_file():
        with steps.locked(cache / "build.lock", "emulator", progress):
            if not target.is_file():
                _build(wanted, target.parent, sources.ensure(wanted.micropython, progress), progress)
                steps.remove_old(cache, "firmware-*", _KEEP)
                steps.remove_old(cache, "work-*", _KEEP_WORK)
    os.utime(target.parent)  # the last used ones are kept
    return target


def _build(wanted: Variant, target: pathlib.Path, tree: pathlib.Path, progress: Progress) -> None:
    begin = time.monotonic()
    progress(f"emulator: building {wanted} for the RP2040 ...")
    epoch = sources.RELEASES[wanted.micropython].epoch
    work = target.parent / _work_name(wanted)
    whole = work / "whole"
    places = f"{work}\n{tree}"
    fresh = not whole.exists() or whole.read_text(encoding="utf-8") != places
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(_BOARD_DIR, work / "board")
        shutil.copyfile(_INTERPRETER, work / "board" / _INTERPRETER.name)
    whole.unlink(missing_ok=True)
    _write_variant(wanted, work / "variant", tree / "ports" / "rp2" / _LINKER_SCRIPT)
    if fresh:
        options = [f"-DMICROPY_BOARD={BOARD}", f"-DMICROPY_BOARD_DIR={work / 'board'}", *_CMAKE]
        steps.run("cmake", ["cmake", "-S", tree / "ports" / "rp2", "-B", work, *options], work, epoch)
    steps.make(["make", steps.jobs()], work, epoch, _percent(progress))
    image = work / "firmware.bin"
    steps.run("objcopy", ["arm-none-eabi-objcopy", "-O", "binary", work / "firmware.elf", image], work)
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    shutil.copyfile(image, part / "firmware.bin")
    shutil.copyfile(work / "firmware.elf", part / "firmware.elf")  # for addresses in a fault's message
    part.rename(target)
    whole.write_text(places, encoding="utf-8")
    os.utime(work)  # the last used ones are kept
    progress(f"emulator: {image.name}, built in {time.monotonic() - begin:.0f} s")


def _write_variant(wanted: Variant, folder: pathlib.Path, linker_script: pathlib.Path) -> None:
    """What the board definition finds there; a header or script that stays the same keeps its age."""
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (folder / "variant.h", wanted.header),
        (folder / _LWIP_BEFORE.name, _LWIP_BEFORE.read_text(encoding="utf-8")),
        (folder / _LWIP_BEHIND.name, _LWIP_STOCK if wanted.is_stock else _LWIP_BEHIND.read_text(encoding="utf-8")),
        (folder / "memmap.ld", wanted.linker_script(linker_script.read_text(encoding="utf-8"))),
    ):
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    manifest = device.frozen_manifest(machine_code=True)[0] if wanted.frozen else _PLAIN_MANIFEST
    (folder / "manifest.py").write_text(manifest, encoding="utf-8")
    # MicroPython's build goes by the age of what it compiled, which says nothing when a checkout was changed.
    shutil.rmtree(folder.parent / "frozen_mpy", ignore_errors=True)


def _percent(progress: Progress) -> Callable[[str], object]:
    """Passes on the percentages of CMake's make, every ten."""
    shown = 0

    def on_line(line: str) -> None:
        nonlocal shown
        percent = re.match(r"\[ *(\d+)%\]", line)
        if percent and int(percent[1]) >= shown + 10:
            shown = int(percent[1])
            progress(f"emulator: {shown} %")

    return on_line


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Builds MicroPython for the emulated RP2040; prints the image's path.")
    variant.add_options(parser)
    options = parser.parse_args(arguments)
    try:
        wanted = variant.from_options(options)
        print(ensure_firmware(wanted, lambda text: print(text, file=sys.stderr, flush=True)))
    except (BuildError, ValueError, device.BuildError, debian.MissingPackages) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

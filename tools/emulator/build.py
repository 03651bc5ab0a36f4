"""MicroPython for the emulated RP2040, made from Debian's source packages: real lwIP, PPP on a UART, no Wi-Fi.

In:  a number of TCP connections for lwIP (5, as MicroPython has it, or more), the board definition beside this file.
Out: build/emulator/firmware-HASH/firmware.bin, the image of the chip's flash from its first byte on. The hash is over
     everything that goes in: packages, board definition, options, compiler. What is there already is not made again.

The sources are those of Debian 13 (MicroPython 1.25.0, pico-sdk 2.1.1, lwIP, TinyUSB, Mbed TLS), whatever release this
machine runs; apt checks their signatures, the mirror is the machine's own. The compiler is the machine's. Neither UF2
nor picotool is needed. A failed build leaves its log in build/emulator/work and is taken up again.
"""

import argparse
import ctypes
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

from tools import debian, micropython

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "build" / "emulator"
BOARD = "EMULATED_PICO"
STOCK_PCBS = 5  # MEMP_NUM_TCP_PCB of lwIP, which MicroPython's rp2 port leaves alone
OUR_PCBS = 16

# MicroPython and the SDK fit each other, so these two are exact; the others are what Debian 13 has.
_BINARIES = ("pico-sdk-source=2.1.1-1", "tinyusb-source")
_SOURCES = ("micropython=1.25.0+ds-1", "lwip", "mbedtls")
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
_THUMB = ("-mcpu=cortex-m0plus", "-mthumb")
_RELEASE_DATE = "1744675200"  # of MicroPython 1.25.0, 2025-04-15
_STEP_LIMIT_S = 900
_KEEP = 4  # firmware builds; older ones are removed
_LOG_TAIL = 1500

Progress = Callable[[str], object]


class BuildError(RuntimeError):
    """The firmware could not be built; the message says which step failed and ends with its output."""


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
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_STEP_LIMIT_S)
    return os.path.isabs(found.stdout.strip())


def _install(packages: list[str], why: str, progress: Progress) -> None:
    text = f"{why}; on Debian: apt-get install {' '.join(packages)}"
    if not debian.is_debian() or os.geteuid() != 0:
        raise debian.MissingPackages(text)
    progress(f"apt-get update, then install {' '.join(packages)} ...")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        _run(f"apt-get {arguments[0]}", ["apt-get", "-q", *arguments], pathlib.Path.cwd())


def _environment() -> dict[str, str]:
    """Makes the same firmware everywhere: MicroPython would take its version from the repository around it."""
    fixed = {"SOURCE_DATE_EPOCH": _RELEASE_DATE, "GIT_CEILING_DIRECTORIES": str(CACHE), "LC_ALL": "C.UTF-8"}
    return dict(os.environ, DEBIAN_FRONTEND="noninteractive", **fixed)


def _run(what: str, command: Iterable[str | pathlib.Path], folder: pathlib.Path) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_STEP_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{what} failed with exit code {done.returncode}:\n{done.stdout[-_LOG_TAIL:]}")


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _compiler_version() -> str:
    done = subprocess.run(["arm-none-eabi-gcc", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0]


def _sources_name() -> str:
    return "sources-" + _digest(" ".join((*_BINARIES, *_SOURCES)).encode())


def ensure_sources(progress: Progress = print, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """MicroPython's tree with its libraries in lib/ and mpy-cross built, fetched if need be.

    Raises BuildError; its message says what was tried.
    """
    target = cache / _sources_name()
    if target.is_dir():
        return target
    tried = []
    for mirror in debian.debian_mirrors(debian.os_release().get("VERSION_CODENAME", "")):
        try:
            _fetch(mirror, target, progress)
            return target
        except (BuildError, micropython.NoMicroPython, subprocess.SubprocessError, OSError) as error:
            tried.append(str(error))
    raise BuildError(
        "the sources come from Debian's archive, through apt with a Debian mirror in its sources"
        + "".join(f"\ntried: {reason}" for reason in tried)
    )


def _fetch(mirror: debian.Archive, target: pathlib.Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="sources-", dir=target.parent) as folder:
        work = pathlib.Path(folder)
        # i386 is as good as any: what is taken is source, or the same for every architecture.
        micropython._apt_configuration(work, mirror)
        sources = work / "sources"
        line = sources.read_text(encoding="utf-8")
        sources.write_text(line + re.sub("^deb ", "deb-src ", line), encoding="utf-8")
        progress("emulator: reading the index of Debian 13 ...")
        micropython._apt(work, "update")
        progress("emulator: fetching MicroPython, pico-sdk, TinyUSB, lwIP and Mbed TLS (60 MB) ...")
        micropython._apt(work, "download", *_BINARIES)
        micropython._apt(work, "source", "--download-only", *_SOURCES)
        got = work / "debs"
        for package in got.glob("*.deb"):
            _run(f"unpacking {package.name}", ["dpkg-deb", "-x", package, work / "packages"], work)
        tree = work / "micropython"
        _untar(got, "micropython", tree)
        library = tree / "lib"
        for name in ("pico-sdk", "tinyusb"):
            shutil.rmtree(library / name, ignore_errors=True)
            (work / "packages" / "usr" / "src" / name).rename(library / name)
        for name in ("lwip", "mbedtls"):
            shutil.rmtree(library / name, ignore_errors=True)
            _untar(got, name, library / name)
        # The build looks for a submodule's file; the packages that it would bring are not used.
        (library / "micropython-lib").mkdir(exist_ok=True)
        (library / "micropython-lib" / "README.md").touch()
        progress("emulator: building mpy-cross ...")
        _run("building mpy-cross", ["make", "-s", "-C", "mpy-cross", f"-j{os.cpu_count() or 2}"], tree)
        tree.rename(target)


def _untar(folder: pathlib.Path, name: str, target: pathlib.Path) -> None:
    archives = sorted(folder.glob(f"{name}_*.orig.tar.*"))
    if len(archives) != 1:
        raise BuildError(f"{name}: {len(archives)} source archives instead of one")
    target.mkdir()
    _run(f"unpacking {archives[0].name}", ["tar", "xf", archives[0], "--strip-components=1"], target)


def firmware_name(tcp_pcbs: int) -> str:
    """Directory of a build in the cache: everything that goes into it, as a hash. The compiler must be there."""
    board = HERE / "board" / BOARD
    files = [part for path in sorted(board.iterdir()) for part in (path.name.encode(), path.read_bytes())]
    return "firmware-" + _digest(_sources_name().encode(), _compiler_version().encode(), b"%d" % tcp_pcbs, *files)


def ensure_firmware(
    tcp_pcbs: int = OUR_PCBS, progress: Progress = print, cache: pathlib.Path = CACHE
) -> pathlib.Path:
    """Path of firmware.bin for this number of TCP connections, built if need be (a minute or two, once).

    Raises BuildError or debian.MissingPackages.
    """
    if not STOCK_PCBS <= tcp_pcbs <= 64:
        raise ValueError(f"tcp_pcbs {tcp_pcbs} is not one of {STOCK_PCBS}..64")
    ensure_tools(progress)
    target = cache / firmware_name(tcp_pcbs) / "firmware.bin"
    if not target.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "build.lock", "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("emulator: another process builds; waiting for it ...")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_file():
                _build(tcp_pcbs, target.parent, ensure_sources(progress, cache), progress)
                _remove_old(cache, target.parent)
    os.utime(target.parent)  # the last used ones are kept
    return target


def _build(tcp_pcbs: int, target: pathlib.Path, tree: pathlib.Path, progress: Progress) -> None:
    begin = time.monotonic()
    work = target.parent / "work" / f"pcbs-{tcp_pcbs}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    options = [f"-DMICROPY_BOARD={BOARD}", f"-DMICROPY_BOARD_DIR={HERE / 'board' / BOARD}", "-DPICO_NO_PICOTOOL=1"]
    if tcp_pcbs != STOCK_PCBS:
        options.append(f"-DTCP_PCBS={tcp_pcbs}")
    progress(f"emulator: building MicroPython for the RP2040 with {tcp_pcbs} TCP connections ...")
    _run("cmake", ["cmake", "-S", tree / "ports" / "rp2", "-B", work, *options], work)
    _make(work, progress)
    image = work / "firmware.bin"
    _run("objcopy", ["arm-none-eabi-objcopy", "-O", "binary", work / "firmware.elf", image], work)
    fresh = target.with_name(target.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    shutil.copyfile(image, fresh / "firmware.bin")
    shutil.copyfile(work / "firmware.elf", fresh / "firmware.elf")  # for addresses in a fault's message
    fresh.rename(target)
    shutil.rmtree(work)
    progress(f"emulator: {image.name}, built in {time.monotonic() - begin:.0f} s")


def _make(work: pathlib.Path, progress: Progress) -> None:
    """make, with its percentages passed on every ten. Raises BuildError with the end of its log."""
    log = work / "make.log"
    shown = 0
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen(
            ["make", f"-j{os.cpu_count() or 2}"],
            cwd=work,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout  # it is a pipe
        for line in process.stdout:
            file.write(line)
            percent = re.match(r"\[ *(\d+)%\]", line)
            if percent and int(percent[1]) >= shown + 10:
                shown = int(percent[1])
                progress(f"emulator: {shown} %")
    if process.returncode:
        raise BuildError(f"make failed, see {log}:\n{log.read_text(encoding='utf-8')[-_LOG_TAIL:]}")


def _remove_old(cache: pathlib.Path, current: pathlib.Path) -> None:
    builds = sorted(cache.glob("firmware-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in builds[_KEEP:]:
        if path != current:
            shutil.rmtree(path, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Builds MicroPython for the emulated RP2040; prints the image's path.")
    parser.add_argument(
        "--tcp-pcbs",
        type=int,
        default=OUR_PCBS,
        metavar="N",
        help=f"TCP connections of lwIP; default %(default)s, MicroPython's own {STOCK_PCBS}",
    )
    options = parser.parse_args(arguments)
    try:
        print(ensure_firmware(options.tcp_pcbs, lambda text: print(text, file=sys.stderr, flush=True)))
    except (BuildError, ValueError, debian.MissingPackages) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

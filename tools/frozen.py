"""MicroPython for this machine with the firmware frozen into it, 32-bit: tests of memory at native speed.

In:  the firmware's modules and files (tools/build.py, frozen_manifest), Debian's source package of MicroPython
     (tools/sources.py), gcc and make, Debian's C library for i386, unpacked beside the system.
Out: build/frozen/micropython-HASH/micropython, to be run as the interpreter of tools/micropython.py is (-c, a file,
     -X heapsize=64K). What lies in flash on a chip with our image is constants of the program here, and what is in the
     heap is what a chip has there, in objects of the same size. `-m main` starts the firmware. The hash is over all
     that goes in; what is there already is not made again.

The first build takes half a minute on two cores; another firmware takes two seconds, since everything is built in one
directory, build/frozen/work-HASH, and only what was frozen is compiled again. Its file `whole` is gone while a build
runs: after one that failed or was killed, or in a cache that was moved, the next begins anew.

Built as MicroPython's own variant `standard`, but with Mbed TLS and libffi inside and without btree. Symbols stay
in, for profilers. Neither root nor the machine's own 32-bit packages are needed.
"""

import argparse
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

if not __package__:  # run as a program
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from tools import build as device
from tools import debian, micropython, sources, steps
from tools.steps import BuildError

CACHE = device.ROOT / device.FROZEN
_COMMANDS = {"gcc": "gcc", "g++": "g++", "make": "make"}  # g++ brings the headers that building mpy-cross needs
_LIBC = ("libc6", "libc6-dev", "linux-libc-dev", "libgcc-14-dev", "libgcc-s1", "libffi-dev")  # of Debian 13
_LIBRARIES = "usr/lib/i386-linux-gnu"
_RUN_WITH = ("ld-linux.so.2", "libc.so.6", "libm.so.6")
_OPTIONS = (
    "VARIANT=standard",
    "MICROPY_PY_BTREE=0",  # its library is not in Debian's source package
    "LIBFFI_CFLAGS=",
    "LIBFFI_LDFLAGS=-l:libffi.a",
    "CFLAGS_EXTRA=-Wno-error",  # of compilers that are younger than MicroPython
    "STRIP=",
)
_BASE = "$(MPY_DIR)/extmod/asyncio"  # of what the variant's own manifest names, all but micropython-lib
_LIMIT_S = 300
_SHOW_FILES = 50  # compiled between two lines of progress
_KEEP = 8  # builds of 7 MB; older ones are removed
_KEEP_WORK = 2
_WRAPPER = """\
#!/bin/sh
# Made by tools/frozen.py: runs the program with the C library beside it, wherever it lies.
self=$0
[ -L "$self" ] && self=$(readlink -f "$self")
case $self in */*) ;; *) self=./$self ;; esac
here=${self%/*}
exec "$here/ld-linux.so.2" --library-path "$here" "$here/program" "$@"
"""

Progress = Callable[[str], object]


def _first_line(*command: str) -> bytes:
    done = subprocess.run(command, capture_output=True, check=True, timeout=_LIMIT_S, stdin=subprocess.DEVNULL)
    return done.stdout.splitlines()[0]


def _library_name() -> str:
    return "libc-" + steps.digest(" ".join(_LIBC).encode())


def _work_name() -> str:
    """Of the directory where it is built: what builds have in common, as a hash."""
    release = sources.RELEASES[sources.STABLE]
    parts = (release.name, release.epoch, _library_name(), *_OPTIONS)
    return "work-" + steps.digest(_first_line("gcc", "--version"), " ".join(parts).encode())


def _build_name(manifest: str, files: list[pathlib.Path]) -> str:
    """Everything that goes into a build, as a hash; not where the checkout lies."""
    text = manifest.replace(str(device.ROOT), "").encode()
    common = (_work_name().encode(), _WRAPPER.encode())
    return "micropython-" + steps.digest(*common, text, *(path.read_bytes() for path in files))


def ensure(progress: Progress = print, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """The interpreter with the firmware of this checkout, built if need be.

    Raises BuildError, tools.build.BuildError or debian.MissingPackages, which say what would help.
    """
    if platform.machine() not in ("x86_64", "i686", "i386"):
        raise BuildError(f"the firmware within a 32-bit MicroPython needs a PC, and this is {platform.machine()}")
    debian.ensure_packages(_COMMANDS, progress)
    cache = cache.resolve()
    manifest, files = device.frozen_manifest(base=_BASE)
    target = cache / _build_name(manifest, files) / "micropython"
    if not target.is_file():
        with steps.locked(cache / "build.lock", "frozen", progress):
            if not target.is_file():
                tree = sources.ensure(sources.STABLE, progress)
                library = _ensure_library(cache, progress)
                _build(manifest, target, tree, library, progress)
                steps.remove_old(cache, "micropython-*", _KEEP)
                steps.remove_old(cache, "work-*", _KEEP_WORK)
    os.utime(target.parent)  # the last used ones are kept
    return target


def _ensure_library(cache: pathlib.Path, progress: Progress) -> pathlib.Path:
    """A folder with the C library for i386 as it lies under /. Raises BuildError."""
    target = cache / _library_name()
    if target.is_dir():
        return target
    tried = []
    for mirror in micropython.debian_mirrors():
        try:
            _fetch_library(mirror, target, progress)
            return target
        except (BuildError, micropython.NoMicroPython, subprocess.SubprocessError, OSError) as error:
            tried.append(str(error))
    raise BuildError(
        "the C library for i386 comes from Debian's archive, through apt of Debian 12 or later with a Debian mirror in "
        "its sources" + "".join(f"\ntried: {reason}" for reason in tried)
    )


def _fetch_library(mirror: debian.Archive, target: pathlib.Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as folder:
        work = pathlib.Path(folder)
        micropython.configure_apt(work, mirror)
        progress("frozen: reading Debian's index (10 MB) ...")
        micropython.apt_get(work, "update")
        progress(f"frozen: fetching and unpacking {len(_LIBC)} packages of the C library for i386 (10 MB) ...")
        micropython.apt_get(work, "download", *_LIBC)
        fresh = work / "fresh"
        for package in sorted((work / "debs").glob("*.deb")):
            steps.run(f"unpacking {package.name}", ["dpkg-deb", "-x", package, fresh], work)
        if not (fresh / "lib").exists():
            (fresh / "lib").symlink_to("usr/lib")  # Debian's base system has this link, and libc.so names it
        fresh.rename(target)


def _compiler(library: pathlib.Path) -> str:
    """gcc for i386, whatever else it compiles for; its own 32-bit parts need not be installed."""
    (runtime,) = (library / "usr" / "lib" / "gcc" / "i686-linux-gnu").iterdir()
    return f"gcc -m32 --sysroot={library} -B{runtime}/ -B{library / _LIBRARIES}/"


def _build(manifest: str, target: pathlib.Path, tree: pathlib.Path, library: pathlib.Path, progress: Progress) -> None:
    begin = time.monotonic()
    progress("frozen: building MicroPython with the firmware within, 32-bit ...")
    epoch = sources.RELEASES[sources.STABLE].epoch
    work = target.parent.parent / _work_name()
    whole = work / "whole"
    places = f"{work}\n{tree}\n{library}"
    if not whole.exists() or whole.read_text(encoding="utf-8") != places:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    whole.unlink(missing_ok=True)
    (work / "manifest.py").write_text(manifest, encoding="utf-8")
    # MicroPython's build goes by the age of what it compiled, which says nothing when a checkout was changed.
    shutil.rmtree(work / "frozen_mpy", ignore_errors=True)
    options = [*_OPTIONS, f"BUILD={work}", f"FROZEN_MANIFEST={work / 'manifest.py'}", f"CC={_compiler(library)}"]
    command: list[str | pathlib.Path] = ["make", steps.jobs(), "-C", tree / "ports" / "unix", *options]
    steps.make(command, work, epoch, _counted(progress))
    part = target.parent.with_name(target.parent.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    shutil.copyfile(work / "micropython", part / "program")
    for name in _RUN_WITH:
        shutil.copyfile(library / _LIBRARIES / name, part / name)
    (part / target.name).write_text(_WRAPPER, encoding="utf-8")
    for name in ("program", "ld-linux.so.2", target.name):
        (part / name).chmod(0o755)
    try:
        *_version, bits = micropython.probe(part / target.name)
    except micropython.NoMicroPython as error:
        raise BuildError(str(error)) from error
    if bits != 32:
        raise BuildError(f"{part / target.name} is {bits}-bit")
    shutil.rmtree(target.parent, ignore_errors=True)
    part.rename(target.parent)
    whole.write_text(places, encoding="utf-8")
    os.utime(work)
    progress(f"frozen: built in {time.monotonic() - begin:.0f} s")


def _counted(progress: Progress) -> Callable[[str], object]:
    """Says now and then how many files are compiled: MicroPython's make does not know how many there are."""
    count = 0

    def on_line(line: str) -> None:
        nonlocal count
        if line.startswith("CC "):
            count += 1
            if count % _SHOW_FILES == 0:
                progress(f"frozen: {count} files compiled")

    return on_line


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Builds a 32-bit MicroPython for this machine with the firmware frozen into it; prints its path."
    )
    parser.parse_args(arguments)
    try:
        print(ensure(lambda text: print(text, file=sys.stderr, flush=True)))
    except (BuildError, device.BuildError, debian.MissingPackages) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

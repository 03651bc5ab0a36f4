"""The source trees that MicroPython is built from, out of Debian's source packages: for the emulated RP2040
(tools/emulator/build.py), and for this machine with the firmware within (tools/frozen.py).

In:  a release of MicroPython (RELEASES).
Out: build/sources/micropython-HASH: MicroPython's tree with pico-sdk, TinyUSB, lwIP and Mbed TLS in lib/, and mpy-cross
     built. The hash is over the packages' names. Builds write nothing there.

MicroPython and pico-sdk fit each other, so their versions are exact; the others are what Debian 13 has. Release 1.26 is
in Debian's unstable only, which moves on one day: that is said then. apt checks the signatures, the mirror is the
machine's own.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from typing import NamedTuple

from tools import debian, micropython, steps
from tools.steps import BuildError

CACHE = pathlib.Path(__file__).resolve().parent.parent / "build" / "sources"
STABLE = "1.25"  # the release of MicroPython in Debian 13
_SUITE = "trixie"  # Debian 13
_BINARIES = ("pico-sdk-source=2.1.1-1", f"tinyusb-source/{_SUITE}")
_LIBRARIES = (f"lwip/{_SUITE}", f"mbedtls/{_SUITE}")


class Release(NamedTuple):
    """A release of MicroPython: its source package, the suite that has it, and its date."""

    version: str
    suite: str
    epoch: str  # goes into the image as the date of the build

    @property
    def package(self) -> str:
        return f"micropython={self.version}"

    @property
    def name(self) -> str:
        """Of the directory in the cache."""
        return "micropython-" + steps.digest(" ".join((*_BINARIES, self.package, *_LIBRARIES)).encode())


RELEASES = {
    STABLE: Release("1.25.0+ds-1", _SUITE, "1744675200"),  # 2025-04-15
    "1.26": Release("1.26.1+ds-1", "sid", "1757548800"),  # 2025-09-11
}

Progress = Callable[[str], object]


def ensure(release: str, progress: Progress = print, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """The tree of this release, fetched if need be. Raises BuildError; its message says what was tried."""
    wanted = RELEASES[release]
    target = cache.resolve() / wanted.name
    if not target.is_dir():
        with steps.locked(cache / "fetch.lock", "sources", progress):
            if not target.is_dir():
                _remove_old(target.parent)
                _try_all(wanted, target, progress)
    return target


def _try_all(wanted: Release, target: pathlib.Path, progress: Progress) -> None:
    tried = []
    for mirror in debian.debian_mirrors(debian.os_release().get("VERSION_CODENAME", "")):
        try:
            _fetch(wanted, mirror, target, progress)
            return
        except (BuildError, micropython.NoMicroPython, subprocess.SubprocessError, OSError) as error:
            tried.append(_explained(wanted, str(error)))
    raise BuildError(
        "the sources come from Debian's archive, through apt with a Debian mirror in its sources"
        + "".join(f"\ntried: {reason}" for reason in tried)
    )


def _explained(wanted: Release, text: str) -> str:
    if wanted.suite != _SUITE and re.search("version '.*' (of package|for) 'micropython'", text, re.IGNORECASE):
        return (
            f"Debian's unstable release has no micropython {wanted.version} any more: RELEASES in "
            "tools/sources.py could name the one that it has, or build the release that Debian 13 has"
        )
    return text


def _remove_old(cache: pathlib.Path) -> None:
    known = {release.name for release in RELEASES.values()}
    for path in cache.glob("micropython-*"):
        if path.name not in known:
            shutil.rmtree(path, ignore_errors=True)


def _fetch(wanted: Release, mirror: debian.Archive, target: pathlib.Path, progress: Progress) -> None:
    # No name that _remove_old() would take for an old tree.
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as folder:
        work = pathlib.Path(folder)
        micropython.configure_apt(work, mirror, sorted({_SUITE, wanted.suite}), sources=True)
        progress("sources: reading Debian's index ...")
        micropython.apt_get(work, "update")
        progress("sources: fetching MicroPython, pico-sdk, TinyUSB, lwIP and Mbed TLS (60 MB) ...")
        micropython.apt_get(work, "source", "--download-only", wanted.package, *_LIBRARIES)
        micropython.apt_get(work, "download", *_BINARIES)
        tree = _unpack(work)
        progress("sources: building mpy-cross ...")
        # Not optimised, it is built in half the time, and compiles the firmware in a second all the same.
        command = ["make", "-s", "-C", "mpy-cross", "COPT=-O0", steps.jobs()]
        steps.run("building mpy-cross", command, tree, wanted.epoch)
        tree.rename(target)


def _unpack(work: pathlib.Path) -> pathlib.Path:
    got = work / "debs"
    for package in got.glob("*.deb"):
        steps.run(f"unpacking {package.name}", ["dpkg-deb", "-x", package, work / "packages"], work)
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
    return tree


def _untar(folder: pathlib.Path, name: str, target: pathlib.Path) -> None:
    archives = [path for path in folder.glob(f"{name}_*.orig.tar.*") if path.suffix != ".asc"]
    if len(archives) != 1:
        raise BuildError(f"{name}: {len(archives)} source archives instead of one")
    target.mkdir()
    steps.run(f"unpacking {archives[0].name}", ["tar", "xf", archives[0], "--strip-components=1"], target)

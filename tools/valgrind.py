"""Valgrind for the interpreter that tools/micropython.py gives: counts of instructions that are the same on every
machine (Callgrind, Valgrind's manual, chapter 6).

The i386 build of Debian 13 that build/micropython holds needs the Valgrind of its own release (Debian 12's cannot run
it): the i386 package, unpacked into build/valgrind beside the system in the same way. Any other interpreter gets the
`valgrind` on PATH.
"""

import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable

from tools import debian, micropython

CACHE = micropython.ROOT / "build" / "valgrind"
_TOOLS = pathlib.Path("root") / "usr" / "libexec" / "valgrind"
_CALLGRIND = "callgrind-x86-linux"
_UNPACK_LIMIT_S = 300

Progress = Callable[[str], object]


class NoValgrind(RuntimeError):
    """There is none that could run the interpreter; the text says what was tried."""


def _unpack(mirror: debian.Archive, target: pathlib.Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="valgrind-", dir=target.parent) as name:
        work = pathlib.Path(name)
        micropython.configure_apt(work, mirror)
        progress("Valgrind for i386: reading the index, fetching one package (10 MB) ...")
        micropython.apt_get(work, "update")
        micropython.apt_get(work, "download", "valgrind:i386")
        (package,) = (work / "debs").glob("*.deb")
        fresh = work / "fresh"
        fresh.mkdir()
        unpack = ["dpkg-deb", "-x", str(package), str(fresh / "root")]
        subprocess.run(unpack, check=True, timeout=_UNPACK_LIMIT_S)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)


def _ensure_tools(progress: Progress, cache: pathlib.Path) -> pathlib.Path:
    """The folder with Valgrind's tools for i386."""
    folder = cache / _TOOLS
    if (folder / _CALLGRIND).exists():
        return folder
    tried = []
    for mirror in micropython.debian_mirrors():
        try:
            _unpack(mirror, cache, progress)
            return folder
        except (micropython.NoMicroPython, OSError, subprocess.SubprocessError, ValueError) as error:
            tried.append(str(error))
    reasons = "".join(f"\ntried: {text}" for text in tried)
    raise NoValgrind(f"Valgrind for i386 comes from Debian's archive{reasons}")


def callgrind(
    interpreter: pathlib.Path, options: list[str], progress: Progress = print, cache: pathlib.Path = CACHE
) -> tuple[list[str], dict[str, str]]:
    """(command, environment): the interpreter under Callgrind with these options. Raises NoValgrind."""
    root = interpreter.parent / "root"
    if not root.is_dir():
        found = shutil.which("valgrind")
        if found is None:
            raise NoValgrind("valgrind is missing (Debian: apt-get install valgrind)")
        return [found, "--tool=callgrind", *options, str(interpreter)], {}
    tools = _ensure_tools(progress, cache)
    tool = str(tools / _CALLGRIND)
    libraries = root / "usr" / "lib" / "i386-linux-gnu"
    loader = [str(libraries / "ld-linux.so.2"), "--library-path", f"{libraries}:{root / 'usr' / 'lib'}"]
    # What valgrind's own starter sets before it becomes the tool; that starter would need libraries of i386 itself.
    environment = {"VALGRIND_LIB": str(tools), "VALGRIND_LAUNCHER": tool}
    command = [tool, "--tool=callgrind", *options, *loader, str(root / "usr" / "bin" / "micropython")]
    return command, environment

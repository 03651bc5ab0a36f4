"""The real MicroPython interpreter for the tests and the simulator: 32-bit where it can be had, 1.25 or
later.

In this order:
1. $MICROPYTHON, a path or a command.
2. On Debian 12 or later on a PC: the i386 package of Debian 13, unpacked into build/micropython beside the
   system, without root and without touching apt's own configuration. 32-bit, so that objects have the size
   that they have on the chips and `-X heapsize=128K` means what it says. apt checks the signatures; the
   mirror is the machine's own.
3. `micropython` on PATH.

`ensure()` gives the path of something to run; build/micropython may move with the checkout. Each interpreter
is run once before it is believed; a cached one is not run again.
"""

import argparse
import contextlib
import fcntl
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent
if not __package__:  # run as a file: tools/ itself must not be on the path, for its micropython.py would be found
    sys.path[0] = str(ROOT)

from tools import debian  # noqa: E402

CACHE = ROOT / "build" / "micropython"
OLDEST = (1, 25)
_SUITE = "trixie"  # Debian 13, the first release that has MicroPython: 1.25
_PACKAGES = (
    "micropython",
    "libc6",
    "libffi8",
    "libgcc-s1",
    "libmbedcrypto16",
    "libmbedtls21",
    "libmbedx509-7",
)
_APT_LIMIT_S = 300
_RUN_LIMIT_S = 20
_PROBE = "import sys; v = sys.implementation.version; print(v[0], v[1], 32 if sys.maxsize < 2**32 else 64)"
_WRAPPER = """\
#!/bin/sh
# Made by tools/micropython.py: runs the unpacked interpreter with the libraries beside it, wherever it lies.
self=$0
[ -L "$self" ] && self=$(readlink -f "$self")
case $self in */*) ;; *) self=./$self ;; esac
root=${self%/*}/root
lib=$root/usr/lib/i386-linux-gnu
exec "$lib/ld-linux.so.2" --library-path "$lib:$root/usr/lib" "$root/usr/bin/micropython" "$@"
"""

Progress = Callable[[str], object]


class NoMicroPython(RuntimeError):
    """No interpreter could be had; the message says what was tried and what would help."""


def probe(path: pathlib.Path | str) -> tuple[int, int, int]:
    """Runs the interpreter: (major, minor, bits). Raises NoMicroPython when it is not MicroPython 1.25 or
    later."""
    try:
        done = subprocess.run(
            [str(path), "-c", _PROBE],
            capture_output=True,
            text=True,
            timeout=_RUN_LIMIT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoMicroPython(f"{path} cannot be run: {error}") from error
    words = done.stdout.split()
    if done.returncode or len(words) != 3 or not all(word.isdigit() for word in words):
        raise NoMicroPython(f"{path} does not answer as MicroPython: {(done.stderr or done.stdout).strip()[-500:]}")
    major, minor, bits = (int(word) for word in words)
    if (major, minor) < OLDEST:
        raise NoMicroPython(f"{path} is MicroPython {major}.{minor}; {OLDEST[0]}.{OLDEST[1]} or later is needed")
    return major, minor, bits


def configure_apt(
    work: pathlib.Path, mirror: debian.Archive, suites: Iterable[str] = (_SUITE,), sources: bool = False
) -> None:
    """Makes the empty directory `work` a world of its own for apt_get(): packages for i386 (and source packages, with
    `sources`) of these suites of the mirror, and nothing of what the machine's own apt knows or does.

    Raises NoMicroPython when there is no keyring to check signatures with.
    """
    keyring = mirror.keyring or next((str(path) for path in debian.KEYRINGS if path.exists()), None)
    if keyring is None:
        raise NoMicroPython(f"the Debian archive keyring is missing ({debian.KEYRINGS[0]})")
    for folder in ("lists/partial", "cache/archives/partial", "debs"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    kinds = ("deb", "deb-src") if sources else ("deb",)
    lines = [f"{kind} [signed-by={keyring}] {mirror.uri} {suite} main\n" for suite in suites for kind in kinds]
    (work / "sources").write_text("".join(lines), encoding="utf-8")
    # The machine's own ways to the network (proxies, certificates) stay, its hooks and everything else does
    # not.
    dump = subprocess.run(["apt-config", "dump", "--no-empty", "Acquire"], capture_output=True, text=True, check=True)
    lines = [line for line in dump.stdout.splitlines() if "IndexTargets" not in line]
    settings = {
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": "/dev/null",
        "Dir::Etc::sourcelist": work / "sources",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": work,
        "Dir::State::lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
        "APT::Architecture": "i386",
        "APT::Architectures": "i386",
        "APT::Sandbox::User": "root",
    }
    lines += [f'{name} "{value}";' for name, value in settings.items()]
    (work / "apt.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")


def apt_get(work: pathlib.Path, *arguments: str) -> None:
    """Runs apt-get in work/debs, which is where `download` and `source` put what they fetch; configure_apt() was there
    before. Raises NoMicroPython with the end of its output."""
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        cwd=work / "debs",
        env=dict(os.environ, APT_CONFIG=str(work / "apt.conf"), LC_ALL="C.UTF-8"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_APT_LIMIT_S,
        check=False,
    )
    # apt-get update counts a source that it could not reach as a warning and exits 0; the download then
    # fails.
    if done.returncode:
        raise NoMicroPython(f"apt-get {arguments[0]} failed: {done.stdout.strip()[-800:]}")


def _unpack(mirror: debian.Archive, target: pathlib.Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix="micropython-", dir=target.parent) as folder:
        work = pathlib.Path(folder)
        configure_apt(work, mirror)
        progress(f"MicroPython for i386: reading the index of {_SUITE} (10 MB) ...")
        apt_get(work, "update")
        progress("MicroPython for i386: fetching and unpacking 7 packages ...")
        apt_get(work, "download", *(f"{name}:i386" for name in _PACKAGES))
        fresh = work / "fresh"
        fresh.mkdir()
        for deb in sorted((work / "debs").glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(deb), str(fresh / "root")], check=True, timeout=_APT_LIMIT_S)
        wrapper = fresh / "micropython"
        wrapper.write_text(_WRAPPER, encoding="utf-8")
        wrapper.chmod(0o755)
        major, minor, bits = probe(wrapper)
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)
        progress(f"MicroPython {major}.{minor}, {bits}-bit, is in {target}")


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def debian_mirrors() -> list[debian.Archive]:
    """Empty where the private unpacking cannot work: not Debian 12 or later, not a PC, no apt."""
    fields = debian.os_release()
    release = debian.version(fields)
    if release is None or release < 12 or platform.machine() not in ("x86_64", "i686", "i386"):
        return []
    if not all(shutil.which(command) for command in ("apt-get", "apt-config", "dpkg-deb")):
        return []
    return debian.debian_mirrors(fields.get("VERSION_CODENAME", ""))


def ensure(progress: Progress = print, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """The interpreter to run, fetched if need be (about 10 s, once).

    Raises NoMicroPython when there is none; its message says everything that was tried.
    """
    named = os.environ.get("MICROPYTHON")
    if named:
        path = shutil.which(named)
        if path is None:
            raise NoMicroPython(f"MICROPYTHON={named}: no such program; it must be a path or a command on PATH")
        probe(path)
        return pathlib.Path(path).absolute()
    cached = cache / "micropython"
    if cached.exists():  # renamed into place only after it ran
        return cached
    tried = []
    for mirror in debian_mirrors():
        try:
            with _locked(cache.with_name(cache.name + ".lock")):
                if not cached.exists():
                    _unpack(mirror, cache, progress)
            return cached
        except (NoMicroPython, OSError, subprocess.SubprocessError) as error:
            tried.append(str(error))
            progress(f"no MicroPython from Debian's archive: {error}")
    path = shutil.which("micropython")
    if path is not None:
        try:
            probe(path)
            return pathlib.Path(path).absolute()
        except NoMicroPython as error:
            tried.append(str(error))
    raise NoMicroPython(
        "MicroPython 1.25 or later is needed. Debian 13 and later: apt-get install micropython. Elsewhere: "
        "build its unix port and put `micropython` on PATH, or name it in $MICROPYTHON."
        + "".join(f"\ntried: {reason}" for reason in tried)
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Prints the path of a MicroPython interpreter, fetching it if need be."
    )
    parser.add_argument("--verbose", action="store_true", help="say on stderr what is done and found")
    options = parser.parse_args(arguments)

    def progress(text: str) -> None:
        if options.verbose:
            print(text, file=sys.stderr, flush=True)

    try:
        path = ensure(progress)
        print(path)
        if options.verbose:
            progress("MicroPython {}.{}, {}-bit".format(*probe(path)))
    except NoMicroPython as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

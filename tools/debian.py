"""What the host tools know about Debian: which system this is, which archives its apt uses, and how a missing
command comes from a package.

Nothing here changes the system except `ensure_packages` (apt-get install, only as root). `unpack` gives the
files of a package that should not be installed, such as a daemon that would start. The two forms of apt's
sources are read as sources.list(5) gives them: one-line (*.list) and deb822 (*.sources).
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tools import steps

APT = pathlib.Path("/etc/apt")
OS_RELEASE = pathlib.Path("/etc/os-release")
# Debian 13 has both names of its keyring, earlier releases only .gpg.
KEYRINGS = (
    pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    pathlib.Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
CACHE = pathlib.Path(__file__).resolve().parent.parent / "build" / "debian"
_LOCK = CACHE / "apt.lock"  # apt itself does not wait for another apt-get update
_UPDATE_LIMIT_S = 300
_INSTALL_LIMIT_S = 900

Progress = Callable[[str], object]


class MissingPackages(RuntimeError):
    """Commands that are missing and cannot be installed from here; the message says which packages have
    them."""


class Archive(NamedTuple):
    """One line of apt's sources that offers binary packages of `main`: where from, for which suites, signed
    by whom."""

    uri: str
    suites: tuple[str, ...]
    keyring: str | None


def os_release(path: pathlib.Path = OS_RELEASE) -> dict[str, str]:
    """The fields of os-release(5); empty where the file does not exist."""
    if not path.exists():
        return {}
    rows = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, equals, value in rows if equals}


def is_debian() -> bool:
    """Debian itself or a system of its family (ID_LIKE) with apt."""
    fields = os_release()
    family = fields.get("ID", "") + " " + fields.get("ID_LIKE", "")
    return "debian" in family.split() and shutil.which("apt-get") is not None


def version(fields: dict[str, str]) -> int | None:
    """Debian's major release; 99 for testing and sid, which carry no VERSION_ID; None for any other
    system."""
    if fields.get("ID") != "debian":
        return None
    number = fields.get("VERSION_ID", "99").partition(".")[0]
    return int(number) if number.isdigit() else 99


def _one_line(text: str) -> Iterator[Archive]:
    for line in text.splitlines():
        found = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<rest>.+)", line.strip())
        if not found:
            continue
        suite, *components = found["rest"].partition("#")[0].split()
        if "main" in components:
            signed = re.search(r"signed-by=([^\s,]+)", found["options"] or "", re.IGNORECASE)
            yield Archive(found["uri"], (suite,), signed[1] if signed else None)


def _deb822(text: str) -> Iterator[Archive]:
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", kept):
        unfolded = re.sub(r"\n[ \t]+", " ", stanza)
        fields = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in unfolded.splitlines())
            if colon
        }
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false")
        binary = "deb" in fields.get("types", "").split()
        if not (enabled and binary and "main" in fields.get("components", "").split()):
            continue
        # A key can stand in the stanza itself instead of a path; then the installed keyring serves.
        signed = fields.get("signed-by", "")
        keyring = signed if signed.startswith("/") else None
        for uri in fields.get("uris", "").split():
            yield Archive(uri, tuple(fields.get("suites", "").split()), keyring)


def archives(apt: pathlib.Path = APT) -> list[Archive]:
    """What this machine's apt reads, in its order. Files that do not exist are nothing."""
    found: list[Archive] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix not in (".list", ".sources") or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += _deb822(text) if path.suffix == ".sources" else _one_line(text)
    return found


def debian_mirrors(codename: str, apt: pathlib.Path = APT) -> list[Archive]:
    """The archives that carry the release `codename` itself, from which the other releases come as well; not
    its security or update suites, and no vendor's repository. Each mirror once."""
    names = {codename, "stable", "testing", "sid", "unstable", "oldstable"}
    mirrors: dict[str, Archive] = {}
    for archive in archives(apt):
        if names & set(archive.suites) and not archive.uri.startswith(("cdrom:", "file:", "copy:")):
            mirrors.setdefault(archive.uri, archive)
    return list(mirrors.values())


def _run(what: str, command: list[str], limit_s: int, folder: pathlib.Path | None = None) -> None:
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C.UTF-8")
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=limit_s,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        raise MissingPackages(f"{what} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}")


def _missing(commands: dict[str, str]) -> dict[str, str]:
    return {command: package for command, package in commands.items() if shutil.which(command) is None}


def _install(missing: dict[str, str], progress: Progress) -> None:
    """Installs what is missing: nothing when another process has done it meanwhile. Raises MissingPackages."""
    if not missing:
        return
    packages = sorted(set(missing.values()))
    wanted = f"{', '.join(sorted(missing))} missing; on Debian: apt-get install {' '.join(packages)}"
    if not is_debian():
        raise MissingPackages(wanted)
    if os.geteuid() != 0:
        raise MissingPackages(f"{wanted} (as root)")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    progress(f"apt-get update, then install {' '.join(packages)} ...")
    _run("apt-get update", ["apt-get", "update", "-q"], _UPDATE_LIMIT_S)
    _run(" ".join(install), install, _INSTALL_LIMIT_S)
    still = sorted(_missing(missing))
    if still:
        raise MissingPackages(f"{', '.join(still)} still missing after installing {' '.join(packages)}")


def ensure_packages(commands: dict[str, str], progress: Progress = print) -> dict[str, str]:
    """Makes sure that each command (key) can be run, installing its Debian package (value) where this is
    Debian and we are root. Returns the path of each command.

    Raises MissingPackages, which names the packages, where that cannot be done.
    """
    if _missing(commands):
        with steps.locked(_LOCK, "apt", progress):
            _install(_missing(commands), progress)
    return {command: shutil.which(command) or command for command in commands}


def unpack(package: str, progress: Progress = print, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """A directory with the files of a Debian package as they would lie under /, fetched by this machine's apt but not
    installed; it stays for the next time. What the package depends on must be there already.

    Raises MissingPackages where that cannot be done.
    """
    target = cache / package
    if not target.is_dir():
        if not is_debian():
            raise MissingPackages(f"{package} comes from Debian's package of that name, and this is not Debian")
        with steps.locked(_LOCK, "apt", progress):
            if not target.is_dir():
                _unpack(package, target, progress)
    return target


def _unpack(package: str, target: pathlib.Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{package}-", dir=target.parent) as folder:
        work = pathlib.Path(folder)
        progress(f"apt-get download {package} ...")
        fetch = ["apt-get", "-q", "download", package]
        try:
            _run(" ".join(fetch), fetch, _INSTALL_LIMIT_S, work)
        except MissingPackages:
            if os.geteuid() != 0:
                raise
            # Its lists may be missing, or too old for what the archive has now.
            _run("apt-get update", ["apt-get", "update", "-q"], _UPDATE_LIMIT_S)
            _run(" ".join(fetch), fetch, _INSTALL_LIMIT_S, work)
        (archive,) = work.glob("*.deb")
        _run(f"unpacking {archive.name}", ["dpkg-deb", "-x", str(archive), str(work / "files")], _INSTALL_LIMIT_S)
        (work / "files").rename(target)

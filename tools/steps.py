"""What the builds of MicroPython have in common (tools/emulator, tools/frozen.py): steps that are run and whose
failures are told, content hashes, caches that several processes use."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator

_LIMIT_S = 900
_LOG_TAIL = 1500

Command = Iterable[str | pathlib.Path]
Progress = Callable[[str], object]


class BuildError(RuntimeError):
    """The firmware could not be built; the message says which step failed and ends with its output."""


def digest(*parts: bytes) -> str:
    """A short name for exactly these parts."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()[:16]


def _environment(folder: pathlib.Path, epoch: str) -> dict[str, str]:
    """Makes the same firmware everywhere: MicroPython would take its version from the repository around it, and the
    order of two names of one pin from Python's random hashes."""
    fixed = {"GIT_CEILING_DIRECTORIES": str(folder.resolve().parent), "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
    return dict(os.environ, DEBIAN_FRONTEND="noninteractive", SOURCE_DATE_EPOCH=epoch, **fixed)


def run(what: str, command: Command, folder: pathlib.Path, epoch: str = "0") -> None:
    """Runs a command there. Raises BuildError, with `what` and the end of its output."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=_environment(folder, epoch),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{what} failed with exit code {done.returncode}:\n{done.stdout[-_LOG_TAIL:]}")


def make(command: Command, folder: pathlib.Path, epoch: str, on_line: Callable[[str], object]) -> None:
    """Runs a long command there, with each line of its output given to on_line() and written to make.log beside. Raises
    BuildError with the end of its log."""
    log = folder / "make.log"
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=_environment(folder, epoch),
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
            on_line(line)
    if process.returncode:
        raise BuildError(f"make failed, see {log}:\n{log.read_text(encoding='utf-8')[-_LOG_TAIL:]}")


def jobs() -> str:
    """The option of make for this machine."""
    return f"-j{os.cpu_count() or 2}"


@contextlib.contextmanager
def locked(path: pathlib.Path, who: str, progress: Progress) -> Iterator[None]:
    """One process at a time; the others wait, and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"{who}: another process is at it; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_old(cache: pathlib.Path, pattern: str, keep: int) -> None:
    """Removes all but the last used of these folders (a build touches the one that it uses)."""
    ages = []
    for path in cache.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # another process removes it just now
            ages.append((path.stat().st_mtime, path))
    for _age, path in sorted(ages, reverse=True)[keep:]:
        shutil.rmtree(path, ignore_errors=True)

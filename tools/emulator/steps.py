"""What the builds of tools/emulator have in common: steps that are run and whose failures are told, content hashes."""

import hashlib
import os
import pathlib
import re
import subprocess
from collections.abc import Callable, Iterable

_LIMIT_S = 900
_LOG_TAIL = 1500

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


def run(what: str, command: Iterable[str | pathlib.Path], folder: pathlib.Path, epoch: str = "0") -> None:
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


def make(folder: pathlib.Path, epoch: str, progress: Progress) -> None:
    """make, with its percentages passed on every ten. Raises BuildError with the end of its log."""
    log = folder / "make.log"
    shown = 0
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen(
            ["make", f"-j{os.cpu_count() or 2}"],
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
            percent = re.match(r"\[ *(\d+)%\]", line)
            if percent and int(percent[1]) >= shown + 10:
                shown = int(percent[1])
                progress(f"emulator: {shown} %")
    if process.returncode:
        raise BuildError(f"make failed, see {log}:\n{log.read_text(encoding='utf-8')[-_LOG_TAIL:]}")

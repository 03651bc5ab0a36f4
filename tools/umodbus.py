"""Fetches micropython-modbus 2.3.7, the library that the baselines compare with, into lib/umodbus
(git-ignored).

The source archive on the package index carries no build files, so pip fetches and verifies it (by the hash
below) and then gives up on it. That is enough: --no-clean leaves the unpacked tree. What is taken from there
is verified again, file by file.
"""

import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "lib" / "umodbus"
ARCHIVE_SHA256 = "b9351a66af0ff29dd585900e53827a989dedcb02ec63b1041358165089652271"
# Over the names and contents of the package's files, sorted by name.
TREE_SHA256 = "27f7d9213ff5a2454e93084fa5bd04d40798881ff255cfa42f2bb337a57b826d"

_PIP_LIMIT_S = 180

Progress = Callable[[str], object]


class FetchError(RuntimeError):
    """The package could not be had, or is not the one that is pinned."""


def digest(folder: pathlib.Path) -> str:
    """SHA-256 over every file below the folder: name, length, content; caches of the interpreter apart."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        total.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        total.update(content)
    return total.hexdigest()


def _download(folder: pathlib.Path) -> str:
    """Has pip download the archive, everything below `folder`. What pip said, whether it succeeded or not."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"micropython-modbus==2.3.7 --hash=sha256:{ARCHIVE_SHA256}\n", encoding="utf-8")
    pip = [sys.executable, "-I", "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"]
    what = ["--no-deps", "--require-hashes", "--no-binary", ":all:", "--no-clean", "--dest", str(folder / "files")]
    done = subprocess.run(
        [*pip, *what, "-r", str(requirement)],
        env=dict(os.environ, TMPDIR=str(folder)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_PIP_LIMIT_S,
        check=False,
    )
    return done.stdout.strip()[-800:]


def ensure(progress: Progress = print, target: pathlib.Path = TARGET) -> pathlib.Path:
    """The folder with the package `umodbus`, fetched if it is not there. Raises FetchError."""
    if target.is_dir() and digest(target) == TREE_SHA256:
        return target
    progress("fetching micropython-modbus 2.3.7 ...")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="umodbus-") as name:
        folder = pathlib.Path(name)
        said = _download(folder)
        found = [path for path in folder.rglob("umodbus") if path.is_dir()]
        if not found:
            raise FetchError(f"pip did not bring micropython-modbus 2.3.7: {said}")
        if digest(found[0]) != TREE_SHA256:
            raise FetchError(f"micropython-modbus 2.3.7 is not what is pinned: {digest(found[0])}")
        fresh = target.with_name(f".umodbus-{os.getpid()}")
        shutil.copytree(found[0], fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    return target


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fetches umodbus into lib/umodbus and prints where it is.")
    parser.parse_args(arguments)
    try:
        print(ensure(lambda text: print(text, file=sys.stderr, flush=True)))
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

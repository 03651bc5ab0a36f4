"""Fetches microdot 2.7.0, the web server that the benchmark compares with, into build/microdot (git-ignored).

pip fetches the wheel and verifies it by the hash below; two of its modules are taken, which is all of it that a server
needs.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "microdot"
VERSION = "2.7.0"
WHEEL_SHA256 = "1e9b7b825372e1ba8ebd4c59b6180e15c71f4b5200ec4bcbf8c9f9b5652db379"
FILES = ("microdot/__init__.py", "microdot/microdot.py")
_PIP_LIMIT_S = 180

Progress = Callable[[str], object]


class FetchError(RuntimeError):
    """The package could not be had, or is not the one that is pinned."""


def ensure(progress: Progress = print, target: pathlib.Path = TARGET) -> pathlib.Path:
    """The folder that holds the package `microdot`, fetched if it is not there. Raises FetchError."""
    mark = target / "wheel.sha256"  # written last
    if mark.is_file() and mark.read_text(encoding="utf-8") == WHEEL_SHA256:
        return target
    progress(f"fetching microdot {VERSION} ...")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="microdot-", dir=target.parent) as name:
        folder = pathlib.Path(name)
        requirement = f"microdot=={VERSION} --hash=sha256:{WHEEL_SHA256}\n"
        (folder / "requirement.txt").write_text(requirement, encoding="utf-8")
        pip = [sys.executable, "-I", "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"]
        what = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", "requirement.txt"]
        done = subprocess.run(
            [*pip, *what, "--dest", "."],
            env=dict(os.environ, TMPDIR=str(folder)),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PIP_LIMIT_S,
            check=False,
        )
        wheels = list(folder.glob("microdot-*.whl"))
        if done.returncode or len(wheels) != 1:
            raise FetchError(f"pip did not bring microdot {VERSION}: {done.stdout.strip()[-800:]}")
        fresh = folder / "fresh"
        with zipfile.ZipFile(wheels[0]) as wheel:
            for file in FILES:
                wheel.extract(file, fresh)
        (fresh / mark.name).write_text(WHEEL_SHA256, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    return target


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fetches microdot into build/microdot and prints where it is.")
    parser.parse_args(arguments)
    try:
        print(ensure(lambda text: print(text, file=sys.stderr, flush=True)))
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Fetches microdot 2.7.0, the web server that the benchmark compares with, into build/microdot (git-ignored).

pip fetches the wheel and verifies it by the hash below; two of its modules are taken, which is all of it that a server
needs.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable

from tools import pip_download
from tools.pip_download import FetchError

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "microdot"
VERSION = "2.7.0"
WHEEL_SHA256 = "1e9b7b825372e1ba8ebd4c59b6180e15c71f4b5200ec4bcbf8c9f9b5652db379"
FILES = ("microdot/__init__.py", "microdot/microdot.py")

Progress = Callable[[str], object]


def ensure(progress: Progress = print, target: pathlib.Path = TARGET) -> pathlib.Path:
    """The folder that holds the package `microdot`, fetched if it is not there. Raises FetchError."""
    mark = target / "wheel.sha256"  # written last
    if mark.is_file() and mark.read_text(encoding="utf-8") == WHEEL_SHA256:
        return target
    progress(f"fetching microdot {VERSION} ...")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="microdot-", dir=target.parent) as name:
        folder = pathlib.Path(name)
        options = ["--only-binary", ":all:", "--dest", "."]
        said = pip_download.download(f"microdot=={VERSION}", WHEEL_SHA256, options, folder)
        wheels = list(folder.glob("microdot-*.whl"))
        if len(wheels) != 1:
            raise FetchError(f"pip did not bring microdot {VERSION}: {said}")
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

"""One package of the package index, fetched by pip and verified by its hash."""

import os
import pathlib
import subprocess
import sys

_LIMIT_S = 180


class FetchError(RuntimeError):
    """The package could not be had, or is not the one that is pinned."""


def download(requirement: str, sha256: str, options: list[str], folder: pathlib.Path) -> str:
    """Has pip download `requirement` (name==version) with these further options, everything below `folder`. What pip
    said, whether it succeeded or not: an archive without build files is fetched and verified, and then given up on."""
    (folder / "requirement.txt").write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    pip = [sys.executable, "-I", "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "-r", "requirement.txt", *options],
        env=dict(os.environ, TMPDIR=str(folder)),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=_LIMIT_S,
        check=False,
    )
    return done.stdout.strip()[-800:]

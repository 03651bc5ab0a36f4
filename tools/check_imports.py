"""Checks who may import whom in the device tree, and a few habits that no linter knows.

In: the tree's root. Out: findings as path:line: text; exit code 1 when there are any. The table LAYERS below
is the rule; to change the architecture, change the table. Every import counts, those inside functions too, but for
those below `if _TYPING:`, which only a type checker sees.
What the check cannot follow (relative imports, __import__, importlib) is a finding itself.

Written by hand because import-linter (2.16) knows which imports are forbidden, not which ones alone are allowed: a
codec that imports a socket, a service that imports a clock. It wants packages, too, and lib/ has modules.

`from firmware.net import seam` counts as firmware.net.seam where that is a module of the tree, else as
firmware.net.
"""

import argparse
import ast
import pathlib
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeGuard

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Each may import those before it: "downward".
CODECS = (
    "ntp",
    "dns",
    "mdns",
    "improv",
    "http1",
    "scram",
    "ed25519",
    "strict_json",
    "segment",
    "iso8601",
    "modbus",
    "bacnet",
    "http_client",
    "line_protocol",
    "acquisuite",
    "template",
    "mqtt",
    "sparkplug",
)
CORE = ("resources", "events", "meters", "config", "history")

ANYWHERE = ("gc", "micropython")
_CODECS = tuple(CODECS)
_CORE_MODULES = ("array", "collections", "errno", "hashlib", "io", "json", "os", "struct")
_CORE = tuple(f"firmware.{name}" for name in CORE)
# "=firmware" is what firmware/__init__.py says of itself: the version.
_INTERFACES = (
    "=firmware",
    "firmware.crash",
    "firmware.trees",
    "firmware.update",
    "=firmware.bus",
    "firmware.bus.interface",
    "firmware.net",
    "=firmware.services",
)
_NET = ("asyncio", "dns", "errno", "firmware.events", "firmware.net", "select", "socket", "struct", "time")


class Layer(NamedTuple):
    """A row of the table. `files` are patterns of paths, the first row that matches counts. `allowed` are
    modules with all that lies below them; "=module" is that module alone, "*" whatever is not of this
    repository, "{lower}" what the file's place in CODECS or CORE allows, "{own}" the file's own package."""

    name: str
    files: tuple[str, ...]
    allowed: tuple[str, ...]
    denied: tuple[str, ...] = ()


LAYERS = (
    Layer("boot", ("boot.py",), ("*",)),
    Layer("main", ("main.py",), ("firmware.app", "firmware.board", "gc", "image_id", "machine", "os", "sys")),
    Layer("lib codecs", ("lib/*",), ("array", "binascii", "collections", "hashlib", "struct", "{lower}", "{own}")),
    Layer(
        "core",
        tuple(f"firmware/{name}{kind}" for name in CORE for kind in (".py", "/*")),
        (*_CODECS, *_CORE_MODULES, "firmware._frozen_files", "{lower}"),
    ),
    Layer(
        "net on CPython",
        ("firmware/net/seam_cpython.py", "firmware/net/tls_cpython.py"),
        ("*", "firmware.events", "firmware.net"),
    ),
    Layer("TLS", ("firmware/net/tls*.py",), (*_NET, "binascii", "hashlib", "io", "os", "sys", "tls")),
    Layer("net seam", ("firmware/net/seam*.py",), (*_NET, "io", "sys")),
    Layer("net", ("firmware/net/*",), _NET),
    Layer(
        "bus",
        ("firmware/bus/*",),
        (*_CODECS, *_CORE, "array", "asyncio", "firmware.bus", "firmware.net.seam", "json", "os", "struct"),
    ),
    Layer(
        "services",
        ("firmware/services/*",),
        (*_CODECS, *_CORE, *_INTERFACES, "array", "asyncio", "errno", "hashlib", "json", "os", "struct", "{own}"),
    ),
    Layer(
        "set-up",
        ("firmware/setup/*",),
        (*_CODECS, *_CORE, *_INTERFACES, "firmware.services.http", "hashlib", "json", "{own}", "firmware.setup"),
    ),
    Layer("board", ("firmware/board/*",), ("*", "firmware.board")),
    Layer(
        "app",
        (
            "firmware/app.py",
            "firmware/supervisor.py",
            "firmware/device.py",
            "firmware/crash.py",
            "firmware/erase.py",
            "firmware/trees.py",
            "firmware/update.py",
        ),
        ("*", *_CODECS, "firmware"),
        ("firmware.board",),
    ),
    Layer("repl_tools", ("firmware/repl_tools.py",), ("firmware",)),
    Layer("package", ("firmware/__init__.py",), ()),
)

# Habits. Where each may be, as patterns of paths; everywhere else it is a finding.
WHICH_PYTHON = ("firmware/net/seam*.py", "firmware/net/tls.py", "firmware/board/*")  # sys.implementation, sys.platform
PRINT = (
    "firmware/crash.py", "firmware/events.py", "firmware/repl_tools.py", "firmware/setup/setup.py", "firmware/board/*",
    "boot.py", "main.py",
)  # fmt: skip
TYPING = "_TYPING"  # guards the imports that only annotations need; const(0), which a compiler leaves out
_THIRD_PARTY = ("lib/umodbus/",)


class Finding(NamedTuple):
    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


def device_files(root: pathlib.Path) -> list[str]:
    """The device's modules, relative to the root; third-party ones apart."""
    found = [name for name in ("boot.py", "main.py") if (root / name).is_file()]
    for tree in ("firmware", "lib"):
        found += sorted(path.relative_to(root).as_posix() for path in (root / tree).rglob("*.py"))
    return [name for name in found if "__pycache__" not in name and not name.startswith(_THIRD_PARTY)]


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(path, pattern) for pattern in patterns)


def layer_of(path: str) -> Layer | None:
    return next((layer for layer in LAYERS if _matches(path, layer.files)), None)


def _module(path: str) -> str:
    """firmware/net/seam.py -> firmware.net.seam; lib/modbus/crc.py -> modbus.crc; a package for its
    __init__.py."""
    dotted = path.removeprefix("lib/").removesuffix(".py").replace("/", ".")
    return dotted.removesuffix(".__init__")


def _below(module: str, top: str) -> bool:
    return module == top or module.startswith(top + ".")


def _lower(path: str) -> tuple[str, ...]:
    parts = _module(path).split(".")
    if path.startswith("lib/"):
        return CODECS[: CODECS.index(parts[0])] if parts[0] in CODECS else ()
    return tuple(f"firmware.{name}" for name in CORE[: CORE.index(parts[1]) + 1])  # of a package its own files, too


def _own(path: str) -> tuple[str, ...]:
    parts = _module(path).split(".")
    if path.startswith("lib/"):
        return (parts[0],)
    # firmware/services/ntp/client.py belongs to the service firmware.services.ntp;
    # firmware/services/__init__.py to none
    return (".".join(parts[:3]),) if len(parts) > 2 else ()


def allowed_for(path: str, layer: Layer) -> tuple[str, ...]:
    """The layer's row with what its placeholders mean for this file."""
    meanings = {"{lower}": _lower, "{own}": _own}
    return tuple(name for entry in layer.allowed for name in (meanings[entry](path) if entry in meanings else (entry,)))


def _permitted(module: str, allowed: tuple[str, ...], denied: tuple[str, ...], local: set[str]) -> bool:
    if any(_below(module, top) for top in denied):
        return False
    if any(_below(module, top) for top in ANYWHERE):
        return True
    for entry in allowed:
        if entry == "*":
            if module.partition(".")[0] not in local:
                return True
        elif entry.startswith("="):
            if module == entry[1:]:
                return True
        elif _below(module, entry):
            return True
    return False


def _is_call(node: ast.AST, name: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _names_file(call: ast.Call) -> bool:
    """print(..., file=somewhere) does not go to the console."""
    return any(keyword.arg == "file" for keyword in call.keywords)


def _seen_by_type_checkers(tree: ast.AST) -> set[ast.AST]:
    """What lies below `if _TYPING:`."""
    guards = (node for node in ast.walk(tree) if isinstance(node, ast.If))
    bodies = [
        statement
        for guard in guards
        if isinstance(guard.test, ast.Name) and guard.test.id == TYPING
        for statement in guard.body
    ]
    return {node for statement in bodies for node in ast.walk(statement)}


def _imports(tree: ast.AST, modules: set[str]) -> Iterator[tuple[int, str | None, str]]:
    """(line, module, statement) for each import; the module is None where it cannot be told."""
    for node in set(ast.walk(tree)) - _seen_by_type_checkers(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, f"import {alias.name}"
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, None, "a relative import; say it in full"
                continue
            base = node.module or ""
            names = {f"{base}.{alias.name}" for alias in node.names}
            targets = {name if name in modules else base for name in names}
            for target in sorted(targets):
                yield node.lineno, target, f"from {base} import"
        elif _is_call(node, "__import__"):
            yield node.lineno, None, "__import__(), which this check cannot follow; use an import statement"


def _import_findings(path: str, tree: ast.AST, modules: set[str]) -> Iterator[Finding]:
    layer = layer_of(path)
    if layer is None:
        yield Finding(path, 1, "belongs to no layer; add it to LAYERS in tools/check_imports.py")
        return
    if layer.name == "lib codecs" and _own(path)[0] not in CODECS:
        yield Finding(path, 1, "not in the order of codecs; add it to CODECS in tools/check_imports.py")
    allowed = allowed_for(path, layer)
    local = {module.partition(".")[0] for module in modules}
    for line, module, statement in _imports(tree, modules):
        if module is None or module.partition(".")[0] == "importlib":
            text = statement if module is None else "importlib, which this check cannot follow"
            yield Finding(path, line, text)
        elif not _permitted(module, allowed, layer.denied, local):
            but = f" but {', '.join(layer.denied)}" if layer.denied else ""
            names = ", ".join(sorted({*allowed, *ANYWHERE})) + but
            yield Finding(path, line, f"layer '{layer.name}' may not import '{module}' (allowed: {names})")


def _swallows(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException") for kind in kinds)
    nothing = all(
        isinstance(statement, ast.Pass)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in handler.body
    )
    return broad and nothing


def _habit_findings(path: str, tree: ast.AST) -> Iterator[Finding]:
    which = ("implementation", "platform")
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield Finding(path, node.lineno, "bare except: name the exceptions")
            elif _swallows(node):
                yield Finding(path, node.lineno, "except Exception: pass hides every mistake; name it or log it")
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "sys":
            if node.attr in which and not _matches(path, WHICH_PYTHON):
                yield Finding(path, node.lineno, f"sys.{node.attr} outside {' and '.join(WHICH_PYTHON)}")
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            for alias in node.names:
                if alias.name in which and not _matches(path, WHICH_PYTHON):
                    yield Finding(path, node.lineno, f"sys.{alias.name} outside {' and '.join(WHICH_PYTHON)}")
        elif isinstance(node, ast.Assign) and any(getattr(target, "id", None) == TYPING for target in node.targets):
            if ast.unparse(node.value) != "const(0)":
                yield Finding(path, node.lineno, f"{TYPING} is const(0), so that MicroPython leaves its block out")
        elif _is_call(node, "print") and not _names_file(node) and not _matches(path, PRINT):
            yield Finding(path, node.lineno, f"print() outside {', '.join(PRINT)}; log an event")


def check(root: pathlib.Path = ROOT) -> tuple[int, list[Finding]]:
    """Checks the tree below `root`: (number of files, findings in the order of files and lines)."""
    files = device_files(root)
    modules = {_module(name) for name in files}
    # Packages without __init__.py are packages too.
    modules |= {module.rpartition(".")[0] for module in modules if "." in module}
    findings: list[Finding] = []
    for name in files:
        try:
            tree = ast.parse((root / name).read_text(encoding="utf-8"), name)
        except SyntaxError as error:
            findings.append(Finding(name, error.lineno or 1, f"does not parse: {error.msg}"))
            continue
        findings += sorted({*_import_findings(name, tree, modules), *_habit_findings(name, tree)})
    return len(files), findings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks who may import whom in the device tree.")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the tree (default: this repository)")
    options = parser.parse_args(arguments)
    number, findings = check(options.root)
    for finding in findings:
        print(finding)
    if number == 0:
        print(f"{options.root}: no device files there", file=sys.stderr)
        return 1
    print(f"import rules: {number} files, {len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

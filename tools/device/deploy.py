"""Deploy: the board's files made equal to build/device (make deploy).

Sizes and SHA-256 sums on the board are compared with the tree; what differs is copied, what the build no longer has
under /firmware and /lib is removed, the board is looked at again and reset. What an update over the network has brought
(/tree), which would run in place of the build, is removed first. Nothing else is touched, so /data with the
configuration stays. A deploy that broke off is taken up by the next one.
"""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from firmware import VERSION
from tools import build
from tools.device import versions
from tools.device.port import DeviceError, call, mpremote, show

INVENTORY = Path(__file__).with_name("inventory.py")

TREES = ("/firmware", "/lib")
UPDATES = "/tree"  # docs/reference/update.md; with TREES the only places where files are removed
_USE = "/tree/use"  # without it what lies in UPDATES does not run
DATA = "/data"  # made, and never looked into by deploy
STARTERS = ("/boot.py", "/main.py")  # copied last: a half-copied firmware is not started by a new main.py
_WHOLE = "/firmware/__init__."  # removed first and copied last but STARTERS: without it the firmware of an image runs
_FILES_A_CALL = 12  # copied by one call of mpremote, so that something is seen to happen
_LOOKS = 3  # attempts to reach a board that may be restarting
_BLOCK = 4096  # littlefs gives a file whole blocks
_HEAP_MIN = 320 * 1024  # bytes: with 250 KiB NTP and finder do not start, with 225 KiB the page does not either


@dataclass(frozen=True)
class Inventory:
    """What lies on the board: {path: (size, SHA-256 in hex)}, directories, free bytes; the firmware's version; bytes of
    its heap."""

    files: dict
    directories: tuple
    free: int
    version: tuple | None = None
    heap: int | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order."""

    remove: tuple
    rmdir: tuple
    mkdir: tuple
    copy: tuple

    def __bool__(self):
        return bool(self.remove or self.rmdir or self.mkdir or self.copy)


def parse_inventory(text):
    """The Inventory in the output of inventory.py. Raises DeviceError when it is not whole."""
    files, directories, free, version, heap = {}, [], None, None, None
    lines = [line.strip() for line in text.splitlines()]
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "F" and rest.count(" ") >= 2:
            size, digest, path = rest.split(" ", 2)
            files[path] = (int(size), digest)
        elif kind == "D":
            directories.append(rest)
        elif kind == "S":
            free = int(rest)
        elif kind == "V":
            version = tuple(int(number) for number in rest.split())
        elif kind == "H":
            heap = int(rest)
    if free is None or "end" not in lines:
        raise DeviceError(f"the board did not tell what it holds, but:\n{text.strip() or '(nothing)'}")
    return Inventory(files, tuple(directories), free, version, heap)


def local_files(tree):
    """{path on the board: (size, SHA-256 in hex)} of a built tree. Raises DeviceError."""
    files = {}
    for path in sorted(Path(tree).rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            files["/" + path.relative_to(tree).as_posix()] = (len(data), hashlib.sha256(data).hexdigest())
    for name in files:
        if name not in STARTERS and not name.startswith(tuple(f"{top}/" for top in TREES)):
            raise DeviceError(f"{name} in {tree} is not for a board: only {', '.join(STARTERS + TREES)} are")
    missing = [path for path in STARTERS if path not in files]
    if missing:
        raise DeviceError(f"{tree} has no {' and no '.join(missing)}: it is not a built firmware")
    return files


def make_plan(wanted, board):
    """The Plan that makes the board hold the files `wanted`, and a folder for its configuration. Nothing outside TREES
    and UPDATES is ever removed."""
    directories = {str(parent) for path in wanted for parent in Path(path).parents if str(parent) != "/"}
    directories.add(DATA)
    changed = [path for path in wanted if board.files.get(path) != wanted[path]]
    places = tuple(f"{top}/" for top in (*TREES, UPDATES))
    stale = [path for path in board.files if path not in wanted and path.startswith(places)]
    marks = [path for path in wanted if path.startswith(_WHOLE)]
    if changed or stale:
        stale += [path for path in marks if path in board.files]
        changed = [path for path in changed if path not in marks] + marks
    return Plan(
        remove=tuple(sorted(stale, key=lambda path: (path != _USE, not path.startswith(_WHOLE), path))),
        rmdir=tuple(sorted((d for d in board.directories if d not in directories and d not in TREES), reverse=True)),
        mkdir=tuple(sorted(directories - set(board.directories))),
        copy=tuple(sorted(changed, key=lambda path: (path in STARTERS, path.startswith(_WHOLE), path))),
    )


def plan_commands(plan, port, tree):
    """The mpremote commands of a plan."""
    commands = []
    for operation, paths in (("rm", plan.remove), ("rmdir", plan.rmdir), ("mkdir", plan.mkdir)):
        for paths_of_call in _batches(paths):
            words = [["+", operation, f":{path}"] for path in paths_of_call]
            commands.append(mpremote(port, "resume", *sum(words, [])[1:]))
    for paths_of_call in _batches(plan.copy):
        words = [["+", "cp", "--force", Path(tree) / path[1:], f":{path}"] for path in paths_of_call]
        commands.append(mpremote(port, "resume", *sum(words, [])[1:]))
    return commands


def _batches(paths):
    return [paths[index : index + _FILES_A_CALL] for index in range(0, len(paths), _FILES_A_CALL)]


def check_space(plan, wanted, board):
    """Raises DeviceError when the files will not fit."""

    def blocks(paths, sizes):
        return sum(-(-sizes[path][0] // _BLOCK) * _BLOCK for path in paths if path in sizes)

    # littlefs gives a folder two blocks (its metadata pair).
    folders = 2 * _BLOCK * (len(plan.mkdir) - len(plan.rmdir))
    needed = blocks(plan.copy, wanted) - blocks({*plan.copy, *plan.remove}, board.files) + folders
    if needed > max(board.free, 0):  # littlefs may count a block twice
        raise DeviceError(f"the firmware needs {needed:,} more bytes on the board, and {board.free:,} are free")


def check_heap(board):
    """Raises DeviceError when the firmware as files would not run whole in the board's heap."""
    if board.heap is not None and board.heap < _HEAP_MIN:
        raise DeviceError(
            f"the board has {board.heap:,} bytes of heap, and the firmware as files takes {_HEAP_MIN:,}: its page "
            "would not start. Flash an image, which has the firmware within: make image, make flash IMAGE=..."
        )


def deploy(port, tree=build.OUT, reset=True, dry_run=False, source=False, may_be_older=False, say=print):
    """Builds, makes the board hold the build, resets it. Raises DeviceError,
    UsageError, build.BuildError."""
    if dry_run and Path(tree).is_dir():
        say(f"would bring {os.path.relpath(tree)} up to date first")
    else:
        say(f"{os.path.relpath(tree)}: {build.build(tree, source, say)}")
    wanted = local_files(tree)
    look = mpremote(port, "run", INVENTORY)
    if dry_run:
        say("would look at what the board holds, then, for what it does not hold already:")
        everything = make_plan(wanted, Inventory({}, (), 0))
        commands = [look, *plan_commands(everything, port, tree), look]
        for command in [*commands, mpremote(port, "resume", "reset")] if reset else commands:
            say(f"  {show(command)}")
        return

    say(f"looking at what the board at {port} holds (a running firmware is interrupted)")
    with versions.started_again_on_failure(port, say):
        board = _look(look, say)
        check_heap(board)
        versions.check(board.version, VERSION, may_be_older, say)
        plan = make_plan(wanted, board)
        check_space(plan, wanted, board)
    size = sum(wanted[path][0] for path in plan.copy)
    say(f"{len(plan.copy)} of {len(wanted)} files to copy ({size:,} bytes), {len(plan.remove)} to remove")
    if _USE in plan.remove:
        say(f"  removes {UPDATES}: the firmware that an update has brought, which runs until now")
    for path in plan.remove:
        if not path.startswith(UPDATES):
            say(f"  removes {path}")
    begun, commands = time.monotonic(), plan_commands(plan, port, tree)
    for number, command in enumerate(commands, 1):
        say(f"step {number} of {len(commands)}")
        call(command)
    if plan:
        left = make_plan(wanted, _look(look, say))
        if left:
            names = ", ".join([*left.copy, *left.remove, *left.mkdir, *left.rmdir])
            raise DeviceError(f"not as it should be on the board after copying: {names}; deploy again")
        say(f"the board holds the build, compared by SHA-256 ({time.monotonic() - begun:.0f} s)")
    if reset:
        say("resetting the board")
        call(mpremote(port, "resume", "reset"))


def _look(command, say):
    """The board's Inventory; a board that is just restarting is asked again."""
    for attempt in range(1, _LOOKS + 1):
        try:
            return parse_inventory(call(command, capture=True))
        except DeviceError as error:
            if attempt == _LOOKS:
                raise
            say(f"{error}\ntrying again")

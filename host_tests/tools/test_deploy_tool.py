"""make deploy without a board: plans, and deploys onto a stand-in for mpremote.

The board's inventory script runs on the real MicroPython, over a directory in place of a board's file system.
"""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

import firmware
from tools import build, micropython
from tools.device import deploy as device
from tools.device import versions
from tools.device.deploy import Inventory
from tools.device.port import DeviceError, UsageError


@pytest.fixture
def tree(tmp_path):
    """A small built tree."""
    files = {
        "boot.py": "# boot", "main.py": "import firmware.app", "firmware/app.mpy": "app", "firmware/bus/rtu.mpy": "rtu",
        "firmware/meters/a.json": "{}", "lib/modbus/pdu.mpy": "pdu",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / "device" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "device"


class Board:
    """Stands for mpremote and a board: a directory, changed by the command lines of tools/device/deploy.py."""

    def __init__(self, root):
        self.root = root
        root.mkdir()
        self.free = 1_000_000
        self.heap = 451_560
        self.calls = []
        self.resets = 0
        self.version = None
        self.failing = []  # words of the calls that fail, once each

    def put(self, name, text="x"):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def names(self):
        return {path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file()}

    def call(self, command, capture=False):
        words = [str(word) for word in command]
        assert words[1:5] == ["-m", "mpremote", "connect", "PORT"]
        words = words[5:]
        self.calls.append(words)
        for word in self.failing:
            if word in words:
                self.failing.remove(word)
                raise DeviceError("could not enter raw repl")
        if words[0] == "run":
            assert capture
            return self.inventory()
        assert words[0] == "resume"
        for step in " ".join(words[1:]).split(" + "):
            self.step(*step.split())
        return None

    def step(self, operation, *paths):
        here = [self.root / path[2:] for path in paths if path.startswith(":/")]
        if operation == "rm":
            here[0].unlink()
        elif operation == "rmdir":
            here[0].rmdir()
        elif operation == "mkdir":
            here[0].mkdir()
        elif operation == "cp":
            shutil.copyfile(paths[-2], here[0])
        else:
            assert operation == "reset"
            self.resets += 1

    def inventory(self):
        lines = []
        for top in ("firmware", "lib", "tree"):
            for path in sorted((self.root / top).rglob("*")) if (self.root / top).is_dir() else []:
                if path.is_dir():
                    lines.append(f"D /{path.relative_to(self.root)}")
            if (self.root / top).is_dir():
                lines.append(f"D /{top}")
        if (self.root / "data").is_dir():
            lines.append("D /data")
        files = device_files(self.root)
        lines += [f"F {size} {digest} {path}" for path, (size, digest) in files.items()]
        if self.version:
            lines.append("V {} {} {}".format(*self.version))
        return "\r\n".join([*lines, f"S {self.free}", f"H {self.heap}", "end", ""])


def device_files(root):
    """{path: (size, SHA-256)} of what deploy may see on a board."""
    files = {}
    for path in sorted(root.rglob("*")):
        name = "/" + path.relative_to(root).as_posix()
        if path.is_file() and (name in device.STARTERS or name.startswith(("/firmware/", "/lib/", "/tree/"))):
            data = path.read_bytes()
            files[name] = (len(data), hashlib.sha256(data).hexdigest())
    return files


@pytest.fixture
def board(tmp_path, tree, monkeypatch):
    board = Board(tmp_path / "board")
    monkeypatch.setattr(device, "call", board.call)
    monkeypatch.setattr(versions, "call", board.call)
    monkeypatch.setattr(build, "build", lambda out, source, progress: "built")
    return board


def deploy(tree, **options):
    lines = []
    device.deploy("PORT", tree, say=lines.append, **options)
    return "\n".join(lines)


def copies(board):
    return [word for words in board.calls for word in words if word.startswith(":/") and "cp" in words]


def test_an_empty_board_gets_the_whole_tree_and_a_reset(board, tree):
    text = deploy(tree)
    assert board.names() == {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()}
    assert board.resets == 1
    assert "6 of 6 files to copy" in text
    assert "compared by SHA-256" in text


def test_main_is_copied_last(board, tree):
    deploy(tree)
    assert copies(board)[-2:] == [":/boot.py", ":/main.py"]


def test_a_firmware_of_which_half_is_copied_is_none(board, tree):
    """main.py starts the one within the image, where there is one."""
    (tree / "firmware" / "__init__.mpy").write_text("version")
    deploy(tree)
    assert copies(board)[-3:] == [":/firmware/__init__.mpy", ":/boot.py", ":/main.py"]
    (tree / "firmware" / "app.mpy").write_text("another")
    board.put("firmware/stale.mpy")
    board.failing = ["cp"]
    with pytest.raises(DeviceError):
        deploy(tree)
    assert "firmware/__init__.mpy" not in board.names()
    deploy(tree)
    assert "firmware/__init__.mpy" in board.names()
    board.calls.clear()
    deploy(tree)
    assert copies(board) == []


def test_a_second_deploy_copies_nothing(board, tree):
    deploy(tree)
    board.calls.clear()
    assert "0 of 6 files to copy" in deploy(tree)
    assert copies(board) == []
    assert board.resets == 2  # the firmware was interrupted and has to be started again


def test_only_what_changed_is_copied_even_at_the_same_size(board, tree):
    deploy(tree)
    board.calls.clear()
    (tree / "firmware" / "app.mpy").write_text("App")
    deploy(tree, reset=False)
    assert copies(board) == [":/firmware/app.mpy"]
    assert (board.root / "firmware" / "app.mpy").read_text() == "App"
    assert board.resets == 1


def test_stale_files_go_and_everything_else_stays(board, tree):
    deploy(tree)
    for name in ("firmware/app.py", "firmware/old/gone.mpy", "lib/old/deep/x.mpy", "data/config.json", "notes.py"):
        board.put(name)
    deploy(tree)
    assert board.names() == {path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()} | {
        "data/config.json", "notes.py",
    }  # fmt: skip
    assert not (board.root / "firmware" / "old").exists()
    assert not (board.root / "lib" / "old").exists()


def test_what_an_update_has_brought_does_not_run_any_more(board, tree):
    for name in ("tree/a/firmware/app.mpy", "tree/a/manifest", "tree/b/lib/x.mpy", "tree/use", "data/config.json"):
        board.put(name)
    said = deploy(tree)
    removed = [word for words in board.calls for word in words if word.startswith(":/tree")]
    assert removed[0] == ":/tree/use"
    assert not (board.root / "tree").exists()
    assert (board.root / "data" / "config.json").exists()
    assert "removes /tree: the firmware that an update has brought" in said


def test_no_step_names_a_path_outside_the_firmware(board, tree):
    for name in ("data/config.json", "update/firmware/x.mpy", "firmware/stale.mpy"):
        board.put(name)
    deploy(tree)
    touched = [word for words in board.calls for word in words if word.startswith(":")]
    assert all(path.startswith((":/firmware", ":/lib")) or path in (":/boot.py", ":/main.py") for path in touched)


def test_a_deploy_that_broke_off_is_taken_up(board, tree):
    board.failing = ["cp"]
    with pytest.raises(DeviceError):
        deploy(tree)
    assert "main.py" not in board.names()
    deploy(tree)
    assert "main.py" in board.names()


def test_a_board_that_is_restarting_is_asked_again(board, tree):
    board.failing = ["run", "run"]
    assert "trying again" in deploy(tree)
    board.failing = ["run", "run", "run"]
    board.resets = 0
    with pytest.raises(DeviceError, match="could not enter raw repl"):
        deploy(tree)
    assert board.resets == 1


def test_a_board_without_room_is_told_before_anything_is_copied(board, tree):
    board.free = 1000
    with pytest.raises(DeviceError, match=r"needs 73,728 more bytes on the board, and 1,000 are free"):
        deploy(tree)
    assert (board.names(), board.resets) == (set(), 1)


def test_a_board_whose_heap_is_too_small_for_files_is_told_to_take_an_image(board, tree):
    board.heap = 193_912  # of a Pico W
    with pytest.raises(DeviceError, match=r"has 193,912 bytes of heap, .* takes 327,680: .* Flash an image"):
        deploy(tree)
    assert (board.names(), board.resets) == (set(), 1)
    board.heap = 327_680
    deploy(tree)


def test_copies_that_do_not_arrive_are_noticed(board, tree, monkeypatch):
    monkeypatch.setattr(shutil, "copyfile", lambda source, target: Path(target).write_text("garbled"))
    with pytest.raises(DeviceError, match=r"not as it should be on the board after copying: /firmware/app\.mpy"):
        deploy(tree)


def test_a_dry_run_prints_the_commands_and_calls_nothing(board, tree):
    text = deploy(tree, dry_run=True)
    assert board.calls == []
    assert "mpremote connect PORT run tools/device/inventory.py" in text
    assert "mpremote connect PORT resume mkdir :/data + mkdir :/firmware + mkdir :/firmware/bus" in text
    assert "firmware/app.mpy :/firmware/app.mpy" in text
    assert "mpremote connect PORT resume reset" in text
    assert "reset" not in deploy(tree, dry_run=True, reset=False)


def test_a_tree_with_something_else_is_refused(tree):
    (tree / "data").mkdir()
    (tree / "data" / "config.json").write_text("{}")
    with pytest.raises(DeviceError, match=r"/data/config\.json in .* is not for a board"):
        device.local_files(tree)


def test_a_tree_without_main_is_refused(tree):
    (tree / "main.py").unlink()
    with pytest.raises(DeviceError, match=r"has no /main\.py"):
        device.local_files(tree)


@pytest.mark.parametrize("text", ["", "Traceback\r\n", "F 3 abc /main.py\r\nS 1000\r\n", "end\r\n"])
def test_an_inventory_that_is_not_whole_is_no_inventory(text):
    with pytest.raises(DeviceError, match="did not tell what it holds"):
        device.parse_inventory(text)


def test_a_path_with_a_space_survives_the_inventory():
    board = device.parse_inventory("F 3 ab /lib/a b.py\r\nD /lib\r\nS 5\r\nend\r\n")
    assert board == Inventory({"/lib/a b.py": (3, "ab")}, ("/lib",), 5)


def test_the_boards_inventory_is_that_of_the_tree(tree, tmp_path):
    """inventory.py on MicroPython sees what local_files() sees on the host."""
    (tree / "data").mkdir()
    (tree / "data" / "config.json").write_text("not to be seen")
    (tree / "firmware" / "__init__.py").write_text("VERSION = (1, 2, 3)")
    (tree / "tree").mkdir()
    (tree / "tree" / "use").write_text("a a 0")
    script = tmp_path / "inventory.py"
    script.write_text(device.INVENTORY.read_text().replace('ROOT = ""', f'ROOT = "{tree}"'))
    done = subprocess.run(
        [micropython.ensure(), script], env={"MICROPYPATH": str(tree)}, capture_output=True, text=True, check=True
    )
    text = done.stdout
    found = device.parse_inventory(text)
    assert found.files.pop("/tree/use")[0] == len("a a 0")
    shutil.rmtree(tree / "data")
    shutil.rmtree(tree / "tree")
    assert found.files == device.local_files(tree)
    assert set(found.directories) == {
        "/data", "/firmware", "/firmware/bus", "/firmware/meters", "/lib", "/lib/modbus", "/tree",
    }  # fmt: skip
    assert found.free > 0
    assert found.version == (1, 2, 3)
    assert found.heap > 500_000


def test_an_older_firmware_does_not_replace_a_newer_one(board, tree):
    board.version = (firmware.VERSION[0] + 1, 0, 0)
    with pytest.raises(UsageError, match="nothing was written"):
        deploy(tree)
    assert (board.names(), board.resets) == (set(), 1)
    assert f"{board.version[0]}.0.0 on the board -> " in deploy(tree, may_be_older=True)
    assert "main.py" in board.names()

"""The configuration that a board gets with its image: checked by the firmware's own validator, in a littlefs.

In:  --config FILE, a board's name, a Wi-Fi network; the user's board files and profiles from the folders boards and
     meters beside FILE, as they lie in a board's data (make backup).
Out: {path on the board: content}, and the bytes of a file system with it (tools/littlefs_files.py).
"""

import getpass
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tools import build, littlefs_files
from tools.device import choice
from tools.device.port import DeviceError, UsageError

PATH = "data/config.json"
_BOARDS = build.ROOT / "firmware" / "board" / "boards.json"
_BESIDE = ("boards", "meters")  # firmware/config/board_files.py, firmware/meters/catalog.py: in data/
_MACHINE = re.compile(rb"([ -~]{3,64}) with RP2\d{3}\0")  # os.uname().machine of the rp2 port
_CHECK_LIMIT_S = 60
_TOO_DEEP = "lists or objects too deep within one another"
_CHECK = """
import json
from firmware.config import load
try:
    errors = load.validate(load.read(load.PATH))[1]
except ValueError as error:
    errors = [str(error)]
print(json.dumps(errors))
"""


class Partition(NamedTuple):
    """The place of a file system in flash: its name in the image, offset in flash, bytes."""

    label: str
    offset: int
    size: int


def gather(file: str, board: str = "", ssid: str = "", password: str = "") -> "dict[str, bytes]":
    """The files of a board with this configuration, {path: content}. Raises UsageError."""
    given, files = {}, {}
    if file:
        try:
            given = json.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file}: {error}") from None
        except RecursionError:
            raise UsageError(f"{file}: {_TOO_DEEP}") from None
        if not isinstance(given, dict):
            raise UsageError(f"{file}: must be a JSON object")
        for folder in _BESIDE:
            for path in sorted((Path(file).parent / folder).glob("*.json")):
                files[f"data/{folder}/{path.name}"] = path.read_bytes()
    return {PATH: document(given, board, ssid, password, _is_wired(board, files)), **files}


def _is_wired(board: str, files: "dict[str, bytes]") -> bool:
    """Whether the board file of that name has Ethernet; False where there is none."""
    try:
        return _board_file(board, files)["ethernet"]["phy"] != "none"
    except (KeyError, TypeError, ValueError):
        return False  # the check names what is wrong


def _board_file(name: str, files: "dict[str, bytes]") -> dict:
    """The user's own, else the firmware's. Raises KeyError, ValueError."""
    own = files.get(f"data/boards/{name}.json")
    return json.loads(own) if own else json.loads(_BOARDS.read_text(encoding="utf-8"))[name]


def document(given: dict, board: str = "", ssid: str = "", password: str = "", is_wired: bool = False) -> bytes:
    """The text of data/config.json: `given` with board and Wi-Fi network. A board with Ethernet that `is_wired` uses it
    where nothing else is said. Raises UsageError."""
    result = dict(given)
    if board:
        result["board"] = board
    if is_wired and not ssid and "network" not in result:
        result["network"] = {"link": "ethernet"}
    if ssid:
        if len(ssid.encode()) > 32:
            raise UsageError("the name of a Wi-Fi network has 32 bytes at most")
        network = result.get("network", {})
        kept = network if isinstance(network, dict) else {}  # the check names what is wrong
        result["network"] = {**kept, "link": "wifi", "ssid": ssid, "password": password}
    try:
        return json.dumps(result, indent=1).encode()
    except RecursionError:
        raise UsageError(f"the configuration: {_TOO_DEEP}") from None


def link(files: "dict[str, bytes]") -> str:
    """network.link of the configuration among these files; "" where it says none."""
    network = json.loads(files[PATH]).get("network")
    return network.get("link", "") if isinstance(network, dict) else ""


def ask_password(ssid: str) -> str:
    """The password of a Wi-Fi network: asked at a terminal, else a line of standard input; never an argument, which
    others see and a shell keeps. Raises UsageError."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {ssid} (nothing is shown): ")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if password and not 8 <= len(password.encode()) <= 63:
        raise UsageError("a Wi-Fi password has 8 to 63 characters; none at all for an open network")
    return password


def check(files: "dict[str, bytes]", chip: str, program: bytes = b"") -> None:
    """Raises UsageError with what the firmware would find wrong in these files, or when the image with that program is
    not for their board.

    The firmware's validator looks for boards and profiles below the working directory: it runs in a process of its own.
    """
    with tempfile.TemporaryDirectory(prefix="meterport-config-") as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        places = ":".join(str(build.ROOT / name) for name in ("", "lib", "host_tests/shim"))
        done = subprocess.run(
            [sys.executable, "-c", _CHECK],
            cwd=folder, env={"PYTHONPATH": places}, capture_output=True, text=True, timeout=_CHECK_LIMIT_S, check=False,
        )  # fmt: skip
    if done.returncode:
        raise DeviceError(f"the configuration could not be checked:\n{done.stderr.strip()}")
    errors = json.loads(done.stdout)
    if errors:
        raise UsageError("the firmware would refuse this configuration, nothing was written:\n  " + "\n  ".join(errors))
    board = json.loads(files[PATH]).get("board")
    if board:
        check_board(board, chip, files)
        check_network(board, program)


def check_board(name: str, chip: str, files: "dict[str, bytes]") -> None:
    """Raises UsageError when the board of that name has another chip, or is of another port than the chip's."""
    board = _board_file(name, files)
    port = board.get("port", "esp32")  # the default in firmware/config/board_files.py
    if chip.startswith("esp32") != (port == "esp32"):
        raise UsageError(f"{name} is a board of {port}, and the image is for {chip}: nothing was written")
    its = board.get("chip", "any")
    if its not in ("any", chip.lower()):
        raise UsageError(f"{name} has an {its}, and the image is for {chip}: nothing was written")


def check_network(name: str, program: bytes) -> None:
    """Raises UsageError when that board of ours has a W5500 and the image of an RP2 is for Wi-Fi, or the other way
    round: os.uname().machine lies in the program as a text."""
    found = _MACHINE.search(program)
    names = choice.image_names(name)
    if found and names and ("W5500" in names[0]) != (b"W5500" in found[1]):
        other = "a W5500" if b"W5500" in found[1] else "Wi-Fi"
        raise UsageError(f"{name} takes {names[0]}, and the image is for a board with {other}: nothing was written")


def check_machine(machine: str, chip: str, program: bytes) -> None:
    """Raises UsageError when the board that calls itself `machine` has another chip than the RP2 that the image with
    that program is for, or the other network. A board that is "" or of another port passes."""
    found = _MACHINE.search(program)
    if " with " not in machine:
        return
    if not machine.upper().endswith(f" WITH {chip.upper()}"):
        raise UsageError(f"the board is a {machine}, and the image is for {chip}: nothing was written")
    if found and ("W5500" in machine) != (b"W5500" in found[1]):
        raise UsageError(f"the board is a {machine}, and the image is for a {found[1].decode()}: nothing was written")


def file_system(files: "dict[str, bytes]", size: int) -> bytes:
    """A littlefs of `size` bytes with these files, {path: content}. Raises UsageError when they do not fit."""
    try:
        return littlefs_files.make(files, size)
    except littlefs_files.FileSystemError as error:
        raise UsageError(str(error)) from None

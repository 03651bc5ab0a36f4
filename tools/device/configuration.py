"""The configuration that a board gets with its image: data/config.json, checked, in a littlefs file system."""

import getpass
import json
import sys

from littlefs import LittleFS
from littlefs.errors import LittleFSError

from tools import build
from tools.device.port import UsageError

BOARDS = build.ROOT / "firmware" / "board" / "boards.json"
PATH = "data/config.json"
BLOCK = 4096
_LITTLEFS_DISK_VERSION = 0x00020000  # which every MicroPython with littlefs 2 mounts


def check_board(name, chip):
    """Raises UsageError when there is no such board file, or it is of another port than the chip's."""
    boards = json.loads(BOARDS.read_text(encoding="utf-8"))
    if name not in boards["names"]:
        raise UsageError(f"there is no board {name}; the boards are {', '.join(boards['names'])}")
    port = boards[name]["port"]
    if chip.startswith("esp32") != (port == "esp32"):
        raise UsageError(f"{name} is a board of {port}, and the image is for {chip}")


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


def document(given: dict, board: str = "", ssid: str = "", password: str = "") -> bytes:
    """The text of data/config.json: `given` with board and Wi-Fi network. Raises UsageError."""
    result = dict(given)
    if board:
        result["board"] = board
    if ssid:
        if len(ssid.encode()) > 32:
            raise UsageError("the name of a Wi-Fi network has 32 bytes at most")
        network = {**result.get("network", {}), "link": "wifi", "ssid": ssid, "password": password}
        result["network"] = network
    return json.dumps(result, indent=1).encode()


def file_system(files: "dict[str, bytes]", size: int) -> bytes:
    """A littlefs of `size` bytes with these files, {path: content}. Raises UsageError when they do not fit."""
    disk = LittleFS(block_size=BLOCK, block_count=size // BLOCK, disk_version=_LITTLEFS_DISK_VERSION)
    try:
        for path, content in files.items():
            folder = path.rpartition("/")[0]
            if folder:
                disk.makedirs(folder, exist_ok=True)
            with disk.open(path, "wb") as file:
                file.write(content)
    except (OSError, LittleFSError) as error:
        raise UsageError(f"the files do not fit into {size:,} bytes: {error}") from None
    return bytes(disk.context.buffer)

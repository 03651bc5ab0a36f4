"""Which image of build/images is meant when make flash gets a board and no image.

In:  BOARD: an image's name as make image takes it (METERPORT_PICO_W), or a board file's (docs/reference/boards.md).
Out: the image's path, and the board file for the configuration.
"""

import json
from pathlib import Path

from tools import build, image
from tools.device.port import UsageError

_BOARDS = build.ROOT / "firmware" / "board" / "boards.json"
_IMAGE_IS = "IMAGE=FILE (--image FILE), a .bin for an ESP32 or a .uf2 for an RP2"
_ENDINGS = (".bin", ".uf2")


def _short(name: str) -> str:
    """METERPORT_PICO2_W and pico-2-w are the same board: pico2w; METERPORT_ESP32_S3 has the chip esp32s3."""
    return name.removeprefix("METERPORT_").replace("_", "").replace("-", "").lower()


def image_names(board: str) -> list[str]:
    """The images of make image that fit BOARD. Raises UsageError for an image's name that does not exist."""
    if board.startswith("METERPORT_"):
        if board not in image.BOARDS:
            raise UsageError(f"BOARD={board}: make image knows {', '.join(image.BOARDS)}")
        return [board]
    boards = json.loads(_BOARDS.read_text(encoding="utf-8"))
    chip = boards[board]["chip"] if board in boards["names"] else ""
    return [name for name in image.BOARDS if _short(name) in (_short(board), chip)]


def choose(path: str, board: str, folder: Path, say) -> tuple[str, str]:
    """(image, board file) for IMAGE and BOARD as they are given, "" for none; without an image the one in `folder`
    that fits. Raises UsageError."""
    if path:
        if board.startswith("METERPORT_"):
            raise UsageError(
                f"BOARD={board} names an image, and IMAGE={path} is one: leave one out. A configuration takes a board "
                "file: BOARD=wt32-eth01 (docs/reference/boards.md)"
            )
        return path, board
    if not board:
        raise UsageError(f"no image is given: {_IMAGE_IS}")
    names = image_names(board)
    found = [file for name in names for file in sorted(folder.glob(f"meterport-{name}-*")) if file.suffix in _ENDINGS]
    if len(found) != 1:
        have = ": " + ", ".join(file.name for file in found) if found else ""
        raise UsageError(f"no image is given, and {folder} has {len(found)} for BOARD={board}{have}; give {_IMAGE_IS}")
    say(f"IMAGE={found[0]} is taken: the one that {folder} has for BOARD={board}")
    return str(found[0]), "" if board.startswith("METERPORT_") else board

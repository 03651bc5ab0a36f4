"""The firmware's version within an image and on a board, and whether one may replace the other."""

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tools.device.port import DeviceError, UsageError, call, mpremote

_FROZEN_NAME = b"\0firmware/app.py\0"  # in MicroPython's list of frozen modules
_MARK = re.compile(rb"meterport (\d+)\.(\d+)\.(\d+)\0")  # tools/build.py, frozen_files()
_IN_SOURCE = re.compile(rb"^VERSION = \((\d+), (\d+), (\d+)\)$", re.MULTILINE)
# A tuple (10) of three integers (7), each with its length as text: py/persistentcode.c of MicroPython.
_IN_COMPILED = re.compile(rb"VERSION\x00\x0a\x03" + 3 * rb"\x07[\x01-\x04](\d{1,4})")
_CODE = """
import os
print("machine", os.uname()[4])
import firmware
print("version", *firmware.VERSION)
try:
    print("label", open("label/wifi").read())
except OSError:
    pass
"""
_LINE = re.compile(r"^version (\d+) (\d+) (\d+)\r?$", re.MULTILINE)
_MACHINE_LINE = re.compile(r"^machine ([ -~]{3,80})\r?$", re.MULTILINE)
_LABEL_LINE = re.compile(r"^label ([a-z2-9]{12})\r?$", re.MULTILINE)  # firmware/config/label.py
LABEL = "label/wifi"
LABEL_STAYS = "the password on the board's label stays where the board answers; else its first start makes a new one"
_ANSWER_S = 20  # mpremote itself gives up on the raw prompt after 10


def has_firmware(content: bytes) -> bool:
    """Whether the firmware is frozen into this image (make image): files beside it would hide it."""
    return _FROZEN_NAME in content


def in_image(content: bytes) -> "tuple[int, ...] | None":
    """The version of the firmware within an image, None when there is none or when it has no mark."""
    found = _MARK.search(content)
    return tuple(int(number) for number in found.groups()) if found else None


def in_module(content: bytes) -> "tuple[int, ...] | None":
    """The version that firmware/__init__ has, as source or compiled; None when it has none."""
    found = _IN_SOURCE.search(content) or _IN_COMPILED.search(content)
    return tuple(int(number) for number in found.groups()) if found else None


class OnBoard(NamedTuple):
    """What a board tells: the firmware's version, the password on its label, which a new file system must keep, and
    os.uname().machine, "" when it does not answer."""

    version: "tuple[int, ...] | None" = None
    label: bytes = b""
    machine: str = ""

    @property
    def files(self) -> "dict[str, bytes]":
        """The files that a new file system must have."""
        return {LABEL: self.label} if self.label else {}


def on_board(port: str, say: "Callable[[str], object]") -> OnBoard:
    """What the board at a port tells; nothing when it does not answer. A running gateway is interrupted."""
    say(f"asking the board at {port} for its version, {_ANSWER_S} s at most (a running gateway is interrupted)")
    command = mpremote(port, "resume", "exec", _CODE)
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False).stdout
    except subprocess.TimeoutExpired:
        return OnBoard()
    version, label, machine = _LINE.search(shown), _LABEL_LINE.search(shown), _MACHINE_LINE.search(shown)
    return OnBoard(
        tuple(int(number) for number in version.groups()) if version else None,
        label[1].encode() if label else b"",
        machine[1] if machine else "",
    )


def text(version: "tuple[int, ...] | None") -> str:
    """As a user reads it: "0.1.0", "unknown"."""
    return ".".join(map(str, version)) if version else "unknown"


def start_again(port):
    """Resets a board whose gateway was interrupted."""
    call(mpremote(port, "resume", "reset"))


@contextlib.contextmanager
def started_again_on_failure(port: str, say: "Callable[[str], object]") -> "Iterator[None]":
    """What interrupts a gateway and may fail before it has changed anything goes within: then the board is reset, whose
    gateway would stay stopped, with nothing to watch it. Ctrl-C counts as a failure."""
    try:
        yield
    except BaseException:
        try:
            start_again(port)
        except DeviceError:
            say(f"the board at {port} could not be restarted, and its gateway may be stopped: press its reset button")
        raise


def check(old, new, may_be_older, say):
    """Says both versions. Raises UsageError when an older one would replace a newer one."""
    say(f"firmware: {text(old)} on the board -> {text(new)}")
    if old and new and new < old and not may_be_older:
        raise UsageError(
            f"{text(new)} is older than {text(old)} on the board: nothing was written. --older (make: ARGS=--older) "
            "writes it all the same"
        )

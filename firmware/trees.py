"""Which tree of files the firmware runs from, when an update has brought one: tree/a or tree/b, in turn.

The file tree/use says it: "GOOD TRIAL STARTS". GOOD and TRIAL are "a", "b", or "-" for what came with the board (the
image, or /firmware and /lib). While they differ, TRIAL is on trial: main.py, which reads this file before it imports
anything, counts its starts and goes back to GOOD after three. Outside data/: a factory reset keeps it.
"""

from micropython import const

from firmware.config import store

_TYPING = const(0)
if _TYPING:
    from typing import Any

USE = "tree/use"
IMAGE = "i"  # as TRIAL: an image in the other slot, which the boot loader goes back from; GOOD is "-" then


def read() -> "tuple[str, str]":
    """(good, trial). The firmware that runs is the trial."""
    try:
        good, trial, _ = store.read(USE).decode().split(" ")
    except (OSError, ValueError):
        return "-", "-"
    return good, trial


def write(good: str, trial: str) -> None:
    """Has the next start try `trial`. After a power cut the file is the old or the new one. Raises OSError."""
    store.replace(USE, (("%s %s 0" % (good, trial)).encode(),))


def other() -> str:
    """The tree that an update may write to: neither the good one nor the one that runs."""
    return "b" if "a" in read() else "a"


def end_trial(is_good: bool, board: "Any") -> bool:
    """Keeps what is on trial, or has the next start run the one before. False when nothing is on trial. Raises
    OSError."""
    good, trial = read()
    if good == trial:
        return False
    if trial == IMAGE:
        trial = good  # what came with the board, whichever slot it is in
        if is_good:
            board.keep_image()
    kept = trial if is_good else good
    write(kept, kept)
    return True

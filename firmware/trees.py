"""Which tree of files the firmware runs from, when an update has brought one: tree/a or tree/b, in turn.

The file tree/use says it: "GOOD TRIAL STARTS". GOOD and TRIAL are "a", "b", or "-" for what came with the board (the
image, or /firmware and /lib). While they differ, TRIAL is on trial: main.py, which reads this file before it imports
anything, counts its starts and goes back to GOOD after three. Outside data/: a factory reset keeps it.

The file tree/failed says why the last update was taken back, until the next one is switched to.

The file image of a tree names the image that it was written beside. An image that is flashed later goes before the
tree: main.py does not choose it, and for this module it is not there.
"""

import sys

from micropython import const

from firmware.config import store

_TYPING = const(0)
if _TYPING:
    from typing import Any

USE = "tree/use"
_IMAGE_OF = const("tree/%s/image")
IMAGE = "i"  # as TRIAL: an image in the other slot, which the boot loader goes back from; GOOD is "-" then
FAILED = "tree/failed"
_FAILED_MAX = const(120)  # bytes
_SLOT = const("tree/slot")  # the label of that slot


def _image():
    """The image that runs, as main.py knows it; empty where the firmware is not within an image."""
    try:
        import image_id  # type: ignore[import-not-found]  # tools/build.py makes it
    except ImportError:
        return b""
    return image_id.ID + sys.version.encode()


def _named():
    """(good, trial) that the file says."""
    try:
        good, trial, _ = store.read(USE).decode().split(" ")
    except (OSError, ValueError):
        return "-", "-"
    return good, trial


def _is_stale(trial):
    """True for a tree that was written beside another image."""
    if trial not in ("a", "b"):
        return False
    image = _image()
    if not image:
        return False
    try:
        return store.read(_IMAGE_OF % trial) != image
    except OSError:
        return True


def read() -> "tuple[str, str]":
    """(good, trial). The firmware that runs is the trial."""
    named = _named()
    return ("-", "-") if _is_stale(named[1]) else named


def forget() -> bool:
    """Takes a tree that was written beside another image out of use; the next update removes its files. False when
    there is none. Raises OSError."""
    if not _is_stale(_named()[1]):
        return False
    write("-", "-")
    return True


def mark(tree: str) -> None:
    """Writes beside which image the tree `tree` lies. Raises OSError."""
    image = _image()
    if image:
        store.replace(_IMAGE_OF % tree, (image,))


def write(good: str, trial: str) -> None:
    """Has the next start try `trial`. After a power cut the file is the old or the new one. Raises OSError."""
    store.replace(USE, (("%s %s 0" % (good, trial)).encode(),))


def other() -> str:
    """The tree that an update may write to: neither the good one nor the one that runs."""
    return "b" if "a" in read() else "a"


def write_image(label: str) -> None:
    """Notes that the image in the slot of that label is tried next. Raises OSError."""
    store.replace(_SLOT, (label.encode(),))
    write("-", IMAGE)


def failure() -> "str | None":
    """Why the last update was taken back; None when it was not."""
    try:
        with open(FAILED, "rb") as f:
            return f.read(_FAILED_MAX).decode() or None
    except (OSError, ValueError):
        return None


def _keep_failure(text):
    """Writes what failure() gives after the restart. A file system that is full keeps nobody from going back."""
    try:
        store.replace(FAILED, (text.encode()[:_FAILED_MAX],))
    except OSError:
        store.remove_file(FAILED)


def end_trial(wrong: str, board: "Any") -> "tuple[str, bool] | None":
    """Keeps what is on trial when nothing is `wrong`, or has the next start run the one before, which says what was:
    (what became of it, whether that start is due). None when nothing is on trial. Raises OSError."""
    good, trial = read()
    if good == trial:
        return None
    kept = good if wrong else trial
    if trial == IMAGE:
        kept = good  # what came with the board, whichever slot it is in
        if store.read(_SLOT).decode() != board.running_slot():
            # The boot loader has gone back, or the power went before it was told.
            _keep_failure("the image did not run for a minute")
            write(good, good)
            return "the update has failed: the image before it runs", False
        if not wrong:
            board.keep_image()
    if wrong:
        _keep_failure(wrong)
    else:
        store.remove_file(FAILED)  # of an earlier update, when the firmware that was switched from does not know it
    write(kept, kept)
    return ("the update has failed: going back: " + wrong, True) if wrong else ("the update is kept", False)

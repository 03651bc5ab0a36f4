"""Erases what a factory reset has removed. Imported when it is due: at the start after a reset, before the link.

littlefs frees the blocks of a removed file, and they keep their content until they are used again. A folder is one or
more pairs of blocks, each with a log of what was done in it, small files and all; of a new pair one block is erased
only. So every log is written until both of its blocks were erased. Then one file fills all free blocks; when there are
none it is closed unkept (lfs2.c, lfs2_file_close). MARK is that file, empty in its folder all the while: it is there
from a reset until all is erased, and after a power cut the next start begins again.
"""

import os

from micropython import const

from firmware.config import store
from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterator

    from firmware.events import Events

MARK = "erase"  # outside data/, which is empty after a reset
_OWN = const(".erase")  # ending of what is written beside other files
_IS_FOLDER = const(0x4000)
# lfs2.c: a file of an eighth of a block lies in the log, if the cache has room for it, 128 bytes on an ESP32. A log
# that grows is split in two halves.
_SHARE = const(8)
_CACHE = const(128)
_ENTRY = const(24)  # bytes of a file in a log, beside its name and content
_PIECE = b"\xff" * 512
_PIECES = const(8)  # to a step: a block of 4096 bytes
_FLASH_MAX = const(33554432)  # bytes, the largest flash of a board: a larger file system is a development machine's
_STEPS_MAX = const(8192)  # of that flash


async def run(events: "Events") -> None:
    """Erases, with turns of others in between, and says so. No link may be up: while the flash is full nothing can be
    saved."""
    status = os.statvfs(".")
    if status[0] * status[2] <= _FLASH_MAX:
        events.add("app", "erases what was removed; the link opens then")
        text = "what was removed is erased"
        try:
            for _ in steps():
                await seam.sleep_ms(1)
        except OSError as error:
            text = "not all of what was removed is erased: %r" % error
        events.add("app", text)
    store.remove_file(MARK)


def steps() -> "Iterator[None]":
    """Erases a little at a time: a block, or a few commits; the caller waits in between. Raises OSError."""
    block = os.statvfs(".")[0]
    folders = [""]
    while folders:
        folder = folders.pop()
        left = 0  # bytes of names and files that may still be in the log that was written last
        names = sorted(os.listdir(folder or "."))
        for name in [name for name in names if name.endswith(_OWN)]:  # a power cut has left it
            names.remove(name)
            os.remove(folder + name)
        for name in names or ("",):
            path = folder + name
            if left <= 0:
                yield from _fill_log(path + _OWN, block)  # beside it
                left = block // _SHARE
            status = os.stat(path) if name else (0,) * 7
            if status[0] & _IS_FOLDER:
                folders.append(path + "/")
            left -= _ENTRY + len(name) + (status[6] if status[6] <= block // _SHARE else 0)
    with open(MARK, "wb") as f:
        for _ in range(_STEPS_MAX):
            try:
                for _ in range(_PIECES):
                    f.write(_PIECE)
            except OSError:  # full
                break
            yield
    os.remove(MARK)


def _fill_log(path, block):
    """Writes a file again and again, each time whole into the log: as many bytes as two blocks have, and more."""
    size = min(block // _SHARE, _CACHE)
    for k in range(2 * block // size + 2):
        with open(path, "wb") as f:
            f.write(_PIECE[:size])
        if not k % _PIECES:
            yield
    os.remove(path)

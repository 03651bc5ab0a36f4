"""Files that come with the firmware: the profiles of meters, the page.

In an image that has the firmware frozen into it they are constants of the module firmware._frozen_files, which
tools/build.py makes, and lie in flash; elsewhere they lie beside this file. Names are relative to firmware/, with
slashes. All are read only.
"""

import errno
import os

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Any

try:
    from firmware._frozen_files import CONTENTS, NAMES  # type: ignore[import-not-found]  # tuples in one order
except ImportError:
    NAMES = None
FROZEN = NAMES is not None  # the firmware's modules and files lie in flash

_HERE = __file__.rsplit("/", 1)[0] + "/" if "/" in __file__ else "firmware/"


def content(name: str) -> "Any":
    """The body of a response: the constant in an image, elsewhere the open file (readinto, seek, close). Raises OSError
    (ENOENT)."""
    return read(name) if FROZEN else open(_HERE + name, "rb")


def read(name: str, size: "int | None" = None) -> bytes:
    """The content of the file as bytes, or its first `size` bytes; in an image the whole is the constant itself. Raises
    OSError (ENOENT)."""
    if FROZEN:
        try:
            found = CONTENTS[NAMES.index(name)]
        except ValueError:
            raise OSError(errno.ENOENT) from None
        return found if size is None else found[:size]
    if size is None:
        size = os.stat(_HERE + name)[6]  # read() without a size would need room for twice as much
    with open(_HERE + name, "rb") as f:
        return f.read(size)


def names(folder: str) -> "list[str]":
    """The names of the files right within the folder ("meters/profiles"), sorted; none without the folder."""
    if FROZEN:
        prefix = folder + "/"
        found = [name[len(prefix) :] for name in NAMES if name.startswith(prefix)]
        return sorted([name for name in found if "/" not in name])
    try:
        return sorted(os.listdir(_HERE + folder))
    except OSError:
        return []

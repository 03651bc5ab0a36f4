"""Files that come with the firmware: the profiles of meters, the page.

In an image that has the firmware frozen into it they are constants of the module firmware._frozen_files, which
tools/build.py makes, and lie in flash; elsewhere they lie beside this file. Names are relative to firmware/, with
slashes. All are read only.
"""

import errno
import os

try:
    from firmware._frozen_files import FILES  # type: ignore[import-not-found]  # {name: bytes}
except ImportError:
    FILES = None
FROZEN = FILES is not None  # the firmware's modules and files lie in flash

_HERE = __file__.rsplit("/", 1)[0] + "/" if "/" in __file__ else "firmware/"


def content(name):
    """What a response sends: the constant in an image, elsewhere the open file (readinto, seek, close). Raises OSError
    (ENOENT)."""
    return open(_HERE + name, "rb") if FILES is None else read(name)


def read(name: str, size: "int | None" = None) -> bytes:
    """The content of the file as bytes, or its first `size` bytes; in an image the whole is the constant itself. Raises
    OSError (ENOENT)."""
    if FILES is None:
        if size is None:
            size = os.stat(_HERE + name)[6]  # without one there would have to be room for twice as much
        with open(_HERE + name, "rb") as f:
            return f.read(size)
    if name not in FILES:
        raise OSError(errno.ENOENT)
    return FILES[name] if size is None else FILES[name][:size]


def names(folder):
    """The names of the files right within the folder ("meters/profiles"), sorted; none without the folder."""
    if FILES is not None:
        prefix = folder + "/"
        found = [name[len(prefix) :] for name in FILES if name.startswith(prefix)]
        return sorted([name for name in found if "/" not in name])
    try:
        return sorted(os.listdir(_HERE + folder))
    except OSError:
        return []

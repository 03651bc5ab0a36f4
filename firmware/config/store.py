"""Files that survive a power cut: each save is a new file with a checksum, flushed, then renamed over the old one.

Two copies are kept in turn (NAME.a, NAME.b) with a growing serial number, so that an older whole one remains when the
newest is damaged: littlefs renames atomically, but does not check content. A copy is one line of header, `serial
sha256-of-serial-and-body`, and the body. Copies are read in small pieces: no two of them are in the heap at once.
"""

import hashlib
import os

from micropython import const

_TYPING = const(0)
if _TYPING:
    from collections.abc import Iterable

_SUFFIXES = const((".a", ".b"))
_NEW = const(".new")
_BODY_MAX = const(16384)
_HEAD_MAX = const(75)  # nine digits, a space, 64 of the checksum, the end of the line
_PIECE = const(256)


def _checksum(serial, pieces):
    """SHA-256 in hexadecimal, as in the header of a copy."""
    check = hashlib.sha256(b"%d " % serial)
    for piece in pieces:
        check.update(piece)
    return "".join(["%02x" % byte for byte in check.digest()]).encode()


def checksum(path: str) -> bytes:
    """SHA-256 of a plain file, in hexadecimal. Raises OSError."""
    return _checksum(0, _pieces(path))


def _pieces(path, begin=0):
    """Yields the content of a file from byte `begin` on."""
    with open(path, "rb") as f:
        f.read(begin)
        while True:
            piece = f.read(_PIECE)
            if not piece:
                return
            yield piece


def _read_head(path):
    """(serial, offset of the body, checksum) of one copy; None when it is missing or damaged."""
    try:
        size = os.stat(path)[6]
        if size > _BODY_MAX + 128:
            return None
        with open(path, "rb") as f:
            head = f.read(_HEAD_MAX)
        begin = head.find(b"\n") + 1
        serial, _, checksum = head[: max(begin - 1, 0)].partition(b" ")
        if not serial.isdigit() or len(serial) > 9:
            return None
        found = int(serial), begin, checksum
        return found if _checksum(found[0], _pieces(path, begin)) == checksum else None
    except OSError:
        return None


def _newest(copies):
    """Index of the newest of two copies as _read_head() gives them; -1 without any."""
    found = -1
    for k in range(2):
        if copies[k] is not None and (found < 0 or copies[k][0] > copies[found][0]):
            found = k
    return found


def has_copy(path: str) -> bool:
    """True when at least one copy is whole."""
    return any([_read_head(path + suffix) is not None for suffix in _SUFFIXES])


def load(path: str) -> "bytes | None":
    """The body of the newest whole copy, or None. Raises OSError."""
    copies = [_read_head(path + suffix) for suffix in _SUFFIXES]
    k = _newest(copies)
    if k < 0:
        return None
    return read(path + _SUFFIXES[k], copies[k][1])


def remove(path: str) -> None:
    """Removes both copies, and what a power cut has left of a save."""
    for suffix in _SUFFIXES:
        remove_file(path + suffix)


def remove_file(path: str) -> None:
    """Removes a file that was written by replace(), and what a power cut has left of it."""
    for name in (path, path + _NEW):
        try:
            os.remove(name)
        except OSError:
            continue


def exists(path: str) -> bool:
    """True when there is a file or folder of that name."""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def read(path: str, begin: int = 0) -> bytes:
    """The content of a plain file from byte `begin` on. Raises OSError."""
    size = os.stat(path)[6]
    with open(path, "rb") as f:
        f.read(begin)
        return f.read(size - begin)  # without a size the buffer would grow, and be copied, step by step


def save(path: str, body: bytes) -> None:
    """Writes `body` (at most 16 KiB) as the newest copy; the one before it stays. Writes nothing when the newest copy
    is the same already. Raises OSError, and ValueError when it is too long."""
    _save(path, len(body), lambda: (body,))


def save_file(path: str, source: str) -> None:
    """save() of the content of the file `source`, which is never in the heap as a whole."""
    _save(path, os.stat(source)[6], lambda: _pieces(source))


def holds(path: str, source: str) -> bool:
    """True when the newest copy has the content of the file `source`; False without one of them."""
    copies = [_read_head(path + suffix) for suffix in _SUFFIXES]
    k = _newest(copies)
    try:
        return k >= 0 and _checksum(copies[k][0], _pieces(source)) == copies[k][2]
    except OSError:
        return False


def _save(path, size, pieces):
    if size > _BODY_MAX:
        raise ValueError("%s: %d bytes are more than %d" % (path, size, _BODY_MAX))
    copies = [_read_head(path + suffix) for suffix in _SUFFIXES]
    k = _newest(copies)
    serial = 1
    if k >= 0:
        serial, _, checksum = copies[k]
        if _checksum(serial, pieces()) == checksum:
            return
        serial += 1
    replace(path + _SUFFIXES[1 - k if k >= 0 else 0], _copy(serial, pieces))


def _copy(serial, pieces):
    yield b"%d %s\n" % (serial, _checksum(serial, pieces()))
    for piece in pieces():
        yield piece


def replace(path: str, parts: "Iterable[bytes | bytearray | memoryview]") -> None:
    """Writes the file `path` of these parts, which may be made one after the other: after a power cut it is the old
    one or the new one. Makes the folder that it lies in, one level deep. Raises OSError."""
    folder = path.rsplit("/", 1)[0]
    if not exists(folder):
        os.mkdir(folder)
    with open(path + _NEW, "wb") as f:
        for part in parts:
            f.write(part)
        f.flush()
    os.rename(path + _NEW, path)

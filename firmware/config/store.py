"""Files that survive a power cut: each save is a new file with a checksum, flushed, then renamed over the old one.

Two copies are kept in turn (NAME.a, NAME.b) with a growing serial number, so that there is always an older whole one:
littlefs renames atomically, but a copy may still be damaged by what it says itself. A copy is one line of header,
`serial sha256-of-the-body`, and the body. Copies are looked at in small pieces: no two of them are in the heap at once.
"""

import hashlib
import os

_SUFFIXES = (".a", ".b")
_NEW = ".new"
_BODY_MAX = 16384
_HEAD_MAX = 75  # nine digits, a space, 64 of the checksum, the end of the line
_PIECE = 256


def _checksum(serial):
    return hashlib.sha256(b"%d " % serial)


def _hex(digest):
    return "".join(["%02x" % byte for byte in digest]).encode()


def _look(path, wanted=None):
    """(serial, where the body begins, whether it is `wanted`) of one copy; None when it is missing or damaged."""
    try:
        size = os.stat(path)[6]
        if size > _BODY_MAX + 128:
            return None
        with open(path, "rb") as f:
            piece = f.read(_HEAD_MAX)
            begin = piece.find(b"\n") + 1
            serial, _, digest = piece[: max(begin - 1, 0)].partition(b" ")
            if not serial.isdigit() or len(serial) > 9:
                return None
            check = _checksum(int(serial))
            piece = piece[begin:]
            same = wanted is not None and len(wanted) == size - begin
            at = 0
            while piece:
                check.update(piece)
                same = same and wanted[at : at + len(piece)] == piece
                at += len(piece)
                piece = f.read(_PIECE)
    except OSError:
        return None
    return (int(serial), begin, same) if digest == _hex(check.digest()) else None


def _newest(copies):
    """Index of the newest of two copies as _look() gives them; -1 without any."""
    found = -1
    for k in range(2):
        if copies[k] is not None and (found < 0 or copies[k][0] > copies[found][0]):
            found = k
    return found


def load(path):
    """The body of the newest whole copy, or None. Raises OSError."""
    copies = [_look(path + suffix) for suffix in _SUFFIXES]
    k = _newest(copies)
    if k < 0:
        return None
    with open(path + _SUFFIXES[k], "rb") as f:
        f.read(copies[k][1])
        return f.read()


def remove(path):
    """Both copies are gone afterwards, and what a power cut may have left of a save."""
    for suffix in _SUFFIXES:
        remove_file(path + suffix)


def remove_file(path):
    """A file that was written by replace() is gone afterwards, and what a power cut may have left of it."""
    for name in (path, path + _NEW):
        try:
            os.remove(name)
        except OSError:
            continue


def read(path):
    """The content of a plain file. Raises OSError."""
    with open(path, "rb") as f:
        return f.read()


def save(path, body):
    """Keeps `body` (bytes, at most 16 KiB) as the newest copy; the one before it stays. Writes nothing when it is the
    same already. Raises OSError, and ValueError when it is too long."""
    if len(body) > _BODY_MAX:
        raise ValueError("%s: %d bytes are more than %d" % (path, len(body), _BODY_MAX))
    copies = [_look(path + suffix, body) for suffix in _SUFFIXES]
    k = _newest(copies)
    serial = 1
    if k >= 0:
        if copies[k][2]:
            return
        serial = copies[k][0] + 1
    check = _checksum(serial)
    check.update(body)
    head = b"%d %s\n" % (serial, _hex(check.digest()))
    replace(path + _SUFFIXES[1 - k if k >= 0 else 0], (head, body))


def replace(path, parts):
    """The file `path` with these parts (bytes-like, may be made one after the other) as its content: the old one or the
    new one after a power cut, never a mixture. Makes the folder that it lies in, one level deep. Raises OSError."""
    folder = path.rsplit("/", 1)[0]
    try:
        os.stat(folder)
    except OSError:
        os.mkdir(folder)
    with open(path + _NEW, "wb") as f:
        for part in parts:
            f.write(part)
        f.flush()
    os.rename(path + _NEW, path)

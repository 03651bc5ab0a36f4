"""Files that survive a power cut: each save is a new file with a checksum, flushed, then renamed over the old one.

Two copies are kept in turn (NAME.a, NAME.b) with a growing serial number, so that there is always an older whole one:
littlefs renames atomically, but a copy may still be damaged by what it says itself. A copy is one line of header,
`serial sha256-of-the-body`, and the body.
"""

import hashlib
import os

_SUFFIXES = (".a", ".b")
_BODY_MAX = 16384


def _digest(serial, body):
    digest = hashlib.sha256(b"%d " % serial + body).digest()
    return "".join(["%02x" % byte for byte in digest])


def _read(path):
    """(serial, body) of one copy, or None when it is missing or damaged."""
    try:
        if os.stat(path)[6] > _BODY_MAX + 128:
            return None
        with open(path, "rb") as f:
            data = f.read()
    except OSError:
        return None
    end = data.find(b"\n")
    serial, _, digest = data[: max(end, 0)].partition(b" ")
    if not serial.isdigit() or len(serial) > 9:
        return None
    body = data[end + 1 :]
    return (int(serial), body) if digest == _digest(int(serial), body).encode() else None


def load(path):
    """The body of the newest whole copy, or None."""
    copies = [copy for copy in [_read(path + suffix) for suffix in _SUFFIXES] if copy is not None]
    return max(copies)[1] if copies else None


def save(path, body):
    """Keeps `body` (bytes, at most 16 KiB) as the newest copy; the one before it stays. Writes nothing when it is the
    same already. Raises OSError, and ValueError when it is too long."""
    if len(body) > _BODY_MAX:
        raise ValueError("%s: %d bytes are more than %d" % (path, len(body), _BODY_MAX))
    copies = [_read(path + suffix) for suffix in _SUFFIXES]
    newest = -1
    for k in range(2):
        if copies[k] is not None and (newest < 0 or copies[k][0] > copies[newest][0]):
            newest = k
    if newest >= 0 and copies[newest][1] == body:
        return
    serial = copies[newest][0] + 1 if newest >= 0 else 1
    head = b"%d %s\n" % (serial, _digest(serial, body).encode())
    replace(path + _SUFFIXES[1 - newest if newest >= 0 else 0], head + body)


def replace(path, data):
    """The file `path` with this content: the old one or the new one after a power cut, never a mixture."""
    make_folder(path)
    with open(path + ".new", "wb") as f:
        f.write(data)
        f.flush()
    os.rename(path + ".new", path)


def make_folder(path):
    """The folder that `path` lies in, one level deep, if it is not there yet."""
    folder = path.rsplit("/", 1)[0]
    try:
        os.stat(folder)
    except OSError:
        os.mkdir(folder)

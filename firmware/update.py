"""An update by a tree of files, or by an image: receives it piece by piece, verifies it, and has the next start try it.

A package is a manifest, and the files that it names, one behind the other. The manifest has a line for each file:
`SHA-256 in hexadecimal digits, size in bytes, path below the tree`, separated by blanks. An Update is made with the
SHA-256 of the manifest and an HMAC by a key that the device and whoever knows its password have, and where the
configuration has a release key, with a signature by it (docs/decisions/0016): before anything is written, all that will
come is known to be right or wrong. Everything is written to the tree that is
not in use, in pieces; nothing is in the heap but one line and the piece. What is refused or cut off leaves the firmware
in use as it is; firmware.trees makes the switch. An image is one file, "image", which the board's slot takes in place
of the tree.
"""

import hashlib
import os

import scram
from micropython import const

from firmware import VERSION, trees
from firmware.config import store

_TYPING = const(0)
if _TYPING:
    from typing import Any

PIECE = const(4096)  # bytes of one feed() at most
_MANIFEST_MAX = const(32768)
_FILE_MAX = const(131072)
_TOTAL_MAX = const(1048576)
_FREE_MIN = const(32768)  # bytes that stay free on the file system
_PATH_MAX = const(64)
_IMAGE = "image"  # the path of an image, which is no file
_LINE = const(100)  # bytes of a line of the manifest
_IN_A_PATH = b"abcdefghijklmnopqrstuvwxyz0123456789_-./"
_REMOVED_AT_ONCE = const(4)
_STEPS_AT_ONCE = const(4)  # of a signature, each of some milliseconds
_READ_AT_ONCE = const(32768)  # bytes
_READ = const(512)


def key(server_key: bytes) -> bytes:
    """The key of this device for updates. `server_key`: SCRAM's ServerKey of its password."""
    return scram.hmac(server_key, b"meterport update")


def message(kind: str, version: str, manifest: int, digest: str, total: int, older: bool) -> bytes:
    """What the HMAC is of. `kind`: "files" or "image"; `manifest`, `total`: lengths in bytes; `digest`: SHA-256 of the
    manifest."""
    return ("meterport update 1\n%s %s %d %s %d %d" % (kind, version, manifest, digest, total, older)).encode()


def signed(kind: str, version: str, manifest: int, digest: str, total: int) -> bytes:
    """What the signature of a release is of: message() without the permission to be older."""
    return message(kind, version, manifest, digest, total, False)[:-2]


def _numbers(version):
    """[major, minor, patch] of a text. Raises ValueError."""
    parts = version.split(".")
    if len(parts) != 3 or any([not part.isdigit() or len(part) > 4 for part in parts]):
        raise ValueError("version: %s is not three numbers" % version[:20])
    return [int(part) for part in parts]


class Update:
    """One update under way. `received`, `total`: bytes. `version`: of the package."""

    def __init__(self, fields: dict, device_key: bytes, slot: "Any" = None, release_key: str = "") -> None:
        """`slot`: what takes an image (firmware.board.esp32_slot), None for files. `release_key`: whose signature it
        must have, "" for none. `fields`: version, manifest, digest, total, older, mac, as message() has them, and
        signature. Raises ValueError when the package cannot be taken; OSError."""
        self.version = version = fields["version"]
        self._manifest = fields["manifest"]
        self.total = fields["total"]
        self._digest = fields["digest"].lower()
        self._slot = slot
        said = "files" if slot is None else "image", version, self._manifest, self._digest, self.total
        mac = scram.hmac(device_key, message(*said, fields["older"]))
        if not scram.equal(mac, bytes.fromhex(fields["mac"])):
            raise ValueError("mac: not made with this device's key, or changed on the way")
        self._signature: "Any" = None  # while it is being verified
        if release_key:
            import ed25519

            signature = bytes.fromhex(fields.get("signature", ""))
            self._signature = ed25519.verify(bytes.fromhex(release_key), signature, signed(*said))
        numbers = _numbers(version)
        if numbers <= list(VERSION) and not fields["older"]:
            raise ValueError("version: %s is not newer than %d.%d.%d" % ((version,) + VERSION))
        most = _TOTAL_MAX if slot is None else slot.size + self._manifest
        if not 0 < self._manifest <= _MANIFEST_MAX or not self._manifest < self.total <= most:
            raise ValueError("total: longer than %d bytes, or no package" % most)
        good, trial = trees.read()
        if good != trial:
            raise ValueError("version: the last update is on trial: wait for a minute")
        if slot is not None and good != "-":
            raise ValueError("version: the firmware runs from files, which go before an image")
        self._good = good
        self.tree = trees.other()
        self._folder = "tree/" + self.tree
        self._list = self._folder + "/manifest"
        self.received = 0
        self.is_verified = False
        self.verified = -1  # files; -1 before all have come
        self._file: "Any" = None  # that is written
        self._lines: "Any" = None  # the manifest, while files come or are verified
        self._left = self._manifest  # bytes of the file that comes, of the manifest at first
        self._expected = self._digest
        self._check: "Any" = hashlib.sha256()

    def prepare(self) -> bool:
        """Verifies the signature, then removes the files of the trees that are not in use, some of it each time. True
        when all is done and there is room for what comes. Raises OSError; ValueError without room, or when the
        signature is wrong."""
        if self._signature is not None:
            try:
                for _ in range(_STEPS_AT_ONCE):
                    next(self._signature)
            except StopIteration as end:
                if not end.value:
                    raise ValueError("signature: not of the key that system.release_key has") from None
                self._signature = None
            return False
        trees.forget()  # before its files go
        left = _REMOVED_AT_ONCE
        folders = ["tree/" + name for name in "ab" if name != self._good]
        while folders:
            folder = folders.pop()
            try:
                names = os.listdir(folder)
            except OSError:
                continue  # there is none
            for name in names:
                path = folder + "/" + name
                if os.stat(path)[0] & 0x4000:
                    folders.append(path)
                    continue
                if not left:
                    return False
                os.remove(path)
                left -= 1
        status = os.statvfs(".")
        waste = self._manifest // _LINE * status[0] // 2  # the last block of a file is half empty
        comes = self.total if self._slot is None else self._manifest
        if status[0] * status[3] < comes + waste + _FREE_MIN:
            raise ValueError("total: the file system has no room for %d bytes" % self.total)
        return True

    def feed(self, data: "bytes | bytearray | memoryview") -> None:
        """Takes the next piece of the package. Raises ValueError when it is not what the manifest says; OSError. The
        update is over then."""
        at = 0
        view = memoryview(data)
        if self.received + len(view) > self.total:
            raise ValueError("package: longer than it said")
        if self._file is None and not self.received:
            self._open(self._list)
        while at < len(view):
            n = min(self._left, len(view) - at)
            self._file.write(view[at : at + n])
            self._check.update(view[at : at + n])
            at += n
            self._left -= n
            if not self._left:
                self._end_file()
        self.received += len(view)
        if self.received == self.total:
            if self._file is not None:
                raise ValueError("package: the manifest names more than has come")
            self._lines.close()
            self._lines = open(self._list, "rb")
            self.verified = 0

    def _open(self, path):
        folder = ""
        for part in path.split("/")[:-1]:
            folder += part
            if not store.exists(folder):
                os.mkdir(folder)
            folder += "/"
        self._file = open(path, "wb") if path != _IMAGE else self._slot

    def _end_file(self):
        self._file.close()
        self._file = None
        if _hex(self._check) != self._expected:
            raise ValueError("package: a file is not what the manifest says")
        if self._lines is None:
            self._lines = open(self._list, "rb")
        while self._next() and not self._left:
            self._file.close()  # an empty one
            self._file = None

    def _next(self):
        """Opens the file that comes next; False when there is none."""
        found = self._line()
        if found is None:
            return False
        self._expected, self._left, path = found
        self._check = hashlib.sha256()
        self._open(path)
        return True

    def _line(self):
        """(SHA-256, size, path) of the next line of the manifest; None at its end. Raises ValueError."""
        line = self._lines.readline()
        if not line:
            return None
        words = line.strip().split(b" ")
        most = _FILE_MAX if self._slot is None else self._slot.size
        if len(words) != 3 or not words[1].isdigit() or int(words[1]) > most:
            raise ValueError("manifest: a line that is none")
        path = words[2]
        if self._slot is not None:
            if path != b"image" or int(words[1]) + self._manifest != self.total:
                raise ValueError("manifest: no image")
            return words[0].decode(), int(words[1]), _IMAGE
        if (
            len(path) > _PATH_MAX
            or not (path.startswith(b"firmware/") or path.startswith(b"lib/"))
            or b".." in path
            or b"//" in path
            or any([byte not in _IN_A_PATH for byte in path])
        ):
            raise ValueError("manifest: no path of a firmware")
        return words[0].decode(), int(words[1]), self._folder + "/" + path.decode()

    def verify(self) -> bool:
        """Reads some of what was written back. True when all of it is right. Raises ValueError, OSError."""
        if self.verified < 0:
            raise ValueError("package: not all of it has come")
        left = _READ_AT_ONCE
        while left > 0:
            if self._file is None:
                found = self._line()
                if found is None:
                    self.is_verified = True
                    return True
                self._expected, self._left, path = found
                self._check = hashlib.sha256()
                self._file = open(path, "rb") if path != _IMAGE else self._slot
            piece = self._file.read(min(_READ, self._left)) if self._left else b""
            self._check.update(piece)
            self._left -= len(piece)
            left -= len(piece)
            if not piece:
                self._end_reading()
                left -= _READ
        return False

    def _end_reading(self):
        file = self._file
        self._file = None
        is_longer = False
        if file is self._slot:
            file.end_reading()
        else:
            is_longer = bool(file.read(1))
            file.close()
        if is_longer or self._left or _hex(self._check) != self._expected:
            raise ValueError("package: a file was written wrongly")
        self.verified += 1

    def switch(self) -> None:
        """Has the next start try the new tree or image. Raises OSError."""
        store.remove_file(trees.FAILED)
        if self._slot is None:
            trees.mark(self.tree)
            trees.write(self._good, self.tree)
            return
        trees.write_image(self._slot.label)
        try:
            self._slot.switch()
        except OSError:
            trees.write(self._good, self._good)  # nothing is on trial
            raise

    def close(self) -> None:
        """Closes the files."""
        for file in (self._file, self._lines):
            if file is not None and file is not self._slot:
                file.close()
        self._file = self._lines = None


def _hex(check):
    return "".join(["%02x" % byte for byte in check.digest()])

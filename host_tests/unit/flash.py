"""The real littlefs on a flash in memory whose power can be cut at each single write, as MicroPython's ports set it up.

A cut is told to littlefs as an I/O error, and every write behind it too: what is on the flash then is what a power cut
leaves. The image is mounted again by a file system that knows nothing of the first.
"""

import builtins
import errno
import os
import random
import stat
import types
from dataclasses import dataclass

import pytest
from littlefs import LFSConfig, LFSFilesystem, LittleFSError, lfs


@dataclass(frozen=True)
class Geometry:
    """What a port tells littlefs; its cache and lookahead are those of MicroPython's extmod/vfs_lfsx.c."""

    name: str
    block_size: int
    block_count: int
    read_size: int
    prog_size: int

    def config(self, flash):
        return LFSConfig(
            context=flash, block_size=self.block_size, block_count=self.block_count, read_size=self.read_size,
            prog_size=self.prog_size, cache_size=min(self.block_size, 4 * max(self.read_size, self.prog_size)),
            lookahead_size=32, block_cycles=100,
        )  # fmt: skip


ESP32 = Geometry("esp32", 4096, 24, 32, 32)
RP2 = Geometry("rp2", 4096, 24, 32, 256)
# Blocks so small that files have several and metadata is compacted every few saves.
SMALL = Geometry("small", 512, 64, 32, 32)
GEOMETRIES = pytest.mark.parametrize("geometry", [ESP32, RP2, SMALL], ids=lambda geometry: geometry.name)
# What the write under way has done when the power goes: nothing, its first half, or some bits of every byte.
TEARS = ("nothing", "half", "bits")
TEARS_EACH = pytest.mark.parametrize("tear", TEARS)


class Flash:
    """NOR flash: erasing a block sets its bits, programming clears some. After `limit` of either the power is gone:
    nothing is written any more, and the one under way is torn. Reading goes on; nobody is there to see it."""

    def __init__(self, geometry, image=None):
        self.geometry = geometry
        self.image = bytearray(image or b"\xff" * (geometry.block_size * geometry.block_count))
        self.limit = None  # no cut
        self.tear = TEARS[0]
        self.writes = 0
        self.erases = [0] * geometry.block_count  # of each block
        self.cut = False

    def read(self, cfg, block, off, size):
        at = block * cfg.block_size + off
        return self.image[at : at + size]

    def prog(self, cfg, block, off, data):
        at = block * cfg.block_size + off
        there = self.image[at : at + len(data)]
        assert len(there) == len(data)
        left = int.from_bytes(there, "big") & int.from_bytes(data, "big")
        return self._change(at, left.to_bytes(len(data), "big"))

    def erase(self, cfg, block):
        self.erases[block] += 1
        return self._change(block * cfg.block_size, b"\xff" * cfg.block_size)

    def sync(self, cfg):
        return 0

    def _change(self, at, data):
        if not self.cut and self.writes == self.limit:
            self.cut = True
            if self.tear == "half":
                self.image[at : at + len(data) // 2] = data[: len(data) // 2]
            elif self.tear == "bits":
                rng = random.Random(at)
                for k, new in enumerate(data):
                    done = rng.getrandbits(8)
                    self.image[at + k] = self.image[at + k] & ~done | new & done
        if self.cut:
            return -errno.EIO
        self.writes += 1
        self.image[at : at + len(data)] = data
        return 0


_THERE = ("data", "tree", "label", "erase")


class Device:
    """A file system on a Flash as the firmware sees it: open and os as MicroPython's VfsLfs2 has them. Only _THERE is
    there; the profiles of the flashed tree stay where they are."""

    def __init__(self, flash, fresh=False):
        self.flash = flash
        self._fs = LFSFilesystem()
        self._config = flash.geometry.config(flash)  # littlefs points into it
        if fresh:
            lfs.format(self._fs, self._config)
        lfs.mount(self._fs, self._config)
        self.os = types.SimpleNamespace(
            stat=self._stat,
            rename=self._rename,
            mkdir=self._mkdir,
            remove=self._remove,
            listdir=self.names,
            statvfs=self._statvfs,
        )

    def install(self, monkeypatch, modules):
        """Puts it in the place of the real file system for these modules of the firmware."""
        for module in modules:
            monkeypatch.setattr(module, "open", self.open, raising=False)
            monkeypatch.setattr(module, "os", self.os, raising=False)
        return self

    def open(self, path, mode="r"):
        if not path.startswith(_THERE):
            return builtins.open(path, mode)
        return File(self._fs, path, mode)

    def _stat(self, path):
        if not path.startswith(_THERE):
            return os.stat(path)
        found = self._call(lfs.stat, path)
        kind = stat.S_IFDIR if found.type == found.TYPE_DIR else stat.S_IFREG
        return (kind, 0, 0, 0, 0, 0, found.size, 0, 0, 0)

    def _statvfs(self, path):
        geometry = self.flash.geometry
        free = geometry.block_count - self.used_blocks()
        return (geometry.block_size, geometry.block_size, geometry.block_count, free)

    def _rename(self, old, new):
        self._call(lfs.rename, old, new)

    def _mkdir(self, path):
        self._call(lfs.mkdir, path)

    def _remove(self, path):
        self._call(lfs.remove, path)

    def _call(self, function, *arguments):
        return _errors_as_micropython(function, self._fs, *arguments)

    def used_blocks(self):
        return lfs.fs_size(self._fs)

    def names(self, folder="data"):
        directory = self._call(lfs.dir_open, folder)
        names = set()
        while found := lfs.dir_read(self._fs, directory):
            names.add(found.name)
        lfs.dir_close(self._fs, directory)
        return names - {".", ".."}


_LINE = 64  # bytes: most lines are shorter

# As MicroPython's extmod/vfs_lfsx_file.c opens for appending; littlefs-python makes no file then.
_FLAGS = {"a": (lfs.LFSFileFlag.wronly, lfs.LFSFileFlag.creat, lfs.LFSFileFlag.append)}


class File:
    """An open file, written through to littlefs as VfsLfs2's are."""

    def __init__(self, fs, path, mode):
        self._fs = fs
        self._text = "b" not in mode
        mode = mode.replace("b", "")
        flags = sum(_FLAGS[mode]) if mode in _FLAGS else mode + "b"
        self._handle = _errors_as_micropython(lfs.file_open, fs, path, flags)

    def read(self, size=-1):
        if size < 0:
            size = lfs.file_size(self._fs, self._handle)
        data = bytes(_errors_as_micropython(lfs.file_read, self._fs, self._handle, size))
        return data.decode() if self._text else data

    def readline(self):
        begin = lfs.file_tell(self._fs, self._handle)
        data = b""
        while b"\n" not in data and (more := _errors_as_micropython(lfs.file_read, self._fs, self._handle, _LINE)):
            data += more
        line = data[: data.find(b"\n") + 1] or data
        self.seek(begin + len(line))
        return line.decode() if self._text else line

    def write(self, data):
        data = data.encode() if self._text else bytes(data)
        return _errors_as_micropython(lfs.file_write, self._fs, self._handle, data)

    def seek(self, offset):
        _errors_as_micropython(lfs.file_seek, self._fs, self._handle, offset, 0)

    def flush(self):
        _errors_as_micropython(lfs.file_sync, self._fs, self._handle)

    def close(self):
        # As extmod/vfs_lfsx_file.c: a second close does nothing, also after one that has failed.
        handle, self._handle = self._handle, None
        if handle is not None:
            _errors_as_micropython(lfs.file_close, self._fs, handle)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def _errors_as_micropython(function, *arguments):
    try:
        return function(*arguments)
    except LittleFSError as error:
        raise OSError(-error.code, str(error)) from None

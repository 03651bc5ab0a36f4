"""With which configuration the firmware would start from a flash image: asked on MicroPython's own littlefs (VfsLfs2).

    micropython load_configs.py PATH...

The PATHs go to the front of sys.path. In: one line for each question, `OFFSET PATH`: an image of a flash, in which the
file system begins at OFFSET. Out: one line of JSON for each,
    {"source", "errors", "config"}      what config.load() finds
    "last_good": {...}                  the same with a config.json that is cut off, so that the copy is taken
    "next": "file"                      the source after the user has written another one
Each is found on the image as it is, and the image is never changed: what is written stays in the heap.
"""

import json
import os
import sys

import vfs

sys.path[0:0] = sys.argv[1:]
from firmware.config import load as config

BLOCK = 4096  # of the rp2 port
PROGRAM = 256


class Copy:
    """A flash whose blocks come from a file until they are written to."""

    def __init__(self, file, offset):
        self.file = file
        self.offset = offset
        self.changed = {}
        self.blocks = (file.seek(0, 2) - offset) // BLOCK

    def _block(self, block):
        if block not in self.changed:
            data = bytearray(BLOCK)
            self.file.seek(self.offset + block * BLOCK)
            assert self.file.readinto(data) == BLOCK
            self.changed[block] = data
        return self.changed[block]

    def readblocks(self, block, buf, off=0):
        if block in self.changed:
            buf[:] = memoryview(self.changed[block])[off : off + len(buf)]
        else:
            self.file.seek(self.offset + block * BLOCK + off)
            assert self.file.readinto(buf) == len(buf)
        return 0

    def writeblocks(self, block, buf, off):
        data = self._block(block)
        for k in range(len(buf)):
            data[off + k] &= buf[k]
        return 0

    def ioctl(self, op, arg):
        if op == 4:
            return self.blocks
        if op == 5:
            return BLOCK
        if op == 6:
            self.changed[arg] = bytearray(b"\xff" * BLOCK)
        return 0


def load():
    found = config.load()
    return {"source": found.source, "errors": found.errors, "config": found.config}


def upload(text):
    with open(config.PATH, "w") as f:
        f.write(text)


def mounted(file, offset, ask):
    vfs.mount(vfs.VfsLfs2(Copy(file, offset), progsize=PROGRAM), "/flash")
    os.chdir("/flash")
    try:
        return ask()
    finally:
        os.chdir("/")
        vfs.umount("/flash")


def load_twice():
    found = load()
    upload('{"name": "next"}')
    found["next"] = config.load().source
    return found


def load_last_good():
    upload('{"name":')
    return load()


def main():
    while True:
        line = sys.stdin.readline()
        if not line:
            break
        offset, path = line.strip().split(" ", 1)
        with open(path, "rb") as file:
            found = mounted(file, int(offset), load_twice)
            found["last_good"] = mounted(file, int(offset), load_last_good)
        print(json.dumps(found))


main()

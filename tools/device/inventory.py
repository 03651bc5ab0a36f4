"""Runs on the board (mpremote run): what lies under /firmware, /lib and /tree, boot.py and main.py, and whether there
is /data.

Out, on the REPL: `V <major> <minor> <patch>` of the firmware if there is one, `F <size> <sha256> <path>` for each file,
`D <path>` for each directory, `S <free bytes>`, `H <bytes of heap>`, and `end`.
"""

import binascii
import gc
import hashlib
import os

ROOT = ""
_DIRECTORY = 0x4000


def _file(path, block):
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb") as stream:
        while True:
            count = stream.readinto(block)
            if not count:
                break
            digest.update(block[:count])
            size += count
    print("F", size, binascii.hexlify(digest.digest()).decode(), path[len(ROOT) :])


def _walk(path, block):
    print("D", path[len(ROOT) :])
    for entry in os.ilistdir(path):
        child = path + "/" + entry[0]
        if entry[1] & _DIRECTORY:
            _walk(child, block)
        else:
            _file(child, block)


def _version():
    try:
        from firmware import VERSION
    except Exception:  # none, or a broken one
        return
    print("V", *VERSION)


def main():
    """Prints the inventory; nothing is changed."""
    _version()
    block = bytearray(1024)
    for entry in os.ilistdir(ROOT or "/"):
        path = ROOT + "/" + entry[0]
        if entry[0] in ("firmware", "lib", "tree") and entry[1] & _DIRECTORY:
            _walk(path, block)
        elif entry[0] == "data" and entry[1] & _DIRECTORY:
            print("D", "/data")  # what lies in it is the user's
        elif entry[0] in ("boot.py", "main.py"):
            _file(path, block)
    space = os.statvfs(ROOT or "/")
    print("S", space[0] * space[4])
    print("H", gc.mem_free() + gc.mem_alloc())  # on an ESP32 with what the heap can still grow by
    print("end")


main()

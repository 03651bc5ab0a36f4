"""JSON files that people edit and tools upload: read whole, or not at all.

MicroPython's json takes a file that was cut off in the middle, or whose brackets do not match, for a complete one. So a
file is walked once before it is parsed: brackets must match, strings must end, nothing may follow. Needed at boot, and
when somebody saves.
"""

import json

from micropython import const

_DEPTH_MAX = const(8)
_PIECE = const(128)


def load(path):
    """The object in the file `path`. Raises ValueError with what is wrong and where, OSError when it cannot be read."""
    with open(path, "rb") as f:
        check(f)
    with open(path) as f:
        return json.load(f)


def check(f):
    """Walks the rest of the file `f`, opened in binary mode. Raises ValueError with what is wrong and where."""
    closers = bytearray()
    position = 0
    in_string = escaped = ended = False
    while True:
        piece = f.read(_PIECE)
        if not piece:
            break
        for byte in piece:
            position += 1
            if in_string:
                if escaped:
                    escaped = False
                elif byte == 0x5C:
                    escaped = True
                elif byte == 0x22:
                    in_string = False
                elif byte < 0x20:
                    raise ValueError("byte %d: a text is not closed" % position)
            elif byte in b" \t\r\n":
                continue
            elif ended or (not closers and byte not in b"{["):
                raise ValueError("byte %d: must be an object, and nothing else" % position)
            elif byte == 0x22:
                in_string = True
            elif byte in b"{[":
                if len(closers) == _DEPTH_MAX:
                    raise ValueError("byte %d: nested too deep" % position)
                closers.append(byte + 2)  # } is two behind {, ] behind [
            elif byte in b"}]":
                if closers[-1] != byte:
                    raise ValueError("byte %d: %s where %s was expected" % (position, chr(byte), chr(closers[-1])))
                closers = closers[:-1]
                ended = not closers
    if not ended:
        raise ValueError("cut off after %d bytes" % position)

"""The members of a JSON object, or the items of a list, in a file: where each begins and ends, so that they can be
parsed one at a time. A file is held against strict_json.check() first: brackets match and strings end."""

import json

from micropython import const

_PIECE = const(128)
_VALUE_MAX = const(2048)


def members(f, at=0):
    """Yields (key, begin, end) of each member of the object, or (None, begin, end) of each item of the list, that is
    the first at or behind byte `at` of `f`. In between the caller may read elsewhere. Raises ValueError."""
    depth = 0
    begin = at
    colon = -1
    in_string = escaped = some = comma = False
    while True:
        f.seek(at)
        piece = f.read(_PIECE)
        if not piece:
            raise ValueError("byte %d: cut off" % at)
        for byte in piece:
            at += 1
            if in_string:
                if escaped:
                    escaped = False
                elif byte == 0x5C:
                    escaped = True
                elif byte == 0x22:
                    in_string = False
            elif byte == 0x22:
                in_string = some = True
            elif byte == 0x7B or byte == 0x5B:
                depth += 1
                if depth == 1:
                    named = byte == 0x7B
                    begin = at
                else:
                    some = True
            elif depth == 1 and byte == 0x3A and named and colon < 0:
                colon = at
            elif byte == 0x7D or byte == 0x5D or (depth == 1 and byte == 0x2C):
                if byte != 0x2C:
                    depth -= 1
                if depth == (1 if byte == 0x2C else 0):
                    if some and named == (colon >= 0):
                        yield _key(f, begin, colon) if named else None, max(begin, colon), at - 1
                    elif some or comma or byte == 0x2C:
                        raise ValueError("byte %d: something is missing" % at)
                    if byte != 0x2C:
                        return
                    begin = at
                    colon = -1
                    comma = True
                    some = False
            elif byte not in b" \t\r\n":
                some = True


def _key(f, begin, colon):
    key = value(f, begin, colon - 1)
    if not isinstance(key, str):
        raise ValueError("byte %d: a key must be a text" % begin)
    return key


def value(f, begin, end):
    """What stands in f[begin:end]. Raises ValueError with the place; also when it is longer than fits the heap."""
    if end - begin > _VALUE_MAX:
        raise ValueError("byte %d: longer than %d bytes" % (begin, _VALUE_MAX))
    f.seek(begin)
    try:
        return json.loads(f.read(end - begin).decode())
    except (ValueError, RuntimeError) as error:
        raise ValueError("byte %d: %s" % (begin, error)) from None


def is_list(f, begin, end):
    """Whether f[begin:end] begins as a list does."""
    f.seek(begin)
    while begin < end:
        piece = f.read(1)
        begin += 1
        if piece.strip():
            return piece == b"["
    return False

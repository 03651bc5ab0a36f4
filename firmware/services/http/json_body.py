"""Reads a request's body as a small JSON object, and checks its values."""

import strict_json
from micropython import const

from firmware.services.http.response import Refused

_TYPING = const(0)
if _TYPING:
    from typing import Any

_HEX = b"0123456789abcdefABCDEF"


def object_of(body: "bytes | bytearray") -> dict:
    """The JSON object in `body`; {} without a body. Raises Refused 400."""
    try:
        document = strict_json.loads(body) if body else {}
    except ValueError as error:
        raise Refused(400, "the body must be a JSON object: %s" % error) from None
    if not isinstance(document, dict):
        raise Refused(400, "the body must be a JSON object")
    return document


def is_whole(value: "Any", least: int, most: int) -> bool:
    """True for an integer (no bool) from `least` to `most`."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def unhex(text: "Any") -> bytes:
    """The bytes of a text of hexadecimal digits; b"" for anything else."""
    if not isinstance(text, str) or len(text) % 2:
        return b""
    for byte in text.encode():
        if byte not in _HEX:
            return b""
    return bytes.fromhex(text)

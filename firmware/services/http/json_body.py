"""Reads the small JSON object that a request's body is, and the values in it."""

import strict_json
from micropython import const

from firmware.services.http.response import Refused

_TYPING = const(0)
if _TYPING:
    from typing import Any

_HEX = b"0123456789abcdefABCDEF"


def object_of(body: "bytes | bytearray") -> dict:
    """The JSON object in `body`; an empty one when the request has no body. Raises Refused."""
    try:
        document = strict_json.loads(body) if body else {}
    except ValueError as error:
        raise Refused(400, "the body must be a JSON object: %s" % error) from None
    if not isinstance(document, dict):
        raise Refused(400, "the body must be a JSON object")
    return document


def is_whole(value: "Any", least: int, most: int) -> bool:
    """Whether `value` is an integer within these bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def unhex(text: "Any") -> bytes:
    """The bytes that a text of hexadecimal digits stands for; none when `text` is anything else."""
    if not isinstance(text, str) or len(text) % 2:
        return b""
    for byte in text.encode():
        if byte not in _HEX:
            return b""
    return bytes.fromhex(text)

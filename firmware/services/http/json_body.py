"""What a small body says."""

import strict_json

from firmware.services.http.errors import Refused

_HEX = b"0123456789abcdefABCDEF"


def object_of(body):
    """The JSON object in `body` (bytes-like); an empty one when nothing came. Raises Refused."""
    try:
        given = strict_json.loads(body) if body else {}
    except ValueError as error:
        raise Refused(400, "the body must be a JSON object: %s" % error) from None
    if not isinstance(given, dict):
        raise Refused(400, "the body must be a JSON object")
    return given


def is_whole(value, least, most):
    """Whether it is an integer within these bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def unhex(text):
    """The bytes that a text of hexadecimal digits stands for; none when it is anything else."""
    if not isinstance(text, str) or len(text) % 2:
        return b""
    for byte in text.encode():
        if byte not in _HEX:
            return b""
    return bytes.fromhex(text)

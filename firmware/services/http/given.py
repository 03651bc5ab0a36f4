"""What a small body says."""

import json

from firmware.services.http.guard import Refused


def object_of(body):
    """The JSON object in `body`; an empty one when nothing came. Raises Refused."""
    try:
        given = json.loads(bytes(body).decode() or "{}")
    except (ValueError, RuntimeError):  # the latter: nested too deep
        given = None
    if not isinstance(given, dict):
        raise Refused(400, "the body must be a JSON object")
    return given


def unhex(text):
    """The bytes that a text of hexadecimal digits stands for; none when it is anything else."""
    if not isinstance(text, str) or len(text) % 2 or not all([one in "0123456789abcdefABCDEF" for one in text]):
        return b""
    return bytes.fromhex(text)

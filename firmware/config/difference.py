"""What a new configuration file changes: two parsed documents, or one and the configuration that is in use."""

import hashlib
import json


def digest(document):
    """SHA-256 of what a parsed document says, however it is written and ordered."""
    sha = hashlib.sha256()
    _feed(sha, document)
    return sha.digest()


def _feed(sha, value):
    if isinstance(value, dict):
        sha.update(b"{")
        for key in sorted(value):
            sha.update(json.dumps(key).encode())
            _feed(sha, value[key])
        sha.update(b"}")
    elif isinstance(value, list):
        sha.update(b"[")
        for one in value:
            _feed(sha, one)
        sha.update(b"]")
    else:
        sha.update(json.dumps(value).encode() + b",")


def switched(document, config):
    """Names of the services whose switch in `document`, which may be wrong, is not that of `config`, which is
    complete."""
    found = []
    for name, part in config.items():
        if isinstance(part, dict) and "enabled" in part:
            given = document.get(name)
            if part["enabled"] != (given.get("enabled", True) if isinstance(given, dict) else True):
                found.append(name)
    return found

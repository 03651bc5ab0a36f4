"""Compares a new configuration file with the old one, or with the configuration in use."""

import hashlib
import json

from micropython import const

from firmware.config import schema

_TYPING = const(0)
if _TYPING:
    from typing import Any


def digest(document: "Any") -> bytes:
    """SHA-256 of a parsed document, the same for every order of its keys and every layout of its text."""
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
        for item in value:
            _feed(sha, item)
        sha.update(b"]")
    else:
        sha.update(json.dumps(value).encode() + b",")


def switched_services(document: dict, config: dict) -> "list[str]":
    """Names of the services that `document`, which may be wrong, switches on or off against `config`, which is
    complete."""
    found = []
    for name, part in config.items():
        if isinstance(part, dict) and "enabled" in part:
            section = document.get(name)
            default = schema.find("enabled", schema.find(name)[2])[2]
            if part["enabled"] != (section.get("enabled", default) if isinstance(section, dict) else default):
                found.append(name)
    return found

"""What is on the device's label: a password of its own, for its access point."""

import os

from micropython import const

from firmware.config import store

_LABEL = const("label/wifi")  # outside data/: a factory reset keeps what is on the label
_LABEL_LENGTH = const(12)
_LETTERS = b"abcdefghijkmnpqrstuvwxyz23456789"  # 32, without those that look alike


def label_password() -> str:
    """The password of the access point, 60 random bits, made at its first use: what is on the device's label. It is
    not made from the serial, which is the MAC address on an ESP32: every beacon has that."""
    try:
        kept = store.read(_LABEL)
        if len(kept) == _LABEL_LENGTH and all([byte in _LETTERS for byte in kept]):
            return kept.decode()
    except OSError:
        pass
    password = bytes([_LETTERS[byte % len(_LETTERS)] for byte in os.urandom(_LABEL_LENGTH)])
    try:
        store.replace(_LABEL, (password,))
    except OSError:
        pass  # it holds until the next start
    return password.decode()

"""What ESP32 and RP2 boards have in common in set-up mode. Imported then only: at rest it would take heap."""

import sys

import micropython
import network
from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Any


class Radio:
    """A Radio (firmware.board), whose access point on the interface `nic` runs."""

    dns_port = 53

    def __init__(self, nic: "Any") -> None:
        self._nic = nic
        self._station = network.WLAN(network.STA_IF)
        self.address = nic.ifconfig()[0]

    def networks(self) -> list:
        self._station.active(True)
        return self._station.scan()

    def leave(self) -> None:
        self._station.active(True)
        self._station.disconnect()

    def close(self) -> None:
        self._nic.active(False)


class Console:
    """A Console (firmware.board)."""

    def __init__(self) -> None:
        self.stream = sys.stdin
        micropython.kbd_intr(-1)

    def read(self) -> bytes:
        return sys.stdin.buffer.read(1)  # of more than is there it would wait for the rest

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)  # sys.stdout itself makes CR LF of an LF

    def close(self) -> None:
        micropython.kbd_intr(3)

"""Runs on MicroPython, in a state directory: the firmware as main.py starts it, on a unix board that has Wi-Fi. Its
argument is the port of its name server. After Ctrl-C it is a raw REPL. In reach are "plant" with the password
"geheim12", and "yard" without one.
"""

import sys
import time

import raw_repl

import main
from firmware.board import unix

_JOIN_MS = 1500
_KEYS = {"plant": "geheim12", "yard": ""}


class Station(unix.Link):
    """A station that takes a while."""

    def __init__(self, config):
        super().__init__(config)
        self.ssid = config["ssid"]
        self._key = config["password"]
        self._begun_ms = None

    def _waited(self):
        return self._begun_ms is not None and time.ticks_diff(time.ticks_ms(), self._begun_ms) > _JOIN_MS

    def up(self):
        return self._waited() and _KEYS.get(self.ssid) == self._key

    def connect(self):
        if self._begun_ms is None:
            self._begun_ms = time.ticks_ms()

    def trouble(self):
        return "wrong password" if self._waited() and not self.up() else ""


class Radio:
    """firmware.board.Radio: an access point whose stations are on this machine."""

    address = "127.0.0.1"
    dns_port = int(sys.argv[1])

    def networks(self):
        return [(b"yard", bytes(6), 1, -80, 0, 1), (b"plant", bytes(6), 6, -55, 3, 1)]

    def leave(self):
        """Does nothing: each try has a station of its own."""

    def close(self):
        """Does nothing: there is no radio."""


class Board(unix.Board):
    """A development machine with Wi-Fi."""

    has_wifi = True

    def open_link(self, config):
        return Station(config)

    def access_point(self, ssid, password):
        return Radio()


unix.Board = Board
try:
    main.run()
except KeyboardInterrupt:
    print("stopped by Ctrl-C")
    raw_repl.serve()

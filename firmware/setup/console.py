"""Improv on the console's line, so that a browser sets Wi-Fi right after it has flashed the board (ESP Web Tools).

An RPC packet of Improv holds bytes 3, which MicroPython would take for Ctrl-C: the board's console hands them over as
data, and a byte 3 outside a packet raises KeyboardInterrupt here, so that Ctrl-C and mpremote work as always. A packet
whose rest does not come within half a second is dropped: behind it Ctrl-C would go unheard.
"""

import improv
from micropython import const

from firmware import VERSION
from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.setup.setup import SetUp

_REST_MS = const(500)
_TRYING, _JOINED = const(1), const(3)  # states of a SetUp


class ImprovConsole:
    """`console`: the board's (firmware.board.Console)."""

    def __init__(self, set_up: "SetUp", console: "Any", board: str, name: str) -> None:
        self._set_up = set_up
        self._console = console
        self._info = "meterport", "%d.%d.%d" % VERSION, board, name
        self._receiver = improv.Receiver()
        self._begun_ms = 0
        self._asked = False  # a network was named here, and the outcome is not told yet
        seam.watch(console.stream, self)
        self._is_open = True

    def close(self) -> None:
        """Gives the console back. May be called twice."""
        if self._is_open:
            self._is_open = False
            seam.unwatch(self._console.stream)
            self._console.close()

    def on_ready(self, events: int) -> None:
        """Reads what was typed or sent; called by the loop. Raises KeyboardInterrupt."""
        data = self._console.read()
        if not data:  # the line has ended
            self.close()
            return
        receiver = self._receiver
        now_ms = seam.ticks_ms()
        if receiver.is_within() and seam.ticks_diff(now_ms, self._begun_ms) > _REST_MS:
            receiver.drop()
        for byte in data:
            event = receiver.feed(byte)
            if event == improv.CTRL_C:
                self.close()
                raise KeyboardInterrupt
            if event == improv.PACKET:
                self._serve(receiver.kind, receiver.data)
            elif event == improv.BROKEN:
                self._send_error(improv.INVALID_PACKET)
            if not receiver.is_within():
                self._begun_ms = now_ms

    def fail(self, error: Exception) -> None:
        """on_ready() has raised."""
        self._send_error(improv.UNKNOWN_ERROR)

    def tell(self) -> None:
        """Tells the outcome of a try; called when the SetUp has another state."""
        if self._asked:
            self._asked = False
            if self._set_up.state == _JOINED:
                self._send_state()
                self._console.write(improv.result(improv.WIFI, (self._url(),)))
            else:
                self._send_error(improv.CANNOT_CONNECT)
                self._send_state()

    def _serve(self, kind, data):
        if kind != improv.RPC:
            return
        write = self._console.write
        try:
            command, data = improv.command(data)
            if command == improv.WIFI:
                ssid, password = improv.credentials(data)
                self._begin(ssid.decode(), password.decode())
            elif command == improv.GET_STATE:
                self._send_state()
                if self._set_up.state == _JOINED:
                    write(improv.result(command, (self._url(),)))
            elif command == improv.GET_INFO:
                write(improv.result(command, self._info))
            elif command == improv.GET_NETWORKS:
                for ssid, rssi, is_open in self._set_up.networks:
                    write(improv.result(command, (ssid, "%d" % rssi, "NO" if is_open else "YES")))
                write(improv.result(command, ()))
            else:
                self._send_error(improv.UNKNOWN_COMMAND)
        except ValueError:  # UnicodeError is one
            self._send_error(improv.INVALID_PACKET)

    def _begin(self, ssid, password):
        self._send_error(improv.NO_ERROR)
        if self._set_up.begin(ssid, password):
            self._send_error(improv.CANNOT_CONNECT)
            return
        self._asked = True
        self._send_state()

    def _url(self):
        return "http://%s/" % self._set_up.address

    def _send_state(self):
        state = self._set_up.state
        shown = improv.READY
        if state == _TRYING:
            shown = improv.PROVISIONING
        elif state == _JOINED:
            shown = improv.PROVISIONED
        self._console.write(improv.packet(improv.STATE, bytes((shown,))))

    def _send_error(self, code):
        self._console.write(improv.packet(improv.ERROR, bytes((code,))))

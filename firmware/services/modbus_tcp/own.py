"""Unit 255 as long as it is wanted: its code comes into the heap with the first request and goes when none has come for
some seconds, or when somebody saves a configuration or searches for meters: it is 4 of 128 KiB.
"""

from micropython import const

from modbus import pdu

_IDLE_S = const(10)


class Own:
    """`app` is the running gateway (firmware.app.App). `counters` are the server's, and set by it."""

    def __init__(self, app):
        self._app = app
        self._unit = None
        self._idle_s = 0
        self.counters = None

    def answer(self, buf, at, n, out, start):
        """As Unit255.answer; exception 06 while there is no room for it."""
        self._idle_s = 0
        try:
            if self._unit is None:
                self._unit = self._load()
            return self._unit.answer(buf, at, n, out, start)
        except MemoryError:
            out[start] = buf[at] | 0x80
            out[start + 1] = pdu.SERVER_DEVICE_BUSY
            return 2

    def sweep(self):
        """Once a second."""
        self._idle_s += 1
        if self._unit is not None and self._idle_s > _IDLE_S:
            self.drop()

    def drop(self):
        """Gives its code back; the next request loads it again."""
        if self._unit is not None:
            self._unit = None
            self._app.forget()

    def _load(self):
        app = self._app
        app.pack(True)
        try:
            from firmware.services.modbus_tcp.unit255 import Unit255

            unit = Unit255(app, app.budget, app.points, app.readings, app.buses)
            unit.server_counters = self.counters
            return unit
        finally:
            app.pack(False)
            app.forget("firmware.services.modbus_tcp.unit255")  # nobody else may hold it

"""A small HTTP/1.1 server: one page, and a JSON API. What runs it is loaded with the first connection and given back
to the heap when there has been none for a while; what has to last is here.
"""

import os

from micropython import const

from firmware.net.listener import Listener

_UNSERVED_MS = const(10000)  # to send the first request in
_QUIET_S = const(10)
_SHED_S = const(10)
_LOADED = ("http1", "firmware.services.http.guard", "firmware.services.http.connection")


class Counters:
    """Of the whole server, since boot."""

    def __init__(self):
        self.requests = 0
        self.refused = 0  # with a status of 400 or above


class Server:
    """`api` (api.py): find(path) tells who may, methods and the longest body, call() answers, upload() takes a body
    that is too long for the heap, drop() and forget() give back what is loaded; uptime_s() and hostname."""

    def __init__(self, config, budget, events, api):
        self.budget = budget
        self.events = events
        self.api = api
        self.public_status = config["public_status"]
        self.commissioning = config["commissioning"]
        self.counters = Counters()
        self.password = api.once("password", "kept")  # of password.py
        api.forget(*_LOADED)
        self.sessions = []  # of guard.py
        self.failures = []  # of login.py: [address, how many in a row, not before]
        self.spent = []  # of login.py: nonces that somebody has logged in with
        self.secret = os.urandom(16)  # of login.py: marks the nonces that it gives out
        self.desk = None  # connection.py's
        self.saving = None
        self._factory = None
        self._quiet_s = 0
        self._shed_s = 0  # for how much longer browsers wait
        self.listener = Listener(
            budget, events, "http", config["bind"], config["port"], self.connection,
            _UNSERVED_MS, 1000 * config["idle_timeout_s"],
        )  # fmt: skip

    def connection(self, stream, slot):
        """A newcomer. Raises MemoryError, and is as it was then."""
        if self._factory is None:
            try:
                self.load()
            except MemoryError:
                self.unload()
                raise
        return self._factory(self, stream, slot)

    def load(self):
        self.api.pack(True)
        try:
            from firmware.services.http.connection import Desk, HttpConnection

            self.desk = Desk(self)
            self._factory = HttpConnection
        finally:
            self.api.pack(False)

    def unload(self):
        """Gives back what only connections need."""
        self.desk = self._factory = None
        self.api.drop()
        self.api.forget(*_LOADED)

    def drop(self):
        """Gives all back that browsers need; for some seconds they wait in the backlog. True when there was any."""
        if self._factory is None or self.saving is not None:
            return False
        connections = self.budget.connections
        for k in range(len(connections) - 1, -1, -1):  # without a copy: there may be no room for one
            if connections[k].kind == "http":
                connections[k].connection.close()
        self.unload()
        self._shed_s = _SHED_S
        self.listener.hold(True)
        return True

    def sweep(self):
        """Once a second."""
        if self._shed_s:
            self._shed_s -= 1
            if not self._shed_s:
                self.listener.hold(False)
        # First of all: what a frame has called once lies about in it, and is not given back while it runs.
        if self.saving is not None:
            self._save(self.saving)
        self._quiet_s += 1
        for slot in self.budget.connections[:]:
            if slot.kind == "http":
                self._quiet_s = 0
                slot.connection.hurry()
        self.listener.sweep()
        if self._quiet_s == _QUIET_S and self._factory is not None:
            self.unload()

    def _save(self, saving):
        """A configuration has come whole. Its check needs the room that connections take: the others are closed, and
        their browsers come back; the one that saves goes on when it is done."""
        for slot in self.budget.connections[:]:
            if slot.kind == "http" and slot is not saving.slot:
                slot.connection.close()
        self.unload()
        saving.check()
        self.saving = None
        try:
            self.load()
            saving.go_on(self._factory)
        except MemoryError:
            self.unload()
            saving.close()
            raise

    def close(self):
        self.listener.close()

"""The JSON API: which paths there are, who may use them, and the code that answers them, which is loaded when somebody
asks. Every field is in docs/contracts.md.

What a page polls stays in the heap while there is room; whoever logs in or saves has it to himself, and when the last
connection has gone nothing is left.
"""

import gc

from micropython import const

_ROOM = const(20480)  # bytes: ten Modbus clients and a request are to fit as well
_RESERVE = const(2048)  # bytes that documents leave to those who poll
_PACKAGE = "firmware.services.http."
_POLLED = ("status_api", "readings_api", "sockets_api", "bus_api", "scan_api", "history_api")

# path, who may (open: everybody; read: with http.public_status everybody reads; session: who has logged in), methods,
# longest body, module of this package. One text instead of a table, which would cost several times the heap.
_ROUTES = (
    "\n/ open GET,HEAD 0 front"
    "\n/api/status read GET,HEAD 0 status_api"
    "\n/api/readings read GET,HEAD 0 readings_api"
    "\n/api/bus read GET,HEAD 0 bus_api"
    "\n/api/scan read GET,HEAD,POST,DELETE 0 scan_api"
    "\n/api/sockets read GET,HEAD 0 sockets_api"
    "\n/api/history read GET,HEAD 0 history_api"
    "\n/api/session open GET,HEAD 0 login"
    "\n/api/login open POST 512 login"
    "\n/api/logout open POST 512 login"
    "\n/api/password open POST 768 password"
    "\n/api/config session GET,HEAD,PUT 12288 settings"
    "\n/api/schema session GET,HEAD 0 tables"
    "\n/api/profiles read GET,HEAD 0 tables"
    "\n/api/read session POST 512 actions"
    "\n/api/time session POST 512 actions"
    "\n/api/reboot session POST 512 actions"
    "\n/api/factory_reset session POST 512 actions"
    "\n"
)
# What those modules load in their turn: one text, which is taken apart when it is used.
_BORROWED = (
    "firmware.config.check firmware.config.lists firmware.config.rules firmware.config.sections "
    "firmware.config.json_file firmware.config.schema firmware.config.profile_check firmware.meters.catalog "
    "firmware.meters.profile_loader firmware.services.http.given "
    "firmware.services.http.settings firmware.services.http.upload firmware.config.store strict_json scram"
)


class Api:
    """`app` is the running gateway (firmware.app.App)."""

    def __init__(self, app):
        self._app = app
        self._parts = {}
        self.path = None  # what find() was asked last, since one request asks twice and the next is often the same,
        self._found = (None, None, 0, "")  # and what it has found
        self.forget = app.forget
        self.pack = app.pack
        self.uptime_s = app.uptime_s
        self.hostname = app.hostname()

    def find(self, path):
        """(who may, methods, longest body) of a path; (None, None, 0) when there is none."""
        return self._find(path)[:3]

    def _find(self, path):
        if path != self.path:
            row = _row(path)
            self._found = (row[1], row[2].replace(",", ", "), int(row[3]), row[4]) if row else (None, None, 0, "")
            self.path = path
        return self._found

    def call(self, request, body, connection):
        """Answers a request for one of those paths. A pair: generator of texts, extra header fields; or whatever
        connection.respond() takes; or None when the connection will be told. Raises http1.HttpError, ValueError,
        OSError and MemoryError."""
        return self._load(self._find(request.path)[3]).answer(self._app, request, body, connection)

    def once(self, name, function, *given):
        """What `function` of that part of the package gives; the part itself is not kept. Raises what it raises."""
        self.drop()
        try:
            return getattr(_part(name), function)(self._app, *given)
        finally:
            self.forget(_PACKAGE + name, *_BORROWED.split(" "))

    def _load(self, name):
        part = self._parts.get(name)
        if part is None:
            gc.collect()
            if name not in _POLLED or (hasattr(gc, "mem_free") and gc.mem_free() < _ROOM):
                self.drop()
            self.pack(True)
            try:
                part = _part(name)
            finally:
                self.pack(False)
                # Nobody else may hold it.
                self.forget(_PACKAGE + name, *_BORROWED.split(" "))
            if hasattr(gc, "mem_free") and gc.mem_free() < _RESERVE:
                part = None
                self.drop()
                raise MemoryError
            self._parts[name] = part
        return part

    def drop(self):
        """Gives the parts that are loaded back to the heap, and what else can be had."""
        self._parts = {}
        self._app.spare()


def _part(name):
    """A module of this package. By its name, for statements would take half a kilobyte of heap."""
    return __import__(_PACKAGE + name, None, None, (name,))


def _row(path):
    """The words of a path's row, or ()."""
    at = _ROUTES.find("\n%s " % path)
    return _ROUTES[at + 1 : _ROUTES.find("\n", at + 1)].split(" ") if at >= 0 else ()

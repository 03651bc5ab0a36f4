"""The JSON API: which paths there are, who may use them, and the code that answers them, which is loaded when somebody
asks. Every field is in docs/contracts.md.

One part of that code is in the heap at a time: a page that polls finds its part there, whoever logs in or saves puts
another in its place, and when the last connection has gone nothing of it is left.
"""

# path, who may (open: everybody; read: with http.public_status everybody reads; session: who has logged in), methods,
# longest body, module of this package. One text instead of a table, which would cost several times the heap.
_ROUTES = (
    "\n/ open GET,HEAD 0 front"
    "\n/api/status read GET,HEAD 0 documents"
    "\n/api/readings read GET,HEAD 0 documents"
    "\n/api/bus read GET,HEAD 0 bus_api"
    "\n/api/scan read GET,HEAD,POST,DELETE 0 bus_api"
    "\n/api/sockets read GET,HEAD 0 documents"
    "\n/api/session open GET,HEAD 0 login"
    "\n/api/login open POST 512 login"
    "\n/api/logout open POST 512 login"
    "\n/api/password open POST 768 login"
    "\n"
)
# What those modules load in their turn.
_BORROWED = ("scram", "firmware.store")


class Api:
    """`app` is the running gateway (firmware.app.App)."""

    def __init__(self, app):
        self._app = app
        self._name = ""
        self._part = None
        self.uptime_s = app.uptime_s
        self.hostname = app.hostname()

    def find(self, path):
        """(who may, methods, longest body) of a path; (None, None, 0) when there is none."""
        row = _row(path)
        return (row[1], row[2].replace(",", ", "), int(row[3])) if row else (None, None, 0)

    def call(self, request, body, connection):
        """Answers a request for one of those paths. A pair: generator of texts, extra header fields; or whatever
        connection.respond() takes; or None when the connection will be told. Raises http1.HttpError, ValueError,
        OSError and MemoryError."""
        return self._load(_row(request.path)[4]).answer(self._app, request, body, connection)

    def _load(self, name):
        if name != self._name:
            self.drop()
            try:
                part = _import(name)
                self._part = part
                self._name = name
            finally:
                # Nobody else may hold it.
                self._app.forget("firmware.services.http." + name, *_BORROWED)
        return self._part

    def drop(self):
        """Gives the part that is loaded back to the heap."""
        if self._part is not None:
            self._name = ""
            self._part = None
            self._app.forget()


def _import(name):
    if name == "documents":
        from firmware.services.http import documents

        return documents
    if name == "bus_api":
        from firmware.services.http import bus_api

        return bus_api
    if name == "front":
        from firmware.services.http import front

        return front
    from firmware.services.http import login

    return login


def _row(path):
    """The words of a path's row, or ()."""
    at = _ROUTES.find("\n%s " % path)
    return _ROUTES[at + 1 : _ROUTES.find("\n", at + 1)].split(" ") if at >= 0 else ()

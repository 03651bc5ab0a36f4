"""The table of paths, and what of a request is settled before the first byte of its body is taken: whether there is
such a path and method, who it is from, and whether he may.
"""

import http1
from firmware.services.http import origin_check
from firmware.services.http.errors import Refused

# Who may
OPEN = "open"  # everybody
READ = "read"  # who has logged in; GET: with http.public_status everybody; else: with http.commissioning everybody
SESSION = "session"  # who has logged in

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")  # in the order of the header Allow


class Route:
    """A path: `access` is one of the above, `body_max` the longest body in bytes, and then each method's handler.
    HEAD is what GET is."""

    def __init__(self, access, body_max=0, **handlers):
        self.access = access
        self.body_max = body_max
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self.handlers = handlers

    @property
    def allow(self):
        return ", ".join([method for method in _METHODS if method in self.handlers])


class Gate:
    """`routes`: {path: Route}; `sessions`: sessions.Sessions; `hostname` of the device; the others are switches of the
    configuration."""

    def __init__(self, routes, sessions, hostname, public_status, commissioning):
        self.routes = routes
        self._sessions = sessions
        self._hostname = hostname.lower()
        self._public_status = public_status
        self._commissioning = commissioning

    def admit(self, request):
        """The longest body that this request may have, in bytes. Adds to it `session` (None without) and `handler`.
        Raises Refused."""
        request.session = None
        path = request.path
        route = self.routes.get(path)
        if route is None:
            raise _no_page(path)
        request.handler = route.handlers.get(request.method)
        if request.handler is None:
            raise Refused(405, "no such method for this path", (), (("Allow", route.allow),))
        reads = request.method == "GET" or request.method == "HEAD"
        if path != "/":
            origin_check.check_host(request, self._hostname)
            if not reads:
                origin_check.check_origin(request)
            request.session = self._sessions.find(request.headers.get("cookie", ""))
        if route.access is not OPEN and request.session is None:
            self._check_public(route, reads)
        return 0 if reads else route.body_max

    def _check_public(self, route, reads):
        if route.access is SESSION:
            raise Refused(403, "not logged in")
        if not (self._public_status if reads else self._commissioning):
            switch = "public_status" if reads else "commissioning"
            raise Refused(403, "not logged in, and http.%s is off" % switch)


def _no_page(path):
    # Browsers ask for icons by themselves: once a day will do.
    headers = (("Cache-Control", "max-age=86400"),) if path == "/favicon.ico" else ()
    return Refused(404, "no such page: %s" % path, (), headers)


def parameters(query, allowed):
    """{key: value} of a query, decoded: `allowed`, in which each has its default, with what was given in its place.
    Raises ValueError, http1.HttpError."""
    given = dict(allowed)
    for part in query.split("&"):
        if not part:
            continue
        key, _, value = part.partition("=")
        if key not in given:
            raise ValueError("%s: unknown; known are %s" % (key, ", ".join(sorted(given))))
        given[key] = http1.unquote(value, True)
    return given

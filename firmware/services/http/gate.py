"""What of a request is settled before the first byte of its body is taken: whether it was meant for this device and
sent by a page of it or by a program, whether there is such a path and method, who sent it, and whether he may.
"""

from micropython import const

from firmware.services.http.errors import Refused

_TYPING = const(0)
if _TYPING:
    from firmware.services.http.sessions import Sessions
    from http1 import Request

# Who may
OPEN = const(0)  # everybody
READ = const(1)  # who has logged in; GET: with http.public_status everybody; else: with http.commissioning everybody
SESSION = const(2)  # who has logged in

_METHODS = (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE")  # in the order of the header Allow
_READS = (b"GET", b"HEAD")
# Nobody can have such a name in the public DNS (RFC 6762, RFC 8375; the others are not delegated).
_LOCAL = (b".local", b".lan", b".home", b".home.arpa", b".internal", b".localdomain")


class Route:
    """A path: `access` is one of the above, `body_max` the longest body in bytes, and then each method's handler.
    HEAD is what GET is."""

    def __init__(self, access, body_max=0, **handlers):
        self.access = access
        self.body_max = body_max
        if "GET" in handlers:
            handlers["HEAD"] = handlers["GET"]
        self.handlers = {method.encode(): handler for method, handler in handlers.items()}

    @property
    def allow(self):
        return b", ".join([method for method in _METHODS if method in self.handlers]).decode()


class Gate:
    """`routes`: {path: Route}; `hostname` of the device; `config`: the section http of the configuration."""

    def __init__(
        self, routes: "dict[bytes, Route]", sessions: "Sessions", hostname: str, config: dict
    ) -> None:  # fmt: skip
        self.routes = routes
        self._sessions = sessions
        self._hostname = hostname.lower().encode()
        self._names = [name.lower().encode() for name in config["names"]]
        self._public_status = config["public_status"]
        self._commissioning = config["commissioning"]

    def admit(self, request: "Request") -> int:
        """The longest body that this request may have, in bytes. Adds to it `session` (None without) and `handler`.
        Raises Refused."""
        request.session = None
        path = request.path
        route = self.routes.get(path)
        if route is None:
            # Browsers ask for icons by themselves: once a day will do.
            headers = (("Cache-Control", "max-age=86400"),) if path == b"/favicon.ico" else ()
            raise Refused(404, b"no such page: " + path, (), headers)
        request.handler = route.handlers.get(request.method)
        if request.handler is None:
            raise Refused(405, "no such method for this path", (), (("Allow", route.allow),))
        reads = request.method in _READS
        if path != b"/":
            request.session = self._sessions.find(request.headers.get(b"cookie", b""))
            self._check_host(request, reads)
            if not reads:
                self._check_origin(request)
        if route.access != OPEN and request.session is None:
            self._check_public(route, reads)
        return 0 if reads else route.body_max

    def _check_host(self, request, reads):
        """421 when the request was meant for another: a page of another site whose name has become our address (DNS
        rebinding). A name that begins with the host name is taken for what the router of the network calls this
        device; but its rest may be anybody's, so nothing is changed under it without a session."""
        name = _name(request.host)
        if b"." not in name or not name.strip(b"0123456789.") or name in self._names:
            return
        for ending in _LOCAL:
            if name.endswith(ending):
                return
        if not name.startswith(self._hostname + b"."):
            raise Refused(421, b"this is not " + name + b": use the address, or add the name to http.names")
        if not reads and request.session is None and request.path != b"/api/login":
            raise Refused(421, "not under this name without a login: use the address, or add the name to http.names")

    def _check_origin(self, request):
        """403 unless our own page or a program sent this. A page of another site cannot send X-Meterport without asking
        first (Fetch, CORS preflight), which is never allowed here; browsers tell the truth in Origin. Behind a proxy
        that changes Host, Origin has one of http.names."""
        if b"x-meterport" not in request.headers:
            raise Refused(403, "the header X-Meterport is missing")
        origin = request.headers.get(b"origin")
        if origin is None:
            return
        host = origin.lower().partition(b"://")[2]
        if host != request.host and _name(host) not in self._names:
            raise Refused(403, "this came from a page of another site; http.names has the sites of a proxy")

    def _check_public(self, route, reads):
        if route.access == SESSION:
            raise Refused(403, "not logged in")
        if not (self._public_status if reads else self._commissioning):
            switch = "public_status" if reads else "commissioning"
            raise Refused(403, "not logged in, and http.%s is off" % switch)


def _name(host):
    """The host name in a Host or Origin, without port and final dot."""
    name = host.partition(b":")[0]
    return name[:-1] if name.endswith(b".") else name

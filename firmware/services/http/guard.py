"""Who may ask for what: sessions, and whether a request comes from our own page.

A session is a random cookie, of which only the hash is kept: so its comparison tells nothing. What belongs to logging
in, which is rare, is in login.py.
"""

import hashlib

from micropython import const

import http1

_IDLE_S = const(3600)


class Refused(http1.HttpError):
    """An HttpError with more to say: `fields` are texts as "http.port: ...", `extra` are header fields (name, value).
    The connection stays open."""

    def __init__(self, status, reason, fields=(), extra=()):
        super().__init__(status, reason, False)
        self.fields = fields
        self.extra = extra


class Guard:
    """`server` has the table of sessions, [hash of the cookie, when it was last used] with the least recently used one
    first, and an `api` that knows uptime_s() and the `hostname` of the device."""

    def __init__(self, server):
        self._server = server
        self._uptime_s = server.api.uptime_s
        self._hostname = server.api.hostname.lower()

    def session(self, request):
        """The session that the request belongs to, or None."""
        if not self._server.sessions:
            return None
        now = self._uptime_s()
        self._server.sessions = [one for one in self._server.sessions if now - one[1] < _IDLE_S]
        for pair in request.headers.get("cookie", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name != "session":
                continue
            hashed = digest(value)
            for one in self._server.sessions:
                if one[0] == hashed:
                    one[1] = now
                    self._server.sessions.remove(one)
                    self._server.sessions.append(one)
                    return one
        return None

    def check_host(self, request):
        """421 when the request was meant for somebody else: a page of another site whose name has become our address
        (DNS rebinding). Addresses, names without a dot and .local are nobody's who could do that from outside."""
        name = request.host.partition(":")[0]
        if "." not in name or not name.strip("0123456789.") or name == self._hostname or name.endswith(".local"):
            return
        raise Refused(421, "this is not %s: use the address, or set network.hostname" % name)


def digest(text):
    return hashlib.sha256(text.encode()).digest()

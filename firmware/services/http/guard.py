"""Who may ask for what: sessions, and whether a request comes from our own page.

A session is a random cookie, of which only the hash is kept: so its comparison tells nothing. What belongs to logging
in, which is rare, is in login.py; its tables lie here because they outlive that code.
"""

import hashlib
import os

from micropython import const

import http1

_SESSIONS_MAX = const(4)
_IDLE_S = const(3600)


class Refused(http1.HttpError):
    """An HttpError with more to say: `fields` are texts as "http.port: ...", `extra` are header fields (name, value).
    The connection stays open."""

    def __init__(self, status, reason, fields=(), extra=()):
        super().__init__(status, reason, False)
        self.fields = fields
        self.extra = extra


class Guard:
    """`uptime_s`: function; `hostname`: the name, if any, by which the device is known."""

    def __init__(self, uptime_s, hostname):
        self._uptime_s = uptime_s
        self._hostname = hostname.lower()
        self._sessions = []  # [hash of the cookie, when it was last used], the least recently used first
        self.secret = os.urandom(16)  # of login.py: marks the nonces that it gives out
        self.failures = []  # of login.py: [address, how many in a row, not before]
        self.spent = []  # of login.py: nonces that somebody has logged in with

    def open_session(self):
        """A new session's cookie (text). The least recently used session goes when there are too many."""
        if len(self._sessions) >= _SESSIONS_MAX:
            self._sessions.pop(0)
        cookie = "".join(["%02x" % byte for byte in os.urandom(16)])
        self._sessions.append([_digest(cookie), self._uptime_s()])
        return cookie

    def close_session(self, mine):
        """Ends a session, as session() gave it."""
        self._sessions = [one for one in self._sessions if one is not mine]

    def keep_only(self, mine):
        """Ends all sessions but `mine`; None ends all of them."""
        self._sessions = [one for one in self._sessions if one is mine]

    def session(self, request):
        """The session that the request belongs to, or None."""
        if not self._sessions:
            return None
        now = self._uptime_s()
        self._sessions = [one for one in self._sessions if now - one[1] < _IDLE_S]
        for pair in request.headers.get("cookie", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name != "session":
                continue
            digest = _digest(value)
            for one in self._sessions:
                if one[0] == digest:
                    one[1] = now
                    self._sessions.remove(one)
                    self._sessions.append(one)
                    return one
        return None

    def check_host(self, request):
        """421 when the request was meant for somebody else: a page of another site whose name has become our address
        (DNS rebinding). Addresses, names without a dot and .local are nobody's who could do that from outside."""
        name = request.host.partition(":")[0]
        if "." not in name or not name.strip("0123456789.") or name == self._hostname or name.endswith(".local"):
            return
        raise Refused(421, "this is not %s: use the address, or set network.hostname" % name)

    def check_command(self, request):
        """403 unless our own page or a program sent this. A page of another site cannot send X-Meterport without asking
        first (Fetch, CORS preflight), and nobody here would allow it; browsers tell the truth in Origin."""
        self.check_host(request)
        if "x-meterport" not in request.headers:
            raise Refused(403, "the header X-Meterport is missing")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != request.host:
            raise Refused(403, "this came from a page of another site")


def _digest(text):
    return hashlib.sha256(text.encode()).digest()

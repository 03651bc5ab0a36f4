"""Sessions, and /api/session, /api/login, /api/logout and /api/password (docs/reference/http.md, Logging in).

A session is a random cookie. Only its hash is kept, so the time of a comparison reveals nothing about the cookie.
"""

import hashlib
import os

from micropython import const

from firmware import VERSION
from firmware.net import seam
from firmware.net.link import is_local
from firmware.services.http.json_body import is_whole, object_of, unhex
from firmware.services.http.logins import ITERATIONS
from firmware.services.http.response import Refused, Response, to_json

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable

    from firmware.services.http.service import HttpService
    from http1 import Request

_IDLE_S = const(3600)
SESSIONS_MAX = const(4)
# Without Path: a browser sends the cookie to the folder of the login only (RFC 6265, 5.1.4). Behind a reverse proxy
# other devices share the name, and may have a cookie "session" too.
_HEADER = "session=%s; HttpOnly; SameSite=Strict"
_END_HEADER = "session=; Max-Age=0; HttpOnly; SameSite=Strict"
_ITERATIONS_MAX = const(1000000)
# Keys of a password record with the least and most bytes of their values.
_KEYS = (("salt", 8, 32), ("stored_key", 32, 32), ("server_key", 32, 32))


class Sessions:
    """The table of sessions [hash of the cookie, last use in s], the least recently used one first. `uptime_s`:
    function, seconds since boot."""

    def __init__(self, uptime_s: "Callable[[], int]") -> None:
        self._uptime_s = uptime_s
        self._sessions: "list[list]" = []

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, cookies: bytes) -> "list | None":
        """The session that the header Cookie names, marked as used now; None without one."""
        if not self._sessions:
            return None
        now_s = self._uptime_s()
        self._sessions = [session for session in self._sessions if now_s - session[1] < _IDLE_S]
        for pair in cookies.split(b";"):
            name, _, value = pair.strip().partition(b"=")
            if name != b"session":
                continue
            hashed = hashlib.sha256(value).digest()
            for session in self._sessions:
                if session[0] == hashed:
                    session[1] = now_s
                    self._sessions.remove(session)
                    self._sessions.append(session)
                    return session
        return None

    def open(self) -> "tuple[str, str]":
        """Opens a session; returns its header Set-Cookie as a pair. The least recently used one makes room."""
        if len(self._sessions) >= SESSIONS_MAX:
            self._sessions.pop(0)
        value = os.urandom(16).hex()
        self._sessions.append([hashlib.sha256(value.encode()).digest(), self._uptime_s()])
        return "Set-Cookie", _HEADER % value

    def end(self, session: "list | None") -> "tuple[str, str]":
        """Ends a session (None: does nothing); returns the header that removes its cookie, as a pair."""
        if session in self._sessions:
            self._sessions.remove(session)
        return "Set-Cookie", _END_HEADER

    def end_others(self, session: "list | None") -> None:
        """Ends all sessions but this one; with None all."""
        self._sessions = [kept for kept in self._sessions if kept is session]


def get_session(service: "HttpService", request: "Request") -> Response:
    """Gives what a client needs to log in: salt, iterations, a new nonce, the delay; and whether it has a session."""
    password = service.password
    ip = _ip(request)
    has_session = request.session is not None
    return Response(to_json({
        "name": service.config_store.name,
        "version": "%d.%d.%d" % VERSION,
        "setup": not password.is_set,
        "logged_in": has_session,
        "salt": password.salt.hex(),
        "iterations": password.iterations,
        "nonce": service.logins.new_nonce(ip),  # within a session for a change of the password
        "wait_s": service.logins.wait_s(ip, has_session),
        "public_status": service.config["public_status"],
    }))  # fmt: skip


def log_in(service: "HttpService", request: "Request") -> Response:
    """Opens a session when the body proves the password. Raises Refused."""
    fields = object_of(request.body)
    ip = _ip(request)
    if not service.password.is_set:
        raise Refused(403, "no password is set yet")
    signature = service.logins.verify(ip, fields)
    service.sessions.end(request.session)
    service.events.add("http", "login from %s" % ip)
    return Response(b'{"signature":"%s"}' % signature.encode(), headers=(service.sessions.open(),))


def log_out(service: "HttpService", request: "Request") -> Response:
    """Ends the request's session."""
    return Response(b"{}", headers=(service.sessions.end(request.session),))


def set_password(service: "HttpService", request: "Request") -> Response:
    """Stores a password record. The first one must come from the local network; a later one needs a session and a proof
    of the old password. Raises Refused."""
    ip = _ip(request)
    password = service.password
    fields = object_of(request.body)
    if not password.is_set:
        if not is_local(service.link, ip):
            raise Refused(403, "the first password is set from the local network only, not from %s" % ip)
    elif request.session is None:
        raise Refused(403, "not logged in")
    wrong = []
    for key, least, most in _KEYS:
        if not least <= len(unhex(fields.get(key))) <= most:
            wrong.append("%s: must be %d to %d bytes in hexadecimal digits" % (key, least, most))
    if not is_whole(fields.get("iterations"), ITERATIONS, _ITERATIONS_MAX):
        wrong.append("iterations: must be %d to %d" % (ITERATIONS, _ITERATIONS_MAX))
    if wrong:
        raise Refused(422, "this is no password record", wrong)
    if password.is_set:
        service.logins.verify(ip, fields, True)
    password.save(fields["salt"], fields["iterations"], fields["stored_key"], fields["server_key"])
    service.sessions.end_others(request.session)
    service.events.add("http", "the password was set from %s" % ip)
    return Response(b"{}")


def _ip(request: "Request") -> str:
    return seam.peer(request.peer)[0]

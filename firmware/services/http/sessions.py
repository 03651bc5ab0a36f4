"""Who is logged in. A session is a random cookie, of which only the hash is kept: so its comparison tells nothing."""

import hashlib
import os

from micropython import const

_IDLE_S = const(3600)
SESSIONS_MAX = const(4)
_HEADER = "session=%s; HttpOnly; SameSite=Strict; Path=/"
_END_HEADER = "session=; Max-Age=0; HttpOnly; SameSite=Strict; Path=/"


class _Session:
    def __init__(self, hashed, used_s):
        self.hashed = hashed
        self.used_s = used_s


class Sessions:
    """The table of them, the least recently used one first. `uptime_s`: function, seconds since boot."""

    def __init__(self, uptime_s):
        self._uptime_s = uptime_s
        self._sessions = []

    def __len__(self):
        return len(self._sessions)

    def find(self, cookies):
        """The session that the header Cookie (bytes) names, which is used by that, or None."""
        if not self._sessions:
            return None
        now_s = self._uptime_s()
        self._sessions = [one for one in self._sessions if now_s - one.used_s < _IDLE_S]
        for pair in cookies.split(b";"):
            name, _, value = pair.strip().partition(b"=")
            if name != b"session":
                continue
            hashed = _digest(value)
            for session in self._sessions:
                if session.hashed == hashed:
                    session.used_s = now_s
                    self._sessions.remove(session)
                    self._sessions.append(session)
                    return session
        return None

    def open(self):
        """A new session; the least recently used one goes when there are too many. Gives its header, as a pair."""
        if len(self._sessions) >= SESSIONS_MAX:
            self._sessions.pop(0)
        value = os.urandom(16).hex()
        self._sessions.append(_Session(_digest(value.encode()), self._uptime_s()))
        return "Set-Cookie", _HEADER % value

    def end(self, session):
        """Ends it; None does nothing. Gives the header that takes the cookie back, as a pair."""
        if session in self._sessions:
            self._sessions.remove(session)
        return "Set-Cookie", _END_HEADER

    def end_others(self, session):
        """Ends all but this one; all of them with None."""
        self._sessions = [one for one in self._sessions if one is session]


def _digest(value):
    return hashlib.sha256(value).digest()

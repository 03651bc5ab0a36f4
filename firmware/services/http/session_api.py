"""/api/session, /api/login, /api/logout and /api/password: docs/reference/http.md, Logging in."""

from micropython import const

from firmware import VERSION
from firmware.net import seam
from firmware.services.http.errors import Refused
from firmware.services.http.json_body import is_whole, object_of, unhex
from firmware.services.http.json_out import write_json
from firmware.services.http.logins import ITERATIONS
from firmware.services.http.response import Response

_ITERATIONS_MAX = const(1000000)
_KEYS = (("salt", 8, 32), ("stored_key", 32, 32), ("server_key", 32, 32))  # with the least and most bytes


class SessionApi:
    """`password`: logins.PasswordFile; `link`: the board's, for what the local network is."""

    def __init__(self, out, name, public_status, sessions, logins, password, link, events):
        self._out = out
        self._name = name
        self._public_status = public_status
        self._sessions = sessions
        self._logins = logins
        self._password = password
        self._link = link
        self._events = events

    def get(self, request):
        return Response(self._write(request))

    def _write(self, request):
        password = self._password
        ip = _ip(request)
        write_json(self._out, {
            "name": self._name,
            "version": "%d.%d.%d" % VERSION,
            "setup": not password.is_set,
            "logged_in": request.session is not None,
            "salt": password.salt.hex(),
            "iterations": password.iterations,
            "nonce": self._logins.new_nonce(ip),  # also for who is logged in, to change the password
            "wait_s": self._logins.wait_s(ip, request.session is not None),
            "public_status": self._public_status,
        })  # fmt: skip
        yield

    def login(self, request):
        given = object_of(request.body)
        ip = _ip(request)
        if not self._password.is_set:
            raise Refused(403, "no password is set yet")
        signature = self._logins.verify(ip, given)
        self._sessions.end(request.session)
        self._events.add("http", "login from %s" % ip)
        return Response(b'{"signature":"%s"}' % signature.encode(), headers=(self._sessions.open(),))

    def logout(self, request):
        return Response(b"{}", headers=(self._sessions.end(request.session),))

    def set_password(self, request):
        ip = _ip(request)
        password = self._password
        given = object_of(request.body)
        if not password.is_set:
            if not _is_local(self._link, ip):
                raise Refused(403, "the first password is set from the local network only, not from %s" % ip)
        elif request.session is None:
            raise Refused(403, "not logged in")
        _check_password(given)
        if password.is_set:
            self._logins.verify(ip, given, True)
        password.save(given["salt"], given["iterations"], given["stored_key"], given["server_key"])
        self._sessions.end_others(request.session)
        self._events.add("http", "the password was set from %s" % ip)
        return Response(b"{}")


def _ip(request):
    return seam.peer(request.peer)[0]


def _check_password(given):
    wrong = []
    for key, least, most in _KEYS:
        if not least <= len(unhex(given.get(key))) <= most:
            wrong.append("%s: must be %d to %d bytes in hexadecimal digits" % (key, least, most))
    if not is_whole(given.get("iterations"), ITERATIONS, _ITERATIONS_MAX):
        wrong.append("iterations: must be %d to %d" % (ITERATIONS, _ITERATIONS_MAX))
    if wrong:
        raise Refused(422, "this is no password record", wrong)


def _is_local(link, ip):
    """Whether the address is on the device's own network; where the device does not know which that is, whether it is
    one of those that no router forwards (RFC 1918, RFC 3927)."""
    parts = [int(part) for part in ip.split(".")]
    if parts[0] == 127:
        return True
    address, netmask = link.details()[:2]
    if netmask and netmask != "255.255.255.255":
        own = [int(part) for part in address.split(".")]
        mask = [int(part) for part in netmask.split(".")]
        return all([parts[k] & mask[k] == own[k] & mask[k] for k in range(4)])
    first, second = parts[:2]
    return first == 10 or (first == 172 and 16 <= second < 32) or (first, second) in ((192, 168), (169, 254))

"""How somebody logs in and out. The JSON is in docs/contracts.md, the cryptography in lib/scram.

The password itself never comes here: the server has what SCRAM's server keeps of it (password.py), and each login
proves knowledge of it for one nonce.

A nonce is not remembered but marked: the time at which it was given out, and to whom, as an HMAC by the server's
secret. So nobody can push another's nonce out of a table. Only those that somebody has logged in with are kept, for as
long as they would be good, so that an exchange that was overheard opens nothing. Who fails waits, longer each time; the
table of them holds a few addresses, and nobody waits for what another has done.
"""

import json
import os

import scram
from micropython import const

from firmware import VERSION
from firmware.net import seam
from firmware.services.http.given import object_of, unhex
from firmware.services.http.guard import Refused, digest

_ITERATIONS = const(4096)  # RFC 7677 4: the least, and about what a slow phone does in a second
_NONCE_S = const(120)
_TIME = const(4)  # bytes of a nonce: uptime, random, mark
_RANDOM = const(8)
_MARK = const(12)
_FAILURES_MAX = const(8)
_DELAY_MAX_S = const(300)
_FORGIVEN_S = const(900)
_SPENT_MAX = const(8)
_SESSIONS_MAX = const(4)


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    ip = seam.peer(connection.slot.peer)[0]
    server = connection.server
    if request.path == "/api/session":
        return _session(app, server, request.session, ip), ()
    if request.path == "/api/logout":
        _close_session(server, request.session)
        return iter(("{}",)), (("Set-Cookie", "session=; Max-Age=0; HttpOnly; SameSite=Strict; Path=/"),)
    given = object_of(body)
    if server.password is None:
        raise Refused(403, "no password is set yet")
    signature = prove(app, server, ip, given)
    if request.session is not None:
        _close_session(server, request.session)
    cookie = "session=%s; HttpOnly; SameSite=Strict; Path=/" % _open_session(server)
    app.events.add("http", "login from %s" % ip)
    return iter(('{"signature":"%s"}' % signature,)), (("Set-Cookie", cookie),)


def _open_session(server):
    """A new session's cookie (text). The least recently used session goes when there are too many."""
    if len(server.sessions) >= _SESSIONS_MAX:
        server.sessions.pop(0)
    cookie = os.urandom(16).hex()
    server.sessions.append([digest(cookie), server.api.uptime_s()])
    return cookie


def _close_session(server, mine):
    server.sessions = [one for one in server.sessions if one is not mine]


def _session(app, server, session, ip):
    record = server.password
    salt, iterations = ("", _ITERATIONS) if record is None else (record[0].hex(), record[1])
    logged_in = session is not None
    # Who is logged in needs one as well, to change the password.
    nonce = _new_nonce(server.secret, app.uptime_s(), ip)
    yield '{"name":%s,"version":"%d.%d.%d","setup":%s,"logged_in":%s,"salt":"%s","iterations":%d,"nonce":"%s",' % (
        (json.dumps(app.name()),) + VERSION + (_bool(record is None), _bool(logged_in), salt, iterations, nonce)
    )
    yield '"wait_s":%d,"public_status":%s}' % (
        _wait_s(server, ip, app.uptime_s()), _bool(server.public_status)
    )  # fmt: skip


def _bool(value):
    return "true" if value else "false"


# -- proofs


def prove(app, server, ip, given):
    """The server's signature (hexadecimal) when `given` proves that the client knows the password. Raises Refused."""
    now = app.uptime_s()
    wait_s = _wait_s(server, ip, now)
    if wait_s:
        raise Refused(429, "too early after a failure: wait %d s" % wait_s, (), (("Retry-After", str(wait_s)),))
    nonce = given.get("nonce")
    client_nonce = given.get("client_nonce")
    if not 8 <= len(unhex(client_nonce)) <= 32:
        raise Refused(422, "this is no login", ("client_nonce: must be 8 to 32 bytes in hexadecimal digits",))
    server.spent = [one for one in server.spent if now - one[1] <= _NONCE_S]
    if not _is_ours(server.secret, nonce, now, ip) or any([one[0] == nonce for one in server.spent]):
        raise Refused(403, "this nonce is not good any more: /api/session has another")
    if len(server.spent) >= _SPENT_MAX:
        raise Refused(429, "too many logins: wait %d s" % _NONCE_S, (), (("Retry-After", str(_NONCE_S)),))
    message = ("%s,%s" % (client_nonce, nonce)).encode()
    if not scram.proves(server.password[2], message, unhex(given.get("proof"))):
        _failed(server, ip, now)
        app.events.add("http", "login refused from %s" % ip)
        raise Refused(403, "wrong password")
    server.spent.append((nonce, now))
    server.failures = [one for one in server.failures if one[0] != ip]
    return scram.signature(server.password[3], message).hex()


def _new_nonce(secret, now, ip):
    body = now.to_bytes(_TIME, "big") + os.urandom(_RANDOM)
    return (body + _mark(secret, body, ip)).hex()


def _mark(secret, body, ip):
    return scram.hmac(secret, body + ip.encode())[:_MARK]


def _is_ours(secret, nonce, now, ip):
    """Whether this address was given this nonce, and not too long ago. Digits in capitals are not what was given."""
    raw = unhex(nonce)
    if len(raw) != _TIME + _RANDOM + _MARK or nonce != nonce.lower():
        return False
    body = raw[: _TIME + _RANDOM]
    age_s = now - int.from_bytes(raw[:_TIME], "big")
    return scram.equal(_mark(secret, body, ip), raw[_TIME + _RANDOM :]) and 0 <= age_s <= _NONCE_S


def _wait_s(server, ip, now):
    """Seconds until the next attempt from this address is looked at."""
    for one in server.failures:
        if one[0] == ip:
            return max(one[2] - now, 0)
    return 0


def _failed(server, ip, now):
    server.failures = [one for one in server.failures if now - one[2] < _FORGIVEN_S]
    for one in server.failures:
        if one[0] == ip:
            break
    else:
        if len(server.failures) >= _FAILURES_MAX:
            soonest = min([one[2] for one in server.failures])
            server.failures = [one for one in server.failures if one[2] != soonest]
        one = [ip, 0, 0]
        server.failures.append(one)
    one[1] += 1
    one[2] = now + min(1 << min(one[1] - 1, 10), _DELAY_MAX_S)

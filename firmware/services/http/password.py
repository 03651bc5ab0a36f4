"""Setting the password: what SCRAM's server keeps of it, in data/password by firmware.config.store."""

from micropython import const

from firmware.config import store
from firmware.net import seam
from firmware.services.http.given import object_of, unhex
from firmware.services.http.guard import Refused

_PATH = "data/password"
_ITERATIONS = const(4096)  # RFC 7677 4: the least
_ITERATIONS_MAX = const(1000000)


def kept(app=None):
    """(salt, iterations, StoredKey, ServerKey) of the password, or None when there is none."""
    text = store.load(_PATH)
    if text is None:
        return None
    salt, iterations, stored_key, server_key = text.decode().split(" ")
    return bytes.fromhex(salt), int(iterations), bytes.fromhex(stored_key), bytes.fromhex(server_key)


def answer(app, request, body, connection):
    """As firmware.services.http.api.Api.call."""
    ip = seam.peer(connection.slot.peer)[0]
    server = connection.server
    given = object_of(body)
    if server.password is None:
        if not _is_local(app.link, ip):
            raise Refused(403, "the first password is set from the local network only, not from %s" % ip)
    elif request.session is None:
        raise Refused(403, "not logged in")
    _check(given)
    if server.password is not None:
        _prove(app, server, ip, given)
    text = "%s %d %s %s" % (given["salt"], given["iterations"], given["stored_key"], given["server_key"])
    store.save(_PATH, text.lower().encode())
    server.password = kept()
    server.sessions = [one for one in server.sessions if one is request.session]
    app.events.add("http", "the password was set from %s" % ip)
    return iter(("{}",)), ()


def _prove(app, server, ip, given):
    from firmware.services.http import login

    app.forget("firmware.services.http.login", "scram")
    login.prove(app, server, ip, given)


def _check(given):
    wrong = []
    for key, least, most in (("salt", 8, 32), ("stored_key", 32, 32), ("server_key", 32, 32)):
        if not least <= len(unhex(given.get(key))) <= most:
            wrong.append("%s: must be %d to %d bytes in hexadecimal digits" % (key, least, most))
    iterations = given.get("iterations")
    whole = isinstance(iterations, int) and not isinstance(iterations, bool)
    if not whole or not _ITERATIONS <= iterations <= _ITERATIONS_MAX:
        wrong.append("iterations: must be %d to %d" % (_ITERATIONS, _ITERATIONS_MAX))
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

"""Admits or refuses a request by its head, before any of its body is read: path and method, Host, Origin, session and
rights.
"""

from micropython import const

from firmware.config.load import FILE_MAX
from firmware.services.http.commands import factory_reset, post_now, read, reboot, set_time
from firmware.services.http.config_api import (
    get_config,
    put_authorities,
    put_config,
    write_board,
    write_profiles,
    write_schema,
)
from firmware.services.http.documents.bus import start_scan, stop_scan, write_bus, write_scan
from firmware.services.http.documents.sockets import write_sockets
from firmware.services.http.documents.status import write_crash, write_posting, write_served, write_status
from firmware.services.http.page_file import get_page, get_part
from firmware.services.http.response import Refused, Response
from firmware.services.http.sessions import get_session, log_in, log_out, set_password

_TYPING = const(0)
if _TYPING:
    from firmware.services.http.service import HttpService
    from http1 import Request

# Who may use a path
_ALL = const(0)
_READERS = const(1)  # a session; GET: with http.public_status all; else: with http.commissioning all
_SESSION = const(2)

_BODY_MAX = const(512)  # bytes
_PASSWORD_MAX = const(768)
_AUTHORITIES_MAX = const(8192)
_READS = (b"GET", b"HEAD")
_METHODS = (b"GET", b"POST", b"PUT", b"DELETE")  # the handlers of a route, in this order
# Endings that do not exist in the public DNS (RFC 6762, RFC 8375; the others are not delegated).
_LOCAL = (b".local", b".lan", b".home", b".home.arpa", b".internal", b".localdomain")


def find_route(path: bytes) -> "tuple | None":
    """(who may, longest body in bytes, GET, POST, PUT, DELETE) of a path: handlers of (service, request), None for a
    method that the path does not have. None for an unknown path. Comparisons, since a table would take 2 KB of heap."""
    if path == b"/":
        return _ALL, 0, get_page, None, None, None
    if path == b"/api/readings":
        return _READERS, 0, _get_readings, None, None, None
    if path == b"/api/status":
        return _READERS, 0, write_status, None, None, None
    if path == b"/api/history":
        return _READERS, 0, _get_history, None, None, None
    if path == b"/api/records":
        return _READERS, 0, _get_records, None, None, None
    if path == b"/api/bus":
        return _READERS, 0, write_bus, None, None, None
    if path == b"/api/scan":
        return _READERS, 0, write_scan, start_scan, None, stop_scan
    if path == b"/api/sockets":
        return _READERS, 0, write_sockets, None, None, None
    if path == b"/api/crash":
        return _SESSION, 0, write_crash, None, None, None
    if path == b"/api/served":
        return _READERS, 0, write_served, None, None, None
    if path == b"/api/posting":
        return _SESSION, _BODY_MAX, write_posting, post_now, None, None
    if path == b"/api/posting/authorities" or path == b"/api/mqtt/authorities":
        return _SESSION, _AUTHORITIES_MAX, None, None, put_authorities, None
    if path.startswith(b"/page/"):
        return _ALL, 0, get_part, None, None, None
    if path == b"/metrics":
        from firmware.services.http.documents.metrics import get_metrics  # imported when it is used: it takes heap

        return _READERS, 0, get_metrics, None, None, None
    if path == b"/api/update":
        from firmware.services.http import update_api  # imported when it is used: it takes heap

        return (
            _SESSION, update_api.BODY_MAX, update_api.write_update, update_api.post_step, update_api.put_piece,
            update_api.abort,
        )  # fmt: skip
    if path == b"/api/session":
        return _ALL, 0, get_session, None, None, None
    if path == b"/api/login":
        return _ALL, _BODY_MAX, None, log_in, None, None
    if path == b"/api/logout":
        return _ALL, _BODY_MAX, None, log_out, None, None
    if path == b"/api/password":
        return _ALL, _PASSWORD_MAX, None, set_password, None, None
    if path == b"/api/config":
        return _SESSION, FILE_MAX, get_config, None, put_config, None
    if path == b"/api/schema":
        return _SESSION, 0, write_schema, None, None, None
    if path == b"/api/profiles":
        return _READERS, 0, write_profiles, None, None, None
    if path == b"/api/board":
        return _SESSION, 0, write_board, None, None, None
    if path == b"/api/read":
        return _SESSION, _BODY_MAX, None, read, None, None
    if path == b"/api/time":
        return _SESSION, _BODY_MAX, None, set_time, None, None
    if path == b"/api/reboot":
        return _SESSION, _BODY_MAX, None, reboot, None, None
    if path == b"/api/factory_reset":
        return _SESSION, _BODY_MAX, None, factory_reset, None, None
    return None


def _get_readings(service: "HttpService", request: "Request") -> Response:
    return service.readings_document.get(request)


def _get_history(service: "HttpService", request: "Request") -> Response:
    return service.history_document.get(request)


def _get_records(service: "HttpService", request: "Request") -> Response:
    if service.records_document is None:
        raise Refused(404, "no records are kept on flash: see history.flash")
    return service.records_document.get(request)


def admit(service: "HttpService", request: "Request") -> int:
    """The longest body of this request, in bytes. Sets its `session` (None without one) and `handler`. Raises
    Refused."""
    if service.portal is not None:
        body_max = service.portal.admit(request)
        if body_max is not None:
            return body_max
    path = request.path
    route = find_route(path)
    if route is None:
        # Browsers ask for an icon by themselves: let them ask once a day.
        headers = (("Cache-Control", "max-age=86400"),) if path == b"/favicon.ico" else ()
        raise Refused(404, b"no such page: " + path, (), headers)
    who = route[0]
    is_read = request.method in _READS
    request.handler = _handler(route, b"GET" if is_read else request.method)
    if path != b"/":
        cookies = request.headers.get(b"cookie")
        if cookies is not None:
            request.session = service.sessions.find(cookies)
        _check_host(service, request, is_read)
        if not is_read:
            _check_origin(service, request)
    if who != _ALL and request.session is None:
        if who == _SESSION:
            raise Refused(403, "not logged in")
        switch = "public_status" if is_read else "commissioning"
        if not service.config[switch]:
            raise Refused(403, "not logged in, and http.%s is off" % switch)
    return 0 if is_read else route[1]


def _handler(route, method):
    """The handler of a route for a method. Raises Refused."""
    handler = route[2 + _METHODS.index(method)] if method in _METHODS else None
    if handler is None:
        raise Refused(405, "no such method for this path", (), (("Allow", _allowed(route[2:])),))
    return handler


def _allowed(handlers):
    methods = [method.decode() for method, handler in zip(_METHODS, handlers) if handler is not None]
    return ", ".join(methods).replace("GET", "GET, HEAD")


def _check_host(service: "HttpService", request: "Request", is_read: bool) -> None:
    """Refuses with 421 a Host that is not this device's: by DNS rebinding a page of another site could reach it.

    A name that begins with the host name is accepted, since routers add a domain of their own. A stranger can own such
    a domain too, so under it only a session may change state."""
    name = _name(request.host)
    if b"." not in name or not name.strip(b"0123456789.") or name in service.names:
        return
    if name.endswith(_LOCAL):
        return
    if not name.startswith(service.hostname + b"."):
        raise Refused(421, b"this is not " + name + b": use the address, or add the name to http.names")
    if not is_read and request.session is None and request.path != b"/api/login":
        raise Refused(421, "not under this name without a login: use the address, or add the name to http.names")


def _check_origin(service: "HttpService", request: "Request") -> None:
    """Refuses with 403 what a page of another site has sent. Such a page cannot send X-Meterport without a preflight
    (Fetch, CORS), which is never allowed here, and browsers send a true Origin. Behind a proxy that changes Host,
    Origin is one of http.names."""
    if b"x-meterport" not in request.headers:
        raise Refused(403, "the header X-Meterport is missing")
    origin = request.headers.get(b"origin")
    if origin is None:
        return
    host = origin.lower().partition(b"://")[2]
    if host != request.host and _name(host) not in service.names:
        raise Refused(403, "this came from a page of another site; http.names has the sites of a proxy")


def _name(host: bytes) -> bytes:
    """The host name in a Host or Origin, without port and final dot."""
    name = host.partition(b":")[0]
    return name[:-1] if name.endswith(b".") else name

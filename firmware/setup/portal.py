"""The page of set-up mode, and what makes phones and computers show it by themselves: each name is this device's, and
each request for another site leads to the page. (Android asks for /generate_204, iOS for /hotspot-detect.html, Windows
for /connecttest.txt; any answer but the one that they know means a captive portal.)

Only stations of the access point are answered. Others meet the web server as it always is.
"""

from micropython import const

import dns
import http1
from firmware.net import seam
from firmware.net.budget import Slot
from firmware.net.udp_server import UdpServer
from firmware.services.http.response import Refused, Response

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.board import Radio
    from firmware.net.budget import Budget
    from firmware.services.http.service import HttpService
    from firmware.setup.setup import SetUp

# States of a SetUp
WAITING, TRYING, FAILED, JOINED = const(0), const(1), const(2), const(3)
_BODY_MAX = const(512)  # bytes: a name and a password, each byte of them as %XX
_QUERY_MAX = const(512)  # RFC 1035, 2.3.4
_QUERIES_PER_S = const(50)
_HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'"),
    ("Referrer-Policy", "same-origin"),  # with "no-referrer" a browser sends a form with Origin: null
)
_AGAIN = (("Refresh", "2"),)
_HEAD = (
    b'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    b'<link rel="icon" href="data:,">'
    b"<title>meterport: Wi-Fi</title><style>body{font:1.1em sans-serif;max-width:28em;margin:1em auto;padding:0 1em}"
    b"label{display:block;margin:.6em 0}input[type=text],input[type=password]{width:100%;font:inherit}"
    b"button{font:inherit;padding:.4em 1em}.bad{color:#b00020}</style><main><h1>Wi-Fi of this gateway</h1>"
)


class Portal:
    """`host`: the device's address in the access point, with the port where it is not 80. `http`: the web server, or
    None where it does not run."""

    def __init__(self, set_up: "SetUp", radio: "Radio", budget: "Budget", http: "HttpService | None") -> None:
        port = 80 if http is None else http.config["port"]
        self.host = radio.address + ("" if port == 80 else ":%d" % port)
        self._set_up = set_up
        self._address = radio.address
        self._network = radio.address.rsplit(".", 1)[0] + "."
        self._http = http
        self._budget = budget
        self._slot = Slot("http", "service", None, 0, 0)
        budget.services.append(self._slot)
        budget.general -= 1
        self._udp = UdpServer(self._slot, self, "0.0.0.0", radio.dns_port, _QUERIES_PER_S)

    def open(self) -> None:
        """Raises OSError when the port of DNS is taken."""
        self._udp.open()
        if self._http is not None:
            self._http.portal = self

    def close(self) -> None:
        """Gives the slot back. May be called when it is not open."""
        self._udp.close()
        if self._http is not None:
            self._http.portal = None
        self._budget.services.remove(self._slot)
        self._budget.general += 1

    def tick(self) -> None:
        """Call once a second."""
        self._udp.tick()

    # -- DNS

    def on_ready(self, events: int) -> None:
        """Answers a query; called by the loop."""
        received = self._udp.receive(_QUERY_MAX)
        if received is None or not self._is_station(received[1]):
            return
        reply = dns.answer(received[0], self._address)
        if reply:
            self._udp.stream.sendto(reply, received[1])
            self._slot.sent += len(reply)
            self._slot.requests += 1

    def fail(self, error: Exception) -> None:
        """on_ready() has raised: the query is lost, and will be asked again."""

    def _is_station(self, where):
        return seam.peer(where)[0].startswith(self._network)

    # -- HTTP

    def admit(self, request: http1.Request) -> "int | None":
        """The longest body of a request to the portal, in bytes, whose `handler` is set; None for other requests.
        Raises Refused."""
        if not self._is_station(request.peer):
            return None
        if request.host != self.host.encode() and b"." in request.host:
            request.handler = _redirect
            return 0
        if request.path != b"/setup":
            return None
        if request.method == b"GET" or request.method == b"HEAD":
            request.handler = _get_page
            return 0
        if request.method != b"POST":
            raise Refused(405, "no such method for this path", (), (("Allow", "GET, HEAD, POST"),))
        origin = request.headers.get(b"origin")
        if origin is not None and origin != b"http://" + request.host:
            raise Refused(403, "this came from a page of another site")
        request.handler = _post_form
        return _BODY_MAX

    def is_trying(self) -> bool:
        """Whether the page has to be asked for again."""
        return self._set_up.state == TRYING

    def page(self) -> bytes:
        """The page for the present state."""
        set_up = self._set_up
        name = _escaped(set_up.ssid.encode())
        if set_up.state == TRYING:
            return _HEAD + b"<p>Joins <b>%s</b> ... This can take half a minute." % name
        if set_up.state == JOINED:
            return _HEAD + (
                b"<p>Joined <b>%s</b>, and saved it.<p>This gateway's page is now at "
                b'<a href="http://%s/">http://%s/</a> in that network. Note the address.<p>'
                b"This access point ends two minutes after that, and the gateway restarts."
            ) % (name, set_up.address.encode(), set_up.address.encode())
        parts = [_HEAD]
        if set_up.reason:
            reason = _escaped(set_up.reason.encode())
            parts.append(b'<p class="bad" role="alert">%s was not joined: %s' % (name or b"The network", reason))
        parts.append(b'<form method="post" action="/setup"><p>2.4 GHz only: a network of 5 GHz is not seen.')
        for ssid, rssi, is_open in set_up.networks:
            name = _escaped(ssid)  # and no number: after a try that failed the list is another one
            parts.append(
                b'<label><input type="radio" name="network" value="%s"> %s (%d dBm%s)</label>'
                % (name, name, rssi, b", open" if is_open else b"")
            )
        parts.append(
            b'<label><input type="radio" name="network" value="" checked> another: '
            b'<input type="text" name="ssid" aria-label="Name of another network" maxlength="32"></label>'
            b'<label>Password <input type="password" name="password" maxlength="63"></label>'
            b"<p>It is tried before it is saved.<p><button>Join</button></form>"
        )
        return b"".join(parts)

    def submit(self, body: bytes) -> None:
        """Has the network of a form tried. Raises HttpError 400 when it is malformed."""
        set_up = self._set_up
        fields: dict = {}
        for pair in body.split(b"&"):
            name, _, value = pair.partition(b"=")
            fields[name] = http1.unquote(value, True)
        ssid = fields.get(b"network") or fields.get(b"ssid", b"")
        wrong = set_up.begin(ssid.decode(), fields.get(b"password", b"").decode())
        if wrong:
            set_up.refuse(wrong)


def _escaped(text):
    """`text` for HTML."""
    for byte, name in ((b"&", b"&amp;"), (b"<", b"&lt;"), (b">", b"&gt;"), (b'"', b"&quot;")):
        text = text.replace(byte, name)
    return text


def _redirect(service: "Any", request: http1.Request) -> Response:
    return Response(b"", 302, None, (("Location", "http://%s/setup" % service.portal.host),))


def _get_page(service: "Any", request: http1.Request) -> Response:
    portal = service.portal
    headers = _HEADERS + (_AGAIN if portal.is_trying() else ())
    return Response(portal.page(), 200, "text/html; charset=utf-8", headers)


def _post_form(service: "Any", request: http1.Request) -> Response:
    service.portal.submit(bytes(request.body))
    return Response(b"", 303, None, (("Location", "/setup"),))

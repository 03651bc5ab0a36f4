"""Rig: the whole web server on streams without a network. Budget, log and configuration store are real, the other parts
of the gateway are those of fake_gateway.py."""

import http.client
import io
import json
from types import SimpleNamespace

from firmware.config.config_store import ConfigStore
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net import seam
from firmware.net.budget import Budget
from firmware.services.http import gate
from firmware.services.http.service import HttpService
from host_tests.unit.fake_gateway import FakeBuses, FakeClock, FakeDevice, FakeLink
from host_tests.unit.fakes import SIX, FakeStream, Uptime, fake_seam
from tools import device_api

OURS = "X-Meterport: 1"
PASSWORD = "correct horse"


# -- what a client sends and gets


def get(path, *headers, method="GET", version="HTTP/1.1"):
    return "\r\n".join([f"{method} {path} {version}", "Host: gateway", *headers, "", ""]).encode()


def get_page(*headers):
    return get("/", "Accept-Encoding: gzip", *headers)


class Answer:
    """A response as Python's own HTTP client reads it."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def __eq__(self, other):
        return (self.status, self.headers, self.body) == (other.status, other.headers, other.body)


class _Kept(io.BytesIO):
    def close(self):
        """http.client closes the file with the response; what is behind it is wanted."""


class _Socket:
    """What http.client needs of a socket: a file."""

    def __init__(self, file):
        self._file = file

    def makefile(self, *_):
        return self._file


def responses(data, *methods):
    """The responses to requests of these methods in `data`, all of which they must use up."""
    file = _Kept(data)
    found = []
    for method in methods:
        response = http.client.HTTPResponse(_Socket(file), method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        found.append(Answer(response.status, headers, response.read()))
        response.close()
    assert file.read() == b"", "bytes behind the last response"
    return found


# -- the service


class Rig:
    """The service, in an empty folder of its own; it runs again, with what is there, after restart()."""

    def __init__(self, monkeypatch, events, clock, folder, public=True, commissioning=False, quota=4, meters=()):
        fake_seam(monkeypatch, clock)
        monkeypatch.setattr(seam, "tcp_listen", lambda *args: FakeStream())
        monkeypatch.chdir(folder)
        self.events = events
        self.ticks = clock
        self.folder = folder
        self.data = folder / "data"
        self.path = self.data / "config.json"
        self.uptime = Uptime(100)
        self.clock = FakeClock(self.uptime)
        self.link = FakeLink()
        self.device = FakeDevice()
        self.buses = FakeBuses()
        self.meters = Meters(list(meters))
        self.readings = Readings(self.uptime)
        self.history = SimpleNamespace(recent=None, records=None, daily=None)
        self.name = "gate"
        self.config = {
            "public_status": public, "commissioning": commissioning, "bind": "0.0.0.0", "port": 0,
            "names": [], "max_connections": quota, "idle_timeout_s": 15,
        }  # fmt: skip
        self.cookie = None
        self.paths = {}  # of the test's own, as gate.find_route() has them
        find = gate.find_route
        monkeypatch.setattr(gate, "find_route", lambda path: self.paths.get(path) or find(path))
        self.restart()

    def restart(self):
        self.config_store = ConfigStore(self.events)
        self.config_store.name = self.name
        self.config_store.hostname = "gate"
        self.budget = Budget(16, 16, 16, list(SIX), {"http": self.config["max_connections"]}, self.uptime, self.events)
        self.service = HttpService(
            self.config, self.budget, self.events, self.clock, self.link, self.device, self.config_store, self.meters,
            self.readings, self.buses, self.history,
        )  # fmt: skip
        self.service.start()
        self.out = self.service.out

    # -- paths of the test's own

    def document(self, path, pieces, post=None):
        """A path whose document is what pieces() yields, texts; with a handler for POST."""

        def write(service, request):
            for piece in pieces():
                self.out.write(piece)
                yield

        self.paths[path.encode()] = gate._READERS, 0, write, post, None, None

    # -- clients

    def connect(self, ip="192.0.2.9", room=None):
        """The peer's end of a new connection."""
        stream = FakeStream(room)
        stream.slot = slot = self.budget.open("http", (ip, 50000))
        slot.connection = stream.connection = self.service.connection(stream, slot)
        seam.watch(stream, slot.connection)
        return stream

    def feed(self, data, *methods):
        """The response to `data` on a connection of its own; a list when there are several."""
        peer = self.connect()
        peer.feed(data)
        found = responses(peer.take(), *(methods or ("GET",)))
        return found[0] if len(found) == 1 else found

    def ask(self, method, path, headers=(), body=None, host="gateway", ip="192.0.2.9"):
        """The response to one request on a connection of its own."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        peer = self.connect(ip)
        peer.feed("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        (response,) = responses(peer.take(), method)
        if not peer.closed:
            peer.connection.close()
        return response

    def get(self, path, cookie=None, **options):
        return self.ask("GET", path, (f"Cookie: {cookie}",) if cookie else (), **options)

    def send(self, method, path, body=None, cookie=None, **options):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.ask(method, path, (OURS, f"Cookie: {cookie}") if cookie else (OURS,), body, **options)

    def post(self, path, body=None, **options):
        return self.send("POST", path, body, **options)

    def begin(self, method, path, body=b"", cookie=None):
        """The peer of a connection on which that request has been sent."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        peer = self.connect()
        peer.feed(self.head(method, path, f"Content-Length: {len(body)}", cookie=cookie) + body)
        return peer

    def head(self, method, path, *headers, cookie=None):
        lines = [f"{method} {path} HTTP/1.1", "Host: gate", OURS, f"Cookie: {cookie or self.cookie}", *headers, "", ""]
        return "\r\n".join(lines).encode()

    def set_password(self, password=PASSWORD):
        assert self.post("/api/password", device_api.password_record(password)).status == 200

    def login(self, password=PASSWORD, ip="192.0.2.9"):
        """The cookie of a new session."""
        fields, signature = device_api.proof(password, self.get("/api/session", ip=ip).json())
        response = self.post("/api/login", fields, ip=ip)
        if response.status == 429:  # many logins of one test
            self.uptime.now += int(response.headers["retry-after"]) + 1
            return self.login(password, ip)
        assert response.json() == {"signature": signature}, response.json()
        return response.headers["set-cookie"].partition(";")[0]

    def log_in(self):
        """Sets a password and logs in: `cookie` is the session's."""
        self.set_password()
        self.cookie = self.login()
        return self

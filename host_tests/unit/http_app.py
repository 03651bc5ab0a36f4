"""The web server with its real API, on streams without a network: for tests of what it answers to whom."""

import json
from types import SimpleNamespace

from firmware.net import seam
from firmware.net.budget import SERVICES, Budget
from firmware.services.http.api import Api
from firmware.services.http.server import Server
from host_tests.unit.fakes import FakeStream, Uptime, fake_seam
from host_tests.unit.test_http_server import App, responses
from tools import device_api

OURS = "X-Meterport: 1"


class Link:
    def __init__(self, gateway):
        self._gateway = gateway

    def details(self):
        return self._gateway.link_details


class Gateway:
    """A server whose application is that of test_http_server, in an empty folder of its own."""

    def __init__(self, monkeypatch, events, clock, folder, public=True, commissioning=False):
        fake_seam(monkeypatch, clock)
        monkeypatch.setattr(seam, "tcp_listen", lambda *args: FakeStream())
        monkeypatch.chdir(folder)
        self.events = events
        self.uptime = Uptime(100)
        self.link_details = ("192.0.2.1", "255.255.255.0", "192.0.2.254", "192.0.2.254", "02:00:00:00:00:01", -60)
        self.config = {
            "public_status": public, "commissioning": commissioning, "bind": "0.0.0.0", "port": 0, "max_connections": 4,
            "idle_timeout_s": 15,
        }  # fmt: skip
        self.app = App(events, self.uptime)
        self.app.link = Link(self)
        self.app.name = lambda: "gate"
        self.app.config["network"] = {"link": "wifi", "ssid": "", "password": ""}
        self.app.buses = []
        self.app.scan = self.app.history = None
        self.app.held = []
        self.app.reboots = 0
        self.app.times = []
        self.app.hold = self._hold
        self.app.reboot = self._reboot
        self.app.look_at_config = lambda saved: None
        self.app.reboot_due = lambda: ["configuration"]
        self.app.clock = SimpleNamespace(set_ms=self.app.times.append)
        self.restart()

    def _hold(self, on):
        if on and self.app.held[-1:] == [True]:
            return False
        self.app.held.append(on)
        return True

    def _reboot(self):
        self.app.reboots += 1

    def restart(self):
        self.budget = Budget(16, 16, 16, list(SERVICES), 4, self.uptime, self.events)
        self.app.budget = self.budget
        self.server = Server(self.config, self.budget, self.events, Api(self.app))

    def connect(self, ip="192.0.2.9", room=None):
        stream = FakeStream(room)
        slot = self.budget.open("http", (ip, 50000))
        slot.connection = stream.connection = self.server.connection(stream, slot)
        stream.slot = slot
        seam.watch(stream, slot.connection)
        return stream

    def ask(self, method, path, headers=(), body=None, host="gateway", ip="192.0.2.9"):
        """The response to one request on a connection of its own."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        peer = self.connect(ip)
        peer.feed("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        if method == "PUT":
            self.server.sweep()  # as the firmware does every second
            peer.settle()
        (response,) = responses(peer.take(), method)
        if not peer.closed:
            peer.slot.connection.close()
        return response

    def get(self, path, cookie=None, **options):
        return self.ask("GET", path, (f"Cookie: {cookie}",) if cookie else (), **options)

    def send(self, method, path, body=None, cookie=None, **options):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.ask(method, path, (OURS, f"Cookie: {cookie}") if cookie else (OURS,), body, **options)

    def post(self, path, body=None, **options):
        return self.send("POST", path, body, **options)

    def set_password(self, password):
        assert self.post("/api/password", device_api.password_record(password)).status == 200

    def login(self, password, ip="192.0.2.9"):
        """The cookie of a new session."""
        fields, signature = device_api.proof(password, self.get("/api/session", ip=ip).json())
        response = self.post("/api/login", fields, ip=ip)
        if response.status == 429:  # many logins of one test
            self.uptime.now += int(response.headers["retry-after"]) + 1
            return self.login(password, ip)
        assert response.json() == {"signature": signature}, response.json()
        return response.headers["set-cookie"].partition(";")[0]

"""A browser for tests of the whole firmware that reads every document and reports what was refused."""

import http.client
import json

from host_tests.system.rig import HOST, Background
from tools.device_api import Device

# As a browser's page asks.
DOCUMENTS = (
    "/", "/api/session", "/api/history", "/api/readings", "/api/status", "/api/schema", "/api/profiles", "/api/config",
    "/api/bus", "/api/sockets", "/api/readings", "/api/status",
)  # fmt: skip


class PageReader(Background):
    """A browser with a session that reads all documents of the page again and again on one connection, and repeats a
    request whose connection was closed. AssertionError for a document that was refused or wrong. `rounds`: times that
    all were read."""

    def __init__(self, rig, cookie):
        super().__init__("page reader")
        self.rounds = 0
        self._device = Device(HOST, rig.http_port)
        self._device.cookie = cookie
        self._meters = len(rig.line.meters)

    def __exit__(self, *exc):
        super().__exit__(*exc)
        self._device.close()

    def work(self):
        while not self.stopping.is_set():
            for path in DOCUMENTS:
                self._read(path)
            self.rounds += 1

    def check(self, more=2):
        """Waits for `more` rounds. AssertionError when anything was refused."""
        wanted = self.rounds + more
        self.wait(lambda: self.rounds >= wanted, 120, f"round {wanted}")

    def _read(self, path):
        for _ in range(20):
            try:
                status, _, body = self._device.request("GET", path)
                break
            except (ConnectionError, http.client.HTTPException):
                continue  # evicted, or idle for too long
        else:
            raise AssertionError(f"{path}: not to be had")
        assert status == 200, f"{path}: {status} {body!r}"
        if path == "/api/readings":
            assert len(json.loads(body)["meters"]) == self._meters

"""A browser for tests of the whole firmware that looks at everything, and says when anything was refused."""

import http.client
import json
import threading

from host_tests.system.rig import HOST, wait_for
from tools.device_api import Device

# As a browser's page asks.
DOCUMENTS = (
    "/", "/api/session", "/api/history", "/api/readings", "/api/status", "/api/schema", "/api/profiles", "/api/config",
    "/api/bus", "/api/sockets", "/api/readings", "/api/status",
)  # fmt: skip


class PageReader(threading.Thread):
    """A browser that goes through all documents of the page again and again, logged in, on one connection; what meets
    its end is asked again. `error`: what was refused or wrong; `rounds`: how often all were seen."""

    def __init__(self, rig, cookie):
        super().__init__(name="page reader", daemon=True)
        self.rounds = 0
        self.error = None
        self._device = Device(HOST, rig.http_port)
        self._device.cookie = cookie
        self._meters = len(rig.line.meters)
        self._stopping = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self._stopping.set()
        self.join()
        self._device.close()

    def run(self):
        try:
            while not self._stopping.is_set():
                for path in DOCUMENTS:
                    self._look(path)
                self.rounds += 1
        except Exception as error:  # for check(), which raises it in the test's thread
            self.error = error

    def check(self, more=2):
        """Waits for some more rounds. AssertionError when anything was refused."""
        wanted = self.rounds + more
        wait_for(lambda: self.error or self.rounds >= wanted, 120, "a round of the page reader")
        if self.error:
            raise AssertionError(f"after {self.rounds} rounds: {self.error!r}") from self.error

    def _look(self, path):
        for _ in range(20):
            try:
                status, _, body = self._device.request("GET", path)
                break
            except (ConnectionError, http.client.HTTPException):
                continue  # another connection has taken its place, or it was idle for too long
        else:
            raise AssertionError(f"{path}: not to be had")
        assert status == 200, f"{path}: {status} {body!r}"
        if path == "/api/readings":
            assert len(json.loads(body)["meters"]) == self._meters

"""Prometheus, Debian's, not installed, on a free port of 127.0.0.1, with examples/prometheus.yml."""

import http.client
import json
import urllib.parse

from host_tests.daemon import Daemon
from host_tests.documents import ROOT
from host_tests.system.rig import HOST
from tools import debian, gateway


class Prometheus(Daemon):
    """A context manager. `target`: HOST:PORT of the gateway. It scrapes each second."""

    START_S = 60

    def __init__(self, folder, target):
        super().__init__(folder)
        self._target = target
        (self.port,) = gateway.free_ports(1)
        self._program = debian.unpack("prometheus") / "usr" / "bin" / "prometheus"

    def command(self):
        shown = (ROOT / "examples" / "prometheus.yml").read_text()
        settings = shown.replace("192.0.2.10:80", self._target).replace("scrape_interval: 30s", "scrape_interval: 1s")
        assert self._target in settings
        path = self.folder / "prometheus.yml"
        path.write_text(settings)
        return [
            self._program, f"--config.file={path}", f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address={HOST}:{self.port}",
        ]  # fmt: skip

    def answers(self):
        try:
            return self._get("/-/ready")[0] == 200
        except OSError:
            return False

    def query(self, expression):
        """[(labels, value as float)] of an expression now."""
        _, body = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        return [(one["metric"], float(one["value"][1])) for one in json.loads(body)["data"]["result"]]

    def _get(self, target):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

"""InfluxDB 1 and VictoriaMetrics, Debian's, not installed, on free ports of 127.0.0.1: asked for what has arrived.

Context managers. points(field): {(meter, unix time): value}."""

import contextlib
import http.client
import json
import urllib.parse

from host_tests.daemon import Daemon
from host_tests.system.rig import HOST
from tools import debian, gateway


class _Program(Daemon):
    START_S = 60

    def answers(self):
        with contextlib.suppress(OSError):
            return self.request("GET", self.health)[0] < 300
        return False

    def request(self, method, target):
        """(status, body)"""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request(method, target)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


class InfluxDb(_Program):
    health = "/ping"

    def __enter__(self):
        super().__enter__()
        assert self._query("CREATE DATABASE energy", "POST")
        return self

    def command(self):
        self.port, rpc = gateway.free_ports(2)
        lines = ["reporting-disabled = true", f'bind-address = "{HOST}:{rpc}"']
        for section, values in (
            ("meta", {"dir": f"{self.folder}/meta"}),
            ("data", {"dir": f"{self.folder}/data", "wal-dir": f"{self.folder}/wal"}),
            ("http", {"bind-address": f"{HOST}:{self.port}"}),
        ):
            lines += [f"[{section}]", *(f'{name} = "{value}"' for name, value in values.items())]
        (self.folder / "influxdb.conf").write_text("\n".join(lines) + "\n")
        program = debian.unpack("influxdb") / "usr" / "bin" / "influxd"
        return [program, "run", "-config", self.folder / "influxdb.conf"]

    def _query(self, text, method="GET"):
        query = urllib.parse.urlencode({"db": "energy", "epoch": "s", "q": text})
        status, body = self.request(method, f"/query?{query}")
        assert status == 200, body
        return json.loads(body)["results"]

    def points(self, field):
        found = {}
        for series in self._query(f'SELECT "{field}" FROM meterport GROUP BY meter')[0].get("series", ()):
            found.update({(series["tags"]["meter"], time): value for time, value in series["values"]})
        return found


class VictoriaMetrics(_Program):
    health = "/health"

    def command(self):
        (self.port,) = gateway.free_ports(1)
        program = debian.unpack("victoria-metrics") / "usr" / "bin" / "victoria-metrics"
        return [
            program, f"-httpListenAddr={HOST}:{self.port}", f"-storageDataPath={self.folder}/data",
            "-retentionPeriod=100y", "-memory.allowedBytes=64MB",
        ]  # fmt: skip

    def points(self, field):
        self.request("GET", "/internal/force_flush")
        match = urllib.parse.urlencode({"match[]": f"meterport_{field}"})
        status, body = self.request("GET", f"/api/v1/export?{match}")
        assert status == 200, body
        found = {}
        for line in body.splitlines():
            series = json.loads(line)
            for time, value in zip(series["timestamps"], series["values"], strict=True):
                found[series["metric"]["meter"], time // 1000] = value
        return found

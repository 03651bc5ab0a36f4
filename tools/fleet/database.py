"""VictoriaMetrics as the receiver of gateways that post: it takes InfluxDB's line protocol by HTTP, and is asked at the
end for all that it has."""

import asyncio
import http.client
import json
import urllib.parse
from collections.abc import Callable

from tools.fleet import ledger

ENERGY, POWER = "meterport_energy_import_wh", "meterport_active_power_w"
_TIMEOUT_S = 60
_BEHIND = "/write"


class DatabaseError(RuntimeError):
    """The database does not answer as VictoriaMetrics."""


class Database:
    """`url`: where gateways post, http://HOST:PORT/write. `take(payload)`: for each line that it has at the end.

    messages: lines; ready: it answers."""

    def __init__(self, url: str, take: Callable[[bytes], None]) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or not parts.path.endswith(_BEHIND):
            raise DatabaseError(f"{url}: must be http://HOST:PORT/write")
        self.host = parts.hostname
        self.port = parts.port or 80
        self.messages = self.again = 0
        self.ready = asyncio.Event()
        self.error: str | None = None
        self._take = take
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Looks whether it is there."""
        try:
            self._ask("/health")
        except (OSError, DatabaseError) as error:
            self.error = str(error)
        else:
            self.ready.set()
        await self._over.wait()

    def close(self) -> None:
        self._over.set()

    def collect(self) -> None:
        """Takes all that it has: as often as it has it. Raises DatabaseError, OSError."""
        self._ask("/internal/force_flush")
        energies, powers = self._export(ENERGY), self._export(POWER)
        for key, values in sorted(energies.items()):
            others = powers.pop(key, [])
            if len(others) != len(values):
                raise DatabaseError(f"{key}: {len(values)} values of energy, {len(others)} of power")
            for energy, power in zip(values, others, strict=True):
                self.messages += 1
                self._take(ledger.line(*key, energy, power))
        if powers:
            raise DatabaseError(f"power without energy: {next(iter(powers))}")

    def _export(self, metric: str) -> dict[tuple[bytes, bytes, int], list[int]]:
        """{(gw, meter, unix time): its values}"""
        match = urllib.parse.urlencode({"match[]": metric})
        found: dict[tuple[bytes, bytes, int], list[int]] = {}
        for text in self._ask(f"/api/v1/export?{match}").splitlines():
            series = json.loads(text)
            gateway, meter = series["metric"]["gw"].encode(), series["metric"]["meter"].encode()
            for at_ms, value in zip(series["timestamps"], series["values"], strict=True):
                found.setdefault((gateway, meter, at_ms // 1000), []).append(int(value))
        return found

    def _ask(self, target: str) -> bytes:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read()
        except http.client.HTTPException as error:
            raise DatabaseError(f"{target}: {error!r}") from None
        finally:
            connection.close()
        if response.status >= 300:
            raise DatabaseError(f"{target}: {response.status}")
        return body

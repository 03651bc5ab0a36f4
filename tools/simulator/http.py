"""Browsers: HTTP/1.1 clients (RFC 9112) that keep their connections and read what they are given, chunked or counted.

A Connection is one of a browser's; a Browser opens up to six of them to one server, as they all do, and asks for the
documents in parallel (storm), or one after the other as our page does (refresh).
"""

import json

from tools.simulator.hosts import ANSWER_S
from tools.simulator.world import HTTP

PAGE = "/"
ICON = "/favicon.ico"
DOCUMENTS = ("/api/status", "/api/readings", "/api/sockets")
PARALLEL = 6  # connections to one host: Firefox network.http.max-persistent-connections-per-server, Chrome likewise


class Broken(Exception):
    """The connection ended before the response did."""


class Connection:
    """One connection; requests one after the other."""

    def __init__(self, host, port=HTTP):
        self.host = host
        self.port = port
        self.stream = None
        self._have = b""
        self.responses = 0

    @property
    def is_open(self):
        return self.stream is not None and self.stream.is_open

    async def get(self, path, timeout_s=ANSWER_S):
        """(status, body). Connects when it has to. Raises Broken, TimeoutError, OSError (connecting)."""
        if not self.is_open:
            self.close()
            self.stream = await self.host.connect(self.port)
        lines = (f"GET {path} HTTP/1.1", "Host: meterport", "User-Agent: simulated", "Accept-Encoding: gzip, deflate")
        try:
            await self.stream.send("\r\n".join([*lines, "", ""]).encode())
            return await self._response(timeout_s)
        except (ConnectionError, EOFError) as error:
            self.close()
            raise Broken(repr(error)) from None

    async def _response(self, timeout_s):
        head = await self._until(b"\r\n\r\n", timeout_s)
        lines = head.decode("latin-1").split("\r\n")
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name:
                fields[name.lower()] = value.strip()
        status = int(lines[0].split(" ")[1])
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((await self._until(b"\r\n", timeout_s)).strip(), 16):
                body += await self._exactly(size, timeout_s)
                await self._exactly(2, timeout_s)
            await self._exactly(2, timeout_s)
        else:
            body = await self._exactly(int(fields["content-length"]), timeout_s)
        self.responses += 1
        if fields.get("connection", "").lower() == "close":
            self.close()
        return status, body

    async def _until(self, mark, timeout_s):
        while mark not in self._have:
            await self._more(timeout_s)
        part, _, self._have = self._have.partition(mark)
        return part + mark

    async def _exactly(self, n, timeout_s):
        while len(self._have) < n:
            await self._more(timeout_s)
        data, self._have = self._have[:n], self._have[n:]
        return data

    async def _more(self, timeout_s):
        data = await self.stream.recv(65536, timeout_s)
        if not data:
            raise EOFError("the server closed the connection in the middle of a response")
        self._have += data

    def close(self):
        self._have = b""
        if self.stream is not None:
            self.stream.close()
            self.stream = None


class Browser:
    """A technician's browser. load() shows the page and refresh() what its script fetches. A connection that the
    server closed between two requests is made again, and a request that met the end of one is asked again once
    (RFC 9110, 9.2.2): what then fails counts as `broken`."""

    def __init__(self, world, parallel=PARALLEL):
        self.world = world
        host = world.host(split=0.1)
        self.connections = [Connection(host) for _ in range(parallel)]
        self.pages = self.documents = self.broken = self.repeated = 0
        self.first_error = None

    @property
    def open(self):
        return sum(connection.is_open for connection in self.connections)

    async def load(self):
        """The page, and its icon on a second connection, which every browser asks for although there is none."""
        icon = self.world.start(self._get(self.connections[1], ICON, 404))
        if await self._get(self.connections[0], PAGE):
            self.pages += 1
        await icon

    async def refresh(self):
        """What the page's own script does: the documents one after the other, on one connection."""
        for path in DOCUMENTS:
            await self._get(self.connections[0], path)

    async def storm(self):
        """Every connection asks for something at the same time."""
        tasks = [
            self.world.start(self._get(connection, DOCUMENTS[k % len(DOCUMENTS)]))
            for k, connection in enumerate(self.connections)
        ]
        for task in tasks:
            await task

    async def _get(self, connection, path, wanted=200):
        for again in (True, False):
            try:
                status, body = await connection.get(path)
            except (Broken, OSError) as error:
                if again:
                    self.repeated += 1
                    continue
                self.broken += 1
                if self.first_error is None:
                    self.first_error = f"at {self.world.now_s:.3f} s: {path}: {error!r}"
                return False
            if status != wanted:
                self.world.violate(f"{path}: status {status}")
            if path != PAGE:
                json.loads(body)
            self.documents += 1
            return True
        return False

    def close(self):
        for connection in self.connections:
            connection.close()

    async def visit(self, minutes, refresh_s=2.0):
        """Opens the page, lets it refresh itself, and goes away."""
        await self.load()
        for _ in range(int(60 * minutes / refresh_s)):
            await self.refresh()
            await self.world.sleep(refresh_s)
        self.close()

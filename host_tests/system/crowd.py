"""Crowds of clients over real sockets, all on one asyncio loop: Modbus pollers of the kinds that Elkor's note
names (connected for good, or for each poll), and browsers with six parallel connections.

In:  a Rig whose virtual meters stand still.
Out: every answer compared with its meter (AssertionError at the first that is wrong), and counts of what was lost.
Every connection is made through the Crowd, which counts them and knows which of them the gateway has closed: the
ledger must say the same.
"""

import asyncio
import itertools
import json
import random
import struct
import time

import pytest

from host_tests.system.rig import ANSWER_S, HOST, adu, read_pdu, words
from tools import page

CONNECT_S = 10  # a SYN that found the backlog full comes again after 1 s, 3 s and 7 s
PAGE = "/"
DOCUMENTS = ("/api/status", "/api/readings", "/api/sockets")
PARALLEL = 6  # connections of a browser to one host: what Chrome and Firefox open at most
_RETRY_S = (0.05, 0.25)
_TRIES = 20  # of a browser for one document, each on a connection of its own

# (unit, function, address, count) of rig.METERS
CACHED = ((1, 4, 0, 36), (1, 4, 52, 6), (2, 3, 512, 16), (2, 3, 544, 42), (3, 4, 0, 10))  # inside polled blocks
PASSED = ((2, 3, 0x51D, 1), (1, 4, 30, 24), (2, 3, 0x513, 2))  # not polled: each goes to the bus
OWN = ((255, 3, 0, 2), (255, 4, 4 * 257, 2))  # identity; the first voltage of the WattsOn-Mark II as float32


class Crowd:
    """Everybody who is connected to one gateway. `made`: connections that were made; `closed`: those that the gateway
    closed."""

    def __init__(self, rig):
        self.rig = rig
        self.made = self.closed = 0
        self.links = set()
        self._page = page.packed()
        self._expected = {read: self._registers(*read) for read in CACHED + PASSED}
        self._voltage = rig.meter(2).expected(1)
        self._readings = {}
        for slot, unit in enumerate((1, 2, 3)):
            for number, value in rig.meter(unit).expected_all().items():
                self._readings[slot << 8 | number] = value

    def _registers(self, unit, function, address, count):
        return words(self.rig.meter(unit).registers(function, address, count))

    async def connect(self, port):
        link = Link(self)
        self.made += 1
        async with asyncio.timeout(CONNECT_S):
            await link.connect(port)
        return link

    def check_registers(self, read, data):
        unit, function, address, count = read
        assert len(data) == 2 * count, f"{read}: {data.hex()}"
        if unit != 255:
            assert data == self._expected[read], f"{read}: {data.hex()}"
        elif function == 3:
            assert data == b"MP\x00\x01"
        else:
            assert struct.unpack(">f", data)[0] == pytest.approx(self._voltage, rel=1e-6)

    def check_document(self, path, body):
        if path == PAGE:
            assert body == self._page
            return
        document = json.loads(body)
        if path == "/api/readings":
            points = {point["id"]: point for meter in document["meters"] for point in meter["points"]}
            assert set(points) == set(self._readings)
            for number, point in points.items():
                assert point["quality"] == "good"
                assert point["value"] == pytest.approx(self._readings[number], rel=5e-7, abs=1e-9)
        elif path == "/api/sockets":
            assert len(document["slots"]) == document["in_use"] <= document["high_water"] <= document["limit"]
        else:
            assert document["task_restarts"] == 0, document["events"]
            assert [meter["state"] for meter in document["meters"]] == ["online"] * 3

    def close(self):
        for link in list(self.links):
            link.close()


class Link:
    """One TCP connection of a client."""

    def __init__(self, crowd):
        self._crowd = crowd
        self.reader = self.writer = None
        self.transaction = 0

    async def connect(self, port):
        self.reader, self.writer = await asyncio.open_connection(HOST, port)
        self._crowd.links.add(self)

    @property
    def is_open(self):
        """False once the gateway has closed or reset the connection."""
        return self.reader.exception() is None and not self.reader.at_eof()

    def close(self):
        if self in self._crowd.links:
            self._crowd.links.remove(self)
            self._crowd.closed += not self.is_open
            self.writer.close()

    async def read(self, read):
        """The bytes of a Modbus read, checked. ConnectionError or EOFError when the connection ends first,
        TimeoutError when nothing comes."""
        unit, function, address, count = read
        self.transaction += 1
        self.writer.write(adu(self.transaction, unit, read_pdu(function, address, count)))
        async with asyncio.timeout(ANSWER_S):
            head = await self.reader.readexactly(7)
            transaction, protocol, length, answered = struct.unpack(">HHHB", head)
            assert (transaction, protocol, answered) == (self.transaction, 0, unit), f"{head.hex()} answers {read}"
            reply = await self.reader.readexactly(length - 1)
        assert (reply[0], reply[1]) == (function, 2 * count), f"{reply.hex()} answers {read}"
        return reply[2:]

    async def get(self, path):
        """The body of a document (status 200). Raises as read() does."""
        self.writer.write(f"GET {path} HTTP/1.1\r\nHost: meterport\r\nAccept-Encoding: gzip\r\n\r\n".encode())
        async with asyncio.timeout(ANSWER_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            assert head.startswith("http/1.1 200 "), head
            if "transfer-encoding: chunked" in head:
                body = b""
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readexactly(2)
            else:
                body = await self.reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        return body


class Poller:
    """Polls every `period_s`, one of `reads` after the other. After a poll that got no answer it asks again soon, but
    not at once, and not when everybody else does.

    each     connects for each poll; else it stays connected, and connects again when it was closed
    lost     polls without an answer; `connects`: connections that it took; `answered`: when each answer came
    """

    def __init__(self, crowd, reads=CACHED, period_s=0.2, phase=0.0, each=False):
        self.crowd = crowd
        self.reads = itertools.cycle(reads)
        self.period_s = period_s
        self.phase = phase
        self.each = each
        self.link = None
        self.polls = self.lost = self.connects = 0
        self.answered = []
        self.worst_s = 0.0
        self.first_error = None
        self._rng = random.Random(phase)

    async def run(self, over):
        """Until over() is true."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.phase * self.period_s
        while True:
            await asyncio.sleep(due - loop.time())
            if over():
                return
            if await self.poll():
                due = max(due + self.period_s, loop.time())
            else:
                due = loop.time() + self._rng.uniform(*_RETRY_S)

    async def poll(self):
        """True when it was answered."""
        begun = time.monotonic()
        self.polls += 1
        try:
            if self.link is not None and not self.link.is_open:
                self.close()
            if self.link is None:
                self.connects += 1
                self.link = await self.crowd.connect(self.crowd.rig.modbus_port)
            read = next(self.reads)
            self.crowd.check_registers(read, await self.link.read(read))
        except (OSError, EOFError, TimeoutError) as error:
            self.lost += 1
            self.first_error = self.first_error or error
            self.close()
            return False
        self.answered.append(time.monotonic())
        self.worst_s = max(self.worst_s, self.answered[-1] - begun)
        if self.each:
            self.close()
        return True

    def close(self):
        if self.link is not None:
            self.link.close()
            self.link = None


class Browser:
    """Six connections, kept alive and made at once; each refresh asks for a document on every one of them. A
    connection that the gateway has closed is made again, and the request that met its end is asked again: at once,
    then after pauses, or the connections of all browsers would only push each other out.

    documents   loaded, each whole and right; `repeated`: requests that had to be asked again
    """

    def __init__(self, crowd):
        self.crowd = crowd
        self.links = [None] * PARALLEL
        self.paths = itertools.cycle((PAGE, *DOCUMENTS))
        self.documents = self.repeated = 0
        self.worst_s = 0.0
        self._rng = random.Random(crowd.made)

    async def run(self, over, period_s=2.0):
        """Until over() is true."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await asyncio.sleep(due - loop.time())
            if over():
                return
            await self.refresh()
            due = max(due + period_s, loop.time())

    async def refresh(self):
        """AssertionError when a document is not to be had, or not right."""
        async with asyncio.TaskGroup() as group:
            for k in range(PARALLEL):
                group.create_task(self._open(k))
        async with asyncio.TaskGroup() as group:
            for k in range(PARALLEL):
                group.create_task(self._load(k, next(self.paths)))

    async def _open(self, k):
        link = self.links[k]
        if link is not None and not link.is_open:
            link.close()
            link = None
        self.links[k] = link or await self.crowd.connect(self.crowd.rig.http_port)

    async def _load(self, k, path):
        begun = time.monotonic()
        for tries in range(_TRIES):
            try:
                await asyncio.sleep(self._rng.uniform(0, 0.02 * tries))
                await self._open(k)
                body = await self.links[k].get(path)
            except (ConnectionError, EOFError):
                self.repeated += 1
                self.links[k].close()
                self.links[k] = None
                continue
            self.crowd.check_document(path, body)
            self.documents += 1
            self.worst_s = max(self.worst_s, time.monotonic() - begun)
            return
        raise AssertionError(f"{path}: not to be had in {_TRIES} tries")

    @property
    def open(self):
        return sum(link is not None and link.is_open for link in self.links)

    def close(self):
        for link in self.links:
            if link is not None:
                link.close()
        self.links = [None] * PARALLEL


def assert_nothing_lost(pollers):
    """Every poll was answered, and nobody who wanted to stay connected had to connect again."""
    for poller in pollers:
        assert poller.lost == 0, repr(poller.first_error)
        assert poller.polls == len(poller.answered) > 0
        assert poller.connects == (poller.polls if poller.each else 1)


async def run_until(over, *actors):
    async with asyncio.TaskGroup() as group:
        for actor in actors:
            group.create_task(actor.run(over))


async def run_for(seconds, *actors, enough=lambda: True, at_most_s=60):
    """Runs the actors for that long, and on until enough() on a machine that is busy with other things."""
    loop = asyncio.get_running_loop()
    begin = loop.time()

    def over():
        elapsed_s = loop.time() - begin
        return elapsed_s >= seconds and (enough() or elapsed_s >= at_most_s)

    await run_until(over, *actors)


def play(scenario, rig):
    """Runs the coroutine function scenario(crowd); ends every connection that it leaves."""

    async def run():
        crowd = Crowd(rig)
        try:
            return await scenario(crowd)
        finally:
            crowd.close()
            await asyncio.sleep(0)  # a transport closes its socket in the next turn

    return asyncio.run(run())

"""Modbus TCP clients that believe nothing: every answer is checked against what its meter could have said.

A Checker knows the meters' past and judges an answer (MODBUS Messaging on TCP/IP Implementation Guide V1.0b); a Client
is one connection; the pollers are the ways in which masters behave (Elkor's note on ETport sockets, "Modbus TCP
Client Behavior").
"""

import struct

from tools.simulator.hosts import ANSWER_S, CONNECT_S
from tools.simulator.world import MODBUS

GATEWAY = 255
# Reads of the default meters (unit, PDU): inside polled blocks, and not.
CACHED = (
    (1, struct.pack(">BHH", 4, 0, 36)),
    (1, struct.pack(">BHH", 4, 52, 6)),
    (1, struct.pack(">BHH", 4, 342, 4)),
    (2, struct.pack(">BHH", 3, 512, 16)),
    (2, struct.pack(">BHH", 3, 544, 42)),
    (3, struct.pack(">BHH", 4, 0, 10)),
)
PASSED = (
    (1, struct.pack(">BHH", 4, 30, 24)),
    (2, struct.pack(">BHH", 3, 0x51D, 1)),
    (2, struct.pack(">BHH", 3, 0x513, 2)),
    (1, struct.pack(">BHH", 4, 0x3000, 2)),  # refused by the meter: exception 02
)
OWN = (
    (GATEWAY, struct.pack(">BHH", 3, 0, 13)),
    (GATEWAY, struct.pack(">BHH", 3, 100, 34)),
    (GATEWAY, struct.pack(">BHH", 4, 4 * 16, 4)),
    (GATEWAY, bytes((43, 14, 1, 0))),
)
EXCEPTIONS = {6: "busy", 10: "no path", 11: "no answer"}
_SLACK_US = 3_000_000  # between what the meter said and what the gateway stamped it with


class Lost(Exception):
    """The connection ended before the answer came."""


class Checker:
    """Judges answers. `exceptions` counts those that the gateway itself gave, by code."""

    def __init__(self, world):
        self.world = world
        self.answers = 0
        self.exceptions = {}

    def judge(self, unit, pdu, reply, asked_us, answered_us):
        self.answers += 1
        if reply[0] & 0x7F != pdu[0]:
            self.world.violate(f"function {reply[0]} answers {pdu[0]} of unit {unit}")
            return
        if unit in (0, GATEWAY):
            self._own(pdu, reply)
            return
        meter = self.world.meter(unit)
        if reply[0] & 0x80 and (meter is None or reply[1] in EXCEPTIONS):
            self.exceptions[reply[1]] = self.exceptions.get(reply[1], 0) + 1
            return
        if meter is None:
            self.world.violate(f"unit {unit} does not exist, and said {reply.hex()}")
            return
        since_us = asked_us - self.world.max_age_us.get(unit, 0) - _SLACK_US
        if bytes(reply) not in meter.replies(pdu, since_us, answered_us):
            self.world.violate(f"unit {unit} never answered {pdu.hex()} with {reply.hex()}")

    def _own(self, pdu, reply):
        if reply[0] & 0x80:
            self.exceptions[reply[1]] = self.exceptions.get(reply[1], 0) + 1
        elif pdu[0] in (3, 4):
            count = int.from_bytes(pdu[3:5], "big")
            if reply[1] != 2 * count or len(reply) != 2 + 2 * count:
                self.world.violate(f"the gateway answers {pdu.hex()} with {reply.hex()}")


class Client:
    """One connection; requests one after the other."""

    def __init__(self, host, checker, port=MODBUS):
        self.host = host
        self.checker = checker
        self.port = port
        self.stream = None
        self.transaction = host.network.rng.randrange(0x10000)
        self.answers = 0

    async def connect(self, timeout_s=CONNECT_S):
        """Raises Lost."""
        try:
            self.stream = await self.host.connect(self.port, timeout_s)
        except OSError as error:
            raise Lost(f"connect: {error!r}") from None

    @property
    def is_open(self):
        return self.stream is not None and self.stream.is_open

    def adu(self, unit, pdu):
        self.transaction = (self.transaction + 1) & 0xFFFF
        return struct.pack(">HHHB", self.transaction, 0, len(pdu) + 1, unit) + pdu

    async def ask(self, unit, pdu, timeout_s=ANSWER_S):
        """The PDU that answers. Raises Lost when the connection ends first, TimeoutError when nothing comes."""
        stream = self.stream
        timeline = self.host.timeline
        asked_us = timeline.now_us
        violate = self.checker.world.violate
        try:
            await stream.send(self.adu(unit, pdu))
            head = await stream.recv_exactly(7, timeout_s)
            transaction, protocol, length, answered = struct.unpack(">HHHB", head)
            if (transaction, protocol, answered) != (self.transaction, 0, unit) or not 3 <= length <= 254:
                violate(f"{head.hex()} answers transaction {self.transaction} of unit {unit}")
                raise Lost("nonsense")
            reply = await stream.recv_exactly(length - 1, timeout_s)
        except (ConnectionError, EOFError) as error:
            raise Lost(repr(error)) from None
        if stream.unread:
            violate(f"{stream.unread} bytes behind the answer to {pdu.hex()} of unit {unit}")
        self.checker.judge(unit, pdu, reply, asked_us, timeline.now_us)
        self.answers += 1
        return reply

    def close(self):
        if self.stream is not None:
            self.stream.close()
            self.stream = None


class Poller:
    """A device that polls: every `period_s` one of `reads`, for ever.

    style       "stays": connected for good; "each": connects for each poll; "at once": after each loss it connects
                again without waiting, the others at their next poll
    lost        polls without an answer; reconnects: how often the connection had to be made again
    """

    def __init__(self, world, checker, reads=CACHED, period_s=10.0, style="stays", host=None):
        self.world = world
        self.reads = reads
        self.period_s = period_s
        self.style = style
        self.client = Client(host or world.host(split=0.05), checker)
        self.polls = self.answers = self.lost = self.reconnects = 0
        self.slowest_s = 0.0
        self.last_answer_s = None
        self.first_error = None

    async def run(self):
        world = self.world
        await world.sleep(self.period_s * world.rng.random())
        due_s = world.now_s
        while True:
            await self.poll()
            if self.style == "at once" and not self.client.is_open:
                await self._connect()
            due_s += self.period_s
            wait_s = due_s - world.now_s
            if wait_s > 0:
                await world.sleep(wait_s)
            else:
                due_s = world.now_s

    async def _connect(self):
        client = self.client
        if client.stream is not None:
            client.close()
            self.reconnects += 1
        try:
            await client.connect()
        except Lost as error:
            client.stream = None
            return error
        return None

    async def poll(self):
        """One poll; a connection that was closed in between is made again first, as good software does."""
        world = self.world
        client = self.client
        self.polls += 1
        begin_s = world.now_s
        if not client.is_open:
            error = await self._connect()
            if error is not None:
                self._failed(error)
                return
        unit, pdu = self.reads[int(len(self.reads) * world.rng.random())]
        try:
            await client.ask(unit, pdu)
        except (Lost, TimeoutError) as error:
            self._failed(error)
            client.close()
            self.reconnects += 1
            return
        self.answers += 1
        self.last_answer_s = world.now_s
        self.slowest_s = max(self.slowest_s, world.now_s - begin_s)
        if self.style == "each":
            client.close()

    def _failed(self, error):
        self.lost += 1
        if self.first_error is None:
            self.first_error = f"at {self.world.now_s:.3f} s: {error!r}"

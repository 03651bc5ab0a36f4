"""Modbus TCP server (MODBUS Messaging on TCP/IP Implementation Guide V1.0b).

In: bytes of a connection, in any pieces. Out: one reply for each request, in the order of the requests.
Units 1-247 are the meters; 255 and 0 are the gateway itself (unit255.py), but writes to unit 0 go to all meters of the
buses that allow broadcasts. A read that lies inside a fresh polled block is answered from memory, anything else goes to
the bus. While a request is on the bus its connection is not read: TCP
itself holds a client back that sends more, and a connection never has more than one request in any queue.

Buffers: all connections share one of 260 bytes for input and one for replies. A connection keeps of its own only what
is left of its input: a request that has not come whole, or one that waits for the bus and those behind it.
"""

from micropython import const

from firmware.bus import OK, Request
from firmware.net import seam
from firmware.net.listener import Connection, Listener
from firmware.net.seam import ticks_diff, ticks_ms
from firmware.services.modbus_tcp import ready
from modbus import pdu, tcp

_BROADCASTS = b"\x05\x06\x0f\x10\x16"
_REQUEST = const(12)  # bytes of a read
_UNSERVED_MS = const(60000)  # a client that has connected and asks nothing


class Counters:
    """Of the whole server, since boot."""

    def __init__(self):
        self.requests = 0
        self.cached = 0  # answered from memory
        self.passed = 0  # given to a bus
        self.exceptions = 0
        self.discarded = 0  # ADUs of another protocol (protocol id not 0)
        self.malformed = 0  # connections closed for an impossible length


class Server:
    """`gateway` is the unit 255: answer(buf, at, n, out, start) -> length of its PDU."""

    def __init__(self, config, budget, events, router, gateway):
        self.budget = budget
        self.events = events
        self.router = router
        self.gateway = gateway
        self.allow_writes = config["allow_writes"]
        self.writers = config["writers"]
        self.priority = config["priority"]
        self.broadcasts = [bus for bus in router.buses if bus.config["broadcast"]]
        self.counters = Counters()
        self.rx = bytearray(tcp.ADU_MAX)
        self.out = bytearray(tcp.ADU_MAX)
        self.replies = ready.Replies(self.rx)
        self.listener = Listener(
            budget, events, "modbus", config["bind"], config["port"], self._connection,
            _UNSERVED_MS, 1000 * config["idle_timeout_s"],
        )  # fmt: skip

    def _connection(self, stream, slot):
        return ModbusConnection(self, stream, slot)

    def sweep(self):
        self.listener.sweep()
        self.replies.sweep()
        self.gateway.sweep()

    def close(self):
        self.listener.close()


class ModbusConnection(Connection):
    """One client."""

    def __init__(self, server, stream, slot):
        super().__init__(stream, slot, server.budget, server.events)
        self.server = server
        self.left = b""
        self._reply_ready = ready.NONE  # to the last request
        # The server's, for the hot path: a look into another object costs as much as a line of it.
        self._front = server.replies.front
        self._key = server.replies.key
        self._counters = server.counters
        ip = seam.peer(slot.peer)[0]
        self.may_write = server.allow_writes and (not server.writers or ip in server.writers)
        self.first = ip in server.priority
        self.request = None  # made with the first request that goes to a bus
        self.bus = None  # where the request under way is

    # The hot path is on_ready, _repeated and Budget.served. It allocates nothing, and its functions are cut so that
    # each has few locals and no try: MicroPython puts a frame of more than 11 words (locals, stack, four for a try) on
    # the heap, and in a full heap looking for its room takes longer than all the rest.

    def on_ready(self, events):
        if self._kept is not None or self.slot.busy or self.left:
            super().on_ready(events)
            return
        # Not more than a read has: MicroPython's readinto asks the socket again for what is missing.
        got = self.stream.readinto(self._front)
        if got != _REQUEST or not self._repeated():
            self._other(got)

    def _repeated(self):
        """Answers the request at the front of the shared buffer if the reply to it stands ready."""
        reply = self._reply_ready
        if self._key != reply.key:
            reply = self._reply_ready = self.server.replies.find()
        until_ms = reply.words[reply.mark]
        if until_ms < 0 or ticks_diff(ticks_ms(), until_ms) > 0:
            return False
        if reply.until_ms != until_ms:
            reply.fill()
        adu = reply.adu
        adu[0] = self._front[0]
        adu[1] = self._front[1]
        slot = self.slot
        slot.received += _REQUEST
        slot.sent += reply.size
        self._counters.requests += 1
        self._counters.cached += 1
        self.budget.served(slot)
        # Last: what it raises goes to fail().
        sent = self.stream.write(adu, reply.size) or 0
        if sent != reply.size:
            slot.sent -= reply.size - sent
            self._keep_output(adu, sent, reply.size)
        return True

    def _other(self, got):
        """Any other input; `got` is what readinto said of the front of the shared buffer."""
        if got == _REQUEST and tcp.adu_length(self._front, 0, got) != got:
            got += self.stream.readinto(memoryview(self.server.rx)[got:]) or 0
        self._take(0, got)

    def on_input(self):
        rx = self.server.rx
        have = self._fetch() if self.left else 0
        self._take(have, self.stream.readinto(memoryview(rx)[have:] if have else rx))

    def _take(self, have, got):
        """`got` is what readinto said of rx[have:]."""
        if got is None:
            return
        if not got:
            self.close()
            return
        self.slot.received += got
        self._serve(0, have + got)

    def on_sent(self):
        self._serve(0, self._fetch())

    def _fetch(self):
        """What is left of the input to the front of the shared buffer; how much it is."""
        have = len(self.left)
        self.server.rx[:have] = self.left
        return have

    def _serve(self, at, have):
        """Answers the whole ADUs in rx[at:have] until one has to wait, and keeps what is left."""
        rx = self.server.rx
        while at < have:
            n = tcp.adu_length(rx, at, have)
            if n <= 0:
                if n < 0:
                    self._malformed(at)
                    return
                break
            if tcp.protocol_id(rx, at):
                self.server.counters.discarded += 1
                self.events.add("modbus", "ADU with protocol id %d discarded" % tcp.protocol_id(rx, at))
                at += n
                continue
            if not self._answer(at, n):
                if self.closed:
                    return
                if self.slot.busy:
                    # The ADU stays at the front: its header is needed for the reply.
                    break
                at += n
                break
            at += n
        self.left = bytes(memoryview(rx)[at:have]) if at < have else b""

    def _answer(self, at, n):
        """Answers the request in rx[at:at+n], or gives it to a bus. True when the next may be looked at: the reply
        has left; False when it waits for the bus (slot.busy) or for the client to take the reply."""
        server = self.server
        rx = server.rx
        counters = server.counters
        counters.requests += 1
        unit = rx[at + 6]
        function = rx[at + 7]
        start = at + 7
        length = n - 7
        out = server.out
        if unit == 0 and server.broadcasts and not pdu.is_read(rx, start, length):
            return self._broadcast(at, start, length)
        if unit == 255 or unit == 0:
            return self._reply(at, server.gateway.answer(rx, start, length, out, 7))
        code = pdu.check_request(rx, start, length)
        if code:
            return self._exception(at, function, code)
        bus = server.router.bus_of(unit)
        if bus is None:
            return self._exception(at, function, pdu.GATEWAY_PATH_UNAVAILABLE)
        unit = server.router.address_of(unit)
        if function == 3 or function == 4:
            first = rx[at + 8] << 8 | rx[at + 9]
            count = rx[at + 10] << 8 | rx[at + 11]
            place = bus.cached(unit, function, first, count)
            if place >= 0:
                counters.cached += 1
                meter = bus.by_unit[unit]
                skip = place & 0xFFFF
                size = 2 * count
                out[7] = function
                out[8] = size
                out[9 : 9 + size] = memoryview(meter.data)[skip : skip + size]
                if not at:
                    server.replies.keep(out, tcp.head(out, rx, at, 2 + size), meter, place)
                return self._reply(at, 2 + size)
        elif not self.may_write and not pdu.is_read(rx, start, length):
            return self._exception(at, function, pdu.ILLEGAL_FUNCTION)
        if self.request is None:
            self.request = Request(self)
            self.request.first = self.first
        self.request.fill(unit, rx, start, length)
        code = bus.submit(self.request)
        if code != OK:
            return self._exception(at, function, code)
        counters.passed += 1
        self.bus = bus
        self.slot.busy = True
        seam.interest(self.stream, 0)
        return False

    def _broadcast(self, at, start, length):
        """A write to all meters: nobody answers it, so the echo that the client expects is ours (Application Protocol
        6.5, 6.6, 6.11, 6.12, 6.16), at once. Other functions have no answer that could be known."""
        server = self.server
        rx = server.rx
        function = rx[start]
        code = pdu.check_request(rx, start, length)
        if not code and (not self.may_write or function not in _BROADCASTS):
            code = pdu.ILLEGAL_FUNCTION
        for bus in server.broadcasts:
            code = code or bus.broadcast(rx, start, length)
        if code:
            return self._exception(at, function, code)
        server.counters.passed += 1
        echoed = 7 if function == 22 else 5
        server.out[7 : 7 + echoed] = rx[start : start + echoed]
        return self._reply(at, echoed)

    def _exception(self, at, function, code):
        out = self.server.out
        out[7] = function | 0x80
        out[8] = code
        return self._reply(at, 2)

    def _reply(self, at, length):
        """Sends the PDU of that length in out[7:] as the reply to the request at rx[at:]."""
        server = self.server
        if server.out[7] & 0x80:
            server.counters.exceptions += 1
        server.budget.served(self.slot)
        return self.send(server.out, tcp.head(server.out, server.rx, at, length))

    def on_answer(self, code, buf, at, n):
        """The end of the request on the bus (firmware.bus.Request): its ADU is what was left first."""
        self.bus = None
        self.slot.busy = False
        seam.interest(self.stream, seam.READ)
        have = self._fetch()
        rx = self.server.rx
        adu = tcp.adu_length(rx, 0, have)
        if code:
            sent = self._exception(0, rx[7], code)
        else:
            out = self.server.out
            for i in range(n - 3):
                out[7 + i] = buf[at + 1 + i]
            sent = self._reply(0, n - 3)
        if self.closed:
            return
        if sent:
            self._serve(adu, have)
        else:
            self.left = bytes(memoryview(rx)[adu:have])

    def _malformed(self, at):
        rx = self.server.rx
        self.server.counters.malformed += 1
        self.events.add("modbus", "connection closed: impossible MBAP length %d" % (rx[at + 4] << 8 | rx[at + 5]))
        self.close()

    def close(self):
        if self.bus is not None:
            self.bus.withdraw(self.request)
            self.bus = None
        super().close()

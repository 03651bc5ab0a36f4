"""Modbus TCP server (MODBUS Messaging on TCP/IP Implementation Guide V1.0b).

In: bytes of a connection, in any pieces. Out: one reply for each request, in the order of the requests.
Units 1-247 are the meters, or are served as others (served.py); 255 and 0 are the gateway itself (unit255.py), but
writes to unit 0 go to all meters of the buses that allow broadcasts. A read that lies inside a fresh polled block is
answered from memory, anything else goes to the bus. While a request is on the bus its connection is not read: TCP
itself holds a client back that sends more, and a connection never has more than one request in any queue.

A client that sends RTU frames instead (known by the right CRC of the first one) is told so in the log, and closed; with
modbus.rtu_over_tcp such clients have a port of their own (rtu_over_tcp.py).

Buffers: all connections share one of 260 bytes for input and one for replies. A connection keeps of its own only the
header of a request on the bus, and what is left of its input: a request that has not come whole, or those behind one
that waits.
"""

from micropython import const

from firmware.bus import OK, Request
from firmware.net import seam
from firmware.net.listener import Connection, Listener
from firmware.net.seam import ticks_diff, ticks_ms
from firmware.services import Service
from firmware.services.modbus_tcp import reply_cache
from modbus import pdu, rtu, tcp
from modbus.crc import crc16
from modbus.tcp import NO_WAY, put_header, put_read, put_reply

_TYPING = const(0)
if _TYPING:
    from typing import Any

    from firmware.bus import Bus, Buses
    from firmware.events import Events
    from firmware.net.budget import Budget, Slot
    from firmware.services.modbus_tcp.served import ServedUnit
    from firmware.services.modbus_tcp.unit255 import Unit255
    from modbus.pdu import Buffer

_BROADCASTS = b"\x05\x06\x0f\x10\x16"
_REQUEST = const(12)  # bytes of a read
_NOTHING = bytearray()
_HEAD = const(8)  # MBAP header and function
_READ_FRAME = const(8)  # of a read, on the serial line
_UNSERVED_MS = const(60000)  # until a connection without a request is closed


class ModbusServer(Service):
    """The service (firmware.services). `buses`: firmware.bus.Buses; `unit255`: the gateway's own unit, whose
    answer(buf, at, n, out, start) gives the length of its PDU, and which shows the server's `counters`; `served`:
    {unit: what answers for it, likewise}."""

    name = "modbus"

    def __init__(self, config: dict, budget: "Budget", events: "Events", buses: "Buses", unit255: "Unit255",
        served: "dict[int, ServedUnit] | None" = None,
    ):  # fmt: skip
        router = buses.router
        self.config = config
        self.budget = budget
        self.events = events
        self.router = router
        self.unit255 = unit255
        self.counters = unit255.counters
        self.broadcasts = [bus for bus in router.buses if bus.config["broadcast"]]
        self.rx = bytearray(tcp.ADU_MAX)
        self.rx_view = memoryview(self.rx)
        self.out = bytearray(tcp.ADU_MAX)
        self.replies = reply_cache.ReplyCache(self.rx)
        self.served = served or None  # None is what the hot path asks for
        if served:
            router.numbers = numbers = bytearray(router.numbers)
            for unit in served:  # no bus answers for it
                numbers[unit] = NO_WAY
        self.listener = None
        self.rtu_listener = None

    def start(self) -> None:
        """Opens the listener, and the one for RTU over TCP where it is on. Raises OSError when a port cannot be had."""
        self.listener = self._listen(self.config["port"], ModbusConnection, 0)
        if self.budget.service_slot(self.name, 1) is not None:
            from firmware.services.modbus_tcp.rtu_over_tcp import RtuConnection  # off by default: no heap for it then

            self.rtu_listener = self._listen(self.config["rtu_over_tcp"], RtuConnection, 1)

    def _listen(self, port, connection, number):
        config = self.config
        return Listener(
            self.budget, self.events, self.name, config["bind"], port, lambda *newcomer: connection(self, *newcomer),
            _UNSERVED_MS, 1000 * config["idle_timeout_s"], number,
        )  # fmt: skip

    def tick(self) -> None:
        """Once a second."""
        if self.listener is not None:
            self.listener.sweep()  # the connections of both
        if self.rtu_listener is not None:
            self.rtu_listener.resume()
        self.replies.tick()

    def status(self) -> "dict[str, int]":
        """Returns the counters of the server."""
        return self.counters.status()

    def close(self) -> None:
        """Closes the listeners; connections are closed by the budget."""
        for listener in (self.listener, self.rtu_listener):
            if listener is not None:
                listener.close()
        self.listener = self.rtu_listener = None


class ModbusConnection(Connection):
    """One client."""

    def __init__(self, server: ModbusServer, stream: "Any", slot: "Slot"):
        super().__init__(stream, slot, server.budget, server.events)
        self.server = server
        self._pending = _NOTHING  # header and function of the request on the bus, for its reply
        self._kept_input = _NOTHING  # [:_kept_input_size]: the rest of the input
        self._kept_input_size = 0
        self._reply_ready = reply_cache.NO_REPLY  # to the last request
        # The server's, for the hot path: a look into another object costs as much as a line of it.
        self._first_bytes = server.replies.first_bytes
        self._key = server.replies.key
        self._counters = server.counters
        self._out = server.out
        config = server.config
        self.may_write = config["allow_writes"] and (not config["writers"] or self._ip() in config["writers"])
        self.request: "Request | None" = None  # made with the first request that goes to a bus
        self.bus: "Bus | None" = None  # where the request under way is
        self._is_held = False  # input has come meanwhile, which is not read before the answer

    def _ip(self):
        return seam.peer(self.slot.peer)[0]

    # The hot path is on_ready, _answer_repeated and Budget.served. It allocates nothing, and its functions have few
    # locals and no try: MicroPython puts a frame of more than 11 words (locals, stack, four for a try) on the heap, and
    # in a full heap looking for its room takes longer than all the rest.

    def on_ready(self, events: int) -> None:
        """Takes input, or goes on with output: the socket is ready."""
        if self._unsent is not None or self.slot.busy or self._kept_input_size:
            self._on_ready(events)
            return
        # Not more than a read has: MicroPython's readinto asks the socket again for what is missing.
        got = self.stream.readinto(self._first_bytes)
        if got != _REQUEST or not self._answer_repeated():
            self._read_other(got)

    def _on_ready(self, events):
        """Goes on with output or input. While a request is on the bus nothing is read: a client that sends another, or
        leaves, is not looked at before the answer. Most do neither, and a poll less is a call less for each request."""
        if self.slot.busy and self._unsent is None and not self._is_held and events == seam.READ:
            self._is_held = True
            seam.interest(self.stream, 0)
        else:
            super().on_ready(events)

    def _answer_repeated(self):
        """Answers the request at the front of the shared buffer if the reply to it is kept and fresh."""
        reply = self._reply_ready
        if self._key != reply.key:
            reply = self._reply_ready = self.server.replies.find()
        until_ms = reply.block.fresh_until_ms
        if until_ms < 0 or ticks_diff(ticks_ms(), until_ms) > 0:
            return False
        if reply.until_ms != until_ms:
            reply.fill()
        adu = reply.adu
        adu[0] = self._first_bytes[0]
        adu[1] = self._first_bytes[1]
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

    def _read_other(self, got):
        """Takes any other input; `got` is what readinto returned for the front of the shared buffer."""
        request = self.request
        if got == _REQUEST and request is not None:
            router = self.server.router
            number = put_read(request.frame, self._pending, self._first_bytes, router.numbers, router.addresses)
            if number != NO_WAY and self._pass_read(router.buses[number], request):
                return
        self._read_any(got)

    def _pass_read(self, bus, request):
        """Gives the read of registers in `request.frame`, which is the only input, to `bus`. Returns False where it can
        be answered from memory instead."""
        frame = request.frame
        if frame[0] in bus.by_unit and self._is_cached(bus, frame):
            return False
        request.unit = frame[0]
        request.length = _READ_FRAME
        request.only_reads = True
        slot = self.slot
        slot.received += _REQUEST
        self._counters.requests += 1
        code = bus.submit(request)
        if code:
            self._exception(self._pending, 0, code)
            return True
        self._counters.passed += 1
        self.bus = bus
        slot.busy = True
        return True

    def _is_cached(self, bus, frame):
        return bus.cached(frame[0], frame[1], frame[2] << 8 | frame[3], frame[4] << 8 | frame[5]) is not None

    def _read_any(self, got):
        if got == _REQUEST:
            if tcp.adu_length(self._first_bytes, 0, got) != got:
                got += self.stream.readinto(self.server.rx_view[got:]) or 0
            elif self.slot.requests and not tcp.protocol_id(self._first_bytes, 0):
                # One whole request, and no RTU frame: nothing that would have to be kept.
                self.slot.received += got
                self._handle_request(0, got)
                return
        self._serve_input(0, got)

    def on_input(self) -> None:
        """Reads behind the input that is kept."""
        server = self.server
        have = self._restore_input() if self._kept_input_size else 0
        self._serve_input(have, self.stream.readinto(server.rx_view[have:] if have else server.rx))

    def _serve_input(self, have, got):
        """Serves what is in rx; `got` is what readinto returned for rx[have:]."""
        if got is None:
            return
        if not got:
            self.close()
            return
        self.slot.received += got
        self._serve_requests(0, have + got)

    def on_sent(self) -> None:
        """Goes on with the requests behind the one whose reply has now left."""
        self._serve_requests(0, self._restore_input())

    def _keep_input(self, at, have):
        """Keeps rx[at:have] until it can go on: in a buffer that stays when it holds no more than a read, as it does
        for most clients."""
        self._kept_input_size = size = have - at
        if size > len(self._kept_input):
            self._kept_input = bytearray(max(size, _REQUEST))
        elif not size and len(self._kept_input) > _REQUEST:
            self._kept_input = _NOTHING
        if size:
            self._kept_input[:size] = self.server.rx_view[at:have]

    def _restore_input(self):
        """Copies the kept input to the front of the shared buffer; returns its size."""
        have = self._kept_input_size
        left = self._kept_input
        self.server.rx[:have] = left if have == len(left) else memoryview(left)[:have]
        return have

    def _serve_requests(self, at: int, have: int) -> None:
        """Answers the whole ADUs in rx[at:have] until one has to wait, and keeps the rest."""
        rx = self.server.rx
        if not self.slot.requests:
            if have - at < _HEAD:  # no request yet, and it may become an RTU frame
                self._keep_input(at, have)
                return
            length = rtu.request_length(rx, at, have)
            if rx[at] and 0 < length <= have - at and not crc16(rx, at + length, at):
                self._close_rtu()
                return
        while at < have:
            n = tcp.adu_length(rx, at, have)
            if n <= 0:
                if n < 0:
                    self._malformed(at)
                    return
                break
            if tcp.protocol_id(rx, at):
                self._discard(at)
                at += n
                continue
            if not self._handle_request(at, n):
                if self.closed:
                    return
                at += n
                break
            at += n
        self._keep_input(at, have)

    def _handle_request(self, at, n):
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
            return self._reply(rx, at, server.unit255.answer(rx, start, length, out, 7))
        if server.served is not None and unit in server.served:
            return self._reply(rx, at, server.served[unit].answer(rx, start, length, out, 7))
        code = pdu.check_request(rx, start, length)
        if code:
            return self._exception(rx, at, code)
        bus = server.router.bus_of(unit)
        if bus is None:
            return self._exception(rx, at, pdu.GATEWAY_PATH_UNAVAILABLE)
        unit = server.router.address_of(unit)
        if function == 3 or function == 4:
            first = rx[at + 8] << 8 | rx[at + 9]
            count = rx[at + 10] << 8 | rx[at + 11]
            block = bus.cached(unit, function, first, count)
            if block is not None:
                counters.cached += 1
                out[7] = function
                out[8] = 2 * count
                block.copy_to(out, 9, first, count)
                if not at:
                    server.replies.keep(out, put_header(out, rx, at, 2 + 2 * count), block, first, count)
                return self._reply(rx, at, 2 + 2 * count)
            request = self.request or self._make_request()
            request.fill_read(unit, function, first, count)
        else:
            if not self.may_write and not pdu.is_read(rx, start, length):
                return self._exception(rx, at, pdu.ILLEGAL_FUNCTION)
            request = self.request or self._make_request()
            request.fill(unit, rx, start, length)
        return self._submit(bus, rx, at)

    def _make_request(self):
        request = self.request = Request(self)
        self._pending = bytearray(_HEAD)
        request.has_priority = self._ip() in self.server.config["priority"]
        return request

    def _submit(self, bus, rx, at):
        """Gives self.request, which came at rx[at:], to the bus. Returns what _handle_request() does."""
        code = bus.submit(self.request)
        if code != OK:
            return self._exception(rx, at, code)
        self._counters.passed += 1
        pending = self._pending
        pending[0] = rx[at]  # what put_header() needs, without a slice
        pending[1] = rx[at + 1]
        pending[6] = rx[at + 6]
        pending[7] = rx[at + 7]
        self.bus = bus
        self.slot.busy = True
        return False

    def _broadcast(self, at, start, length):
        """Passes on a write to all meters. It has no answer, so the echo for the client is ours (Application Protocol
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
            return self._exception(rx, at, code)
        server.counters.passed += 1
        echoed = 7 if function == 22 else 5
        server.out[7 : 7 + echoed] = rx[start : start + echoed]
        return self._reply(rx, at, echoed)

    def _exception(self, source, at, code):
        """Answers the request at source[at:] with that exception."""
        out = self._out
        out[7] = source[at + 7] | 0x80
        out[8] = code
        return self._reply(source, at, 2)

    # From here to _pass_back() the frames have at most 11 words, which MicroPython keeps off the heap.

    def _reply(self, source: "Buffer", at: int, length: int) -> bool:
        """Sends the PDU of that length in out[7:] as the reply to the request at source[at:]."""
        out = self.server.out
        if out[7] & 0x80:
            self._counters.exceptions += 1
        self.budget.served(self.slot)
        size = put_header(out, source, at, length)
        return self.send(out, size)

    def on_answer(self, code: int, frame: "Buffer", at: int, n: int) -> None:
        """Replies to the client: its request on the bus has ended (firmware.bus.Request)."""
        self.bus = None
        self.slot.busy = False
        if self._is_held:
            self._is_held = False
            seam.interest(self.stream, seam.READ)
        if code:
            has_left = self._exception(self._pending, 0, code)
        else:
            has_left = self._pass_back(frame, at, n)
        if has_left and self._kept_input_size:
            self._serve_requests(0, self._restore_input())

    def _pass_back(self, frame: "Buffer", at: int, n: int) -> bool:
        """Sends the answer of the meter in frame[at:at+n]; returns as _reply() does."""
        size = put_reply(self._out, self._pending, frame, at, n)
        if frame[at + 1] & 0x80:
            self._counters.exceptions += 1
        self.budget.served(self.slot)
        if self._kept_input_size:
            return self.send(self._out, size)
        return self.send_at_last(self._out, size)

    def _discard(self, at):
        server = self.server
        server.counters.discarded += 1
        self.events.add("modbus", "ADU with protocol id %d discarded" % tcp.protocol_id(server.rx, at))

    def _close_rtu(self):
        self.server.counters.rtu_frames += 1
        self.events.add("modbus", "%s sends RTU frames: set it to Modbus TCP, or see modbus.rtu_over_tcp" % self._ip())
        self.close()

    def _malformed(self, at):
        rx = self.server.rx
        self.server.counters.malformed += 1
        self.events.add("modbus", "connection closed: impossible MBAP length %d" % (rx[at + 4] << 8 | rx[at + 5]))
        self.close()

    def close(self) -> None:
        """Closes the connection, and withdraws its request from the bus."""
        if self.bus is not None:
            self.bus.withdraw(self.request)
            self.bus = None
        super().close()

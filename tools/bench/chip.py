"""An emulated RP2040 with its network and its meters in one simulated time, the chip's own.

In:  a flash image, meters. Out: TCP connections and UDP sockets to what runs on the chip, and for each request what it
took: cycles executed, moments of the line. Nothing here waits for this machine's clock, so a run gives the same numbers
everywhere.

The network is a PPP line at the baud rate that the chip sets, with nothing else on it and no delay behind it.
"""

import heapq
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tools.bench import heap, tcp, udp
from tools.bench.elf import Symbols
from tools.bench.lockstep import Lockstep
from tools.bench.meters import Line
from tools.emulator import ppp

CLOCK_HZ = 125_000_000
HOST, GUEST = "10.0.2.2", "10.0.2.15"
_IGMP = 2  # of IPv4
# MicroPython's PPP asks its UART for more than has come and waits busily, 1 to 2 ms, for what does not: cycles that a
# network device would not take, so they are counted apart. The functions, outermost first.
LINE = ("network_ppp_poll", "mp_machine_uart_read")
_BITS = 10  # of a character on the PPP line and on the meters': 8N1
_DELAYED_ACK_NS = 40e6  # as Linux has it
_FIRST_PORT, _LAST_PORT = 50000, 65535
_ANSWER_NS = 30e9
NTP = 123
_REPL_MAX = 20000
_SLICE_NS = 1e9

Peer = tcp.Connection | udp.Socket
Whole = Callable[[Any], int]  # length of the answer once all of it is there, else 0


class ChipError(RuntimeError):
    """The chip did not do in time what it was to do, or was reset; the text ends with what it printed last."""


class Sample(NamedTuple):
    """What one request took. Times are of the chip's clock."""

    cycles: int  # executed between its first bit and the last bit of the answer; neither sleep nor what LINE names
    line_cycles: int  # of LINE
    latency_ns: float  # from its first bit on the line to the last bit of the answer
    turnaround_ns: float  # from its last bit to the first bit of what answers it
    asked_bytes: int  # on the PPP line, headers and escapes included
    answered_bytes: int
    bus_ns: float  # of these, on the RS-485 line: request, the meter's delay, reply


class Sweep(NamedTuple):
    """One collection of the heap."""

    cycles: int
    before: int  # bytes in use
    after: int


class Chip:
    """Runs from start() to stop(); a context manager.

    now_ns, cycles   since power-on, without ...    printed        what came from the REPL (bounded)
    line_cycles      ... those of reading PPP's UART
    sweeps           collections of the heap        line           the meters'
    character_ns     of both UARTs                  to_chip        bytes about to go out on the PPP line
    came             bytes from there               began_ns       when the last ones began
    """

    def __init__(self, flash: pathlib.Path, symbols: Symbols, meters: Iterable[Any] = ()) -> None:
        self.symbols = symbols
        self.lockstep = Lockstep(flash)
        self.line = Line(meters)
        self.now_ns = 0.0
        self.cycles = self.line_cycles = 0
        self.printed = ""
        self.sweeps: list[Sweep] = []
        self._table = heap.table(symbols)
        self.to_chip = bytearray()  # on the PPP line
        self._to_uart1: list[bytes] = []
        self._packets: list[bytes] = []
        self._peer = ppp.Peer(HOST, GUEST, self.to_chip.extend, self._packets.append)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = 0
        self._next_port = _FIRST_PORT
        self._connections: dict[int, tcp.Connection] = {}
        self._listening: set[int] = set()
        self._sockets: dict[int, udp.Socket] = {}
        self.unix_s = 0  # at power-on: with it NTP requests are answered
        self.character_ns = [0.0, 0.0]
        self.began_ns = 0.0  # of the frame that came last
        self.came = 0  # bytes from the PPP line

    def start(self) -> "Chip":
        """Power on. Raises node.NodeError."""
        self.lockstep.start()
        where = {
            "table": self._table.address,
            "bytes": self._table.size,
            "collect": self.symbols.address("gc_collect"),
            "line": [self.symbols.address(name) for name in LINE],
        }
        self.lockstep.ask("watch", where)
        return self

    def stop(self) -> None:
        self.lockstep.stop()

    def __enter__(self) -> "Chip":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # Time

    def wait(self, condition: Callable[[], object], limit_ns: float, what: str) -> None:
        """Runs until condition() holds. Raises ChipError when that takes longer than limit_ns of the chip's time."""
        end_ns = self.now_ns + limit_ns
        while not condition():
            if self.now_ns >= end_ns:
                raise ChipError(f"{what}: not within {limit_ns / 1e9:g} s of the chip's time\n{self.printed[-800:]}")
            self._step(end_ns)

    def run(self, duration_ns: float) -> None:
        """Lets this time go by."""
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self._step(end_ns)

    def after(self, delay_ns: float, action: Callable[[], None]) -> None:
        """Calls action() in the chip's time."""
        self._numbers += 1
        heapq.heappush(self._events, (self.now_ns + delay_ns, self._numbers, action))

    def _step(self, end_ns: float) -> None:
        while self._events and self._events[0][0] <= self.now_ns:
            heapq.heappop(self._events)[2]()
        until = min([end_ns, self.now_ns + _SLICE_NS, *(event[0] for event in self._events[:1])])
        answer = self.lockstep.ask(
            "run", {"until": until, "uart0": self.to_chip.hex(), "uart1": b"".join(self._to_uart1).hex()}
        )
        self.to_chip.clear()
        self._to_uart1.clear()
        self.now_ns, self.cycles, self.line_cycles = answer["now"], answer["cycles"] - answer["line"], answer["line"]
        self.character_ns = [1e9 * _BITS / baud for baud in answer["baud"]]
        self.printed = (self.printed + answer["repl"])[-_REPL_MAX:]
        self.sweeps += [Sweep(cycles, *map(heap.in_bytes, blocks)) for cycles, *blocks in answer["swept"]]
        if answer["reset"]:
            raise ChipError(f"the chip was reset: {answer['reset']}\n{self.printed[-800:]}")
        if answer["uart0"]:
            self.came += len(answer["uart0"]) // 2
            self.began_ns = answer["first"] - self.character_ns[0]
            self._peer.feed(bytes.fromhex(answer["uart0"]))
            self._take()
        for byte in bytes.fromhex(answer["uart1"]):  # one: the chip stops at each
            reply = self.line.sent(byte, self.now_ns, self.character_ns[1])
            if reply:
                begins_ns, frame = reply
                self.after(begins_ns - self.now_ns, lambda frame=frame: self._to_uart1.append(frame))  # type: ignore[misc]

    def _take(self) -> None:
        for packet in self._packets:
            if packet[9] == _IGMP:
                continue  # nobody routes multicast here
            if packet[9] == udp.PROTOCOL:
                datagram = udp.Datagram(packet)
                if datagram.target in self._sockets:
                    self._sockets[datagram.target].feed(datagram)
                elif datagram.target == NTP and self.unix_s:
                    server = udp.Socket(self._peer.packet, (HOST, NTP), (GUEST, datagram.source))
                    server.send(udp.time_answer(datagram.data, self.unix_s + self.now_ns / 1e9))
                continue
            segment = tcp.Segment(packet)
            connection = self._connections.get(segment.target)
            if connection is None:
                if segment.target in self._listening and segment.flags & tcp.SYN:
                    connection = tcp.Connection(self._peer.packet, (HOST, segment.target), (GUEST, segment.source))
                    self._connections[connection.own_port] = connection
                    connection.accept(segment)
                continue  # or the tail of one that is over
            connection.feed(segment)
            if connection.waiting:
                self.after(_DELAYED_ACK_NS, lambda c=connection: c.acknowledge() if c.waiting else None)  # type: ignore[misc]
        self._packets.clear()

    # Connections

    @property
    def up(self) -> bool:
        """Whether PPP is up."""
        return self._peer.up

    def connect(self, port: int) -> tcp.Connection:
        """An open connection to this port of the chip. Raises ChipError or tcp.TcpError."""
        connection = self.dial(port)
        self.wait(lambda: connection.open, _ANSWER_NS, f"a connection to port {port}")
        return connection

    def dial(self, port: int) -> tcp.Connection:
        """The same, and nobody waits for it to open."""
        connection = tcp.Connection(self._peer.packet, (HOST, self._take_port()), (GUEST, port))
        self._connections[connection.own_port] = connection
        connection.connect()
        return connection

    def accept(self, port: int, limit_ns: float) -> tcp.Connection:
        """The connection that the chip opens to this port of the host. Raises ChipError."""
        self._listening.add(port)
        self.wait(lambda: port in self._connections, limit_ns, f"a connection to port {port} of the host")
        return self._connections[port]

    def udp(self, port: int) -> udp.Socket:
        """A socket that sends to this UDP port of the chip."""
        sock = udp.Socket(self._peer.packet, (HOST, self._take_port()), (GUEST, port))
        self._sockets[sock.own_port] = sock
        return sock

    def _take_port(self) -> int:
        port = self._next_port
        self._next_port = _FIRST_PORT if port == _LAST_PORT else port + 1
        return port

    def hang_up(self, connection: tcp.Connection) -> None:
        """Closes it, and waits for the chip's end of it."""
        connection.close()
        self.wait(lambda: connection.ended, _ANSWER_NS, "the end of a connection")
        self.run(1e6)  # our last acknowledgement is still on the line
        del self._connections[connection.own_port]

    def request(self, connection: Peer, data: bytes, whole: Whole) -> tuple[bytes, Sample]:
        """Sends a request on an open connection, or a datagram: the answer, taken off it, and what it took.

        Raises ChipError or tcp.TcpError.
        """
        watch = Watch(self, connection, whole)
        watch.send(data)
        self.wait(watch.look, _ANSWER_NS, f"an answer to {data[:40]!r}")
        return watch.answer(), watch.sample()

    def visit(self, port: int, data: bytes, whole: Whole) -> tuple[bytes, Sample]:
        """The same with a connection of its own: the time of opening it counts, the cycles of closing it too."""
        connection = self.dial(port)
        watch = Watch(self, connection, whole)
        self.wait(lambda: connection.open, _ANSWER_NS, f"a connection to port {port}")
        watch.send(data)
        self.wait(watch.look, _ANSWER_NS, f"an answer to {data[:40]!r}")
        sample = watch.sample()
        self.hang_up(connection)
        return watch.answer(), sample._replace(cycles=watch.cycles())

    @property
    def heap_bytes(self) -> int:
        """All of the heap."""
        return self._table.heap_bytes

    def read(self, address: int, size: int) -> bytes:
        """From the chip's memory."""
        return bytes.fromhex(self.lockstep.ask("read", {"address": address, "bytes": size})["hex"])

    def used(self) -> int:
        """Bytes of the heap in use, garbage included."""
        return heap.in_bytes(self.lockstep.ask("used", None)["blocks"])


class Watch:
    """Follows one request on a connection; begins when it is made."""

    def __init__(self, chip: Chip, connection: Peer, whole: Whole) -> None:
        self.connection = connection
        self._chip, self._whole = chip, whole
        self._begin_ns, self._begin_came = chip.now_ns, chip.came
        self._begin_cycles, self._begin_line_cycles = chip.cycles, chip.line_cycles
        self._sent_ns = self._begin_ns  # without a request
        self._first_ns = self._end_ns = 0.0
        self._asked = self._size = 0

    def send(self, data: bytes) -> None:
        """The request goes out now."""
        before = len(self._chip.to_chip)
        self.connection.send(data)
        self._asked = len(self._chip.to_chip) - before
        self._sent_ns = self._chip.now_ns

    def look(self) -> bool:
        """Whether the answer is there. To be called after every step."""
        if self.connection.received and not self._first_ns:
            self._first_ns = self._chip.began_ns
        self._size = self._whole(self.connection)
        self._end_ns = self._chip.now_ns
        return self._size > 0

    def answer(self) -> bytes:
        """Takes the answer off the connection."""
        data = bytes(self.connection.received[: self._size])
        del self.connection.received[: self._size]
        return data

    def cycles(self) -> int:
        """Executed since the beginning."""
        return self._chip.cycles - self._begin_cycles

    def sample(self) -> Sample:
        """At the moment of the answer's end."""
        chip = self._chip
        arrived_ns = self._sent_ns + self._asked * chip.character_ns[0]
        bus_ns = sum(one.ended_ns - one.began_ns for one in chip.line.transactions if one.began_ns >= self._begin_ns)
        return Sample(
            self.cycles(),
            chip.line_cycles - self._begin_line_cycles,
            self._end_ns - self._begin_ns,
            self._first_ns - arrived_ns,
            self._asked,
            chip.came - self._begin_came,
            bus_ns,
        )

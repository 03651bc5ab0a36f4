"""Plain MicroPython sockets on an emulated chip without the firmware, as a driver for the scripts of test_lwip.py; and
the simulation of the same. Both serve; clients are sockets of this machine, or simulated hosts.

In:  calls of a script. Out: bytes, numbers, names of errors.
What the chip is told goes through its raw REPL, and each call ends there before it returns: nothing is under way but
the network.
"""

import ast
import errno
import fcntl
import select
import socket
import struct
import termios
from dataclasses import replace

from mpremote.transport_serial import SerialTransport

from host_tests.emulated import peers
from host_tests.tools.socket_scripts import Simulated, seen
from tools.emulator import build, emulated
from tools.simulator import profiles, tcp

PORT = 502
UP_S = 240
SOON_S = 0.6  # of the chip's own clock: by then what does not come will not come
_STEP_S = 0.1
_CALL_S = 120
_STREAM, _DATAGRAM = 1, 2
_ESTABLISHED = 1  # of TCP_INFO: linux/tcp_states.h
_UDP_PORT = 5000
_SMALL_WINDOW = 1152  # of a Linux socket with the smallest buffer

# The same pins, rate and buffers as firmware/board/emulated_pico.py.
_SETUP = """
import errno, gc, machine, network, select, socket, time
uart = machine.UART(0, 460800, tx=machine.Pin(0), rx=machine.Pin(1), rxbuf=4096, txbuf=20000)
ppp = network.PPP(uart)
ppp.connect()
S = []
B = bytearray(10000)

def name(error):
    return errno.errorcode.get(error.errno, error.errno)

def wait(s, ms):
    poll = select.poll()
    poll.register(s, select.POLLIN)
    return bool(poll.poll(ms))

def keep(s):
    s.setblocking(False)
    S.append(s)
    return len(S) - 1

def listen(backlog):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", 502))
    s.listen(backlog)
    return keep(s)

def accept(k, ms):
    wait(S[k], ms)
    try:
        return keep(S[k].accept()[0])
    except OSError as error:
        return name(error)

def recv(k, n, ms):
    wait(S[k], ms)
    try:
        got = S[k].readinto(memoryview(B)[:n])
    except OSError as error:
        return name(error)
    return "EAGAIN" if got is None else bytes(B[:got])

def send(k, data):
    try:
        sent = S[k].write(data)
    except OSError as error:
        return name(error)
    return "EAGAIN" if sent is None else sent

def fill(k, piece):
    total = 0
    data = bytes(piece)
    while True:
        begun = time.ticks_ms()
        sent = send(k, data)
        if not isinstance(sent, int):
            return total, sent, time.ticks_diff(time.ticks_ms(), begun)
        total += sent

def new(kind):
    made = []
    try:
        while True:
            made.append(socket.socket(socket.AF_INET, kind))
    except OSError as error:
        code = name(error)
    for s in made:
        s.close()
    return len(made), code

def bind(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", port))
    return keep(s)

def read_at_once(k, n):
    # What the next read gives right after accept, and the number of the socket.
    try:
        s = S[k].accept()[0]
    except OSError as error:
        return name(error)
    j = keep(s)
    return recv(j, n, 0)

def clear(pcbs):
    # Whether all of them are free soon after everything was closed.
    for s in S:
        s.close()
    S.clear()
    gc.collect()
    for _ in range(20):
        if new(socket.SOCK_STREAM)[0] == pcbs:
            return True
        time.sleep_ms(100)
    return False
"""


class ChipSocket:
    """A socket of the chip, by its number there."""

    def __init__(self, chip, number):
        self.chip, self.number = chip, number

    def close(self):
        self.chip.run(f"S[{self.number}].close()")


class BareChip:
    """The emulated chip with its REPL, up again whenever a script has left something behind."""

    def __init__(self, folder, tcp_pcbs):
        self.tcp_pcbs = tcp_pcbs
        self.emulator = emulated.Emulator(folder, firmware=build.ensure_firmware(tcp_pcbs), tun=True)
        self._repl = None

    def start(self):
        self.emulator.start()
        self._repl = SerialTransport(f"socket://{emulated.HOST}:{self.emulator.repl_port}", timeout=_CALL_S)
        self._repl.enter_raw_repl(soft_reset=False)
        self.run(_SETUP)
        self.emulator.network.wait_up(UP_S)

    def stop(self):
        repl, self._repl = self._repl, None
        if repl:
            repl.close()
        self.emulator.stop()

    def run(self, code):
        """What it printed. AssertionError when it raised."""
        output, error = self._repl.exec_raw(code, timeout=_CALL_S)
        assert not error, error.decode()
        return output.decode()

    def value(self, expression):
        return ast.literal_eval(self.run(f"print(repr({expression}))").strip())

    def make_clean(self):
        """Closes every socket. What lwIP holds on to then, for up to two minutes, a new start ends."""
        if not self.value(f"clear({self.tcp_pcbs})"):
            self.stop()
            self.start()


class OnChip:
    """The scripts' driver: the server's end is the chip's, the clients are sockets of its network.

    `profile` is the one that is held against it.
    """

    def __init__(self, chip, profile):
        self.profile = profile
        self._chip = chip
        self._network = chip.emulator.network
        self._all = []

    def close(self):
        for client in self._all:
            client.close()
        self._network.heal()
        self._chip.make_clean()

    # As in test_sim_against_real.py

    def listen(self, backlog):
        self.listener = ChipSocket(self._chip, self._chip.value(f"listen({backlog})"))

    def connect(self, receive_buffer=None, port=PORT):
        client = self._network.new_socket()
        self._all.append(client)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.setblocking(False)
        client.connect_ex((self._network.host, port))
        self._ready(client, select.POLLOUT)
        return client

    def refused(self):
        return errno.errorcode[self.connect(port=PORT + 1).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]

    def connected(self, client, seconds=SOON_S):
        """Whether it stands within this time, and is not reset soon after."""
        self._ready(client, select.POLLOUT, seconds)
        return self.standing([client]) == [True]

    def accept(self):
        """The server's end, or None when nobody comes."""
        number = self._chip.value(f"accept({self.listener.number}, {int(1000 * SOON_S)})")
        return ChipSocket(self._chip, number) if isinstance(number, int) else None

    def recv(self, sock, n=1000):
        if isinstance(sock, ChipSocket):
            return self._chip.value(f"recv({sock.number}, {n}, {int(1000 * SOON_S)})")
        self._ready(sock, select.POLLIN)
        return seen(sock.recv, n)

    def send(self, sock, data):
        if isinstance(sock, ChipSocket):
            return self._chip.value(f"send({sock.number}, {data!r})")
        return seen(sock.send, data)

    def wait_sent(self, sock):
        """What came over the line is with the other end."""
        self.wait(0.2)

    def shutdown(self, sock):
        sock.shutdown(socket.SHUT_WR)

    def reset(self, sock):
        self._all.remove(sock)
        peers.reset(sock)

    # What is asked of lwIP alone

    def wait(self, seconds):
        """By the chip's clock."""
        self._chip.run(f"time.sleep_ms({int(1000 * seconds)})")

    def standing(self, clients):
        """Of each whether it still stands, after some time."""
        self.wait(SOON_S)
        return [client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED for client in clients]

    def sockets(self):
        """How many TCP sockets can be had now, and the error of the next; the same of UDP."""
        return self._chip.value(f"new({_STREAM})"), self._chip.value(f"new({_DATAGRAM})")

    def accept_and_read(self):
        return self._chip.value(f"read_at_once({self.listener.number}, 1000)")

    def connect_unreading(self):
        """A client whose window is as small as Linux makes it."""
        return self.connect(receive_buffer=1)

    def vanish(self, client):
        self._network.vanish(client)

    def begin_handshakes(self, count):
        """So many SYNs whose answers nobody hears."""
        for _ in range(count):
            with self._network.new_socket() as half:
                half.setblocking(False)
                self._network.deafen(half)
                half.connect_ex((self._network.host, PORT))
        self.wait(0.2)

    def fill(self, server, piece):
        """Writes until that fails: bytes that were taken, the error, and for how many seconds the last call waited."""
        total, code, waited_ms = self._chip.value(f"fill({server.number}, {piece})")
        return total, code, waited_ms / 1000

    def push(self, client):
        """Sends until nothing more is taken; the bytes that the other end has acknowledged."""
        sent = 0
        while (n := seen(client.send, bytes(2000))) != "EAGAIN":
            sent += n
        before = -1
        while (waiting := struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0]) != before:
            before = waiting
            self.wait(1)
        return sent - waiting

    def datagrams(self, count):
        """How many of so many datagrams wait in one socket."""
        number = self._chip.value(f"bind({_UDP_PORT})")
        with self._network.new_socket(socket.SOCK_DGRAM) as client:
            for k in range(count):
                client.sendto(bytes((k,)), (self._network.host, _UDP_PORT))
        got = []
        for _ in range(20):  # until they have come, on a busy machine
            self.wait(0.2)
            got += [self._chip.value(f"recv({number}, 10, 0)") for _ in range(count)]
            if any(data != "EAGAIN" for data in got):
                break
        return sum(data != "EAGAIN" for data in got)

    def _ready(self, sock, events, seconds=SOON_S):
        """Waits for events, so many seconds of the chip's at most."""
        poll = select.poll()
        poll.register(sock, events)
        steps = int(seconds / _STEP_S)
        while not poll.poll(0) and steps:
            steps -= 1
            self.wait(_STEP_S)


class InSim(Simulated):
    """The same of the simulation."""

    def __init__(self, profile):
        super().__init__(profile)
        self.profile = profile

    def connected(self, client, seconds=SOON_S):
        self._net.run(seconds)
        return self.standing([client]) == [True]

    def standing(self, clients):
        self._net.run(SOON_S)
        return [client.pcb.state == tcp.ESTABLISHED for client in clients]

    def wait(self, seconds):
        self._net.run(seconds)

    def sockets(self):
        return self._most(socket.SOCK_STREAM), self._most(socket.SOCK_DGRAM)

    def accept_and_read(self):
        self._net.run(0.01)
        return seen(self.listener.accept()[0].recv, 1000)

    def connect_unreading(self):
        host = self._net.host(profile=replace(profiles.HOST, window=_SMALL_WINDOW))
        client = self._net.connect(host)
        self._net.run(0.01)
        return client

    def vanish(self, client):
        client.vanish()

    def begin_handshakes(self, count):
        for _ in range(count):
            self._net.connect().vanish()
        self._net.run(0.1)

    def fill(self, server, piece):
        total = 0
        while True:
            begun = self._net.timeline.now_us
            sent = self.send(server, bytes(piece))
            if not isinstance(sent, int):
                return total, sent, (self._net.timeline.now_us - begun) / 1e6
            total += sent
            self._net.run(0.005)

    def push(self, client):
        while seen(client.pcb.write, bytes(2000)):
            self._net.run(0.005)
        self._net.run(1)
        return len(client.pcb.other.rx)

    def datagrams(self, count):
        bound = self._net.module.socket(kind=socket.SOCK_DGRAM)
        host = self._net.host()
        for k in range(count):
            self._net.network.datagram(host, 5000, self._net.device.ip, bound.getsockname()[1], bytes((k,)))
        self._net.run(0.1)
        return sum(not isinstance(seen(bound.recvfrom, 10), str) for _ in range(count))

    def _most(self, kind):
        made = []
        while True:
            try:
                made.append(self._net.module.socket(kind=kind))
            except OSError as error:
                for each in made:
                    each.close()
                return len(made), errno.errorcode[error.errno]

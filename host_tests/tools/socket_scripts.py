"""Small scripts over sockets, and what runs them: the kernel's own sockets, and simulated ones. What a script has seen
on both is compared (test_sim_against_real.py); host_tests/emulated/test_lwip.py does so with lwIP.

A script gets a driver and gives what it saw: bytes, numbers, names of errors. The kernel's side waits for a condition,
with a deadline, and never for a time alone.
"""

import errno
import select
import socket
import struct

from host_tests.tools.sim_net import PORT, Net
from tools.simulator import profiles, tcp

_SOON_S = 0.25  # by then what does not come will not come


def seen(call, *args):
    """What the call gives, or the name of its error."""
    try:
        return call(*args)
    except OSError as error:
        return errno.errorcode[error.errno]


class Real:
    """Sockets of this machine."""

    def __init__(self):
        self._all = []

    def close(self):
        for sock in self._all:
            sock.close()

    def _keep(self, sock):
        sock.setblocking(False)
        self._all.append(sock)
        return sock

    def listen(self, backlog):
        self.listener = self._keep(socket.socket())
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(backlog)

    def connect(self):
        client = self._keep(socket.socket())
        client.connect_ex(self.listener.getsockname())
        return client

    def refused(self):
        """Connecting to a port where nobody listens."""
        spare = self._keep(socket.socket())
        spare.bind(("127.0.0.1", 0))
        client = self._keep(socket.socket())
        client.connect_ex(spare.getsockname())
        self._wait(client, select.POLLOUT)
        return errno.errorcode[client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]

    def connected(self, client):
        return self._wait(client, select.POLLOUT) and client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0

    def accept(self):
        """The server's end, or None when nobody comes."""
        if not self._wait(self.listener, select.POLLIN):
            return None
        return self._keep(self.listener.accept()[0])

    def recv(self, sock, n=1000):
        self._wait(sock, select.POLLIN)
        return seen(sock.recv, n)

    def send(self, sock, data):
        return seen(sock.send, data)

    def wait_sent(self, sock):
        """Nothing to do: what loopback takes it has delivered."""

    def writable(self, sock):
        return bool(self._wait(sock, select.POLLOUT))

    def shutdown(self, sock):
        sock.shutdown(socket.SHUT_WR)

    def reset(self, sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    @staticmethod
    def _wait(sock, events):
        poll = select.poll()
        poll.register(sock, events)
        return [ready for _, ready in poll.poll(1000 * _SOON_S) if ready & (events | select.POLLERR | select.POLLHUP)]


class Simulated:
    """The same of the simulation; the server is a device."""

    def __init__(self, profile=profiles.UNIX):
        self._net = Net(profile, listen=False)

    def close(self):
        assert self._net.complaints == []

    def listen(self, backlog):
        self.listener = self._net.module.socket()
        self.listener.bind(("0.0.0.0", PORT))
        self.listener.listen(backlog)

    def connect(self):
        client = self._net.connect()
        self._net.run(0.01)
        return client

    def refused(self):
        client = self._net.host().begin_connect(PORT + 1, 5)
        self._net.run(_SOON_S)
        return errno.errorcode[client.pcb.error]

    def connected(self, client):
        self._net.run(_SOON_S)
        return client.pcb.state == tcp.ESTABLISHED

    def accept(self):
        self._net.run(_SOON_S)
        return self.listener.accept()[0] if self.listener.readable() else None

    def recv(self, sock, n=1000):
        self._net.run(_SOON_S)
        if hasattr(sock, "pcb"):
            data = seen(sock.pcb.read, n)
            return "EAGAIN" if data is None else data
        return seen(sock.recv, n)

    def send(self, sock, data):
        if hasattr(sock, "pcb"):
            n = seen(sock.pcb.write, data)
            return "EAGAIN" if n is None else n
        return seen(sock.send, data)

    def wait_sent(self, sock):
        self._net.run(_SOON_S)

    def writable(self, sock):
        self._net.run(_SOON_S)
        return sock.pcb.writable() if hasattr(sock, "pcb") else sock.writable()

    def shutdown(self, sock):
        (sock.pcb if hasattr(sock, "pcb") else sock._pcb).shutdown()

    def reset(self, sock):
        sock.reset()


def pair(net):
    net.listen(5)
    client = net.connect()
    return net.accept(), client


def unread_input_resets(net):
    server, client = pair(net)
    sent = net.send(client, b"a request that is never read")
    net.wait_sent(client)
    server.close()
    return sent, net.recv(client), net.send(client, b"more")


def unread_input_after_a_reply(net):
    """Whether a client gets the reply that was sent before the reset."""
    server, client = pair(net)
    net.send(client, b"first")
    got = net.recv(server)
    sent = net.send(server, b"reply")
    net.send(client, b"second, never read")
    net.wait_sent(client)
    server.close()
    net.wait_sent(server)
    return got, sent, net.recv(client), net.recv(client)


def half_a_close(net):
    server, client = pair(net)
    net.send(client, b"all of it")
    net.shutdown(client)
    saw = [net.recv(server), net.recv(server), net.recv(server), net.send(server, b"answer"), net.recv(client)]
    saw.append(net.send(client, b"too late"))
    server.close()
    return [*saw, net.recv(client)]


def input_after_close_resets(net):
    server, client = pair(net)
    server.close()
    saw = [net.recv(client), net.send(client, b"one more")]
    net.wait_sent(client)
    return [*saw, net.send(client, b"and another")]


def the_backlog(net):
    net.listen(2)
    clients = [net.connect() for _ in range(5)]
    return [bool(net.connected(client)) for client in clients]


def closed_before_accept(net):
    net.listen(5)
    client = net.connect()
    net.send(client, b"hello")
    net.wait_sent(client)
    client.close()
    server = net.accept()
    return net.recv(server), net.recv(server)


def reset_before_accept(net):
    net.listen(5)
    client = net.connect()
    net.wait_sent(client)
    net.reset(client)
    server = net.accept()
    return server is not None, net.recv(server)


def reset_with_input_that_waits(net):
    server, client = pair(net)
    net.send(client, b"read me")
    net.wait_sent(client)
    net.reset(client)
    net.wait_sent(client)
    return net.recv(server), net.send(server, b"x")


def nobody_listens(net):
    return net.refused()


def a_peer_that_never_reads(net):
    """Partial sends, then EAGAIN, and room again once the peer has read: every byte arrives, in order."""
    server, client = pair(net)
    data = bytes(range(256)) * 4000
    sent = 0
    partial = False
    while True:
        n = net.send(server, data[sent % 256 :])
        if n == "EAGAIN":
            break
        partial = partial or n < len(data) - sent % 256
        sent += n
        net.wait_sent(server)
    full = net.writable(server)
    got = 0
    right = True
    while got < sent:
        piece = net.recv(client, 65536)
        assert isinstance(piece, bytes), piece
        right = right and piece == (bytes(range(256)) * 300)[got % 256 :][: len(piece)]
        got += len(piece)
    return partial, full, right, net.recv(client), net.writable(server)


def the_end_of_a_stream_lasts(net):
    server, client = pair(net)
    net.send(client, b"bye")
    client.close()
    return [net.recv(server) for _ in range(4)]


def nothing_has_come(net):
    server, client = pair(net)
    return net.recv(server), net.recv(client), net.accept()


SCRIPTS = (
    unread_input_resets, unread_input_after_a_reply, half_a_close, input_after_close_resets, the_backlog,
    closed_before_accept, reset_before_accept, reset_with_input_that_waits, nobody_listens, a_peer_that_never_reads,
    the_end_of_a_stream_lasts, nothing_has_come,
)  # fmt: skip

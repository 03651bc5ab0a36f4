"""Peers of the chip for tests with a network that hides nothing (tun.py): well-behaved ones that check what they get,
and others. Whatever was opened here ends with its `with` block. Times are those of this machine: the chip's own clock
falls behind while it is busy, to a fifth on a busy machine."""

import contextlib
import socket
import struct
import time

from host_tests.system.rig import Background, Client, Poller, wait_for, words

READS = ((3, 4, 0, 10), (1, 4, 0, 2), (2, 3, 512, 8))  # polled, so they are answered from memory
SERVED_S = 240  # a newcomer tries again until then
_PAUSE_S = 0.5  # between polls
_TRY_S = 5  # a connection attempt
_TURN_S = 0.3  # between attempts
_ANSWER_S = 120
_AGAIN_ANSWER_S = 60  # of a ReconnectingPoller
_AGAIN_PAUSE_S = 0.3


class Pollers:
    """`count` well-behaved Modbus clients; a context manager."""

    def __init__(self, chip, count=3):
        reads = [(*read, words(chip.meters[read[0]].registers(*read[1:]))) for read in READS[:count]]
        self._all = [Poller(None, [read], _PAUSE_S, lambda: chip.client(_ANSWER_S)) for read in reads]

    def __enter__(self):
        for poller in self._all:
            poller.start()
        self.check(1)
        return self

    def __exit__(self, *exc):
        for poller in self._all:
            poller.stopping.set()
        for poller in self._all:
            poller.join()

    def check(self, more=3, timeout=_ANSWER_S):
        """Waits for so many further answers to each. AssertionError when one was wrong, or a connection was lost."""
        wanted = [poller.answers + more for poller in self._all]
        for poller, count in zip(self._all, wanted, strict=True):
            poller.wait_answers(count, timeout)

    @property
    def worst_s(self):
        return max(poller.worst_s for poller in self._all)


class Peers:
    """Connections to one chip that end with the `with` block; a vanished one is heard again then."""

    def __init__(self, chip):
        self.chip = chip
        self.network = chip.emulator.network
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.network.heal()
        self._stack.close()

    def connect(self, name):
        """A plain connection to "http" or "modbus"."""
        return self._stack.enter_context(self.chip.connect(name, _ANSWER_S))

    def client(self):
        """A Modbus client that has been served; it tries until it is, as every master does. AssertionError else."""
        client = None

        def served():
            nonlocal client
            try:
                client = self.chip.client(_TRY_S)
                client.socket.settimeout(_ANSWER_S)
                client.read(*READS[0])
            except (OSError, EOFError):  # dropped, or reset by a full queue
                if client:
                    client.close()
                time.sleep(_TURN_S)
                return False
            return True

        wait_for(served, SERVED_S, "an answer to a newcomer")
        return self._stack.enter_context(client)

    def vanish(self, client):
        """The client is gone without a word."""
        self.network.vanish(client.socket)

    def half_open(self, port, count):
        """So many clients that send one SYN, and nothing after it."""
        for _ in range(count):
            with self.network.new_socket() as half:
                half.setblocking(False)
                self.network.deafen(half)
                half.connect_ex((self.network.host, port))

    def unreading(self, name):
        """A connection with as little room for what comes as Linux has: 1152 bytes."""
        peer = self._stack.enter_context(self.network.new_socket())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        peer.settimeout(_ANSWER_S)
        peer.connect((self.network.host, self.chip.emulator.ports[name]))
        return peer


def reset(connection):
    """Ends it with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Flood(Background):
    """Connects and closes (or resets), one after the other, as fast as the chip answers; a context manager.

    made    connections that stood; dropped: SYNs without answer; refused: ended by the chip before we could
    """

    def __init__(self, chip, end=socket.socket.close):
        super().__init__("flood")
        self._chip, self._end = chip, end
        self.made = self.dropped = self.refused = 0

    def work(self):
        while not self.stopping.is_set():
            try:
                self._end(self._chip.connect("modbus", 1.0))
                self.made += 1
            except TimeoutError:
                self.dropped += 1
            except ConnectionError:
                self.refused += 1

    def wait_made(self, count, timeout=_ANSWER_S * 2):
        self.wait(lambda: self.made >= count, timeout, f"{count} connections")


class ReconnectingPoller(Poller):
    """Polls and connects again whenever the chip has closed; does not wait for answers. `transaction`: its first id."""

    def __init__(self, port, transaction, reads):
        super().__init__(port, reads, _AGAIN_PAUSE_S, lambda: Client(port, _AGAIN_ANSWER_S, transaction))

    def __enter__(self):
        self.start()
        return self

    def work(self):
        while not self.stopping.is_set():
            with contextlib.suppress(OSError, EOFError):
                super().work()

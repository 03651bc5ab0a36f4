"""One host's TCP/IP: its pools of descriptors and PCBs, its listeners and UDP ports, within the limits of a Profile.

What happens at each limit is the profile's (profiles.py names the sources):
    no descriptor     socket() and accept() raise; what accept had taken from the queue is closed
    no TCP PCB        TIME_WAIT is stolen first, then LAST_ACK, then CLOSING (lwIP tcp.c, tcp_alloc); else the SYN is
                      dropped, of which an ESP32 tells its listener (ECONNABORTED) and a Pico W nobody
    backlog full      the SYN is dropped (ESP32, Linux), or the connection reset once it stands (Pico W, where a SYN is
                      dropped when as many handshakes as the backlog are under way)
    input pool empty  nothing that comes is heard (Pico W): the Network asks deaf()
"""

import errno
from collections import deque

from tools.simulator import tcp

_STOLEN = (tcp.TIME_WAIT, tcp.LAST_ACK, tcp.CLOSING)
_EPHEMERAL = (49152, 65535)


class Listener:
    def __init__(self, stack, port, backlog):
        self.stack = stack
        self.port = port
        self.backlog = backlog
        self.pending = 0  # in SYN_RCVD
        self.queue = deque()  # Pcbs that wait for accept
        self.aborted = 0  # SYNs that found no PCB, where the port tells
        self.dropped = 0
        self.app = None

    def established(self, pcb):
        self.pending -= 1
        profile = self.stack.profile
        if profile.backlog_full == "reset" and len(self.queue) >= self.backlog:
            pcb.listener = None
            pcb.reset()
            return
        self.queue.append(pcb)
        self._changed()

    def lost(self, pcb):
        """It was reset, or never came to stand."""
        if pcb in self.queue:
            if self.stack.profile.reset_leaves_queue:
                self.queue.remove(pcb)
            return
        self.pending -= 1

    def abort(self):
        self.aborted += 1
        self._changed()

    def full(self):
        profile = self.stack.profile
        if profile.backlog_full != "drop":
            return profile.pending_limit and self.pending >= self.backlog
        return len(self.queue) + self.pending >= self.backlog + profile.backlog_extra

    def _changed(self):
        if self.app is not None:
            self.app.changed()


class UdpPort:
    def __init__(self, port):
        self.port = port
        self.queue = deque()  # (data, sender)
        self.dropped = 0
        self.app = None


class Stack:
    """`split`: probability that a write arrives in two pieces."""

    def __init__(self, network, ip, profile, split=0.0):
        self.network = network
        self.timeline = network.timeline
        self.ip = ip
        self.profile = profile
        self.limited = profile.send_pool < 1 << 30
        self.limited_input = profile.input_pool < 1 << 20
        self.split = split
        self.listeners = {}
        self.udp = {}
        self.pcbs = {}  # every Pcb that is not CLOSED, and None for each new socket that holds one: in order of age
        self.pcbs_most = 0
        self.stolen = 0
        self.syns_without_pcb = 0
        self.input_pieces = 0  # segments of unread input
        self._next_port = _EPHEMERAL[0] + network.rng.randrange(1000)
        network.stacks[ip] = self

    def deaf(self):
        """No buffer is left for what comes."""
        return self.input_pieces >= self.profile.input_pool

    # -- PCBs

    def new_pcb(self, local_port, remote, state):
        """A Pcb, or None when the pool is empty and nothing in it can be stolen."""
        if len(self.pcbs) >= self.profile.tcp_pcbs and not self._steal():
            return None
        pcb = tcp.Pcb(self, local_port, remote, state)
        self.hold(pcb)
        return pcb

    def reserve(self, token):
        """A new socket's PCB, before it is known what becomes of it. False when there is none."""
        if len(self.pcbs) >= self.profile.tcp_pcbs and not self._steal():
            return False
        self.hold(token)
        return True

    def hold(self, token):
        self.pcbs[token] = None
        if len(self.pcbs) > self.pcbs_most:
            self.pcbs_most = len(self.pcbs)

    def free(self, token):
        self.pcbs.pop(token, None)

    def _steal(self):
        for state in _STOLEN:
            found = [pcb for pcb in self.pcbs if isinstance(pcb, tcp.Pcb) and pcb.state == state]
            if found:
                self.stolen += 1
                min(found, key=lambda pcb: pcb.since_us)._free()
                return True
        return False

    def queued(self):
        """Memory that the output of all connections takes."""
        return sum(pcb.memory() for pcb in self.pcbs if isinstance(pcb, tcp.Pcb))

    def cut(self, n):
        """Where a write of n bytes is cut into two segments; 0 for not at all."""
        rng = self.network.rng
        return rng.randrange(1, n) if n > 1 and self.split and rng.random() < self.split else 0

    # -- TCP

    def listen(self, port, backlog):
        """Raises OSError."""
        if port in self.listeners:
            raise OSError(errno.EADDRINUSE, "port in use")
        if len(self.listeners) >= self.profile.listen_pcbs:
            raise OSError(self.profile.no_pcb, "no PCB for a listener")
        self.listeners[port] = listener = Listener(self, port, backlog)
        return listener

    def unlisten(self, listener):
        del self.listeners[listener.port]
        listener.app = None
        for pcb in listener.queue:
            pcb.listener = None
            pcb.reset()
        listener.queue.clear()

    def on_syn(self, client):
        """A SYN from the Pcb `client`."""
        if client.state != tcp.SYN_SENT and not client.gone:
            return
        pcb = client.answered_by
        if pcb is not None and pcb.state != tcp.CLOSED:
            if pcb.state == tcp.SYN_RCVD:
                self.network.segment(pcb, client.on_syn_ack, pcb)
            return
        listener = self.listeners.get(client.remote[1])
        if listener is None:
            self.network.segment(client, client.on_reset)
            return
        if listener.full():
            listener.dropped += 1
            return
        pcb = self.new_pcb(listener.port, (client.stack.ip, client.local_port), tcp.SYN_RCVD)
        if pcb is None:
            self.syns_without_pcb += 1
            if self.profile.abort_at_accept:
                listener.abort()
            return
        pcb.other = client
        client.answered_by = pcb
        pcb.listener = listener
        listener.pending += 1
        self.network.segment(pcb, client.on_syn_ack, pcb)
        self.timeline.after(int(self.profile.syn_received_s * 1e6), self._syn_received_over, pcb)

    @staticmethod
    def _syn_received_over(pcb):
        if pcb.state == tcp.SYN_RCVD:
            pcb._lose(errno.ETIMEDOUT)

    def ephemeral_port(self):
        """Raises OSError when all are taken."""
        low, high = _EPHEMERAL
        for _ in range(low, high + 1):
            self._next_port = port = self._next_port + 1 if self._next_port < high else low
            if port not in self.udp:
                return port
        raise OSError(errno.EADDRINUSE, "no port is free")

    # -- UDP

    def bind_udp(self, port):
        """Raises OSError."""
        if port == 0:
            port = self.ephemeral_port()
        if port in self.udp:
            raise OSError(errno.EADDRINUSE, "port in use")
        self.udp[port] = bound = UdpPort(port)
        return bound

    def unbind_udp(self, bound):
        del self.udp[bound.port]
        bound.app = None

    def datagram(self, port, data, sender):
        bound = self.udp.get(port)
        if bound is None or self.deaf():
            return
        if len(bound.queue) >= self.profile.udp_queue:
            bound.dropped += 1
            return
        bound.queue.append((data, sender))
        if bound.app is not None:
            bound.app.changed()

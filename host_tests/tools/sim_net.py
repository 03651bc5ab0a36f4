"""A simulated device with a listener and hosts around it, in virtual time."""

import random
from collections import Counter

from tools.simulator import loop, network, sockets, stack, tcp, timeline
from tools.simulator.hosts import Host

DEVICE = "192.0.2.1"
PORT = 502


class Net:
    """A device with a listener's socket, and hosts; time moves by run()."""

    def __init__(self, profile, backlog=5, listen=True):
        self.timeline = timeline.Timeline(5_000_000)
        rng = random.Random(1)
        self.network = network.Network(self.timeline, rng)
        self.selector = loop.FakeSelector(self.timeline, rng)
        self.device = stack.Stack(self.network, DEVICE, profile)
        self.complaints = []
        self.module = sockets.SocketModule(self.device, self.selector, self.complaints.append)
        self.hosts = 0
        if listen:
            self.listener = self.module.socket()
            self.listener.bind((DEVICE, PORT))
            self.listener.listen(backlog)

    def host(self, **options):
        self.hosts += 1
        return Host(self.network, f"198.51.100.{self.hosts}", DEVICE, **options)

    def connect(self, host=None, timeout_s=20):
        """A client whose SYN is under way."""
        return (host or self.host()).begin_connect(PORT, timeout_s)

    def run(self, seconds=0.1):
        end = self.timeline.now_us + int(1e6 * seconds)
        while (when := self.timeline.next_us()) is not None and when <= end:
            self.timeline.now_us = max(when, self.timeline.now_us)
            self.timeline.run_due()
        self.timeline.now_us = max(end, self.timeline.now_us)

    def pair(self):
        """(device's socket, client's stream), connected."""
        client = self.connect()
        self.run()
        return self.listener.accept()[0], client

    def states(self):
        return Counter(pcb.state for pcb in self.device.pcbs if isinstance(pcb, tcp.Pcb))

"""Carries what hosts send each other: TCP segments in their order, datagrams as they please.

`latency_us` is a range; `loss` a probability: a TCP segment that is lost arrives a retransmission later, a datagram
never; `reorder` delays a datagram behind others; `duplicate` sends it twice. A host in `stalled` hears and says nothing
until a moment: segments wait for it, as retransmissions would, and datagrams are lost. A host that is deaf() loses what
comes; segments come again, those of a connection in their order.
"""

_RETRANSMIT_US = 300_000  # the first retransmission of a live connection
_RETRANSMIT_MAX_US = 60_000_000


class Network:
    def __init__(self, timeline, rng):
        self.timeline = timeline
        self.rng = rng
        self.stacks = {}  # IP address -> Stack
        self.latency_us = (300, 3000)
        self.loss = 0.0
        self.reorder = 0.0
        self.duplicate = 0.0
        self.stalled = {}  # IP address -> until when, in microseconds

    def segment(self, pcb, call, *args):
        """Brings a segment of `pcb` to the other end of its connection: call(*args) there, in order."""
        low, high = self.latency_us
        when = self.timeline.now_us + low + int((high - low) * self.rng.random())
        if self.loss:
            wait_us = _RETRANSMIT_US
            while self.rng.random() < self.loss and wait_us < _RETRANSMIT_MAX_US:
                when += wait_us
                wait_us *= 2
        if self.stalled:
            for ip in (pcb.stack.ip, pcb.remote[0]):
                when = max(when, self.stalled.get(ip, 0))
        if when < pcb.arrival_us:
            when = pcb.arrival_us
        pcb.arrival_us = when
        target = self.stacks[pcb.remote[0]]
        if target.limited_input:
            self.timeline.at(when, self._deliver, target, pcb, call, args)
        else:
            self.timeline.at(when, call, *args)

    def _deliver(self, target, pcb, call, args):
        if pcb.held:
            pcb.held.append((call, args))
        elif not target.deaf():
            call(*args)
        elif call != target.on_syn:  # a SYN comes again by itself
            pcb.held.append((call, args))
            self.timeline.after(_RETRANSMIT_US, self._again, target, pcb, _RETRANSMIT_US)

    def _again(self, target, pcb, wait_us):
        """The retransmission of what a deaf host has lost."""
        while pcb.held and not target.deaf():
            call, args = pcb.held.popleft()
            call(*args)
        if pcb.held:
            wait_us = min(2 * wait_us, _RETRANSMIT_MAX_US)
            self.timeline.after(wait_us, self._again, target, pcb, wait_us)

    def datagram(self, source, source_port, ip, port, data):
        """source: the sending Stack. The last number 255 of `ip` is the broadcast of a network of 256 addresses."""
        if ip.endswith(".255"):
            for other in list(self.stacks):
                if other.startswith(ip[:-3]) and other != source.ip:
                    self.datagram(source, source_port, other, port, data)
            return
        now = self.timeline.now_us
        rng = self.rng
        for _ in range(2 if self.duplicate and rng.random() < self.duplicate else 1):
            if self.loss and rng.random() < self.loss:
                continue
            if self.stalled.get(ip, 0) > now or self.stalled.get(source.ip, 0) > now:
                continue
            low, high = self.latency_us
            us = low + int((high - low) * rng.random())
            if self.reorder and rng.random() < self.reorder:
                us += int(5 * high * rng.random())
            self.timeline.after(us, self._datagram, ip, port, data, (source.ip, source_port))

    def _datagram(self, ip, port, data, sender):
        stack = self.stacks.get(ip)
        if stack is not None:
            stack.datagram(port, data, sender)

"""Sockets of the simulated device, as firmware.net.seam_cpython uses CPython's; always non-blocking.

SocketModule takes the place of the module `socket` there. It counts what is open (`open`, `most`), and tells the world
of sockets that were closed while the loop still watched them.
"""

import errno
import socket as real

from tools.simulator.tcp import SYN_SENT

_NO_ROOM_STEP_US = 50_000  # modlwip.c, lwip_tcp_send


class SocketModule:
    """The names of `socket` that the firmware uses. `complain(text)` is told what must not happen."""

    AF_INET = real.AF_INET
    SOCK_STREAM = real.SOCK_STREAM
    SOCK_DGRAM = real.SOCK_DGRAM
    SOL_SOCKET = real.SOL_SOCKET
    SO_REUSEADDR = real.SO_REUSEADDR
    SO_ERROR = real.SO_ERROR
    SO_BROADCAST = real.SO_BROADCAST
    IPPROTO_TCP = real.IPPROTO_TCP
    TCP_NODELAY = real.TCP_NODELAY

    def __init__(self, stack, selector, complain):
        self.stack = stack
        self.selector = selector
        self.complain = complain
        self.open = 0
        self.most = 0
        self.changes = 0  # grows with each socket that is opened or closed
        self.calls = 0

    def socket(self, family=real.AF_INET, kind=real.SOCK_STREAM, proto=0):
        return FakeSocket(self, kind)

    # -- for the sockets

    def took(self):
        self.open += 1
        self.changes += 1
        self.most = max(self.most, self.open)

    def gave(self):
        self.open -= 1
        self.changes += 1

    def has_fd(self):
        return self.open < self.stack.profile.fds

    def spend(self):
        """What a call takes of the processor."""
        self.calls += 1
        self.stack.timeline.spend_us(self.stack.profile.call_us)


class FakeSocket:
    """Exactly one of pcb, listener and bound is set, or none in a new stream socket."""

    def __init__(self, module, kind, pcb=None):
        """Raises OSError as the port does when it has no room."""
        self._module = module
        self._stack = stack = module.stack
        self._kind = kind
        self._pcb = pcb
        self._listener = self._bound = None
        self._port = 0
        self._reserved = False
        profile = stack.profile
        if not module.has_fd():
            raise OSError(profile.no_fd, "no descriptor")
        if kind == module.SOCK_DGRAM:
            if len(stack.udp) >= profile.udp_pcbs:
                raise OSError(profile.no_pcb, "no UDP PCB")
            self._bound = stack.bind_udp(0)
            self._bound.app = self
        elif pcb is None and profile.pcb_for_socket:
            if not stack.reserve(self):
                raise OSError(profile.no_pcb, "no TCP PCB")
            self._reserved = True
        if pcb is not None:
            pcb.app = self
        self._fd = module.selector.new_fd(self)
        module.took()

    # -- the loop's side

    def fileno(self):
        return self._fd

    def changed(self):
        self._module.selector.touch(self._fd)

    def readable(self):
        if self._pcb is not None:
            return self._pcb.readable()
        if self._listener is not None:
            return bool(self._listener.queue or self._listener.aborted)
        return self._bound is not None and bool(self._bound.queue)

    def writable(self):
        if self._pcb is not None:
            return self._pcb.writable()
        return self._bound is not None

    # -- the program's side

    def setblocking(self, flag):
        if flag:
            raise NotImplementedError("the firmware never blocks")

    def setsockopt(self, level, option, value):
        self._module.spend()

    def getsockopt(self, level, option):
        """SO_ERROR only: why the connection was lost, once, and 0 when it stands."""
        if option != self._module.SO_ERROR:
            raise NotImplementedError("no other option is read")
        error = self._pcb.error
        self._pcb.error = 0
        return error

    def connect(self, address):
        """Sends the first SYN. Raises BlockingIOError (EINPROGRESS), or OSError when the port has no PCB for it."""
        self._module.spend()
        stack = self._stack
        if self._reserved:
            self._reserved = False
            stack.free(self)
        pcb = stack.new_pcb(stack.ephemeral_port(), address, SYN_SENT)
        if pcb is None:
            raise OSError(stack.profile.no_pcb, "no TCP PCB")
        self._pcb = pcb
        pcb.app = self
        deadline_us = stack.timeline.now_us + int(1e6 * stack.profile.syn_sent_s)
        pcb.connect(stack.network.stacks.get(address[0]), deadline_us)
        raise BlockingIOError(errno.EINPROGRESS, "connecting")

    def bind(self, address):
        self._module.spend()
        ip, port = address
        if ip != "0.0.0.0" and ip != self._stack.ip:
            raise OSError(errno.EADDRNOTAVAIL, "not our address")
        if self._bound is not None:
            if port:
                bound = self._stack.bind_udp(port)
                self._stack.unbind_udp(self._bound)
                self._bound = bound
                bound.app = self
        else:
            self._port = port

    def getsockname(self):
        bound = self._bound or self._listener
        return self._stack.ip, bound.port if bound else self._port

    def listen(self, backlog):
        self._module.spend()
        self._listener = self._stack.listen(self._port, backlog)
        self._listener.app = self
        if self._reserved:  # its PCB is exchanged for one of the listeners' pool
            self._reserved = False
            self._stack.free(self)

    def accept(self):
        self._module.spend()
        listener = self._listener
        if listener.aborted:
            listener.aborted -= 1
            raise OSError(errno.ECONNABORTED, "a SYN found no PCB")
        if not listener.queue:
            raise BlockingIOError(errno.EAGAIN, "no connection waits")
        pcb = listener.queue.popleft()
        pcb.accepted()
        if not self._module.has_fd():
            pcb.close()
            raise OSError(self._stack.profile.no_fd, "no descriptor")
        return FakeSocket(self._module, self._kind, pcb), pcb.remote

    def recv_into(self, buf):
        self._module.spend()
        data = self._pcb.read(len(buf))
        if data is None:
            raise BlockingIOError(errno.EAGAIN, "nothing has come")
        buf[: len(data)] = data
        return len(data)

    def recv(self, n):
        buf = bytearray(n)
        return bytes(buf[: self.recv_into(buf)])

    def send(self, data):
        self._module.spend()
        profile = self._stack.profile
        timeline = self._stack.timeline
        deadline_us = timeline.now_us + int(1e6 * profile.no_room_wait_s)
        while True:
            try:
                n = self._pcb.write(data)
                break
            except OSError as error:
                if error.errno != profile.no_room or timeline.now_us >= deadline_us:
                    raise
            # The program stands still; the network does not.
            timeline.spend_us(_NO_ROOM_STEP_US)
            timeline.run_due()
        if n is None:
            raise BlockingIOError(errno.EAGAIN, "no room")
        return n

    def shutdown(self, how):
        self._pcb.shutdown()

    def sendto(self, data, address):
        self._module.spend()
        self._stack.network.datagram(self._stack, self._bound.port, address[0], address[1], bytes(data))
        return len(data)

    def recvfrom(self, n):
        self._module.spend()
        if not self._bound.queue:
            raise BlockingIOError(errno.EAGAIN, "nothing has come")
        data, sender = self._bound.queue.popleft()
        return data[:n], sender

    def close(self):
        if self._fd < 0:
            return
        self._module.spend()
        if self._module.selector.drop_fd(self._fd):
            self._module.complain(f"{self!r} was closed while the loop watched it")
        self._fd = -1
        self._module.gave()
        if self._reserved:
            self._stack.free(self)
        if self._pcb is not None:
            self._pcb.close()
        if self._listener is not None:
            self._stack.unlisten(self._listener)
        if self._bound is not None:
            self._stack.unbind_udp(self._bound)

    def __repr__(self):
        if self._pcb is not None:
            return f"connection with {self._pcb.remote} ({self._pcb.state})"
        return f"socket on port {self.getsockname()[1]}"

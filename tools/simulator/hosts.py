"""The others on the network: a Host is a machine with TCP/IP of its own, a Stream one of its connections.

Errors are Python's: ConnectionRefusedError, ConnectionResetError, TimeoutError, EOFError (recv_exactly at the end of
the stream). A Stream buffers nothing but what its window allows.
"""

import asyncio
import errno

from tools.simulator import tcp
from tools.simulator.profiles import HOST
from tools.simulator.stack import Stack

CONNECT_S = 20.0
ANSWER_S = 10.0


class Host(Stack):
    """`device` is the address that connect() goes to."""

    def __init__(self, network, ip, device, split=0.0, profile=HOST):
        super().__init__(network, ip, profile, split)
        self._device = device

    async def connect(self, port, timeout_s=CONNECT_S):
        """A Stream to `port` of the device."""
        stream = self.begin_connect(port, timeout_s)
        await stream.established(timeout_s)
        return stream

    def begin_connect(self, port, timeout_s=CONNECT_S):
        """A Stream whose SYN has just been sent."""
        pcb = self.new_pcb(self.ephemeral_port(), (self._device, port), tcp.SYN_SENT)
        stream = Stream(pcb)
        device = self.network.stacks[self._device]
        pcb.connect(device, self.timeline.now_us + int(1e6 * timeout_s))
        return stream


class Server(Stack):
    """A machine that serves `port`: runs `await handler(Stream)` for each connection, as a task that start(coroutine)
    makes, and closes the connection when that ends. `streams` holds all that came."""

    def __init__(self, network, ip, port, handler, start, profile=HOST):
        super().__init__(network, ip, profile)
        self.streams = []
        self._handler = handler
        self._start = start
        self._listener = self.listen(port, backlog=16)
        self._listener.app = self

    def changed(self):
        while self._listener.queue:
            pcb = self._listener.queue.popleft()
            pcb.accepted()
            stream = Stream(pcb)
            self.streams.append(stream)
            self._start(self._serve(stream))

    async def _serve(self, stream):
        try:
            await self._handler(stream)
        except (EOFError, ConnectionError, TimeoutError):
            pass  # the client's doing, which the test looks at from there
        finally:
            stream.close()


class Stream:
    def __init__(self, pcb):
        self.pcb = pcb
        pcb.app = self
        self.local = pcb.stack.ip, pcb.local_port
        self.received = 0
        self._timeline = pcb.stack.timeline
        self._waiter = None

    @property
    def is_open(self):
        """False once the other end has closed or reset the connection, or this end has."""
        return self.pcb.state == tcp.ESTABLISHED

    @property
    def ended(self):
        """How: "" while it is open, "closed" by FIN, "reset", "timeout"."""
        error = self.pcb.lost
        if error:
            return "timeout" if error == errno.ETIMEDOUT else "reset"
        return "closed" if self.pcb.rx_end else ""

    @property
    def unread(self):
        return len(self.pcb.rx)

    def changed(self):
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    async def _change(self, deadline_us):
        """Waits until something may have changed. Raises TimeoutError at the deadline."""
        assert self._waiter is None, "two wait for one stream"
        loop = asyncio.get_running_loop()
        self._waiter = waiter = loop.create_future()
        timer = self._timeline.at(deadline_us, _expire, waiter)
        try:
            if not await waiter:
                raise TimeoutError("nothing came in time")
        finally:
            self._timeline.cancel(timer)
            self._waiter = None

    def _deadline(self, timeout_s):
        return self._timeline.now_us + int(1e6 * timeout_s)

    async def established(self, timeout_s=CONNECT_S):
        deadline = self._deadline(timeout_s + 1)
        while self.pcb.state == tcp.SYN_SENT:
            await self._change(deadline)
        if self.pcb.lost:
            self._raise()

    def _raise(self):
        error = self.pcb.lost
        # A number makes the class: OSError(ECONNRESET, ...) is a ConnectionResetError.
        raise OSError(errno.ECONNRESET if error == errno.EPIPE else error, "connection lost")

    async def send(self, data, timeout_s=ANSWER_S):
        """Hands all of it to TCP."""
        deadline = None
        data = memoryview(data)
        while data:
            try:
                n = self.pcb.write(data)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    raise ConnectionResetError(errno.EPIPE, "connection closed") from None
                raise
            if n is None:
                deadline = deadline or self._deadline(timeout_s)
                await self._change(deadline)
            else:
                data = data[n:]

    async def recv(self, most=65536, timeout_s=ANSWER_S):
        """What has come, at least one byte; b"" at the end of the stream."""
        deadline = None
        while True:
            if not self.pcb.rx and self.pcb.lost:
                self._raise()
            data = self.pcb.read(most)
            if data is not None:
                self.received += len(data)
                return data
            deadline = deadline or self._deadline(timeout_s)
            await self._change(deadline)

    async def recv_exactly(self, n, timeout_s=ANSWER_S):
        data = await self.recv(n, timeout_s)
        while len(data) < n:
            more = await self.recv(n - len(data), timeout_s)
            if not more:
                raise EOFError(f"the connection ended after {len(data)} of {n} bytes")
            data += more
        if n and not data:
            raise EOFError("the connection ended")
        return data

    async def closed(self, timeout_s):
        """Waits until the other end has closed or reset the connection; unread input stays. Raises TimeoutError."""
        deadline = self._deadline(timeout_s)
        while self.is_open:
            await self._change(deadline)

    def shutdown(self):
        self.pcb.shutdown()

    def close(self):
        self.pcb.close()

    def reset(self):
        self.pcb.app = None
        self.pcb.reset()

    def vanish(self):
        """Power cut: the other end hears nothing of it."""
        self.pcb.vanish()


def _expire(waiter):
    if not waiter.done():
        waiter.set_result(False)

"""TCP listeners and the connections they accept.

A listener asks the budget before it accepts. A connection is one small object with buffers of fixed size, driven by
readiness: no task, no stream object, nothing that another connection could wait for. What a service adds is
on_input(): "there may be bytes to read".

Output: send() writes at once and keeps what the socket does not take (at most one reply, copied), then asks for
writability; while something is kept no further input is read, so a peer that does not read cannot make us buffer.
A peer that takes nothing for `_OUTPUT_TIMEOUT_MS` is closed by the sweep.
"""

import errno

from micropython import const

from firmware.net import seam

_TYPING = const(0)
if _TYPING:
    from collections.abc import Callable
    from typing import Any

    from firmware.events import Events
    from firmware.net.budget import Budget, Slot

_OUTPUT_TIMEOUT_MS = const(10000)
# All general slots at once: after a power cut every master connects, and a Pico W resets those who find it full.
_BACKLOG = const(10)


class Listener:
    """Listens for the service `kind` and makes a `factory(stream, slot)` connection of each newcomer.

    `unserved_ms` and `idle_ms` bound how long a connection may be idle that was never served a request, or was.
    """

    def __init__(
        self, budget: "Budget", events: "Events", kind: str, bind: str, port: int,
        factory: "Callable[[Any, Slot], Connection]", unserved_ms: int, idle_ms: int, number: int = 0,
    ) -> None:  # fmt: skip
        """`number` 1: the second listener of that service. Raises OSError when the port cannot be had."""
        self.kind = kind
        self.port = port
        self._budget = budget
        self._events = events
        self._factory = factory
        self._unserved_ms = unserved_ms
        self._idle_ms = idle_ms
        self._paused = False
        self._slot = budget.service_slot(kind, number)
        self._stream = seam.tcp_listen(bind, port, _BACKLOG)
        self._slot.open = True
        seam.watch(self._stream, self, True)

    def on_ready(self, events: int) -> None:
        """Called by the loop: a newcomer is in the backlog. Accepts it when the budget has room, else leaves it."""
        kind = self.kind
        if not self._budget.admit(kind):
            self._pause()
            return
        newcomer = seam.accept(self._stream)
        if newcomer is None:
            return
        stream, peer = newcomer
        slot = None
        try:
            slot = self._budget.open(kind, peer)
            slot.connection = connection = self._factory(stream, slot)
            seam.watch(stream, connection)
        except Exception:  # no memory for its buffers; fail() logs it
            seam.close(stream)
            if slot is not None:
                self._budget.release(slot)
            raise
        self._slot.requests += 1

    def fail(self, error: Exception) -> None:
        """Called by the loop: accept failed, since the port is out of sockets or memory. Newcomers wait in the backlog
        until the next sweep, for the listener stays ready and would be called again at once."""
        self._budget.failed_accepts += 1
        self._pause()
        self._events.add(self.kind, "accept failed: %r" % error)

    def _pause(self):
        """Leaves newcomers in the backlog until resume()."""
        if not self._paused:
            self._paused = True
            self._budget.waiting.append(self)
            seam.interest(self._stream, 0)

    def resume(self) -> None:
        """Looks at newcomers again: a connection was served or closed, or some time has passed."""
        if self._paused:
            self._paused = False
            if self in self._budget.waiting:
                self._budget.waiting.remove(self)
            seam.interest(self._stream, seam.READ)

    def sweep(self) -> None:
        """Looks again at newcomers that had to wait, and closes connections that have been idle or have not taken our
        output for too long; to be called once a second. Those with a request in flight stay: the bus's time-outs
        bound them."""
        self.resume()
        budget = self._budget
        for slot in budget.connections[:]:
            if slot.kind != self.kind:
                continue
            if slot.connection.stalled():
                budget.evict(slot, "timeout")
            elif not slot.busy and slot.idle_ms() >= (self._idle_ms if slot.requests else self._unserved_ms):
                # A quiet browser is no event; a connection that never asked may be one.
                budget.evict(slot, "timeout", not slot.requests)

    def close(self) -> None:
        """Closes the listening socket; connections stay."""
        self._paused = False
        seam.unwatch(self._stream)
        seam.close(self._stream)
        self._slot.open = False


class Connection:
    """Base of a service's connections. `budget` and `events` are attributes of the subclass's service. `closed` is set
    by close(): no property, since each attribute of an object whose class has one takes twice as long to be set."""

    closed = False

    def __init__(self, stream: "Any", slot: "Slot", budget: "Budget", events: "Events") -> None:
        self.stream = stream
        self.slot = slot
        self.budget = budget
        self.events = events
        self._unsent: "bytes | None" = None  # output that the socket has not taken yet
        self._taken_ms = 0  # when it last took some
        self._closing = False

    def on_ready(self, events: int) -> None:
        """Called by the loop: the socket can be read, or written while output is unsent."""
        if self._unsent is not None:
            self._flush()
        elif self.slot.busy:
            self.close()  # nothing is being read just now: only an error or a hang-up can have called
        else:
            self.on_input()

    def on_input(self) -> None:
        """There may be bytes to read; for the service to define."""
        raise NotImplementedError

    def on_sent(self) -> None:
        """Called when the socket has taken all output, after a send() that returned False."""

    def send(self, buf: "bytes | bytearray", n: int) -> bool:
        """Sends buf[:n]; the buffer is the caller's again at return. True when the socket took everything; else the
        rest is copied and on_sent() follows, or the connection is closed."""
        sent = self._write(buf, n)
        if sent == n:
            return True
        self._keep_output(buf, sent, n)
        return False

    def send_at_last(self, buf: "bytes | bytearray", n: int) -> bool:
        """The same where nothing follows it: what it raises is for fail(). Without a `try`, for which MicroPython takes
        a piece of the heap."""
        sent = self.stream.write(buf, n) or 0
        self.slot.sent += sent
        if sent == n:
            return True
        self._keep_output(buf, sent, n)
        return False

    def _keep_output(self, buf, sent, n):
        """Keeps what _write() has left of buf[:n]; sent < 0: the connection is gone."""
        if sent >= 0:
            self._wait(bytes(memoryview(buf)[sent:n]))

    def _wait(self, unsent):
        """Waits until the socket takes output again, which begins with `unsent`."""
        self._unsent = unsent
        self._taken_ms = seam.ticks_ms()
        seam.interest(self.stream, seam.WRITE)

    def _write(self, buf, n):
        """Bytes taken, or -1 when the connection is gone."""
        try:
            sent = self.stream.write(buf, n) or 0
        except OSError as error:
            if not self._is_queued(error):
                return -1
            sent = n
        self.slot.sent += sent
        return sent

    def _is_queued(self, error):
        """True when the bytes that write() has failed with are on their way; else the connection is closed."""
        if error.errno == errno.ENOMEM:
            self._short_of_memory()
            return True
        self.close()
        return False

    def _short_of_memory(self):
        """write() said ENOMEM. modlwip.c, lwip_tcp_send: lwIP could not transmit just now; the bytes are in its queue,
        and sent again they would arrive twice. (It may also have had no memory for the queue, but says so after ten
        seconds only, when a watchdog has bitten.)"""
        self.events.add(self.slot.kind, "the port is short of memory for output")

    def _flush(self):
        unsent = self._unsent
        sent = self._write(unsent, len(unsent)) if unsent else 0
        if sent < 0:
            return
        if sent < len(unsent):
            if sent:
                self._unsent = unsent[sent:]
                self._taken_ms = seam.ticks_ms()
            seam.interest(self.stream, seam.WRITE)
            return
        self._unsent = None
        if self._closing:
            self.close()
            return
        seam.interest(self.stream, seam.READ)
        self.on_sent()

    def finish(self) -> None:
        """Closes once everything has been sent."""
        if self._unsent is None:
            self.close()
        else:
            self._closing = True

    def stalled(self) -> bool:
        """True when the peer has not taken our output for too long."""
        return self._unsent is not None and seam.ticks_diff(seam.ticks_ms(), self._taken_ms) >= _OUTPUT_TIMEOUT_MS

    def fail(self, error: Exception) -> None:
        """Called by the loop: on_ready() has raised. Closes the connection; logs all but a reset by the peer."""
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            self._short_of_memory()
            return
        self.close()
        if not isinstance(error, OSError):
            self.events.add(self.slot.kind, "connection closed: %r" % error)

    def close(self) -> None:
        """Closes the socket and gives the slot back. Safe to call twice."""
        stream = self.stream
        if stream is None:
            return
        seam.unwatch(stream)
        self.stream = None
        self.closed = True
        self._unsent = None
        seam.close(stream)
        self.budget.release(self.slot)

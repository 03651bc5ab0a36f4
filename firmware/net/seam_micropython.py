"""The seam on MicroPython (see seam.py): asyncio's own poll loop, with owners called on readiness.

Why not asyncio.Stream: it allocates 400 to 700 bytes a request, cannot refuse a connection before it is kept, and its
server spins when accept fails. Here a ready stream costs one list search in C and one method call, and no allocation.
"""

import asyncio
import errno
import gc
import io
import socket
import sys
from asyncio import core
from time import sleep_ms as block_ms
from time import sleep_us as spin_us
from time import ticks_add, ticks_diff, ticks_ms, ticks_us

from micropython import const

_TYPING = const(0)
if _TYPING:
    from typing import Any

sleep_ms = asyncio.sleep_ms
print_exception = sys.print_exception
Sink = io.BytesIO
READ = const(1)
WRITE = const(4)
_IPPROTO_TCP = const(6)
_TCP_NODELAY = const(1)  # of Linux and ESP-IDF
# Not on rp2. There write() waits for ten seconds, whatever the socket's mode, when lwIP has taken some thirty small
# segments that a peer does not acknowledge (modlwip.c: lwip_tcp_send); Nagle's algorithm makes few large ones of them.
_HAS_NAGLE = sys.platform == "rp2"
_FAILED = const(0x38)  # POLLERR, POLLHUP, POLLNVAL
_ACCEPT_BYTES = const(256)  # more than the socket, its address and the tuples that accept() makes
_POLL_AGAIN_MS = const(10)
_POLL_FAILURES_MAX = const(1000)  # one after the other: 10 s

__all__ = (
    "READ", "WRITE", "ticks_ms", "ticks_us", "ticks_diff", "ticks_add", "spin_us", "sleep_ms", "Waker", "repeat",
    "watch", "interest", "unwatch", "install", "run", "print_exception", "tcp_listen", "accept",
    "connect", "finish_connect", "close", "udp", "join", "address", "peer", "is_same_host", "Sink",
)  # fmt: skip


class _Reactor(core.IOQueue):
    """asyncio's queue of waiting streams, with owners beside the waiting tasks (which still work: aiorepl needs them).

    `streams` and `owners` run in parallel; the first `listeners` entries are the listeners.
    """

    def __init__(self) -> None:
        super().__init__()
        self.streams = []
        self.owners = []
        self.listeners = 0
        self.changed = True
        # A bound method is made anew, in the heap, each time that it is looked up.
        self._wait = self.poller.ipoll
        self._first_task = core._task_queue.peek
        turns = self._turns()
        next(turns)
        self.wait_io_event = turns.send

    def _turns(self):
        """wait_io_event(dt) of asyncio's IOQueue: calls the owners of streams that are ready until a task of the loop
        is due: for a request and its answer nothing else of the loop is run. A generator that is sent each `dt`, for
        the frame of a function of this size would be made anew in the heap each time that it is called."""
        dt = yield
        streams = self.streams
        owners = self.owners
        wait = self._wait
        first_task = self._first_task
        waiting = self.map  # of tasks
        failures = listeners = 0
        while True:
            if self.changed:
                self.changed = False
                listeners = self.listeners
            accepting = 0
            try:
                ready = wait(dt)
                failures = 0
            except OSError as error:
                failures += 1
                ready = _poll_failed(error, failures)
            for stream, events in ready:
                if waiting and id(stream) in waiting:
                    self._wake_task(stream, events)
                    continue
                i = streams.index(stream)
                if i < listeners:
                    accepting |= 1 << i
                    continue
                owner = owners[i]
                try:
                    owner.on_ready(events)
                except Exception as error:
                    _report(owner, error)
                if self.changed:
                    break  # the set under the iterator has changed; what is left is still ready in the next turn
            # No newcomer before the others' input: while owners come and go this waits for the next turn.
            if accepting and not self.changed:
                for i in range(listeners):
                    if accepting >> i & 1:
                        owner = owners[i]
                        try:
                            owner.on_ready(READ)
                        except Exception as error:
                            _report(owner, error)
            task = first_task()
            if task is not None:
                dt = ticks_diff(task.ph_key, ticks_ms())
            if task is None or dt <= 0:
                dt = yield

    def _wake_task(self, stream, events):
        waiting = self.map[id(stream)]
        if events & ~WRITE and waiting[0] is not None:
            core._task_queue.push(waiting[0])
            waiting[0] = None
        if events & ~READ and waiting[1] is not None:
            core._task_queue.push(waiting[1])
            waiting[1] = None
        if waiting[0] is None and waiting[1] is None:
            self._dequeue(stream)
        else:
            self.poller.modify(stream, WRITE if waiting[0] is None else READ)


def _poll_failed(error, failures):
    """What is ready after a poll that failed: nothing. One stream that cannot be asked fails the poll of all; on the
    ESP32 asking needs memory of ESP-IDF (modsocket.c: select() in ioctl). It passes, or the firmware ends by it."""
    if failures > _POLL_FAILURES_MAX:
        raise error
    gc.collect()
    block_ms(_POLL_AGAIN_MS)
    return ()


def _report(owner, error):
    """Gives an owner what its on_ready() raised. When fail() raises too, for want of memory, the loop goes on."""
    try:
        owner.fail(error)
    except Exception as again:
        print_exception(again)


class Waker:
    """Lets one task wait with a time-out until something calls wake(). Allocates nothing per wait: it is itself what
    the task awaits, as asyncio's own sleep_ms() does it; a coroutine would be an object in the heap each time."""

    def __init__(self) -> None:
        self._task = None
        self._woken = False
        self._until_ms: "int | None" = None
        self._ended = StopIteration(True), StopIteration(False)

    def wake(self) -> None:
        """Ends the wait that is under way, or else the next one before it begins."""
        self._woken = True
        task = self._task
        if task is not None:
            self._task = None
            # As asyncio's own Task.cancel does: out of its place in time, and in again for now.
            core._task_queue.remove(task)
            core._task_queue.push(task)

    def wake_in(self, ms: int) -> bool:
        """Has the wait that is under way end in `ms`, as woken and whatever its time-out. False without one."""
        task = self._task
        if task is None:
            return False
        self._woken = True
        core._task_queue.remove(task)
        core._task_queue.push(task, ticks_add(ticks_ms(), ms))
        return True

    def clear(self) -> None:
        self._woken = False

    def wait_ms(self, timeout_ms: int) -> "Any":
        """To be awaited: True when woken, False when `timeout_ms` went by first."""
        self._until_ms = None if self._woken else ticks_add(ticks_ms(), max(0, timeout_ms))
        return self

    def __iter__(self) -> "Waker":
        return self

    def __next__(self) -> None:
        if self._until_ms is not None:
            self._task = core.cur_task
            core._task_queue.push(core.cur_task, self._until_ms)
            self._until_ms = None
            return None
        self._task = None
        end = self._ended[0 if self._woken else 1]
        self._woken = False
        end.__traceback__ = None
        raise end

    def throw(self, error: BaseException) -> None:
        """The task is cancelled."""
        self._task = None
        raise error


def repeat(waker: Waker, turn: "Any") -> "Any":
    """A generator is a coroutine here. Waits as Waker does, without the three calls and the exception of an `await`."""
    try:
        while True:
            ms = turn()
            if ms < 0:
                return
            if not waker._woken:
                task = waker._task = core.cur_task
                core._task_queue.push(task, ticks_add(ticks_ms(), ms))
                yield
                waker._task = None
            waker._woken = False
    finally:
        waker._task = None


_reactor = None


def install() -> None:
    """Starts with a fresh loop: tasks and streams of an earlier run (Ctrl-C at the REPL) are forgotten."""
    global _reactor
    asyncio.new_event_loop()
    _reactor = core._io_queue = _Reactor()


def run(coroutine: "Any") -> "Any":
    """Runs until the coroutine ends; its result or exception is the caller's."""
    return asyncio.run(coroutine)


def watch(stream: "Any", owner: "Any", listener: bool = False) -> None:
    reactor = _reactor
    reactor.changed = True
    at = 0 if listener else len(reactor.streams)
    reactor.poller.register(stream, READ)
    try:
        reactor.owners.insert(at, owner)
        reactor.streams.insert(at, stream)
    except MemoryError:
        if len(reactor.owners) > len(reactor.streams):
            reactor.owners.pop(at)
        reactor.poller.unregister(stream)
        raise
    if listener:
        reactor.listeners += 1


def interest(stream: "Any", events: int) -> None:
    _reactor.poller.modify(stream, events)


def unwatch(stream: "Any") -> None:
    reactor = _reactor
    reactor.changed = True
    i = reactor.streams.index(stream)
    # First what needs memory on the unix port (id() of an object is a large integer there).
    reactor.poller.unregister(stream)
    reactor.streams.pop(i)
    reactor.owners.pop(i)
    if i < reactor.listeners:
        reactor.listeners -= 1


def address(ip: str, port: int) -> "Any":
    """What connect, bind and sendto want for a numeric address: looks nothing up, so it does not block."""
    # A constant above 8191 in a frozen tuple, such as the default of a port, is a long integer in MicroPython 1.25.
    # getaddrinfo of the ESP32 and of the unix port takes that for no number; a sum is a short one again.
    return socket.getaddrinfo(ip, port + 0)[0][-1]


def peer(where: "Any") -> "tuple[str, int]":
    """(ip, port) of an address that accept or recvfrom gave: a tuple on the chips, bytes on the unix port."""
    if isinstance(where, tuple):
        return where[0], where[1]
    parts = socket.sockaddr(where)
    return socket.inet_ntop(parts[0], parts[1]), parts[2]


def is_same_host(where: "Any", other: "Any") -> bool:
    if isinstance(where, tuple):
        return where[0] == other[0]
    return where[4:8] == other[4:8]  # struct sockaddr_in: family, port, address


def tcp_listen(bind: str, port: int, backlog: int) -> "Any":
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address(bind, port))
        listener.listen(backlog)
        listener.setblocking(False)
    except Exception:
        close(listener)
        raise
    return listener


def accept(listener: "Any") -> "tuple[Any, Any] | None":
    """The next connection as (stream, address), or None when there is none after all. Raises OSError when the port
    has no room for it (ESP32: ENFILE, ECONNABORTED), and MemoryError before the connection leaves the backlog: the
    ports make its socket object when lwIP has given it away, and lose it for good when there is no memory for that.
    Small replies must not wait for an acknowledgement of the one before, hence TCP_NODELAY where it does no harm."""
    bytearray(_ACCEPT_BYTES)
    try:
        stream, where = listener.accept()
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return None
        raise
    try:
        stream.setblocking(False)
        if not _HAS_NAGLE:
            stream.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
    except OSError:
        close(stream)
        raise
    return stream, where


def connect(ip: str, port: int) -> "tuple[Any, Any]":
    """Begins a connection: (stream, address). Nagle's algorithm stays on where it has to; requests are written in large
    pieces. Raises OSError, also when there is no route."""
    where = address(ip, port)
    stream = socket.socket()
    try:
        stream.setblocking(False)
        if not _HAS_NAGLE:
            stream.setsockopt(_IPPROTO_TCP, _TCP_NODELAY, 1)
        stream.connect(where)
    except OSError as error:
        if error.errno != errno.EINPROGRESS:
            close(stream)
            raise
    return stream, where


def finish_connect(stream: "Any", events: int) -> None:
    """Raises the OSError with which the connection failed. The ports have no SO_ERROR, but their poll() says that a
    socket has failed, and reading from it says with what (modlwip.c: STREAM_ERROR_CHECK)."""
    if events & _FAILED:
        stream.readinto(bytearray(1))
        raise OSError(errno.ECONNABORTED)


def close(stream: "Any") -> None:
    """Closes a socket. On the ESP32 that can fail, for want of memory for the last packet; the port tries again when it
    collects the object (modsocket.c: __del__)."""
    try:
        stream.close()
    except OSError:
        pass


def udp(bind: str, port: int) -> "Any":
    stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if port:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        stream.bind(address(bind, port))
        stream.setblocking(False)
    except Exception:
        close(stream)
        raise
    return stream


def join(stream: "Any", group: str) -> None:
    """The unix port has no name for the option: 35 on Linux. 0 is IPPROTO_IP."""
    option = getattr(socket, "IP_ADD_MEMBERSHIP", 35)
    stream.setsockopt(0, option, bytes([int(part) for part in group.split(".")] + [0] * 4))

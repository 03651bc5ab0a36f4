"""The chip's PPP link joined to a TUN device in a network namespace of its own: nothing stands between a client and
lwIP, so that SYNs that are dropped and connections that are refused or reset are seen as the chip means them.

In:  packets of sockets that new_socket() and connect() made; a socket belongs to the namespace it was made in, and can
     be
     used from any thread.
Out: packets for the chip, all but those of sockets that vanish() or deafen() has named.

The namespace has no name: it ends with its thread, its sockets and its device, however this process ends. It needs
CAP_SYS_ADMIN and CAP_NET_ADMIN (root, or `unshare --user --map-root-user`) and /dev/net/tun.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tools.emulator import network

_TUN = "/dev/net/tun"
DEVICE = "chip"
_MTU = 1500  # lwIP's PPP_MRU
_PACKET_MAX = 2048
_TURN = 64  # packets in one turn, then the line's

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFDSTADDR, _SIOCSIFMTU = 0x8914, 0x8916, 0x8918, 0x8922  # linux/sockios.h
_IFF_UP = 0x1

_ALLOWED = "root, or a shell under `unshare --user --map-root-user`"
_Result = TypeVar("_Result")


class TunError(network.NetworkError):
    """The machine does not let us; the text names what is missing."""


def _unshare() -> None:
    """A network namespace for the thread that calls. Raises TunError."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_CLONE_NEWNET):
        why = os.strerror(ctypes.get_errno())
        raise TunError(f"no network namespace ({why}): CAP_SYS_ADMIN is missing; it takes {_ALLOWED}")


def _open_device() -> int:
    """The TUN device in the namespace of the thread that calls, up; its descriptor. Raises TunError."""
    try:
        fd = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        how = f"`modprobe tun`, or `mkdir -p /dev/net && mknod {_TUN} c 10 200`"
        raise TunError(f"{_TUN}: {error.strerror}; where the kernel has it: {how}") from error
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for request, address in ((_SIOCSIFADDR, network.GATEWAY), (_SIOCSIFDSTADDR, network.GUEST)):
                _configure(control, request, struct.pack("=H2x4s8x", socket.AF_INET, socket.inet_aton(address)))
            _configure(control, _SIOCSIFMTU, struct.pack("=i", _MTU))
            _configure(control, _SIOCSIFFLAGS, struct.pack("=H", _IFF_UP))
    except OSError as error:
        os.close(fd)
        lacks = "CAP_NET_ADMIN is missing" if error.errno == errno.EPERM else "the kernel does not let us"
        raise TunError(f"{_TUN} cannot be set up ({error.strerror}): {lacks}; it takes {_ALLOWED}") from error
    return fd


def _configure(control: socket.socket, request: int, value: bytes) -> None:
    """One ioctl of netdevice(7)."""
    fcntl.ioctl(control, request, struct.pack("16s24s", DEVICE.encode(), value))


class Namespace:
    """A network namespace and the thread that lives in it. close() ends the thread; the kernel does the rest."""

    def __init__(self) -> None:
        """Raises TunError."""
        self._thread = ThreadPoolExecutor(1, "namespace")
        try:
            self.call(_unshare)
        except TunError:
            self.close()
            raise

    def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """function(*arguments) in the namespace; its result or exception."""
        return self._thread.submit(function, *arguments).result()

    @contextlib.contextmanager
    def running(self, program: Any) -> Iterator[Any]:
        """`program`, a context manager, which is entered and left in the namespace."""
        self.call(program.__enter__)
        try:
            yield program
        finally:
            self.call(program.__exit__, None, None, None)

    def close(self) -> None:
        self._thread.shutdown()


def _ports(packet: bytes) -> tuple[int, int] | None:
    """(source, destination) of a TCP or UDP packet, None of any other (RFC 791, 3.1)."""
    at = 4 * (packet[0] & 0x0F)
    if packet[9] not in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) or len(packet) < at + 4:
        return None
    return struct.unpack_from(">HH", packet, at)


class Tun:
    """The device as the far end of a link. `deaf` and `mute` are ports here that hear, or say, nothing."""

    def __init__(self, fd: int, to_chip: Callable[[bytes], object], deaf: set[int], mute: set[int]) -> None:
        self._fd, self._to_chip = fd, to_chip
        self._deaf, self._mute = deaf, mute

    def input(self, packet: bytes) -> None:
        """From the chip. What the kernel will not have (the packet is no IPv4, or broken) is lost, as on a network."""
        ports = _ports(packet) if len(packet) >= 20 else None
        if ports and ports[1] in self._deaf:
            return
        try:
            os.write(self._fd, packet)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EAGAIN):
                raise

    def poll(self, fd: int, timeout_ms: int) -> bool:
        """Waits for packets from here or for `fd`, sends them on; True when fd can be read."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self._fd, select.POLLIN)
        ready = dict(poll.poll(timeout_ms))
        if self._fd in ready:
            for _ in range(_TURN):
                try:
                    packet = os.read(self._fd, _PACKET_MAX)
                except BlockingIOError:
                    break
                if packet[0] >> 4 != 4:
                    continue  # the kernel greets its IPv6 neighbours
                ports = _ports(packet)
                if not ports or ports[0] not in self._mute:
                    self._to_chip(packet)
        return fd in ready

    def close(self) -> None:
        """The device ends with its descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class TunNetwork(network.Network):
    """The chip is GUEST; clients are sockets of the namespace, at GATEWAY."""

    host = network.GUEST

    def __init__(self, uart_port: int) -> None:
        super().__init__(uart_port)
        self._space: Namespace | None = None
        self._deaf: set[int] = set()
        self._mute: set[int] = set()

    def start(self) -> "TunNetwork":
        """Raises OSError or TunError."""
        self._space = Namespace()
        super().start()
        return self

    def stop(self) -> None:
        """May be called twice. Sockets that are still open end when they are closed."""
        space, self._space = self._space, None
        try:
            super().stop()
        finally:
            if space:
                space.close()

    def call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        if self._space is None:
            raise RuntimeError("the network does not run")
        return self._space.call(function, *arguments)

    def deafen(self, client: socket.socket) -> None:
        """From now on nothing that the chip sends reaches this socket; what it sends itself still arrives."""
        if client.getsockname()[1] == 0:
            client.bind((network.GATEWAY, 0))
        self._deaf.add(client.getsockname()[1])

    def vanish(self, client: socket.socket) -> None:
        """From now on this socket neither hears nor says anything, its end included: a pulled cable, or a power cut."""
        self.deafen(client)
        self._mute.add(client.getsockname()[1])

    def heal(self) -> None:
        """Takes back every deafen() and vanish()."""
        self._deaf.clear()
        self._mute.clear()

    def _join(self, to_chip: Callable[[bytes], object]) -> network.FarEnd:
        return Tun(self.call(_open_device), to_chip, self._deaf, self._mute)

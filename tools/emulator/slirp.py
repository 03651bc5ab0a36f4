"""libslirp through ctypes: a network for the emulated chip without privileges.

In:  IPv4 packets from the chip; forwards from ports of this machine's 127.0.0.1 to ports of the chip.
Out: IPv4 packets for the chip. What the chip opens is opened here on its behalf; this machine is GATEWAY for it.

libslirp accepts a forwarded connection at once and connects to the chip only then, so a refused or dropped connection
shows as one that was accepted and closed, or stays silent. All calls must come from one thread. (libslirp.h, version 4)
"""

import ctypes
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any

from tools.emulator import network

GATEWAY, GUEST = network.GATEWAY, network.GUEST
_NETWORK, _MASK, _DNS = "10.0.2.0", "255.255.255.0", "10.0.2.3"
_HOST = "127.0.0.1"

_ETHERNET_IPV4 = b"\x08\x00"
_ETHERNET_ARP = b"\x08\x06"
_ARP_REQUEST, _ARP_REPLY = b"\x00\x01", b"\x00\x02"
_ARP_HEAD = b"\x00\x01\x08\x00\x06\x04"  # Ethernet, IPv4, lengths of their addresses
_GUEST_MAC = b"\x52\x54\x00\x12\x34\x56"
_GATEWAY_MAC = b"\x52\x55" + socket.inet_aton(GATEWAY)
_CONFIG_VERSION = 1

# SLIRP_POLL_* and what select.poll calls it
_POLL_EVENTS = (
    (1, select.POLLIN),
    (2, select.POLLOUT),
    (4, select.POLLPRI),
    (8, select.POLLERR),
    (16, select.POLLHUP),
)
_ASKED = 7  # the three of them that can be asked for

_P = ctypes.c_void_p
_SEND = ctypes.CFUNCTYPE(ctypes.c_ssize_t, _P, ctypes.c_size_t, _P)
_ERROR = ctypes.CFUNCTYPE(None, ctypes.c_char_p, _P)
_CLOCK = ctypes.CFUNCTYPE(ctypes.c_int64, _P)
_TIMER_NEW = ctypes.CFUNCTYPE(_P, _P, _P, _P)
_TIMER_FREE = ctypes.CFUNCTYPE(None, _P, _P)
_TIMER_MOD = ctypes.CFUNCTYPE(None, _P, ctypes.c_int64, _P)
_FD = ctypes.CFUNCTYPE(None, ctypes.c_int, _P)
_NOTIFY = ctypes.CFUNCTYPE(None, _P)
_ADD_POLL = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, _P)
_GET_REVENTS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, _P)


class _Config(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint32),
        ("restricted", ctypes.c_int),
        ("in_enabled", ctypes.c_bool),
        ("vnetwork", ctypes.c_uint32),
        ("vnetmask", ctypes.c_uint32),
        ("vhost", ctypes.c_uint32),
        ("in6_enabled", ctypes.c_bool),
        ("vprefix_addr6", ctypes.c_uint8 * 16),
        ("vprefix_len", ctypes.c_uint8),
        ("vhost6", ctypes.c_uint8 * 16),
        ("vhostname", ctypes.c_char_p),
        ("tftp_server_name", ctypes.c_char_p),
        ("tftp_path", ctypes.c_char_p),
        ("bootfile", ctypes.c_char_p),
        ("vdhcp_start", ctypes.c_uint32),
        ("vnameserver", ctypes.c_uint32),
        ("vnameserver6", ctypes.c_uint8 * 16),
        ("vdnssearch", _P),
        ("vdomainname", ctypes.c_char_p),
        ("if_mtu", ctypes.c_size_t),
        ("if_mru", ctypes.c_size_t),
        ("disable_host_loopback", ctypes.c_bool),
        ("enable_emu", ctypes.c_bool),
    ]


class _Callbacks(ctypes.Structure):
    _fields_ = [
        ("send_packet", _SEND),
        ("guest_error", _ERROR),
        ("clock_get_ns", _CLOCK),
        ("timer_new", _TIMER_NEW),
        ("timer_free", _TIMER_FREE),
        ("timer_mod", _TIMER_MOD),
        ("register_poll_fd", _FD),
        ("unregister_poll_fd", _FD),
        ("notify", _NOTIFY),
    ]


def _address(text: str) -> int:
    """in_addr_t: network byte order in memory."""
    return int(struct.unpack("=I", socket.inet_aton(text))[0])


class SlirpError(network.NetworkError):
    """A forward that libslirp cannot make."""


class SlirpNetwork(network.Network):
    """Ports of 127.0.0.1 lead to the chip; this machine is GATEWAY for it."""

    def __init__(self, uart_port: int, forwards: Iterable[network.Forward] = ()) -> None:
        super().__init__(uart_port)
        self.forwards = tuple(forwards)

    def _join(self, to_chip: Callable[[bytes], object]) -> network.FarEnd:
        end = Slirp(to_chip)
        try:
            for forward in self.forwards:
                end.forward(*forward)
        except SlirpError:
            end.close()
            raise
        return end


class Slirp:
    """One virtual network with one guest. close() ends every connection of it."""

    def __init__(self, to_guest: Callable[[bytes], object], complain: Callable[[str], object] = print) -> None:
        """to_guest(packet) is called within input() and poll(). Raises OSError when libslirp.so.0 is missing."""
        library: Any = ctypes.CDLL("libslirp.so.0")
        self._library = library
        library.slirp_new.restype = _P
        library.slirp_new.argtypes = [_P, _P, _P]
        library.slirp_cleanup.argtypes = [_P]
        library.slirp_input.argtypes = [_P, ctypes.c_char_p, ctypes.c_int]
        library.slirp_pollfds_fill.argtypes = [_P, _P, _ADD_POLL, _P]
        library.slirp_pollfds_poll.argtypes = [_P, ctypes.c_int, _GET_REVENTS, _P]
        forward = [_P, ctypes.c_int, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_int]
        library.slirp_add_hostfwd.argtypes = forward
        self._to_guest = to_guest
        self._answers: list[bytes] = []  # to ARP requests; libslirp is not to be entered again from a callback
        # Timers serve router advertisements of IPv6 only, which is off: they are given numbers and never fire.
        self._timers = 0
        self._callbacks = _Callbacks(
            _SEND(self._sent),
            _ERROR(lambda message, _: complain(f"libslirp: {message.decode(errors='replace')}")),
            _CLOCK(lambda _: time.monotonic_ns()),
            _TIMER_NEW(self._new_timer),
            _TIMER_FREE(lambda *_: None),
            _TIMER_MOD(lambda *_: None),
            _FD(lambda *_: None),
            _FD(lambda *_: None),
            _NOTIFY(lambda _: None),
        )
        self._config = _Config(
            version=_CONFIG_VERSION,
            in_enabled=True,
            vnetwork=_address(_NETWORK),
            vnetmask=_address(_MASK),
            vhost=_address(GATEWAY),
            vdhcp_start=_address(GUEST),
            vnameserver=_address(_DNS),
        )
        self._polled: list[tuple[int, int]] = []
        self._happened: list[int] = []
        self._add_poll = _ADD_POLL(self._poll_this)
        self._get_revents = _GET_REVENTS(lambda index, _: self._happened[index])
        self._slirp: int | None = library.slirp_new(ctypes.byref(self._config), ctypes.byref(self._callbacks), None)

    def forward(self, host_port: int, guest_port: int, udp: bool = False) -> None:
        """Forwards a port of 127.0.0.1 to the guest. Raises SlirpError."""
        where = (_address(_HOST), host_port, _address(GUEST), guest_port)
        if self._library.slirp_add_hostfwd(self._slirp, int(udp), *where):
            kind = "UDP" if udp else "TCP"
            raise SlirpError(f"{kind} port {host_port} of {_HOST} cannot be forwarded: is it taken?")

    def input(self, packet: bytes) -> None:
        """An IPv4 packet from the guest."""
        self._ethernet(_GATEWAY_MAC + _GUEST_MAC + _ETHERNET_IPV4 + packet)

    def poll(self, fd: int, timeout_ms: int) -> bool:
        """Waits for anything on its sockets or on `fd`, does what is due; True when fd can be read."""
        limit = ctypes.c_uint32(timeout_ms)
        self._polled.clear()
        self._library.slirp_pollfds_fill(self._slirp, ctypes.byref(limit), self._add_poll, None)
        wanted = {fd: select.POLLIN}
        for each, events in self._polled:
            wanted[each] = wanted.get(each, 0) | events
        poll = select.poll()
        for each, events in wanted.items():
            poll.register(each, events)
        ready = dict(poll.poll(min(limit.value, timeout_ms)))
        self._happened = [
            sum(ours for ours, theirs in _POLL_EVENTS if ready.get(each, 0) & theirs) for each, _ in self._polled
        ]
        self._library.slirp_pollfds_poll(self._slirp, 0, self._get_revents, None)
        while self._answers:
            self._ethernet(self._answers.pop())
        return bool(ready.get(fd))

    def close(self) -> None:
        """Ends every connection and forward; may be called twice."""
        if self._slirp:
            self._library.slirp_cleanup(self._slirp)
            self._slirp = None

    def _ethernet(self, data: bytes) -> None:
        self._library.slirp_input(self._slirp, data, len(data))

    def _sent(self, data: int, size: int, _: object) -> int:
        packet = ctypes.string_at(data, size)
        kind = packet[12:14]
        if kind == _ETHERNET_IPV4:
            self._to_guest(packet[14:])
        elif kind == _ETHERNET_ARP and packet[20:22] == _ARP_REQUEST and packet[38:42] == socket.inet_aton(GUEST):
            asker = packet[22:32]  # its MAC and its IPv4 address
            body = _ARP_HEAD + _ARP_REPLY + _GUEST_MAC + packet[38:42] + asker
            self._answers.append(packet[6:12] + _GUEST_MAC + _ETHERNET_ARP + body)
        return size

    def _new_timer(self, *_: object) -> int:
        self._timers += 1
        return self._timers

    def _poll_this(self, fd: int, asked: int, _: object) -> int:
        self._polled.append((fd, sum(theirs for ours, theirs in _POLL_EVENTS if asked & ours & _ASKED)))
        return len(self._polled) - 1

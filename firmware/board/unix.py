"""A development machine as a board: the serial line is a device or a pty, the network is the machine's own.

Runs on the unix port of MicroPython and on CPython. `uart` in the configuration is a path (relative to the folder that
stands for the device's file system), or a number n for /dev/ttyUSBn. reset() leaves with exit code 42, and the process
that started the firmware starts it again. The machine's own clock is never touched.
"""

import errno
import gc
import hashlib
import os
import select
import sys
import termios

from micropython import const

from firmware.board.no_link import NoLink

_HUNG_UP = select.POLLHUP | select.POLLERR

_TYPING = const(0)
if _TYPING:
    from typing import Any

_MICROPYTHON = sys.implementation.name == "micropython"
_REBOOT = 42
_STARTS = "data/starts"

# termios.h of Linux: MicroPython's module names only some of these
_SPEEDS = {1200: 9, 2400: 11, 4800: 12, 9600: 13, 19200: 14, 38400: 15, 57600: 4097, 115200: 4098}
_CS8 = 0o60
_CSTOPB = 0o100
_CREAD = 0o200
_PARENB = 0o400
_PARODD = 0o1000
_CLOCAL = 0o4000
_VTIME = 5
_VMIN = 6
_FRAMING = {"8N1": 0, "8E1": _PARENB, "8O1": _PARENB | _PARODD, "8N2": _CSTOPB}
_FLAGS = 2 | 0o400 | 0o4000  # O_RDWR, O_NOCTTY, O_NONBLOCK


def _set_up(fd, baud, framing):
    """Raw, no flow control, this speed and framing. A pty has neither and does not mind."""
    attributes = termios.tcgetattr(fd)
    control = attributes[6]
    attributes[0] = attributes[1] = attributes[3] = 0
    attributes[2] = _CS8 | _CREAD | _CLOCAL | _FRAMING[framing]
    attributes[4] = attributes[5] = _SPEEDS[baud]
    control[_VMIN] = control[_VTIME] = 0
    termios.tcsetattr(fd, 0, attributes)


if _MICROPYTHON:
    import ffi

    _c_open = ffi.open(None).func("i", "open", "si")

    def _open(path, baud, framing):
        # open() has no flags: without these two a read would wait for a full buffer, and a line that vanishes would
        # take the firmware with it (SIGHUP of a controlling terminal).
        fd = _c_open(path, _FLAGS)
        if fd < 0:
            raise OSError(os.errno())  # type: ignore[attr-defined]  # only the unix port has it
        stream = open(fd, "r+b")
        try:
            _set_up(fd, baud, framing)
        except Exception:
            stream.close()
            raise
        return stream

else:

    class _HostStream:
        """A serial device with the stream methods of MicroPython's."""

        def __init__(self, fd: int) -> None:
            self._fd = fd

        def fileno(self) -> int:
            return self._fd

        def readinto(self, buf: memoryview) -> "int | None":
            try:
                return os.readv(self._fd, [buf])
            except BlockingIOError:
                return None

        def write(self, buf: bytearray, n: int) -> "int | None":
            try:
                return os.write(self._fd, memoryview(buf)[:n])
            except BlockingIOError:
                return None

        def close(self) -> None:
            os.close(self._fd)

    def _open(path, baud, framing):
        fd = os.open(path, _FLAGS)
        try:
            _set_up(fd, baud, framing)
        except Exception:
            os.close(fd)
            raise
        return _HostStream(fd)


class Line:
    """A Line (firmware.board) on a serial device; its adapter turns the direction by itself."""

    turn_ms = 0
    # A USB adapter hands bytes over up to 16 ms late, which is the latency timer of the common chips.
    jitter_ms = 20

    def __init__(self, config: dict) -> None:
        uart = config["uart"]
        path = uart if isinstance(uart, str) else "/dev/ttyUSB%d" % uart
        self.stream = _open(path, config["baud"], config["framing"])
        self.error: OSError | None = None
        self._scratch = bytearray(64)
        # With VMIN and VTIME 0 a terminal gives 0 bytes when it is hung up, but also when nothing has come.
        self._poll = select.poll()
        self._poll.register(self.stream, select.POLLIN)

    def receive(self, view: memoryview, at: int) -> int:
        n = self._read(view[at:])
        if n == 0 and any([events & _HUNG_UP for _, events in self._poll.poll(0)]):
            self.error = OSError(errno.EIO)  # hung up: the device was unplugged, or the pty has no other end
        return n or 0

    def _read(self, buf):
        try:
            return self.stream.readinto(buf)
        except OSError as error:
            self.error = error
            return 0

    def discard(self) -> int:
        total = 0
        while total < 4096:
            n = self._read(self._scratch)
            if not n:
                break
            total += n
        return total

    def send(self, buf: bytearray, n: int) -> None:
        try:
            if self.stream.write(buf, n) != n:
                self.error = OSError(errno.EIO)
        except OSError as error:
            self.error = error

    def finish(self) -> None:
        """Does nothing: the kernel has the frame."""

    def close(self) -> None:
        self.stream.close()


def _serial():
    return hashlib.sha256(os.getcwd().encode()).digest().hex()[:12]


class Link(NoLink):
    """The network of the machine, which the firmware leaves alone. A fixed address in the configuration is taken for
    the machine's; else its own programs alone are told one. The MAC address is one of the folder's own (locally
    administered, IEEE 802 8.4), as its serial is: gateways of one machine are told apart."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self._address = "127.0.0.1"
        self._netmask = None
        if not config["dhcp"] and config["address"]:
            self._address, self._netmask = config["address"], config["netmask"]
        serial = _serial()
        self._mac = ":".join(["02"] + [serial[k : k + 2] for k in range(0, 10, 2)])

    def address(self) -> str:
        return self._address

    def details(self) -> tuple:
        return self._address, self._netmask, None, None, self._mac, None

    def dns_servers(self) -> list[str]:
        servers = []
        try:
            with open("/etc/resolv.conf") as f:
                for line in f:
                    words = line.split()
                    if len(words) > 1 and words[0] == "nameserver" and ":" not in words[1]:
                        servers.append(words[1])
        except OSError:
            return []
        return servers[:2]


class Console:
    """A Console (firmware.board) on the terminal of this process; OSError without one."""

    def __init__(self) -> None:
        self._before = termios.tcgetattr(0)
        attributes = termios.tcgetattr(0)
        attributes[0] = 0
        attributes[3] = 0
        termios.tcsetattr(0, 0, attributes)
        self.stream = sys.stdin

    def read(self) -> bytes:
        return sys.stdin.buffer.read(1)

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def close(self) -> None:
        termios.tcsetattr(0, 0, self._before)


class Board:
    """The Board (firmware.board) of a development machine."""

    name = "unix"
    sockets = 16
    tcp = 16
    udp = 16
    answers_mdns = True
    larger = ""
    image = ""
    has_wifi = False

    def heap(self) -> tuple:
        return (gc.mem_free(), gc.mem_alloc()) if _MICROPYTHON else (0, 0)

    def identity(self) -> tuple:
        """The folder stands for the device, so it makes the serial."""
        return "unix", _serial()

    def led(self, pin: "int | None") -> None:
        return None

    def open_line(self, config: dict) -> Line:
        return Line(config)

    def umodbus_master(self, config: dict) -> "Any":
        raise OSError(errno.ENODEV)  # umodbus knows no serial devices of a host

    def open_link(self, config: dict) -> Link:
        return Link(config)

    def access_point(self, ssid: str, password: str) -> "Any":
        raise OSError(errno.ENODEV)

    def console(self) -> Console:
        return Console()

    def set_clock(self, unix_s: int) -> None:
        """Does nothing: the machine keeps its own time."""

    def watchdog(self, timeout_s: int) -> None:
        """Does nothing: a debugger may stop at a breakpoint."""

    def feed(self) -> None:
        """Does nothing: there is no watchdog."""

    def release(self) -> None:
        """Does nothing: there is no watchdog."""

    def button(self, pin: "int | None") -> bool:
        return False

    def starts(self, count: "int | None" = None) -> int:
        """A process is killed at any time, so only a crash counts; in a file."""
        if count == 0 and self._failed_starts():
            os.remove(_STARTS)
        return self._failed_starts()

    def _failed_starts(self):
        try:
            with open(_STARTS) as f:
                return int(f.read())
        except OSError:
            return 0

    def reset_cause(self) -> str:
        return ""

    def reset(self) -> None:
        sys.exit(_REBOOT)

    def crashed(self, error: Exception) -> None:
        """Ends the process with the traceback."""
        failed = self._failed_starts() + 1
        with open(_STARTS, "w") as f:
            f.write(str(failed))
        raise error

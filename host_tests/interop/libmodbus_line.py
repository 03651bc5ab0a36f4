"""A serial line with a meter made of libmodbus (libmodbus_server.c), and the wire between it and the gateway.

In:  baud rate, parity, unit. Out: the path of a pty for the gateway; what libmodbus heard, and what its memory holds.

A pty has no baud rate, so the wire is played here: each byte comes out at the other end when its last bit would have.
`collisions` counts frames that began while the other side was sending, `least_gap_ms` is the shortest silence between
the end of an answer and the gateway's next request. `torn` counts pieces that this machine, busy with other things, let
out so late that who hears them may take the pause for the end of a frame.
"""

import hashlib
import heapq
import os
import platform
import queue
import select
import subprocess
import threading
import time
from pathlib import Path

from host_tests.interop.pty_pair import PtyPair
from tools import debian

_HERE = Path(__file__).resolve().parent
SOURCE = _HERE / "libmodbus_server.c"
CACHE = _HERE.parent.parent / "build" / "libmodbus"
_FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-overflow")  # its macros cut numbers to registers
_COMPILE_LIMIT_S = 60
_ANSWER_S = 10
_PIECE_S = 0.005  # UART drivers hand over pieces
_EXCUSED_S = 3
_LATE_S = 0.015  # the gateway bears 20 ms of it here (jitter_ms of firmware/board/unix.py)


def _library():
    """What the compiler is told to find libmodbus: that of the system, or Debian's packages unpacked in build/."""
    probe = ["gcc", "-fsyntax-only", "-include", "modbus/modbus.h", "-xc", os.devnull]
    if not subprocess.run(probe, stderr=subprocess.DEVNULL, timeout=_COMPILE_LIMIT_S, check=False).returncode:
        return ["-isystem", "/usr/include/modbus", "-lmodbus"]
    header = next(debian.unpack("libmodbus-dev").glob("usr/include/modbus/modbus.h"))
    (library,) = debian.unpack("libmodbus5").glob("usr/lib/*/libmodbus.so.5")
    return ["-isystem", str(header.parent), str(library), f"-Wl,-rpath,{library.parent}"]


def ensure_server(cache=CACHE):
    """The compiled server. Raises debian.MissingPackages, or CalledProcessError with what the compiler said."""
    compiler = debian.ensure_packages({"gcc": "build-essential"})["gcc"]
    name = hashlib.sha256(SOURCE.read_bytes() + " ".join((*_FLAGS, platform.machine())).encode()).hexdigest()[:16]
    target = cache / f"server-{name}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        command = [compiler, *_FLAGS, "-o", str(fresh), str(SOURCE), *_library()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_LIMIT_S, check=False)
        assert done.returncode == 0, done.stderr
        fresh.rename(target)
    return target


class Wire(PtyPair):
    """The line between `a` (the meter) and `b` (the gateway), at the pace of its baud rate. Who asks once more into
    silence may meet the answers to both questions, from a busy machine: for a while nothing is counted or measured."""

    def __init__(self, baud, parity):
        self._character_s = (10 + (parity != "N")) / baud
        self.collisions = self.torn = 0
        self.least_gap_ms = None

    def carry(self):
        other = self.other
        free_s = dict.fromkeys(other, 0.0)  # when what each has sent will be over
        due = []  # (when, number, to whom, bytes)
        number = 0
        heard_s = dict.fromkeys(other, 0.0)  # when each began to send
        excused_until_s = 0.0
        while True:
            timeout = max(0.0, due[0][0] - time.monotonic()) if due else None
            readable, _, _ = select.select([*other, self.end_fd], [], [], timeout)
            if self.end_fd in readable:
                return
            now = time.monotonic()
            for fd in readable:
                data = os.read(fd, 1024)
                far_s = free_s[other[fd]]
                is_new = now >= free_s[fd]
                if is_new:
                    if fd == self.fd_b and heard_s[fd] > heard_s[other[fd]]:
                        excused_until_s = now + _EXCUSED_S
                    heard_s[fd] = now
                if now > excused_until_s:
                    self.collisions += now < far_s
                    if fd == self.fd_b and is_new and far_s:
                        gap_ms = 1000 * (now - far_s)
                        self.least_gap_ms = min(gap_ms, self.least_gap_ms or gap_ms)
                begin_s = max(now, free_s[fd])
                step = max(1, int(_PIECE_S / self._character_s))
                for at in range(0, len(data), step):
                    piece = data[at : at + step]
                    number += 1
                    when_s = begin_s + (at + len(piece)) * self._character_s
                    heapq.heappush(due, (when_s, number, other[fd], piece))
                free_s[fd] = begin_s + len(data) * self._character_s
            while due and due[0][0] <= time.monotonic():
                when_s, _, fd, piece = heapq.heappop(due)
                os.write(fd, piece)
                self.torn += time.monotonic() - when_s > _LATE_S


class LibmodbusLine:
    """The wire with libmodbus at its end; a context manager.

    path      the serial device for the gateway      version   of libmodbus
    requests  frames that it took for its own, whole, as bytes
    """

    def __init__(self, baud, parity, unit):
        self.wire = Wire(baud, parity)
        self._arguments = [str(baud), parity, str(unit)]
        self.requests = []
        self._said = queue.Queue()

    def __enter__(self):
        program = ensure_server()
        self.wire.__enter__()
        self.path = self.wire.b
        try:
            self._process = subprocess.Popen(
                [program, self.wire.a, *self._arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            self._thread = threading.Thread(target=self._read, name="libmodbus", daemon=True)
            self._thread.start()
            self.version = self._next("ready")[0]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self._process.stdin.close()
        try:
            self._process.wait(_ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._process.stdout.close()
        self.wire.__exit__(*exc)

    def holding(self, first, count):
        """What its holding registers hold, asked past the line."""
        return self._ask(f"holding {first} {count}")

    def coils(self, first, count):
        return [bool(value) for value in self._ask(f"coils {first} {count}")]

    def pdus(self):
        """Those of all requests."""
        return [frame[1:-2] for frame in self.requests]

    def _ask(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return [int(word) for word in self._next("values")]

    def _next(self, wanted):
        """The words behind `wanted`, which the server says next beside requests."""
        said = self._said.get(timeout=_ANSWER_S)
        assert said.split()[:1] == [wanted], f"libmodbus: {said!r}"
        return said.split()[1:]

    def _read(self):
        for line in self._process.stdout:
            if line.startswith("request "):
                self.requests.append(bytes.fromhex(line.split()[1]))
            else:
                self._said.put(line.rstrip("\n"))
        self._said.put("the end")

"""The chip's REPL as a serial port of this machine: a pseudo-terminal in front of its TCP port; and a terminal with a
program in it, as a developer sits before it."""

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import termios
import threading
import tty

from host_tests.system.rig import HOST, wait_for

_PIECE = 4096
_LINGER_S = 10


class SerialPort:
    """A context manager; `path` is what a program opens."""

    def __init__(self, port):
        self._socket = socket.create_connection((HOST, port), timeout=_LINGER_S)
        self._ours, theirs = pty.openpty()
        tty.setraw(theirs, termios.TCSANOW)
        self._theirs = theirs  # kept open, so that the pseudo-terminal outlives whoever uses it
        self.path = os.ttyname(theirs)
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="serial port", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        os.write(self._wake[1], b"x")
        self._thread.join()
        self._socket.close()
        for fd in (self._ours, self._theirs, *self._wake):
            os.close(fd)

    def _run(self):
        while True:
            ready = select.select([self._socket, self._ours, self._wake[0]], [], [])[0]
            if self._wake[0] in ready:
                return
            if self._socket in ready:
                data = self._socket.recv(_PIECE)
                if not data:
                    return  # the chip was reset: a USB port vanishes
                os.write(self._ours, data)
            if self._ours in ready:
                self._socket.sendall(os.read(self._ours, _PIECE))


class Terminal:
    """A program in a terminal of its own. A context manager, which ends it."""

    def __init__(self, command):
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        os.close(theirs)
        self.output = ""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(ProcessLookupError):  # it has ended, and all that it had started
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)

    def type(self, text):
        os.write(self._ours, text.encode())

    def wait_for(self, text, timeout=20.0):
        """Waits until the program has shown this since the last call."""

        def shown():
            if select.select([self._ours], [], [], 0)[0]:
                with contextlib.suppress(OSError):  # it has ended, and its terminal with it
                    self.output += os.read(self._ours, _PIECE).decode(errors="replace")
            return text in self.output

        try:
            wait_for(shown, timeout, repr(text))
        except AssertionError as error:
            error.add_note(self.output)
            raise
        self.output = self.output.partition(text)[2]

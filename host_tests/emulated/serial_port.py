"""The chip's REPL as a serial port of this machine: a pseudo-terminal in front of its TCP port; and a terminal with a
program in it, as a developer sits before it."""

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess

from host_tests.pseudo_terminal import PseudoTerminal, heed_ctrl_c
from host_tests.system.rig import HOST, wait_for

_PIECE = 4096
_LINGER_S = 10


class SerialPort(PseudoTerminal):
    """A context manager; `path` is what a program opens."""

    def __init__(self, port):
        self._socket = socket.create_connection((HOST, port), timeout=_LINGER_S)
        super().__init__(self._socket.sendall, {self._socket: self._from_chip})

    def __exit__(self, *exc):
        super().__exit__(*exc)
        self._socket.close()

    def _from_chip(self):
        data = self._socket.recv(_PIECE)
        self.write(data)
        return bool(data)  # none: the chip was reset, and a USB port vanishes


class Terminal:
    """A program in a terminal of its own. A context manager, which ends it."""

    def __init__(self, command):
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=heed_ctrl_c
        )
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

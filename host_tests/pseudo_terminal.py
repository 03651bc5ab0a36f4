"""A serial port of this machine whose other end is a test: a pseudo-terminal with a thread."""

import os
import pty
import select
import signal
import threading
import tty

_PIECE = 4096


def heed_ctrl_c():
    """For Popen(preexec_fn=): a shell that starts the tests in the background has them ignore SIGINT, and so their
    children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class PseudoTerminal:
    """A context manager; `path` is what a program opens. It has no DTR and no RTS, and takes any baud rate."""

    def __init__(self, received, watched=None):
        """`received(data)` is called with what a program wrote, from the thread. `watched`: {file: function}, called
        when that file can be read; the thread ends when one answers False."""
        self._received, self._watched = received, watched or {}
        self._ours, theirs = pty.openpty()  # theirs stays open, so that this outlives the programs that use it
        tty.setraw(theirs)
        self._open = (self._ours, theirs)
        self.path = os.ttyname(theirs)
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="pseudo-terminal", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.vanish()
        for fd in self._wake:
            os.close(fd)

    def write(self, data):
        """To the program."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._ours, view) :]

    def vanish(self):
        """Ends the port under the program, as a USB port that is pulled. May be called twice."""
        if self._thread.is_alive():
            os.write(self._wake[1], b"x")
            self._thread.join()
        for fd in self._open:
            os.close(fd)
        self._open = ()

    def _run(self):
        while True:
            ready = select.select([self._ours, self._wake[0], *self._watched], [], [])[0]
            if self._wake[0] in ready:
                return
            for file, function in self._watched.items():
                if file in ready and function() is False:
                    return
            if self._ours in ready:
                self._received(os.read(self._ours, _PIECE))

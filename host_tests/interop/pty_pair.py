"""Two ptys back to back, as socat makes them: two serial devices that are one line."""

import os
import select
import threading
import tty


class PtyPair:
    """A context manager. `a`, `b`: paths of the two devices; a thread carries bytes between them without delay."""

    def __enter__(self):
        (self.fd_a, slave_a), (self.fd_b, slave_b) = os.openpty(), os.openpty()
        self.end_fd, self._end_write_fd = os.pipe()  # readable at the end
        self._fds = (self.fd_a, slave_a, self.fd_b, slave_b, self.end_fd, self._end_write_fd)
        for fd in self._fds[:4]:
            tty.setraw(fd)
        self.a, self.b = os.ttyname(slave_a), os.ttyname(slave_b)
        self.other = {self.fd_a: self.fd_b, self.fd_b: self.fd_a}
        self._thread = threading.Thread(target=self.carry, name="pty pair", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        os.write(self._end_write_fd, b"x")
        self._thread.join()
        for fd in self._fds:
            os.close(fd)

    def carry(self):
        """Carries bytes until the end; runs in the thread."""
        while True:
            readable, _, _ = select.select([*self.other, self.end_fd], [], [])
            if self.end_fd in readable:
                return
            for fd in readable:
                os.write(self.other[fd], os.read(fd, 1024))

"""chronyd as a time server for the chip: Debian's, not installed, on a free UDP port of 127.0.0.1.

It serves this machine's own time as stratum 3 and never touches the clock (-x), needs no privileges (-U) and reads no
configuration but its own. A context manager.
"""

import os
import pwd
import socket
import subprocess

from host_tests.system.rig import HOST, wait_for
from tools import debian

STRATUM = 3
_CLIENT = bytes([4 << 3 | 3]) + bytes(47)  # version 4, mode 3: RFC 5905, 7.3
_START_S = 10
_ANSWER_S = 0.2
_STOP_S = 5


class Chrony:
    """Runs within its `with` block; its port is known before."""

    def __init__(self, folder):
        self.folder = folder
        self.port = _free_port()
        self._process = None

    def __enter__(self):
        settings = {
            "bindaddress": HOST,
            "port": self.port,
            "allow": HOST,
            "local": f"stratum {STRATUM}",
            "cmdport": 0,
            "bindcmdaddress": "/",  # no socket for commands
            "pidfile": self.folder / "chronyd.pid",
        }
        path = self.folder / "chrony.conf"
        path.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        program = debian.unpack("chrony") / "usr" / "sbin" / "chronyd"
        user = pwd.getpwuid(os.geteuid()).pw_name
        with open(self.folder / "chronyd.log", "w") as log:
            self._process = subprocess.Popen([program, "-x", "-U", "-u", user, "-d", "-f", path], stderr=log)
        try:
            wait_for(self._answers, _START_S, "an answer of chronyd")
        except AssertionError as error:
            error.add_note((self.folder / "chronyd.log").read_text())
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait(_STOP_S)

    def _answers(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(_ANSWER_S)
            asker.connect((HOST, self.port))
            asker.send(_CLIENT)
            try:
                return len(asker.recv(100)) >= len(_CLIENT)
            except OSError:  # refused, or silence
                return False


def _free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((HOST, 0))
        return taken.getsockname()[1]

"""chronyd as a time server: Debian's, not installed, on a free UDP port of 127.0.0.1.

It serves this machine's own time as stratum 3 and never touches the clock (-x), needs no privileges (-U) and reads no
configuration but its own. A context manager.
"""

import os
import pwd
import socket

from host_tests.daemon import Daemon
from host_tests.system.rig import HOST
from tools import debian, gateway

STRATUM = 3
_CLIENT = bytes([4 << 3 | 3]) + bytes(47)  # version 4, mode 3: RFC 5905, 7.3
_ANSWER_S = 0.2


class Chrony(Daemon):
    """Runs within its `with` block; its port is known before."""

    def __init__(self, folder):
        super().__init__(folder)
        (self.port,) = gateway.free_ports(1)
        # Got now: in a network namespace of a test there is nobody to get it from.
        self._program = debian.unpack("chrony") / "usr" / "sbin" / "chronyd"

    def command(self):
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
        user = pwd.getpwuid(os.geteuid()).pw_name
        return [self._program, "-x", "-U", "-u", user, "-d", "-f", path]

    def answers(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(_ANSWER_S)
            asker.connect((HOST, self.port))
            asker.send(_CLIENT)
            try:
                return len(asker.recv(100)) >= len(_CLIENT)
            except OSError:  # refused, or silence
                return False

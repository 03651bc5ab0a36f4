"""The firmware's TCP client on real MicroPython, 32-bit, frozen, against sockets of this machine."""

import subprocess

from host_tests.tcp_servers import EXPECTED, SCRIPT, TcpServers
from tools import gateway


def test_the_client_connects_sends_receives_and_says_why_it_cannot():
    with TcpServers() as servers:
        ports = [str(servers.ports[name]) for name in ("echo", "reset", "silent", "closed")]
        done = subprocess.run(
            [str(gateway.find_frozen(print)), "-X", "heapsize=128K", str(SCRIPT), *ports],
            env={"MICROPYPATH": ".frozen"}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == EXPECTED

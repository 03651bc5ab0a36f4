"""Two machines on one Ethernet, as network namespaces joined by a pair of veth devices: the gateway's and a client's.

Broadcasts reach the other one, as on a building's network; the programs of each have it for themselves, with port 47808
of each. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN, as the emulated network does (tools/emulator/tun.py).
"""

import os
import subprocess
import threading

from host_tests.system.rig import wait_for
from tools import debian
from tools.emulator.tun import Namespace

GATEWAY, CLIENT, BROADCAST = "10.47.8.1", "10.47.8.9", "10.47.8.255"
PORT = 47808
_STARTS_S = 20
_RUN_S = 120


def run(*command, timeout=_RUN_S, **options):
    """The output of a command, in the namespace of the thread that calls. AssertionError when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


class BacnetNetwork:
    """`gateway.call(f, ...)` and `client.call(f, ...)` run f in those namespaces. A context manager."""

    def __enter__(self):
        ip = debian.ensure_packages({"ip": "iproute2"})["ip"]
        self.gateway = Namespace()
        self.client = Namespace()
        other = str(self.client.call(threading.get_native_id))
        self.gateway.call(run, ip, "link", "add", "lan0", "type", "veth", "peer", "name", "lan1", "netns", other)
        for space, device, address in ((self.gateway, "lan0", GATEWAY), (self.client, "lan1", CLIENT)):
            space.call(run, ip, "address", "add", f"{address}/24", "broadcast", BROADCAST, "dev", device)
            for each in ("lo", device):
                space.call(run, ip, "link", "set", each, "up")
            # for 255.255.255.255, too
            space.call(run, ip, "route", "add", "default", "dev", device)
        return self

    def __exit__(self, *exc):
        self.client.close()
        self.gateway.close()


class Capture:
    """All packets that pass the client's device during the `with` block, in a file of tshark."""

    def __init__(self, network, folder):
        self.path = folder / "bacnet.pcapng"
        self._tshark = debian.ensure_packages({"tshark": "tshark"})["tshark"]
        self._network = network
        self._log = folder / "tshark.log"

    def __enter__(self):
        self._process = self._network.client.call(self._start)
        wait_for(lambda: "Capturing on" in self._log.read_text() and self.path.exists(), _STARTS_S, "tshark")
        return self

    def _start(self):
        with open(self._log, "w") as log:
            return subprocess.Popen(
                [self._tshark, "-q", "-i", "lan1", "-w", self.path], stderr=log, stdout=log, env={**os.environ}
            )

    def __exit__(self, *exc):
        self._process.terminate()
        self._process.wait(_STARTS_S)

    def lines(self, wanted, *fields):
        """For each packet that the display filter `wanted` finds, its summary, or those fields."""
        shown = ["-T", "fields", *(part for field in fields for part in ("-e", field))] if fields else []
        return run(self._tshark, "-r", str(self.path), "-Y", wanted, *shown).splitlines()

"""nats-server, Debian's, not installed: examples/nats-cluster.conf as three nodes on 127.0.0.1 to 127.0.0.3."""

import contextlib
import http.client
import json
import os

from host_tests.daemon import Daemon
from host_tests.documents import ROOT
from host_tests.system.rig import wait_for
from tools import debian, gateway

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
_MESSAGES = "$MQTT_msgs"  # the stream of what MQTT clients have published with QoS 1
_START_S = 60


class _Node(Daemon):
    def __init__(self, folder, number, ports):
        super().__init__(folder)
        self.name = f"n{number + 1}"
        self.address = ADDRESSES[number]
        self._ports = ports
        self.is_alive = True
        self.environment = {**os.environ, "NODE": self.name, "ADDRESS": self.address}

    def command(self):
        mqtt, client, cluster, http = map(str, self._ports)
        text = (ROOT / "examples" / "nats-cluster.conf").read_text()
        for old, new in (
            ("port: 1883", f"port: {mqtt}"), ("port: 4222", f"port: {client}"), ("port: 6222", f"port: {cluster}"),
            (":6222", f":{cluster}"), ("127.0.0.1:8222", f"{self.address}:{http}"), ("192.0.2.", "127.0.0."),
            ("/var/lib/nats", str(self.folder / "jetstream")),
        ):  # fmt: skip
            assert old in text, old
            text = text.replace(old, new)
        path = self.folder / "nats-cluster.conf"
        path.write_text(text)
        return [debian.unpack("nats-server") / "usr" / "sbin" / "nats-server", "-c", path]

    def answers(self):
        """It serves monitoring; JetStream needs the others, too."""
        return self.ask("/varz") is not None

    def ask(self, target):
        """The JSON of the monitoring, or None without an answer of 200."""
        connection = http.client.HTTPConnection(self.address, self._ports[3], timeout=5)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", target)
            response = connection.getresponse()
            body = response.read()
            return json.loads(body) if response.status == 200 else None

    def kill(self):
        """Ends it as a power cut does."""
        self.is_alive = False
        self._process.kill()
        self._process.wait(self.STOP_S)


class NatsCluster:
    """A context manager. `addresses`: where MQTT is, for tools.fleet."""

    def __init__(self, folder):
        ports = gateway.free_ports(4)
        self.addresses = tuple((address, ports[0]) for address in ADDRESSES)
        self.nodes = [_Node(folder / f"n{number + 1}", number, ports) for number in range(len(ADDRESSES))]
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            wait_for(self._is_healthy, _START_S, "a leader of the cluster")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc):
        self._stack.close()

    def _is_healthy(self):
        return all(node.ask("/healthz") for node in self.nodes)

    def leader(self):
        """(the node that leads the stream of messages, how many have been stored), as one that lives says; None while
        there is none."""
        for node in self.nodes:
            found = node.ask("/jsz?accounts=1&streams=1") if node.is_alive else None
            for account in (found or {}).get("account_details", ()):
                for stream in account.get("stream_detail", ()):
                    name = stream.get("cluster", {}).get("leader")
                    if stream["name"] == _MESSAGES and name:
                        (leader,) = (node for node in self.nodes if node.name == name)
                        return leader, stream["state"]["last_seq"]
        return None

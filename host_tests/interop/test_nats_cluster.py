"""The history to a NATS cluster of three (examples/nats-cluster.conf): one node is killed in the middle, and every
record of a fleet arrives."""

import threading
import time

from host_tests.nats_cluster import NatsCluster
from tools.fleet import run as fleet

GATEWAYS = 12
KILL_AFTER = GATEWAYS  # messages of the history: about those of the first minute
KILLED_WITHIN_S = 120
_LOOK_S = 0.2


class Killer(threading.Thread):
    """Kills the node that leads the stream of messages once some have been stored. killed: it, None before; stored:
    messages at that moment."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.killed = None
        self.stored = 0
        self._cluster = cluster
        self._has_ended = threading.Event()

    def run(self):
        end_s = time.monotonic() + KILLED_WITHIN_S
        while self.killed is None and time.monotonic() < end_s and not self._has_ended.wait(_LOOK_S):
            found = self._cluster.leader()
            if found is not None and found[1] >= KILL_AFTER:
                found[0].kill()
                self.killed, self.stored = found

    def end(self):
        self._has_ended.set()
        self.join()


def test_every_record_arrives_though_the_node_that_leads_is_killed_in_the_middle(tmp_path):
    with NatsCluster(tmp_path) as cluster:
        killer = Killer(cluster)
        killer.start()
        try:
            options = fleet.Options(cluster.addresses, gateways=GATEWAYS, minutes=3, outages=0, restarts=0.2, pace=20)
            result = fleet.run(options)
        finally:
            killer.end()
        assert killer.killed is not None
        assert killer.stored < result.counts.history  # others came behind
        assert cluster.leader()[0] is not killer.killed
    assert result.is_whole, str(result)
    assert result.made > killer.stored
    assert result.counts.connections > GATEWAYS + result.restarts + result.cuts  # those of the node that was killed
    print(
        f"{killer.killed.name} killed after {killer.stored} of {result.counts.history} messages, {result.real_s:.0f} s"
    )

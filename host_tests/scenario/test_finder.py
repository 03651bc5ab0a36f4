"""The finder on a simulated network: found by broadcast, and a flood that harms no poller."""

import json

import pytest

from host_tests.scenario.crowd import assert_nothing_lost, crowd
from tools.simulator import profiles, seeds
from tools.simulator.hosts import Host
from tools.simulator.world import DEVICE, run

PORT = 10502
BROADCAST = "192.0.2.255"
FIND = b"meterport find"


class Looker(Host):
    """A machine that sends datagrams to the finder and keeps what comes back."""

    def __init__(self, world, ip):
        super().__init__(world.network, ip, DEVICE)
        self.came = []
        self.port = self.ephemeral_port()
        self._bound = self.bind_udp(self.port)
        self._bound.app = self

    def changed(self):
        while self._bound.queue:
            self.came.append(self._bound.queue.popleft())

    def send(self, data, ip=BROADCAST):
        self.network.datagram(self, self.port, ip, PORT, data)


@pytest.mark.parametrize("profile", [profiles.ESP32_16, profiles.PICOW_16], ids=lambda profile: profile.name)
@pytest.mark.parametrize("seed", seeds.chosen((1, 2)))
def test_a_broadcast_finds_the_device_from_its_own_network_only(seed, profile):
    async def scenario(world):
        near, far = Looker(world, "192.0.2.77"), Looker(world, "198.51.100.77")
        await world.sleep(2)
        near.send(FIND)
        await world.until(lambda: near.came, what="an answer")
        far.send(FIND, DEVICE)  # not at once: a Pico W keeps one datagram of each socket
        ((data, sender),) = near.came
        assert sender == (DEVICE, PORT)
        document = json.loads(data)
        assert document["ports"] == {"http": 80, "modbus": 502, "bacnet": 47808}
        assert (document["name"], document["address"]) == ("simulated", DEVICE)
        await world.sleep(2)
        assert far.came == []
        assert world.app.service("finder").refused == 1

    run(scenario, seed=seed, profile=profile)


@pytest.mark.parametrize("seed", seeds.chosen((1, 2)))
def test_another_device_of_the_same_name_is_found_by_both(seed):
    async def scenario(world):
        other = Looker(world, "192.0.2.9")
        theirs = b'{"meterport":1,"name":"simulated","serial":"77","model":"x"}'
        asked = other.bind_udp(PORT)
        await world.until(lambda: asked.queue, what="the device's own question")
        data, sender = asked.queue.popleft()
        assert (data, sender) == (FIND, (DEVICE, PORT))
        other.send(theirs, DEVICE)
        await world.until(lambda: other.came, what="the device's document")
        text = "the name is also that of the gateway at 192.0.2.9"
        assert json.loads(other.came[0][0])["conflicts"] == [text]
        assert any(line[1:3] == ["finder", text] for line in world.events())

    run(scenario, seed=seed)


@pytest.mark.parametrize("seed", seeds.chosen((1, 2)))
def test_a_flood_of_searches_harms_no_poller(seed):
    async def scenario(world):
        near = Looker(world, "192.0.2.77")
        pollers = await crowd(world, 8)
        for _ in range(10_000):
            near.send(FIND, DEVICE)
            await world.sleep(0.001)
        assert_nothing_lost(pollers)
        assert 16 <= len(near.came) <= 16 * 12

    run(scenario, seed=seed)

"""BACnet/IP on the simulated network: floods of Who-Is and a client that reads all objects, while ten clients poll."""

import struct

import pytest

from host_tests.scenario.crowd import assert_nothing_lost, crowd
from host_tests.unit.bacnet_bench import context, datagram, object_id, uint
from tools.simulator import seeds
from tools.simulator.hosts import Host
from tools.simulator.world import DEVICE, run

PORT = 47808
POLLERS = 10
I_AM_PER_SECOND = 20
READS_S = 20
WHO_IS = datagram(b"\x10\x08")
OBJECT_LIST = b"\x02\x75%c\x0c" + context(0, object_id(8, 4194303)) + context(1, uint(76))


class BacnetHost(Host):
    """A machine that sends datagrams to the gateway and keeps what comes back."""

    def __init__(self, world, ip):
        super().__init__(world.network, ip, DEVICE)
        self.came = []
        self._bound = self.bind_udp(PORT)
        self._bound.app = self

    def changed(self):
        while self._bound.queue:
            self.came.append(self._bound.queue.popleft()[0])

    def send(self, data):
        self.network.datagram(self, PORT, DEVICE, PORT, data)


def read_all(invoke_id, objects):
    """ReadPropertyMultiple of Present_Value and Status_Flags of each object but the Device."""
    wanted = b"".join(context(0, each) + b"\x1e\x09\x55\x09\x6f\x1f" for each in objects[1:])
    return datagram(bytes((0x02, 0x75, invoke_id, 0x0E)) + wanted)


@pytest.mark.parametrize("seed", seeds.chosen((1, 2)))
def test_a_thousand_who_is_a_second_harm_no_poller(seed):
    async def scenario(world):
        asker = BacnetHost(world, "192.0.2.77")
        pollers = await crowd(world, POLLERS)
        for _ in range(10_000):
            asker.send(WHO_IS)
            await world.sleep(0.001)
        assert_nothing_lost(pollers)
        assert 5 <= len(asker.came) <= 12 * I_AM_PER_SECOND

    run(scenario, seed=seed)


@pytest.mark.parametrize("seed", seeds.chosen((1, 2)))
def test_a_client_that_reads_all_objects_each_second_harms_no_poller(seed):
    async def scenario(world):
        client = BacnetHost(world, "192.0.2.77")
        await world.until(world.polled)
        pollers = await crowd(world, POLLERS)
        client.send(datagram(OBJECT_LIST % 0))
        await world.until(lambda: [data for data in client.came if data[6:7] == b"\x30"], what="the list of objects")
        (listed,) = [data for data in client.came if data[6:7] == b"\x30"]
        at = listed.index(b"\x3e") + 1
        count = (len(listed) - 1 - at) // 5
        objects = [listed[at + 5 * k + 1 : at + 5 * k + 5] for k in range(count)]
        assert count == world.app.service("bacnet").status()["objects"] > POLLERS
        for number in range(1, READS_S + 1):
            client.came.clear()
            client.send(read_all(number, objects))
            await world.sleep(1)
            (answer,) = [data for data in client.came if data[6:9] == bytes((0x30, number, 0x0E))]
            assert struct.unpack_from(">H", answer, 2)[0] == len(answer)
            assert answer.count(b"\x29\x55\x4e\x44") == count - 1  # each has a REAL
        assert_nothing_lost(pollers)

    run(scenario, seed=seed)

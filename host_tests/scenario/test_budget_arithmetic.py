"""Elkor's note on ETport sockets, line by line: 16 sockets and never more, about 10 general ones with every
service on, and one more for each service that is off, after a reboot."""

from dataclasses import replace

import pytest

from host_tests.scenario.crowd import boards, evictions
from tools.simulator import modbus, profiles, seeds
from tools.simulator.world import World, run

ALL = ("http", "modbus", "bacnet", "finder", "ntp", "posting")
ARITHMETIC = pytest.mark.parametrize(
    ("off", "general"),
    [
        ((), 10),
        (("bacnet",), 11),
        (("bacnet", "posting"), 12),
        (("bacnet", "posting", "ntp"), 13),
    ],
    ids=["all six", "BACnet off", "BACnet and posting off", "BACnet, posting and NTP off"],
)


def switched(off):
    return {name: {"enabled": name not in off} for name in ALL}


async def connect_all(world, count):
    """Clients that connect and ask, one after the other."""
    checker = modbus.Checker(world)
    clients = [modbus.Client(world.host(), checker) for _ in range(count)]
    for client in clients:
        await client.connect()
        await client.ask(modbus.GATEWAY, modbus.OWN[0][1])
    await world.sleep(0.5)
    return clients


@boards(new=0)
@ARITHMETIC
def test_general_slots_by_what_is_switched_off(profile, off, general, seed):
    async def scenario(world):
        assert world.budget.general == general
        assert [slot.kind for slot in world.budget.services] == [name for name in ALL if name not in off]
        clients = await connect_all(world, 20)
        assert [client.is_open for client in clients] == [False] * (20 - general) + [True] * general
        assert evictions(world)["idle"] == 20 - general
        assert world.budget.in_use() == world.budget.high_water == 16

    run(scenario, seed=seed, profile=profile, config=switched(off))


@pytest.mark.parametrize("seed", seeds.chosen((1,)))
def test_sixteen_is_the_end_also_where_a_board_has_more(seed):
    large = replace(profiles.UNIX, name="large", sockets=64, tcp=64, udp=64)

    async def scenario(world):
        await connect_all(world, 40)
        assert world.budget.limit == world.budget.in_use() == 16

    run(scenario, seed=seed, profile=large)


@pytest.mark.parametrize("limit", [4, 5, 8, 12, 16])
def test_a_limit_in_the_configuration_is_the_limit(limit):
    async def scenario(world):
        refused = world.budget.refused_services
        assert len(world.budget.services) + len(refused) == len(ALL)
        await connect_all(world, 20)
        assert world.budget.in_use() == limit
        for name in refused:
            assert any(name in line[2] for line in world.events()), name

    world = run(scenario, config={"sockets": {"limit": limit}})
    assert world.sockets.most <= limit


def test_a_service_that_is_switched_off_keeps_its_slot_until_the_reboot(tmp_path):
    before = World(tmp_path, 1)

    async def running(world):
        assert world.budget.general == 10
        path = tmp_path / "data" / "config.json"
        path.write_text(path.read_text().replace('"meters"', '"bacnet": {"enabled": false}, "meters"'))
        await world.sleep(120)
        clients = await connect_all(world, 12)
        assert sum(client.is_open for client in clients) == 10

    before.run(running)

    async def rebooted(world):
        clients = await connect_all(world, 12)
        assert sum(client.is_open for client in clients) == world.budget.general == 11

    World(tmp_path, 1, config={"bacnet": {"enabled": False}}).run(rebooted)

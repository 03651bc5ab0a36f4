"""A link that comes and goes: meters are read on, connections are closed, services go on when it is back."""

from host_tests.scenario.crowd import assert_nothing_lost, boards, crowd
from tools.simulator import profiles
from tools.simulator.world import MODBUS, run


@boards([profiles.ESP32_16, profiles.PICOW_16])
def test_a_link_that_is_gone_for_an_hour_costs_no_reading_and_leaves_no_connection(profile, seed):
    async def scenario(world):
        await world.until(world.polled, 60)
        streams = [await world.host().connect(MODBUS) for _ in range(6)]
        await world.until(lambda: len(world.budget.connections) == len(streams), 5)
        world.board.link.down()
        await world.sleep(45)
        assert world.budget.connections == []
        before = [meter.requests for meter in world.app.meters.meters]
        await world.sleep(3600)
        for meter, count in zip(world.app.meters.meters, before, strict=True):
            assert meter.requests - count >= 3600 / 10 - 5, "each is asked every 10 s"
            assert meter.timeouts == 0
        world.board.link.back()
        await world.sleep(65)
        assert [text for _, source, text, _ in world.events() if source == "link"][-1] == "up: 192.0.2.1"

    run(scenario, seed=seed, profile=profile)


@boards([profiles.ESP32_16])
def test_short_losses_end_no_connection(profile, seed):
    async def scenario(world):
        await world.until(world.polled, 60)
        pollers = await crowd(world, 4, period_s=5.0)
        for _ in range(10):
            world.board.link.down()
            await world.sleep(8)
            world.board.link.back()
            await world.sleep(12)
        assert_nothing_lost(pollers)

    run(scenario, seed=seed, profile=profile)

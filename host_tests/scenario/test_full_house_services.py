"""Services get their sockets in the middle of a full house: their slots are theirs from boot on."""

from host_tests.scenario.crowd import assert_nothing_lost, boards, crowd, evictions
from tools.simulator import modbus
from tools.simulator.world import run


@boards()
def test_ntp_asks_while_ten_clients_hold_every_general_slot(profile, seed):
    async def scenario(world):
        pollers = await crowd(world, 10, period_s=1.0, reads=modbus.CACHED)
        await world.sleep(5)
        asked = world.time_server.asked
        await world.sleep(640)  # ntp.interval_s is 64
        assert world.time_server.asked - asked >= 9
        assert world.app.service("ntp").failures == 0
        assert abs(world.app.clock.unix_ms() - world.time_server.unix_ms()) < 50
        assert world.board.unix_s is not None
        assert evictions(world) == dict.fromkeys(evictions(world), 0)
        assert_nothing_lost(pollers)

    run(scenario, seed=seed, profile=profile, config={"ntp": {"server": "192.0.2.2", "interval_s": 64}})


@boards()
def test_the_slot_of_posting_stays_empty_while_eleven_clients_want_one(profile, seed):
    """Posting is not built yet: what can be shown is that nobody else gets its slot."""

    async def scenario(world):
        await crowd(world, 11, period_s=1.0)
        await world.sleep(120)
        slot = world.budget.service_slot("posting")
        assert slot is not None
        assert not slot.open
        assert len(world.budget.connections) == world.budget.general == 10
        assert world.sockets.most <= 15  # 16, less the one of posting, which is not built

    run(scenario, seed=seed, profile=profile)

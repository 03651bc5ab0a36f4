"""The time of day steps, and nothing that goes by ticks notices: polls, ages, time-outs and evictions."""

from host_tests.scenario.crowd import assert_all_live, assert_nothing_lost, boards, crowd, evictions
from tools.simulator import http, modbus
from tools.simulator.world import run

_HOUR_MS = 3_600_000
STEPS_MS = (-2 * _HOUR_MS, 400, 26 * _HOUR_MS, -400 * 24 * _HOUR_MS, 10 * 365 * 24 * _HOUR_MS)


def error_ms(world):
    return abs(world.app.clock.unix_ms() - world.time_server.unix_ms())


@boards()
def test_when_the_clock_is_stepped_forth_and_back_nothing_ages_and_no_poll_is_lost(profile, seed):
    from firmware.net import seam

    async def scenario(world):
        pollers = await crowd(world, 8, period_s=1.0, reads=modbus.CACHED)
        browser = http.Browser(world)
        await browser.load()
        await world.until(lambda: world.app.clock.is_set, 10, "the time of day")
        for step_ms in world.rng.sample(STEPS_MS, len(STEPS_MS)):
            world.time_server.offset_ms += step_ms
            await world.until(lambda: error_ms(world) < 50, 90, "a clock that follows")
            for _ in range(50):
                await world.sleep(0.1)
                for meter in world.app.meters.meters:
                    age_s = [world.app.clock.uptime_s() - block.read_at_s for block in meter.blocks]
                    now_ms = seam.ticks_ms()
                    left_ms = [seam.ticks_diff(block.fresh_until_ms, now_ms) for block in meter.blocks]
                    assert all(block.fresh_until_ms >= 0 for block in meter.blocks)
                    assert min(left_ms) >= 0
                    assert 0 <= min(age_s) <= max(age_s) <= meter.interval_ms // 1000 + 2
            assert error_ms(world) < 50
            assert abs(world.app.service("ntp").offset_ms - step_ms) < 50
            uptime_s = world.app.clock.uptime_s()
            assert all(slot.opened_s <= uptime_s for slot in world.budget.connections)
            await browser.refresh()
        assert browser.broken == 0, browser.first_error
        assert evictions(world)["idle"] == evictions(world)["unserved"] == 0
        assert_nothing_lost(pollers)
        assert_all_live(pollers, world, 2)

    run(scenario, seed=seed, profile=profile, config={"ntp": {"server": "192.0.2.2", "interval_s": 64}})

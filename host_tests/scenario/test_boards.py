"""Every board profile: what fits, what is refused by name, how many connections, and pollers served within that."""

import pytest

from host_tests.scenario.crowd import assert_all_live, assert_nothing_lost, boards, crowd
from tools.simulator import http, modbus, profiles, seeds
from tools.simulator.world import run

# profile -> general slots with all six services, and the services that are refused
EXPECTED = {
    "unix": (10, []),
    "esp32": (4, []),
    "esp32-16": (10, []),
    "picow": (3, []),
    "picow-16": (10, []),
    "pico-emulated": (3, []),
}


@boards(profiles.DEVICES)
def test_as_many_pollers_as_a_board_has_general_slots_lose_nothing(profile, seed):
    async def scenario(world):
        general, refused = EXPECTED[profile.name]
        assert world.budget.general == general
        assert world.budget.refused_services == refused
        for name in refused:
            assert any(name in line[2] for line in world.events())
        pollers = await crowd(world, general, period_s=2.0, reads=modbus.CACHED + modbus.OWN)
        await world.sleep(300)
        assert_nothing_lost(pollers)
        assert world.app.service("ntp").failures == 0

    run(scenario, seed=seed, profile=profile)


@boards(profiles.DEVICES)
def test_one_poller_more_than_slots_and_all_still_make_progress(profile, seed):
    async def scenario(world):
        pollers = await crowd(world, world.budget.general + 1, period_s=5.0)
        await world.sleep(600)
        assert_all_live(pollers, world, 30)

    run(scenario, seed=seed, profile=profile)


@boards(profiles.DEVICES)
def test_the_page_can_be_had_on_every_board_while_it_is_full(profile, seed):
    async def scenario(world):
        await crowd(world, world.budget.general, period_s=5.0)
        await world.sleep(12)
        browser = http.Browser(world, parallel=2)
        await browser.load()
        for _ in range(5):
            await browser.refresh()
            await world.sleep(2)
        assert browser.pages == 1
        assert browser.broken == 0, browser.first_error

    run(scenario, seed=seed, profile=profile)


@pytest.mark.parametrize("seed", seeds.chosen((1,)))
def test_a_pico_with_a_single_udp_socket_refuses_two_services_by_name(seed):
    from dataclasses import replace

    poor = replace(profiles.PICOW, name="picow-poor", udp=1, udp_pcbs=1)

    async def scenario(world):
        assert world.budget.refused_services == ["finder", "ntp"]
        texts = " ".join(line[2] for line in world.events())
        assert "finder" in texts
        assert "ntp" in texts
        states = {entry.name: entry.state for entry in world.app.device.services}
        assert (states["ntp"], states["finder"], states["bacnet"]) == ("no_room", "no_room", "running")

    run(scenario, seed=seed, profile=poor)

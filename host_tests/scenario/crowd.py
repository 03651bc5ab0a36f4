"""What scenarios share: crowds of pollers, and what is asked of them at the end."""

import pytest

from tools.simulator import modbus, profiles, seeds

# A build of ours for each chip, and the development machine: the boards on which all sixteen sockets exist.
SIXTEEN = (profiles.UNIX, profiles.ESP32_16, profiles.PICOW_16)


async def crowd(world, count, **options):
    """`count` modbus.Pollers that run, once the meters have been read."""
    await world.until(world.polled, what="a first reading of every meter")
    checker = modbus.Checker(world)
    pollers = [modbus.Poller(world, checker, **options) for _ in range(count)]
    for poller in pollers:
        world.start(poller.run())
    return pollers


def assert_nothing_lost(pollers):
    """Every poll was answered, on the connection that was made first."""
    for poller in pollers:
        assert poller.lost == 0, poller.first_error
        assert poller.reconnects == 0
        assert poller.answers >= poller.polls - 1  # the last may be under way
        assert poller.answers > 0
    assert pollers[0].client.checker.exceptions == {}


def assert_all_live(pollers, world, within_s):
    """Everybody was answered not long ago."""
    for poller in pollers:
        assert poller.last_answer_s is not None, f"never answered; first {poller.first_error}"
        assert world.now_s - poller.last_answer_s <= within_s, poller.first_error


def evictions(world):
    """{reason: count} of the budget."""
    from firmware.net.budget import REASONS

    return dict(zip(REASONS, world.budget.evictions, strict=True))


def boards(profiles_=SIXTEEN, fixed=(1,), new=1):
    """Marks a test of (profile, seed): every board with the fixed seeds, and fresh seeds on boards in turn."""
    pairs = [(profile, seed) for profile in profiles_ for seed in seeds.chosen(fixed)]
    for k, seed in enumerate(seeds.chosen((), new)):
        pair = profiles_[(seed + k) % len(profiles_)], seed
        if pair not in pairs:
            pairs.append(pair)
    return pytest.mark.parametrize(
        ("profile", "seed"), pairs, ids=[f"{profile.name}-{seed}" for profile, seed in pairs]
    )

"""History on flash by the whole firmware in simulated time: hours without the time, then a time server that answers."""

from tools.simulator.world import TIME_SERVER, run

HOUR_S = 3600
INTERVAL_S = 300
HOURS_UNKNOWN = 3
CONFIG = {
    "ntp": {"server": TIME_SERVER, "interval_s": 64},
    "history": {"flash": True, "interval_s": INTERVAL_S, "flash_kb": 256},
}


def records(world):
    """(unix_s, uptime_s) of all, oldest first."""
    reader = world.app.history.records.read()
    found = []
    while reader.next():
        found.append((reader.walk.unix_s, reader.walk.uptime_s))
    return found


def test_records_of_hours_without_the_time_are_dated_when_the_clock_is_set():
    async def scenario(world):
        recorder = world.app.history.records
        world.time_server.answers = False
        await world.sleep(HOURS_UNKNOWN * HOUR_S + 10)
        count = HOURS_UNKNOWN * HOUR_S // INTERVAL_S
        undated = records(world)
        assert [unix_s for unix_s, _ in undated] == [None] * count
        assert [uptime_s for _, uptime_s in undated] == [INTERVAL_S * k for k in range(1, count + 1)]
        assert not recorder.is_dated

        world.time_server.answers = True
        await world.until(lambda: recorder.is_dated, 2 * HOUR_S, "a clock that is set, and a commit")
        boot_s = world.app.clock.unix_s() - world.app.clock.uptime_s()
        dated = records(world)
        assert len(dated) >= count
        for unix_s, uptime_s in dated:
            assert abs(unix_s - boot_s - uptime_s) <= 1
        await world.sleep(HOUR_S)
        after = records(world)[len(dated) :]
        assert len(after) >= HOUR_S // INTERVAL_S - 1
        for unix_s, uptime_s in after:
            assert (unix_s % INTERVAL_S, uptime_s) == (0, None)
        assert recorder.lost == 0

    run(scenario, config=CONFIG)

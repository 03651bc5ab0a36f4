"""The NTP service with several servers, on the simulated network: who is asked when, and whom the clock follows."""

import re

import pytest

from tools.simulator import world as world_module
from tools.simulator.udp import TimeServer
from tools.simulator.world import TIME_SERVER

SECOND, THIRD = "192.0.2.3", "192.0.2.4"
RETRY_S = 15
HOUR_S = 3600


class Bench:
    def __init__(self, world):
        self.world = world
        self.servers = [world.time_server, TimeServer(world.network, SECOND), TimeServer(world.network, THIRD)]
        self.clock = world.app.clock

    @property
    def ntp(self):
        return self.world.app.service("ntp")

    @property
    def asked(self):
        return [server.asked for server in self.servers]

    def error_ms(self):
        """How far the clock is off the first server's true time."""
        server = self.servers[0]
        return self.clock.unix_ms() - (server.unix_ms() - server.offset_ms)

    def texts(self):
        return [text for _, source, text, _ in self.world.events() if source == "ntp"]


def run(before, after, more=(SECOND, THIRD), interval_s=640):
    """before(bench) at the start of the firmware, then `await after(bench)`."""

    async def scenario(world):
        bench = Bench(world)
        before(bench)
        await after(bench)

    return world_module.run(scenario, config={"ntp": {"more_servers": list(more), "interval_s": interval_s}})


def test_the_first_server_alone_is_asked_while_it_answers_once_another_has_agreed():
    async def scenario(bench):
        await bench.world.sleep(3 * 640)
        assert bench.asked == [3, 1, 0]
        assert abs(bench.error_ms()) < 1000
        status = bench.ntp.status()
        assert (status["server"], status["stratum"], status["failures"], status["error"]) == (TIME_SERVER, 2, 0, None)

    run(lambda bench: None, scenario)


def test_the_next_is_asked_at_once_and_stays_the_first_choice():
    def silent(bench):
        bench.servers[0].answers = bench.servers[1].answers = False

    async def scenario(bench):
        await bench.world.sleep(10)
        assert bench.asked == [1, 1, 2]  # its first time is believed when it says it twice
        assert bench.ntp.server == THIRD
        await bench.world.sleep(640)
        assert bench.asked == [1, 1, 3]

    run(silent, scenario)


def test_while_no_server_answers_all_are_tried_at_doubling_intervals():
    def silent(bench):
        for server in bench.servers:
            server.answers = False

    async def scenario(bench):
        rounds = []
        for _ in range(200):
            asked = bench.servers[2].asked
            await bench.world.sleep(5)
            if bench.servers[2].asked > asked:
                rounds.append(bench.world.now_s)
        assert not bench.clock.is_set
        assert bench.clock.unix_s() == 0
        assert bench.ntp.status()["server"] is None
        gaps = [later - earlier for earlier, later in zip(rounds, rounds[1:], strict=False)]
        for gap, wait_s in zip(gaps, (15, 30, 60, 120, 240), strict=False):
            assert wait_s <= gap <= wait_s + 12  # three time-outs, and how often this looks
        assert len(gaps) >= 5
        bench.servers[1].answers = True
        await bench.world.until(lambda: bench.clock.is_set, timeout_s=1000)
        assert abs(bench.error_ms()) < 1000

    run(silent, scenario)


@pytest.mark.parametrize("code", [b"RATE", b"DENY", b"RSTR"])
def test_a_server_with_a_kiss_of_death_is_left_alone_for_an_hour_and_the_next_serves(code):
    def kiss(bench):
        bench.servers[0].kiss = code

    async def scenario(bench):
        await bench.world.sleep(5)
        assert bench.asked == [1, 1, 1]
        bench.servers[1].answers = False
        await bench.world.sleep(640)
        assert bench.asked == [1, 2, 2]  # not asked in its turn either
        bench.servers[2].answers = False
        await bench.world.sleep(2500)
        assert bench.servers[0].asked == 1
        bench.servers[0].kiss = b""
        await bench.world.sleep(HOUR_S)
        assert bench.servers[0].asked > 1

    run(kiss, scenario)


def test_when_all_want_to_be_left_alone_none_is_asked_for_an_hour():
    def kiss(bench):
        for server in bench.servers:
            server.kiss = b"RATE"

    async def scenario(bench):
        await bench.world.sleep(HOUR_S - 10)
        assert bench.asked == [1, 1, 1]
        await bench.world.sleep(30)
        assert bench.asked == [2, 2, 2]

    run(kiss, scenario)


@pytest.mark.parametrize("liar", [0, 1, 2])
def test_the_first_time_after_boot_is_that_of_two_servers_and_not_of_one_that_lies(liar):
    def lie(bench):
        bench.servers[liar].offset_ms = -86_400_000

    async def scenario(bench):
        await bench.world.sleep(10)
        true = bench.servers[(liar + 1) % 3]
        assert abs(bench.clock.unix_ms() - true.unix_ms()) < 1000
        assert not bench.world.board.unix_s or bench.world.board.unix_s * 1000 > true.unix_ms() - 60_000

    run(lie, scenario)


def test_one_answer_sets_no_clock_until_a_second_agrees():
    async def scenario(bench):
        server = bench.servers[0]
        await bench.world.until(lambda: server.asked == 1)
        await bench.world.sleep(1)
        assert not bench.clock.is_set
        assert bench.ntp.status()["error"] == "no two answers agree yet"
        server.offset_ms = 3_600_000
        await bench.world.sleep(3)
        assert (server.asked, bench.clock.is_set) == (2, False)
        await bench.world.sleep(RETRY_S + 1)
        assert (server.asked, bench.clock.is_set) == (3, True)  # this one agrees with the second
        assert bench.ntp.status()["error"] is None

    run(lambda bench: None, scenario, more=())


def test_a_server_that_begins_to_lie_is_not_believed_when_another_tells_the_truth():
    async def scenario(bench):
        await bench.world.sleep(5)
        bench.servers[0].offset_ms = 86_400_000
        await bench.world.sleep(640)
        assert abs(bench.error_ms()) < 1000
        assert bench.ntp.server == SECOND
        assert any(re.search(r"a step of (86399|86400) s waits for a second answer", text) for text in bench.texts())

    run(lambda bench: None, scenario)


def test_a_large_step_that_two_answers_in_a_row_agree_on_is_made_and_logged():
    async def scenario(bench):
        await bench.world.sleep(5)
        for server in bench.servers:
            server.offset_ms = -86_400_000
        await bench.world.sleep(640)
        assert abs(bench.error_ms() + 86_400_000) < 1000
        assert {f"clock stepped by {step} s by {SECOND}" for step in (-86400, -86401)} & set(bench.texts())

    run(lambda bench: None, scenario)


def test_a_single_server_that_differs_by_a_day_is_believed_the_second_time():
    async def scenario(bench):
        await bench.world.sleep(5)
        bench.servers[0].offset_ms = 86_400_000
        await bench.world.sleep(638)
        assert abs(bench.error_ms()) < 1000
        await bench.world.sleep(RETRY_S)
        assert abs(bench.error_ms() - 86_400_000) < 1000

    run(lambda bench: None, scenario, more=())


def test_a_small_step_is_made_at_once_and_sets_the_boards_clock():
    async def scenario(bench):
        await bench.world.sleep(5)
        bench.servers[0].offset_ms = 90_000
        await bench.world.sleep(640)
        assert abs(bench.error_ms() - 90_000) < 1000
        assert any(text.startswith("clock stepped by 9") or "stepped by 89 s" in text for text in bench.texts())
        assert abs(bench.world.board.unix_s - bench.clock.unix_s()) <= 640
        assert bench.world.board.unix_s * 1000 > bench.servers[0].unix_ms() - 90_000

    run(lambda bench: None, scenario)

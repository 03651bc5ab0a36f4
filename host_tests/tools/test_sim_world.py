"""The simulation itself: the same seed gives the same run, what must never happen is found, and nothing stays behind.

Each defect that the invariants are there for is put into the firmware once, and has to be found.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
import types

import pytest

from host_tests.scenario.crowd import crowd
from tools.simulator import board, http, modbus, profiles, seeds
from tools.simulator.loop import SimError
from tools.simulator.world import TIME_SERVER, Violated, run


async def busy(world):
    """Some minutes with a bit of everything."""
    pollers = await crowd(world, 11, period_s=2.0, reads=modbus.CACHED + modbus.PASSED + modbus.OWN)
    browser = http.Browser(world)
    for _ in range(10):
        await browser.storm()
        await world.sleep(4)
    return [(poller.polls, poller.answers, poller.reconnects, poller.slowest_s) for poller in pollers]


def story(seed):
    world = run(busy, seed=seed, profile=profiles.PICOW_16)
    return world.result, world.timeline.now_us, world.invariants.turns, world.sockets.calls, world.budget.evictions


def test_a_seed_gives_the_same_run_each_time_and_another_seed_another():
    assert story(5) == story(5)
    assert story(5) != story(6)


def test_a_seed_gives_the_same_run_in_another_process():
    """Hash randomisation and what was imported before do not matter."""
    code = (
        "import sys; sys.path[:0] = ['.', 'lib', 'host_tests/shim']\n"
        "from host_tests.tools.test_sim_world import story; print(story(7))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for number in ("1", "2")
    ]
    assert told[0] == told[1]
    assert told[0].strip() == str(story(7))


# -- what must never happen is found


def must_find(text, scenario=busy, **options):
    with pytest.raises(Violated) as caught:
        run(scenario, **options)
    assert text in str(caught.value)
    assert "METERPORT_SEED=1" in str(caught.value)
    return str(caught.value)


@pytest.fixture
def server(monkeypatch):
    """(class, monkeypatch) of the Modbus server's connections."""
    from firmware.services.modbus_tcp.server import ModbusConnection

    return ModbusConnection, monkeypatch


def test_a_connection_beyond_the_slots_is_found(monkeypatch):
    from firmware.net.budget import Budget

    monkeypatch.setattr(Budget, "admit", lambda self, kind: True)
    must_find("connections in 10 general slots")


def test_a_socket_beyond_the_limit_is_found(monkeypatch):
    from firmware.net import seam, udp

    real = udp.Exchange.ask
    hoarded = []

    async def ask(self, *arguments):
        if not hoarded:
            hoarded.extend(seam.udp("0.0.0.0", 0) for _ in range(20))  # past the ledger
        return await real(self, *arguments)

    monkeypatch.setattr(udp.Exchange, "ask", ask)
    must_find("sockets are open, the limit is 16", profile=profiles.UNIX)


def test_a_ledger_that_differs_from_the_truth_is_found(server):
    connection, monkeypatch = server
    from firmware.net import seam

    def close(self):
        stream = self.stream
        if stream is not None:
            self.stream = None
            seam.unwatch(stream)
            self.budget.release(self.slot)  # and the socket stays open

    monkeypatch.setattr(connection, "close", close)
    must_find("the ledger has")


def test_an_answer_with_another_transaction_id_is_found(server, monkeypatch):
    from firmware.services.modbus_tcp import server as module

    real = module.put_header

    def put_header(out, rx, at, length):
        n = real(out, rx, at, length)
        out[1] = (out[1] + 1) & 0xFF
        return n

    monkeypatch.setattr(module, "put_header", put_header)
    must_find("answers transaction")


def test_an_answer_that_comes_twice_is_found(server):
    connection, monkeypatch = server
    real = connection.send

    def send(self, buf, n):
        real(self, buf, n)
        return real(self, buf, n)

    monkeypatch.setattr(connection, "send", send)
    must_find("bytes behind the answer")


def test_an_answer_of_another_meter_or_register_is_found(monkeypatch):
    from firmware.bus.bus import Bus

    class Beside:
        """The block, which mixes up its registers."""

        def __init__(self, block):
            self.fresh_until_ms = block.fresh_until_ms
            self._block = block

        def copy_to(self, out, at, first, count):
            last = self._block.first + self._block.count - count
            self._block.copy_to(out, at, first + 1 if first < last else first - 1, count)

    real = Bus.cached

    def cached(self, unit, function, first, count):
        block = real(self, unit, function, first, count)
        return None if block is None else Beside(block)

    monkeypatch.setattr(Bus, "cached", cached)
    must_find("never answered")


def test_an_answer_that_is_too_old_is_found(monkeypatch):
    from firmware.bus.bus import Bus

    def cached(self, unit, function, first, count):
        meter = self.by_unit.get(unit)
        return None if meter is None else meter.find(function, first, count)

    async def scenario(world):
        pollers = await crowd(world, 2, period_s=2.0)
        await world.sleep(30)
        for meter in world.meters:
            meter.silent = True
        await world.sleep(120)
        return pollers

    monkeypatch.setattr(Bus, "cached", cached)
    monkeypatch.setattr("firmware.meters.meter.Meter.purge", lambda meter: None)
    monkeypatch.setattr("firmware.meters.meter.Meter.expire", lambda meter, now_ms, ticks_diff: None)
    must_find("never answered", scenario)


def test_a_task_that_dies_is_found(monkeypatch):
    from firmware.bus.poller import Poller

    real = Poller.first_due
    calls = []

    def first_due(self):
        calls.append(1)
        if len(calls) == 50:
            raise RuntimeError("a defect")
        return real(self)

    monkeypatch.setattr(Poller, "first_due", first_due)
    must_find("tasks were started again")


def test_an_unhandled_exception_is_found():
    async def scenario(world):
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await world.sleep(1)

    must_find("ZeroDivisionError", scenario)


def test_a_connection_that_holds_too_much_is_found():
    async def scenario(world):
        clients = await crowd(world, 1, period_s=1.0)
        await world.sleep(5)
        for slot in world.budget.connections:
            slot.connection._unsent = bytes(5000)
        world.invariants.slow()
        for slot in world.budget.connections:
            slot.connection._unsent = None
        return clients

    must_find("a modbus connection holds 50", scenario)  # 5000 bytes, and a request that has just come


def test_a_socket_that_is_left_open_at_the_end_is_found(monkeypatch):
    from firmware.app import App

    monkeypatch.setattr(App, "close", lambda self: None)
    must_find("sockets are still open")


def test_a_watchdog_that_is_not_fed_bites(monkeypatch):
    monkeypatch.setattr(board.SimBoard, "feed", lambda self: None)

    async def scenario(world):
        await world.sleep(60)

    with pytest.raises(board.SimReset) as caught:
        run(scenario)
    assert caught.value.reason == "watchdog"


def test_tasks_that_wait_for_each_other_for_ever_are_found():
    async def scenario(world):
        await asyncio.get_running_loop().create_future()

    with pytest.raises(AssertionError, match="not ended within 100 s"):
        run(scenario, limit_s=100)


def test_a_loop_that_spins_is_found():
    async def scenario(world):
        while True:
            await asyncio.sleep(0)

    with pytest.raises(SimError, match="the loop spins"):
        run(scenario)


def test_an_error_of_a_scenario_names_the_seed():
    async def scenario(world):
        raise AssertionError("as expected")

    with pytest.raises(AssertionError, match="as expected") as caught:
        run(scenario, seed=4711)
    assert any("METERPORT_SEED=4711" in note for note in caught.value.__notes__)


# -- time


def test_ticks_wrap_in_the_middle_of_a_run():
    from firmware.net import seam

    ticks = []

    async def scenario(world):
        for _ in range(4):
            ticks.append(seam.ticks_ms())
            await world.sleep(400)
        assert world.app.clock.uptime_s() == pytest.approx(1600, abs=2)

    run(scenario)
    assert ticks[0] > ticks[2]
    assert seam.ticks_diff(ticks[2], ticks[0]) == pytest.approx(800_000, abs=2000)


def test_an_idle_hour_takes_no_time():
    begin = time.process_time()

    async def scenario(world):
        await world.sleep(3600)
        assert world.now_s >= 3600

    run(scenario, meters=(), config={"buses": []})
    assert time.process_time() - begin < 10


def test_a_step_of_the_time_servers_clock_disturbs_no_client():
    async def scenario(world):
        pollers = await crowd(world, 5, period_s=2.0)
        for step_s in (86400, -7200, 3600 * 24 * 400):
            await world.sleep(200)
            world.time_server.offset_ms += 1000 * step_s
        await world.sleep(200)
        assert abs(world.app.clock.unix_ms() - world.time_server.unix_ms()) < 100
        assert all(poller.lost == 0 for poller in pollers)
        assert world.app.service("ntp").failures == 3  # each step waits for a second answer

    run(scenario, config={"ntp": {"server": TIME_SERVER, "interval_s": 64}})


# -- nothing stays behind


def test_after_a_run_everything_is_as_before():
    from firmware.net import seam_cpython

    before = os.getcwd(), os.urandom, sys.stdout
    modules = {name: module for name, module in sys.modules.items() if name.startswith("firmware.")}

    async def scenario(world):
        assert seam_cpython.socket is world.sockets
        await world.sleep(1)

    run(scenario)
    assert (os.getcwd(), os.urandom, sys.stdout) == before
    assert (seam_cpython.socket, seam_cpython.time, seam_cpython.asyncio) == (socket, time, asyncio)
    assert {name: sys.modules.get(name) for name in modules} == modules


def test_the_profiles_say_what_the_boards_say(monkeypatch):
    """The simulated boards' limits are those of firmware/board, for stock builds and for ours."""
    for name in ("machine", "network"):
        module = types.ModuleType(name)
        for part in ("UART", "Pin", "WLAN", "RTC", "WDT", "LAN"):
            setattr(module, part, None)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("esp32", "rp2"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name in ("chip", "esp32", "rp2"):
        monkeypatch.delitem(sys.modules, f"firmware.board.{name}", raising=False)
    uname = os.uname()
    for stock, ours, port in ((profiles.ESP32, profiles.ESP32_16, "esp32"), (profiles.PICOW, profiles.PICOW_16, "rp2")):
        for profile, machine in ((stock, "Generic"), (ours, "meterport, 16 sockets")):
            monkeypatch.setattr(os, "uname", lambda machine=machine: types.SimpleNamespace(machine=machine))
            real = __import__(f"firmware.board.{port}", fromlist=["Board"]).Board()
            assert (real.name, real.sockets, real.tcp, real.udp, bool(real.larger)) == (
                profile.board,
                profile.sockets,
                profile.tcp,
                profile.udp,
                profile is stock,
            )
    monkeypatch.setattr(os, "uname", lambda: uname)
    from firmware.board import unix

    assert (unix.Board.sockets, unix.Board.tcp, unix.Board.udp) == (16, 16, 16)
    for name in ("chip", "esp32", "rp2"):
        sys.modules.pop(f"firmware.board.{name}", None)


def test_the_environment_chooses_the_seed(monkeypatch):
    monkeypatch.setenv(seeds.VARIABLE, "12345")
    assert seeds.chosen((1, 2), 3) == [12345]
    monkeypatch.delenv(seeds.VARIABLE)
    known = list(seeds.fresh)
    try:
        monkeypatch.delenv("METERPORT_FRESH", raising=False)
        assert seeds.chosen((1, 2), 3) == [1, 2]
        monkeypatch.setenv("METERPORT_FRESH", "1")
        chosen = seeds.chosen((1, 2), 3)
        assert chosen[:2] == [1, 2]
        assert len(set(chosen)) == 5
        assert seeds.fresh == known + chosen[2:]
    finally:
        seeds.fresh[:] = known


def fresh_seeds(run):
    """The fresh seeds of a process of the run of that name."""
    code = "from tools.simulator import seeds; print(seeds.chosen((), 4))"
    env = {**os.environ, "METERPORT_FRESH": "1", "PYTEST_XDIST_TESTRUNUID": run}
    env.pop(seeds.VARIABLE, None)
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def test_processes_of_one_run_have_the_same_fresh_seeds():
    assert fresh_seeds("one") == fresh_seeds("one") != fresh_seeds("another")


# -- the serial line


def test_an_answer_takes_the_time_of_its_bits():
    async def one(world):
        await world.until(world.polled)
        counters = world.app.buses[0].counters
        sent, spent_ms = counters.sent, counters.busy_ms
        client = modbus.Client(world.host(), modbus.Checker(world))
        await client.connect()
        begin = world.now_s
        await client.ask(2, b"\x03\x02\x01\x00\x0f")  # inside a block: from memory
        cached_s = world.now_s - begin
        begin = world.now_s
        await client.ask(2, b"\x03\x05\x13\x00\x02")  # not polled
        passed_s = world.now_s - begin
        assert counters.sent >= sent
        assert counters.busy_ms >= spent_ms
        return cached_s, passed_s

    cached_s, passed_s = run(one).result
    assert cached_s < 0.02
    # 8 + 9 characters at 9600 baud are 17.7 ms, t3.5 twice 8 ms, the meter's delay 10 ms
    assert 0.034 < passed_s < 0.2


def test_a_line_that_is_unplugged_gives_0a_and_works_again_when_it_is_back():
    async def scenario(world):
        await world.until(world.polled)
        client = modbus.Client(world.host(), modbus.Checker(world))
        await client.connect()
        world.wire.unplug()
        await world.sleep(2)
        assert await client.ask(2, modbus.PASSED[1][1]) == b"\x83\x0a"
        world.wire.plug()
        await world.sleep(3)
        reply = await client.ask(2, modbus.PASSED[1][1])
        assert reply[0] == 3

    run(scenario)


def test_faults_of_the_line_are_counted_and_never_believed():
    from tools.simulator.line import Faults

    async def scenario(world):
        pollers = await crowd(world, 3, period_s=1.0, reads=modbus.PASSED)
        await world.sleep(300)
        counters = world.app.buses[0].counters
        assert counters.timeouts > 3
        assert counters.crc > 3
        assert counters.noise_bytes > 3
        assert all(poller.answers > 200 for poller in pollers)

    run(scenario, faults=Faults(silent=0.03, crc_error=0.03, noise=0.05, late=0.03))

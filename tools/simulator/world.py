"""A World: the firmware's own App on a simulated board, meters on its line, and hosts that talk to it.

    async def scenario(world):
        stream = await world.host().connect(502)
        ...
    run(scenario, seed=1, profile=profiles.ESP32)

run() ends when the coroutine does, closes the firmware, and raises Violated with everything that must not have happened
(invariants.py, and what clients say through world.violate) and the command that runs the same once more.
"""

import asyncio
import contextlib
import gc
import json
import random
import tempfile
from pathlib import Path

from tools.simulator import board, invariants, line, loop, network, patch, profiles, seeds, sockets, stack, timeline
from tools.simulator.hosts import Host
from tools.simulator.meters import SteppedMeter
from tools.simulator.udp import TimeServer

DEVICE = "192.0.2.1"  # RFC 5737, TEST-NET-1
TIME_SERVER = "192.0.2.2"
HTTP = 80
MODBUS = 502
METERS = (
    {"slot": 0, "name": "main", "unit": 1, "profile": "eastron-sdm630", "interval_s": 10, "max_age_s": 20},
    {"slot": 1, "name": "feeder", "unit": 2, "profile": "elkor-wattson-mk2", "interval_s": 10, "max_age_s": 20},
    {"slot": 2, "name": "socket", "unit": 3, "profile": "pzem-004t-v3", "interval_s": 10, "max_age_s": 20},
)
_TICKS_PERIOD_US = (1 << 30) * 1000
_LIMIT_S = 40 * 86400
_CLOSE_S = 1
_CLEAN_TURNS = 3


class Violated(AssertionError):
    """Something happened that must never happen."""


class World:
    """`config` is merged over a configuration with `meters`; `wrap_s`: ticks wrap so many seconds after the start."""

    def __init__(self, folder, seed, profile=profiles.ESP32_16, config=None, meters=METERS, baud=9600, step_s=30.0,
                 faults=None, wrap_s=600):  # fmt: skip
        self.seed = seed
        self.rng = random.Random(seed)
        self.profile = profile
        self.timeline = timeline.Timeline(_TICKS_PERIOD_US - 1_000_000 * wrap_s)
        self.selector = loop.FakeSelector(self.timeline, self.rng)
        self.network = network.Network(self.timeline, self.rng)
        self.device = stack.Stack(self.network, DEVICE, profile, split=0.02)
        self.invariants = invariants.Invariants(self)
        self.sockets = sockets.SocketModule(self.device, self.selector, self.violate)
        self.meters = [SteppedMeter(meter["unit"], meter["profile"], self.timeline, step_s, seed) for meter in meters]
        self.wire = line.Wire(self.timeline, self.rng, self.selector, self.meters, baud, profile.jitter_ms, faults)
        self.time_server = TimeServer(self.network, TIME_SERVER)
        self.board = board.SimBoard(profile, self.timeline, [self.wire], DEVICE)
        self.console = patch.Console()
        self.app = None
        self.max_age_us = {meter["unit"]: 1_000_000 * meter.get("max_age_s", 10) for meter in meters}
        self._folder = Path(folder)
        self._hosts = 0
        self._tasks = set()
        self._config = {
            "name": "simulated",
            "network": {"link": "none"},
            "http": {"public_status": True},
            "bacnet": {"enabled": True},
            "ntp": {"server": TIME_SERVER},
            "buses": [{"uart": 0, "baud": baud}],
            "meters": list(meters),
        }
        for key, value in (config or {}).items():
            merged = self._config.get(key)
            self._config[key] = {**merged, **value} if isinstance(merged, dict) else value

    # -- for scenarios

    @property
    def now_s(self):
        return self.timeline.now_s

    @property
    def budget(self):
        return self.app.budget

    def violate(self, text):
        self.invariants.violate(text)

    def host(self, **options):
        """A new machine on the network."""
        self._hosts += 1
        return Host(self.network, f"198.51.{100 + self._hosts // 250}.{1 + self._hosts % 250}", DEVICE, **options)

    def meter(self, unit):
        for meter in self.meters:
            if meter.unit == unit:
                return meter
        return None

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)

    async def until(self, condition, timeout_s=30.0, what="the condition"):
        """The first true value of condition(), which is asked every 20 ms."""
        end = self.now_s + timeout_s
        while True:
            value = condition()
            if value:
                return value
            if self.now_s >= end:
                raise AssertionError(f"{what}: not within {timeout_s} s")
            await asyncio.sleep(0.02)

    def start(self, coroutine):
        """A task; its exception ends the run."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task):
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failed.append(task.exception())
            self._stop.set()

    def events(self):
        """The firmware's log: (seconds, source, text, times)."""
        return self.app.events.lines()

    def polled(self):
        """True once every block of every meter was read."""
        return all(block.seen for meter in self.app.meters.meters for block in meter.blocks)

    # -- the run

    def run(self, scenario, limit_s=_LIMIT_S):
        """Runs `await scenario(self)`; gives what that gives."""
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "config.json").write_text(json.dumps(self._config))
        virtual = loop.VirtualLoop(self.selector, self.invariants.turn)
        virtual.set_exception_handler(self._unseen)
        self._failed = []
        # Reference cycles are few and a collection looks at everything that pytest holds.
        gc.collect()
        gc.freeze()
        try:
            with patch.patched(self.timeline, self.sockets, self.rng, self._folder, self.console):
                asyncio.set_event_loop(virtual)
                try:
                    result = virtual.run_until_complete(self._main(scenario, limit_s))
                    self.invariants.at_end()
                finally:
                    self._clean(virtual)
        except (Exception, board.SimReset) as error:
            error.add_note(self._story())
            raise
        finally:
            gc.unfreeze()
        if self.invariants.violations:
            raise Violated("\n".join(self.invariants.violations) + "\n" + self._story())
        return result

    async def _main(self, scenario, limit_s):
        from firmware import app as firmware_app
        from firmware.net import seam

        self._stop = asyncio.Event()
        seam.install()
        self.app = app = firmware_app.App(self.board)
        main = asyncio.get_running_loop().create_task(app.main())
        main.add_done_callback(self._ended)
        try:
            result = await self._bounded(scenario, limit_s)
        finally:
            self.invariants.slow()
            me = asyncio.current_task()
            others = [task for task in asyncio.all_tasks() if task is not me]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            app.close()
        await asyncio.sleep(_CLOSE_S)
        return result

    async def _bounded(self, scenario, limit_s):
        task = self.start(scenario(self))
        stop = asyncio.get_running_loop().create_task(self._stop.wait())
        await asyncio.wait({task, stop}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if self._failed:
            raise self._failed[0]
        if not task.done():
            raise AssertionError(f"the scenario has not ended within {limit_s} s")
        return task.result()

    def _unseen(self, virtual, context):
        if isinstance(context.get("exception"), board.SimReset):  # from within a callback of the firmware
            self._failed.append(context["exception"])
            self._stop.set()
            return
        self.violate(f"unseen by its owner: {context.get('message')} {context.get('exception')!r}")

    def _clean(self, virtual):
        """Ends what is left after an error in the middle of the loop, or nothing after a good run."""
        self.board.release()
        for _ in range(_CLEAN_TURNS):
            tasks = asyncio.all_tasks(virtual)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.selector.calm()
            with contextlib.suppress(board.SimReset, loop.SimError):  # told already
                virtual.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        asyncio.set_event_loop(None)
        virtual.close()

    def _story(self):
        tail = "\n  ".join(list(self.console.lines)[-12:])
        return f"{self.profile.name}, at {self.now_s:.3f} s; the console's end:\n  {tail}\n{seeds.replay(self.seed)}"


def run(scenario, seed=1, limit_s=_LIMIT_S, **options):
    """Runs `await scenario(world)` in a World with these options; gives the World, `result` being what that gave."""
    with tempfile.TemporaryDirectory(prefix="meterport-sim-") as folder:
        world = World(folder, seed, **options)
        world.result = world.run(scenario, limit_s)
    return world

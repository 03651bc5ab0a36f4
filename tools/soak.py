"""A long simulated run of the firmware: days of pollers, technicians and hostile peers, in virtual time, from a seed.

In:  --days, --seed, --profile. Out: a line for each simulated day, and at the end what was polled, lost and evicted.
Exit code 0 when every invariant held (tools/simulator/invariants.py), 1 when one did not: the violations are
printed with the command that runs the same once more; 2 for wrong arguments.
"""

import argparse
import random
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
for _folder in ("host_tests/shim", "lib", "."):
    if str(_ROOT / _folder) not in sys.path:
        sys.path.insert(0, str(_ROOT / _folder))

from tools.simulator import board, hostile, http, modbus, profiles, world  # noqa: E402
from tools.simulator.line import Faults  # noqa: E402

_DAY_S = 86400
_RECOVERY_S = 3600  # connections of peers that have vanished hold lwIP's PCBs for many minutes
_DAYS_MAX = 3650
_NAMES = {profile.name: profile for profile in profiles.DEVICES}


def main(arguments=None):
    """Runs the soak; gives the exit code."""
    parser = argparse.ArgumentParser(prog="soak.py", description="Days of simulated life of the gateway.")
    parser.add_argument("--days", type=float, default=1, help="simulated days; default %(default)s")
    parser.add_argument("--seed", type=int, help="of everything that is random; default: a fresh one")
    parser.add_argument("--profile", choices=sorted(_NAMES), default="esp32-16", help="default %(default)s")
    options = parser.parse_args(arguments)
    if not 0 < options.days <= _DAYS_MAX:
        parser.error(f"--days {options.days:g}: must be more than 0 and at most {_DAYS_MAX}")
    seed = random.SystemRandom().randrange(1, 10**9) if options.seed is None else options.seed
    again = f"make soak DAYS={options.days:g} SEED={seed} ARGS='--profile {options.profile}'"
    print(f"seed {seed}; again: {again}", flush=True)
    soak = _Soak(options.days)
    begin = time.monotonic()
    try:
        world.run(
            soak.scenario,
            seed=seed,
            profile=_NAMES[options.profile],
            limit_s=_DAY_S * (options.days + 1),
            step_s=60.0,
            faults=Faults(silent=0.001, crc_error=0.001, noise=0.005, late=0.0005),
        )
    except (Exception, board.SimReset) as error:
        print("\n".join([f"FAILED: {error!r}", *getattr(error, "__notes__", ()), f"again: {again}"]), file=sys.stderr)
        return 1
    print(f"{options.days:g} days in {time.monotonic() - begin:.0f} s: every invariant held")
    return 0


class _Soak:
    """Eight pollers of three manners, a technician now and then, and a hostile peer once a day."""

    def __init__(self, days):
        self._days = days

    async def scenario(self, sim):
        await sim.until(sim.polled, 120, "a first reading of every meter")
        checker = modbus.Checker(sim)
        reads = modbus.CACHED + modbus.PASSED + modbus.OWN
        styles = ["stays", "stays", "each", "at once", "stays", "each", "stays", "stays"]
        pollers = [
            modbus.Poller(sim, checker, reads=reads, style=style) for style in styles[: max(1, sim.budget.general - 2)]
        ]
        for poller in pollers:
            sim.start(poller.run())
        browsers = []
        sim.start(self._technicians(sim, browsers))
        left_s = self._days * _DAY_S
        day = 0
        while left_s > 0:
            day += 1
            sim.start(self._nuisance(sim))
            await sim.sleep(min(left_s, _DAY_S))
            left_s -= _DAY_S
            self._report(sim, day, pollers, browsers)
            for poller in pollers:
                since_s = sim.now_s - (poller.last_answer_s or 0)
                assert since_s < 120, f"a poller was not answered for {since_s:.0f} s: {poller.first_error}"

    async def _technicians(self, sim, browsers):
        while True:
            await sim.sleep(600 + 10 * 3600 * sim.rng.random())
            browser = http.Browser(sim)
            browsers.append(browser)
            del browsers[:-100]
            await browser.visit(minutes=1 + 4 * sim.rng.random())

    async def _nuisance(self, sim):
        latest_s = _DAY_S * min(1, self._days) - _RECOVERY_S
        if latest_s <= 0:
            return
        await sim.sleep(latest_s * sim.rng.random())
        manner = sim.rng.choice(("close", "reset", "stay", "half", "syn"))
        await hostile.flood(sim, 50, 20, port=sim.rng.choice((world.HTTP, world.MODBUS)), manner=manner)
        await hostile.half_open(sim, sim.rng.choice((world.HTTP, world.MODBUS)), 5, every_s=30)
        host = sim.rng.choice(list(sim.network.stacks))
        if host not in (world.DEVICE, world.TIME_SERVER):
            sim.network.stalled = {host: sim.timeline.now_us + int(30e6 * sim.rng.random())}

    @staticmethod
    def _report(sim, day, pollers, browsers):
        budget = sim.budget
        # The console of the run belongs to the firmware.
        print(
            f"day {day}: {sum(poller.answers for poller in pollers)} polls answered, "
            f"{sum(poller.lost for poller in pollers)} lost, "
            f"{sum(poller.reconnects for poller in pollers)} reconnects, "
            f"{sum(browser.documents for browser in browsers)} documents, {budget.evicted()} evictions, "
            f"high water {budget.high_water}, {sim.sockets.open} sockets open",
            file=sys.__stdout__,
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())

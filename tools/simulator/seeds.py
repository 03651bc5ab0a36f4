"""Which seeds a scenario runs with: a fixed set; with METERPORT_FRESH=1 fresh ones too; or the one in METERPORT_SEED.

A failure names the command that runs the same once more. Fresh seeds are printed at the end of each run of the tests.
"""

import os
import random

VARIABLE = "METERPORT_SEED"
_FRESH = "METERPORT_FRESH"
# Processes of pytest-xdist that share a run must collect the same tests, so the same seeds.
_RUN = "PYTEST_XDIST_TESTRUNUID"
_fresh_source = random.Random(os.environ[_RUN]) if _RUN in os.environ else random.SystemRandom()
fresh = []  # that were given out in this process


def chosen(fixed=(1,), new=0):
    """The seeds to run with."""
    given = os.environ.get(VARIABLE)
    if given:
        return [int(given)]
    new = new if os.environ.get(_FRESH) else 0
    more = [_fresh_source.randrange(1000, 10**9) for _ in range(new)]
    fresh.extend(more)
    return [*fixed, *more]


def replay(seed):
    """The command that runs the current test with this seed."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").split(" ")[0]
    if not test:
        return f"again: {VARIABLE}={seed}"
    name = test.partition("::")[2].partition("[")[0]
    return f"again: {VARIABLE}={seed} make test PYTEST_ARGS='-k {name}'"

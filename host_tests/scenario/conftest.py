"""Says at the end of a run which seeds were fresh, so that the very same can be run again."""

import pytest

from tools.simulator import seeds


def pytest_sessionfinish(session):
    """In a process of pytest-xdist: tells the one that reports."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["fresh_seeds"] = seeds.fresh


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """In the process that reports: all have the same."""
    seeds.fresh[:] = getattr(node, "workeroutput", {}).get("fresh_seeds", seeds.fresh)


def pytest_terminal_summary(terminalreporter):
    if seeds.fresh:
        terminalreporter.write_line(f"simulation: fresh seeds {sorted(seeds.fresh)}; {seeds.VARIABLE}=N runs one again")

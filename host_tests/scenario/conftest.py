"""Says at the end of a run which seeds were fresh, so that the very same can be run again."""

from tools.simulator import seeds


def pytest_terminal_summary(terminalreporter):
    if seeds.fresh:
        terminalreporter.write_line(f"simulation: fresh seeds {sorted(seeds.fresh)}; {seeds.VARIABLE}=N runs one again")

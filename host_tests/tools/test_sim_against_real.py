"""The simulated sockets beside the kernel's own: the same small scripts on both, on 127.0.0.1 and in virtual time, and
the same must be seen. This holds the profile `unix` against the truth."""

import pytest

from host_tests.tools.socket_scripts import SCRIPTS, Real, Simulated


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_simulation_shows_what_the_kernel_shows(script):
    outcomes = []
    for driver in (Real(), Simulated()):
        try:
            outcomes.append(script(driver))
        finally:
            driver.close()
    assert outcomes[1] == outcomes[0]

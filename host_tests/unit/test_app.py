"""What the application does when its parts fail."""

from types import SimpleNamespace

import pytest

from firmware.app import App


def fail():
    raise MemoryError


@pytest.mark.parametrize("starved", ["nothing", "reject", "add", "reboot"])
def test_a_configuration_is_given_up_also_when_there_is_no_memory_to_say_so(starved):
    """The reset is at once, without what a planned restart does: that would not count the start."""
    done = []
    parts = {name: lambda *_, name=name: done.append(name) for name in ("reject", "add", "reboot", "reset")}
    if starved in parts:
        parts[starved] = lambda *_: fail()
    app = SimpleNamespace(
        _has_page=lambda: False,
        config_store=SimpleNamespace(reject=parts["reject"]),
        events=SimpleNamespace(add=parts["add"]),
        device=SimpleNamespace(reboot=parts["reboot"]),
        board=SimpleNamespace(reset=parts["reset"]),
    )
    App._confirm_config(app)
    steps = ["reject", "add", "reboot"]
    assert done == (steps[: steps.index(starved)] + ["reset"] if starved in steps else steps)

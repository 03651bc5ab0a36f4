"""Fixtures of the firmware's unit tests."""

import pytest

from firmware.meters import points
from host_tests import blocks
from host_tests.unit import fakes


@pytest.fixture(autouse=True)
def _live_blocks(monkeypatch):
    """Tests look at what a meter has said, and may set it."""
    monkeypatch.setattr(points.Meter, "blocks", property(blocks.live), raising=False)


@pytest.fixture
def uptime():
    return fakes.Uptime()


@pytest.fixture
def events(uptime):
    return fakes.Log(uptime)


@pytest.fixture
def clock(monkeypatch):
    """A clock in place of the seam's ticks."""
    return fakes.Clock().install(monkeypatch)

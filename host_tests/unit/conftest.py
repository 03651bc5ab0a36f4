"""Fixtures of the firmware's unit tests."""

import pytest

from firmware import points
from host_tests.unit import blocks, fakes


@pytest.fixture(autouse=True)
def _live_blocks(monkeypatch):
    """Tests may write what a meter has said (firmware.points shows it only)."""
    monkeypatch.setattr(points.Meter, "blocks", property(blocks.live))


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

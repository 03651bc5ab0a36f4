"""Fixtures of the firmware's unit tests."""

import pytest

from host_tests.unit import fakes


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

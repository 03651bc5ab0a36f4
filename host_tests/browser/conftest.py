"""Fixtures of the tests in a browser. It runs for a file of tests at a time: while Playwright's loop is there, no other
loop of asyncio can run in this thread."""

import contextlib

import pytest

from host_tests.browser.visit import DESK, Tabs, Visit
from tools.chromium import chromium


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser):
    """visit(rig, size, scheme, zone) is a new visitor; none of them may have heard a complaint at the end."""
    visits = []

    def make(rig, size=DESK, scheme="light", zone=None):
        visits.append(Visit(browser, rig, size, scheme, zone=zone))
        return visits[-1]

    yield make
    for one in visits:
        one.close()


@pytest.fixture
def tabs(browser):
    with contextlib.closing(Tabs(browser)) as made:
        yield made

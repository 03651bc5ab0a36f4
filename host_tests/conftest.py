"""Fixtures for the tests that run the whole firmware as a process (gateway/ and interop/)."""

import contextlib
import gc

import pytest

from host_tests.system.rig import Rig
from tools import page


@pytest.fixture(autouse=True, scope="session")
def _no_collections():
    """The firmware collects wherever a small heap needs it; in this process that would each time go through what
    thousands of tests have left, and took half of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda generation=2: 0)
        yield


def pytest_collection_finish():
    """What was collected stays until the end: no collection need look at thousands of tests again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _web_page():
    """The server reads it where the firmware lies, which for many tests is the checkout."""
    page.write()


@pytest.fixture
def make_rig(tmp_path):
    """make_rig(**options) starts a Rig in a folder of its own; all end with the test."""
    with contextlib.ExitStack() as stack:
        number = 0

        def make(**options):
            nonlocal number
            number += 1
            return stack.enter_context(Rig(tmp_path / f"state{number}", **options))

        yield make

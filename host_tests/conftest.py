"""Fixtures for the tests that run the whole firmware as a process (gateway/ and interop/)."""

import contextlib

import pytest

from host_tests.gateway.rig import Rig


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

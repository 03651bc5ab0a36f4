"""The firmware on the emulated Pico, with real MicroPython and real lwIP.

These tests run only when they are named (`make emulated`, or `pytest host_tests/emulated`): they need a cross compiler,
Node.js and libslirp, and minutes for the first build.
"""

import contextlib

import pytest

from host_tests.emulated.chip import Chip
from tools.emulator import build


def pytest_ignore_collect(collection_path, config):
    """True (not collected) unless this folder, or something in it, was named on the command line."""
    return None if any("emulated" in argument for argument in config.args) else True


@pytest.fixture(scope="module")
def shared_chip(request, tmp_path_factory):
    """One chip for all tests of a module. Its CONFIG is merged over the configuration, TCP_PCBS chooses lwIP's
    connections or a Variant, TUN a network that hides nothing, and files() is what the flash holds besides."""
    config = getattr(request.module, "CONFIG", None)
    tcp_pcbs = getattr(request.module, "TCP_PCBS", build.OUR_PCBS)
    tun = getattr(request.module, "TUN", False)
    folder = tmp_path_factory.mktemp("chip")
    files = getattr(request.module, "files", lambda folder: None)(folder)
    with Chip(folder, tcp_pcbs, config, tun, files) as chip:
        chip.wait_polled()
        yield chip


@pytest.fixture
def chip(shared_chip):
    """The shared chip, with nobody connected."""
    shared_chip.wait_alone()
    return shared_chip


@pytest.fixture
def make_chip(tmp_path):
    """make_chip(tcp_pcbs=16, config=None) starts a chip of the test's own."""
    with contextlib.ExitStack() as stack:
        number = 0

        def make(tcp_pcbs=build.OUR_PCBS, config=None):
            nonlocal number
            number += 1
            return stack.enter_context(Chip(tmp_path / f"chip{number}", tcp_pcbs, config))

        yield make


@pytest.fixture
def connect():
    """connect(chip) gives a Client; all are closed with the test."""
    with contextlib.ExitStack() as stack:

        def new(chip):
            return stack.enter_context(chip.client())

        yield new

"""Debian's Firefox ESR by Playwright and WebDriver BiDi, for tests of the page. It talks to nobody but 127.0.0.1."""

import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

from tools import debian

_RELAY = Path(__file__).with_name("bidi_relay.py")
_SCHEMES = ("dark", "light")  # in the order of Firefox's values 0 and 1
# A proxy where nobody listens; Firefox never asks one for loopback addresses.
_NO_NETWORK: dict[str, str | float | bool] = {
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
}
# Connections are opened as for a user: the drivers switch those off that Firefox opens ahead of a request.
_AS_DEFAULT: dict[str, str | float | bool] = {"network.http.speculative-parallel-limit": 20}


def _launch(driver: Playwright, command: Path, scheme: str) -> Browser:
    colours: dict[str, str | float | bool] = {
        "layout.css.prefers-color-scheme.content-override": _SCHEMES.index(scheme)
    }
    return driver.firefox.launch(
        channel="moz-firefox",  # Mozilla's own build speaks WebDriver BiDi; Playwright's has a protocol of its own
        executable_path=command,
        firefox_user_prefs=_NO_NETWORK | _AS_DEFAULT | colours,
    )


@contextmanager
def firefox() -> Iterator[dict[str, Browser]]:
    """Two running browsers, "light" and "dark", headless, each with a user's directory of its own. The colour scheme is
    the browser's: what a context asks for has no effect (tools/bidi_relay.py)."""
    path = debian.ensure_packages({"firefox-esr": "firefox-esr"})["firefox-esr"]
    with tempfile.TemporaryDirectory(prefix="firefox-") as folder, sync_playwright() as driver, ExitStack() as stack:
        # Playwright starts one file.
        command = Path(folder) / "firefox"
        command.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(_RELAY), path])} "$@"\n')
        command.chmod(0o700)
        browsers = {}
        for scheme in _SCHEMES:
            browsers[scheme] = _launch(driver, command, scheme)
            stack.callback(browsers[scheme].close)
        yield browsers

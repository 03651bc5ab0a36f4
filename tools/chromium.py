"""Debian's Chromium by Playwright, for the tests of the page and the screenshots of the documents. It talks to nobody
but 127.0.0.1."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tools import debian

HOST = "127.0.0.1"
_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
# Playwright's defaults that keep hidden pages running, left out: the page rests when its tab is hidden.
_WITHOUT = (
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
)


@contextmanager
def chromium(names: tuple[str, ...] = ()) -> Iterator[Browser]:
    """A running browser, headless, with a user's directory of its own. For it each of `names` is 127.0.0.1."""
    path = debian.ensure_packages({"chromium": "chromium"})["chromium"]
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium cannot have one as root
    rules = ", ".join([*(f"MAP {name} {HOST}" for name in names), "MAP * ~NOTFOUND", f"EXCLUDE {HOST}"])
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path,
            args=[*_FLAGS, f"--host-resolver-rules={rules}", *sandbox],
            ignore_default_args=list(_WITHOUT),
        )
        try:
            yield browser
        finally:
            browser.close()

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
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}",
)
# Playwright's defaults that keep hidden pages running, left out: the page rests when its tab is hidden.
_WITHOUT = (
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser, headless, with a user's directory of its own."""
    path = debian.ensure_packages({"chromium": "chromium"})["chromium"]
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # Chromium cannot have one as root
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=[*_FLAGS, *sandbox], ignore_default_args=list(_WITHOUT)
        )
        try:
            yield browser
        finally:
            browser.close()

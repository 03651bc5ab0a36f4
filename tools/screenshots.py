"""`make screenshots`: the pages as Chromium shows them, on the simulated gateway, for docs/pages.md.

In:  nothing. Out: docs/img/page-*.png; the names of the files on stdout, progress on stderr. Ends with 1 when the
     gateway does not start or a page does not come.
Steps: a new device is opened on a phone and gets a password; the Status page is shown there and on a desk; then each
page in the order of the tabs, with a search of the bus and the form of a meter.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, ViewportSize, expect

from tools import debian
from tools.chromium import HOST, chromium

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
DESK: ViewportSize = {"width": 1000, "height": 720}
PHONE: ViewportSize = {"width": 390, "height": 760}
_READY_S = 120
_PASSWORD = "correct horse"
_WAIT_MS = 20000


@contextlib.contextmanager
def simulator() -> Iterator[int]:
    """The HTTP port of a simulated gateway, which ends with the block."""
    command = [sys.executable, "-m", "tools.sim", "--http-port", "0", "--modbus-port", "0", "--config", "/dev/stdin"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write('{"name": "switch room 2", "http": {"public_status": false}}')
    process.stdin.close()
    try:
        ready = process.stdout.readline()  # `make sim` gives up by itself after a minute
        if not ready.startswith("ready http="):
            raise RuntimeError("the simulated gateway did not start; `make sim` says why")
        yield int(ready.split()[1].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(_READY_S)


def _pngquant() -> str:
    """Makes a picture of few colours three times smaller."""
    return debian.ensure_packages({"pngquant": "pngquant"})["pngquant"]


class Camera:
    """A page of the gateway in a browser window of its own."""

    def __init__(self, browser: Browser, port: int, size: ViewportSize) -> None:
        self.page: Page = browser.new_context(viewport=size, color_scheme="light").new_page()
        self.page.set_default_timeout(_WAIT_MS)
        self.page.goto(f"http://{HOST}:{port}/#/status")

    def take(self, name: str, full: bool = True) -> None:
        """Write docs/img/page-NAME.png: the whole page, or what the window shows of it."""
        path = IMAGES / f"page-{name}.png"
        self.page.evaluate("scrollTo(0, 0)")
        self.page.screenshot(path=path, full_page=full, animations="disabled")
        subprocess.run([_pngquant(), "--force", "--strip", "--output", path, "64", path], check=True)
        print(path.relative_to(ROOT), flush=True)

    def press(self, name: str) -> None:
        self.page.get_by_role("main").get_by_role("button", name=name, exact=True).first.click()

    def log_in(self) -> None:
        self.page.get_by_label("Password").fill(_PASSWORD)
        self.press("Log in")
        expect(self.page.get_by_role("button", name="Log out")).to_be_visible()

    def tab(self, name: str) -> None:
        """Go to the page of that name."""
        self.page.get_by_role("navigation").get_by_role("link", name=name).click()
        expect(self.page.locator("nav [aria-current=page]")).to_have_text(name)
        expect(self.page.locator("main section").first).to_be_visible()


def take_all(browser: Browser, port: int) -> None:
    """All screenshots, on a new device at `port`."""
    phone = Camera(browser, port, PHONE)
    page = phone.page
    expect(page.get_by_label("New password")).to_be_visible()
    phone.take("first-visit", full=False)
    page.get_by_label("New password").fill(_PASSWORD)
    page.get_by_label("The same once more").fill(_PASSWORD)
    phone.press("Set password")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.wait_for_timeout(8000)  # the meters have been polled some times
    phone.tab("Status")
    phone.take("status-phone", full=False)
    desk = Camera(browser, port, DESK)
    desk.log_in()
    for name in ("Status", "Bus", "Meters", "Network", "Services", "Sockets", "Posting", "System"):
        desk.tab(name)
        desk.page.wait_for_timeout(1500)  # what the page asks for has come
        if name != "Meters":  # with a search, below
            desk.take(name.lower(), full=name != "Status")
    desk.tab("Meters")
    desk.page.get_by_label("Last unit id").fill("4")
    desk.press("Search")
    expect(desk.page.get_by_role("button", name="Search")).to_be_enabled(timeout=60000)
    desk.take("search")
    desk.page.get_by_role("link", name="main").first.click()
    desk.page.wait_for_timeout(1000)
    desk.take("meter")


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    try:
        with simulator() as port, chromium() as browser:
            take_all(browser, port)
    except (RuntimeError, Error, AssertionError, subprocess.SubprocessError, debian.MissingPackages) as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`make screenshots`: the pages as Chromium shows them, on the simulated gateway, for docs/pages.md.

In:  nothing. Out: docs/img/page-*.png; the names of the files on stdout, progress on stderr. Ends with 1 when the
     gateway does not start or a page does not come.
Steps: a new device is opened on a phone and gets a password; the Status page is shown there and on a desk; then each
page in the order of the tabs, with a search of the bus and the form of a meter. The device finds records of some days
on its flash (tools/past.py). What only hours would bring, the last hours of values, loads and sockets, is made up on
the way to the browser. It takes two minutes: the load of a line is that of a minute.
"""

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Error, Page, Route, ViewportSize, expect

from tools import debian, past
from tools.chromium import HOST, chromium

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "img"
DESK: ViewportSize = {"width": 1000, "height": 720}
PHONE: ViewportSize = {"width": 390, "height": 760}
_READY_S = 120
_PASSWORD = "correct horse"
_WAIT_MS = 20000
_LOAD_MS = 90000  # until the load of a minute is known
_SEARCH_MS = 60000
_CONFIG = {
    "name": "switch room 2",
    "http": {"public_status": False},
    "history": {"flash": True},
    "ntp": {"enabled": False},  # the page sets the clock
}
_PAST_DAYS = 40


def _wave(count: int, mean: float, swing: float) -> list[float]:
    """`count` values of half a day, with a tide and some unrest."""
    return [mean + swing * (math.sin(6 * k / count) + 0.2 * math.sin(k * k)) for k in range(count)]


def _past_of_a_point(document: Any) -> None:
    if "values" in document:  # of a power or of a voltage
        document["values"] = _wave(len(document["values"]), 1400, 700)


def _past_of_lines(document: Any) -> None:
    for bus in document["buses"]:
        bus["past"] = {"load_percent": [round(load) for load in _wave(72, 34, 6)], "step_s": 600, "age_s": 60}


def _past_of_sockets(document: Any) -> None:
    in_use = [round(count) for count in _wave(72, 9, 3)]
    document["past"].update(in_use=in_use, closed=[max(0, count - 10) for count in in_use], age_s=60)


MADE_UP: dict[str, Callable[[Any], None]] = {
    "history?*": _past_of_a_point,
    "bus": _past_of_lines,
    "sockets": _past_of_sockets,
}


@contextlib.contextmanager
def simulator(state: Path) -> Iterator[int]:
    """The HTTP port of a simulated gateway, which ends with the block. `state`: the device's file system."""
    command = [sys.executable, "-m", "tools.sim", "--http-port", "0", "--modbus-port", "0", "--config", "/dev/stdin"]
    command += ["--state", str(state), "--heap", "640K"]  # all services' modules as files, and records on flash
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(_CONFIG))
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
        for path, change in MADE_UP.items():
            self._change(path, change)
        self.page.goto(f"http://{HOST}:{port}/#/status")

    def _change(self, path: str, change: Callable[[Any], None]) -> None:
        def answer(route: Route) -> None:
            document = route.fetch().json()
            change(document)
            route.fulfill(json=document)

        self.page.route("**/api/" + path, answer)

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
    phone.tab("System")
    phone.press("Set it by this browser")
    expect(page.locator("#notice")).to_contain_text("The clock is set")
    phone.tab("Status")
    expect(page.locator(".spark")).to_have_count(3, timeout=_WAIT_MS)
    expect(page.locator("td[data-name=load]")).to_contain_text("%", timeout=_LOAD_MS)
    expect(page.locator("#notice")).to_be_empty()
    phone.take("status-phone", full=False)
    page.unroute_all(behavior="wait")
    page.close()
    desk = Camera(browser, port, DESK)
    page = desk.page
    desk.log_in()
    desk.tab("Status")
    expect(page.locator(".spark")).to_have_count(3, timeout=_WAIT_MS)
    expect(page.locator("td[data-name=load]")).to_contain_text("%")
    desk.take("status", full=False)
    page.get_by_role("link", name="main").click()
    page.get_by_role("button", name="Past of Active power", exact=True).click()
    desk.press("Week")
    expect(page.locator("figure .plot")).to_be_visible()
    expect(page.locator(".meter dl")).to_be_visible()
    desk.take("values")
    for name in ("Bus", "Network", "Services", "Sockets", "Posting", "System"):
        desk.tab(name)
        if name in ("Bus", "Sockets"):
            expect(page.locator("figure").nth(1)).to_be_visible()
        page.wait_for_timeout(1500)  # what the page asks for has come
        desk.take(name.lower())
    desk.tab("Meters")
    page.get_by_label("Last unit id").fill("4")
    desk.press("Search")
    expect(page.get_by_role("main")).to_contain_text("3 meters found", timeout=_SEARCH_MS)
    expect(page.get_by_role("button", name="Search")).to_be_enabled()
    desk.take("search")
    page.get_by_role("main").get_by_role("link", name="main").click()
    page.wait_for_timeout(1000)
    desk.take("meter")
    page.unroute_all(behavior="wait")


def main() -> int:
    IMAGES.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as state:
            past.Past(1, _PAST_DAYS, int(time.time()) // past.DAY_S * past.DAY_S).write(Path(state))
            with simulator(Path(state)) as port, chromium() as browser:
                take_all(browser, port)
    except (RuntimeError, Error, AssertionError, subprocess.SubprocessError, debian.MissingPackages) as error:
        print(f"screenshots: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

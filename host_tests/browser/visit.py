"""What the tests of the page share: a page that must not complain, and tabs that can be hidden.

Screenshots go to build/screenshots.
"""

import http.client
import json

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from host_tests.system.rig import ANSWER_S, HOST, wait_for
from tools.gateway import ROOT

PASSWORD = "correct horse"
DESK, PHONE = (1280, 800), (390, 844)
TABS = ("Status", "Bus", "Meters", "Network", "Services", "Sockets", "Posting", "System")
# What a browser has asked for, in this order, when the overview shows its first value.
FIRST_REQUESTS = ("/", "/api/session", "/api/readings?points=16,17,4,1,8,5,12,9,14,32,40")
WAIT_MS = 15000
_LOOKS = 20
expect.set_options(timeout=WAIT_MS)
SCREENSHOTS = ROOT / "build" / "screenshots"


def _named(request):
    return f"{request.method} /{request.url.split('/', 3)[-1]}"


class Visit:
    """A page of the gateway in a context of its own: no cookie, no cache. `sent` are the bodies of its requests.
    `address`: of the page, with the "/" at its end, where it is not the gateway's own."""

    def __init__(self, browser, rig, size=DESK, scheme="light", address=None, zone=None, locale=None):
        self.rig = rig
        self.size = size
        self.address = address or f"http://{HOST}:{rig.http_port}/"
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            timezone_id=zone,
            locale=locale,
            has_touch=size == PHONE,
            ignore_https_errors=address is not None,  # a proxy of a test signs its own certificate
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.complaints = []
        self.hosts = set()
        self.sent = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._requested)
        self.page.on("response", self._answered)
        self.page.on("requestfailed", lambda request: self.complaints.append(f"{request.failure} {_named(request)}"))

    def _said(self, message):
        # Of a request that fails the console does not say which it was.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _answered(self, response):
        if response.status >= 400:
            self.complaints.append(f"{response.status} {_named(response.request)}")

    def _requested(self, request):
        if not request.url.startswith("data:"):
            self.hosts.add(request.url.split("/")[2])
        if request.post_data:
            self.sent.append(f"{_named(request)} {request.post_data}")

    def open(self, name="status"):
        self.page.goto(f"{self.address}#/{name}")
        return self

    def tab(self, name):
        """Goes to a page by its tab, and waits until it is there."""
        self.page.locator("#tabs").get_by_role("link", name=name, exact=True).click()
        self.expect_tab(name)

    def expect_tab(self, name):
        expect(self.page.locator("nav [aria-current=page]")).to_have_text(name)
        expect(self.page.locator("main section").first).to_be_visible()

    def press(self, name, within=None):
        (within or self.page.get_by_role("main")).get_by_role("button", name=name, exact=True).click()

    def save(self):
        self.page.get_by_role("region", name="Unsaved changes").get_by_role("button", name="Save").click()

    def expect_notice(self, text):
        expect(self.page.locator("#notice")).to_contain_text(text)

    def set_up(self, password=PASSWORD):
        """The first visit to a device: chooses its password."""
        self.page.get_by_label("New password").fill(password)
        self.page.get_by_label("The same once more").fill(password)
        self.press("Set password")
        expect(self.page.get_by_role("button", name="Log out")).to_be_visible()

    def log_in(self, password=PASSWORD):
        self.page.get_by_label("Password").fill(password)
        self.press("Log in")
        expect(self.page.get_by_role("button", name="Log out")).to_be_visible()

    def restart(self):
        """Restarts the device from the page, until the page has found it again: at the login."""
        reboots = self.rig.gateway.reboots
        self.page.locator("#problems").get_by_role("button", name="Restart now").click()
        expect(self.page.get_by_role("dialog")).to_contain_text("comes back by itself")
        expect(self.page.get_by_label("Password", exact=True)).to_be_visible(timeout=4 * WAIT_MS)
        assert self.rig.gateway.reboots == reboots + 1
        assert self.rig.gateway.exit_codes[-1] == 42
        self.excuse("GET /api/session", 0)  # nobody answered meanwhile

    def screenshot(self, name):
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.evaluate("scrollTo(0, 0)")  # or what sticks to the top stands in the middle
        self.page.screenshot(path=SCREENSHOTS / f"{name}-{self.size[0]}.png", full_page=True)

    def excuse(self, part, at_least=1):
        """Takes complaints with `part` off the list: a refused request is one."""
        rest = [text for text in self.complaints if part not in text]
        assert len(self.complaints) - len(rest) >= at_least, self.complaints
        self.complaints = rest

    def change(self, path, change):
        """Has `change(document)` change what the device answers for that path of the API, as it will be after hours."""

        def answer(route):
            document = route.fetch().json()
            change(document)
            route.fulfill(json=document)

        self.page.route("**/api/" + path, answer)

    def close(self):
        """AssertionError when the page complained or talked to anybody else."""
        self.context.close()
        assert not self.complaints, self.complaints
        assert self.hosts <= {self.address.split("/")[2]}, self.hosts


class Tabs:
    """Tabs of one window, as a user has them: one is seen, the others are hidden. Playwright's own pages never are, so
    these are driven by the DevTools protocol alone."""

    def __init__(self, browser):
        self._session = browser.new_browser_cdp_session()
        self._session.on("Target.receivedMessageFromTarget", self._received)
        self._pump = browser.new_page()  # events come in while Playwright waits for something
        self._answers = {}
        self._number = 0
        self.open_ones = []

    def _received(self, event):
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message

    def open(self, url):
        """A tab more, which is seen from now on."""
        target = self._session.send("Target.createTarget", {"url": url})["targetId"]
        self.open_ones.append(target)
        attached = self._session.send("Target.attachToTarget", {"targetId": target, "flatten": False})
        return target, attached["sessionId"]

    def show(self, tab):
        self._session.send("Target.activateTarget", {"targetId": tab[0]})

    def evaluate(self, tab, expression):
        self._number += 1
        message = {
            "id": self._number,
            "method": "Runtime.evaluate",
            "params": {"expression": expression, "returnByValue": True},
        }
        self._session.send("Target.sendMessageToTarget", {"sessionId": tab[1], "message": json.dumps(message)})
        wait_for(lambda: self.pause() or self._number in self._answers, what=expression)
        return self._answers[self._number]["result"]["result"].get("value")

    def wait_for(self, tab, expression, timeout=WAIT_MS / 1000):
        wait_for(lambda: self.evaluate(tab, expression), timeout, expression)

    def pause(self, ms=20):
        self._pump.wait_for_timeout(ms)

    def close(self):
        for target in self.open_ones:
            self._session.send("Target.closeTarget", {"targetId": target})
        self._pump.close()


class Ledger:
    """The gateway's ledger, asked for over one connection of ours, which is made again when the gateway has closed it:
    for a while nothing was asked on it."""

    def __init__(self, rig):
        self._connection = http.client.HTTPConnection(HOST, rig.http_port, timeout=ANSWER_S)

    def document(self):
        try:
            return self._ask()
        except (http.client.HTTPException, ConnectionError):
            self._connection.close()
        return self._ask()

    def _ask(self):
        self._connection.request("GET", "/api/sockets")
        return json.loads(self._connection.getresponse().read())

    def browsers(self):
        """How many connections of HTTP there are but ours."""
        slots = self.document()["slots"]
        own = "{}:{}".format(*self._connection.sock.getsockname())
        peers = {slot["peer"] for slot in slots if slot["kind"] == "http" and slot["role"] == "connection"}
        assert own in peers
        return len(peers - {own})

    def most(self, pause):
        """The most that there were in two seconds. `pause(ms)` lets the browser go on."""
        found = 0
        for _ in range(_LOOKS):
            found = max(found, self.browsers())
            pause(100)
        return found

    def close(self):
        self._connection.close()


def assert_accessible(visit, where):
    found = Axe().run(visit.page).response["violations"]
    texts = [f"{one['id']} ({one['impact']}): {one['nodes'][0]['html']}" for one in found]
    assert texts == [], (where, texts)


def assert_fits(visit, where):
    """Nothing sticks out at the side; what is wide scrolls in a place of its own. Nothing is shown that is no text."""
    width = visit.page.evaluate("document.documentElement.scrollWidth")
    assert width <= visit.size[0], where
    assert set(visit.page.inner_text("main").split("\n")).isdisjoint(("null", "undefined", "NaN", "[object Object]")), (
        where
    )


# What is cut off, or has to be scrolled sideways to be read. What is clipped as a whole is for screen readers only.
_CUT = """() => [...document.querySelectorAll("main *, footer *, dialog *")].filter(one => {
  const style = getComputedStyle(one), isShown = one.clientWidth > 1 && style.clipPath === "none";
  const isCut = one.scrollWidth > one.clientWidth + 1 && style.overflowX !== "visible";
  return isShown && isCut && !one.matches("pre, select, textarea");
}).map(one => `${one.tagName} ${one.className} ${one.scrollWidth} of ${one.clientWidth}: ${one.innerText.slice(0, 40)}`)
"""


def assert_whole(visit, where):
    """Nothing is cut off at the side, nor has to be scrolled there."""
    found = visit.page.evaluate(_CUT)
    assert found == [], (where, found)

"""The pages in Firefox, on the real firmware: what the other files of tests look at in Chromium, in short.

Screenshots: build/screenshots/firefox-*.
"""

import contextlib
import json
import re
import time

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import (
    DESK,
    PASSWORD,
    PHONE,
    TABS,
    Ledger,
    Visit,
    assert_accessible,
    assert_fits,
    assert_whole,
)
from host_tests.system.rig import METERS, configured, wait_for
from tools.device_api import Device
from tools.firefox import firefox
from tools.past import DAY_S, POWER, Past

HOST = "127.0.0.1"
TABLET = (768, 1024)
SIZES = (PHONE, TABLET, DESK)
SCHEMES = ("light", "dark")
IDLE_S = 3  # http.idle_timeout_s: longer than the pauses of the page
UNSERVED_S = 10  # docs/reference/http.md: a connection that never asks


@pytest.fixture(scope="module")
def browsers():
    with firefox() as running:
        yield running


@pytest.fixture
def visit(browsers):
    """visit(rig, size, scheme) is a new visitor; none of them may have heard a complaint at the end."""
    visits = []

    def make(rig, size=DESK, scheme="light"):
        visits.append(Visit(browsers[scheme], rig, size, scheme))
        return visits[-1]

    yield make
    for one in visits:
        one.close()


@pytest.mark.parametrize("count", [1, 3, 32])
def test_the_overview_fits_every_width_light_and_dark(make_rig, visit, count):
    rig = make_rig(meters=configured("eastron-sdm120", count))
    backgrounds = set()
    for size in SIZES:
        for scheme in SCHEMES:
            seen = visit(rig, size, scheme).open()
            page = seen.page
            if count == 1:
                expect(page.locator("td[data-point='16'] .value")).to_have_text(re.compile(r"\d"))
            else:
                expect(page.locator("tr[data-slot]")).to_have_count(count)
            where = f"{count} meters at {size[0]}, {scheme}"
            assert_fits(seen, where)
            assert_whole(seen, where)
            if size == DESK:
                assert_accessible(seen, where)  # so too that each text stands out from what is behind it
            backgrounds.add((scheme, page.evaluate("getComputedStyle(document.body).backgroundColor")))
            seen.screenshot(f"firefox-status-{count}-{scheme}")
            page.close()  # each page holds a connection
    assert len(backgrounds) == len({colour for _, colour in backgrounds}) == len(SCHEMES)


def test_a_visitor_sets_a_password_saves_a_form_and_sees_every_page(make_rig, visit):
    rig = make_rig(config={"http": {"public_status": False}})
    for size, scheme in zip(SIZES, ("light", "dark", "light"), strict=True):
        seen = visit(rig, size, scheme).open("meters")
        page = seen.page
        if size == SIZES[0]:
            seen.set_up()
            page.get_by_role("link", name="feeder").click()
            page.get_by_label("Name").fill("heat pump")
            seen.save()
            seen.expect_notice("Saved")
            stored = json.loads((rig.folder / "data" / "config.json").read_text())
            assert [meter["name"] for meter in stored["meters"]] == ["main", "heat pump", "socket"]
        else:
            expect(page.get_by_label("Password")).to_be_visible()
            seen.screenshot(f"firefox-login-{scheme}")
            seen.log_in()
        for name in TABS:
            seen.tab(name)
            if name == "Status":
                expect(page.locator("tr[data-slot]")).to_have_count(3)
            assert_fits(seen, name)
            assert_whole(seen, name)
            if size == SIZES[0]:
                assert_accessible(seen, name)
            seen.screenshot(f"firefox-{name.lower()}-{scheme}")
        page.evaluate("location.hash = '#/setup/names'")
        expect(page.get_by_role("heading", name="Set-up: step 4 of 6")).to_be_visible()
        assert_fits(seen, "set-up")
        seen.screenshot(f"firefox-setup-{scheme}")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Password")).to_be_visible()
        page.close()


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark"), (TABLET, "light")])
def test_a_meter_is_shown_with_the_chart_of_its_day(make_rig, visit, tmp_path, size, scheme):
    past = Past(1, 2, int(time.time()) // DAY_S * DAY_S)
    past.write(tmp_path / "state1")  # of the first rig
    rig = make_rig(config={"ntp": {"enabled": False}, "history": {"flash": True}}, meters=METERS[:1])
    with Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)
        device.login(PASSWORD)
        device.post("/api/time", {"unix_s": past.end_s + 5})
        device.post("/api/logout")
    seen = visit(rig, size, scheme).open()
    page = seen.page
    expect(page.locator("td[data-point='16'] .value")).to_have_text(re.compile(r"\d"))
    page.locator(f"button[data-past='{POWER}']").click()
    seen.press("Day")
    scroller = page.locator(".meter .scroll")
    assert scroller.evaluate("box => box.scrollWidth <= box.clientWidth"), "the past of a value is out of sight"
    image = page.locator("figure").get_by_role("img")
    expect(image).to_have_attribute("aria-label", re.compile("the last 24 h"))
    image.hover(position={"x": image.bounding_box()["width"] / 2, "y": 20})
    expect(page.locator("figure").get_by_role("status")).to_contain_text(re.compile(r"\d W"))
    assert_fits(seen, "chart")
    assert_whole(seen, "chart")
    seen.screenshot(f"firefox-chart-{scheme}")


def test_a_page_holds_one_connection_and_none_once_it_is_closed(make_rig, visit):
    rig = make_rig(config={"http": {"idle_timeout_s": IDLE_S}})
    page = visit(rig).open().page
    expect(page.locator("tr[data-slot]")).to_have_count(3)
    with contextlib.closing(Ledger(rig)) as ledger:

        def browsers():
            page.wait_for_timeout(20)
            return ledger.browsers()

        assert ledger.most(page.wait_for_timeout) <= 2  # one may have been opened ahead, on which nothing is asked
        wait_for(lambda: browsers() == 1, UNSERVED_S + 2, "the spare one is closed")
        assert ledger.most(page.wait_for_timeout) == 1
        page.goto("about:blank")
        wait_for(lambda: browsers() == 0, UNSERVED_S + 2, "no connection")
        assert sum(ledger.document()["evictions"][reason] for reason in ("idle", "busy", "quota")) == 0

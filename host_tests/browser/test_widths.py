"""The pages as wide as a phone, a tablet, a desk, and a desk zoomed to 200 %, with one, three and 32 meters.
Screenshots: build/screenshots."""

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PHONE, TABS, assert_accessible, assert_fits, assert_whole
from host_tests.system.rig import configured

TABLET = (768, 1024)
ZOOMED = (640, 400)  # CSS pixels of a desk of 1280 at 200 %
SIZES = (PHONE, ZOOMED, TABLET, DESK)


@pytest.mark.parametrize("count", [1, 3, 32])
def test_the_status_page_fits_every_width_light_and_dark(make_rig, visit, count):
    rig = make_rig(meters=configured("eastron-sdm120", count))
    for size in SIZES:
        for scheme in ("light", "dark"):
            seen = visit(rig, size, scheme).open()
            page = seen.page
            if count == 1:
                expect(page.locator("td[data-point='16'] .value")).to_have_count(1)
            else:
                expect(page.locator("tr[data-slot]")).to_have_count(count)
            where = f"{count} meters at {size[0]}, {scheme}"
            assert_fits(seen, where)
            assert_accessible(seen, where)
            seen.screenshot(f"status-{count}-{scheme}")
            page.close()  # each page holds a connection


@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (TABLET, "light"), (ZOOMED, "dark")])
def test_every_page_of_32_meters_is_whole_on_a_phone_a_tablet_and_a_desk_at_200_percent(make_rig, visit, size, scheme):
    rig = make_rig(config={"http": {"public_status": False}}, meters=configured("eastron-sdm630", 32))
    seen = visit(rig, size, scheme).open("system")
    seen.set_up()
    for name in TABS:
        seen.tab(name)
        if name == "Status":
            expect(seen.page.locator("tr[data-slot]")).to_have_count(32)
        assert_fits(seen, name)
        assert_whole(seen, name)
        assert_accessible(seen, name)
        seen.screenshot(f"{name.lower()}-{scheme}")
    seen.page.evaluate("location.hash = '#/status/31'")
    expect(seen.page.locator("td[data-point='7952'] .value")).to_have_count(1)
    assert_fits(seen, "meter")
    assert_whole(seen, "meter")
    assert_accessible(seen, "meter")
    seen.screenshot(f"meter-{scheme}")
    for step in ("password", "network", "search", "names", "services", "done"):
        seen.page.evaluate("step => { location.hash = '#/setup/' + step; }", step)
        expect(seen.page.get_by_role("heading", name="Set-up: step")).to_be_visible()
        expect(seen.page.locator("main section").nth(1)).to_be_visible()
        assert_fits(seen, step)
        assert_whole(seen, step)

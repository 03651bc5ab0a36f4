"""The pages as wide as a phone, a tablet, a desk, and a desk zoomed to 200 %, with one, three and 32 meters.
Screenshots: build/screenshots."""

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PHONE, TABS, assert_accessible, assert_fits
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


def test_every_page_fits_a_tablet_and_a_desk_at_200_percent(make_rig, visit):
    rig = make_rig(config={"http": {"public_status": False}})
    for size in (TABLET, ZOOMED):
        seen = visit(rig, size).open("system")
        expect(seen.page.get_by_role("button", name="Log out").or_(seen.page.locator("form"))).to_be_visible()
        if seen.page.locator("#repeat-password").count():
            seen.set_up()
        else:
            seen.log_in()
        for name in TABS:
            seen.tab(name)
            assert_fits(seen, name)
            seen.screenshot(name.lower())

"""Served meters on the page: one is added, saved, and read as a master would get it."""

import json

from playwright.sync_api import expect

from host_tests.browser.visit import DESK, assert_accessible, assert_fits

SERVED = [{"unit": 100, "meters": "0", "as": "eastron-sdm72d-m-v2"}]


def test_a_served_meter_is_added_and_its_registers_are_shown(make_rig, visit):
    rig = make_rig(config={"served": SERVED})
    rig.wait_polled()
    seen = visit(rig, DESK).open("meters")
    page = seen.page
    seen.set_up()
    expect(page.get_by_role("heading", name="Read a served meter")).to_be_visible()
    reader = page.locator("section", has=page.get_by_role("heading", name="Read a served meter"))
    reader.get_by_label("Function").select_option("4")
    reader.get_by_label("First register").fill("0")
    reader.get_by_role("button", name="Read").click()
    volts = rig.meter(1).expected(1)
    expect(reader.get_by_role("status")).to_contain_text(f"{volts:.6g}")
    reader.get_by_label("First register").fill("9000")
    reader.get_by_role("button", name="Read").click()
    expect(reader.get_by_role("status")).to_contain_text("exception 2")
    assert_accessible(seen, "served")
    assert_fits(seen, "served")
    seen.screenshot("served")

    page.get_by_role("button", name="Add a served meter").click()
    second = page.locator("fieldset", has=page.get_by_text("Served meter 2"))
    expect(second.get_by_label("Unit id")).to_have_value("101")
    second.get_by_label("Slots of the meters").fill("0+1")
    second.get_by_label("As this kind of meter").select_option("abb-b23")
    seen.save()
    seen.expect_notice("Saved")
    stored = json.loads((rig.folder / "data" / "config.json").read_text())["served"]
    assert stored[1] == {"unit": 101, "meters": "0+1", "as": "abb-b23"}
    # What cannot be is said at its field.
    second.get_by_label("Unit id").fill("1")
    seen.save()
    expect(page.get_by_role("alert").first).to_contain_text("1 is the unit of a meter")
    assert seen.complaints == ["422 PUT /api/config"]
    seen.complaints.clear()

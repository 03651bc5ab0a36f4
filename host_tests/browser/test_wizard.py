"""The set-up, step by step, as a browser shows it on the real firmware."""

import json

from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PHONE, assert_accessible, assert_fits
from tools.virtual_meters import VirtualMeter

PRIVATE = {"http": {"public_status": False}}
STEPS = ("password", "network", "search", "names", "services", "done")


def stored(rig):
    return json.loads((rig.folder / "data" / "config.json").read_text())


def test_a_first_visit_leads_through_the_steps_to_a_device_that_reads_its_meter(make_rig, visit):
    config = PRIVATE | {"network": {"link": "none"}}
    rig = make_rig(config=config, meters=(), virtual=[VirtualMeter(5, "eastron-sdm120")])
    phone = visit(rig, PHONE).open()
    page = phone.page
    phone.set_up()

    # Password and network are what they are: the first open step is the search.
    expect(page.get_by_role("heading", name="Set-up: step 3 of 6")).to_be_visible()
    page.get_by_label("Last unit id").fill("8")
    phone.press("Search")
    expect(page.locator(".found")).to_contain_text("Unit 5")
    expect(page.get_by_role("button", name="Search")).to_be_enabled()
    phone.press("Add")
    expect(page.get_by_text("1 meter in the list.")).to_be_visible()
    phone.press("Save and go on")
    expect(page.get_by_role("heading", name="Set-up: step 4 of 6")).to_be_visible()
    assert [meter["unit"] for meter in stored(rig)["meters"]] == [5]

    # Left and found again: what is not done yet comes first.
    phone.tab("System")
    page.get_by_role("link", name="Set-up, step by step").click()
    expect(page.get_by_role("heading", name="Set-up: step 4 of 6")).to_be_visible()
    page.get_by_label("Name").fill("heat pump")
    phone.press("Save and go on")
    expect(page.get_by_role("heading", name="Set-up: step 5 of 6")).to_be_visible()
    assert stored(rig)["meters"][0]["name"] == "heat pump"
    page.locator("fieldset", has=page.get_by_text("BACnet/IP")).get_by_role("switch").click()
    phone.press("Save and go on")
    expect(page.get_by_text("All steps are done.")).to_be_visible()
    assert stored(rig)["bacnet"]["enabled"] is True
    reboots = rig.gateway.reboots
    phone.press("Restart now")
    expect(page.get_by_label("Password", exact=True)).to_be_visible(timeout=60_000)
    assert rig.gateway.reboots == reboots + 1
    phone.excuse("GET /api/session", 0)
    phone.log_in()
    expect(page.get_by_role("heading", name="Set-up: step 6 of 6")).to_be_visible()
    page.get_by_role("link", name="To the values of the meters").click()
    expect(page.get_by_role("heading", name="heat pump")).to_be_visible()


def test_services_are_ticked_while_one_of_them_hands_values_out(make_rig, visit):
    rig = make_rig(config=PRIVATE | {"network": {"link": "none"}})
    desk = visit(rig).open("setup/services")
    desk.set_up()
    page = desk.page
    main, step = page.get_by_role("main"), page.get_by_role("listitem").filter(has_text="Services")
    modbus = page.locator("fieldset", has=page.get_by_text("Modbus TCP")).get_by_role("switch")
    expect(step).to_have_text("Services ✓")
    modbus.click()
    desk.press("Save and go on")
    expect(main).to_contain_text("Left open: Services.")
    expect(step).to_have_text("Services")
    step.get_by_role("link").click()
    modbus.click()
    desk.press("Save and go on")
    expect(main).to_contain_text("All steps are done.")
    expect(step).to_have_text("Services ✓")


def test_a_step_with_a_wrong_field_is_not_left(make_rig, visit):
    rig = make_rig(config=PRIVATE)
    desk = visit(rig).open("setup/names")
    desk.set_up()
    before = stored(rig)
    desk.page.get_by_label("Name").first.fill("")
    desk.press("Save and go on")
    desk.expect_notice("nothing was saved")
    expect(desk.page.get_by_role("heading", name="Set-up: step 4 of 6")).to_be_visible()
    assert stored(rig) == before


def test_every_step_fits_and_axe_finds_nothing(make_rig, visit):
    rig = make_rig(config=PRIVATE)
    for size, scheme in ((DESK, "dark"), (PHONE, "light")):
        seen = visit(rig, size, scheme).open("setup/password")
        if size == DESK:
            seen.set_up()
        else:
            seen.log_in()
        for k, name in enumerate(STEPS):
            seen.page.evaluate("name => { location.hash = '#/setup/' + name; }", name)
            expect(seen.page.get_by_role("heading", name=f"Set-up: step {k + 1} of 6")).to_be_visible()
            if name == "network":
                expect(seen.page.get_by_label("Wi-Fi network")).to_be_visible()
                expect(seen.page.get_by_label("Third network")).to_be_visible()
            assert_accessible(seen, name)
            assert_fits(seen, name)
            seen.screenshot(f"setup-{name}-{scheme}")

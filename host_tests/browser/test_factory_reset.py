"""Back to how it came from the factory, by the page, on the real firmware: it restarts without its configuration, and
the page comes back by itself to the set-up of a new device.

A device has its default ports then; a development machine keeps those that it had (exit code 42 in
docs/reference/starting.md).
"""

import http.client
import json

from playwright.sync_api import expect

from host_tests.browser.visit import PASSWORD, WAIT_MS
from host_tests.system.rig import ANSWER_S, HOST
from tools.gateway import FORGOTTEN, place_of

NAME = "switch room"
OTHER_PASSWORD = "battery staple"


def status_with(rig, cookie, path):
    """The status that `path` gets with this session, from a client that is no browser."""
    connection = http.client.HTTPConnection(HOST, rig.http_port, timeout=ANSWER_S)
    try:
        connection.request("GET", path, headers={"Cookie": f"session={cookie}"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_factory_reset_leads_back_to_the_set_up_of_a_new_device(make_rig, visit):
    rig = make_rig(config={"name": NAME, "http": {"public_status": False}})
    data = rig.folder / "data"
    desk = visit(rig).open("system")
    page = desk.page
    desk.set_up()
    (cookie,) = [one["value"] for one in desk.context.cookies() if one["name"] == "session"]
    assert status_with(rig, cookie, "/api/config") == 200
    expect(page).to_have_title(NAME)

    # Not by accident: the name has to be typed, and Cancel is Cancel.
    dialog = page.get_by_role("dialog")
    remove = dialog.get_by_role("button", name="Remove everything")
    desk.press("Factory reset")
    expect(dialog).to_contain_text(NAME)
    expect(remove).to_be_disabled()
    dialog.get_by_role("textbox").fill("switch")
    expect(remove).to_be_disabled()
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    assert status_with(rig, cookie, "/api/config") == 200
    assert not any("factory_reset" in body for body in desk.sent)

    # What was not saved goes as well.
    page.get_by_label("Name of this device").fill("another room")
    desk.press("Factory reset")
    dialog.get_by_role("textbox").fill(NAME)
    remove.click()
    expect(dialog).to_contain_text("comes back by itself")
    expect(page.get_by_role("heading", name="Choose a password")).to_be_visible(timeout=4 * WAIT_MS)
    desk.excuse("GET /api/session", 0)  # nobody answered meanwhile
    assert (rig.gateway.reboots, rig.gateway.exit_codes) == (1, [42])
    rig.gateway.wait_line(FORGOTTEN)
    assert not list(data.glob("password*"))
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("region", name="Unsaved changes")).to_be_hidden()
    expect(page.locator("#name")).to_have_text("meterport")
    expect(page).to_have_title("meterport")
    expect(page.locator("#about")).to_have_text("")
    expect(page.locator("body")).not_to_contain_text(NAME)
    desk.screenshot("factory-reset")
    for path in ("/api/config", "/api/status", "/api/readings"):
        assert status_with(rig, cookie, path) == 403

    # A new device: another password, and nothing of the old configuration.
    desk.set_up(OTHER_PASSWORD)
    expect(page.get_by_label("Name of this device")).to_have_value("meterport")
    desk.tab("Meters")
    expect(page.get_by_text("None yet.").first).to_be_visible()
    expect(page.locator("body")).not_to_contain_text("feeder")
    desk.tab("Status")
    expect(page.locator("section.meter, section.overview")).to_have_count(0)
    expect(page.locator("#problems")).to_have_text("")
    assert json.loads((data / "config.json").read_text()) == place_of(rig.config)
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Password").fill(PASSWORD)
    desk.press("Log in")
    desk.expect_notice("wrong password")
    desk.excuse("403 POST /api/login")

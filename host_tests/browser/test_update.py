"""An update of the firmware from the page, on the real firmware as files in the heap of a Pico 2 W."""

from playwright.sync_api import expect

from host_tests.browser.visit import PASSWORD, PHONE, assert_accessible, assert_fits
from host_tests.system.packages import package
from host_tests.system.rig import wait_for

PICO_2_W_HEAP = "440K"
SENT_MS = 120000


def fill(visit, file, password=PASSWORD):
    """Fills in the form of the System page and sends it."""
    visit.page.get_by_label("Package").set_input_files(file)
    visit.page.get_by_label("Password of this page").fill(password)
    visit.press("Send and restart")


def test_the_page_sends_a_package_and_comes_back_with_the_new_version(make_rig, visit, tmp_path):
    rig = make_rig(frozen=False, heap=PICO_2_W_HEAP)
    desk = visit(rig, PHONE).open("system")
    page = desk.page
    desk.set_up()
    desk.press("Update the firmware")
    expect(page.get_by_role("main")).to_contain_text("This device takes a package of files.")
    assert_accessible(desk, "update")
    assert_fits(desk, "update")
    desk.screenshot("update")

    file = tmp_path / "meterport.package"
    package().write(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    fill(desk, file)
    desk.expect_notice("This package is cut short.")
    file.write_bytes(b"PK" + whole)
    fill(desk, file)
    desk.expect_notice("not a package of the firmware")
    file.write_bytes(whole)
    fill(desk, file, "another one")
    desk.expect_notice("The password is not this device's")
    desk.excuse("422 POST /api/update")
    changed = bytearray(whole)
    changed[-1000] ^= 1
    file.write_bytes(changed)
    fill(desk, file)
    expect(page.locator("#notice")).to_contain_text("a file is not what the manifest says", timeout=SENT_MS)
    desk.excuse("422 PUT /api/update")
    assert rig.gateway.reboots == 0

    file.write_bytes(whole)
    fill(desk, file)
    expect(page.get_by_role("dialog")).to_contain_text("comes back by itself", timeout=SENT_MS)
    expect(page.get_by_label("Password", exact=True)).to_be_visible(timeout=SENT_MS)
    desk.expect_notice("meterport 0.2.0 is on trial")
    desk.excuse("GET /api/session", 0)  # nobody answered meanwhile
    desk.log_in()
    expect(page.get_by_role("main")).to_contain_text("meterport 0.2.0")
    wait_for(lambda: "the update is kept" in str(rig.status()["events"]), 120, "the end of the trial")


def test_a_board_without_heap_for_files_says_that_it_takes_an_image_by_cable(make_rig, visit):
    desk = visit(make_rig()).open("system")
    desk.set_up()
    desk.press("Update the firmware")
    expect(desk.page.get_by_role("main")).to_contain_text("takes a new image by its cable only")
    expect(desk.page.get_by_label("Package")).to_have_count(0)


def test_why_the_last_update_was_taken_back_is_shown(make_rig, visit):
    rig = make_rig()
    (rig.folder / "tree").mkdir()
    (rig.folder / "tree" / "failed").write_text("finder failed, <b>")
    desk = visit(rig).open("system")
    desk.set_up()
    desk.press("Update the firmware")
    expect(desk.page.get_by_role("main")).to_contain_text("The last update was taken back: finder failed, <b>")

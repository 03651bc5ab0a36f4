"""The page of the bus, and how it is loaded: when it is opened."""

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PHONE, assert_accessible, assert_fits
from host_tests.system.rig import quick_to_fail


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "dark"), (PHONE, "light")])
def test_load_answer_times_and_errors_of_a_line_are_shown(make_rig, visit, size, scheme):
    rig = make_rig(meters=quick_to_fail(2))
    rig.wait_polled()
    rig.meter(2).silent = True
    rig.meter(3).fail("crc_error")
    seen = visit(rig, size, scheme).open("bus")
    seen.expect_tab("Bus")
    page = seen.page
    expect(page.get_by_role("row", name="feeder")).to_contain_text("quarantined: silent", timeout=60_000)
    # It comes before those that answer, in red, and leads to its values.
    first = page.locator("tbody tr").first
    expect(first.locator(".bad")).to_have_text("quarantined: silent")
    expect(first.get_by_role("link", name="feeder")).to_have_attribute("href", "#/status/1")
    crc = page.locator("dl div", has=page.get_by_text("CRC errors", exact=True)).locator("dd")
    expect(crc).to_have_text("1", timeout=60_000)
    timeout_ms = rig.get("/api/bus")["meters"][0]["timeout_ms"]
    cells = page.get_by_role("row", name="main").get_by_role("cell")
    assert 0 < int(cells.nth(4).text_content()) <= timeout_ms
    expect(cells.nth(5)).to_have_text(str(timeout_ms))
    button, table = page.get_by_role("button", name="Find out what is wrong"), page.locator("tbody")
    assert button.bounding_box()["y"] < table.bounding_box()["y"], "not below a table of 32 meters"
    assert_accessible(seen, "bus")
    assert_fits(seen, "bus")
    seen.screenshot(f"bus-{scheme}")


def test_the_load_of_the_last_hours_is_drawn(make_rig, visit):
    rig = make_rig()
    seen = visit(rig).open("bus")
    expect(seen.page.get_by_role("main")).to_contain_text("measured after a minute")  # it has just begun
    expect(seen.page.get_by_role("img")).to_have_count(0)

    def later(document):
        document["buses"][0]["past"] = {"step_s": 600, "age_s": 60, "load_percent": [3, 40, 12]}

    seen.change("bus", later)
    expect(seen.page.get_by_role("img", name="Load while this page is open")).to_be_visible()
    image = seen.page.get_by_role("img", name="Load, the last hours")
    expect(image).to_have_attribute("aria-label", "Load, the last hours, the last 30 min: lowest 3 %, highest 40 %")
    seen.screenshot("bus-past")
    seen.page.unroute_all(behavior="wait")


def test_a_part_of_the_page_is_asked_for_once_and_only_when_it_is_opened(make_rig, visit):
    rig = make_rig()
    asked = []
    seen = visit(rig)
    seen.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    seen.open()
    expect(seen.page.locator("tr[data-slot]")).to_have_count(3)
    assert "bus.js" not in asked
    for name in ("Bus", "Status", "Bus"):
        seen.tab(name)
    assert asked.count("bus.js") == 1


def test_the_terminals_of_the_board_are_drawn_as_text(make_rig, visit):
    lines = ["      +-------+", " GND -| o   o |- A", "      +-------+"]
    rig = make_rig()
    seen = visit(rig)
    board = {"boards": [], "board": {"name": "mine", "title": "Mine", "terminals": lines}}
    seen.page.route("**/api/board", lambda route: route.fulfill(json=board))
    seen.open("system")
    seen.set_up()
    card = seen.page.locator("section", has=seen.page.get_by_role("heading", name="Terminals: Mine"))
    expect(card.locator("pre")).to_have_text("\n".join(lines), use_inner_text=True)
    assert_accessible(seen, "terminals")
    seen.page.unroute_all(behavior="wait")


def test_the_system_page_is_there_although_one_of_its_questions_has_no_answer(make_rig, visit):
    seen = visit(make_rig())
    page = seen.page
    page.route("**/api/board", lambda route: route.abort())
    seen.open("system")
    seen.set_up()
    expect(page.get_by_label("Name of this device")).to_be_visible()
    expect(page.locator("#link")).to_contain_text("no data")
    expect(page.get_by_role("log")).to_contain_text("the password was set")  # asked again soon, without the board
    expect(page.locator("#link")).to_be_empty()
    seen.excuse("GET /api/board")
    page.unroute_all(behavior="wait")

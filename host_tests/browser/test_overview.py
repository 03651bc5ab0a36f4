"""The table of all meters: what is wrong, and its sums, of answers that are changed on their way to real Chromium."""

import time

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PASSWORD, PHONE, assert_whole
from host_tests.system.rig import HOST, configured
from tools.device_api import Device

VOLTAGE, POWER, ENERGY, TOTAL_ENERGY = 1, 16, 32, 40  # numbers of points


def changed(visit, change):
    """A visitor of the overview, for whom `change(meters, points)` changes what the device answers; points are those of
    a meter by their number."""

    def apply(document):
        meters = document["meters"]
        change(meters, [{point["id"] & 255: point for point in meter["points"]} for meter in meters])

    visit.change("readings?*", apply)
    return visit.open()


def test_meters_with_a_value_that_is_not_good_come_first_and_their_lines_say_why(make_rig, visit):
    rig = make_rig()
    rig.wait_polled()

    def change(meters, points):
        points[1][POWER]["quality"] = "stale"
        for point in points[2].values():
            point["quality"] = "failed"
        meters[2]["reason"] = "refuses registers 4 to 5 of function 3"

    page = changed(visit(rig), change).page
    lines = page.locator("tr[data-slot]")
    expect(lines).to_have_count(3)
    expect(lines.locator("th")).to_have_text(
        [
            "feeder Active power: stale",
            "socket online: refuses registers 4 to 5 of function 3, failed",
            "main ",
        ]
    )
    expect(page.locator("th .bad")).to_have_count(2)


def test_a_meter_that_does_not_answer_comes_before_one_with_an_old_value(make_rig, visit):
    rig = make_rig()
    rig.wait_polled()

    def change(meters, points):
        points[0][POWER]["quality"] = "stale"
        meters[2].update(state="failing", reason="silent")

    page = changed(visit(rig), change).page
    expect(page.locator("tr[data-slot] th")).to_have_text(
        ["socket failing: silent", "main Active power: stale", "feeder "]
    )


def test_sums_are_of_values_that_are_good_and_of_one_quantity_each(make_rig, visit):
    rig = make_rig()
    rig.wait_polled()

    def change(meters, points):
        for one, watts in zip(points, (1000, 200, 30), strict=True):
            one[POWER]["value"] = watts
        points[1][POWER]["quality"] = "stale"
        for one, wh in zip(points, (5_000_000, 300_000, 40_000), strict=True):
            (one.get(ENERGY) or one[TOTAL_ENERGY]).update(value=wh, name="energy_import", quality="good")

    desk = visit(rig)
    foot = changed(desk, change).page.locator("tfoot")
    expect(foot.locator("th")).to_have_text("sum of 3 meters")
    expect(foot.locator("td")).to_have_text(["1030 W 2 of 3", "", "", "5340.00 kWh", "", ""])
    desk.page.unroute_all(behavior="wait")

    def change_kind(meters, points):
        change(meters, points)
        (points[2].get(ENERGY) or points[2][TOTAL_ENERGY])["name"] = "energy_total"

    changed(desk, change_kind)
    energies = "5300.00 kWh Energy import, 2 of 3" + "40.00 kWh Energy total, 1 of 3"
    expect(foot.locator("td").nth(3)).to_have_text(energies)
    assert_whole(desk, "sums of two quantities")
    desk.screenshot("sums")
    desk.page.unroute_all(behavior="wait")


@pytest.mark.parametrize("held", ["pointer", "focus"])
def test_lines_stay_where_they_are_while_pointer_or_focus_is_among_them(make_rig, visit, held):
    rig = make_rig()
    rig.wait_polled()
    failing = set()

    def change(meters, points):
        for slot in failing:
            meters[slot].update(state="failing", reason="silent")

    page = changed(visit(rig), change).page
    lines = page.locator("tr[data-slot] th")
    expect(lines).to_have_text(["main ", "feeder ", "socket "])
    feeder = page.get_by_role("link", name="feeder")
    (feeder.hover if held == "pointer" else feeder.focus)()
    failing.add(2)
    expect(lines).to_have_text(["main ", "feeder ", "socket failing: silent"])
    if held == "focus":
        expect(feeder).to_be_focused()
        page.keyboard.press("Shift+Tab")  # main
        page.keyboard.press("Shift+Tab")  # out of the lines
    else:
        page.mouse.move(0, 0)
    expect(lines).to_have_text(["socket failing: silent", "main ", "feeder "])
    page.unroute_all(behavior="wait")


def test_bars_tell_what_flows_back_and_show_nothing_of_a_value_that_failed(make_rig, visit):
    rig = make_rig()
    rig.wait_polled()

    def change(meters, points):
        for one, watts in zip(points, (9000, -800, 400), strict=True):
            one[POWER]["value"] = watts
        points[0][POWER]["quality"] = "failed"

    page = changed(visit(rig), change).page
    bars = [page.locator(f"tr[data-slot='{slot}'] td.bar-cell") for slot in range(3)]
    expect(bars[1]).to_have_text("-800.0 W")
    parts = [bar.evaluate("cell => cell.style.getPropertyValue('--part')") for bar in bars]
    assert parts == ["0.0%", "100.0%", "50.0%"]
    colours = [bar.evaluate("cell => getComputedStyle(cell).backgroundImage") for bar in bars]
    assert colours[0] == colours[2] != colours[1]
    page.unroute_all(behavior="wait")


# Of each language: what is filtered by, and the slots that are left.
FILTERED = {
    "en": {
        "stale": [3],
        "STALE voltage": [3],
        "failing": [5],
        "wrong answers (CRC)": [5],
        "6 wrong": [5],
        "unit 8": [7],
        "x": [],
    },
    "de": {"veraltet": [3], "Spannung": [3], "fehlerhaft": [5], "falsche Antworten (crc)": [5], "gerät 8": [7]},
    "fr": {"périmé": [3], "tension": [3], "en échec": [5], "réponses fausses": [5], "unité 8": [7]},
    "es": {"anticuado": [3], "tensión": [3], "respuestas erróneas": [5], "unidad 8": [7]},
}


@pytest.mark.parametrize("code", FILTERED)
def test_the_filter_looks_in_what_is_wrong_and_the_sums_are_of_what_it_leaves(make_rig, visit, code):
    rig = make_rig(meters=configured("eastron-sdm120", 9))
    rig.wait_polled()

    def change(meters, points):
        points[3][VOLTAGE]["quality"] = "stale"
        meters[5].update(state="failing", reason="wrong answers (crc)")
        for k, one in enumerate(points):
            one[POWER]["value"] = 100 + k

    seen = changed(visit(rig), change)
    page = seen.page
    lines = page.locator("tr[data-slot]")
    expect(lines).to_have_count(9)
    page.evaluate("code => useLanguage(code).then(show)", code)
    expect(page.locator(f"html[lang={code}] tr[data-slot]")).to_have_count(9)
    for text, slots in FILTERED[code].items():
        page.locator("input[type=search]").fill(text)
        shown = page.locator("tr[data-slot]:visible")
        expect(shown).to_have_count(len(slots))
        assert [int(one.get_attribute("data-slot")) for one in shown.all()] == slots, text
        foot = page.locator("tfoot")
        expect(foot.locator("th")).to_contain_text(str(len(slots)))
        expect(foot.locator("td").first).to_have_text(f"{100 + slots[0]},0 W".replace(",", ".") if slots else "–")
    page.unroute_all(behavior="wait")


@pytest.fixture
def recording(make_rig):
    """A gateway that writes records, and knows the time."""
    rig = make_rig(config={"ntp": {"enabled": False}, "history": {"flash": True}})
    with Device(HOST, rig.http_port) as device:
        device.set_password(PASSWORD)
        device.login(PASSWORD)
        device.post("/api/time", {"unix_s": int(time.time())})
        device.post("/api/logout")
    rig.wait_polled()
    return rig


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_the_column_of_today_is_there_once_a_meters_midnight_is_known_and_its_sum_says_of_how_many(
    recording, visit, size
):
    known = set()  # slots whose midnight is known

    def change(meters, points):
        for one in points:
            (one.get(ENERGY) or one[TOTAL_ENERGY]).update(value=7000, name="energy_import", quality="good")

    def midnight(document):
        for series in document["series"]:
            series["id"] = series["id"] & ~255 | ENERGY
        slot = document["series"][0]["id"] >> 8
        document["records"] = [[0, 0, *[2000] * len(document["series"])]] if slot in known else []

    def look():
        seen = visit(recording, size)
        seen.change("records?*", midnight)
        with seen.page.expect_response("**/api/records?meter=2*"):  # the last one that is asked for
            return changed(seen, change)

    before = look()
    expect(before.page.locator("tr[data-slot] td:nth-child(6)")).to_have_count(3)
    expect(before.page.get_by_role("button", name="today")).to_be_hidden()
    before.page.unroute_all(behavior="wait")
    before.page.close()  # each page holds a connection
    known.add(0)
    seen = look()
    page = seen.page
    expect(page.locator("tr[data-slot='0'] td:nth-child(6)")).to_have_text("5.00 kWh")
    expect(page.get_by_role("button", name="today")).to_be_visible()
    expect(page.locator("tfoot td").nth(4)).to_have_text("5.00 kWh 1 of 3")
    assert_whole(seen, "today of one meter")
    seen.screenshot("today")
    page.unroute_all(behavior="wait")


def test_before_the_first_step_has_ended_the_past_is_a_word_and_not_an_empty_picture(make_rig, visit):
    rig = make_rig()
    [first, *_] = rig.get("/api/history")["points"]
    desk = visit(rig).open()
    page = desk.page
    expect(page.locator(f"tr[data-slot='{first >> 8}'] td").last).to_have_text("–")
    page.locator(f"tr[data-slot='{first >> 8}'] a").click()
    trend = page.locator(f"button[data-past='{first}']")
    expect(trend).to_have_text("past")
    expect(trend.locator("svg")).to_have_count(0)

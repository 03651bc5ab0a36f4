"""The page's charts of a day, a week, a month and a year, drawn from records on flash by real Chromium."""

import itertools
import re
import time

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import DESK, PHONE, assert_accessible, assert_fits, assert_whole
from host_tests.system.rig import METERS
from tools.device_api import Device
from tools.past import DAY_S, ENERGY, INTERVAL_S, POWER, Past

HOST = "127.0.0.1"
METER = [METERS[0]]  # with energy_import
LATER_S = 5  # of the device's clock, behind the end of a day


@pytest.fixture
def past(tmp_path):
    past = Past(1, 400, int(time.time()) // DAY_S * DAY_S)
    past.write(tmp_path / "state1")  # of the first rig
    return past


@pytest.fixture
def rig(past, make_rig):
    rig = make_rig(config={"ntp": {"enabled": False}, "history": {"flash": True}}, meters=METER)
    with Device(HOST, rig.http_port) as device:
        device.set_password("correct horse")
        device.login("correct horse")
        device.post("/api/time", {"unix_s": past.end_s + LATER_S})
        device.post("/api/logout")
    return rig


def heights(path):
    """The vertical places of a chart's line, from its path."""
    return [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", path.get_attribute("d"))]


def drawn(values):
    """The same of values, as chart() scales them."""
    margin = max((max(values) - min(values)) * 0.05, abs(max(values)) * 0.001, 1e-6)
    low, high = min(values) - margin, max(values) + margin
    return [100 - (value - low) * 100 / (high - low) for value in values]


def tall(path):
    """The signed heights of a chart's columns, from its path."""
    return [-float(height) for height in re.findall(r"v(-?[\d.]+)h", path.get_attribute("d"))]


def stacked(values):
    """The same of values, as chart() draws sums from 0."""
    low, high = min(0, *values), max(1, *values)
    return [100 * value / (high - low) for value in values]


def download(page):
    """The file of the chart that is shown: its head, the times of its rows, their values."""
    with page.expect_download() as download:
        page.locator(".unfolded").get_by_role("link", name="CSV").click()
    head, *rows = download.value.path().read_text().splitlines()
    times, values = zip(*(row.split(",") for row in rows), strict=True)
    return head, times, list(map(float, values))


def utc(unix_s):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def mean(values):
    return int(sum(values) / len(values) + 0.5)


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone-dark"])
def test_day_week_month_and_year_are_drawn_from_flash(rig, past, visit, size, scheme):
    desk = visit(rig, size, scheme).open()
    page = desk.page
    figure = page.locator("figure")
    end_s = past.end_s

    def steps(count, step_s):
        """The powers of each of the last `count` steps."""
        for k in range(count):
            begin_s = end_s - (count - k) * step_s
            yield [past.power_w(0, at) for at in range(begin_s + INTERVAL_S, begin_s + step_s + 1, INTERVAL_S)]

    def rises(count, step_s):
        """What the energy rose by in each of the last `count` steps."""
        at = [past.energy_wh(0, end_s - (count - k) * step_s) for k in range(count + 1)]
        return [after - before for before, after in itertools.pairwise(at)]

    def choose(name):
        desk.press(name)
        expect(page.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-pressed", "true")
        expect(figure).to_be_visible()

    page.locator(f"button[data-past='{POWER}']").click()
    choose("Day")
    assert heights(figure.locator("path")) == pytest.approx(drawn([mean(one) for one in steps(288, 300)]), abs=0.06)
    image = figure.get_by_role("img")
    expect(image).to_have_attribute("aria-label", re.compile("the last 24 h"))
    desk.screenshot(f"chart-day-{scheme}")
    choose("Week")
    assert heights(figure.locator("path")) == pytest.approx(drawn([mean(one) for one in steps(336, 1800)]), abs=0.06)
    desk.screenshot(f"chart-week-{scheme}")
    head, times, values = download(page)
    assert (head, times[0], times[-1]) == ("time,active_power (W)", utc(end_s - 7 * DAY_S + 1800), utc(end_s))
    assert values == [mean(one) for one in steps(336, 1800)]
    # Of a month and a year the energies of days are drawn: the mean of a day's power.
    choose("Month")
    expect(image).to_have_attribute("aria-label", re.compile("the last 30 d: "))
    assert heights(figure.locator("path")) == pytest.approx(drawn([wh / 24 for wh in rises(30, DAY_S)]), abs=0.06)
    assert download(page)[2] == pytest.approx([wh / 24 for wh in rises(30, DAY_S)], abs=0.001)
    page.locator(f"button[data-past='{POWER}']").click()
    expect(figure).to_have_count(0)

    page.locator(f"button[data-past='{ENERGY}']").click()
    expect(figure).to_contain_text("Energy import in 5 min")
    assert tall(figure.locator("path")) == pytest.approx(stacked(rises(288, INTERVAL_S)), abs=0.006)
    choose("Year")
    year = rises(365, DAY_S)
    low, high = (f"{wh / 1000:.2f} kWh" for wh in (year[0], year[-1]))
    expect(image).to_have_attribute("aria-label", re.compile(f"the last 365 d: lowest {low}, highest {high}"))
    assert tall(figure.locator("path")) == pytest.approx(stacked(year), abs=0.006)
    head, times, values = download(page)
    assert (head, times[0], times[-1]) == ("time,energy_import_rise (Wh)", utc(end_s - 364 * DAY_S), utc(end_s))
    assert values == year
    desk.screenshot(f"chart-year-{scheme}")
    assert_accessible(desk, "chart")
    assert_fits(desk, "chart")
    assert_whole(desk, "chart")


def test_the_page_shows_the_time_of_the_browsers_zone_and_the_device_knows_utc_only(rig, past, visit):
    desk = visit(rig, zone="Asia/Tokyo").open()
    page = desk.page
    day = time.gmtime(past.end_s)
    # As the browser's language has it: English of the United States.
    expect(page.locator("#about")).to_contain_text(f"{day.tm_mon}/{day.tm_mday}/{day.tm_year}, 9:00:")
    page.locator(f"button[data-past='{POWER}']").click()
    desk.press("Day")
    times = page.locator("figure .times span")
    expect(times).to_have_text(["12:00", "18:00", time.strftime("%b %-d", day), "06:00"])
    # Three hours behind the first of 288 steps, whose middles the line joins.
    left = re.search(r"left: ([\d.]+)%", times.first.get_attribute("style"))[1]
    assert float(left) == pytest.approx(100 * (36 - 0.5) / 287, abs=0.01)
    assert rig.get(f"/api/records?from={past.end_s}")["records"][0][0] == past.end_s


def test_the_system_page_says_how_far_records_reach_back_and_what_they_cost(rig, visit):
    desk = visit(rig).open("system")
    desk.log_in()
    kept = rig.get("/api/history")["records"]
    facts = desk.page.locator("dl").nth(1)
    expect(facts).to_contain_text(f"keeps {kept['kept_s'] // DAY_S} d at this rate")
    expect(facts).to_contain_text(re.compile("A power cut loses6[0-9] min at most"))
    expect(facts).to_contain_text(f"{-(-kept['bytes_a_day'] // 1024)} KB a day")
    expect(facts).to_contain_text("Records lost0")


def test_a_device_that_does_not_know_the_time_says_so_in_the_place_of_a_chart(past, make_rig, visit):
    rig = make_rig(config={"ntp": {"enabled": False}, "history": {"flash": True}}, meters=METER)
    desk = visit(rig).open()
    desk.page.locator(f"button[data-past='{ENERGY}']").click()
    expect(desk.page.get_by_text("The device does not know the time yet")).to_be_visible()

"""The table of all meters: what is wrong, and its sums, of answers that are changed on their way to real Chromium."""

from playwright.sync_api import expect

POWER, ENERGY = 16, 32  # numbers of points


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

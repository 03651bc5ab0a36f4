"""The page's "Find out what is wrong": what the counters of a line mean."""

import json

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import assert_accessible
from host_tests.system.rig import quick_to_fail
from tools.page import PARTS, ROOT

WATCH_MS = 90000
WRONG = ("crc", "unit", "function", "length", "content")


def look(meters, counters=(), wrong=(), is_open=True, role="master"):
    """Status and bus documents of a line. `meters`: {name: counters}; their unit and slot are their numbers."""
    bus = dict.fromkeys(("sent", "answered", "timeouts", "noise_bytes", "stale_bytes", "echoes"), 0) | dict(counters)
    bus |= {"number": 0, "wrong": dict.fromkeys(WRONG, 0) | dict(wrong)}
    status = {
        "number": 0,
        "uart": 1,
        "role": role,
        "open": is_open,
        "error": None if is_open else "pin 5 belongs to W5500",
    }
    normal = {"bus": 0, "state": "online", "requests": 0, "timeouts": 0, "errors": 0, "refused": [], "missed": 0}
    found = [normal | {"slot": k, "unit": k + 1, "name": name} | one for k, (name, one) in enumerate(meters.items())]
    return {"status": {"buses": [status], "meters": found}, "bus": {"buses": [bus], "meters": found}}


ASKED = {"requests": 9}
SILENT = {"requests": 9, "timeouts": 9, "state": "quarantined"}
WRONG_ONE = {"requests": 9, "errors": 5, "state": "failing"}
CASES = {
    "closed": (look({"a": {}}, is_open=False), "is not open: pin 5 belongs to W5500", "UART or one of its pins"),
    "no meter": (look({}), "No meter is configured", "Nothing is asked"),
    "not asked": (look({"a": {}}), "Nothing was asked", "lent to a search"),
    "well": (look({"a": ASKED}, {"sent": 9, "answered": 9}), "9 of 9 requests were answered", "Nothing is wrong"),
    "all silent": (
        look({"a": SILENT, "b": SILENT}, {"sent": 18, "timeouts": 18}),
        "Nothing at all comes back (18 requests)",
        "own side of the line",
    ),
    "one silent": (
        look({"a": ASKED, "b": SILENT}, {"sent": 18, "answered": 9, "timeouts": 9}),
        "Silent while others answer: b (unit 2)",
        "not the line",
    ),
    "speed": (
        look({"a": WRONG_ONE}, {"sent": 9, "timeouts": 4, "noise_bytes": 30}, {"crc": 5}),
        "No request has a right answer, and there is noise (30 bytes, 5 damaged",
        "Speed or framing is wrong, or A and B",
    ),
    "same unit": (
        look({"a": ASKED, "b": WRONG_ONE}, {"sent": 18, "answered": 13}, {"crc": 4, "length": 1}),
        "Wrong answers of b (unit 2) only (4 damaged, 1 others)",
        "Two meters have the same unit id",
    ),
    "disturbed": (
        look({"a": WRONG_ONE, "b": WRONG_ONE}, {"sent": 18, "answered": 8}, {"crc": 10}),
        "10 damaged answers and 0 bytes of noise among 8 right ones",
        "Reflections or disturbance",
    ),
    "late": (
        look({"a": WRONG_ONE, "b": WRONG_ONE}, {"sent": 18, "answered": 8}, {"unit": 10}),
        "10 frames that were not the answer",
        "too late, or another master",
    ),
    "repeats": (
        look({"a": ASKED}, {"sent": 9, "answered": 9, "noise_bytes": 72}),
        "As many bytes come back as are sent",
        "repeats what is sent",
    ),
    "second master": (
        look({"a": ASKED}, {"sent": 9, "answered": 9, "stale_bytes": 50}),
        "50 bytes came while nothing was asked",
        "A second master",
    ),
    "profile": (
        look({"a": ASKED | {"refused": [[3, 0, 2, 2]]}}, {"sent": 9, "answered": 9}),
        "Registers are refused by a (unit 1)",
        "kind of meter is not quite",
    ),
    "too slow": (
        look({"a": ASKED | {"missed": 3}}, {"sent": 9, "answered": 9}),
        "There is no time to read a (unit 1) as often",
        "too slow",
    ),
    "listening well": (
        look({"a": ASKED}, {"sent": 9, "answered": 9}, role="listen"),
        "9 of 9 requests of the other master",
        "Nothing is wrong",
    ),
    "listening, nothing": (look({"a": {}}, role="listen"), "Nothing was heard", "does not ask"),
    "listening, speed": (
        look({"a": {}}, {"noise_bytes": 99}, role="listen"),
        "99 bytes came, and no request",
        "Speed or framing",
    ),
    "listening, not asked": (
        look({"a": ASKED, "b": {}}, {"sent": 9, "answered": 9}, role="listen"),
        "has not asked: b (unit 2)",
        "another unit id",
    ),
    "listening, noise": (
        look({"a": ASKED}, {"sent": 9, "answered": 5, "noise_bytes": 40}, {"content": 2}, role="listen"),
        "40 bytes of noise among 5 answers",
        "stray byte",
    ),
    "listening, late": (
        look({"a": ASKED}, {"sent": 9, "answered": 9}, {"content": 4}, role="listen"),
        "4 frames were not taken",
        "late answers",
    ),
    "slave well": (look({}, {"sent": 5, "answered": 5}, role="slave"), "5 of 5 requests to served", "Nothing is wrong"),
    "slave, nothing": (look({}, role="slave"), "No request to a served meter", "other units"),
}


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    """The page's script alone, without a device."""
    from tools import page as page_tool

    page = browser.new_page()
    page.route("**/api/**", lambda route: route.abort())
    page.route("http://page.invalid/", lambda route: route.fulfill(body=page_tool.document(), content_type="text/html"))
    page.goto("http://page.invalid/")
    page.add_script_tag(path=page_tool.ROOT / page_tool.PARTS / "diagnose.js")
    yield page
    page.close()


@pytest.mark.parametrize("case", CASES)
def test_what_the_counters_of_a_line_mean(page, case):
    after, what, so = CASES[case]
    before = look(dict.fromkeys([meter["name"] for meter in after["status"]["meters"]], {}))
    [found] = page.evaluate("([before, after]) => findings(before, after)", [before, after])
    assert what in found["what"]
    assert so in found["so"]
    assert bool(found["todo"]) == (not case.endswith("well"))


# What the page shows of two looks, by a dictionary or none.
SHOWN = """([before, after, book]) => {
  dictionary = book;
  const shown = findings(before, after).flatMap(({ what, so, todo }) => [what, so, todo].map(translated));
  dictionary = null;
  return shown;
}"""


@pytest.mark.parametrize("code", ["de", "es", "fr"])
def test_what_was_found_is_said_in_each_language(page, code):
    book = json.loads((ROOT / PARTS / f"{code}.json").read_text())
    for case, (after, _, _) in CASES.items():
        before = look(dict.fromkeys([meter["name"] for meter in after["status"]["meters"]], {}))
        english = page.evaluate(SHOWN, [before, after, None])
        shown = page.evaluate(SHOWN, [before, after, book])
        assert [(case, text) for text in shown if text and text in english] == []


def test_counters_from_before_it_watched_mean_nothing(page):
    old = look({"a": SILENT | {"requests": 5}}, {"sent": 90, "timeouts": 50, "stale_bytes": 9}, {"crc": 40})
    now = look(
        {"a": ASKED | {"timeouts": 9}}, {"sent": 94, "answered": 4, "timeouts": 50, "stale_bytes": 9}, {"crc": 40}
    )
    [found] = page.evaluate("([before, after]) => findings(before, after)", [old, now])
    assert found["what"] == "4 of 4 requests were answered."


def test_a_silent_meter_is_named_on_the_bus_page(make_rig, visit):
    rig = make_rig(meters=quick_to_fail(2))
    rig.meter(2).silent = True
    desk = visit(rig).open("bus")
    desk.press("Find out what is wrong")
    findings = desk.page.locator(".findings")
    expect(findings).to_contain_text("Silent while others answer: feeder (unit 2).", timeout=WATCH_MS)
    expect(findings.locator("dt")).to_have_count(1)
    assert_accessible(desk, "findings")
    desk.screenshot("findings")

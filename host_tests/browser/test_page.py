"""The page as people use it: real Chromium on the real firmware (MicroPython, 32 bits)."""

import contextlib
import json
import re
import socket

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import (
    DESK,
    FIRST_REQUESTS,
    PASSWORD,
    PHONE,
    TABS,
    assert_accessible,
    assert_fits,
    assert_whole,
)
from host_tests.system.bacnet_client import BacnetClient
from host_tests.system.rig import ANSWER_S, HOST, PATIENT_MS, wait_for
from tools.virtual_meters import VirtualMeter

PRIVATE = {"http": {"public_status": False}}
EVIL = "<img src=x onerror=alert(1)>"  # a name of 28 characters, which is allowed


def stored(rig):
    """The configuration as it lies on the device."""
    return json.loads((rig.folder / "data" / "config.json").read_text())


def shown(visit, number, meter):
    """The text of a value on the meter's own view of the Status page."""
    card = visit.page.locator("section.meter", has=visit.page.get_by_role("heading", name=meter))
    return card.locator(f"td[data-point='{number}'] .value")


def test_a_new_device_is_set_up_from_a_phone(make_rig, visit):
    meter = VirtualMeter(5, "eastron-sdm120")
    rig = make_rig(config=PRIVATE, meters=(), virtual=[meter])
    phone = visit(rig, PHONE).open()
    page = phone.page

    expect(page.get_by_role("heading", name="Choose a password")).to_be_visible()
    assert_accessible(phone, "first visit")
    phone.screenshot("first-visit")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same once more").fill(PASSWORD + "?")
    phone.press("Set password")
    assert page.get_by_label("The same once more").evaluate("field => field.validationMessage") != ""
    phone.set_up()

    phone.tab("Meters")
    page.get_by_label("Last unit id").fill("8")
    phone.press("Search")
    found = page.locator(".found")
    expect(found).to_contain_text("Unit 5")
    expect(page.get_by_text("1 meter found")).to_be_visible()
    expect(page.get_by_role("button", name="Search")).to_be_enabled()  # the line is given back
    assert_whole(phone, "search")
    phone.screenshot("search")
    expect(found.get_by_role("combobox")).to_have_value("eastron-sdm120")
    found.get_by_role("button", name="Add").click()
    page.get_by_role("link", name="meter 1").click()
    page.get_by_label("Name").fill("switch room")

    # Read now, though the device does not poll it yet.
    page.get_by_label("Function").select_option("4")
    phone.press("Read")
    first = meter.registers(4, 0, 1)[0]
    expect(page.get_by_role("row").nth(1)).to_contain_text(f"{first:04x}")
    assert_whole(phone, "registers")
    phone.screenshot("meter")

    phone.save()
    phone.expect_notice("Saved")
    assert [(one["name"], one["unit"]) for one in stored(rig)["meters"]] == [("switch room", 5)]
    phone.tab("Status")
    expect(page.locator("#problems")).to_contain_text("A restart is due")
    phone.restart()
    phone.log_in()
    volts = f"{meter.expected(1):.1f}"
    expect(shown(phone, 1, "switch room")).to_have_text(volts)
    phone.screenshot("status-one-meter")
    assert not any(PASSWORD in body for body in phone.sent)


def test_what_is_wrong_stands_beside_its_field_and_nothing_is_saved(make_rig, visit):
    rig = make_rig(config=PRIVATE)
    desk = visit(rig).open("services")
    page = desk.page
    desk.set_up()
    before = stored(rig)
    changes = page.get_by_role("region", name="Unsaved changes")
    modbus = page.locator("section", has=page.get_by_role("heading", name="Modbus TCP"))
    port = modbus.get_by_label("Port", exact=True)

    # What the page itself can tell by the device's schema is not even sent.
    port.fill("70000")
    expect(port).to_have_attribute("aria-invalid", "true")
    desk.save()
    desk.expect_notice("nothing was saved")
    assert not any(body.startswith("PUT") for body in desk.sent)

    # What only the device knows.
    port.fill(str(rig.http_port))
    bacnet = page.locator("section", has=page.get_by_role("heading", name="BACnet/IP"))
    expect(bacnet).to_contain_text("Switched on it would take 1 socket from connections")
    bacnet.get_by_role("switch", name="Enabled").click()
    expect(bacnet).to_contain_text("From the restart on it takes 1 socket from connections")
    desk.save()
    expect(modbus).to_contain_text(f"{rig.http_port} is taken by http.port")
    expect(changes).to_contain_text("Nothing was saved")
    desk.screenshot("error")
    desk.excuse("422 PUT /api/config")
    assert stored(rig) == before

    # From another page the error leads back; then all of it is saved at once.
    desk.tab("System")
    changes.get_by_role("link", name="modbus.port").click()
    desk.expect_tab("Services")
    expect(port).to_have_value(str(rig.http_port))
    port.fill(str(rig.modbus_port))
    desk.save()
    desk.expect_notice("Saved")
    expect(changes).to_be_hidden()
    assert stored(rig) == before | {"bacnet": before["bacnet"] | {"enabled": True}}
    for name in TABS:
        desk.tab(name)
        expect(page.locator("#problems")).to_contain_text("A restart is due for: bacnet")

    desk.restart()
    desk.log_in()
    desk.tab("Sockets")
    expect(page.get_by_role("heading", name="of 16 sockets")).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("10 for connections")


def test_a_backup_is_a_file_and_restores_all_of_it_or_nothing(make_rig, visit, tmp_path):
    rig = make_rig(config=PRIVATE | {"network": {"link": "none", "ssid": "plant", "password": "not for a file"}})
    desk = visit(rig).open("system")
    page = desk.page
    desk.set_up()
    before = stored(rig)
    with page.expect_download() as download:
        desk.press("Download")
    assert re.fullmatch(r"test-\d{4}-\d\d-\d\d\.json", download.value.suggested_filename)
    backup = json.loads(download.value.path().read_text())
    assert backup["network"] == {"link": "none", "ssid": "plant"}
    assert backup["meters"] == before["meters"]

    def restore(document):
        file = tmp_path / "backup.json"
        file.write_text(document if isinstance(document, str) else json.dumps(document))
        page.get_by_label("Restore from a file").set_input_files(file)
        desk.press("Compare")

    def use():
        desk.press("Use the backup")
        desk.expect_notice("The backup is on the pages now")

    restore("{not json")
    desk.expect_notice("This file is not a backup")
    restore(backup)
    desk.expect_notice("The backup is what the device has")
    restore(backup | {"colour": "red"})
    use()
    desk.save()
    expect(page.get_by_role("alert")).to_contain_text("colour")
    desk.excuse("422 PUT /api/config")
    assert stored(rig) == before

    desk.press("Discard", page.locator("#changes"))
    network = backup["network"] | {"password": "from the file"}
    changed = backup | {"name": "restored", "meters": backup["meters"][:1], "network": network}
    restore(changed)
    rows = page.get_by_role("row").filter(has=page.get_by_role("cell", name="name", exact=True))
    expect(rows.get_by_role("cell")).to_have_text(["name", before["name"], "restored"])
    expect(page.get_by_role("row", name="network.password")).to_contain_text("a password")
    expect(page.get_by_role("main")).not_to_contain_text("from the file")
    expect(page.get_by_role("row", name="meters[1]")).to_contain_text("not set")
    assert_accessible(desk, "restore")
    desk.screenshot("restore")
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert_whole(desk, "restore on a phone")
    page.set_viewport_size({"width": DESK[0], "height": DESK[1]})
    desk.press("Leave it")
    expect(page.get_by_role("button", name="Use the backup")).to_have_count(0)
    del network["password"]
    restore(changed)
    use()
    expect(page.get_by_label("Name of this device")).to_have_value("restored")
    desk.save()
    desk.expect_notice("Saved")
    assert stored(rig) == changed | {"network": before["network"]}  # the secret stays
    desk.restart()
    assert page.title() != ""
    desk.log_in()
    expect(page.locator("#name")).to_have_text("restored")


def test_the_overview_has_a_line_for_each_meter_and_what_is_wrong_comes_first(make_rig, visit):
    kinds = ("eastron-sdm630", "elkor-wattson-mk2", "pzem-004t-v3")
    meters = [
        {
            "slot": k,
            "name": f"panel {k + 1}",
            "unit": k + 1,
            "profile": kinds[k % 3],
            "interval_s": 1,
            "timeout_ms": 100 if k == 6 else PATIENT_MS,
        }
        for k in range(12)
    ]
    rig = make_rig(meters=meters)
    rig.meter(7).silent = True
    desk = visit(rig).open()
    page = desk.page
    lines = page.locator("tr[data-slot]:visible")
    expect(lines).to_have_count(12)
    expect(lines.first).to_contain_text(re.compile("panel 7 quarantined: silent"), timeout=60_000)
    power = page.locator("tfoot td").first
    expect(power).to_contain_text("11 of 12", timeout=60_000)

    def order():
        return [text.split()[1] for text in page.locator("tr[data-slot] a").all_text_contents()]

    powers = {k + 1: rig.meter(k + 1).expected(16) for k in range(12) if k != 6}
    page.get_by_role("button", name="power").click()
    strongest_first = sorted(powers, key=lambda unit: -powers[unit])
    assert [int(unit) for unit in order() if unit != "7"] == strongest_first
    page.get_by_role("button", name="power").click()
    assert [int(unit) for unit in order() if unit != "7"] == strongest_first[::-1]
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("power")

    total = sum(powers.values())
    expect(power).to_have_text(f"{total:.0f} W 11 of 12")
    page.get_by_label("Filter").fill("PZEM")
    expect(lines).to_have_count(4)
    page.get_by_label("Filter").fill("silent")
    expect(lines).to_have_count(1)
    assert_accessible(desk, "filtered overview")

    lines.get_by_role("link").click()
    expect(page.get_by_role("heading", name="panel 7 quarantined: silent")).to_be_visible()
    page.get_by_role("link", name="All meters").click()
    expect(lines).to_have_count(12)


def test_the_first_value_is_seen_after_three_requests(make_rig, visit):
    rig = make_rig()
    rig.wait_polled()
    desk = visit(rig)
    asked = []
    desk.page.on("request", lambda request: asked.append("/" + request.url.split("/", 3)[3]))
    desk.page.route("**/api/history", lambda route: None)  # what would be next is never answered
    desk.page.goto(desk.address)
    expect(desk.page.locator("tr[data-slot='0'] td").first).to_have_text(re.compile(r"\d+ W"))
    assert tuple(path for path in asked if path.startswith("/")) == (*FIRST_REQUESTS, "/api/history")
    desk.page.unroute_all(behavior="ignoreErrors")


def test_a_meter_shows_quantities_as_rows_and_phases_as_columns(make_rig, visit):
    rig = make_rig()
    rig.wait_polled()
    desk = visit(rig).open("status/0")
    page = desk.page
    expect(page.locator("thead").first).to_have_text(re.compile("quantityL1L2L3all"))
    row = page.get_by_role("row", name=re.compile("^Active power W"))
    meter = rig.meter(1)
    values = [meter.expected(number) for number in (17, 18, 19, 16)]
    for cell, value in zip(row.locator(".value").all(), values, strict=True):
        assert float(cell.text_content()) == pytest.approx(value, rel=2e-3, abs=0.01)
    expect(page.get_by_text("Answers take")).to_be_visible()
    for point in rig.get("/api/readings?meter=0")["meters"][0]["points"]:
        expect(page.locator(f"td[data-point='{point['id']}']")).to_have_count(1)


def test_the_last_hours_are_drawn_from_what_the_device_has_kept(make_rig, visit):
    rig = make_rig()
    kept = rig.get("/api/history")["points"]
    assert kept != []
    desk = visit(rig).open(f"status/{kept[0] >> 8}")
    page = desk.page
    trend = page.locator(f"button[data-past='{kept[0]}']")
    trend.click()
    figure = page.locator("figure")
    expect(page.get_by_text("Nothing was kept yet")).to_be_visible()  # before the first step has ended

    # What it will be after some hours: nobody waits for that here.
    def later(document):
        assert len(document["values"]) > 40
        document["values"][-40:] = [1000, *[None] * 9, *range(1000, 2500, 50)]

    desk.change("history?point=*", later)
    page.reload()
    path = trend.locator("path")
    expect(path).to_have_attribute("d", re.compile(r"^M0.0 100.0h.1M[\d.]+ 100.0(L[\d.]+ [\d.]+){28}L100.0 0.0$"))
    trend.click()
    image = figure.get_by_role("img")
    expect(image).to_have_attribute("aria-label", re.compile("lowest 1000 W, highest 2450 W"))
    image.hover(position={"x": image.bounding_box()["width"] - 1, "y": 20})
    expect(figure.get_by_role("status")).to_contain_text("2450 W")
    desk.screenshot("chart")
    # The same by keys, and as a file.
    page.mouse.move(0, 0)
    image.focus()
    for key, watts in (("Home", 1000), ("End", 2450), ("ArrowLeft", 2400), ("ArrowLeft", 2350), ("ArrowRight", 2400)):
        page.keyboard.press(key)
        expect(figure.get_by_role("status")).to_contain_text(f"{watts} W")
    assert_accessible(desk, "chart")
    with page.expect_download() as download:
        page.locator(".unfolded").get_by_role("link", name="CSV").click()
    head, *rows = download.value.path().read_text().splitlines()
    assert head == "time,active_power (W)"
    assert [row.split(",")[1] for row in rows] == ["1000", *[""] * 9, *map(str, range(1000, 2500, 50))]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ,\d*", row) for row in rows)
    trend.click()
    expect(figure).to_have_count(0)


def test_the_sockets_of_the_last_hours_are_drawn(make_rig, visit):
    rig = make_rig()
    assert rig.get("/api/sockets")["past"]["in_use"] != []

    def later(document):
        document["past"] = {"step_s": 600, "age_s": 10, "in_use": [5, 16, 16, 9], "closed": [0, 0, 7, 0]}

    desk = visit(rig)
    desk.change("sockets", later)
    desk.open("sockets")
    part = desk.page.locator("section", has=desk.page.get_by_role("heading", name="The last hours"))
    images = part.get_by_role("img")
    expect(images).to_have_count(2)
    assert [image.get_attribute("aria-label") for image in images.all()] == [
        "Sockets in use, the last 40 min: lowest 5, highest 16",
        "Closed before their time, in 10 min, the last 40 min: lowest 0, highest 7",
    ]
    desk.screenshot("sockets-past")
    assert_accessible(desk, "sockets")
    desk.page.unroute_all(behavior="wait")


def test_clients_are_listed_by_address_and_kept_by_the_device_when_they_have_gone(make_rig, visit):
    rig = make_rig()
    desk = visit(rig)
    page = desk.page
    part = page.locator("section", has=page.get_by_role("heading", name="Clients"))

    def cells(number):
        return part.get_by_role("row", name="modbus").get_by_role("cell").nth(number)

    with contextlib.ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(rig.client())
        desk.open("sockets")
        expect(cells(0)).to_have_text(HOST)
        expect(cells(2)).to_have_text("3")
    expect(cells(2)).to_have_text("0")
    expect(cells(7)).to_have_text("3")
    # Another browser sees the same.
    phone = visit(rig, PHONE).open("sockets")
    part = phone.page.locator("section", has=phone.page.get_by_role("heading", name="Clients"))
    expect(cells(7)).to_have_text("3")
    assert_fits(phone, "clients")
    assert_accessible(phone, "clients")
    phone.screenshot("clients")


def test_a_day_of_clients_is_drawn_from_first_to_last_and_says_who_was_closed(make_rig, visit):
    rig = make_rig()
    times = {"requests": 40, "connections": 20, "most": 2}

    def later(document):
        document["clients_lost"] = 3
        document["clients"] = [
            {"kind": "modbus", "address": "10.0.0.7", "age_s": 3600, "gone_s": 1800, "closed": 18, "reason": "idle"}
            | times,
            {"kind": "http", "address": "10.0.0.8", "age_s": 7200, "gone_s": 60, "closed": 0, "reason": None} | times,
        ]
        document["slots"] = [one for one in document["slots"] if one["role"] == "service"]

    desk = visit(rig)
    desk.change("sockets", later)
    desk.open("sockets")
    part = desk.page.locator("section", has=desk.page.get_by_role("heading", name="Clients"))
    rows = part.get_by_role("row")
    expect(rows).to_have_count(3)
    assert rows.nth(1).locator("td").all_inner_texts()[:8] == ["10.0.0.8", "http", "0", "2 h", "60 s", "40", "0", "2"]
    assert rows.nth(2).locator("td").all_inner_texts()[:8] == [
        "10.0.0.7", "modbus", "0", "60 min", "30 min", "40", "18 (idle)", "2",
    ]  # fmt: skip
    bar, whole = (rows.nth(2).locator(name).bounding_box() for name in (".stay span", ".stay"))
    assert bar["x"] - whole["x"] == pytest.approx(whole["width"] / 2, abs=1)
    assert bar["width"] == pytest.approx(whole["width"] / 4, abs=1)
    expect(part).to_contain_text("The device keeps 2 of them; 3 older ones had to go.")
    assert_fits(desk, "clients")
    assert_accessible(desk, "clients")
    desk.screenshot("clients")
    desk.page.unroute_all(behavior="wait")


def test_a_name_and_an_instance_that_another_device_has_too_are_shown_by_page_and_finder(make_rig, visit):
    rig = make_rig(config={"bacnet": {"enabled": True, "instance": 7}})
    with BacnetClient(rig.bacnet_port) as other, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gateway:
        other.send(bytes.fromhex("1000 c402000007 2205c4 9103 2163"))  # I-Am
        gateway.settimeout(ANSWER_S)
        gateway.connect((HOST, rig.finder_port))
        gateway.send(b'{"meterport":1,"name":"test","serial":"0123"}')
        gateway.recv(2000)  # it tells its name in turn
        texts = [
            "the name is also that of the gateway at 127.0.0.1",
            f"instance 7 is also that of the BACnet device at 127.0.0.1:{other.socket.getsockname()[1]}",
        ]

        def conflicts():
            gateway.send(b"meterport find")
            return sorted(json.loads(gateway.recv(2000))["conflicts"])

        wait_for(lambda: conflicts() == sorted(texts), 10, "both conflicts in the finder's answer")
    page = visit(rig).open().page
    for text in texts:
        expect(page.locator("#problems li").filter(has_text=text)).to_have_count(1, timeout=30_000)


def test_names_from_the_device_are_text_and_never_markup(make_rig, visit):
    meters = [{"slot": 0, "name": EVIL, "unit": 1, "profile": "eastron-sdm630", "interval_s": 1}]
    rig = make_rig(config={"name": EVIL}, meters=meters)
    desk = visit(rig).open()
    page = desk.page
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    expect(page.get_by_role("heading", level=2, name=EVIL)).to_be_visible()
    page.get_by_role("button", name="Set a password").click()
    desk.set_up()
    for name in TABS:
        desk.tab(name)
        if name == "Meters":
            desk.press(f"Remove {EVIL}")
            expect(page.get_by_role("dialog")).to_contain_text(EVIL)
            page.get_by_role("button", name="Cancel").click()
            page.get_by_role("link", name=EVIL).click()
            expect(page.get_by_label("Name")).to_have_value(EVIL)
    expect(page.locator("#name")).to_have_text(EVIL)
    assert page.title() == EVIL
    assert page.locator("img").count() == 0
    assert dialogs == []


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_every_page_fits_and_axe_finds_nothing(make_rig, visit, size, scheme):
    rig = make_rig(config=PRIVATE)
    guest = visit(rig, size, scheme).open()
    page = guest.page
    guest.set_up()
    for name in TABS:
        guest.tab(name)
        if name == "Status":
            expect(page.locator("tr[data-slot]")).to_have_count(3)
            assert_accessible(guest, "overview")
            assert_fits(guest, "overview")
            guest.screenshot(f"overview-{scheme}")
            page.get_by_role("link", name="main").click()
            expect(page.locator("td[data-point='16'] .value")).to_have_text(re.compile(r"^-?\d"))
        if name == "Sockets":
            expect(page.get_by_role("heading", name="Ledger")).to_be_visible()
        assert_accessible(guest, name)
        assert_fits(guest, name)
        guest.screenshot(f"{name.lower()}-{scheme}")
    guest.tab("Meters")
    page.get_by_role("link", name="feeder").click()
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Unit id").fill("0")
    assert_accessible(guest, "meter")
    assert_fits(guest, "meter")
    guest.screenshot(f"meter-{scheme}")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert_accessible(guest, "login")


def test_login_needs_the_password_and_a_new_password_ends_other_sessions(make_rig, visit):
    rig = make_rig(config=PRIVATE)
    desk = visit(rig).open()
    desk.set_up()
    phone = visit(rig, PHONE).open("sockets")
    phone.page.get_by_label("Password").fill("wrong horse")
    phone.press("Log in")
    phone.expect_notice("wrong password")
    phone.excuse("403 POST /api/login")
    wait_for(lambda: phone.page.evaluate("fetch('/api/session').then(r => r.json())")["wait_s"] == 0, what="no wait")
    phone.log_in()
    phone.expect_tab("Sockets")

    desk.tab("System")
    page = desk.page
    page.get_by_label("Present password").fill(PASSWORD)
    page.get_by_label("New password").fill("battery staple")
    page.get_by_label("The same once more").fill("battery staple")
    desk.press("Change password")
    desk.expect_notice("The password is changed")
    desk.tab("Meters")  # its own session goes on

    # The other page finds out by itself, and asks for the new password.
    expect(phone.page.get_by_label("Password")).to_be_visible()
    phone.excuse("403 GET /api/")
    phone.log_in("battery staple")
    phone.expect_tab("Sockets")
    assert not any(word in body for body in desk.sent + phone.sent for word in ("horse", "staple"))


def test_all_of_it_can_be_done_with_the_keyboard(make_rig, visit):
    rig = make_rig(config=PRIVATE)
    desk = visit(rig).open("system")
    page = desk.page
    keyboard = page.keyboard

    def focused():
        return page.evaluate("document.activeElement.id || document.activeElement.textContent")

    def tab_to(name):
        for _ in range(60):
            keyboard.press("Tab")
            if focused() == name:
                return
        raise AssertionError(f"{name} is out of reach")

    expect(page.get_by_role("heading", name="Choose a password")).to_be_visible()
    for field in ("new-password", "repeat-password"):
        tab_to(field)
        keyboard.type(PASSWORD)
    keyboard.press("Enter")
    expect(page.get_by_label("Name of this device")).to_be_visible()
    tab_to("f-name")
    keyboard.press("Control+a")
    keyboard.type("by keyboard")
    tab_to("Save")
    keyboard.press("Enter")
    desk.expect_notice("Saved")
    assert stored(rig)["name"] == "by keyboard"
    tab_to("Services")
    keyboard.press("Enter")
    desk.expect_tab("Services")
    tab_to("f-finder-enabled")
    keyboard.press("Space")
    expect(page.get_by_role("region", name="Unsaved changes")).to_be_visible()
    tab_to("Discard")
    keyboard.press("Enter")
    expect(page.get_by_role("region", name="Unsaved changes")).to_be_hidden()


def test_the_log_shows_only_lines_with_the_words_that_are_typed(make_rig, visit):
    rig = make_rig()
    desk = visit(rig).open("system")
    desk.set_up()
    log = desk.page.get_by_role("log")
    expect(log).to_contain_text("the password was set")
    expect(log).to_contain_text("meterport runs on unix")
    words = desk.page.get_by_label("Show only lines with")
    words.fill("PASSWORD http")
    expect(log.get_by_role("row")).to_have_count(2)
    expect(log).to_contain_text("the password was set")
    words.fill("nothing of the kind")
    expect(log).to_have_text("No line has all of these words.")
    words.fill("")
    expect(log).to_contain_text("meterport runs on unix")

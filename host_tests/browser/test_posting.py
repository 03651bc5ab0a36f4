"""The Posting page: what is asked for, what is said, and "Post now"."""

import json
import time

from playwright.sync_api import expect

from host_tests.browser.visit import PASSWORD
from host_tests.http_receiver import Receiver
from host_tests.mosquitto import Mosquitto
from host_tests.system.rig import HOST, wait_for
from tools.device_api import Device

CONNECTED_S = 60


def test_post_now_shows_the_answer_and_what_was_refused(make_rig, visit):
    with Receiver(lambda request: (422, b'{"error":"no such field"}')) as receiver:
        # Nothing is due by itself in the seconds of this test, but by chance of 1 in 10000.
        posting = {"url": receiver.url, "headers": "X-Site: north\nX-A: b", "interval_s": 86400}
        config = {"ntp": {"enabled": False}, "posting": posting}
        rig = make_rig(config=config)
        rig.wait_polled()
        with Device(HOST, rig.http_port) as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            device.post("/api/time", {"unix_s": int(time.time())})
        desk = visit(rig).open("posting")
        desk.log_in()
        main = desk.page.get_by_role("main")
        expect(main.get_by_label("Further header fields")).to_have_value("X-Site: north\nX-A: b")
        desk.press("Post now")
        expect(main.get_by_text('422 {"error":"no such field"}')).to_be_visible()
        expect(main.get_by_role("cell", name='{"error":"no such field"}')).to_have_count(1)
    assert [len(json.loads(request.body)["records"]) for request in receiver.requests] == [1]
    assert receiver.requests[0].fields["x-site"] == "north"


def test_only_what_is_needed_is_asked_for_and_a_server_that_nobody_checks_is_marked(make_rig, visit):
    desk = visit(make_rig()).open("posting")
    desk.set_up()
    desk.tab("Posting")
    main = desk.page.get_by_role("main")
    trust, warning = main.get_by_label("Certificate of the server"), main.get_by_text("certificate is not checked")
    expect(trust).to_be_hidden()
    main.get_by_label("Address", exact=True).fill("https://meters.example/in")
    expect(trust).to_be_visible()
    expect(main.get_by_label("Certificates of authorities")).to_be_visible()
    expect(warning).to_be_hidden()
    trust.select_option("none")
    expect(warning).to_be_visible()
    expect(warning).to_have_class("bad")
    expect(main.get_by_label("Certificates of authorities")).to_be_hidden()
    trust.select_option("pin")
    expect(warning).to_be_hidden()
    expect(main.get_by_label("SHA-256 of the certificate")).to_be_visible()
    desk.tab("Services")
    expect(main.get_by_label("Pass on writes")).to_be_visible()
    expect(main.get_by_label("Further servers")).to_be_visible()


def test_services_say_whether_the_broker_takes_what_is_sent(make_rig, visit, tmp_path):
    broker = Mosquitto(tmp_path / "mosquitto")
    settings = {"enabled": True, "host": HOST, "port": broker.port, "history": True}
    rig = make_rig(config={"mqtt": settings, "history": {"flash": True}})
    wait_for(lambda: rig.status()["mqtt"]["state"] == "retrying", CONNECTED_S, "the first failure")
    desk = visit(rig).open("services")
    desk.set_up()
    card = desk.page.locator("section", has=desk.page.get_by_role("heading", name="MQTT"))
    expect(card.get_by_text("Trying again: refused")).to_have_class("bad")
    with broker:
        expect(card.get_by_text("Connected to the broker")).to_have_class("good", timeout=1000 * CONNECTED_S)
        expect(card.get_by_text("Records waiting")).to_be_visible()


def test_a_broker_that_nobody_checks_is_marked(make_rig, visit):
    desk = visit(make_rig(config={"mqtt": {"tls": True, "trust": "none"}})).open("posting")
    desk.set_up()
    desk.tab("Services")
    main = desk.page.get_by_role("main")
    expect(main.get_by_text("The broker's certificate is not checked")).to_have_class("bad")
    expect(main.get_by_label("Certificates of authorities")).to_have_count(0)

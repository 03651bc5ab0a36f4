"""The captive portal in a browser, on the real firmware with Wi-Fi of its own making."""

import json
import socket
import struct

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from host_tests.browser.visit import PHONE, Visit
from host_tests.system.rig import HOST, PICO_W_HEAP, Rig, wait_for
from tools import gateway
from tools.chromium import chromium
from tools.gateway import ROOT

SCRIPT = ROOT / "host_tests" / "on_micropython" / "run_with_radio.py"
PROBES = (
    ("connectivitycheck.gstatic.com", "/generate_204"),
    ("captive.apple.com", "/hotspot-detect.html"),
    ("www.msftconnecttest.com", "/connecttest.txt"),
)


@pytest.fixture(scope="module")
def browser():
    with chromium([name for name, _ in PROBES]) as running:
        yield running


@pytest.fixture
def rig(tmp_path):
    [dns_port] = gateway.free_ports(1)
    argv = [gateway.find_frozen(print), "-X", f"heapsize={PICO_W_HEAP}", SCRIPT, str(dns_port)]
    with Rig(tmp_path, argv=argv, env={"MICROPYPATH": ".frozen"}) as made:
        made.dns_port = dns_port
        wait_for(lambda: any("setup: access point" in line for line in made.gateway.lines), what="the access point")
        yield made


def asked(port, name):
    """The last four bytes of the name server's reply."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        udp.sendto(struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + labels + b"\0\0\x01\0\x01", (HOST, port))
        return udp.recv(512)[-4:]


@pytest.mark.parametrize(("name", "path"), PROBES)
def test_the_probe_of_each_system_ends_at_the_page(rig, browser, name, path):
    assert asked(rig.dns_port, name) == bytes([127, 0, 0, 1])
    visit = Visit(browser, rig, PHONE, address=f"http://{name}:{rig.http_port}")
    visit.page.goto(visit.address + path)
    expect(visit.page).to_have_url(f"http://{HOST}:{rig.http_port}/setup")
    expect(visit.page.get_by_text("2.4 GHz only")).to_be_visible()
    assert visit.hosts == {f"{name}:{rig.http_port}", f"{HOST}:{rig.http_port}"}
    visit.hosts.clear()
    visit.close()


def test_a_network_is_chosen_refused_and_joined(rig, browser, tmp_path):
    visit = Visit(browser, rig, PHONE)
    page = visit.page
    page.goto(visit.address + "setup")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_label("plant (-55 dBm)").check()
    page.get_by_label("Password").fill("geheim13")
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_text("Joins plant")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text("plant was not joined: wrong password")
    assert "network" not in json.loads((tmp_path / "data" / "config.json").read_text())
    page.get_by_label("plant (-55 dBm)").check()
    page.get_by_label("Password").fill("geheim12")
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("link", name="http://127.0.0.1/")).to_be_visible()
    saved = json.loads((tmp_path / "data" / "config.json").read_text())
    assert saved["network"] == {"link": "wifi", "ssid": "plant", "password": "geheim12"}
    visit.close()

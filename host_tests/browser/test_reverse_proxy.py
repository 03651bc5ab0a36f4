"""The page behind nginx: under a public name, below a path, over TLS, with heads as long as proxies make them."""

import http.client
import json
import ssl

import pytest
from playwright.sync_api import expect

from host_tests.browser.visit import Visit
from host_tests.certificates import Certificate
from host_tests.nginx import Nginx, tls_proxy
from host_tests.system.rig import HOST
from tools import gateway
from tools.chromium import chromium

NAME = "meters.example.org"
PATH = "/energy/"
# As nginx does when nothing else is said: HTTP/1.0, and as Host the address of the gateway.
PLAIN = ()
# As its manual shows it for proxies that keep connections and tell who asked.
TELLING = (
    "proxy_http_version 1.1;",
    'proxy_set_header Connection "";',
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Real-IP $remote_addr;",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
    "proxy_set_header X-Forwarded-Host $host;",
)
# A token of a single sign-on and a client's certificate; with the browser's own fields nearly 8 KiB.
LONG = (f"proxy_set_header Authorization 'Bearer {'t' * 3500}';", f"proxy_set_header X-Client-Cert '{'c' * 3400}';")
# As a proxy needs it that changes what it passes on (sub_filter).
UNPACKED = ('proxy_set_header Accept-Encoding "";',)
OWN_COOKIE_ONLY = ("proxy_set_header Cookie session=$cookie_session;",)


@pytest.fixture(scope="module")
def browser():
    with chromium((NAME,)) as running:
        yield running


@pytest.fixture
def make_proxy(make_rig, tmp_path):
    """make_proxy(directives) starts a gateway and nginx before it: (rig, port of nginx)."""
    proxies = []

    def make(directives):
        rig = make_rig(config={"http": {"public_status": False, "names": [NAME]}})
        (port,) = gateway.free_ports(1)
        certificate = Certificate(NAME).write(tmp_path, "certificate")
        server = tls_proxy(port, certificate, rig.http_port, PATH, directives)
        proxies.append(Nginx(tmp_path / "nginx", [server], [port]).__enter__())
        return rig, port

    yield make
    for proxy in proxies:
        proxy.__exit__()


def ask(port, method, path, fields):
    """(status, body) of a request to nginx, by the name that it serves."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(HOST, port, timeout=10, context=context)
    try:
        connection.request(method, f"{PATH}{path}", headers={"Host": f"{NAME}:{port}"} | fields)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("location", "cookie_size"),
    [(PLAIN + LONG, 50), (TELLING + LONG + OWN_COOKIE_ONLY + UNPACKED, 3000)],
    ids=["plain", "telling"],
)
def test_the_page_works_behind_a_reverse_proxy(make_proxy, browser, location, cookie_size):
    rig, port = make_proxy(location)
    visit = Visit(browser, rig, address=f"https://{NAME}:{port}{PATH}")
    page = visit.page
    others = {"session": "of another device", "sign-on": "s" * cookie_size}
    visit.context.add_cookies([{"name": k, "value": others[k], "domain": NAME, "path": "/"} for k in others])

    visit.open()
    visit.set_up()
    page.get_by_role("button", name="Log out").click()
    visit.log_in()

    page.get_by_role("link", name="main").click()
    for value in (231.5, 232.5):
        rig.meter(1).set(1, value)
        expect(page.locator("td[data-point='1'] .value")).to_have_text(str(value))

    visit.tab("Bus")  # a part of the page
    expect(page.get_by_role("heading", name="Find out what is wrong")).to_be_visible()
    visit.tab("System")
    page.get_by_label("Name of this device").fill("behind nginx")
    visit.save()
    visit.expect_notice("Saved")
    assert json.loads((rig.folder / "data" / "config.json").read_text())["name"] == "behind nginx"

    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password", exact=True)).to_be_visible()
    assert {cookie["name"]: cookie["value"] for cookie in visit.context.cookies()} == others
    visit.close()


def test_a_head_of_8_kib_passes_the_proxy_and_the_gateway_and_a_longer_one_is_431(make_proxy):
    _, port = make_proxy(TELLING + LONG)
    assert ask(port, "GET", "api/session", {"X-More": "x" * 700})[0] == 200
    assert ask(port, "GET", "api/session", {"X-More": "x" * 1400})[0] == 431


def test_a_page_of_another_site_changes_nothing_through_the_proxy(make_proxy):
    _, port = make_proxy(PLAIN)
    ours = {"X-Meterport": "1", "Origin": f"https://{NAME}:{port}"}
    other = ours | {"Origin": "https://evil.example"}
    assert ask(port, "POST", "api/scan", other)[0] == 403
    status, body = ask(port, "POST", "api/scan", ours)
    assert (status, b"not logged in" in body) == (403, True)

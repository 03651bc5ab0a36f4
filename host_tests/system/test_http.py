"""The web page and the JSON API, seen by clients that others wrote: Python's http.client and requests."""

import concurrent.futures
import contextlib
import gzip
import html.parser
import http.client
import json
import re
import select

import pytest
import requests

from host_tests.system.rig import ANSWER_S, HOST, Client, Rig, wait_for

DOCUMENTS = ("/api/status", "/api/readings", "/api/sockets")
HEAP_REQUESTS = 600
HEAP_DRIFT_MAX = 4096  # bytes; the smallest leak, one block of 16 bytes a request, would be 9600


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    with Rig(tmp_path_factory.mktemp("http")) as rig:
        rig.wait_polled()
        yield rig


@pytest.fixture
def connection(rig):
    with contextlib.closing(http.client.HTTPConnection(HOST, rig.http_port, timeout=ANSWER_S)) as connection:
        yield connection


def fetch(connection, path, method="GET"):
    """(response, body) over the connection that there is."""
    connection.request(method, path, headers={"Accept-Encoding": "gzip"})
    response = connection.getresponse()
    return response, response.read()


def no_such_number(name):
    raise AssertionError(f"{name} is not JSON")


def strict_json(body):
    """Parsed as RFC 8259 has it: no NaN, no infinity."""
    return json.loads(body.decode("utf-8"), parse_constant=no_such_number)


def page(connection):
    response, body = fetch(connection, "/")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert response.headers["Content-Encoding"] == "gzip"
    return gzip.decompress(body).decode("utf-8")


def test_one_connection_loads_the_page_whole_and_its_data(rig, connection):
    accepted = rig.sockets()["accepted"]
    text = page(connection)
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    end = connection.sock.getsockname()
    for _ in range(3):
        for path in DOCUMENTS:
            response, body = fetch(connection, path)
            assert response.status == 200
            strict_json(body)
    assert connection.sock.getsockname() == end  # http.client would have connected again without a word
    ledger = strict_json(fetch(connection, "/api/sockets")[1])
    assert ledger["accepted"] == accepted + 1
    mine = next(slot for slot in ledger["slots"] if slot["peer"] == "{}:{}".format(*end))
    assert mine["requests"] == 10
    assert mine["busy"]  # with this very request


class References(html.parser.HTMLParser):
    """Everything in a page that makes a browser fetch something."""

    ATTRIBUTES = ("src", "href", "action", "data", "poster", "srcset", "background", "formaction", "manifest", "ping")

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in self.ATTRIBUTES]


def test_the_page_refers_to_nothing_outside_the_gateway(connection):
    text = page(connection)
    for reference in References(text).found:
        assert re.match(r"(data:|#|/(?!/))", reference), reference
    text = text.replace("http://www.w3.org/2000/svg", "")  # the name of a namespace, which nobody fetches
    for outside in (r"https?://", r"wss?://", r"@import", r"url\(", r"""["'`(]//""", r"import\s*\("):
        assert not re.search(outside, text), outside


def test_every_reading_is_that_of_the_meter(rig, connection):
    response, body = fetch(connection, "/api/readings")
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    document = strict_json(body)
    assert [(meter["slot"], meter["name"], meter["unit"]) for meter in document["meters"]] == [
        (0, "main", 1), (1, "feeder", 2), (2, "socket", 3),
    ]  # fmt: skip
    for meter in document["meters"]:
        virtual = rig.meter(meter["unit"])
        expected = virtual.expected_all()
        assert meter["state"] == "online"
        assert {point["id"] for point in meter["points"]} == {meter["slot"] << 8 | number for number in expected}
        for point in meter["points"]:
            definition = virtual.profile.point(point["id"] & 0xFF)
            assert (point["name"], point["unit"]) == (definition.name, definition.unit)
            assert point["quality"] == "good"
            assert 0 <= point["age_s"] <= 9  # polled each second, by a machine that may be busy
            value = expected[definition.number]
            if definition.accumulating:
                assert point["value"] == value
                assert isinstance(point["value"], int)
            else:
                assert point["value"] == pytest.approx(value, rel=5e-7, abs=1e-9)  # seven digits


def test_the_status_names_every_service_and_what_it_does(rig, connection):
    status = strict_json(fetch(connection, "/api/status")[1])
    assert status["name"] == "test"
    assert status["board"] == "unix"
    assert status["config"] == {"source": "file", "errors": []}
    assert status["reboot_due"] == []
    services = {service["name"]: service for service in status["services"]}
    assert services["http"] == {"name": "http", "state": "running", "slots": 1, "port": rig.http_port}
    assert services["modbus"] == {"name": "modbus", "state": "running", "slots": 1, "port": rig.modbus_port}
    assert set(services) == {"http", "modbus", "bacnet", "finder", "ntp", "posting", "shelly", "mqtt"}
    assert [bus["open"] for bus in status["buses"]] == [True]
    assert [meter["state"] for meter in status["meters"]] == ["online"] * 3


@pytest.mark.parametrize("path", ["/", *DOCUMENTS])
def test_head_has_the_headers_and_no_body(connection, path):
    got, _ = fetch(connection, path)
    head, body = fetch(connection, path, "HEAD")
    assert body == b""
    assert head.status == got.status == 200
    for name in ("Content-Type", "Content-Length", "Transfer-Encoding"):
        assert head.headers[name] == got.headers[name]
    assert fetch(connection, "/api/sockets")[0].status == 200  # and the connection is still in step


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_uptime_monitor_without_gzip_sees_the_page(connection, method):
    connection.putrequest(method, "/", skip_accept_encoding=True)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    assert (response.status, response.headers["Content-Encoding"]) == (200, None)
    if method == "GET":
        assert body.decode() == page(connection)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200), ("meterport", 200), ("meterport.fritz.box", 200), ("meterport.lan", 200),
        ("METERPORT.home.arpa", 200), ("meterport.local.", 200), ("meterport.fritz.box.:8080", 200),
        ("evil.example", 421), ("meterportx.example", 421),
    ],
)  # fmt: skip
def test_the_device_answers_to_the_names_that_routers_give_it(connection, host, status):
    connection.request("GET", "/api/sockets", headers={"Host": host})
    response = connection.getresponse()
    response.read()
    assert response.status == status


def test_a_head_of_8_kib_is_answered_and_a_longer_one_refused(rig):
    head = b"GET /api/sockets HTTP/1.1\r\nHost: x\r\n" + b"X-Forwarded-For: 192.0.2.1\r\n" * 200
    head += b"Authorization: " + b"t" * (8192 - len(head) - 19) + b"\r\n\r\n"
    assert len(head) == 8192
    for data, status in ((head, b"200"), (head.replace(b"Host: x", b"Host: xx"), b"431")):
        with Client(rig.http_port) as client:
            client.send(data)
            assert client.socket.recv(12) == b"HTTP/1.1 " + status


def test_pipelined_requests_are_answered_in_order(rig):
    requests_ = b"".join(
        b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in (b"/nothing", b"/api/sockets", b"/none")
    )
    with Client(rig.http_port) as client:
        client.send(requests_)
        reply = b""
        while b"/none" not in reply:
            reply += client.socket.recv(4096) or pytest.fail("closed")
    first, second, third = (reply.index(mark) for mark in (b"/nothing", b'"limit":16', b"/none"))
    assert first < second < third
    assert re.findall(rb"HTTP/1.1 (\d+)", reply) == [b"404", b"200", b"404"]


def test_http_1_0_gets_its_document_without_chunks_and_the_end_of_the_connection(rig):
    with Client(rig.http_port) as client:
        client.send(b"GET /api/readings HTTP/1.0\r\n\r\n")
        head, _, body = client.wait_closed().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"chunked" not in head
    assert len(strict_json(body)["meters"]) == 3


def test_a_browser_that_reads_slowly_gets_the_whole_document(rig):
    # A receive buffer much smaller than the document, and one piece at a time.
    with Client(rig.http_port) as client, rig.client() as other:
        client.send(b"GET /api/readings HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reply = b""
        while data := client.socket.recv(97):
            reply += data
            if len(reply) % 10 == 0:
                assert other.read(255, 3, 0, 1) == b"MP"
    assert reply.endswith(b"0\r\n\r\n")
    assert b'"alarm"' in reply


def test_the_requests_library_keeps_one_connection(rig):
    with requests.Session() as session:
        session.trust_env = False
        before = session.get(f"http://{HOST}:{rig.http_port}/api/sockets", timeout=ANSWER_S).json()
        for path in (*DOCUMENTS, "/"):
            response = session.get(f"http://{HOST}:{rig.http_port}{path}", timeout=ANSWER_S)
            assert response.ok
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        after = session.get(f"http://{HOST}:{rig.http_port}/api/sockets", timeout=ANSWER_S).json()
    assert after["accepted"] == before["accepted"]


def test_four_browsers_at_once_get_their_documents(rig):
    def load(number):
        with contextlib.closing(http.client.HTTPConnection(HOST, rig.http_port, timeout=20)) as connection:
            for k in range(6):
                response, body = fetch(connection, DOCUMENTS[(number + k) % 3])
                assert response.status == 200
                strict_json(body)
        return True

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(load, range(4))) == [True] * 4


def test_fifty_connections_one_after_the_other_leave_no_socket(rig):
    def settled():
        return rig.sockets()["in_use"] == 6  # five services, and the connection that asks

    wait_for(settled, what="an idle gateway")
    for k in range(50):
        with contextlib.closing(http.client.HTTPConnection(HOST, rig.http_port, timeout=ANSWER_S)) as connection:
            response, _ = fetch(connection, ("/", *DOCUMENTS)[k % 4])
            assert response.status == 200
    wait_for(settled, what="all connections given back")

    def only_services_are_open():
        slots = rig.sockets()["slots"]
        services = sum(slot["open"] for slot in slots if slot["role"] == "service")
        return rig.gateway.socket_count() <= services

    wait_for(only_services_are_open, what="all sockets closed")


def lowest_heap(connection, count):
    """The least heap in use at `count` looks: what is left right after a collection."""
    return min(strict_json(fetch(connection, "/api/status")[1])["heap"]["used"] for _ in range(count))


def test_the_heap_does_not_grow_with_the_requests(rig, connection):
    for path in ("/", *DOCUMENTS) * 10:  # what is made once has been made
        fetch(connection, path)
    before = lowest_heap(connection, 60)
    for k in range(HEAP_REQUESTS):
        assert fetch(connection, ("/api/sockets", "/api/readings", "/nothing")[k % 3])[0].status in (200, 404)
    after = lowest_heap(connection, 60)
    assert after - before < HEAP_DRIFT_MAX, f"{before} bytes, then {after}"


def test_an_idle_connection_is_closed_after_its_time(make_rig):
    rig = make_rig(config={"http": {"idle_timeout_s": 2}}, meters=())
    with contextlib.closing(http.client.HTTPConnection(HOST, rig.http_port, timeout=ANSWER_S)) as connection:
        assert fetch(connection, "/api/sockets")[0].status == 200
        # After 2 s, looked at once a second; by default it would be 15 s.
        assert select.select([connection.sock], [], [], 10)[0], "still open"
        assert connection.sock.recv(1) == b""
    assert rig.sockets()["evictions"]["timeout"] == 1


def test_without_public_status_the_page_is_there_and_the_data_is_not(make_rig):
    rig = make_rig(config={"http": {"public_status": False}}, meters=())
    with contextlib.closing(http.client.HTTPConnection(HOST, rig.http_port, timeout=ANSWER_S)) as connection:
        for path in DOCUMENTS:
            response, body = fetch(connection, path)
            assert response.status == 403
            assert strict_json(body) == {"error": "not logged in, and http.public_status is off", "status": 403}
        assert "</html>" in page(connection)

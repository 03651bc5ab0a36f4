"""What a peer may do wrong: it gets a clear error or a clean close, the log gets its line, and a well-behaved client
beside it, which is polling all the time, notices nothing."""

import contextlib
import json
import random
import socket
import ssl
import struct
import time

import pytest

from host_tests.system.rig import (
    GATEWAY_PATH_UNAVAILABLE,
    GATEWAY_TARGET_FAILED,
    ILLEGAL_DATA_ADDRESS,
    ILLEGAL_DATA_VALUE,
    ILLEGAL_FUNCTION,
    METERS,
    READY_S,
    AddressMeter,
    Client,
    Poller,
    Rig,
    address_words,
    adu,
    read_pdu,
    wait_for,
    words,
)
from tools import gateway
from tools.gateway import Gateway
from tools.virtual_meters import VirtualMeter

FAULTY = 9  # the meter that misbehaves; it is polled once, at the start
FAULTY_TIMEOUT_MS = 500  # more than the gateway or the meter is kept from its work on a busy machine
SERIAL_NUMBER = (2, 3, 0x51D, 1)  # of the WattsOn-Mark II: not polled, so it is asked for every time
HTTP_UNSERVED_S = 10  # docs/reference/http.md
GOOD_REQUEST = b"GET /api/sockets HTTP/1.1\r\nHost: meter\r\n\r\n"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    faulty = {
        "slot": 5, "name": "faulty", "unit": FAULTY, "profile": "pzem-004t-v3", "interval_s": 3600, "max_age_s": 0,
        "timeout_ms": FAULTY_TIMEOUT_MS, "retries": 1,
    }  # fmt: skip
    virtual = [VirtualMeter(meter["unit"], meter["profile"]) for meter in METERS]
    folder = tmp_path_factory.mktemp("bad-input")
    with Rig(folder, meters=[*METERS, faulty], virtual=[*virtual, AddressMeter(FAULTY)]) as rig:
        wait_for(lambda: all(meter["state"] == "online" for meter in rig.status()["meters"]), what="meters online")
        wait_for(lambda: all(point["quality"] == "good" for point in rig.points(1).values()), what="readings")
        yield rig


@pytest.fixture(scope="module")
def stalled(rig):
    """{port: (client, when)} that stopped in the middle of a request when this module began."""
    half = {rig.http_port: GOOD_REQUEST[:20], rig.modbus_port: adu(77, 2, read_pdu(*SERIAL_NUMBER[1:]))[:9]}
    with contextlib.ExitStack() as stack:
        clients = {}
        for port, data in half.items():
            client = stack.enter_context(Client(port))
            client.send(data)
            clients[port] = client, time.monotonic()
        yield clients


@pytest.fixture(scope="module")
def poller(rig, stalled):
    def held(unit, function, address, count):
        return unit, function, address, count, words(rig.meter(unit).registers(function, address, count))

    reads = [held(1, 4, 0, 36), held(3, 4, 0, 10), held(*SERIAL_NUMBER), (255, 3, 0, 1, b"MP")]
    with Poller(rig.modbus_port, reads) as poller:
        yield poller


@pytest.fixture(autouse=True)
def nothing_else_is_disturbed(rig, poller):
    """Around every test: the well-behaved client has lost nothing and goes on."""
    restarts = rig.status()["task_restarts"]
    yield
    poller.check(more=8)
    assert rig.status()["task_restarts"] == restarts == 0


@contextlib.contextmanager
def one_line_in_the_log(rig, part):
    """What happens inside is logged once."""
    before = rig.event_count(part)
    yield
    wait_for(lambda: rig.event_count(part) > before, what=f"an event with {part!r}")
    assert rig.event_count(part) == before + 1


def client_hello():
    """What a TLS client sends first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="meter.example").do_handshake()
    hello = outgoing.read()
    assert hello[0] == 0x16
    return hello


# Modbus TCP


@pytest.mark.parametrize("length", [0, 1, 255, 65535])
def test_an_impossible_mbap_length_closes_the_connection(rig, length):
    with (
        one_line_in_the_log(rig, f"modbus: connection closed: impossible MBAP length {length}"),
        rig.client() as client,
    ):
        client.send(adu(1, 3, read_pdu(4, 0, 10), length=length))
        assert client.wait_closed() == b""


def test_what_came_before_an_impossible_length_is_answered(rig):
    with rig.client() as client:
        client.send(adu(1, 255, read_pdu(3, 0, 1)) + adu(2, 255, read_pdu(3, 0, 1), length=1))
        assert client.receive() == (1, 255, b"\x03\x02MP")
        assert client.wait_closed() == b""


def test_another_protocol_id_is_discarded_and_the_stream_goes_on(rig):
    with one_line_in_the_log(rig, "modbus: ADU with protocol id 1 discarded"), rig.client() as client:
        client.send(adu(1, 255, read_pdu(3, 0, 1), protocol=1) + adu(2, 255, read_pdu(3, 0, 1)))
        assert client.receive() == (2, 255, b"\x03\x02MP")


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_end_with_a_close_and_no_answer(rig, seed):
    data = random.Random(seed).randbytes(600)
    assert not 2 <= struct.unpack_from(">H", data, 4)[0] <= 254, "this seed begins with a length that is possible"
    with one_line_in_the_log(rig, "modbus: connection closed: impossible MBAP length"), rig.client() as client:
        client.send(data)
        assert client.wait_closed() == b""


def test_a_tls_client_hello_on_the_modbus_port_closes_the_connection(rig):
    with one_line_in_the_log(rig, "modbus: connection closed: impossible MBAP length"), rig.client() as client:
        client.send(client_hello())
        assert client.wait_closed() == b""


def test_an_http_request_on_the_modbus_port_closes_the_connection(rig):
    with one_line_in_the_log(rig, "modbus: connection closed: impossible MBAP length"), rig.client() as client:
        client.send(GOOD_REQUEST)
        assert client.wait_closed() == b""


@pytest.mark.parametrize("unit", range(248, 255))
def test_a_reserved_unit_has_no_path(rig, unit):
    with rig.client() as client:
        assert client.exception(unit, read_pdu(3, 0, 1)) == GATEWAY_PATH_UNAVAILABLE


def test_a_unit_without_a_meter_gets_exception_0b(rig):
    with rig.client() as client:
        assert client.exception(123, read_pdu(3, 0, 1)) == GATEWAY_TARGET_FAILED


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (read_pdu(3, 0, 0), ILLEGAL_DATA_VALUE),
        (read_pdu(4, 0, 126), ILLEGAL_DATA_VALUE),
        (read_pdu(1, 0, 2001), ILLEGAL_DATA_VALUE),
        (read_pdu(3, 0xFFFF, 2), ILLEGAL_DATA_ADDRESS),
        (read_pdu(3, 0, 1) + b"\0", ILLEGAL_DATA_VALUE),
        (b"\x03\x00", ILLEGAL_DATA_VALUE),
        (b"\x05\x00\x01\x12\x34", ILLEGAL_DATA_VALUE),
        (b"\x10\x00\x01\x00\x02\x04\x00\x01", ILLEGAL_DATA_VALUE),
        (b"\x00", ILLEGAL_FUNCTION),
        (b"\x80", ILLEGAL_FUNCTION),
        (b"\xff\x01", ILLEGAL_FUNCTION),
    ],
    ids=lambda value: value.hex() if isinstance(value, bytes) else str(value),
)
@pytest.mark.parametrize("unit", [1, 255])
def test_a_malformed_pdu_meets_the_exception_of_the_specification(rig, unit, pdu, code):
    # A request for unit 255 with a function that it does not have is refused for that first.
    if unit == 255 and pdu[0] not in (3, 4):
        code = ILLEGAL_FUNCTION
    with rig.client() as client:
        client.send(adu(9, unit, pdu))
        assert client.receive() == (9, unit, bytes((pdu[0] | 0x80, code)))
        assert client.read(255, 3, 0, 1) == b"MP"


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_clients_that_leave_while_their_request_is_on_the_bus_leave_nothing_behind(rig, reset):
    before = rig.sockets()
    logged = rig.event_count("modbus: ")
    meter = rig.meter(FAULTY)
    for k in range(12):
        client = rig.client()
        client.send_request(FAULTY, read_pdu(4, 100 + k, 3))
        if k % 2:
            rig.line.wait_for(lambda k=k: meter.seen and meter.seen[-1] == read_pdu(4, 100 + k, 3))
        if reset:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    wait_for(lambda: rig.sockets()["in_use"] <= before["in_use"], what="the slots given back")
    with rig.client() as client:
        assert client.read(FAULTY, 4, 200, 3) == address_words(200, 3)
    assert rig.event_count("modbus: ") == logged, rig.events()  # to leave is everybody's right


# The client that stopped in the middle of its request when this module began: as long as it is not closed as unserved


def test_a_modbus_client_that_stalls_in_the_middle_may_go_on_later(rig, stalled):
    client, _ = stalled[rig.modbus_port]
    assert client.is_open()
    client.send(adu(77, 2, read_pdu(*SERIAL_NUMBER[1:]))[9:])
    unit, *read = SERIAL_NUMBER
    assert client.receive() == (77, unit, b"\x03\x02" + words(rig.meter(unit).registers(*read)))


# The serial line


FAULTS = {
    "crc_error": "crc",
    "wrong_unit": "unit",
    "wrong_function": "function",
    "silent": None,  # no line for every time-out: the meter's state and the counters say it
    "short": None,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_the_line_is_cured_by_the_retry(rig, fault):
    meter = rig.meter(FAULTY)
    with rig.client() as client:
        meter.fail(fault if fault != "short" else {"short": 3})
        assert client.read(FAULTY, 4, 300, 8) == address_words(300, 8)
        assert not meter.faults


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_becomes_target_failed_and_the_next_answer_is_right(rig, fault):
    meter = rig.meter(FAULTY)
    one = fault if fault != "short" else {"short": 3}
    reason = FAULTS[fault]
    part = f"unit {FAULTY}: no answer to function 4, but 21 bytes with wrong {reason}"
    before = rig.event_count(part)
    with rig.client() as client:
        meter.fail(one, one)
        begin = time.monotonic()
        assert client.exception(FAULTY, read_pdu(4, 400, 8)) == GATEWAY_TARGET_FAILED
        assert time.monotonic() - begin < 10 * FAULTY_TIMEOUT_MS / 1000  # two of them, and what others ask meanwhile
        assert client.read(FAULTY, 4, 500, 8) == address_words(500, 8)
    assert rig.event_count(part) == before + (2 if reason else 0)  # one for each try


@pytest.mark.parametrize("fault", [{"echo": True}, {"noise": b"\x00\xff\x55"}, {"noise": bytes(range(40))}])
def test_an_echo_or_noise_before_the_answer_does_no_harm(rig, fault):
    meter = rig.meter(FAULTY)
    with rig.client() as client:
        meter.fail(fault)
        requests = meter.requests
        assert client.read(FAULTY, 4, 600, 8) == address_words(600, 8)
        assert meter.requests == requests + 1  # at the first try


def test_an_exception_of_the_meter_is_passed_on(rig):
    meter = rig.meter(FAULTY)
    with rig.client() as client:
        meter.fail({"exception": 4})
        assert client.exception(FAULTY, read_pdu(4, 700, 8)) == 4


# HTTP


def exchange(rig, data, shut=False):
    """Sends bytes to the HTTP port; everything that comes until the gateway closes."""
    with Client(rig.http_port) as client:
        client.send(data)
        if shut:
            client.socket.shutdown(socket.SHUT_WR)
        return client.wait_closed()


def split_reply(reply):
    """(status, headers, JSON document or bytes) of one reply with a Content-Length."""
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert len(body) == int(headers["content-length"])
    is_json = headers.get("content-type") == "application/json"
    return int(first.split()[1]), headers, json.loads(body) if is_json else body


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 2000, 431),
        (b"GET /" + b"a" * 1100, 414),
        (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET /../boot.py HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nBad header\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (random.Random(1).randbytes(500), 400),
    ],
)
def test_a_bad_request_is_refused_with_a_reason_and_closed(rig, data, status):
    with one_line_in_the_log(rig, f"http: request refused: {status}"):
        got, headers, document = split_reply(exchange(rig, data, shut=True))
    assert got == status
    assert headers["connection"] == "close"
    assert document["status"] == status
    assert len(document["error"]) > 5


def test_a_tls_client_hello_on_the_http_port_is_refused(rig):
    with one_line_in_the_log(rig, "http: request refused: 400"):
        status, _, document = split_reply(exchange(rig, client_hello(), shut=True))
    assert status == 400
    assert "not an HTTP request" in document["error"]


@pytest.mark.parametrize("cut", [1, 3, 14, 30, len(GOOD_REQUEST) - 1])
def test_a_truncated_request_ends_with_a_clean_close(rig, cut):
    assert exchange(rig, GOOD_REQUEST[:cut], shut=True) == b""


@pytest.mark.parametrize(
    "path", ["/nothing", "/api", "/api/", "/api/readings/", "/firmware/app.mpy", "/data/config.json"]
)
def test_an_unknown_path_is_not_found_and_the_connection_stays(rig, path):
    with Client(rig.http_port) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        reply = client.socket.recv(4096)
        status, headers, document = split_reply(reply)
        assert status == 404
        assert path in document["error"]
        assert headers["connection"] == "keep-alive"
        client.send(GOOD_REQUEST)
        assert client.socket.recv(4096).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
@pytest.mark.parametrize("path", ["/", "/api/status"])
def test_nothing_but_get_and_head_is_allowed(rig, method, path):
    status, headers, _ = split_reply(exchange(rig, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), shut=True))
    assert status == 405
    assert headers["allow"] == "GET, HEAD"


def test_a_post_with_a_body_is_refused(rig):
    body = b"name=value"
    head = f"POST /api/status HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    status, _, _ = split_reply(exchange(rig, head + body, shut=True))
    assert status == 405


# The configuration


WRONG = {
    "unknown key": (lambda good: good["modbus"].update(prot=1), "modbus.prot: unknown key"),
    "value out of bounds": (lambda good: good["meters"][0].update(unit=300), "meters[0].unit: 300 is not 1 to 247"),
    "not one of the choices": (
        lambda good: good["buses"][0].update(baud=9601),
        "buses[0].baud: 9601 is not one of 1200",
    ),
    "wrong type": (
        lambda good: good["http"].update(public_status="yes"),
        'http.public_status: "yes" is not true or false',
    ),
    "missing": (lambda good: good["meters"][1].pop("profile"), "meters[1].profile"),
    "unknown profile": (lambda good: good["meters"][1].update(profile="sdm999"), "meters[1].profile"),
    "used twice": (lambda good: good["meters"][1].update(unit=1), "meters[1].unit: 1 is used by another meter"),
    "not a section": (lambda good: good.update(http=80), "http: must be an object"),
    "not JSON": (b'{"http": {"port": 80,', "configuration: not JSON"),
    "empty": (b"", "configuration: not JSON"),
    "not text": (b"\xff\xfe\x00\x01" * 10, "configuration: not JSON"),
    "not an object": (b"[1, 2, 3]", "an object"),
    "null": (b"null", "an object"),
    "too long": (b" " * 20000 + b"{}", "configuration: 20002 bytes are more than"),
}


def write_wrong(rig_folder, good, kind):
    change, message = WRONG[kind]
    path = rig_folder / "data" / "config.json"
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        wrong = json.loads(json.dumps(good))
        change(wrong)
        path.write_text(json.dumps(wrong))
    return message


@pytest.fixture(scope="module")
def good_before(tmp_path_factory):
    """A device that ran by a good configuration once; it is off now."""
    rig = Rig(tmp_path_factory.mktemp("last-good"), virtual=())
    with rig:
        assert rig.status()["config"] == {"source": "file", "errors": []}
        rig.wait_last_good()
    return rig


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_parts_of_a_configuration_are_replaced_and_named(good_before, kind):
    """Of a file that is no JSON object nothing is right; else what is wrong is the last good one's."""
    rig = good_before
    message = write_wrong(rig.folder, rig.config, kind)
    written = (rig.folder / "data" / "config.json").read_bytes()
    with Gateway(rig.folder, heap=rig.gateway.heap, frozen=True):
        wait_for(lambda: gateway.http_answers(rig.http_port), READY_S, "HTTP on the last good port")
        wait_for(lambda: gateway.modbus_answers(rig.modbus_port), READY_S, "Modbus on the last good port")
        status = rig.status()
        assert status["config"]["source"] == ("last good" if isinstance(WRONG[kind][0], bytes) else "partly")
        assert any(message in error for error in status["config"]["errors"]), status["config"]["errors"]
        assert [meter["unit"] for meter in status["meters"]] == [1, 2, 3]
        assert any(message[:100] in line for line in rig.events())
    assert (rig.folder / "data" / "config.json").read_bytes() == written  # never changed behind the user's back


@pytest.mark.parametrize(
    ("kind", "source"),
    [("unknown key", "running by the file where it is right"), ("not JSON", "running by the default configuration")],
)
def test_without_a_last_good_one_what_is_wrong_is_the_default_and_it_says_why(tmp_path, kind, source):
    # The default ports need not be free or allowed here: what it says on the console is looked at.
    good = json.loads(json.dumps({"modbus": {}, "meters": []}))
    (tmp_path / "data").mkdir()
    message = write_wrong(tmp_path, good, kind)
    with Gateway(tmp_path) as process:
        process.wait_line(f"config: {source}")
        process.wait_line("app: meterport runs on unix")
        assert any(message in line for line in process.lines), process.tail()
        assert process.alive


# The browser that stopped in the middle when this module began


def test_an_http_client_that_stalls_in_the_middle_is_closed_in_time(rig, stalled):
    client, begun = stalled[rig.http_port]
    # The gateway looks once a second; a busy machine gets more. When the time is over already, it must be closed.
    told = client.wait_closed(max(1, begun + HTTP_UNSERVED_S + 10 - time.monotonic()))
    assert told.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert rig.sockets()["evictions"]["timeout"] >= 1

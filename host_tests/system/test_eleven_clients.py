"""Sixteen sockets, and who goes when all are in use: the firmware watched from outside while eleven and more clients
want to be served. What the process holds is counted in /proc, not taken from what it says of itself."""

import contextlib
import threading
import time

import pytest

from host_tests.system.rig import (
    ALL_SIX,
    ANSWER_S,
    Client,
    SocketSampler,
    wait_for,
    within_budget,
    words,
)

LIMIT = 16
READ = (3, 4, 0, 10)  # of the PZEM: polled, so it is answered from memory
CLOSED = (EOFError, ConnectionError)
SPARED_S = 1.1  # a newcomer is given a second for its first request


@pytest.fixture
def rig(make_rig):
    """All six services are enabled."""
    rig = make_rig(**ALL_SIX)
    rig.wait_polled()
    return rig


@pytest.fixture
def sampler(rig):
    """Counts the sockets of the process during the whole test."""
    with within_budget(rig, LIMIT) as sampler:
        yield sampler


@pytest.fixture
def connect(rig):
    """connect() gives a Client; all are closed with the test."""
    with contextlib.ExitStack() as stack:

        def new():
            return stack.enter_context(rig.client())

        yield new


def expected(rig, unit, function, address, count):
    return words(rig.meter(unit).registers(function, address, count))


def check(rig, client):
    assert client.read(*READ) == expected(rig, *READ)


def nobody_is_connected(rig):
    """Waits until the connections of earlier requests are gone; one is the one that asks."""
    wait_for(lambda: rig.general_in_use() == 1, what="an empty ledger")


def test_the_eleventh_client_evicts_exactly_the_least_recently_used(rig, sampler, connect):
    assert {service["name"] for service in rig.status()["services"] if service["state"] != "off"} == {
        "http", "modbus", "bacnet", "finder", "ntp", "posting",
    }  # fmt: skip
    before = rig.sockets()
    assert (before["limit"], before["services"], before["general"]) == (16, 6, 10)
    nobody_is_connected(rig)

    clients = []
    for _ in range(10):
        clients.append(connect())
        check(rig, clients[-1])
    for k in (7, 2, 9, 0, 5, 1, 8, 6, 4):  # everybody but number 3, who was not the first to come
        check(rig, clients[k])
    assert all(client.is_open() for client in clients)

    eleventh = connect()
    check(rig, eleventh)
    assert [k for k, client in enumerate(clients) if not client.is_open()] == [3]
    with pytest.raises(CLOSED):
        check(rig, clients[3])
    for k, client in enumerate(clients):
        if k != 3:
            check(rig, client)
    check(rig, eleventh)

    clients[0].close()  # makes room for the connection that looks
    wait_for(lambda: eleventh.read(255, 3, 103, 1) == b"\x00\x09", what="nine connections")
    after = rig.sockets()
    assert {k: n - before["evictions"][k] for k, n in after["evictions"].items()} == {
        "unserved": 0, "idle": 1, "busy": 0, "quota": 0, "timeout": 0,
    }  # fmt: skip


def test_the_twelfth_evicts_the_next_in_order_of_use_not_of_opening(rig, sampler, connect):
    nobody_is_connected(rig)
    clients = [connect() for _ in range(10)]
    order = (4, 1, 8, 0, 9, 2, 7, 3, 6, 5)
    for k in order:
        check(rig, clients[k])
    for newcomers in range(1, 5):
        check(rig, connect())
        gone = {k for k, client in enumerate(clients) if not client.is_open()}
        assert gone == set(order[:newcomers])


def test_a_client_that_never_asked_goes_before_one_that_did(rig, sampler, connect):
    nobody_is_connected(rig)
    served = [connect() for _ in range(9)]
    for client in served:
        check(rig, client)
    silent = connect()  # came last, and has never been served
    wait_for(lambda: served[8].read(255, 3, 103, 1) == b"\x00\x0a", what="ten connections")
    spared_until = time.monotonic() + SPARED_S
    wait_for(lambda: check(rig, served[8]) or time.monotonic() > spared_until, what="the end of its grace")
    check(rig, connect())
    assert not silent.is_open()
    assert all(client.is_open() for client in served)


def test_a_client_whose_request_is_on_the_bus_is_not_evicted(rig, sampler, connect):
    nobody_is_connected(rig)
    meter = rig.meter(2)
    meter.delay_ms = 400
    waiting = connect()
    others = [connect() for _ in range(9)]
    for client in others:
        check(rig, client)
    serial_number = b"\x03\x05\x1d\x00\x01"  # of the WattsOn-Mark II: not polled
    waiting.send_request(2, serial_number)
    rig.line.wait_for(lambda: meter.seen and meter.seen[-1] == serial_number)
    check(rig, connect())  # `waiting` was never served, but its request is in flight
    assert waiting.receive()[2] == b"\x03\x02" + expected(rig, 2, 3, 0x51D, 1)
    assert [k for k, client in enumerate(others) if not client.is_open()] == [0]


def test_the_page_can_be_had_while_ten_pollers_are_connected(rig, sampler, connect):
    nobody_is_connected(rig)
    clients = [connect() for _ in range(10)]
    for client in clients:
        check(rig, client)
    ledger = rig.sockets()  # an HTTP connection, while all ten slots are in use
    assert len([slot for slot in ledger["slots"] if slot["kind"] == "http" and slot["role"] == "connection"]) == 1
    assert [k for k, client in enumerate(clients) if not client.is_open()] == [0]


def test_browsers_evict_each_other_and_no_poller(rig, sampler, connect):
    nobody_is_connected(rig)
    clients = [connect() for _ in range(3)]  # three slots stay free
    for client in clients:
        check(rig, client)
    with contextlib.ExitStack() as stack:
        browsers = []
        for _ in range(8):
            browser = stack.enter_context(Client(rig.http_port))
            browsers.append(browser)
            browser.send(b"GET /api/sockets HTTP/1.1\r\nHost: x\r\n\r\n")
            reply = b""
            while not reply.endswith(b"0\r\n\r\n"):
                data = browser.socket.recv(4096)
                assert data, f"closed in the middle of the reply, after {reply!r}"
                reply += data
            assert reply.startswith(b"HTTP/1.1 200 ")
        # http.max_connections is 4
        assert [browser.is_open() for browser in browsers] == [False] * 4 + [True] * 4
    assert all(client.is_open() for client in clients)


def test_the_ledger_agrees_with_the_kernel_and_with_the_clients(rig, sampler, connect):
    nobody_is_connected(rig)
    clients = [connect() for _ in range(6)]
    for k, client in enumerate(clients):
        for _ in range(k + 1):
            check(rig, client)

    def agrees():
        # The NTP client opens and closes its socket when it likes; then the two are asked again.
        before = rig.gateway.socket_count()
        ledger = rig.sockets()
        held = sum(slot["open"] for slot in ledger["slots"])
        return ledger if held == before + 1 else None  # and one for the connection that asks

    ledger = wait_for(agrees, what="a ledger that agrees with /proc")
    slots = ledger["slots"]
    assert len(slots) == ledger["in_use"] == ledger["services"] + 7
    by_peer = {slot["peer"]: slot for slot in slots if slot["kind"] == "modbus" and slot["role"] == "connection"}
    assert set(by_peer) == {client.peer for client in clients}
    for k, client in enumerate(clients):
        slot = by_peer[client.peer]
        assert slot["requests"] == k + 1
        assert slot["received"] == 12 * (k + 1)
        assert slot["sent"] == (9 + 20) * (k + 1)
        assert not slot["busy"]

    for client in clients[:3]:
        client.close()
    wait_for(lambda: rig.sockets()["in_use"] == ledger["in_use"] - 3, what="three slots given back")


def test_twenty_clients_that_reconnect_all_make_progress(rig, sampler):
    wanted = 25
    answers = [0] * 20
    reconnects = [0] * 20
    errors = []
    everybody = threading.Event()
    value = expected(rig, *READ)

    def ask(k):
        try:
            while not everybody.is_set():
                try:
                    with rig.client() as client:
                        while not everybody.is_set():
                            assert client.read(*READ) == value
                            answers[k] += 1
                            if min(answers) >= wanted:
                                everybody.set()
                except CLOSED:
                    reconnects[k] += 1
        except Exception as error:  # shown in the test's own thread
            errors.append(error)
            everybody.set()

    threads = [threading.Thread(target=ask, args=(k,), daemon=True) for k in range(20)]
    for thread in threads:
        thread.start()
    assert everybody.wait(40), f"answers {answers}, reconnects {reconnects}"
    for thread in threads:
        thread.join(ANSWER_S)
        assert not thread.is_alive()
    assert errors == []
    assert sum(reconnects) > 0  # 20 clients want 10 slots
    assert rig.status()["task_restarts"] == 0


@pytest.mark.parametrize(
    ("off", "general"),
    [
        ((), 10),
        (("bacnet",), 11),
        (("bacnet", "posting"), 12),
        (("bacnet", "posting", "ntp"), 13),
    ],
    ids=["all six", "BACnet off", "BACnet and posting off", "BACnet, posting and NTP off"],
)
def test_general_slots_counted_by_connections_that_stay_open(make_rig, connect_all, off, general):
    config = {"bacnet": {"enabled": True}} | {name: {"enabled": False} for name in off}
    rig = make_rig(config=config, meters=())
    with SocketSampler(rig.gateway) as sampler:
        clients = connect_all(rig, 16)
        assert sum(client.is_open() for client in clients) == general
        assert [client.is_open() for client in clients] == [False] * (16 - general) + [True] * general
    assert sampler.most <= LIMIT
    ledger = rig.sockets()
    assert ledger["general"] == general
    assert ledger["in_use"] <= LIMIT


@pytest.fixture
def connect_all():
    """connect_all(rig, count): clients, connected and served one after the other; all are closed with the test."""
    with contextlib.ExitStack() as stack:

        def connect(rig, count):
            nobody_is_connected(rig)
            clients = []
            for _ in range(count):
                clients.append(stack.enter_context(rig.client()))
                assert clients[-1].read(255, 3, 0, 1) == b"MP"
            return clients

        yield connect

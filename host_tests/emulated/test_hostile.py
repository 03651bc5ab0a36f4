"""Peers that nobody wishes for, on real lwIP with nothing in between: three pollers go on being served, a newcomer is
served afterwards, and the ledger is empty again."""

import contextlib
import http.client
import socket
import struct

import pytest

from host_tests.emulated import peers
from host_tests.emulated.peers import Flood, Peers, Pollers
from host_tests.system.rig import adu, read_pdu, wait_for
from tools import page

TUN = True
PAGE = page.document().encode()
CLOSED_S = 240  # until the chip has closed whom it must; its own limit is ten seconds
WORST_S = 40  # a poll on a chip that is short of memory for output, and slower than real time
SILENT = 9  # a unit that nobody has


@pytest.fixture
def chip(shared_chip):
    """The module's chip, which the test leaves with nobody connected."""
    yield shared_chip
    settle(shared_chip)


@pytest.fixture
def others(chip):
    with Peers(chip) as others:
        yield others


@pytest.fixture
def pollers(chip):
    with Pollers(chip) as pollers:
        yield pollers


def settle(chip):
    """Newcomers take the place of what is left of connections whose end the chip could not hear."""
    restarts = chip.get("/api/status")["task_restarts"]
    with Peers(chip) as good:
        for _ in range(chip.get("/api/sockets")["general"]):
            good.client()
    chip.wait_alone()
    ledger = chip.get("/api/sockets")
    assert ledger["high_water"] <= ledger["limit"]
    assert [slot["kind"] for slot in ledger["slots"] if slot["role"] == "connection"] == ["http"]
    assert restarts == 0
    assert chip.emulator.resets == 0


def connections(chip, kind):
    """{peer: row of the ledger} of the connections of this kind, but for the one that asks."""
    rows = [slot for slot in chip.get("/api/sockets")["slots"] if slot["role"] == "connection" and slot["kind"] == kind]
    return {row["peer"]: row for row in (rows[:-1] if kind == "http" else rows)}


def wait_closed(peer):
    """Until the chip has ended the connection, by FIN or RST; what it had sent before is read and forgotten."""

    def closed():
        peer.settimeout(0.2)
        try:
            return peer.recv(65536) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    wait_for(closed, CLOSED_S, "an end of the connection")


@pytest.mark.parametrize("end", [socket.socket.close, peers.reset], ids=["closes", "resets"])
def test_a_flood_of_connections_that_end_before_accept_stops_no_client(chip, pollers, others, end):
    with Flood(chip, end) as flood:
        flood.wait_made(150)
        pollers.check()
    assert flood.made >= 150
    others.client()
    pollers.check()


def test_half_open_handshakes_delay_new_connections_only(chip, pollers, others):
    """lwIP holds each for 20 s, and takes no SYN more than the backlog: nothing that firmware could do."""
    others.half_open(chip.emulator.ports["modbus"], 12)
    pollers.check()
    assert chip.fetch("/")[0] == 200  # the other listener has a backlog of its own
    others.client()
    pollers.check()


def test_clients_that_vanish_make_room_for_as_many_newcomers_at_once(chip, pollers, others):
    """Ten slots, and seven dead connections that nobody can hear: lwIP needs PCBs for both."""
    dead = [others.client() for _ in range(7)]
    for client in dead:
        others.vanish(client)
    alive = [others.client() for _ in range(7)]
    pollers.check()
    for client in alive:
        client.read(*peers.READS[0])
    rows = connections(chip, "modbus")
    assert not {client.peer for client in dead} & set(rows)
    assert {client.peer for client in alive[1:]} <= set(rows)  # one may have made room for the page


def test_four_browsers_that_never_read_are_closed_and_delay_no_client(chip, pollers, others):
    greedy = [others.unreading("http") for _ in range(4)]
    for peer, path in zip(greedy, (b"/", b"/api/status", b"/api/readings", b"/"), strict=True):
        peer.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n" % path * 10)
    pollers.check()

    peers_of = {"{}:{}".format(*peer.getsockname()) for peer in greedy}

    def gone():
        try:
            return not connections(chip, "http").keys() & peers_of
        except (OSError, http.client.HTTPException):  # four of them leave little memory for a fifth document
            return False

    def served():
        with contextlib.suppress(OSError, http.client.HTTPException):
            return chip.fetch("/") == (200, PAGE)

    wait_for(gone, CLOSED_S, "the end of the connections that nobody reads")
    wait_for(served, CLOSED_S, "a page for the next browser")
    pollers.check()
    assert pollers.worst_s < WORST_S


def send_until_full(sock, data, limit=1_000_000):
    sent = 0
    while sent < limit:
        sent += sock.send(data)


@pytest.mark.parametrize("count", [125, 1])
def test_a_modbus_client_that_never_reads_is_closed_and_delays_no_other(chip, pollers, others, count):
    """Of small replies lwIP takes few when each is a segment of its own, and write() waits ten seconds for the next:
    longer than the watchdog (docs/decisions/0014-nagle-on-the-pico.md)."""
    greedy = others.unreading("modbus")
    request = adu(1, 255, read_pdu(3, 200, count))
    greedy.settimeout(0)
    with pytest.raises(BlockingIOError):  # the chip reads no further
        send_until_full(greedy, request * 50)
    pollers.check()
    greedy_peer = "{}:{}".format(*greedy.getsockname())
    wait_for(lambda: greedy_peer not in connections(chip, "modbus"), CLOSED_S, "the end of its connection")
    pollers.check()
    assert pollers.worst_s < WORST_S


def test_a_reset_in_the_middle_of_a_request_frees_the_slot_at_once(chip, pollers, others):
    for name, part in (("modbus", adu(1, 3, read_pdu(4, 0, 10))[:9]), ("http", b"GET /api/status HT")) * 5:
        peer = others.connect(name)
        peer.sendall(part)
        wait_for(lambda: connections(chip, "modbus") if name == "modbus" else True, CLOSED_S, "its row")  # noqa: B023
        peers.reset(peer)
    wait_for(lambda: len(connections(chip, "modbus")) == 3, CLOSED_S, "the pollers alone in the ledger")
    assert connections(chip, "http") == {}
    pollers.check()


def test_slowloris_is_closed_by_http_and_gives_way_on_modbus(chip, pollers, others):
    slow = {name: [others.connect(name) for _ in range(3)] for name in ("http", "modbus")}
    text = {"http": b"GET / HTTP/1.1\r\nX: " + b"a" * 500, "modbus": struct.pack(">HHHB", 1, 0, 253, 1) + b"\x10" * 200}

    def drip(k):
        for name, connections_ in slow.items():
            for peer in connections_:
                try:
                    peer.send(text[name][k : k + 1])
                except ConnectionError:
                    continue  # closed; looked at below
        return not connections(chip, "http")

    numbers = iter(range(200))
    wait_for(lambda: drip(next(numbers)), CLOSED_S, "the end of slow requests")
    for peer in slow["http"]:
        wait_closed(peer)
    pollers.check()
    for _ in range(10 - 3):
        others.client()
    for peer in slow["modbus"]:
        wait_closed(peer)
    pollers.check()


def test_requests_in_pieces_for_a_silent_meter_block_no_other_client(chip, pollers, others):
    """Each piece that waits takes one of lwIP's 24 buffers for what comes in, of all connections."""
    eager = [others.client() for _ in range(3)]
    for k in range(15):
        for client in eager:
            client.send(adu(k, SILENT, read_pdu(3, 0, 1)))
        pollers.check(1)
    pollers.check()
    assert pollers.worst_s < WORST_S

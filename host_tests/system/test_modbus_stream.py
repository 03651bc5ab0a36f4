"""A TCP stream is cut into requests by the MBAP length alone, and every answer finds its request
(MODBUS Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3)."""

import contextlib
import select
import threading

import pytest

from host_tests.system.rig import ANSWER_S, METERS, AddressMeter, Rig, address_words, adu, read_pdu, words
from tools.virtual_meters import VirtualMeter

ADDRESSES = 9  # a unit that the configuration does not know


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    virtual = [VirtualMeter(meter["unit"], meter["profile"]) for meter in METERS]
    with Rig(tmp_path_factory.mktemp("stream"), virtual=[*virtual, AddressMeter(ADDRESSES)]) as rig:
        rig.wait_polled()
        yield rig


def held(rig, unit, function, address, count):
    """What the virtual meter has in these registers."""
    return words(rig.meter(unit).registers(function, address, count))


# unit, function, address, count; all inside blocks that are polled
CACHED = (
    (1, 4, 0, 36),
    (1, 4, 52, 2),
    (1, 4, 72, 8),
    (1, 4, 342, 16),
    (2, 3, 0x200, 16),
    (2, 3, 0x220, 42),
    (2, 3, 0x1100, 2),
    (3, 4, 0, 10),
    (3, 4, 5, 2),
)
# not polled by the profile: the meter is asked
PASSED = ((2, 3, 0x513, 2), (2, 3, 0x51D, 1), (3, 3, 1, 2), (1, 4, 40, 12), (ADDRESSES, 3, 1000, 125))


@pytest.mark.parametrize(("unit", "function", "address", "count"), CACHED + PASSED)
def test_values_are_those_of_the_meter_bit_for_bit(rig, unit, function, address, count):
    cached = (unit, function, address, count) in CACHED
    before = rig.status()["modbus"]
    with rig.client() as client:
        assert client.read(unit, function, address, count) == held(rig, unit, function, address, count)
    after = rig.status()["modbus"]
    assert after["cached"] - before["cached"] == int(cached)
    assert after["passed"] - before["passed"] == int(not cached)


REQUEST = (3, 4, 0, 10)


@pytest.mark.parametrize("at", range(1, 12))
@pytest.mark.parametrize("request_", [REQUEST, (ADDRESSES, 3, 77, 10)], ids=["cached", "passed through"])
def test_a_request_may_be_cut_after_any_byte(rig, at, request_):
    unit, *read = request_
    data = adu(0x1234, unit, read_pdu(*read))
    with rig.client() as client, rig.client() as other:
        client.send(data[:at])
        # An answer to somebody else: by then the gateway has had its look at the first part.
        other.read(255, 3, 0, 1)
        client.send(data[at:])
        transaction, answered, pdu = client.receive()
    assert (transaction, answered) == (0x1234, unit)
    assert pdu[2:] == held(rig, unit, *read)


def test_a_request_may_come_byte_by_byte(rig):
    with rig.client() as client, rig.client() as other:
        for byte in adu(7, 3, read_pdu(4, 0, 10)):
            client.send(bytes((byte,)))
            other.read(255, 3, 0, 1)
        assert client.receive() == (7, 3, bytes((4, 20)) + held(rig, 3, 4, 0, 10))


def pipeline(rig, count):
    """`count` requests of every kind: (ADU, transaction id, unit, the PDU that must answer)."""
    kinds = [
        (1, 4, 0, 36),
        (ADDRESSES, 3, 500, 4),
        (2, 3, 0x513, 2),
        (3, 4, 0, 10),
        (ADDRESSES, 4, 600, 125),
    ]
    result = []
    for k in range(count):
        transaction = (0xFFF0 + 7 * k) & 0xFFFF
        if k % 7 == 5:  # an exception of the gateway's own
            result.append((adu(transaction, 250, read_pdu(3, 0, 1)), transaction, 250, b"\x83\x0a"))
            continue
        if k % 7 == 6:  # an exception of the meter's
            result.append((adu(transaction, 2, read_pdu(4, 0, 1)), transaction, 2, b"\x84\x01"))
            continue
        unit, function, address, quantity = kinds[k % 5]
        if unit == ADDRESSES:
            address += k
        reply = bytes((function, 2 * quantity)) + held(rig, unit, function, address, quantity)
        result.append((adu(transaction, unit, read_pdu(function, address, quantity)), transaction, unit, reply))
    return result


@pytest.mark.parametrize("count", [2, 20, 100])
def test_pipelined_requests_are_answered_in_order_with_their_own_ids(rig, count):
    requests = pipeline(rig, count)
    with rig.client() as client:
        client.send(b"".join(request for request, *_ in requests))
        for _, *wanted in requests:
            assert list(client.receive()) == wanted


@pytest.mark.parametrize("size", [5, 13, 259, 260, 261])
def test_pipelined_requests_may_come_in_pieces_of_any_size(rig, size):
    requests = pipeline(rig, 20)
    stream = b"".join(request for request, *_ in requests)
    with rig.client() as client, rig.client() as other:
        for start in range(0, len(stream), size):
            client.send(stream[start : start + size])
            other.read(255, 3, 0, 1)
        for _, *wanted in requests:
            assert list(client.receive()) == wanted


def test_the_longest_request_is_read_whole(rig):
    # Read File Record with the largest byte count (Application Protocol V1.1b3, 6.14): 245 + 2 bytes of PDU.
    # The meter does not know it, and the gateway must not lose its place in the stream.
    longest = bytes((20, 245)) + bytes((6, 0, 1, 0, 0, 0, 1)) * 35
    with rig.client() as client:
        client.send(adu(1, 3, longest) + adu(2, 3, read_pdu(4, 0, 10)))
        assert client.receive() == (1, 3, b"\x94\x01")
        assert client.receive() == (2, 3, bytes((4, 20)) + held(rig, 3, 4, 0, 10))


def test_a_client_that_does_not_read_gets_every_answer_once_it_does(rig):
    # More than the socket buffers of both ends hold: the gateway must stop reading instead of keeping answers.
    count = 4000
    request = read_pdu(4, 0, 36)
    reply = bytes((4, 72)) + held(rig, 1, 4, 0, 36)
    client = rig.client()
    with client, rig.client() as other:
        sender = threading.Thread(
            target=lambda: client.send(b"".join(adu(k, 1, request) for k in range(count))), daemon=True
        )
        sender.start()
        for _ in range(50):  # meanwhile others are served as ever
            assert other.read(3, 4, 0, 10) == held(rig, 3, 4, 0, 10)
        for k in range(count):
            assert client.receive() == (k, 1, reply)
        sender.join(ANSWER_S)
        assert not sender.is_alive()


def test_equal_transaction_ids_of_several_clients_are_never_mixed(rig):
    errors = []

    def ask(number):
        try:
            with rig.client() as client:
                for k in range(60):
                    address = 2000 * number + 13 * k
                    client.send(adu(k, ADDRESSES, read_pdu(3, address, 5)))
                    wanted = (k, ADDRESSES, bytes((3, 10)) + address_words(address, 5))
                    got = client.receive()
                    assert got == wanted, f"client {number}, request {k}: {got}"
        except Exception as error:  # shown in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive()
    assert errors == []


def test_equal_reads_that_wait_are_asked_once_and_all_answered(rig):
    # All eight wait for the same registers while the bus is busy with something else. A machine that is busy itself may
    # hand them over too late for that: then they ask for others.
    meter = rig.meter(ADDRESSES)
    meter.delay_ms = 400
    try:
        with contextlib.ExitStack() as stack:
            first, other, *clients = [stack.enter_context(rig.client(transaction=100 * k)) for k in range(10)]
            for address in range(4000, 4200, 10):
                busy = read_pdu(3, address, 9)
                first.send_request(ADDRESSES, busy)
                rig.line.wait_for(lambda busy=busy: meter.seen and meter.seen[-1] == busy)
                equal = read_pdu(3, address, 7)
                ids = [client.send_request(ADDRESSES, equal) for client in clients]
                other.read(255, 3, 0, 1)  # by then the gateway has taken all eight
                had_to_wait = not select.select([first.socket], [], [], 0)[0]
                for client, transaction in zip(clients, ids, strict=True):
                    assert client.receive() == (transaction, ADDRESSES, bytes((3, 14)) + address_words(address, 7))
                assert first.receive()[2][2:] == address_words(address, 9)
                if had_to_wait:
                    assert list(meter.seen).count(equal) == 1
                    return
        pytest.fail("this machine is too slow: the bus was never busy when they asked")
    finally:
        meter.delay_ms = 1

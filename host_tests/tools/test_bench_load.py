"""The load generator (tools/bench/load.c): what it counts, and what it does not let pass."""

import contextlib
import socket
import threading
import time

import pytest

from tools.bench import load

READ = load.Exchange(bytes.fromhex("000000000006010300000001"), bytes.fromhex("00000000000501030203e8"), True)
PAGE = load.Exchange(b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", False)


class Fake:
    """A server with a thread for each connection; `reply(request, n)` gives what goes out for the n-th request of a
    connection, in pieces; None, or a piece that is None, ends the connection."""

    def __init__(self, size, reply):
        self._size, self._reply = size, reply
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, contextlib.suppress(OSError):
            for number in range(1_000_000):
                request = client.recv(self._size, socket.MSG_WAITALL)
                pieces = self._reply(request, number) if request else None
                if pieces is None:
                    return
                for piece in pieces:
                    if piece is None:
                        return
                    client.sendall(piece)

    def close(self):
        self._listener.close()


@pytest.fixture
def serve():
    """serve(size of a request, reply) -> Fake."""
    with contextlib.ExitStack() as stack:
        yield lambda size, reply: stack.enter_context(contextlib.closing(Fake(size, reply)))


def modbus(request, number):
    return [request[:2] + READ.answer[2:]]


def test_every_client_is_answered_and_counted(serve):
    fake = serve(12, modbus)
    found = load.run(fake.port, READ, requests=300, clients=3)
    assert (found.requests, found.clients, found.fairness, fake.connections) == (300, [100, 100, 100], 1.0, 3)
    assert found.lag is None
    times = found.latency
    assert 0 < times.min <= times.p50 <= times.p90 <= times.p99 <= times.p999 <= times.max < 1e6 * found.seconds
    assert times.min <= times.mean <= times.max
    assert found.rate == pytest.approx(300 / found.seconds)
    assert 0 < found.cpu_s <= found.seconds


def test_an_answer_may_come_in_pieces(serve):
    fake = serve(12, lambda request, number: [request[:1], request[1:2] + READ.answer[2:4], READ.answer[4:]])
    assert load.run(fake.port, READ, requests=50).requests == 50


@pytest.mark.parametrize("at", range(len(READ.answer)))
def test_a_wrong_byte_anywhere_is_an_error(serve, at):
    def wrong(request, number):
        answer = bytearray(modbus(request, number)[0])
        answer[at] ^= number == 3
        return [answer]

    with pytest.raises(load.LoadError, match="wrong answer to request 4 at byte 0"):
        load.run(serve(12, wrong).port, READ, requests=10)


def test_an_answer_that_is_too_long_is_an_error(serve):
    fake = serve(12, lambda request, number: [*modbus(request, number), b"x"] if number == 2 else modbus(request, 0))
    with pytest.raises(load.LoadError, match="wrong answer"):
        load.run(fake.port, READ, requests=10)


def test_a_server_that_falls_silent_or_ends_the_connection_is_an_error(serve):
    silent = serve(12, lambda request, number: [] if number else modbus(request, 0))
    with pytest.raises(load.LoadError, match="no answer"):
        load.run(silent.port, READ, requests=5, timeout_s=1)
    ending = serve(12, lambda request, number: None if number else modbus(request, 0))
    with pytest.raises(load.LoadError, match="ended the connection in an answer"):
        load.run(ending.port, READ, requests=5)


def test_a_closed_port_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(load.LoadError, match="connect"):
        load.run(port, READ, requests=1)


def test_with_reconnect_each_request_has_a_connection_which_the_server_ends(serve):
    keeping = serve(len(PAGE.request), lambda request, number: [PAGE.answer])
    with pytest.raises(load.LoadError, match="no answer"):  # it waits for the next request on this connection
        load.run(keeping.port, PAGE, requests=2, reconnect=True, timeout_s=1)

    ending = serve(len(PAGE.request), lambda request, number: [PAGE.answer, None])
    found = load.run(ending.port, PAGE, requests=20, clients=2, reconnect=True)
    assert (found.requests, ending.connections) == (20, 20)


def test_reopen_replaces_a_closed_connection_and_loses_no_answer(serve):
    fake = serve(12, lambda request, number: None if number == 10 else modbus(request, number))
    found = load.run(fake.port, READ, requests=100, clients=2, reopen=True)
    assert found.clients == [50, 50]
    assert fake.connections == 2 + found.reopened
    assert found.reopened >= 8  # each connection answers ten requests


def test_with_reopen_a_server_that_ends_every_connection_is_an_error(serve):
    with pytest.raises(load.LoadError, match="no answer, only ends of connections"):
        load.run(serve(12, lambda request, number: None).port, READ, requests=5, reopen=True, timeout_s=1)


def test_at_a_fixed_rate_requests_leave_when_they_should(serve):
    found = load.run(serve(12, modbus).port, READ, seconds=0.5, clients=4, rate=100)
    assert found.clients == [50, 50, 50, 50]
    assert found.seconds > 0.4
    assert found.lag is not None
    assert found.lag.p50 < 5000
    assert found.served.max <= found.latency.max


def test_a_pause_of_the_server_is_not_forgiven_the_requests_that_it_prevents(serve):
    pause_s = 0.2

    def pausing(request, number):
        if number == 20:
            time.sleep(pause_s)
        return modbus(request, number)

    closed = load.run(serve(12, pausing).port, READ, requests=100)
    found = load.run(serve(12, pausing).port, READ, requests=100, rate=200)
    # 40 requests should have left meanwhile; all but the last 20 ms of them are late by definition.
    assert found.late >= 0.8 * 200 * (pause_s - load.LATE_MS / 1000)
    assert closed.late < found.late / 2  # of a closed loop only the one that met the pause
    assert found.latency.max > 1e6 * pause_s
    assert found.served.p90 < found.latency.p90  # which would have forgiven them
    assert found.latency.p90 > 50_000


@pytest.mark.parametrize(
    "words",
    [
        {"requests": 1, "clients": 65},
        {"requests": 1, "rate": 0.5},
        {"requests": 1, "reconnect": True, "reopen": True},
        {"seconds": -1},
        {},
    ],
)
def test_wrong_options_are_refused(words):
    with pytest.raises(load.LoadError, match="usage"):
        load.run(1, READ, **words)


def test_a_compiler_that_refuses_is_quoted(monkeypatch, tmp_path):
    monkeypatch.setenv("CC", "gcc --no-such-option")
    with pytest.raises(load.LoadError, match="no-such-option"):
        load.compile_generator(tmp_path)


def test_the_source_compiles_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_FLAGS", ("-std=c11", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror"))
    assert load.compile_generator(tmp_path).exists()

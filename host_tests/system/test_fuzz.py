"""Requests of every kind, a third of them damaged, on the frozen 32-bit MicroPython in the heap of ten meters: nothing
that a client sends is interned or takes heap for good, the firmware goes on, and a Modbus poller and a page reader
beside it lose nothing.

`make test` sends some thousands, the tests that are marked `long` 20,000 to the web server and 200,000 to Modbus.
"""

import contextlib
import errno
import json
import random
import re
import socket
import struct

import pytest

from host_tests.system.page_reader import PageReader
from host_tests.system.rig import (
    HOST,
    WATCHED_MAIN,
    Background,
    Client,
    Poller,
    Rig,
    adu,
    configured,
    heaps,
    read_pdu,
    wait_for,
    words,
)
from tools import gateway
from tools.device_api import Device

PASSWORD = "correct horse"
CONFIG = {
    "bacnet": {"enabled": False},  # gives its slot back, as posting does
    "posting": {"enabled": False},
    "http": {"commissioning": True},
    "routes": [{"unit": 11, "count": 237, "closed": True}],  # no waiting for meters that are not there
}
METERS = configured("eastron-sdm630", 10)
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() resets the connection
REST_S = 20  # longer than an HTTP connection may be idle
SAMPLES = 8
HEAP_TOLERANCE = 2048  # bytes: lines of the event log, of which there are 24, differ in length
LONG = (pytest.mark.long, pytest.mark.timeout(1800))

PATHS = (
    "/", "/api/status", "/api/readings", "/api/bus", "/api/sockets", "/api/history", "/api/records", "/api/schema",
    "/api/profiles", "/api/config", "/api/session", "/api/login", "/api/logout", "/api/password", "/api/read",
    "/api/time", "/api/reboot", "/api/factory_reset", "/api/nothing", "*", "http://x/api/session",
    "/%C3%A4%F0%9F%94%8C", "/%zz", "/../x",
)  # fmt: skip
METHODS = ("GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "M-SEARCH")
KEYS = ("client_nonce", "nonce", "proof", "salt", "iterations", "meters", "name", "unit", "\u00e4", "\U0001f50c")


class Fuzz(Background):
    """Sends `count` inputs, each connection some of them; `left`: those that are not sent yet."""

    def __init__(self, port, seed, count):
        super().__init__("fuzz")
        self.left = count
        self.random = random.Random(seed)
        self._port = port

    def work(self):
        while self.left > 0 and not self.stopping.is_set():
            with contextlib.suppress(ConnectionError):  # reset or closed by the gateway
                self.play()

    def play(self):
        """One connection."""
        raise NotImplementedError

    def exchange(self, data):
        """Sends `data` in pieces of some size, a tenth of all cut off, on a connection of its own; a tenth is reset.
        The bytes that came back until the gateway closed."""
        random_ = self.random
        way = random_.random()
        with socket.create_connection((HOST, self._port), timeout=60) as client:
            if way < 0.1:
                data = data[: random_.randrange(len(data) + 1)]
            step = random_.choice((len(data) or 1, 1 + len(data) // 3, 700))
            for at in range(0, len(data), step):
                client.sendall(data[at : at + step])
            if 0.1 <= way < 0.2:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                return b""
            try:
                client.shutdown(socket.SHUT_WR)
            except OSError as error:
                if error.errno != errno.ENOTCONN:
                    raise
                raise ConnectionResetError from error  # by the gateway, and Linux says so in this way
            received = b""
            while piece := client.recv(65536):
                received += piece
        return received

    def damaged(self, data):
        data = bytearray(data)
        for _ in range(self.random.choice((1, 1, 3, 20))):
            data[self.random.randrange(len(data))] = self.random.randrange(256)
        return bytes(data)


class HttpFuzz(Fuzz):
    """Up to six pipelined requests on each connection. `statuses`: of the responses, with their number."""

    def __init__(self, port, seed, count):
        super().__init__(port, seed, count)
        self.statuses = {}

    def play(self):
        received = self.exchange(b"".join([self._request() for _ in range(self.random.choice((1, 1, 2, 6)))]))
        for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received):
            self.statuses[status.decode()] = self.statuses.get(status.decode(), 0) + 1

    def _request(self):
        random_ = self.random
        self.left -= 1
        body = self._body() if random_.random() < 0.5 else b""
        path = random_.choice(PATHS)
        if random_.random() < 0.3:
            path += "?" + self._text(20)
        lines = [f"{random_.choice(METHODS)} {path} HTTP/1.{random_.choice('1111110')}", "Host: gate"]
        for line in (
            "X-Meterport: 1", "Origin: http://gate", f"Cookie: session={random_.getrandbits(128):032x}",
            f"Cookie: {self._text(60)}", "Accept-Encoding: gzip, br", f"Accept-Encoding: {self._text(10)};q=0.5",
            f"X-{random_.getrandbits(40)}: {self._text(400)}", "Expect: 100-continue", f"User-Agent: {'u' * 900}",
            f"If-None-Match: {self._text(20)}", "Connection: keep-alive",
        ):  # fmt: skip
            if random_.random() < 0.3:
                lines.append(line)
        if body:
            lines.append(f"Content-Length: {len(body)}")
        data = "\r\n".join([*lines, "", ""]).encode() + body
        return self.damaged(data) if random_.random() < 0.33 else data

    def _text(self, most):
        letters = "abc=;,. %" if self.random.random() < 0.5 else "\u00e4\u03b1\u0436\u4e2d\U0001f50c"
        return "".join(self.random.choices(letters, k=self.random.randrange(most)))

    def _body(self):
        data = json.dumps(self._value(0), ensure_ascii=self.random.random() < 0.5).encode()
        return b"[" * 600 if self.random.random() < 0.02 else data

    def _value(self, depth):
        random_ = self.random
        kind = random_.randrange(7)
        if kind < 2 and depth < 12:
            return [self._value(depth + 1) for _ in range(random_.randrange(4))]
        if kind < 4 and depth < 12:
            keys = [random_.choice(KEYS) + self._text(4) for _ in range(random_.randrange(4))]
            return {key: self._value(depth + 1) for key in keys}
        return random_.choice((None, True, 0, -1, 2.5, 10**12, self._text(30), f"{random_.getrandbits(192):048x}"))


class ModbusFuzz(Fuzz):
    """On each connection reads whose values are known, then random PDUs, then something damaged. `right`: how many of
    the reads were answered, all of them rightly; `others`: how many other answers there were."""

    def __init__(self, port, seed, count, reads):
        super().__init__(port, seed, count)
        self.right = 0
        self.others = 0
        self._reads = reads

    def play(self):
        random_ = self.random
        wanted, pieces = [], []
        for _ in range(random_.randrange(20)):
            unit, function, address, count, held = random_.choice(self._reads)
            wanted.append(adu(len(pieces), unit, bytes((function, 2 * count)) + held))
            pieces.append(adu(len(pieces), unit, read_pdu(function, address, count)))
        pieces += [adu(random_.getrandbits(16), self._unit(), self._pdu()) for _ in range(random_.randrange(40))]
        pieces.append(self.damaged(b"".join(random_.choices(pieces or [adu(0, 1, b"\x04")], k=3))))
        self.left -= len(pieces)
        received = self.exchange(b"".join(pieces))
        expected = b"".join(wanted)
        same = min(len(expected), len(received))
        assert received[:same] == expected[:same], f"{received[:same].hex()} in place of {expected[:same].hex()}"
        self.right += sum(received.startswith(b"".join(wanted[: k + 1])) for k in range(len(wanted)))
        at = same
        while at + 7 < len(received):
            _, protocol, length = struct.unpack_from(">HHH", received, at)
            assert protocol == 0, received[at:].hex()
            assert 3 <= length <= 254, received[at:].hex()
            at += 6 + length
            self.others += 1

    def _unit(self):
        """A meter in one of a hundred, for the bus is slow."""
        return self.random.choice((0, 11, 247, 248, 255, 255, 255)) if self.random.random() < 0.99 else 1

    def _pdu(self):
        random_ = self.random
        way = random_.random()
        if way < 0.3:
            return random_.randbytes(random_.randrange(1, 254))
        function = random_.choice((1, 2, 3, 4, 5, 6, 7, 8, 15, 16, 17, 20, 22, 23, 43, 0, 0x83))
        if way < 0.6:
            return bytes((function,)) + random_.randbytes(random_.randrange(0, 12))
        return struct.pack(">BHH", function, random_.choice((0, 100, 4 * 256, 0xFFFF)), random_.randrange(130))


def last_names(rig):
    """The last line about interned names, as watched_main.py prints it."""
    return [line for line in list(rig.gateway.lines) if line.startswith("qstr pool:")][-1]


def measured(rig, watch):
    """(what MicroPython says of interned names, bytes of heap in use) once no connection is open."""
    wait_for(lambda: rig.general_in_use() == 1, 3 * REST_S, "the end of all connections")
    watch.touch()
    before = len(heaps(rig))
    wait_for(lambda: len(heaps(rig)) >= before + SAMPLES, 60, "measurements of the heap")
    watch.unlink()
    return last_names(rig), min(heaps(rig)[-SAMPLES:])


@contextlib.contextmanager
def gateway_of_ten_meters(folder):
    """(Rig, session cookie, file: while it is there the heap is measured, reads with their values)."""
    watch = folder / "watch"
    argv = [gateway.find_frozen(print), "-X", "heapsize=110K", WATCHED_MAIN, watch]
    with Rig(folder, meters=METERS, config=CONFIG, argv=argv, env={"MICROPYPATH": ".frozen"}) as rig:
        with Device(HOST, rig.http_port) as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            cookie = device.cookie
        reads = [
            (meter.unit, *block, words(meter.registers(*block)))
            for meter in rig.line.meters
            for block in meter.profile.blocks(meter.profile.gap)
        ]
        rig.wait_polled(180)
        yield rig, cookie, watch, reads
        status = rig.status()
        assert status["task_restarts"] == 0
        with Device(HOST, rig.http_port) as device:
            device.login(PASSWORD)
            assert device.config()["meters"][0]["name"] == "meter 1"


def play(rig, cookie, reads, fuzz):
    """Sends all of `fuzz` beside a poller and a page reader."""
    with Poller(rig.modbus_port, reads, 0.02) as poller, PageReader(rig, cookie) as reader, fuzz:
        fuzz.wait(lambda: not fuzz.is_alive(), 1200, "the end of the inputs")
        poller.check(2 * len(reads), 60)
        reader.check()


@pytest.mark.parametrize("count", [4_000, pytest.param(20_000, marks=LONG)])
def test_http_requests_of_every_kind_cost_no_name_and_no_heap(tmp_path, count):
    with gateway_of_ten_meters(tmp_path) as (rig, cookie, watch, reads):
        play(rig, cookie, reads, HttpFuzz(rig.http_port, 1, 500))  # fills the event log
        before = measured(rig, watch)
        fuzz = HttpFuzz(rig.http_port, 2, count)
        play(rig, cookie, reads, fuzz)
        after = measured(rig, watch)
        print(fuzz.statuses, before, after)
        assert set(fuzz.statuses) >= {"200", "400", "403", "404", "405"}, "all doors were reached"
        assert not set(fuzz.statuses) & {"500", "503"}
        assert after[0] == before[0], "a text that came in was interned"
        assert after[1] <= before[1] + HEAP_TOLERANCE
        assert rig.event_count("modbus connection closed") == 0


@pytest.mark.parametrize("count", [8_000, pytest.param(200_000, marks=LONG)])
def test_modbus_inputs_of_every_kind_cost_no_heap_and_get_no_wrong_value(tmp_path, count):
    with gateway_of_ten_meters(tmp_path) as (rig, cookie, watch, reads):
        play(rig, cookie, reads, ModbusFuzz(rig.modbus_port, 1, 2000, reads))
        before = measured(rig, watch)
        fuzz = ModbusFuzz(rig.modbus_port, 2, count, reads)
        play(rig, cookie, reads, fuzz)
        after = measured(rig, watch)
        print(fuzz.right, fuzz.others, before, after)
        assert fuzz.right > count / 10
        assert fuzz.others > count / 10
        assert after[0] == before[0]
        assert after[1] <= before[1] + HEAP_TOLERANCE
        with Client(rig.modbus_port) as client:
            for unit, function, address, number, held in reads:
                assert client.read(unit, function, address, number) == held

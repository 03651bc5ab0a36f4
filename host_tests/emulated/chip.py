"""The firmware on an emulated Pico with virtual meters, and what tests do with it."""

import gzip
import http.client
import json
import socket

from host_tests.system.rig import HOST, METERS, Client, wait_for
from tools.device_api import Device
from tools.emulator import __main__ as emulate
from tools.emulator import build, emulated, variant
from tools.virtual_meters import VirtualMeter

ANSWER_S = 60  # the chip runs slower than real time while it is busy, and libslirp accepts before it does
POLLED_S = 240
STOPPED_S = 120


class ChipClient(Client):
    """A Client on a connection that is there already."""

    def __init__(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket, self.transaction, self._have = connection, 0, b""


class Chip:
    """An emulated Pico with the firmware and virtual meters whose values stay; a context manager. `tcp_pcbs`: of an
    image with the firmware frozen into it, as users flash it; or a Variant."""

    def __init__(self, folder, tcp_pcbs, config=None, tun=False, files=None):
        image = tcp_pcbs if isinstance(tcp_pcbs, variant.Variant) else variant.Variant(tcp_pcbs, frozen=True)
        config = {"meters": list(METERS), **(config or {})}
        self.meters = {meter["unit"]: VirtualMeter(meter["unit"], meter["profile"]) for meter in config["meters"]}
        for meter in self.meters.values():
            meter.delay_ms = 1
            meter.freeze()
        self.config = emulate.configuration(config)
        self.emulator = emulated.Emulator(
            folder,
            firmware=build.ensure_firmware(image),
            files=emulated.device_files(self.config, frozen=image.frozen) | (files or {}),
            meters=list(self.meters.values()),
            ports={"http": 0, "modbus": 0},
            tun=tun,
        )

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.emulator.stop()
            raise
        return self

    def __exit__(self, kind, error, trace):
        lines = list(self.emulator.lines)
        self.emulator.stop()
        if kind is None:
            bad = [line for line in lines if "MemoryError" in line or "Traceback" in line or "task died" in line]
            assert not bad, "\n".join(lines)

    def start(self):
        self.emulator.start()
        self.emulator.wait_ready()

    def connect(self, name, timeout=ANSWER_S):
        """A TCP connection to "http" or "modbus"."""
        return self.emulator.network.connect(self.emulator.ports[name], timeout)

    def client(self, timeout=ANSWER_S):
        return ChipClient(self.connect("modbus", timeout))

    def device(self):
        """A Device for requests as the page makes them; the caller closes it."""
        return Device(HOST, timeout=ANSWER_S, connect=lambda: self.connect("http"))

    def fetch(self, path):
        """(status, body) of a GET on a connection of its own."""
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.connect("http")
        try:
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            response = connection.getresponse()
            body = response.read()
            zipped = response.headers["Content-Encoding"] == "gzip"
            return response.status, gzip.decompress(body) if zipped else body
        finally:
            connection.close()

    def get(self, path):
        """The JSON document at `path`."""
        status, body = self.fetch(path)
        assert status == 200, f"{path}: {status} {body!r}"
        return json.loads(body)

    def wait_polled(self):
        """Waits until every point of every meter is good."""

        def good():
            meters = self.get("/api/readings")["meters"]
            return all(point["quality"] == "good" for meter in meters for point in meter["points"])

        wait_for(good, POLLED_S, "a good reading of every point")

    def wait_alone(self):
        """Waits until the connections of earlier tests are gone; one is the one that asks."""

        def alone():
            with self.client() as client:
                return client.read(255, 3, 103, 1) == b"\x00\x01"

        wait_for(alone, POLLED_S, "an empty ledger")


def interrupt(chip):
    """Ctrl-C; the prompt is there afterwards. The firmware says a word when main.py runs it, and a traceback shows when
    run() was typed."""
    chip.emulator.lines.clear()
    chip.emulator.type("\x03")
    chip.emulator.wait_line(r"stopped; run\(\) starts it again|^KeyboardInterrupt", STOPPED_S)
    chip.emulator.lines.clear()


def wait_served(chip):
    """Waits until every point is read from its meter once more."""
    chip.emulator.wait_ready()
    chip.wait_polled()
    assert chip.get("/api/status")["task_restarts"] == 0

"""`make numbers`: heap, size of the files, and requests per second of one client.

The gateway runs on 32-bit MicroPython with the sim's heap and its three virtual meters; the load comes from
this process over loopback, one client with one request at a time, all of it on one core: from core to core a request
would mostly wait for the other one to wake up. Absolute rates depend on the machine.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if not __package__:  # run as a program: "tools" must be found, and tools/micropython.py must hide nothing
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from tools import build, frozen, micropython, sim
from tools.bench import document
from tools.gateway import Gateway, free_ports, write_config
from tools.virtual_line import VirtualLine
from tools.virtual_meters import Behaviour, VirtualMeter, default_meters

_ROOT = build.ROOT
_HEAP_SCRIPT = _ROOT / "host_tests" / "on_micropython" / "heap_at_rest.py"
_PAGE = _ROOT / "firmware" / "services" / "http" / "page.html.gz"
_BAUD = 115200
_ROUNDS = 5
_BUS_S = 30
_FULL_BUS = "elkor-wattson-mk2"  # of many registers, and needs no more silence than t3.5: gap_ms of its profile is 0
BUS_TIME = "time on a full bus (9600 baud, ten meters) over the least that bits and delays take"


def _configuration():
    http_port, modbus_port, finder_port = free_ports(3)
    return sim.merge(
        sim.DEFAULT_CONFIG,
        {
            "http": {"port": http_port},
            "modbus": {"port": modbus_port},
            "finder": {"port": finder_port},
            "buses": [{"uart": "bus0", "baud": _BAUD}],
        },
    )


def heap(interpreter, path):
    """What the running firmware leaves of a heap of 256 KiB; `path`: where MicroPython finds its modules."""
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), _configuration())
        with VirtualLine(default_meters(), _BAUD, link=str(Path(folder) / "bus0")):
            done = subprocess.run(
                [str(interpreter), "-X", "heapsize=256K", str(_HEAP_SCRIPT)],
                cwd=folder,
                env={**os.environ, "MICROPYPATH": path},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
    return json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])


class Client:
    """One Modbus TCP connection that asks the same over and over."""

    def __init__(self, port, unit, function, address, count):
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = struct.pack(">HHHBBHH", 7, 0, 6, unit, function, address, count)
        self._size = 9 + 2 * count

    def ask(self):
        self._sock.sendall(self._request)
        answer = b""
        while len(answer) < self._size:
            part = self._sock.recv(512)
            if not part or (len(answer) == 0 and len(part) > 7 and part[7] & 0x80):
                raise RuntimeError(f"no data in the answer: {part.hex()}")
            answer += part

    def rate(self, requests):
        """Requests per second: the median of some rounds, and the slowest and fastest of them."""
        rates = []
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            for _ in range(requests):
                self.ask()
            rates.append(requests / (time.perf_counter() - begin))
        return statistics.median(rates), min(rates), max(rates)


def page_rate(port, requests=200):
    """Pages per second over one kept-alive connection, the same way."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    rates = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        for _ in range(requests):
            connection.request("GET", "/", headers={"Accept-Encoding": "gzip"})
            response = connection.getresponse()
            if not response.read() or response.status != 200:
                raise RuntimeError(f"GET /: {response.status}")
        rates.append(requests / (time.perf_counter() - begin))
    connection.close()
    return statistics.median(rates), min(rates), max(rates)


def _wait_online(gateway, port, meters):
    """Until the poller has read all of them: unit 255 counts those that are online."""
    client = Client(port, 255, 3, 12, 1)
    for _ in range(200):
        client._sock.sendall(client._request)
        if client._sock.recv(64)[-1] == meters:
            return
        time.sleep(0.05)
    raise RuntimeError("the meters do not come online:\n" + gateway.tail(20))


def bus_time():
    """Time over the least that physics allows, on a bus that is never idle: ten meters at 9600 baud on a
    pseudo-terminal, whose bits are paced. The least is the bits of request and answer, t3.5 before and after the
    answer, and the meter's own delay."""
    baud = 9600
    meters = [VirtualMeter(1 + k, _FULL_BUS) for k in range(10)]
    rows = [{"slot": k, "name": f"meter {k}", "unit": 1 + k, "profile": _FULL_BUS, "interval_s": 1} for k in range(10)]
    config = {**_configuration(), "buses": [{"uart": "bus0", "baud": baud}], "meters": rows}
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), config)
        with VirtualLine(meters, baud, link=str(Path(folder) / "bus0")), Gateway(folder) as gateway:
            gateway.wait_ready()
            time.sleep(5)
            for meter in meters:
                meter.seen.clear()
            begin = time.perf_counter()
            time.sleep(_BUS_S)
            passed = time.perf_counter() - begin
            asked = [(meter, pdu) for meter in meters for pdu in list(meter.seen)]
    gap_s = 3.5 * 11 / baud
    least = sum((len(pdu) + 3 + len(meter.answer(pdu)) + 3) * 10 / baud + 2 * gap_s for meter, pdu in asked)
    least += len(asked) * Behaviour().delay_ms / 1000
    return passed / least


def rates():
    """(name, (median, slowest, fastest)) of each kind of request."""
    with _gateway(_configuration()) as config:
        port = config["modbus"]["port"]
        yield "Modbus reads of 10 registers from memory", Client(port, 1, 4, 0, 10).rate(2000)
        yield "Modbus reads of 40 registers from memory", Client(port, 2, 3, 0x220, 40).rate(2000)
        yield "page, kept alive", page_rate(config["http"]["port"])
    config = _configuration()
    # Alone on its line, for the first meter wants 100 ms of silence before each request; never answered from memory.
    config["meters"] = [{**config["meters"][2], "max_age_s": 0}]
    with _gateway(config):
        over_bus = f"Modbus reads of 10 registers over the bus at {_BAUD} baud (the virtual meter waits 10 ms)"
        yield over_bus, Client(config["modbus"]["port"], 3, 4, 0, 10).rate(30)


@contextlib.contextmanager
def _gateway(config):
    """The configuration, while a gateway runs with it and all of its meters are online."""
    with tempfile.TemporaryDirectory() as folder:
        write_config(Path(folder), config)
        with VirtualLine(default_meters(), _BAUD, link=str(Path(folder) / "bus0")), Gateway(folder) as gateway:
            gateway.wait_ready()
            _wait_online(gateway, config["modbus"]["port"], len(config["meters"]))
            yield config


def measure():
    """The tables by name."""
    device = _ROOT / "build" / "device"
    report = build.build(device)
    as_files = heap(micropython.ensure(), f"{device}:{device}/lib:.frozen")["running"]
    in_image = heap(frozen.ensure(), ".frozen")["running"]
    sizes = [
        ["heap used with everything running, firmware frozen", f"{in_image:,} bytes"],
        ["the same with modules as files", f"{as_files:,} bytes"],
        ["the files (`.mpy`, profiles, page)", f"{report.bytes:,} bytes in {report.files} files"],
        ["the page, packed with gzip", f"{_PAGE.stat().st_size:,} bytes"],
    ]
    one_client = [
        [name, f"{median:,.0f}/s", f"{slowest:,.0f} to {fastest:,.0f}/s"]
        for name, (median, slowest, fastest) in rates()
    ]
    one_client.append([BUS_TIME, f"{bus_time():.3f}", ""])
    return {
        "sizes": document.Sheet("Heap and files", 1, ["what", "measured"], sizes),
        "one-client": document.Sheet("One client", 1, ["what", "median", f"{_ROUNDS} rounds"], one_client),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    document.add_option(parser)
    options = parser.parse_args(arguments)
    try:
        at = document.commit() if options.into else ""
        if hasattr(os, "sched_setaffinity"):  # and what this starts
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        tables = measure()
        for sheet in tables.values():
            print(document.markdown(sheet))
        if options.into:
            document.put(options.into, tables, at)
    except document.DocumentError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

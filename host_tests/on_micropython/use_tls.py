"""Runs on MicroPython with the firmware: handshakes of firmware.net.tls with servers that echo, and what they cost.

run(ip, cases, times)   cases: (name, trust, pin, port). data/ca.pem is there. Prints a line for each case, then the
                        longest stall and the memory that a session takes of Python's heap, and what `times` further
                        sessions have left behind. Where the board knows its heap: whether a session can be had when
                        just the room is free that is asked for, and when less is.
"""

import asyncio
import gc
import json
import sys
import time

from firmware.bus import Buses
from firmware.events import Events
from firmware.net import seam
from firmware.net.budget import SERVICES, Budget
from firmware.net.clock import Clock
from firmware.net.tcp_client import ConnectionFailed, TcpClient
from firmware.net.tls import Tls

HOST = "meters.example"
TIMEOUT_MS = 60000
ROOM = 46080  # of firmware/net/tls.py


class Names:
    """A resolver that knows one address."""

    def __init__(self, ip):
        self.ip = ip

    async def resolve(self, name, exchange):
        return self.ip


class Ticker:
    """Whether other tasks run during a handshake."""

    def __init__(self):
        self.turns = 0

    async def run(self):
        while True:
            self.turns += 1
            await asyncio.sleep_ms(1)


async def exchange(client, tls, port, keep=False):
    """True when what was sent has come back, else the reason why not."""
    data = bytes(range(256)) * 12
    buf = bytearray(500)
    try:
        await client.connect(HOST, port, TIMEOUT_MS, tls)
        await client.send(data, len(data), TIMEOUT_MS)
        at = 0
        while at < len(data):
            n = await client.receive(buf, TIMEOUT_MS)
            if not n:
                return "cut short"
            if buf[:n] != data[at : at + n]:
                return "other bytes"
            at += n
        return True
    except ConnectionFailed as error:
        return str(error)
    finally:
        if not keep:
            client.close()


async def main(ip, cases, slot, buses, heap, times):
    clock = Clock()
    clock.set_ms(time.time() * 1000)
    client = TcpClient(slot, Names(ip))
    ticker = Ticker()
    asyncio.create_task(ticker.run())
    await asyncio.sleep_ms(0)
    ticker.turns = 0
    stall_ms = 0
    good = None
    for name, trust, pin, port in cases:
        tls = Tls({"trust": trust, "ca_file": "ca.pem", "pin_sha256": pin}, clock, buses, heap, [])
        gc.collect()
        print(name, trust, await exchange(client, tls, port))
        assert not slot.open
        assert not buses.paused
        stall_ms = max(stall_ms, tls.longest_stall_ms)
        if tls.handshakes and good is None:
            good = tls, port
    assert ticker.turns  # a fast machine does one handshake within its millisecond, but not all
    tls, port = good
    before = 0
    took = 0
    for k in range(2 * times):
        gc.collect()
        if k == times:
            before = gc.mem_alloc()
        at_rest = gc.mem_alloc()
        assert await exchange(client, tls, port, keep=True) is True
        gc.collect()
        took = gc.mem_alloc() - at_rest
        client.close()
    gc.collect()
    print("stall", stall_ms)
    print("session", took)
    print("left", gc.mem_alloc() - before)
    if heap()[0]:
        ballast = []
        for room in (ROOM + 4096, ROOM - 1024):  # 4 KB are what exchange() itself takes
            gc.collect()
            while heap()[0] > room + 64:
                ballast.append(bytearray(min(1024, heap()[0] - room - 48)))
            print("room", await exchange(client, tls, port))


def run(ip, cases, times, heap=lambda: (0, 0)):
    events = Events(lambda: 0, lambda line: None)
    budget = Budget(16, 16, 16, list(SERVICES[:6]), {}, lambda: 0, events)
    seam.install()
    seam.run(main(ip, cases, budget.service_slot("posting"), Buses([], None, events), heap, times))


if len(sys.argv) > 1:
    with open(sys.argv[1]) as file:  # an argument is a name of MicroPython's, and those are short
        run("127.0.0.1", json.load(file), 5)

"""Runs on MicroPython with the firmware: what firmware.net.tcp_client does with servers at 127.0.0.1 or, on a chip, at
the address that is given.

    run(ip, ports)      ports: {"echo", "reset", "silent", "closed": port}. Prints a line for each case, then how many
                        bytes of heap another hundred connections have left behind.
"""

import gc
import sys

from firmware.events import Events
from firmware.net import seam
from firmware.net.budget import SERVICES, Budget
from firmware.net.dns import Resolver
from firmware.net.tcp_client import ConnectionFailed, TcpClient

TIMEOUT_MS = 2000


async def exchange(client, ip, port, data):
    """What comes back for `data`."""
    await client.connect(ip, port, TIMEOUT_MS)
    buf = bytearray(700)
    got = b""
    for at in range(0, len(data), 700):
        piece = data[at : at + 700]
        await client.send(piece, len(piece))
        back = 0
        while back < len(piece):
            n = await client.receive(buf, TIMEOUT_MS)
            if not n:
                return got
            got += buf[:n]
            back += n
    client.close()
    return got


async def fails(waits):
    try:
        await waits
    except ConnectionFailed as error:
        return str(error)
    return "nothing failed"


async def cases(ip, ports, slot, times):
    client = TcpClient(slot, Resolver(lambda: [], lambda: 0, None))
    data = bytes(range(256)) * 20
    print("echo", await exchange(client, ip, ports["echo"], data) == data)
    print("closed", await fails(client.connect(ip, ports["closed"], TIMEOUT_MS)))
    print("reset", await fails(exchange(client, ip, ports["reset"], b"x")))
    begun_ms = seam.ticks_ms()
    print("silent", await fails(exchange(client, ip, ports["silent"], b"x")))
    waited_ms = seam.ticks_diff(seam.ticks_ms(), begun_ms)
    print("waited", waited_ms >= 1900 or waited_ms)
    print("name", await fails(client.connect("meters.example", 1, TIMEOUT_MS)))
    print("open", slot.open, client.is_open)
    before = 0
    for k in range(2 * times):
        if k == times:
            gc.collect()
            before = gc.mem_alloc()
        await exchange(client, ip, ports["echo"], b"again")
    gc.collect()
    print("heap", gc.mem_alloc() - before)


def run(ip, ports, times=100):
    events = Events(lambda: 0, lambda line: None)
    budget = Budget(16, 16, 16, list(SERVICES[:6]), {}, lambda: 0, events)
    seam.install()
    seam.run(cases(ip, ports, budget.service_slot("posting"), times))


if len(sys.argv) > 1:
    run("127.0.0.1", dict(zip(("echo", "reset", "silent", "closed"), map(int, sys.argv[1:]))))

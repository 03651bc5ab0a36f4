"""Runs on MicroPython, in a state directory: the firmware, and what BACnet requests take of the heap.

Argument: how many requests of each kind. The datagrams come from a socket of the bench's own, which gives one and the
same bytes object each time: what is counted is the firmware's, without what recvfrom() of a port allocates. Prints one
JSON line, {kind: bytes each request}, once the meters are read.
"""

import asyncio
import gc
import json
import sys

from firmware import app, board
from firmware.meters.meter import ONLINE
from firmware.net import seam

REQUESTS = int(sys.argv[1])
WARM = 20
INVOKE = b"\x02\x75\x01"
ANY_DEVICE = b"\x0c\x02\x3f\xff\xff"


class Socket:
    """Stands in for the stream of the seam: receives `received` for ever, and keeps the length of what was sent."""

    def __init__(self, received):
        self.received = received
        self.sent = 0

    def recvfrom(self, most):
        return self.received

    def sendto(self, data, peer):
        self.sent = len(data)
        return self.sent


def datagram(apdu):
    return b"\x81\x0a" + (6 + len(apdu)).to_bytes(2, "big") + b"\x01\x04" + apdu


def requests(points):
    """{kind: datagram}; `points`: objects, as the four bytes of their identifiers."""
    wanted = b"".join([b"\x0c" + each + b"\x1e\x09\x55\x1f" for each in points])
    return {
        "a device's vendor": datagram(INVOKE + b"\x0c" + ANY_DEVICE + b"\x19\x78"),
        "units": datagram(INVOKE + b"\x0c\x0c" + points[0] + b"\x19\x75"),
        "present value": datagram(INVOKE + b"\x0c\x0c" + points[0] + b"\x19\x55"),
        "20 present values": datagram(INVOKE + b"\x0e" + wanted),
    }


def grown(service, data, count):
    """Bytes that `count` requests have taken."""
    server = service._server
    stream = server.stream
    server.stream = socket = Socket((data, ("127.0.0.1", 47808)))
    try:
        gc.collect()
        before = gc.mem_alloc()
        for _ in range(count):
            server._left = 9
            service.on_ready(1)
        after = gc.mem_alloc()
    finally:
        server.stream = stream
    if socket.sent < 15:
        raise ValueError("no answer to %r" % data)
    return after - before


async def measure(gateway):
    gateway.start()
    while not all([meter.state == ONLINE for meter in gateway.meters.meters]):
        await asyncio.sleep_ms(20)
    service = gateway.service("bacnet")
    points = []
    for k, meter in enumerate(gateway.meters.meters):
        points += [meter.point_id(i).to_bytes(4, "big") for i in service._objects.points[k]]
    found = {}
    for kind, data in requests(points[:20]).items():
        grown(service, data, WARM)
        gc.disable()
        found[kind] = grown(service, data, REQUESTS) / REQUESTS
        gc.enable()
    print(json.dumps(found))


seam.install()
gateway = app.App(board.detect())
try:
    asyncio.run(measure(gateway))
finally:
    gateway.close()

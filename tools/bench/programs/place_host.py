"""What the compared servers find on the host: ports of the command line, and a probe into their heap.

On the host this file is bench_place.py; place_chip.py is it on the emulated Pico.

    micropython PROGRAM.py MODBUS_PORT HTTP_PORT [PROBE_PORT PEER_PORT]

The probe is a UDP socket between PROBE_PORT and PEER_PORT, over which tools/bench/probe.py asks; without it nothing of
it is imported or runs. A question is one byte, an answer one JSON object:
m   bytes of heap in use and free
c   the same after a collection, and how long that took in microseconds
n   the same as m, after a file "canary" was opened and forgotten: its finaliser closes it with the next collection
d   the same as m, after a call of C's getenv(), which Callgrind can be told to notice
t   the same as m, after collecting early, before the heap is full, was switched off
a   the same as m, after 100 objects of several blocks were allocated and forgotten
"""

# mypy: ignore-errors
import gc
import json
import os
import socket
import sys
import time

ADDRESS = "127.0.0.1"
FUNCTION = 3  # that reads the registers
PORTS = [int(word) for word in sys.argv[1:]]
MODBUS, HTTP = PORTS[0], PORTS[1]
PROBED = len(PORTS) > 2


def address(port):
    return socket.getaddrinfo(ADDRESS, port)[0][-1]


def listen(port):
    """A listening TCP socket on this port of 127.0.0.1."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address(port))
    listener.listen(16)
    return listener


def started():
    """The server is about to serve."""
    gc.collect()
    print("ready")


def probe_socket():
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.bind(address(PORTS[2]))
    probe.connect(address(PORTS[3]))
    probe.setblocking(False)
    return probe


def answer(probe, question):
    took = 0
    if question == b"c":
        begin = time.ticks_us()
        gc.collect()
        took = time.ticks_diff(time.ticks_us(), begin)
    elif question == b"n":
        open("canary", "wb")  # noqa: SIM115 (left to the collector, that is its purpose)
    elif question == b"d":
        os.getenv("CALLGRIND")
    elif question == b"t":
        gc.threshold(-1)
    elif question == b"a":
        for _ in range(100):
            bytearray(100)
    probe.write(json.dumps({"used": gc.mem_alloc(), "free": gc.mem_free(), "took_us": took}).encode())


async def answer_all():
    """As a task beside an asyncio server: sleeps until it is asked."""
    from asyncio import StreamReader

    probe = probe_socket()
    reader = StreamReader(probe)
    while True:
        answer(probe, await reader.read(1))

"""Runs on MicroPython with the firmware: different names and numbers in DNS and NTP answers, in requests of home
batteries, and clients of different addresses. Prints what names MicroPython keeps, and bytes of heap, before and after.

Arguments: how many answers of each kind, how many clients.
"""

import gc
import socket
import struct
import sys

import micropython

import dns
import ntp
from firmware.events import Events
from firmware.net import seam, seam_micropython
from firmware.net.budget import SERVICES, Budget
from firmware.net.listener import Connection, Listener
from firmware.services.shelly.service import Shelly

ANSWERS, CLIENTS = int(sys.argv[1]), int(sys.argv[2])
NAME = "time.plant.example"
events = Events(lambda: 0, lambda line: None)


def wire(label):
    return bytes((len(label),)) + label + b"\x05plant\x07example\x00"


def dns_answer(k):
    """An answer to a query for NAME, id 7: by k a CNAME of another name and its address, or a name or code that is
    wrong, all different from k to k."""
    label = b"h%d" % k
    question = wire(b"time") + struct.pack(">HH", 1, 1)
    target = wire(label)
    cname = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60 + k, len(target)) + target
    address = target + struct.pack(">HHIHI", 1, 1, 60 + k, 4, 0x0A000000 + k)
    kind = k % 4
    flags = 0x8180 if kind else 0x8180 | k % 16
    if kind == 1:
        question = target + struct.pack(">HH", 1, 1)
    records = cname + (address if kind != 2 else b"")
    return struct.pack(">HHHHHH", 7, flags, 1, 2 if kind != 2 else 1, 0, 0) + question + records


def ntp_answer(k, nonce):
    """An answer to the request with that nonce: by k a time, a kiss-o'-death of any code, or not synchronised."""
    refid = struct.pack(">I", 0x30000000 + 7919 * k & 0xFFFFFFFF)
    kind = k % 3
    head = struct.pack(">BBBbII", 0xE4 if kind == 2 else 0x24, 0 if kind == 1 else 2, 6, -20, k & 0xFFFF, k & 0xFFFF)
    stamp = struct.pack(">II", 0xED000000 + k, k)
    return head + refid + stamp + nonce + stamp + stamp


def ask_dns(k):
    data = dns_answer(k)
    try:
        found = dns.parse(data, len(data), 7, NAME)
        events.add("ntp", "%s for %d s" % found)
    except dns.DnsError as error:
        events.add("ntp", "cannot resolve: %s" % error)


def ask_ntp(k):
    nonce = struct.pack(">II", k + 1, ~k & 0xFFFFFFFF)
    data = ntp_answer(k, nonce)
    try:
        reply = ntp.parse(data, len(data), nonce)
        events.add("ntp", "stratum %d, %r" % (reply.stratum, reply.refid))
    except ntp.NtpError as error:
        events.add("ntp", "no time: %s %r" % (error, error.kiss))


class Nothing:
    """A link without a MAC, and meters of which there is none."""

    def details(self):
        return (None,) * 6

    def in_slot(self, slot):
        return None


def ask_battery(k):
    """A request of another method, source, key and letter each time; every fourth is one that is known."""
    code = 0x100 + k % 0x600
    letter = bytes((0xC0 | code >> 6, 0x80 | code & 63))
    method = (b"EM.GetStatus", b"M%d.%s" % (k, letter), b"%d" % k, letter)[k % 4]
    data = b'{"id":%d,"method":"%s","src":"b%d%s","k%d%s":"%s%d"}' % (k, method, k, letter, k, letter, letter, k)
    battery._reply(data)


class Silent(Connection):
    def on_input(self):
        self.close()


def knock(k):
    """A client from an address of its own, whose row of the ledger is shown and whose connection is closed."""
    client = socket.socket()
    client.bind(seam.address("127.%d.%d.%d" % (1 + k // 60000, k // 250 % 240, 1 + k % 250), 0))
    client.connect(where)
    seam_micropython._reactor.wait_io_event(0)
    [slot] = budget.connections
    ip, port = seam.peer(slot.peer)
    events.add("sockets", "%s:%d" % (ip, port))
    client.close()
    seam_micropython._reactor.wait_io_event(0)
    slot.connection.close()


def state():
    gc.collect()
    micropython.qstr_info()
    print("heap", gc.mem_alloc())


seam.install()
battery = Shelly(
    {"slot": 0, "bind": "127.0.0.1", "port": 1, "anywhere": True}, "name",
    Budget(16, 16, 16, ("shelly",), {}, lambda: 0, events), events, Nothing(), Nothing(), None,
)  # fmt: skip
budget = Budget(16, 16, 16, SERVICES[:6], {}, lambda: 0, events)
for port in range(20011 + seam.ticks_us() % 9000, 40000):
    try:
        listener = Listener(
            budget, events, "modbus", "127.0.0.1", port,
            lambda stream, slot: Silent(stream, slot, budget, events), 9999, 9999,
        )  # fmt: skip
        break
    except OSError:
        pass
where = seam.address("127.0.0.1", port)

for k in range(100):  # whatever is made once
    ask_dns(k)
    ask_ntp(k)
    ask_battery(k)
    knock(k)
state()
for k in range(100, 100 + ANSWERS):
    ask_dns(k)
    ask_ntp(k)
    ask_battery(k)
for k in range(100, 100 + CLIENTS):
    knock(k)
state()

"""Runs on MicroPython with the firmware, in a state directory: different names and numbers in DNS and NTP answers, in
requests of home batteries and BACnet clients, in packets of an MQTT broker, and clients of different addresses. Prints
what names MicroPython keeps, and bytes of heap, before and after.

Arguments: how many answers of each kind, how many clients.
"""

import gc
import socket
import struct
import sys

import micropython
import mqtt
import sparkplug

import dns
import ntp
from firmware.config import load
from firmware.events import Events
from firmware.meters.meters import Meters
from firmware.meters.readings import Readings
from firmware.net import seam, seam_micropython
from firmware.net.budget import SERVICES, Budget
from firmware.net.clock import Clock
from firmware.net.listener import Connection, Listener
from firmware.services.bacnet.service import BacnetService
from firmware.services.mqtt.service import Mqtt
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
    """A link without a MAC, meters of which there is none, buses without a line, a socket that sends to nobody."""

    def details(self):
        return (None,) * 6

    def up(self):
        return True

    def in_slot(self, slot):
        return None

    def pause(self, on_paused):
        on_paused()
        return True

    def resume(self):
        pass

    def sendto(self, data, peer):
        global bacnet_answers
        bacnet_answers += 1
        return len(data)


def letter_of(k):
    code = 0x100 + k % 0x600
    return bytes((0xC0 | code >> 6, 0x80 | code & 63))


def ask_battery(k):
    """A request of another method, source, key and letter each time; every fourth is one that is known."""
    letter = letter_of(k)
    method = (b"EM.GetStatus", b"M%d.%s" % (k, letter), b"%d" % k, letter)[k % 4]
    data = b'{"id":%d,"method":"%s","src":"b%d%s","k%d%s":"%s%d"}' % (k, method, k, letter, k, letter, letter, k)
    battery._reply(data)


def characters(tag, text):
    """A character string of that context tag, -1 for an application tag."""
    content = b"\x00" + text
    first = 0x75 if tag < 0 else tag << 4 | 13
    return bytes((first, len(content))) + content


def ask_bacnet(k):
    """A request with another text and number each time: a name that is looked for, one that is written, a password, a
    subscription, an object and a property that there are not."""
    text = b"n%d%s" % (k, letter_of(k))
    number = struct.pack(">I", k)
    kind = k % 6
    if kind == 0:
        apdu = b"\x10\x07" + characters(3, text)
    elif kind == 1:
        prop = (b"\x4d", b"\x1c", b"\x3a")[k // 6 % 3]  # Object_Name, Description, Location
        apdu = b"\x00\x05\x07\x0f\x0c" + struct.pack(">I", 8 << 22 | 1234)
        apdu += b"\x19" + prop + b"\x3e" + characters(-1, text) + b"\x3f"
    elif kind == 2:
        apdu = b"\x00\x05\x07\x11\x09\x05\x19\x00" + characters(2, text[:18])
    elif kind == 3:
        apdu = b"\x00\x05\x07\x05\x0c" + number + b"\x1c\x00\x00\x00\x10\x29\x01\x39\x3c"
    elif kind == 4:
        apdu = b"\x00\x05\x07\x0c\x0c" + number + b"\x19\x55"
    else:
        apdu = b"\x00\x05\x07\x0e\x0c\x00\x00\x00\x10\x1e\x0b" + number[1:] + b"\x1f"
    data = b"\x81\x0a" + struct.pack(">H", len(apdu) + 6) + b"\x01\x04" + apdu
    bacnet._serve_datagram(data, seam.address("192.0.2.%d" % (k % 250 + 1), 47808))
    if k % 10 == 0:
        bacnet.tick()
        bacnet._kept.changed()


def ask_broker(k):
    """A packet of an MQTT broker: a message of another topic and text each time, a confirmation, or no packet."""
    text = b"t%d%s" % (k, letter_of(k))
    kind = k % 4
    if kind < 2:
        body = struct.pack(">H", len(text)) + text + (b"online", text)[kind]
        data = b"\x30" + bytes((len(body),)) + body
    elif kind == 2:
        data = b"\x90\x03" + struct.pack(">HB", k & 0xFFFF, k & 0xFF) + b"\x40\x02" + struct.pack(">H", k & 0xFFFF)
    else:
        data = bytes((k & 0xFF, len(text))) + text
    reader = mqtt.Reader()
    try:
        broker._take(reader, memoryview(data))
    except mqtt.MqttError as error:
        broker._fail(str(error))


def command_node(k):
    """A command to the gateway as a node of Sparkplug: of another metric each time, cut off, or a request of births."""
    text = b"m%d%s" % (k, letter_of(k))
    kind = k % 4
    name = sparkplug.REBIRTH if kind == 1 else text
    metric = sparkplug.metric(k & 0xFFFF, sparkplug.timestamp(k), k & 15, sparkplug.boolean(kind > 0), b"", name)
    payload = sparkplug.begin(k) + metric + sparkplug.text(text)
    if kind == 2:
        payload = payload[: k % len(payload)]
    node._take(mqtt.Reader(), memoryview(mqtt.publish(b"c/" + text, payload, False, k & 0xFFFF)))
    counts[kind] += node._sparkplug.is_rebirth_due
    node._sparkplug.is_rebirth_due = False
    node._answers = b""


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
nothing = Nothing()
clock = Clock(lambda text: None)
meters = Meters([])
readings = Readings(lambda: 0)
config = load.default()
config["bacnet"]["allow_writes"] = True
config["bacnet"]["password"] = "#egbdf!"
config["bacnet"]["instance"] = 1234
bacnet_answers = 0
bacnet = BacnetService(
    config["bacnet"], "name", "model", Budget(16, 16, 16, ("bacnet",), {}, lambda: 0, events), events, clock, nothing,
    meters, readings, nothing, nothing,
)  # fmt: skip
bacnet._server.stream = nothing
bacnet._objects.instance = 1234
config["mqtt"]["homeassistant"] = True
broker = Mqtt(
    config["mqtt"], "name", "serial", nothing, None, events, clock, nothing, meters, readings, nothing, nothing,
)  # fmt: skip
config["mqtt"]["payload"] = "sparkplug"
node = Mqtt(
    config["mqtt"], "name", "serial", nothing, None, events, clock, nothing, meters, readings, nothing, nothing,
)  # fmt: skip
node._sparkplug.is_rebirth_due = False
counts = [0] * 4  # of births that were asked for, by the kind of command
config = None
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
    ask_bacnet(k)
    ask_broker(k)
    command_node(k)
    knock(k)
state()
for k in range(100, 100 + ANSWERS):
    ask_dns(k)
    ask_ntp(k)
    ask_battery(k)
    ask_bacnet(k)
    ask_broker(k)
    command_node(k)
for k in range(100, 100 + CLIENTS):
    knock(k)
state()
print("bacnet", bacnet.status()["requests"], bacnet.errors, bacnet.malformed, bacnet_answers)
print("births", *counts)

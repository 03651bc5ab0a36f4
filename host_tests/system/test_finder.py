"""The finder on real MicroPython: found by broadcast and by address, refused ones leave nothing behind."""

import json
import socket
import subprocess

import pytest

from host_tests.system.rig import HOST, wait_for
from tools import gateway

FIND = b"meterport find"
ANSWER_S = 2
BROADCAST = "127.255.255.255"  # of the loopback network
REQUESTS = 5000
SLACK = 256  # bytes of the heap

# With the gateway's finder in a folder of its own and nothing of the loop: datagrams from a socket without a network.
SCRIPT = """
import gc, sys
import micropython
from firmware import app, board
from firmware.net import seam

class Socket:
    data = b""
    def recvfrom(self, n):
        return self.data, ("192.168.1.7", 40000)
    def sendto(self, data, address):
        return len(data)

def letter(k):
    return bytes((0xC4 + (k >> 6 & 15), 0x80 | k & 63))  # UTF-8: no text is made of it here

def measure():
    gc.collect()
    micropython.qstr_info()
    print("heap", gc.mem_alloc())

seam.install()
seam.interest = lambda stream, events: None
gateway = app.App(board.detect())
gateway.start()
finder = gateway.service("finder")
finder.close()
finder._server.stream = stream = Socket()
for k in range(int(sys.argv[1])):
    x = letter(k)
    for stream.data in (
        b"meterport find", b"meterport " + x, b"meterport identify " + x, x + b"%d" % k,
        b'{"meterport":1,"name":"' + x + b'","serial":"%d"' % k,
    ):
        finder.on_ready(1)
    if k == 300:
        measure()
measure()
finder.on_ready(1)
stream.data = b"meterport finds"
sender = stream.recvfrom(1)
stream.recvfrom = None
class Given:
    def recvfrom(self, n):
        return sender
finder._server.stream = Given()
finder._server._left = 100
micropython.heap_lock()
for k in range(50):
    finder.on_ready(1)
micropython.heap_unlock()
print("refused", finder.refused)
"""


def ask(data, address, timeout=ANSWER_S):
    """[(document, address)] of those that answer within `timeout`, the socket's own broadcasts included."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.settimeout(timeout)
        sock.sendto(data, address)
        try:
            while True:
                answer, sender = sock.recvfrom(2000)
                found.append((json.loads(answer), sender))
                sock.settimeout(0.3)
        except TimeoutError:
            return found


def find(rig):
    ((document, sender),) = wait_for(lambda: ask(FIND, (HOST, rig.finder_port)), 10, "an answer")
    assert sender == (HOST, rig.finder_port)
    return document


def test_the_answer_says_where_the_services_are(make_rig):
    rig = make_rig()
    document = find(rig)
    assert document["ports"] == {"http": rig.http_port, "modbus": rig.modbus_port}
    assert (document["name"], document["board"], document["sockets"]) == ("test", "unix", 16)
    assert document["conflicts"] == []
    with rig.client() as client:
        client.read(255, 3, 0, 1)
        left = 16 - rig.sockets()["services"] - 1
        # The probe that found the rig ready may not be closed yet.
        wait_for(lambda: find(rig)["sockets_free"] == left, 10, "one client beside the services")
    status = rig.status()
    assert status["finder"]["answered"] >= 2
    assert status["finder"]["conflict"] is None
    (slot,) = [slot for slot in rig.sockets()["slots"] if slot["kind"] == "finder"]
    assert (slot["open"], slot["requests"]) == (True, status["finder"]["answered"])


def test_a_broadcast_finds_it(make_rig):
    rig = make_rig(config={"finder": {"bind": "0.0.0.0"}})
    found = wait_for(lambda: ask(FIND, (BROADCAST, rig.finder_port)), 10, "an answer to the broadcast")
    assert [document["name"] for document, _ in found] == ["test"]


def test_each_of_three_gateways_identifies_itself_by_its_own_serial_only(make_rig):
    rigs = [make_rig(config={"name": f"gateway {k}", "finder": {"bind": f"127.0.0.{2 + k}"}}) for k in range(3)]
    places = [(f"127.0.0.{2 + k}", rig.finder_port) for k, rig in enumerate(rigs)]
    documents = [wait_for(lambda place=place: ask(FIND, place), 10, "an answer")[0][0] for place in places]
    assert [document["name"] for document in documents] == ["gateway 0", "gateway 1", "gateway 2"]
    assert len({document["serial"] for document in documents}) == 3
    identify = b"meterport identify " + documents[1]["serial"].encode()
    assert [len(ask(identify, places[k], 0.5)) for k in (0, 2)] == [0, 0]
    assert len(wait_for(lambda: ask(identify, places[1]), 10, "its answer")) == 1
    rigs[1].wait_event("finder: identify, asked by 127.0.0.1")
    assert [rig.event_count("identify") > 0 for rig in rigs] == [False, True, False]


def test_switched_off_it_is_not_there(make_rig):
    rig = make_rig(config={"finder": {"enabled": False}})
    assert ask(FIND, (HOST, rig.finder_port), 0.3) == []
    assert rig.status()["finder"] is None


def test_a_port_that_is_taken_costs_nothing_but_the_finder(make_rig):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HOST, 0))
        rig = make_rig(config={"finder": {"port": other.getsockname()[1]}})
        states = {service["name"]: service["state"] for service in rig.status()["services"]}
        assert (states["finder"], states["modbus"]) == ("failed", "running")


@pytest.mark.parametrize("datagram", [b"", b"x" * 300, b"meterport find" + b" " * 200], ids=["empty", "long", "padded"])
def test_it_answers_after_whatever_came(make_rig, datagram):
    rig = make_rig()
    for _ in range(5):
        assert ask(datagram, (HOST, rig.finder_port), 0.05) == []
    assert find(rig)["name"] == "test"


def test_25000_datagrams_leave_no_name_and_no_memory(tmp_path):
    config = {
        "http": {"enabled": False}, "modbus": {"enabled": False}, "ntp": {"enabled": False}, "meters": [],
        "finder": {"bind": HOST, "port": gateway.free_ports(1)[0]}, "buses": [{"uart": "nowhere"}],
    }  # fmt: skip
    gateway.write_config(tmp_path, config)
    script = tmp_path / "datagrams.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [str(gateway.find_frozen(print)), "-X", "heapsize=96K", str(script), str(REQUESTS)],
        cwd=tmp_path, env={"MICROPYPATH": ".frozen"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    before, after = [int(line.split()[1]) for line in lines if line.startswith("heap ")]
    assert after - before <= SLACK
    names = [line for line in lines if line.startswith("qstr pool:")]
    assert names[0] == names[1]
    (refused,) = [int(line.split()[1]) for line in lines if line.startswith("refused ")]
    assert refused == 3 * REQUESTS + 50


def test_frozen_firmware_opens_its_default_port(tmp_path):
    """Which is a constant that MicroPython has frozen as a long integer."""
    script = tmp_path / "port.py"
    script.write_text(
        "from firmware.config import schema\nfrom firmware.net import seam\n"
        "section = {key[0]: key[2] for key in schema.KEYS}['finder']\n"
        "port = {key[0]: key[2] for key in section}['port']\nseam.address('127.0.0.1', port)\nprint(port)\n"
    )
    done = subprocess.run(
        [str(gateway.find_frozen(print)), str(script)],
        env={"MICROPYPATH": ".frozen"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("10502\n", 0), done.stdout + done.stderr

"""Names found by dnsmasq, beside name servers that lie, loop, truncate or are silent: the firmware on real MicroPython,
in a network namespace where port 53 is the test's own. What a name leads to is chrony, from which the time comes."""

import socket
import struct
import subprocess
from pathlib import Path

import pytest

from host_tests.chrony import Chrony
from host_tests.daemon import Daemon
from host_tests.system.rig import HOST, PICO_W_HEAP, Background, Rig, wait_for
from tools import debian, gateway
from tools.emulator.tun import Namespace

LIAR = "127.0.0.2"
NAME = "time.example"
SET_S = 30
_PORT = 53
_MOUNTED = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
_ALIASES = 10  # more than the eight that are followed
_ADDRESSES = 40  # more than 512 bytes hold


class Dnsmasq(Daemon):
    """Serves names of .example at 127.0.0.1, and nothing else."""

    def __init__(self, folder):
        super().__init__(folder)
        self._program = debian.ensure_packages({"dnsmasq": "dnsmasq-base"})["dnsmasq"]

    def command(self):
        aliases = [f"--cname=alias{k}.example,alias{k + 1}.example" for k in range(_ALIASES)]
        many = [f"--host-record=many.example,10.1.2.{k}" for k in range(_ADDRESSES)]
        return [
            Path(self._program), "--keep-in-foreground", "--user=root", "--pid-file", "--conf-file=/dev/null",
            f"--listen-address={HOST}", "--bind-interfaces", "--no-resolv", "--no-hosts", "--local=/example/",
            f"--host-record={NAME},{HOST}", f"--host-record=alias{_ALIASES}.example,{HOST}", *aliases, *many,
        ]  # fmt: skip

    def answers(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.settimeout(0.2)
            asker.connect((HOST, _PORT))
            try:
                asker.send(query(b"\x04time\x07example\0"))
                return len(asker.recv(512)) > 12
            except OSError:  # refused, or silence
                return False


def query(name):
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", 1, 1)


def answer(asked, address="127.0.0.9", flags=0x8180, id_=None, name=b"\xc0\x0c"):
    head = struct.pack(">HHHHHH", int.from_bytes(asked[:2], "big") if id_ is None else id_, flags, 1, 1, 0, 0)
    return head + asked[12:] + name + struct.pack(">HHIH", 1, 1, 300, 4) + socket.inet_aton(address)


LIES = {
    "silence": lambda asked: [],
    "another id": lambda asked: [answer(asked, id_=int.from_bytes(asked[:2], "big") ^ 1)],
    "truncated": lambda asked: [answer(asked, flags=0x8380)],
    "a loop": lambda asked: [answer(asked, name=b"\xc0" + bytes([len(asked)]))],
    "a loop of aliases": lambda asked: [
        asked[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + asked[12:]
        + b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 300, 2) + b"\xc0\x0c"
    ],
    "rubbish": lambda asked: [b"\xff" * 100],
}  # fmt: skip


class Liar(Background):
    """A name server at 127.0.0.2. Made in the namespace."""

    def __init__(self, lie):
        super().__init__("liar")
        self.asked = 0
        self._lie = lie
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LIAR, _PORT))
        self._socket.settimeout(0.1)

    def work(self):
        with self._socket:
            while not self.stopping.is_set():
                try:
                    asked, peer = self._socket.recvfrom(512)
                except TimeoutError:
                    continue
                self.asked += 1
                for reply in self._lie(asked):
                    self._socket.sendto(reply, peer)


@pytest.fixture(scope="module")
def space():
    space = Namespace()
    try:
        ip = debian.ensure_packages({"ip": "iproute2"})["ip"]
        space.call(subprocess.run, [ip, "link", "set", "lo", "up"])
        yield space
    finally:
        space.close()


@pytest.fixture(scope="module")
def chrony(space, tmp_path_factory):
    with space.running(Chrony(tmp_path_factory.mktemp("chrony"))) as chrony:
        yield chrony


@pytest.fixture(scope="module")
def dnsmasq(space, tmp_path_factory):
    with space.running(Dnsmasq(tmp_path_factory.mktemp("dnsmasq"))) as dnsmasq:
        yield dnsmasq


@pytest.fixture
def start(space, chrony, dnsmasq, tmp_path):
    """start(server, *more servers, name_servers) gives a gateway that asks these for the time."""
    rigs = []

    def start(*names, name_servers):
        resolv = tmp_path / "resolv.conf"
        resolv.write_text("".join(f"nameserver {each}\n" for each in name_servers))
        unshare = debian.ensure_packages({"unshare": "util-linux"})["unshare"]
        run = [gateway.find_frozen(print), "-X", f"heapsize={PICO_W_HEAP}", "-m", "main"]
        rig = Rig(
            tmp_path / "state", meters=(), argv=[unshare, "--mount", "sh", "-c", _MOUNTED, resolv, *run],
            env={"MICROPYPATH": ".frozen"},
            config={"ntp": {"server": names[0], "more_servers": list(names[1:]), "port": chrony.port}},
        )  # fmt: skip
        space.call(rig.start)
        rigs.append(rig)
        return rig

    yield start
    for rig in rigs:
        space.call(rig.stop)


def texts(rig):
    return [event["text"] for event in rig.status()["events"] if event["source"] == "ntp"]


def test_names_of_dnsmasq_are_found_and_what_it_cannot_say_in_one_datagram_is_told(space, start):
    rig = start("many.example", "alias0.example", "nowhere.example", NAME, name_servers=[HOST])
    space.call(wait_for, lambda: rig.status()["ntp"]["server"] == NAME, SET_S, "the time")
    found = "\n".join(space.call(texts, rig))
    assert f"no time from many.example: cannot resolve many.example: {HOST}: truncated" in found
    assert f"cannot resolve alias0.example: {HOST}: more than 8 CNAMEs" in found
    assert f"cannot resolve nowhere.example: {HOST}: NXDOMAIN" in found
    assert f"clock set by {NAME}" in found


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
def test_a_name_server_that_lies_is_not_believed_and_dnsmasq_is_asked(space, start, lie):
    liar = space.call(Liar, LIES[lie])
    with liar:
        rig = start(NAME, name_servers=[LIAR, HOST])
        space.call(wait_for, lambda: rig.status()["ntp"]["server"] == NAME, SET_S, "the time")
        assert liar.asked >= 1
        assert not [text for text in space.call(texts, rig) if "127.0.0.9" in text]

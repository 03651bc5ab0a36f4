"""The firmware's TCP client through real lwIP, on the emulated RP2040, against sockets of this machine."""

from host_tests.emulated.chip import Chip
from host_tests.tcp_servers import EXPECTED, SCRIPT, TcpServers
from tools.emulator import build
from tools.emulator.network import GATEWAY

RUN_S = 300
TIMES = 10  # connections, each of which leaves a PCB in TIME_WAIT


def test_the_client_connects_sends_receives_and_says_why_it_cannot(tmp_path):
    files = {"use_tcp_client.py": SCRIPT.read_bytes()}
    with TcpServers() as servers, Chip(tmp_path, build.OUR_PCBS, {"meters": []}, files=files) as chip:
        code = f"import use_tcp_client; use_tcp_client.run({GATEWAY!r}, {servers.ports!r}, {TIMES})"
        output = chip.emulator.exec(code, timeout=RUN_S)
    *lines, heap = output.splitlines()
    assert lines == EXPECTED[:-1]
    assert int(heap.split()[1]) <= 64  # sockets are collected late: 96 bytes after five connections, none after ten

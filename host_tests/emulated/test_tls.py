"""TLS of the firmware on the emulated RP2040: Mbed TLS in its heap, through real lwIP, against OpenSSL."""

import time

from host_tests.emulated.chip import Chip
from host_tests.tls_servers import SCRIPT, TlsServers, cases_of
from tools.emulator import build
from tools.emulator.network import GATEWAY

RUN_S = 580
STALL_MAX_MS = 5000  # below the watchdog's 8.388 s


def test_only_the_right_certificate_passes_and_no_stall_reaches_the_watchdog(tmp_path):
    with TlsServers(tmp_path) as servers:
        files = {"use_tls.py": SCRIPT.read_bytes(), "data/ca.pem": servers.certificates.authority.pem}
        cases, expected = cases_of(servers)
        year, month, day, hour, minute, second, weekday = time.gmtime()[:7]
        clock = (year, month, day, weekday, hour, minute, second, 0)
        code = (
            f"import machine; machine.RTC().datetime({clock!r})\n"
            f"import use_tls\nfrom firmware.board import machine_common\n"
            f"use_tls.run({GATEWAY!r}, {cases!r}, 1, machine_common.heap)"
        )
        with Chip(tmp_path, build.OUR_PCBS, {"meters": []}, files=files) as chip:
            output = chip.emulator.exec(code, timeout=RUN_S)
    *lines, stall, session, left, enough, too_little = output.splitlines()
    assert lines == expected
    assert 50 < int(stall.split()[1]) < STALL_MAX_MS
    assert 20_000 < int(session.split()[1]) < 46_080  # 45 KB are what firmware/net/tls.py asks for
    assert int(left.split()[1]) <= 256
    assert enough == "room True"
    assert too_little.startswith("room no memory for TLS: ")
    print(stall, session, left)

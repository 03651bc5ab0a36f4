"""TLS of the firmware on real MicroPython, 32-bit, frozen, with Mbed TLS, against OpenSSL: who is trusted."""

import json
import ssl
import subprocess

import pytest

from host_tests.tls_servers import SCRIPT, TlsServers, cases_of
from tools import gateway

_LEFT_MAX = 64  # bytes of Python's heap after five sessions
_STALL_MAX_MS = 5000  # below the watchdog's 8.388 s, on a machine that may be busy


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=("tls12", "tls13"))
def test_only_the_right_certificate_is_accepted_and_a_session_leaves_nothing_behind(tmp_path, newest):
    with TlsServers(tmp_path, newest) as servers:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "ca.pem").write_bytes(servers.certificates.authority.pem)
        cases, expected = cases_of(servers)
        (tmp_path / "cases.json").write_text(json.dumps(cases))
        done = subprocess.run(
            [str(gateway.find_frozen(print)), "-X", "heapsize=128K", str(SCRIPT), "cases.json"],
            env={"MICROPYPATH": ".frozen"}, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, stall, session, left = done.stdout.splitlines()
    assert lines == expected
    assert int(stall.split()[1]) < _STALL_MAX_MS
    assert int(session.split()[1]) < 8192  # of Python's heap; Mbed TLS takes its own from the C library here
    assert int(left.split()[1]) <= _LEFT_MAX

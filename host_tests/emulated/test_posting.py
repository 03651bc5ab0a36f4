"""A backlog posted over TLS by the emulated RP2040, past nginx, while its meters are polled. `pytest -s` shows how much
of the heap was left and how long a step of the handshake took."""

import json
import time

import pytest

from host_tests.certificates import Certificates
from host_tests.emulated.chip import Chip
from host_tests.http_receiver import Receiver
from host_tests.nginx import Nginx, tls_proxy
from host_tests.system.backlog import Backlog
from host_tests.system.rig import HOST
from tools import gateway
from tools.device_api import Device
from tools.emulator import build
from tools.emulator.network import GATEWAY

pytestmark = pytest.mark.timeout(1200)

PASSWORD = "correct horse"
ANSWER_S = 60
POSTED_S = 600
RECORDS = 500
STALL_MAX_MS = 5000  # below the watchdog's 8.388 s


def test_a_backlog_is_posted_over_tls_while_meters_are_polled(tmp_path):
    backlog = Backlog(tmp_path, RECORDS)
    certificates = Certificates(GATEWAY)
    (port,) = gateway.free_ports(1)
    free = []
    with Receiver() as receiver:
        proxy = tls_proxy(port, certificates.servers["good"].write(tmp_path, "good"), receiver.port)
        config = {
            "ntp": {"enabled": False}, "history": {"flash": True},
            "posting": {"url": f"https://{GATEWAY}:{port}/in", "interval_s": 86400},
        }  # fmt: skip
        segments = (path for path in (tmp_path / "data").rglob("*") if path.is_file())
        files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in segments}
        files["data/ca.pem"] = certificates.authority.pem
        with Nginx(tmp_path / "nginx", [proxy], [port]), Chip(tmp_path, build.OUR_PCBS, config, files=files) as chip:
            chip.wait_polled()
            with Device(HOST, timeout=ANSWER_S, connect=lambda: chip.connect("http", ANSWER_S)) as device:
                device.set_password(PASSWORD)
                device.login(PASSWORD)
                device.post("/api/time", {"unix_s": int(time.time())})
                device.post("/api/posting")
                deadline = time.monotonic() + POSTED_S
                while time.monotonic() < deadline:
                    status = device.get("/api/status")
                    free.append(status["heap"]["free"])
                    if status["posting"]["delivered"] >= RECORDS or status["posting"]["failures"]:
                        break
                posting = device.get("/api/posting")
                meters = status["meters"]
    print(f"heap free, garbage counted as used: at least {min(free)} bytes; a TLS step: {posting['tls_stall_ms']} ms")
    assert posting["error"] is None
    times = [record["time"] for request in receiver.requests for record in json.loads(request.body)["records"]]
    assert times[:RECORDS] == sorted(backlog.values)
    assert posting["failures"] == 0
    assert 0 < posting["tls_stall_ms"] < STALL_MAX_MS
    assert status["task_restarts"] == 0
    assert {meter["state"] for meter in meters} == {"online"}

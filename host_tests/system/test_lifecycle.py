"""The firmware as a process from its start to its end: on both runtimes, through a reboot, with its serial line pulled
out and put back, and through two thousand requests in the heap that it has on a chip."""

import concurrent.futures
import contextlib
import os
import shutil
import signal
import struct
import time

import pytest

from host_tests.system.rig import (
    BAUD,
    GATEWAY_PATH_UNAVAILABLE,
    HOST,
    UART,
    ModbusError,
    Rig,
    read_pdu,
    wait_for,
    words,
)
from tools import gateway
from tools.device_api import Device
from tools.gateway import RUNTIMES
from tools.virtual_line import VirtualLine
from tools.virtual_meters import default_meters

PASSWORD = "correct horse"
REOPEN_S = 20  # the firmware looks for a lost line each second
SMALL = "96K"  # of a board with our image
FILES = "192K"  # with modules as files that is room for Modbus, and not for the web server as well


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_spine_stands(make_rig, runtime):
    rig = make_rig(runtime=runtime)
    rig.wait_polled()
    with rig.client() as client:
        for unit, function, address, count in ((1, 4, 0, 36), (2, 3, 0x200, 16), (3, 4, 0, 10), (2, 3, 0x513, 2)):
            held = words(rig.meter(unit).registers(function, address, count))
            assert client.read(unit, function, address, count) == held
        # Points on unit 255: four registers each at point id x 4; the SDM630 has slot 0, its frequency number 15.
        value, age_s, quality = struct.unpack(">fHH", client.read(255, 4, 4 * 15, 4))
        assert value == struct.unpack(">f", words(rig.meter(1).registers(4, 0x46, 2)))[0]
        assert age_s <= 9  # polled each second, by a machine that may be busy
        assert quality == 0
        assert client.exception(250, read_pdu(3, 0, 1)) == GATEWAY_PATH_UNAVAILABLE
    for unit in (1, 2, 3):
        expected = rig.meter(unit).expected_all()
        for number, point in rig.points(unit).items():
            assert point["value"] == pytest.approx(expected[number], rel=5e-7, abs=1e-9)
    rig.meter(3).set("voltage_l1", 251.7)
    wait_for(lambda: rig.points(3)[1]["value"] == 251.7, what="the new voltage")
    status = rig.status()
    assert status["config"] == {"source": "file", "errors": []}
    assert status["task_restarts"] == 0
    assert rig.sockets()["limit"] == 16
    assert status["modbus"]["cached"] >= 3


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_the_firmware_and_frees_its_ports(make_rig, runtime, number):
    rig = make_rig(runtime=runtime, meters=())
    with rig.client() as client:
        assert client.read(255, 3, 0, 1) == b"MP"
        os.kill(rig.gateway.pid, number)
        code = rig.gateway.wait_exit(30)
        assert client.wait_closed() == b""
    # Ctrl-C is the way to the REPL: an orderly end. SIGTERM may be handled or not.
    assert code == 0 if number == signal.SIGINT else code in (0, -signal.SIGTERM)
    if number == signal.SIGINT:
        assert "meterport: stopped; run() starts it again" in rig.gateway.lines
    rig.gateway.start()
    rig.gateway.wait_ready()


# main.py of a device that reboots itself once: the firmware of this tree, asked by a file that appears.
REBOOTING_MAIN = """
import os
from firmware import app, board
from firmware.net import seam

port = board.detect()

async def main(self):
    self.start()
    while True:
        try:
            os.remove("reboot")
        except OSError:
            await seam.sleep_ms(10)
            continue
        port.reset()

app.App.main = main
app.run(port)
"""


def test_exit_code_42_starts_it_again_on_the_same_ports(make_rig, tmp_path):
    device = tmp_path / "device"
    shutil.copytree(gateway.build_device(False, lambda text: None), device)
    (device / "main.py").write_text(REBOOTING_MAIN)
    rig = make_rig(device_dir=device)
    rig.wait_polled()
    first = rig.gateway.pid
    held = words(rig.meter(3).registers(4, 0, 10))
    client = rig.client()
    with client:
        assert client.read(3, 4, 0, 10) == held
        for count in (1, 2):
            asked_s = time.monotonic()
            (rig.folder / "reboot").touch()
            rig.gateway.wait_reboots(count)
            assert client.wait_closed() == b""
            rig.gateway.wait_ready()
            client.close()
            client = rig.client()
            rig.wait_polled()
            assert client.read(3, 4, 0, 10) == held
    assert rig.gateway.pid != first
    assert rig.gateway.exit_codes == [gateway.REBOOT_CODE] * 2
    assert rig.status()["uptime_s"] <= time.monotonic() - asked_s + 1
    client.close()


# In front of main.py: a gateway that crashes right after its start while the file is there, but for its safe mode.
CRASHING = """
import os
from firmware import app

async def crash(self):
    if not self._failed_starts:
        raise ValueError("a fault of this test")
    await whole(self)

whole = app.App.main
if "crash" in os.listdir():
    app.App.main = crash
"""


def test_a_gateway_that_crashes_at_each_start_ends_in_safe_mode_and_comes_back(make_rig, tmp_path):
    tree = tmp_path / "device"
    shutil.copytree(gateway.build_device(False, lambda text: None), tree)
    (tree / "main.py").write_text(CRASHING + (tree / "main.py").read_text())
    rig = make_rig(device_dir=tree)
    device = Device(HOST, rig.http_port)
    device.set_password(PASSWORD)
    device.close()
    rig.gateway.stop()
    (rig.folder / "crash").touch()
    # The configuration is new: config/trial counts this start and the next two, and gives it up; it is not the cause.
    for _ in range(2 + 2):
        rig.gateway.start()
        assert rig.gateway.wait_exit(60) == 1
    rig.gateway.start()
    rig.gateway.wait_ready(modbus_port=0)
    status = rig.status()
    assert status["config"]["errors"][0] == "safe mode: 3 starts have failed: ValueError('a fault of this test',)"
    assert [entry["name"] for entry in status["services"] if entry["state"] == "running"] == ["http"]
    assert (status["buses"], status["meters"]) == ([], [])
    device.login(PASSWORD)
    crash = device.get("/api/crash")
    assert crash["reason"] == "ValueError('a fault of this test',)"
    assert "in crash" in crash["traceback"]
    assert crash["heap_free"] > 0
    (rig.folder / "crash").unlink()
    device.post("/api/reboot")
    device.close()
    rig.gateway.wait_reboots(1)
    rig.gateway.wait_ready()
    status = rig.status()
    assert not [error for error in status["config"]["errors"] if "safe mode" in error]
    assert len(status["buses"]) == 1
    rig.gateway.lines.clear()  # the tracebacks of this test are no findings


@pytest.mark.parametrize("files", [("__init__.py",), ("__init__.py", "board/__init__.py", "board/unix.py")])
def test_files_that_cannot_be_imported_give_way_to_the_firmware_in_the_image(tmp_path, files):
    """As a board starts it: what lies in /firmware, half of a deploy, goes before the image."""
    for name in files:
        path = tmp_path / "firmware" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(gateway.ROOT / "firmware" / name, path)
    http_port, modbus_port = gateway.free_ports(2)
    gateway.write_config(tmp_path, gateway.place_of({"http": {"port": http_port}, "modbus": {"port": modbus_port}}))
    lines = []
    argv = [gateway.find_frozen(print), "-X", f"heapsize={gateway.FROZEN_HEAP}", "-m", "main"]
    env = {"MICROPYPATH": ":.frozen"}
    with gateway.Gateway(tmp_path, argv=argv, env=env, on_line=lines.append) as running:
        running.wait_ready()
        with Device(HOST, http_port) as device:
            assert device.session()["setup"]
    assert any("the firmware in /firmware is given up: ImportError" in line for line in lines)


def test_a_line_that_vanishes_gives_0a_and_values_again_when_it_is_back(make_rig):
    rig = make_rig()
    rig.wait_polled()
    passed = (2, 3, 0x513, 2)
    cached = (3, 4, 0, 10)
    held = words(rig.meter(2).registers(*passed[1:]))
    line = rig.line
    with rig.client() as client, contextlib.ExitStack() as stack:
        assert client.read(*passed) == held
        for _ in range(2):
            line.stop()  # the pty is gone, as an adapter that is pulled out
            # A client notices at once; what the poller has read is not passed on either, from its next turn on.
            wait_for(lambda: client.exception(2, read_pdu(*passed[1:])) == GATEWAY_PATH_UNAVAILABLE, what="0A")
            wait_for(lambda: client.exception(3, read_pdu(*cached[1:])) == GATEWAY_PATH_UNAVAILABLE, what="0A")
            rig.wait_event("bus 0: line lost")
            assert [bus["open"] for bus in rig.status()["buses"]] == [False]
            assert {point["quality"] for point in rig.points(3).values()} == {"failed"}
            assert client.read(255, 3, 0, 1) == b"MP"
            line = stack.enter_context(VirtualLine(line.meters, BAUD, link=rig.folder / UART))
            wait_for(lambda: client.exception(2, read_pdu(*passed[1:])) == 0, REOPEN_S, "the line's return")
            assert client.read(*passed) == held
            rig.wait_polled()
            assert client.read(*cached) == words(rig.meter(3).registers(*cached[1:]))
    assert rig.gateway.alive
    assert rig.status()["task_restarts"] == 0


def test_a_line_that_is_not_there_at_the_start_is_opened_when_it_comes(make_rig):
    rig = make_rig(virtual=(), config={"buses": [{"uart": "bus1", "baud": BAUD, "framing": "8N1"}]})
    with rig.client() as client:
        wait_for(lambda: client.exception(1, read_pdu(4, 0, 2)) == GATEWAY_PATH_UNAVAILABLE, what="0A")
        rig.wait_event("bus 0: cannot open bus1")
        with VirtualLine(default_meters(), BAUD, link=rig.folder / "bus1"):
            rig.wait_polled()
            assert len(client.read(1, 4, 0, 36)) == 72


def test_a_service_that_finds_no_room_is_named_and_the_others_run(tmp_path):
    others = dict.fromkeys(("finder", "ntp", "posting"), {"enabled": False})  # they would take what Modbus needs
    with Rig(tmp_path, frozen=False, heap=FILES, config={"history": {"bytes": 0}, **others}).started(http=False) as rig:
        line = rig.gateway.wait_line("http: not started: no memory for it")
        assert "an image with the firmware frozen into it has room" in line
        with rig.client() as client:
            wait_for(lambda: client.exception(1, read_pdu(4, 0, 2)) == 0, what="an answer of the meter")
            assert client.read(255, 3, 13, 1)[1] & 3 == 1  # failed: the first kind of service, http; not Modbus


@pytest.mark.parametrize("more", [{}, {"homeassistant": True}, {"payload": "sparkplug"}], ids=str)
def test_mqtt_with_its_history_as_files_is_refused_before_others_starve(tmp_path, more):
    """What docs/fleet.md sets, in the heap of `make sim`."""
    mqtt = {"enabled": True, "host": HOST, "port": gateway.free_ports(1)[0], "history": True, "interval_s": 3600}
    config = {"mqtt": mqtt | more, "history": {"flash": True, "interval_s": 300}}
    with Rig(tmp_path, frozen=False, heap=gateway.HEAP, config=config) as rig:
        rig.gateway.wait_line("mqtt: not started: no memory for it")
        rig.wait_polled()
        rig.wait_last_good()  # and so the page had room: this configuration is not given up
        states = {service["name"]: service["state"] for service in rig.status()["services"]}
        assert states["mqtt"] == "no_memory"
        assert [states[name] for name in ("http", "modbus", "ntp", "finder")] == ["running"] * 4
        with rig.client() as client:
            assert client.read(1, 4, 0, 36) == words(rig.meter(1).registers(4, 0, 36))
        status = rig.status()
        assert (status["config"], status["task_restarts"]) == ({"source": "file", "errors": []}, 0)


def test_two_thousand_requests_of_ten_clients_fit_into_the_heap(make_rig):
    rig = make_rig(frozen=True, heap=SMALL)
    rig.wait_polled()
    reads = [(1, 4, 0, 36), (2, 3, 0x220, 42), (3, 4, 0, 10), (2, 3, 0x513, 2), (1, 4, 40, 12), (255, 3, 200, 112)]
    held = [
        words(rig.meter(unit).registers(function, address, count)) if unit != 255 else None
        for unit, function, address, count in reads
    ]

    def ask(number):
        with rig.client() as client:
            for k in range(200):
                which = (number + k) % len(reads)
                try:
                    got = client.read(*reads[which])
                except ModbusError as error:
                    raise AssertionError(f"client {number}, request {k}, {reads[which]}: {error}") from error
                assert held[which] in (None, got)
        return number

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert list(pool.map(ask, range(10))) == list(range(10))
    status = rig.status()
    assert status["modbus"]["requests"] >= 2000
    assert status["task_restarts"] == 0
    assert rig.sockets()["failed_accepts"] == 0
    assert not [line for line in rig.gateway.lines if "MemoryError" in line]


def test_ten_pollers_and_a_browser_fit_into_the_heap(make_rig):
    # The most that the socket budget lets in at once: every connection with a request of its own on its way.
    rig = make_rig(frozen=True, heap=SMALL)
    rig.wait_polled()

    def poll(number):
        with rig.client() as client:
            for k in range(60):
                assert len(client.read(2, 3, 0x513 + 2 * (k % 2), 2)) == 4
        return number

    def browse():
        for k in range(40):
            rig.get(("/api/readings", "/api/status", "/api/sockets")[k % 3])
        return True

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        browser = pool.submit(browse)
        assert list(pool.map(poll, range(9))) == list(range(9))
        assert browser.result() is True
    assert rig.status()["task_restarts"] == 0

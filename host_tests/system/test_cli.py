"""The command line `meterport` against real gateways on MicroPython, as a user starts it."""

import contextlib
import json
import os
import pty
import signal
import subprocess

import pytest

from host_tests.documents import ROOT
from host_tests.pseudo_terminal import heed_ctrl_c
from host_tests.system.rig import HOST, Rig, wait_for
from tools.device_api import ApiError, Device
from tools.gateway import free_ports

METERPORT = ROOT / "tools" / "meterport"
PASSWORD = "correct horse"
RUN_S = 120


def environment(password):
    variables = {key: value for key, value in os.environ.items() if not key.startswith("METERPORT_")}
    return variables | ({"METERPORT_PASSWORD": password} if password else {})


def run(*words, password=None, code=0, cwd=None):
    """Its output. AssertionError when it ends with another code."""
    done = subprocess.run(
        [METERPORT, *map(str, words)], capture_output=True, text=True, timeout=RUN_S, check=False, cwd=cwd,
        stdin=subprocess.DEVNULL, env=environment(password),
    )  # fmt: skip
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done


@contextlib.contextmanager
def running(*words, password=None):
    """One that goes on until Ctrl-C: the process; its output are lines."""
    process = subprocess.Popen(
        [METERPORT, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL, env=environment(password) | {"PYTHONUNBUFFERED": "1"}, preexec_fn=heed_ctrl_c,
    )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=RUN_S)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()


def place(rig):
    return f"{HOST}:{rig.http_port}:{rig.modbus_port}"


def ask(rig, *words, **options):
    """The document that --json prints for that gateway."""
    document = json.loads(run(*words, "-g", place(rig), "--json", **options).stdout)
    assert list(document) == [place(rig)]
    return document[place(rig)]


@pytest.fixture
def open_rig(tmp_path):
    """Which is read without a password, and has none."""
    with Rig(tmp_path / "open", config={"ntp": {"enabled": False}}) as rig:
        rig.wait_polled()
        yield rig


@pytest.fixture
def locked(tmp_path):
    """Which is read by nobody without a password."""
    config = {"name": "locked", "ntp": {"enabled": False}, "http": {"public_status": False}}
    with Rig(tmp_path / "locked", config=config, meters=(), virtual=()) as rig:
        with Device(HOST, rig.http_port) as device:
            device.set_password(PASSWORD)
        yield rig


def test_find_status_sockets_and_readings_say_what_the_gateway_says(open_rig):
    rig = open_rig
    (found,) = json.loads(run("find", "--to", HOST, "--finder-port", rig.finder_port, "--json").stdout)
    assert (found["name"], found["from"], found["conflicts"]) == ("test", HOST, [])
    assert found["ports"] == {"http": rig.http_port, "modbus": rig.modbus_port}
    assert ask(rig, "status")["meters"][0]["name"] == rig.status()["meters"][0]["name"]
    assert ask(rig, "sockets")["limit"] == 16
    points = {point["id"]: point["value"] for meter in rig.get("/api/readings")["meters"] for point in meter["points"]}
    shown = ask(rig, "readings")["meters"]
    assert {point["id"]: point["value"] for meter in shown for point in meter["points"]} == points
    searched = ("--found", "--to", HOST, "--finder-port", rig.finder_port)
    assert "voltage_l1" in run("readings", *searched).stdout
    for command in ("find", "status", "sockets"):
        options = searched[1:] if command == "find" else searched
        assert str(rig.modbus_port) in run(command, *options).stdout or command == "sockets"


def test_read_shows_registers_and_bits_and_names_exceptions(open_rig):
    rig = open_rig
    meter = rig.line.meters[0]
    assert ask(rig, "read", meter.unit, 4, 0, 4) == {"first": 0, "registers": meter.registers(4, 0, 4)}
    assert "0x0010" in run("read", 255, 3, 100, 1, "-g", place(rig)).stdout
    refused = run("read", meter.unit, 4, 60000, 2, "-g", place(rig), code=1)
    assert refused.stderr.startswith(f"{place(rig)}: exception ")
    silent = ask(rig, "read", 99, 3, 0, 1, code=1)
    assert silent == {"error": "exception 11, gateway target device failed to respond"}


def test_a_password_comes_from_the_environment_only_and_its_session_ends(locked):
    without = run("status", "-g", place(locked), code=1)
    assert "set METERPORT_PASSWORD" in without.stderr
    wrong = run("status", "-g", place(locked), password="other", code=1)
    assert "403: wrong password" in wrong.stderr
    with Device(HOST, locked.http_port) as browser:
        wait_for(lambda: browser.session()["wait_s"] == 0, what="no wait")  # docs/reference/http.md, Logging in
        browser.login(PASSWORD)
        for _ in range(5):  # a gateway keeps four sessions
            assert ask(locked, "status", password=PASSWORD)["name"] == "locked"
        assert browser.session()["logged_in"]


def in_a_terminal(*words, typed):
    """What a user sees who types that after the prompt."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [METERPORT, *map(str, words)], stdin=other, stdout=other, stderr=other,
        env=environment(None) | {"COLUMNS": "200", "TERM": "xterm"},
    )  # fmt: skip
    os.close(other)
    shown = b""
    is_typed = False
    try:
        while True:
            try:
                shown += os.read(main, 4096)
            except OSError:
                break  # the other end is closed
            if b"Password:" in shown and not is_typed:
                is_typed = True
                os.write(main, typed.encode() + b"\n")
        assert process.wait(RUN_S) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(main)
    return shown.decode()


def test_a_password_is_asked_for_once_and_not_shown_and_progress_is(open_rig, locked):
    shown = in_a_terminal("status", "-g", place(open_rig), "-g", place(locked), typed=PASSWORD)
    assert "locked" in shown
    assert shown.count("Password:") == 1
    assert PASSWORD not in shown
    assert "2/2" in shown, "both asked"


def test_a_new_gateway_gets_its_first_password_and_is_told_so_before(tmp_path):
    config = {"http": {"public_status": False}, "ntp": {"enabled": False}}
    with Rig(tmp_path, config=config, meters=(), virtual=()) as rig:
        assert "no password is set yet" in run("status", "-g", place(rig), code=1).stderr
        run("set-password", "-g", place(rig), password=PASSWORD)
        assert ask(rig, "config", "get", "name", password=PASSWORD) == "test"
        assert "403" in run("set-password", "-g", place(rig), password="mine", code=1).stderr


def test_a_configuration_is_kept_changed_compared_and_restored(locked, tmp_path):
    backup = tmp_path / "locked.json"
    ask(locked, "config", "backup", backup, password=PASSWORD)
    assert json.loads(backup.read_text())["name"] == "locked"
    due = ask(locked, "config", "set", "name", "cellar", "modbus.idle_timeout_s", 300, password=PASSWORD)
    assert due == {"reboot_due": ["configuration"]}
    assert ask(locked, "config", "get", "modbus.idle_timeout_s", password=PASSWORD) == 300
    refused = run("config", "set", "http.port", 0, "name", "x", "-g", place(locked), password=PASSWORD, code=1)
    assert "http.port" in refused.stderr
    assert ask(locked, "config", "get", "name", password=PASSWORD) == "cellar"
    assert ask(locked, "config", "diff", backup, password=PASSWORD, code=3) == [
        {"key": "modbus.idle_timeout_s", "gateway": 300},
        {"key": "name", "gateway": "cellar", "file": "locked"},
    ]
    ask(locked, "config", "restore", backup, password=PASSWORD)
    assert ask(locked, "config", "diff", backup, password=PASSWORD) == []
    gone = run("config", "get", "history.bytes", "-g", place(locked), password=PASSWORD, code=1)
    assert "history.bytes is not in the configuration" in gone.stderr


def test_reboot_comes_back_with_what_was_set(locked):
    ask(locked, "config", "set", "name", "cellar", password=PASSWORD)
    assert ask(locked, "reboot", password=PASSWORD) == "is back"
    status = ask(locked, "status", password=PASSWORD)
    assert (status["name"], status["reboot_due"]) == ("cellar", [])
    assert status["uptime_s"] < 60


def test_scan_finds_the_meters_of_the_line(open_rig):
    with Device(HOST, open_rig.http_port) as device:
        device.set_password(PASSWORD)
    units = sorted(meter.unit for meter in open_rig.line.meters)
    document = ask(open_rig, "scan", "--first", 1, "--last", units[-1] + 1, password=PASSWORD)
    assert [each["unit"] for each in document["found"]] == units
    assert document["done"] == units[-1] + 1


def test_ctrl_c_stops_a_scan_on_the_gateway_too(open_rig):
    with Device(HOST, open_rig.http_port) as device:
        device.set_password(PASSWORD)
        device.login(PASSWORD)
        process = subprocess.Popen(
            [METERPORT, "scan", "-g", place(open_rig)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(PASSWORD), preexec_fn=heed_ctrl_c,
        )  # fmt: skip
        try:
            wait_for(lambda: device.get("/api/scan")["running"], 30, "a search")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=RUN_S)
            assert process.returncode == 1
            wait_for(lambda: not device.get("/api/scan")["running"], 30, "the end of the search")
        finally:
            process.kill()
            process.wait()


def test_log_follows_what_the_gateway_logs(open_rig):
    serial = json.loads(run("find", "--to", HOST, "--finder-port", open_rig.finder_port, "--json").stdout)[0]["serial"]
    with running("log", "--follow", "--every", 0.5, "-g", place(open_rig)) as process:
        assert process.stdout.readline()
        run("identify", serial, "--to", HOST, "--finder-port", open_rig.finder_port)
        lines = []
        while not lines or "identify, asked by" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], "the log has ended"
        assert len(lines) == len(set(lines)), "a line is shown once"
    assert "identify, asked by" in run("log", "-g", place(open_rig)).stdout


def test_watched_readings_are_a_line_each_time(open_rig):
    with running("readings", "--watch", "--every", 0.5, "--json", "-g", place(open_rig)) as process:
        rounds = [json.loads(process.stdout.readline())[place(open_rig)]["uptime_s"] for _ in range(4)]
    assert rounds == sorted(rounds)
    assert rounds[-1] > rounds[0]


def test_history_is_the_gateways_own_csv(tmp_path):
    config = {"ntp": {"enabled": False}, "history": {"flash": True}}
    with Rig(tmp_path / "state", config=config) as rig:
        rig.wait_polled()
        with Device(HOST, rig.http_port) as device:
            device.set_password(PASSWORD)
            device.login(PASSWORD)
            device.post("/api/time", {"unix_s": 1_800_014_398})  # two seconds before a record is due
            wait_for(lambda: rig.get("/api/history")["records"]["taken"], 30, "a record")
        csv = run("history", "--csv", "--from", "2027-01-01", "-g", place(rig)).stdout.splitlines()
        assert csv[0].startswith('time,uptime_s,quality,"main energy_import Wh"')
        assert csv[1].startswith("2027-01-15T12:00:00Z,,")
        assert "2027-01-15 12:00:00Z" in run("history", "--from", "2027-01-01", "-g", place(rig)).stdout
        folder = tmp_path / "kept"
        run("history", "--csv", "--from", "2027-01-01", "--into", folder, "-g", place(rig))
        (path,) = folder.iterdir()
        assert path.read_bytes().decode().splitlines() == csv


def test_a_fleet_is_asked_at_once_and_who_fails_is_named(open_rig, locked, tmp_path):
    (closed,) = free_ports(1)
    fleet = tmp_path / "fleet"
    fleet.write_text(f"# everything\n{place(open_rig)}\n{place(locked)}   # the cellar\n{HOST}:{closed}\n")
    done = run("status", "-f", fleet, "--json", password=PASSWORD, code=1)
    document = json.loads(done.stdout)
    assert {key: value.get("name") for key, value in document.items()} == {
        place(open_rig): "test", place(locked): "locked", f"{HOST}:{closed}": None,
    }  # fmt: skip
    assert document[f"{HOST}:{closed}"] == {"error": "Connection refused"}
    assert f"{HOST}:{closed}: Connection refused\n1 of 3 gateways failed" in done.stderr
    for command in ("status", "sockets", "readings"):
        done = run(command, "-f", fleet, password=PASSWORD, code=1)
        assert place(open_rig) in done.stdout
        assert place(locked) in done.stdout
    with Device(HOST, open_rig.http_port) as device:
        device.set_password(PASSWORD)
    run("config", "backup", tmp_path / "all", "-f", fleet, password=PASSWORD, code=1)
    kept = {path.name: json.loads(path.read_text())["name"] for path in (tmp_path / "all").iterdir()}
    assert kept == {f"{place(rig).replace(':', '-')}.json": rig.config["name"] for rig in (open_rig, locked)}
    two = ("-g", place(open_rig), "-g", place(locked))
    run("config", "diff", tmp_path / "all", *two, password=PASSWORD)
    run("config", "set", "name", "same", *two, password=PASSWORD)
    run("config", "diff", tmp_path / "all", *two, password=PASSWORD, code=3)
    run("config", "restore", tmp_path / "all", *two, password=PASSWORD)
    run("config", "diff", tmp_path / "all", *two, password=PASSWORD)
    assert "is back" in run("reboot", "--yes", *two, password=PASSWORD).stdout
    assert run("reboot", *two, password=PASSWORD, code=1).stdout == ""


def test_another_web_server_is_no_gateway(open_rig):
    """The Modbus port of a gateway, which answers an HTTP request by closing."""
    done = run("status", "-g", f"{HOST}:{open_rig.modbus_port}", code=1)
    assert "the connection ended early" in done.stderr or "Connection reset" in done.stderr
    with pytest.raises(ApiError, match="404"), Device(HOST, open_rig.http_port) as device:
        device.get("/api/nothing")

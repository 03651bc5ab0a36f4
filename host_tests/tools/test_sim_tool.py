"""tools/sim.py and tools/gateway.py, proved with a stand-in for the firmware: a small server in Python.

The stand-in reads data/config.json in its working directory, answers HTTP and Modbus there, and does what a
path asks: /exit?CODE ends it, /say?TEXT prints, /hold?N opens sockets, /bus?HEX sends a frame on the bus.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tools import gateway, sim
from tools.gateway import Gateway, GatewayError
from tools.virtual_line import adu

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 20

STAND_IN = r"""
import json, os, select, socket, struct, sys, termios, tty
config = json.load(open("data/config.json"))
print("stand-in started, pid", os.getpid(), flush=True)
if config.get("name") == "broken":
    print("first line\nno such key: naem", flush=True)
    sys.exit(3)
servers = [socket.create_server((config[s]["bind"], config[s]["port"])) for s in ("http", "modbus")]
held = []
while True:
    for server in select.select(servers, [], [])[0]:
        connection, _ = server.accept()
        data = connection.recv(1000)
        if server is servers[1]:
            connection.sendall(data[:4] + b"\0\3\xff\x83\2")
        else:
            path, _, argument = data.split()[1].decode().partition("?")
            body = b""
            if path == "/bus":
                fd = os.open(config["buses"][0]["uart"], os.O_RDWR | os.O_NOCTTY)
                tty.setraw(fd)
                os.write(fd, bytes.fromhex(argument))
                while len(body) < 7 and select.select([fd], [], [], 2)[0]:
                    body += os.read(fd, 100)
                os.close(fd)
                body = body.hex().encode()
            elif path == "/say":
                print(argument, flush=True)
            elif path == "/hold":
                held += [socket.socket() for _ in range(int(argument))]
            status = b"404 Not Found" if path == "/api/status" else b"200 OK"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.close()
        if server is servers[0] and path == "/exit":
            os._exit(int(argument))
"""


@pytest.fixture
def stand_in(tmp_path):
    """The command that plays the firmware."""
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN)
    return [sys.executable, str(path)]


@pytest.fixture
def state(tmp_path):
    """A state directory with a configuration on free ports."""
    http, modbus = gateway.free_ports(2)
    config = sim.merge(sim.DEFAULT_CONFIG, {"http": {"port": http}, "modbus": {"port": modbus}})
    gateway.write_config(tmp_path / "state", config)
    return tmp_path / "state"


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return response.read().decode()


def is_running(pid):
    """A process that is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(condition, timeout=TIMEOUT_S):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        threading.Event().wait(0.01)


# Gateway


@pytest.fixture
def running(state, stand_in):
    with Gateway(state, argv=stand_in) as process:
        process.wait_ready(TIMEOUT_S)
        yield process


def test_ready_means_that_http_and_modbus_answer(running):
    http, modbus = running.ports()
    assert running.alive
    assert gateway.http_answers(http)
    assert gateway.modbus_answers(modbus)
    assert not gateway.http_answers(modbus)
    assert running.wait_line(r"stand-in started, pid \d+").endswith(str(running.pid))


def test_sockets_and_memory_are_counted_from_outside(running):
    http, _ = running.ports()
    until(lambda: running.socket_count() == 2)  # the two listeners; the connections of the probes are gone
    get(http, "/hold?5")
    until(lambda: running.socket_count() == 7)
    assert 1_000_000 < running.rss < 100_000_000
    assert running.cpu_s >= 0


def test_exit_code_42_starts_it_again_on_the_same_ports(running):
    ports, first = running.ports(), running.pid
    with contextlib.suppress(OSError):
        get(ports[0], "/exit?42")
    running.wait_reboots(1, TIMEOUT_S)
    running.wait_ready(TIMEOUT_S)
    assert running.ports() == ports
    assert running.pid != first
    assert running.exit_codes == [42]
    assert "meterport: reboot (exit code 42), starting again" in running.lines


def test_a_reboot_without_a_configuration_keeps_the_place_and_nothing_else(state, stand_in):
    config = state / "data" / "config.json"
    before = json.loads(config.read_text())
    with Gateway(state, argv=stand_in, place=gateway.place_of(before)) as process:
        process.wait_ready(TIMEOUT_S)
        ports = process.ports()
        get(ports[0], "/exit?42")
        process.wait_reboots(1)
        process.wait_ready(TIMEOUT_S)
        assert json.loads(config.read_text()) == before  # a reboot like any other
        config.unlink()
        get(ports[0], "/exit?42")
        process.wait_line(gateway.FORGOTTEN)
        process.wait_reboots(2)
        process.wait_ready(TIMEOUT_S)
        assert process.ports() == ports
    assert set(before) > {"http", "modbus", "ntp", "finder"}
    assert json.loads(config.read_text()) == {
        "http": {"bind": "127.0.0.1", "port": ports[0]},
        "modbus": {"bind": "127.0.0.1", "port": ports[1]},
        "ntp": before["ntp"],
        "finder": before["finder"],
    }


def test_any_other_exit_code_is_an_end(running):
    get(running.ports()[0], "/say?the-last-word")
    get(running.ports()[0], "/exit?7")
    assert running.wait_exit(TIMEOUT_S) == 7
    assert not running.alive
    assert running.pid is None
    assert "the-last-word" in running.tail()
    with pytest.raises(GatewayError, match=r"ended with code 7[\s\S]*the-last-word"):
        running.wait_line("never said")
    with pytest.raises(GatewayError, match="not running"):
        running.socket_count()


def test_a_gateway_that_ends_before_it_is_ready_says_why(state, stand_in):
    gateway.write_config(state, {"name": "broken"})
    wanted = pytest.raises(GatewayError, match=r"ended with code 3[\s\S]*no such key: naem")
    with Gateway(state, argv=stand_in) as process, wanted:
        process.wait_ready(TIMEOUT_S)


def test_a_gateway_that_never_answers_is_named_with_its_port(state):
    idle = [sys.executable, "-c", "import time; print('idle', flush=True); time.sleep(100)"]
    with Gateway(state, argv=idle) as process:
        process.wait_line("idle")
        with pytest.raises(GatewayError, match=r"no answer by http on port \d+ and modbus on port \d+"):
            process.wait_ready(0.2)
        assert process.alive
    assert process.exit_codes == [-signal.SIGTERM]


def test_a_reboot_loop_comes_to_an_end(state):
    with Gateway(state, argv=[sys.executable, "-c", "raise SystemExit(42)"]) as process:
        assert process.wait_exit(TIMEOUT_S) == 42
    assert len(process.exit_codes) == 10
    assert "not started again" in process.tail()


def test_a_process_that_ignores_sigterm_is_killed(state):
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(100)"
    process = Gateway(state, argv=[sys.executable, "-c", stubborn]).start()
    process.wait_line("here")
    process.stop(timeout=0.1)
    assert process.exit_codes == [-signal.SIGKILL]
    process.stop()


def test_after_stop_or_kill_it_can_be_started_again(running):
    first = running.pid
    running.kill()
    assert running.exit_codes == [-signal.SIGKILL]
    running.start()
    running.wait_ready(TIMEOUT_S)
    assert running.pid != first


def test_a_command_that_does_not_exist_is_an_error(state):
    with pytest.raises(GatewayError, match="cannot start /nonexistent"):
        Gateway(state, argv=["/nonexistent"]).start()


@pytest.mark.parametrize("wrong", [{"runtime": "pypy"}, {"heap": "lots"}, {"heap": "0"}])
def test_a_wrong_runtime_or_heap_is_refused(wrong):
    with pytest.raises(ValueError, match="is not"):
        Gateway("state", **wrong)


def test_the_heap_is_that_of_files_or_of_an_image_unless_it_is_given():
    assert Gateway("state").heap == "320K"
    assert Gateway("state", frozen=True).heap == "112K"
    assert Gateway("state", frozen=True, heap="96K").heap == "96K"


@pytest.mark.parametrize("wrong", [{"runtime": "cpython"}, {"source": True}, {"device_dir": "build/device"}])
def test_a_frozen_firmware_lies_nowhere_else(wrong):
    with pytest.raises(ValueError, match="frozen: the firmware lies within MicroPython"):
        Gateway("state", frozen=True, **wrong)


def test_a_frozen_firmware_is_started_within_its_interpreter_and_sees_no_tree(tmp_path, monkeypatch):
    monkeypatch.setattr(gateway, "find_frozen", lambda progress: "/cache/micropython")
    command, env = Gateway(tmp_path, frozen=True)._command()
    assert command == ["/cache/micropython", "-X", "heapsize=112K", "-m", "main"]
    assert env["MICROPYPATH"] == ".frozen"
    assert list(tmp_path.iterdir()) == []


# The sim's configuration


def options(*arguments):
    return sim.parse(list(arguments))


def test_objects_are_merged_and_lists_replaced():
    base = {"a": {"x": 1, "y": 2}, "l": [1, 2], "s": "t"}
    assert sim.merge(base, {"a": {"y": 3, "z": 4}, "l": [9], "n": None}) == {
        "a": {"x": 1, "y": 3, "z": 4}, "l": [9], "s": "t", "n": None,
    }  # fmt: skip
    assert base == {"a": {"x": 1, "y": 2}, "l": [1, 2], "s": "t"}


def test_without_options_the_default_configuration_is_used(tmp_path):
    assert sim.configuration(options(), tmp_path) == sim.DEFAULT_CONFIG


def test_a_file_is_merged_over_the_default_and_ports_over_both(tmp_path):
    file = tmp_path / "over.json"
    file.write_text('{"http": {"port": 1, "public_status": false}, "modbus": {"port": 2000}, "meters": []}')
    config = sim.configuration(options("--config", str(file), "--http-port", "3000"), tmp_path)
    assert config["http"] == {"port": 3000, "bind": "127.0.0.1", "public_status": False}
    assert config["modbus"]["port"] == 2000
    assert config["meters"] == []
    assert config["name"] == "meterport-sim"


def test_a_stored_configuration_is_the_base_in_place_of_the_default(tmp_path):
    gateway.write_config(tmp_path, {"name": "mine", "modbus": {"port": 5020}})
    config = sim.configuration(options("--state", str(tmp_path)), tmp_path)
    assert config == {
        "name": "mine",
        "modbus": {"port": 5020, "bind": "127.0.0.1"},
        "http": {"port": 8080, "bind": "127.0.0.1"},
        "buses": [{"uart": "bus0", "baud": 9600, "framing": "8N1"}],
    }


def test_port_0_picks_two_different_free_ports(tmp_path):
    config = sim.configuration(options("--http-port", "0", "--modbus-port", "0"), tmp_path)
    ports = {config["http"]["port"], config["modbus"]["port"]}
    assert len(ports) == 2
    assert all(port > 1023 for port in ports)


def test_a_serial_device_takes_the_place_of_the_virtual_meters(tmp_path):
    config = sim.configuration(options("--serial", "/dev/null", "--baud", "19200"), tmp_path)
    assert config["buses"] == [{"uart": "/dev/null", "baud": 19200, "framing": "8N1"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"http": ', "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"http": 8080}', "http: must be an object"),
        ('{"http": {"port": "x"}}', "http.port: 'x' is not one of 0..65535"),
        ('{"http": {"port": 1502}}', "cannot both have port 1502"),
        ('{"buses": {}}', "buses: must be a list of objects"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path, text, message):
    file = tmp_path / "over.json"
    file.write_text(text)
    with pytest.raises(sim.SimError) as error:
        sim.configuration(options("--config", str(file)), tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--http-port", "65536"], "--http-port 65536: must be 0..65535"),
        (["--baud", "5"], "--baud 5: must be"),
        (["--serial", "/nonexistent"], "there is no such device"),
        (["--state", "/dev/null"], "is not a directory"),
        (["--runtime", "pypy"], "invalid choice"),
        (["--frozen", "--source"], "--frozen: the firmware lies within MicroPython"),
        (["--frozen", "--runtime", "cpython"], "--frozen: the firmware lies within MicroPython"),
    ],
)
def test_a_wrong_option_of_the_sim_is_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        options(*arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


# The sim as a program


class Sim:
    """tools/sim.py in a process, with the stand-in for the firmware."""

    def __init__(self, stand_in, tmp_path, *arguments, hangup="SIG_DFL"):
        """`hangup`: what a SIGHUP does to the program when it starts; that of the tests would be inherited."""
        code = (
            "import faulthandler, signal, sys; from tools import sim; faulthandler.register(signal.SIGUSR1);"
            f"signal.signal(signal.SIGHUP, signal.{hangup});"
            "sys.exit(sim.main(sys.argv[2:], argv=sys.argv[1].split('|')))"
        )
        self.temporary = tmp_path / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "|".join(stand_in), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ, PYTHONPATH=str(ROOT), TMPDIR=str(self.temporary)),
        )
        self.errors = []
        self._reader = threading.Thread(target=lambda: self.errors.extend(self.process.stderr))
        self._reader.start()

    def ready(self):
        """(HTTP port, Modbus port) of the ready line."""
        line = self.process.stdout.readline()
        word, http, modbus = line.split()
        assert word == "ready"
        self.ports = [int(part.partition("=127.0.0.1:")[2]) for part in (http, modbus)]
        assert line == f"ready http=127.0.0.1:{self.ports[0]} modbus=127.0.0.1:{self.ports[1]}\n"
        return self.ports

    def firmware_pid(self):
        started = [line.split()[-1] for line in self.errors if "stand-in started" in line]
        return int(started[-1]) if started else 0

    def end(self, number=None):
        """Sends a signal, waits; (exit code, what was left on stdout, stderr)."""
        if number:
            self.process.send_signal(number)
        try:
            code = self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)  # the stacks of its threads
            until(lambda: "most recent call first" in "".join(self.errors))
            pytest.fail("".join(self.errors))
        self._reader.join(TIMEOUT_S)
        return code, self.process.stdout.read(), "".join(self.errors)

    def close(self):
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start_sim(stand_in, tmp_path):
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options):
            program = Sim(stand_in, tmp_path, "--http-port", "0", "--modbus-port", "0", *arguments, **options)
            stack.callback(program.close)
            return program

        yield start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_sim_and_nothing_is_left(start_sim, number):
    program = start_sim()
    program.ready()
    until(program.firmware_pid)
    firmware = program.firmware_pid()
    assert is_running(firmware)
    assert any(program.temporary.iterdir())
    code, rest, _ = program.end(number)
    assert code == 0
    assert rest == ""  # one line on stdout, no more
    assert not is_running(firmware)
    assert list(program.temporary.iterdir()) == []


def test_a_sim_that_was_started_with_nohup_goes_on_after_a_hangup(start_sim):
    program = start_sim(hangup="SIG_IGN")
    http, _ = program.ready()
    program.process.send_signal(signal.SIGHUP)
    assert gateway.http_answers(http)
    code, rest, _ = program.end(signal.SIGTERM)
    assert (code, rest) == (0, "")


def test_the_firmware_dies_with_a_sim_that_is_killed(start_sim):
    program = start_sim()
    program.ready()
    until(program.firmware_pid)
    firmware = program.firmware_pid()
    program.end(signal.SIGKILL)
    until(lambda: not is_running(firmware))


def test_the_sims_bus_leads_to_the_virtual_meters(start_sim):
    program = start_sim()
    http, _ = program.ready()
    answer = bytes.fromhex(get(http, "/bus?" + adu(3, bytes((4, 0, 7, 0, 1))).hex()))
    assert answer[:3] == bytes((3, 4, 2))
    assert 490 < int.from_bytes(answer[3:5], "big") < 510  # 0.1 Hz


def test_a_reboot_of_the_firmware_keeps_the_ports_and_prints_no_second_line(start_sim):
    program = start_sim()
    http, modbus = program.ready()
    until(program.firmware_pid)
    first = program.firmware_pid()
    get(http, "/exit?42")
    until(lambda: program.firmware_pid() not in (0, first))
    until(lambda: gateway.http_answers(http) and gateway.modbus_answers(modbus))
    code, rest, errors = program.end(signal.SIGTERM)
    assert (code, rest) == (0, "")
    assert "meterport: reboot (exit code 42), starting again" in errors


def test_the_sim_is_found_at_the_same_ports_after_a_factory_reset(start_sim, tmp_path):
    state = tmp_path / "kept"
    program = start_sim("--state", str(state))
    http, modbus = program.ready()
    (state / "data" / "config.json").unlink()
    get(http, "/exit?42")
    until((state / "data" / "config.json").exists)
    until(lambda: gateway.http_answers(http) and gateway.modbus_answers(modbus))
    assert "meters" not in json.loads((state / "data" / "config.json").read_text())
    assert gateway.FORGOTTEN in program.end(signal.SIGTERM)[2]


def test_a_firmware_that_ends_takes_the_sim_with_it(start_sim):
    program = start_sim()
    http, _ = program.ready()
    get(http, "/say?the-last-word")
    get(http, "/exit?5")
    code, _, errors = program.end()
    assert code == 1
    assert "the firmware ended with code 5; its last lines:" in errors
    assert "the-last-word" in errors.partition("its last lines:")[2]
    assert list(program.temporary.iterdir()) == []


def test_a_firmware_that_does_not_start_ends_the_sim_with_its_last_lines(start_sim, tmp_path):
    (tmp_path / "over.json").write_text('{"name": "broken"}')
    code, out, errors = start_sim("--config", str(tmp_path / "over.json")).end()
    assert (code, out) == (1, "")
    assert "no such key: naem" in errors


@pytest.mark.parametrize("service", ["http", "modbus"])
def test_a_taken_port_is_named_with_the_option_that_helps(start_sim, service):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, errors = start_sim(f"--{service}-port", str(port)).end()
    assert (code, out) == (2, "")
    assert f"port {port} is taken by another program: give another one with --{service}-port N" in errors


def test_a_state_directory_is_kept_with_its_configuration(start_sim, tmp_path):
    state = tmp_path / "kept"
    program = start_sim("--state", str(state))
    http, modbus = program.ready()
    assert (state / "bus0").is_symlink()
    assert program.end(signal.SIGTERM)[0] == 0
    stored = json.loads((state / "data" / "config.json").read_text())
    assert (stored["http"]["port"], stored["modbus"]["port"]) == (http, modbus)
    assert not (state / "bus0").is_symlink()


def test_the_sim_runs_as_a_file_too():
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "sim.py", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert "--modbus-port" in done.stdout
